"""A run whose trigger had no known outcome – its starter died, or Fabric's answer was lost – and what is to become of it. Pure.

Fabric's list of jobs does not carry our run id, so the list alone cannot prove that a job is a run's. Hence the order: a live trigger settles
the matter itself; the sign of life that the job leaves in the run's own folder proves it; and only when the grace period is over – longer
than a request may be under way and the list may lag – does exactly one unknown job mean ours, and none mean that there is none.
A run is never triggered a second time.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from treadle.control.run import Run
from treadle.control.states import RunStatus, job_status

CLOCK_SKEW: Final = timedelta(minutes=2)  # by which Fabric's clock may be behind the database's
_LOOK_AGAIN_SECONDS: Final = 5.0  # while something else has to happen first


@dataclass(frozen=True, slots=True)
class SeenJob:
    """A job instance of the pipeline as Fabric lists it. `started_at` is None while it has not begun."""

    job_id: str
    invoke_type: str
    status: str
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be said yet; look again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Adopt:
    """This job is the run's."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Fail:
    """No job of the run exists."""

    message: str


@dataclass(frozen=True, slots=True)
class NeedsOperator:
    """A person has to say which job is the run's. A sign of life from the right one still settles it without."""

    message: str


Decision = Wait | Adopt | Fail | NeedsOperator


def decide(  # noqa: PLR0913 - every fact that the decision rests on, so that nothing is looked up in here
    run: Run,
    jobs: Sequence[SeenJob],
    *,
    claimed: AbstractSet[str],
    started_evidence: str | None,
    asked_at: datetime | None,
    trigger_alive: bool,
    now: datetime,
    grace: timedelta,
    skew: timedelta = CLOCK_SKEW,
) -> Decision:
    """Say what is to become of a SUBMITTED run that has no job.

    Read the run under its trigger lock: otherwise a trigger that ends between the two looks is misjudged (reliability-and-security.md §2 #8).

    Args:
        run: as it is now. One that has a job, or is past SUBMITTED, has nothing to settle: Wait(0).
        jobs: the pipeline's job instances, as Fabric lists them.
        claimed: the jobs that are known to belong to other runs.
        started_evidence: the job id in the run's `_started.json`; None when there is no such file or it names none.
        asked_at: when Fabric was about to be asked to start it. None: it never was; whoever asks says so in the trail first.
        trigger_alive: whether somebody holds the run's trigger lock.
        now: of the database's clock, as `asked_at` is.
        grace: after `asked_at`; longer than a trigger may be under way and Fabric's list may lag.
        skew: how much earlier than `asked_at` the run's job may seem to have begun.
    """
    if run.status is not RunStatus.SUBMITTED or run.fabric_job_id:
        return Wait(0)
    if trigger_alive:
        return Wait(_LOOK_AGAIN_SECONDS)
    taken = {job_id.lower() for job_id in claimed}
    if started_evidence:
        return _by_evidence(run, started_evidence, taken)
    if asked_at is None:
        return Fail("The start of the run broke off before Fabric was asked. The run can be started again.")
    remaining = (asked_at + grace - now).total_seconds()
    if remaining > 0:
        return Wait(remaining)
    return _by_elimination(run, _possible(jobs, taken, asked_at - skew))


def _by_evidence(run: Run, job_id: str, taken: AbstractSet[str]) -> Decision:
    """The job itself wrote its id into the folder of this run; it need not even be listed yet."""
    if job_id.lower() in taken:
        return NeedsOperator(
            f"The files of run {run.run_id} say that job {job_id} carries it, but that job belongs to another run. "
            "Look at the job in Fabric, then: treadle lock release --reason … --even-if-running"
        )
    return Adopt(job_id)


def _by_elimination(run: Run, possible: Sequence[SeenJob]) -> Decision:
    begun = [job for job in possible if job.started_at is not None]
    if len(begun) > 1:
        listed = ", ".join(job.job_id for job in begun)
        return NeedsOperator(
            f"Run {run.run_id} has no known job, and {len(begun)} jobs that nobody claims could be its own: {listed}. "
            "Look at them in Fabric, cancel what should not run, then: treadle lock release --reason … --even-if-running"
        )
    if len(begun) < len(possible):
        return Wait(_LOOK_AGAIN_SECONDS)  # one that waits to begin could be ours; when it begins, its time tells
    if begun:
        return Adopt(begun[0].job_id)
    return Fail("Fabric has no job of this run: the request to start it never arrived. The run can be started again.")


def _possible(jobs: Iterable[SeenJob], taken: AbstractSet[str], earliest: datetime) -> list[SeenJob]:
    """The jobs that could be the run's: started by request, claimed by nobody, not begun before the run."""
    unique = {job.job_id.lower(): job for job in jobs}  # a list that shifts while it is paged repeats rows
    return [job for key, job in sorted(unique.items()) if key not in taken and _could_be_ours(job, earliest)]


def _could_be_ours(job: SeenJob, earliest: datetime) -> bool:
    if job.invoke_type.casefold() != "manual":
        return False
    if job.started_at is not None:
        return job.started_at >= earliest
    known = job_status(job.status)
    return known is None or not known.ended  # over without ever having begun: it did no work and will not
