"""One look at an active sales run: ask Fabric, decide, write. The worker calls `drive_run` again and again until the run has ended.

Each look may be repeated, by this worker or another, at any moment: what it writes is guarded in the database.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from treadle.clients.fabric import ActivityRun, JobId, JobInstance
from treadle.control import events, reconcile, runs
from treadle.control.database import AdvisoryLock
from treadle.control.reconcile import CLOCK_SKEW, Adopt, Fail, NeedsOperator, SeenJob, Wait
from treadle.control.run import Run
from treadle.control.run_search import claimed_job_ids
from treadle.control.states import RunStatus, job_status, next_status
from treadle.control.worker import Look
from treadle.errors import Conflict, NotFound, TreadleError
from treadle.flows.sales import outcome, stages
from treadle.flows.sales.flow import cancel_job
from treadle.flows.sales.services import SalesServices

log = structlog.get_logger()

ENDED = Look(next_seconds=None)


def drive_run(services: SalesServices, run: Run) -> Look:
    """Take a run one look further towards its end.

    Raises:
        TreadleError: Fabric, the lake or the database could not be asked. The run stays as it is; look again later.
    """
    run = runs.get_run(services.database, run.run_id)
    if run.status.ended:
        return ENDED
    if run.fabric_job_id is None:
        return _settle_unknown(services, run)
    try:
        job = services.fabric.get_job_instance(services.workspace, services.pipeline, JobId(run.fabric_job_id))
    except NotFound:
        return _job_not_found(services, run)
    return _follow(services, run, job)


def _follow(services: SalesServices, run: Run, job: JobInstance) -> Look:
    """Bring the run to where its job is."""
    status = job_status(job.status)
    if status is None:
        return _unknown_word(services, run, job)
    wanted = next_status(run.status, status)
    if wanted is RunStatus.SUCCEEDED:
        return _finish_completed(services, run, job)
    if wanted is RunStatus.FAILED:
        return _finish_failed(services, run, job)
    if wanted is not run.status:
        message = f"Fabric reports {job.status}: the run is {wanted}."
        runs.advance_run(services.database, run.run_id, run.status, wanted, message, started_at=job.started_at)
    if runs.cancel_requested_by(services.database, run.run_id):
        cancel_job(services, job.job_id)  # asked before there was a job, or the request was lost: asking again does no harm
    _note_progress(services, run, _activities(services, run, job))
    return Look(_poll_seconds(services, job))


def _finish_completed(services: SalesServices, run: Run, job: JobInstance) -> Look:
    """Fabric says Completed: believe the run's own files, not the word."""
    _note_progress(services, run, _activities(services, run, job))
    try:
        result = outcome.read_result(services.lake, run)
    except outcome.InvalidResult as error:
        return _fail(services, run, f"Fabric reports Completed, but {error.message}", started_at=job.started_at)
    message = f"The run succeeded: {result.summary}"
    runs.finish_run(
        services.database, run.run_id, RunStatus.SUCCEEDED, kpis=result.kpis, artifacts=result.artifacts,
        events=[events.status_change(message), *[events.warning(text) for text in result.warnings], events.log("The lock was released.")],
        started_at=job.started_at, notebook_version=result.notebook_version,
    )  # fmt: skip
    log.info("run.succeeded")
    return ENDED


def _finish_failed(services: SalesServices, run: Run, job: JobInstance) -> Look:
    cancelled_by = runs.cancel_requested_by(services.database, run.run_id)
    activities = _activities(services, run, job)
    _note_progress(services, run, activities)
    message = outcome.failure_message(services.lake, run, job, activities, cancelled_by)
    return _fail(services, run, message, started_at=job.started_at)


def _fail(services: SalesServices, run: Run, message: str, *, started_at: datetime | None = None) -> Look:
    told = [events.status_change(f"{run.status} → FAILED."), events.error(message), events.log("The lock was released.")]
    runs.finish_run(services.database, run.run_id, RunStatus.FAILED, error_message=message, events=told, started_at=started_at)
    log.info("run.failed", reason=message)
    return ENDED


def _unknown_word(services: SalesServices, run: Run, job: JobInstance) -> Look:
    """Fabric may add words: keep the run's status and say so once. After the deadline ask the job to stop; then, a grace period later, give up."""
    strange = f"Fabric reports {job.status!r}, which Treadle does not know; the run stays {run.status}."
    events.append_once(services.database, run.run_id, events.warning(strange))
    if _said_longer_ago(services, run, strange, services.unknown_status_deadline):
        hours = services.unknown_status_deadline.total_seconds() / 3600
        stopped = f"Fabric has reported {job.status!r} for {hours:g} h. The job is asked to stop."
        cancel_job(services, job.job_id)
        events.append_once(services.database, run.run_id, events.warning(stopped))
        if _said_longer_ago(services, run, stopped, services.trigger_grace):
            return _fail(
                services,
                run,
                f"Fabric has reported {job.status!r}, which Treadle does not know, for {hours:g} h, and the job did not stop when asked to.",
            )
    return Look(_poll_seconds(services, job))


