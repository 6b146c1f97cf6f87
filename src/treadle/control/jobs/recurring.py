"""Jobs that are due again and again: at most one per slot, whoever and how many look."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog

from treadle.control.database import Database
from treadle.control.jobs.job import Job, NewJob
from treadle.control.jobs.queue import enqueue
from treadle.control.statements import load_queries
from treadle.errors import Unavailable

log = structlog.get_logger()
_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class Recurring:
    """Something to be done every so often.

    every_seconds: the length of a slot; slots are counted from 1970-01-01 00:00 UTC, so an hour's begin at the full hour.
    job: what to ask for in the slot that begins at the given moment (UTC).
    """

    name: str
    every_seconds: int
    job: Callable[[datetime], NewJob]


def enqueue_due(own: Database, recurrings: Sequence[Recurring]) -> list[Job]:
    """Ask for the job of each current slot that nobody has asked for yet; slots that passed while nobody looked are left out."""
    if not recurrings:
        return []
    named = {recurring.name: recurring for recurring in recurrings}
    values = {"names": list(named), "every_seconds": [recurring.every_seconds for recurring in named.values()]}
    found = [_asked(own, named[row["name"]], row["slot"]) for row in own.read(_SQL["open_slots"], values)]
    return [job for job in found if job]


def _asked(own: Database, recurring: Recurring, slot: datetime) -> Job | None:
    """None: another worker was first, or the job cannot be described or asked for – which must not keep the other recurrences from theirs."""
    try:
        new = replace(asked := recurring.job(slot), job_id=asked.job_id or uuid4())
        return _taken(own, recurring, slot, new)
    except Unavailable:
        raise
    except Exception:
        log.exception("job.recurring_crashed", name=recurring.name)
        return None


def _taken(own: Database, recurring: Recurring, slot: datetime, new: NewJob) -> Job | None:
    """The slot and its job in one transaction. None: another worker was first."""
    with own.transaction() as connection:
        if not connection.execute(_SQL["take_slot"], {"name": recurring.name, "slot": slot, "job_id": new.job_id}).fetchone():
            return None
        return enqueue(own, new, connection=connection)
