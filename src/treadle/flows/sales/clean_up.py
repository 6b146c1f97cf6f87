"""The hourly clean-up: what nobody needs any more is deleted, each kind of it in a step of its own. Safe to repeat."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from treadle.control import idempotency
from treadle.control.database import Database
from treadle.control.jobs.job import JsonValue, NewJob
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.queue import delete_ended
from treadle.control.jobs.run import JobContext
from treadle.control.outbox import delete_old_messages
from treadle.control.run_search import list_runs
from treadle.control.states import RunStatus
from treadle.flows.sales import resumable
from treadle.flows.sales.lakehouse import ATTEMPT_PREFIX, run_path
from treadle.flows.sales.profiles import delete_old_profiles
from treadle.flows.sales.services import SalesServices

KIND: Final = "clean_up"
EVERY_SECONDS: Final = 3600
ABANDONED_UPLOAD_SECONDS: Final = 24 * 3600

ENDED_LATELY: Final = timedelta(days=2)

KEPT_JOBS: Final = timedelta(days=30)
KEPT_MESSAGES: Final = timedelta(days=30)
KEPT_PROFILES: Final = timedelta(days=90)

Task = Callable[[], int]  # deletes, and returns how many


def sales_tasks(services: SalesServices, own: Database) -> dict[str, Task]:
    """What the sales flow leaves behind. Our own tables come first: the lake may be away, and then only its part waits."""
    return {
        "ended jobs": partial(delete_ended, own, KEPT_JOBS),
        "sent messages": partial(delete_old_messages, own, KEPT_MESSAGES),
        "old profiles": partial(delete_old_profiles, own, KEPT_PROFILES),
        "answered requests": partial(idempotency.delete_expired, own),
        "expired uploads": partial(resumable.clear_over, services, own),
        "abandoned uploads": lambda: services.lake.discard_abandoned_uploads(ABANDONED_UPLOAD_SECONDS, services.database.now()),
        "broken-off attempts": partial(_delete_attempts, services),
    }


def _delete_attempts(services: SalesServices) -> int:
    """What notebooks that were ended half-way have left in their runs' folders: as much as the whole result. Runs that went well leave nothing."""
    since, after, deleted = services.database.now() - ENDED_LATELY, None, 0
    while True:
        page = list_runs(services.database, status=(RunStatus.FAILED,), since=since, include_restores=False, limit=500, after=after)
        for run in page.runs:
            for folder in services.lake.list_folders(run_path(run.run_id)):
                if folder.name.startswith(ATTEMPT_PREFIX):
                    services.lake.delete_folder(folder.path)
                    deleted += 1
        if (after := page.next) is None:
            return deleted


def clean_up_kind(tasks: Mapping[str, Task]) -> Kind:
    """The kind of job that does all of these, in this order."""
    return Kind(KIND, partial(_clean_up, tasks), deadline_seconds=EVERY_SECONDS)


def hourly_clean_up(slot: datetime) -> NewJob:
    """The clean-up of one hour."""
    return NewJob(KIND, {"slot": slot.isoformat()}, "treadle", key=KIND)


def _clean_up(tasks: Mapping[str, Task], context: JobContext) -> JsonValue:
    return {name: context.step(name, task) for name, task in tasks.items()}
