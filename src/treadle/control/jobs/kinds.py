"""What kinds of jobs a worker can do."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from treadle.control.jobs.job import JsonValue
from treadle.control.jobs.run import JobContext


@dataclass(frozen=True, slots=True)
class Kind:
    """The code of one kind of job, and how patient to be with it.

    run: does the work in steps and returns the job's result; called anew for each attempt.
    max_attempts, deadline_seconds: for jobs that do not say. lease_seconds: how long a worker may be silent before another takes over.
    """

    name: str
    run: Callable[[JobContext], JsonValue]
    max_attempts: int = 5
    deadline_seconds: float = 3600
    lease_seconds: float = 30


def by_name(kinds: Iterable[Kind]) -> Mapping[str, Kind]:
    """Name → kind, as `JobWorker` takes them."""
    return {kind.name: kind for kind in kinds}
