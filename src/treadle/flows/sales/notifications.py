"""Tell Slack, Teams and webhooks what has happened: a sweep finds it, a job per message sends it, each once under one id.

A receiver that was told and could not answer is told again under the same `webhook-id`; Slack and Teams, which know no such id, may then show
a message twice. Nothing is ever lost for that.
"""

import json
import random
import threading
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from treadle.clients.webhooks import Channel, post
from treadle.control import outbox
from treadle.control.database import Database
from treadle.control.jobs.job import JsonValue
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.run import JobContext
from treadle.control.notify import MESSAGES
from treadle.errors import TreadleError, Unavailable

log = structlog.get_logger()

SWEEP_SECONDS: Final = 5.0
_ATTEMPTS: Final = 12
_DEADLINE_SECONDS: Final = 24 * 3600.0  # what could not be told in a day has been seen elsewhere


@dataclass(frozen=True, slots=True)
class Notifications:
    """Who is told what. No channel: nobody is told anything."""

    channels: tuple[Channel, ...] = ()
    told: AbstractSet[str] = frozenset()
    environment: str = "production"
    ca_file: Path | None = None  # trusted besides the system's certificates


def sweep_notices(database: Database, own: Database, notifications: Notifications) -> int:
    """Find what is to be told and queue it; return how many messages are new. Cheap, and may run at any time and anywhere."""
    names = [channel.name for channel in notifications.channels]
    return outbox.sweep(database, own, names, notifications.told, notifications.environment)


def keep_sweeping(sweep: Callable[[], int], stop: threading.Event, *, seconds: float = SWEEP_SECONDS) -> None:
    """Sweep every so many seconds until told to stop. A database that is away is waited for."""
    while not stop.wait(seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - keeps workers out of step, guards nothing
        try:
            sweep()
        except TreadleError as error:  # away, or too busy: the next sweep finds the same
            log.warning("notices.sweep_failed", error=error.message, kind=type(error).__name__)
        except Exception:  # a defect of ours is told at each sweep; it must not silence those who are told of it
            log.exception("notices.sweep_crashed")


def notification_kind(own: Database, notifications: Notifications) -> Kind:
    """The kind of job that sends one message to one channel."""
    channels = {channel.name: channel for channel in notifications.channels}
    return Kind(
        outbox.KIND, partial(_tell, own, channels, notifications.ca_file), max_attempts=_ATTEMPTS, deadline_seconds=_DEADLINE_SECONDS
    )


def _tell(own: Database, channels: Mapping[str, Channel], ca_file: Path | None, context: JobContext) -> JsonValue:
    message = outbox.get_message(own, UUID(context.payload["message_id"]))
    channel = channels.get(message.channel)
    if channel is None:
        raise Unavailable(  # in a rolling restart, a worker that has it may come for the next attempt
            f"The channel {message.channel} is not set up in this worker, so it was not told.",
            hint=f"Set NOTIFY_{message.channel.upper()}_URL, restart the workers, and retry the job.",
        )
    status = context.step("send", lambda: _send(channel, message, ca_file))
    context.transact("record", lambda connection: outbox.record_sent(connection, message.message_id))
    return {"channel": channel.name, "type": str(message.notice.type), "status": status}


def _send(channel: Channel, message: outbox.Message, ca_file: Path | None) -> int:
    body = json.dumps(MESSAGES[channel.name](message.notice), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return post(channel, f"msg_{message.message_id}", body, at=datetime.now(UTC), ca_file=ca_file)
