"""The weekly flow under Airflow: one task a stage, each of them one call of `treadle weekly stage`.

This file is all that Airflow needs; it knows neither a database nor a credential. The stages find each other by Airflow's run id, which becomes the
tag of Treadle's run. Settings of Treadle come from the worker's environment (TREADLE_STATE, API_BASE_URL, …); of its own the file reads:

    TREADLE_COMMAND                 the program, `treadle` by default; a full path when it lives in an environment of its own
    TREADLE_AIRFLOW_RETRIES         3 by default
    TREADLE_AIRFLOW_RETRY_SECONDS   300 by default; twice as long each time, half an hour at most

Who is told of a failure: the connections `treadle_slack` and `treadle_teams`, if they are there, whose password is the webhook's whole address.
They are read when something has failed and at no other time. For Airflow 3; 2.10 runs it, too.
"""

import json
import logging
import os
import re
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pendulum

try:
    from airflow.sdk import DAG, BaseHook, BaseOperator
    from airflow.sdk.exceptions import AirflowException, AirflowSkipException

    TWICE_AS_LONG: float | bool = 2.0  # a factor; True would be one of 1, which is no back-off
except ImportError:  # Airflow 2.10
    from airflow.exceptions import AirflowException, AirflowSkipException
    from airflow.hooks.base import BaseHook
    from airflow.models import DAG, BaseOperator

    TWICE_AS_LONG = True

log = logging.getLogger(__name__)

DAG_ID: Final = "reverse_etl_customer_weekly"
# A stage gets as long as this; the whole run four hours, with all tries.
STAGES: Final[Mapping[str, timedelta]] = {
    "extract": timedelta(hours=2),
    "transform": timedelta(minutes=30),
    "load": timedelta(minutes=30),
    "quality-gate": timedelta(minutes=5),
    "salesforce-sync": timedelta(minutes=30),
}
RETRIES: Final = int(os.environ.get("TREADLE_AIRFLOW_RETRIES", "3"))
RETRY_SECONDS: Final = float(os.environ.get("TREADLE_AIRFLOW_RETRY_SECONDS", "300"))
_STOP_SECONDS: Final = 45.0  # for a stage to record that it was stopped, before it is killed
_READ_SECONDS: Final = 5.0  # for its last lines, once it has ended
_STOPPED: Final = 130  # the exit code of a stage that somebody interrupts
_POST_SECONDS: Final = 10.0
_ERROR_CHARS: Final = 500
_NOT_INHERITED: Final = re.compile(r"_*AIRFLOW|PYTHON(PATH|HOME)$")  # Airflow's own secrets and modules are nothing to a stage


class WeeklyStage(BaseOperator):
    """Do one stage of the week that comes next by the checkpoint; what came of it is the task's result (XCom), a few hundred bytes of JSON.

    Skipped when there is nothing to do: the week is not over, or done already. Fails with Treadle's own words for what went wrong.
    Safe to repeat: a stage goes on where it stopped.
    """

    # Jinja is rendered here and nowhere else: an `env` would not be. The tag is one argument of a list, so no shell ever reads a run id.
    template_fields = ("run_tag",)

    def __init__(self, *, stage: str, run_tag: str = "{{ run_id }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.run_tag = run_tag
        self._process: subprocess.Popen[str] | None = None
        self._killed = False

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Call the command and wait for it; what it tells goes to the task's log line by line."""
        program = os.environ.get("TREADLE_COMMAND", "treadle")
        command = [program, "weekly", "stage", self.stage, "--use-checkpoint", "--run-tag", self.run_tag, "--json"]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
            code, last_line = self._call(command, answer)
            answer.seek(0)
            text = answer.read()
        if code != 0:
            raise AirflowException(_reason(self.stage, code, last_line))
        outcome: dict[str, Any] = json.loads(text)
        if outcome["skipped"]:
            raise AirflowSkipException(outcome["skipped"])
        return outcome

    def on_kill(self) -> None:
        """Ask the stage to stop, which records what it has done. May come in the middle of its start, which `_call` looks for."""
        self._killed = True
        _signal(self._process, signal.SIGTERM)

    def _call(self, command: Sequence[str], answer: Any) -> tuple[int, str]:
        environment = {name: value for name, value in os.environ.items() if not _NOT_INHERITED.match(name)}
        try:
            process = self._process = subprocess.Popen(
                command, stdout=answer, stderr=subprocess.PIPE, text=True, errors="replace", env=environment, start_new_session=True
            )
        except FileNotFoundError:
            raise AirflowException(f"There is no command {command[0]!r} here. Install Treadle, or name it in TREADLE_COMMAND.") from None
        last_line = deque[str](maxlen=1)
        reader = threading.Thread(target=self._log_lines, args=(process.stderr, last_line), daemon=True)
        try:
            reader.start()
            if self._killed:
                _signal(process, signal.SIGTERM)
            code = process.wait()
        finally:
            self._process = None
            _end(process)
            reader.join(_READ_SECONDS)
        return code, "".join(last_line)

    def _log_lines(self, lines: Iterable[str], last_line: deque[str]) -> None:
        """In a thread, so that the end of the stage is what counts: a process that it has left behind may hold its output open."""
        for line in lines:
            self.log.info("%s", line.rstrip())
            last_line.append(line)


def tell_task_failed(context: Mapping[str, Any]) -> None:
    """Tell of a task that has failed for good. Airflow calls it once, after the last try."""
    task = context["ti"]
    error = " ".join(str(context.get("exception") or "no reason was given").split())
    _tell(
        Failure(
            f"{DAG_ID}: {task.task_id} failed",
            (("Run", str(context["run_id"])), ("Tries", str(task.try_number)), ("Error", error[:_ERROR_CHARS])),
            task.log_url,
        )
    )


def tell_run_timed_out(context: Mapping[str, Any]) -> None:
    """Tell of a run that took too long: Airflow then skips its tasks, and so none of them may have told. A run that failed otherwise, by a task, is told by that."""
    if context.get("reason") == "timed_out":
        _tell(Failure(f"{DAG_ID}: the run took longer than {RUN_TIMEOUT}", (("Run", str(context["run_id"])),), None))


@dataclass(frozen=True, slots=True)
class Failure:
    """What people are told. title: our own words alone; the values come from elsewhere and must not become markup, mentions or links."""

    title: str
    facts: Sequence[tuple[str, str]]
    log_url: str | None


def slack_message(failure: Failure) -> dict[str, Any]:
    """For an incoming webhook. The three characters that begin a mention or a link are escaped.

    Source: https://api.slack.com/reference/surfaces/formatting
    """
    lines = [f"*{label}*: {_escaped(value)}" for label, value in failure.facts]
    if failure.log_url:
        lines.append(f"<{_escaped(failure.log_url)}|Log>")
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines), "verbatim": True}}
    header = {"type": "header", "text": {"type": "plain_text", "text": failure.title, "emoji": False}}
    return {"text": failure.title, "blocks": [header, section], "unfurl_links": False, "unfurl_media": False}


