"""What is to be told outside Treadle: found by looking at what is, written down once per channel, and handed to a job that sends it.

A sweep looks at runs, releases and jobs that have ended, not at messages about them, so nothing is lost with a worker that dies: the next
sweep, anybody's, finds the same. The runs may be in another database than our own tables, so the two are read one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from treadle.control.database import Connection, Database
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.queue import enqueue_many
from treadle.control.notify import Notice, NoticeType, job_notice, release_notice, run_notice
from treadle.control.statements import load_queries
from treadle.control.stored import json_text
from treadle.errors import NotFound

log = structlog.get_logger()

KIND: Final = "notification"
LOOK_BACK: Final = timedelta(days=3)  # older news than this, after a long outage of all workers, is nobody's news
QUIET_KINDS: Final = (KIND, "file_profile")  # a notice about a notice has no end; a file that cannot be read is told to who asked for it

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_OVERLAP: Final = timedelta(minutes=10)  # an ending is given its time before it is committed; and two servers' clocks differ a little
_RELEASED: Final = "The lock was released by "


@dataclass(frozen=True, slots=True)
class Message:
    """A row of the outbox. `sent_at` None: not accepted yet, as far as is known."""

    message_id: UUID
    channel: str
    notice: Notice
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far one channel is. `on_since` and `swept_until` by the clock of the runs' database, `opened_at` by that of our own."""

    channel: str
    on_since: datetime
    opened_at: datetime
    swept_until: datetime


def sweep(database: Database, own: Database, channels: Sequence[str], told: AbstractSet[str], environment: str) -> int:
    """Write down, once per channel, what has happened since the last sweep, each with the job that sends it; return how many were new.

    May run at any time, anywhere, twice at once. channels: those that are switched on. told: the notice types that are wanted.
    environment: the name that each notice bears.
    """
    if not channels:
        return 0
    now = database.now()
    marks = _marks(own, channels, now)
    since = max(min(mark.swept_until for mark in marks) - _OVERLAP, now - LOOK_BACK)
    of_runs = _notices_of_runs(database, since, told, environment)
    of_jobs = _notices_of_jobs(own, now - since, told, environment)
    written = 0
    for mark in marks:
        wanted = [notice for notice in of_runs if notice.happened_at >= mark.on_since]
        wanted += [notice for notice in of_jobs if notice.happened_at >= mark.opened_at]
        written += put_messages(own, mark.channel, wanted)
    with own.transaction() as connection:
        connection.execute(_SQL["mark_swept"], {"channels": list(channels), "now": now})
    return written


def put_messages(own: Database, channel: str, notices: Sequence[Notice]) -> int:
    """Write notices into the outbox, each with its job, in one transaction; return how many were not there yet."""
    if not notices:
        return 0
    by_id = {notice.message_id(channel): notice for notice in notices}
    with own.transaction() as connection:
        rows = connection.execute(_SQL["insert_messages"], _values(channel, by_id)).fetchall()
        new = [row["message_id"] for row in rows]
        enqueue_many(own, [_job(channel, message_id, by_id[message_id]) for message_id in new], connection=connection)
    for message_id in new:
        log.info("notice.queued", channel=channel, type=str(by_id[message_id].type), message_id=str(message_id))
    return len(new)


def get_message(own: Database, message_id: UUID) -> Message:
    """What is to be sent.

    Raises:
        NotFound: the outbox does not have it any more.
    """
    rows = own.read(_SQL["get_message"], {"message_id": message_id})
    if not rows:
        raise NotFound(
            f"There is no message {message_id} in the outbox.", hint="It was cleared away after its time; nothing is to be done."
        )
    row = rows[0]
    notice = Notice(NoticeType(row["type"]), row["subject"], row["happened_at"].astimezone(UTC), row["facts"])
    return Message(row["message_id"], row["channel"], notice, row["sent_at"])


def record_sent(connection: Connection, message_id: UUID) -> None:
    """Note, in the caller's transaction on our own database, that the message was accepted. Safe to repeat."""
    connection.execute(_SQL["record_sent"], {"message_id": message_id})


def delete_old_messages(own: Database, older_than: timedelta) -> int:
    """Delete what was written down longer ago, though never what a sweep may still look back to."""
    with own.transaction() as connection:
        return connection.execute(_SQL["delete_old"], {"older_than": max(older_than, 2 * LOOK_BACK)}).rowcount


def _marks(own: Database, channels: Sequence[str], now: datetime) -> list[_Mark]:
    values = {"channels": list(channels), "now": now}
    with own.transaction() as connection:
        connection.execute(_SQL["open_channels"], values)
        return [_Mark(**row) for row in connection.execute(_SQL["list_channels"], values).fetchall()]


def _notices_of_runs(database: Database, since: datetime, told: AbstractSet[str], environment: str) -> list[Notice]:
    found: list[Notice] = []
    if told & {NoticeType.RUN_SUCCEEDED, NoticeType.RUN_FAILED}:
        found += [run_notice(row, environment) for row in database.read(_SQL["ended_runs"], {"since": since})]
    if NoticeType.LOCK_RELEASED in told:
        rows = database.read(_SQL["forced_releases"], {"since": since, "beginning": _RELEASED})
        found += [release_notice(row, environment) for row in rows]
    return _only(found, told)


def _notices_of_jobs(own: Database, age: timedelta, told: AbstractSet[str], environment: str) -> list[Notice]:
    if NoticeType.JOB_FAILED not in told:
        return []
    rows = own.read(_SQL["failed_jobs"], {"age": age, "without": list(QUIET_KINDS)})
    return [job_notice(row, environment) for row in rows]


def _only(notices: Iterable[Notice], told: AbstractSet[str]) -> list[Notice]:
    return [notice for notice in notices if notice.type in told]


def _values(channel: str, by_id: Mapping[UUID, Notice]) -> dict[str, object]:
    notices = list(by_id.values())
    return {
        "channel": channel,
        "message_ids": list(by_id),
        "types": [str(notice.type) for notice in notices],
        "subjects": [notice.subject for notice in notices],
        "moments": [notice.happened_at for notice in notices],
        "facts": [json_text(notice.facts) for notice in notices],
    }


def _job(channel: str, message_id: UUID, notice: Notice) -> NewJob:
    """The payload names the message and nothing of the channel but its name."""
    return NewJob(
        kind=KIND,
        payload={"message_id": str(message_id), "channel": channel, "type": str(notice.type)},
        requested_by="treadle",
        once=f"{KIND}:{message_id}",
    )
