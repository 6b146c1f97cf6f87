"""What people are told outside Treadle, as a value, and how it looks in Slack, in Teams and on a generic webhook. Pure.

Names and messages come from files and from other systems. They are shown, and never obeyed: nothing in them becomes a mention, a link or markup.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from treadle.control.run import RESTORE_PREFIX


class NoticeType(StrEnum):
    """What a notice is about; the `type` of a generic webhook."""

    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    LOCK_RELEASED = "lock.released"
    JOB_FAILED = "job.failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be told, once per channel. `facts` are JSON, and are the `data` of a generic webhook; they hold no secret."""

    type: NoticeType
    subject: str  # with type and channel the natural key
    happened_at: datetime  # UTC
    facts: Mapping[str, Any]

    def message_id(self, channel: str) -> UUID:
        """The same for the same notice and channel, whoever finds it and however often: a receiver knows a repetition by it."""
        return uuid5(NAMESPACE_URL, f"treadle:notice:{channel}:{self.type}:{self.subject}")


def run_notice(row: Mapping[str, Any], environment: str) -> Notice:
    """What is told of a run that has ended. row: of the statement `ended_runs`, times aware UTC."""
    began = row["started_at"] or row["created_at"]
    facts = {
        "run_id": str(row["run_id"]),
        "status": row["status"],
        "input_file": row["input_file"],
        "restore": row["input_file"].startswith(RESTORE_PREFIX),
        "requested_by": row["triggered_by"],
        "error": row["error_message"],
        "started_at": began.isoformat(),
        "finished_at": row["finished_at"].isoformat(),
        "seconds": round((row["finished_at"] - began).total_seconds(), 3),
        "kpis": {name: row[name] for name in ("total_revenue", "orders", "aov") if row[name] is not None},
        "environment": environment,
    }
    return Notice(NoticeType(f"run.{row['status'].lower()}"), f"{row['run_id']}", row["finished_at"], facts)


def release_notice(row: Mapping[str, Any], environment: str) -> Notice:
    """What is told of a lock that a person has freed. row: of the statement `forced_releases`; its message has name and reason."""
    facts = {
        "run_id": str(row["run_id"]),
        "input_file": row["input_file"],
        "requested_by": row["triggered_by"],
        "message": row["message"],
        "released_at": row["event_time"].isoformat(),
        "environment": environment,
    }
    return Notice(NoticeType.LOCK_RELEASED, f"{row['id']}", row["event_time"], facts)


def job_notice(row: Mapping[str, Any], environment: str) -> Notice:
    """What is told of a job that nobody will try again. row: of the statement `failed_jobs`. A job that is retried by hand may fail again."""
    finished_at = row["finished_at"].astimezone(UTC)
    facts = {
        "job_id": str(row["job_id"]),
        "kind": row["kind"],
        "key": row["key"],
        "requested_by": row["requested_by"],
        "error": row["error_message"],
        "hint": row["error_hint"],
        "finished_at": finished_at.isoformat(),
        "environment": environment,
    }
    return Notice(NoticeType.JOB_FAILED, f"{row['job_id']}@{finished_at.isoformat()}", finished_at, facts)