def teams_message(failure: Failure) -> dict[str, Any]:
    """An adaptive card for a workflow that takes webhook requests. Values stand in text runs, which read no Markdown.

    Source: https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format
    """
    body: list[dict[str, Any]] = [{"type": "TextBlock", "size": "Medium", "weight": "Bolder", "wrap": True, "text": failure.title}]
    for label, value in failure.facts:
        runs = [{"type": "TextRun", "text": f"{label}: ", "weight": "Bolder"}, {"type": "TextRun", "text": value}]
        body.append({"type": "RichTextBlock", "inlines": runs})
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if failure.log_url:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Log", "url": failure.log_url}]
    return {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}],
    }


CHANNELS: Final[Mapping[str, Callable[[Failure], dict[str, Any]]]] = {"treadle_slack": slack_message, "treadle_teams": teams_message}


def _tell(failure: Failure) -> None:
    """Tell each channel that has a connection. Whatever goes wrong here is a warning: the failure itself is what people must see.

    An error's own text is not logged, since it may quote the address, and whoever knows that can post there.
    """
    for connection_id, message in CHANNELS.items():
        try:
            address = _webhook_of(connection_id)
            if address:
                _post(address, message(failure))
                log.info("Told %s of the failure.", connection_id)
        except urllib.error.HTTPError as refusal:
            log.warning("%s was not told of the failure: it answered %s.", connection_id, refusal.code)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("%s was not told of the failure: %s.", connection_id, type(error).__name__)


def _webhook_of(connection_id: str) -> str | None:
    """The address of a channel. None: there is no such connection.

    Raises:
        ValueError: the connection has no password, or it is no address of https (or of this machine).
    """
    try:
        address = BaseHook.get_connection(connection_id).password
    except Exception as error:
        if "NotFound" in type(error).__name__:  # AirflowNotFoundException moved between versions
            return None
        raise
    parts = urllib.parse.urlsplit(address or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"}):
        raise ValueError("no address")
    return address


def _post(address: str, message: Mapping[str, Any]) -> None:
    """Post once: a message whose answer was lost may have arrived, and is not sent again. A redirect is not followed."""
    request = urllib.request.Request(  # noqa: S310 - `_webhook_of` lets https alone pass
        address, json.dumps(message).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=_POST_SECONDS):
        pass


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_redirect: Any) -> None:
        """None: the answer is an error."""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _reason(stage: str, code: int, last_line: str) -> str:
    """Why a stage failed: its last line is an error as JSON, unless it died of something else."""
    if code == _STOPPED:
        return f"The stage {stage} was stopped. Run again, it goes on from there."
    try:
        error = json.loads(last_line)
        return " ".join(str(error[name]) for name in ("message", "hint") if error[name])
    except (ValueError, KeyError, TypeError):
        return f"The stage {stage} ended with exit code {code}; the log above says more."


def _end(process: "subprocess.Popen[str]") -> None:
    """Leave nothing behind that goes on without its task: neither the stage, as after a timeout, nor what a stage that died has started."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_STOP_SECONDS)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: "subprocess.Popen[str] | None", number: signal.Signals) -> None:
    """To the whole session: the stage and whatever it has started."""
    if process is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


RUN_TIMEOUT: Final = timedelta(hours=4)

with DAG(
    dag_id=DAG_ID,
    description="Events API → lake → weekly customer metrics → Salesforce, by Treadle's checkpoint.",
    schedule="0 14 * * 1-5",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=RUN_TIMEOUT,
    on_failure_callback=tell_run_timed_out,
    default_args={
        "retries": RETRIES,
        "retry_delay": timedelta(seconds=RETRY_SECONDS),
        "retry_exponential_backoff": TWICE_AS_LONG,
        "max_retry_delay": timedelta(minutes=30),
        "on_failure_callback": tell_task_failed,
    },
    tags=["treadle", "weekly"],
) as dag:
    previous: WeeklyStage | None = None
    for name, limit in STAGES.items():
        task = WeeklyStage(task_id=name.replace("-", "_"), stage=name, execution_timeout=limit)
        if previous is not None:
            previous >> task
        previous = task