def _said_longer_ago(services: SalesServices, run: Run, message: str, span: timedelta) -> bool:
    said_at = events.first_said_at(services.database, run.run_id, message)
    return said_at is not None and services.database.now() - said_at > span


def _job_not_found(services: SalesServices, run: Run) -> Look:
    """Right after the start Fabric may not know its own job yet; later, the list has the last word."""
    asked_at = runs.trigger_announced_at(services.database, run.run_id) or run.created_at
    if services.database.now() - asked_at < services.trigger_grace:
        return Look(services.poll_seconds)
    listed = services.fabric.list_job_instances(services.workspace, services.pipeline)
    for job in listed:
        if job.job_id == run.fabric_job_id:
            return _follow(services, run, job)
    return _fail(
        services, run, f"Fabric no longer knows job {run.fabric_job_id}: neither by its id nor in the list of the pipeline's jobs."
    )


def _settle_unknown(services: SalesServices, run: Run) -> Look:
    """The run has no job: its starter died, or the answer was lost. Find the job, or be sure that there is none."""
    lease = services.database.try_advisory_lock(f"trigger:{run.run_id}")
    if lease is None:
        return Look(services.poll_seconds)  # its trigger is alive
    try:
        return _settle_while_nobody_triggers(services, run.run_id, lease)
    finally:
        lease.release()


def _settle_while_nobody_triggers(services: SalesServices, run_id: UUID, lease: AdvisoryLock) -> Look:
    run = runs.get_run(services.database, run_id)  # again, under the lock: the trigger may have ended just before
    if run.status.ended or run.fabric_job_id:
        return Look(0)
    jobs = services.fabric.list_job_instances(services.workspace, services.pipeline)
    evidence = outcome.started_job(services.lake, run.run_id)
    decision = reconcile.decide(
        run,
        [SeenJob(job.job_id, job.invoke_type, job.status, job.started_at) for job in jobs],
        claimed=claimed_job_ids(services.database, {job.job_id for job in jobs} | ({evidence} if evidence else set()), not_of=run.run_id),
        started_evidence=evidence,
        asked_at=runs.trigger_announced_at(services.database, run_id),
        trigger_alive=not lease.alive(),  # a lease that was lost with its session proves nothing
        now=services.database.now(),
        grace=services.trigger_grace,
    )
    return _carry_out(services, run, decision)


def _carry_out(services: SalesServices, run: Run, decision: reconcile.Decision) -> Look:
    match decision:
        case Wait(seconds=seconds):
            return Look(min(max(seconds, 0.1), services.poll_seconds))
        case Adopt(job_id=job_id):
            runs.adopt_job(services.database, run.run_id, job_id, f"Found the run's job in Fabric: {job_id}.")
            return Look(0)
        case Fail(message=message):
            return _fail(services, run, message)
        case NeedsOperator(message=message):
            events.append_once(services.database, run.run_id, events.warning(message))
            return Look(services.poll_seconds_max)


def _note_progress(services: SalesServices, run: Run, activities: Sequence[ActivityRun]) -> None:
    """Append what the pipeline's activities are doing, once per change, their end at the last look included."""
    for activity in activities:
        events.append_once(services.database, run.run_id, events.log(stages.progress_note(activity)))
        if link := outcome.output_link(activity):
            events.append_once(services.database, run.run_id, events.log(stages.output_note(activity.name, link)))


def _activities(services: SalesServices, run: Run, job: JobInstance) -> list[ActivityRun]:
    """Progress is a courtesy: failing to read it changes nothing."""
    since: datetime = run.created_at - CLOCK_SKEW
    try:
        return services.fabric.query_activity_runs(
            services.workspace, JobId(job.job_id), after=since, before=services.database.now() + timedelta(days=1)
        )
    except TreadleError as error:
        if isinstance(error, Conflict):
            raise
        log.warning("run.progress_unreadable", error=str(error))
        return []


def _poll_seconds(services: SalesServices, job: JobInstance) -> float:
    """Obey Retry-After within reason: 60 s literally obeyed makes a five-second job look like a minute's."""
    asked = services.poll_seconds if job.retry_after_seconds is None else job.retry_after_seconds
    return min(max(asked, 0.2), services.poll_seconds_max)