def slack_message(notice: Notice) -> dict[str, Any]:
    """The notice for a Slack incoming webhook.

    Text objects are `verbatim` – Slack then makes no links of names and addresses by itself – and the three characters that begin a mention or
    a link are escaped. The top-level text, shown in notifications on a phone, has no such switch, so what could become a link there is parted.
    Source: https://api.slack.com/reference/surfaces/formatting
    """
    shown = _shown(notice)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _title(notice), "emoji": False}},
        {"type": "section", "fields": [_slack_text(f"*{label}*\n{_escaped(value)}") for label, value in shown.pairs]},
    ]
    blocks += [{"type": "section", "text": _slack_text(_escaped(text))} for text in shown.texts]
    summary = f"{_title(notice)}: {_escaped(_parted(shown.pairs[0][1]))}"
    return {"text": summary, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def teams_message(notice: Notice) -> dict[str, Any]:
    """The notice as an adaptive card for a Teams workflow ("when a Teams webhook request is received").

    Text from outside stands in text runs alone: TextBlock and FactSet read Markdown, a text run does not. A mention would need an entity, and
    there is none. Source: https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format
    """
    shown = _shown(notice)
    body: list[dict[str, Any]] = [{"type": "TextBlock", "size": "Medium", "weight": "Bolder", "wrap": True, "text": _title(notice)}]
    body += [_runs({"text": f"{label}: ", "weight": "Bolder"}, {"text": value}) for label, value in shown.pairs]
    body += [_runs({"text": text}) for text in shown.texts]
    card = {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body}
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def webhook_message(notice: Notice) -> dict[str, Any]:
    """The notice for programs: `type`, `timestamp` of what happened, `data`.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    return {"type": str(notice.type), "timestamp": notice.happened_at.astimezone(UTC).isoformat(), "data": dict(notice.facts)}


MESSAGES: Final[Mapping[str, Callable[[Notice], dict[str, Any]]]] = {
    "slack": slack_message,
    "teams": teams_message,
    "webhook": webhook_message,
}  # channel → its way to say a notice

_TITLES: Final = {
    NoticeType.RUN_SUCCEEDED: "Run succeeded",
    NoticeType.RUN_FAILED: "Run failed",
    NoticeType.LOCK_RELEASED: "Lock released by hand",
    NoticeType.JOB_FAILED: "Job failed for good",
}
_VALUE_CHARS: Final = 200
_TEXT_CHARS: Final = 550  # escaped at most five times as long, which stays below the 3,000 of a Slack section
_UNSEEN: Final = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]+"
)  # control characters, and what reorders text
_LINKING: Final = re.compile(r"(?<=[@#/.:])(?=\S)")
_WORD_JOINER: Final = "\N{WORD JOINER}"


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a person sees of a notice: short values with their labels, the most telling first, then longer texts."""

    pairs: Sequence[tuple[str, str]]
    texts: Sequence[str] = ()


def _shown(notice: Notice) -> _Shown:
    facts = notice.facts
    if notice.type is NoticeType.JOB_FAILED:
        pairs = [("Job", facts["kind"]), ("For", facts["key"]), ("Asked for by", facts["requested_by"]), ("Job id", facts["job_id"])]
        texts = [facts["error"], facts["hint"]]
    else:
        pairs = [("File", _file(facts)), ("Started by", facts["requested_by"]), ("Run", facts["run_id"]), *_figures(facts)]
        texts = [facts.get("error"), facts.get("message")]
    pairs.append(("Environment", facts["environment"]))
    values = [(label, _line(value, _VALUE_CHARS)) for label, value in pairs if value not in (None, "")]
    return _Shown(values, [_line(text, _TEXT_CHARS) for text in texts if text])


def _title(notice: Notice) -> str:
    """Our own words alone."""
    title = _TITLES[notice.type]
    return title.replace("Run", "Restore") if notice.facts.get("restore") else title


def _file(facts: Mapping[str, Any]) -> str:
    name = str(facts["input_file"])
    return f"run {name.removeprefix(RESTORE_PREFIX)}" if name.startswith(RESTORE_PREFIX) else name


def _figures(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    figures: Mapping[str, Any] = facts.get("kpis") or {}
    took = [("Took", f"{facts['seconds']:,.0f} s")] if "seconds" in facts else []
    return [*took, *((label, figures.get(name)) for name, label in (("total_revenue", "Revenue"), ("orders", "Orders")))]


def _line(value: object, limit: int) -> str:
    """Text or a number in one line, without what cannot be seen, cut to the limit. A value of blanks alone is told as such."""
    text = f"{value:,}" if isinstance(value, int | float) else str(value)
    line = " ".join(_UNSEEN.sub(" ", text).split()) or "(blank)"
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _parted(text: str) -> str:
    """The same to the eye, but no address, channel or name that a client would link by itself."""
    return _LINKING.sub(_WORD_JOINER, text)


def _slack_text(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _runs(*inlines: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", **inline} for inline in inlines]}
