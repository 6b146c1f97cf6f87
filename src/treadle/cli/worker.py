"""treadle worker: drive every active run to its end, and do the background jobs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import structlog
import typer

from treadle.cli.options import State, session
from treadle.cli.output import reported, say
from treadle.cli.stopping import stop_on_signal, stop_with_parent
from treadle.control import runs
from treadle.control.jobs.worker import JobWorker
from treadle.control.migrate import pending
from treadle.control.worker import Worker
from treadle.errors import TreadleError
from treadle.flows.sales.notifications import keep_sweeping
from treadle.wiring import Wiring

log = structlog.get_logger()
PATIENCE_SECONDS = 24 * 3600
MIGRATION_LOOK_SECONDS = 5.0


@reported
def worker(
    once: Annotated[
        bool,
        typer.Option("--once", help="Look once at each active run, do one job that is due, then stop: the single-step mode for tests."),
    ] = False,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop when no run is active and no job is due any more.")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input ends.")] = False,
    state: State = None,
) -> None:
    """Drive every active run to its end and do the background jobs. Any number may run; each run and each job has one of them at a time.

    Logs are JSON on standard error.
    """
    with session(state, for_people=False) as wiring:
        drives, jobs = wiring.worker(), wiring.job_worker()
        try:
            if once:
                _step(wiring, drives, jobs)
            elif until_idle:
                _work_until_idle(wiring, drives, jobs)
            else:
                stop = stop_on_signal()
                if with_parent:
                    stop_with_parent(stop)
                _work(wiring, drives, jobs, stop)
        finally:
            jobs.close()
            drives.close()


def _step(wiring: Wiring, drives: Worker, jobs: JobWorker) -> None:
    looked = drives.step()
    done = 0
    if _migrated(wiring):
        wiring.sweep_notices()
        done = jobs.step()
    say(f"Looked at {looked} active run{'' if looked == 1 else 's'}, did {done} job{'' if done == 1 else 's'}.")


def _work_until_idle(wiring: Wiring, drives: Worker, jobs: JobWorker) -> None:
    """Both at once, and again as long as one has made work for the other."""
    if not _migrated(wiring):
        drives.run_until_idle(timeout_seconds=PATIENCE_SECONDS)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="job-worker") as beside:
        while True:
            jobs_idle = beside.submit(jobs.run_until_idle, PATIENCE_SECONDS)
            drives.run_until_idle(timeout_seconds=PATIENCE_SECONDS)
            jobs_idle.result()
            if not runs.active_runs(wiring.database) and not jobs.work_is_left():
                return


def _work(wiring: Wiring, drives: Worker, jobs: JobWorker, stop: threading.Event) -> None:
    """The runs in this thread; the jobs in another, from the moment when their tables are there."""
    with ThreadPoolExecutor(1, thread_name_prefix="job-worker") as beside:
        jobs_end = beside.submit(_work_off_jobs, wiring, jobs, stop)
        try:
            drives.run(stop)
        finally:
            stop.set()
        jobs_end.result()


def _work_off_jobs(wiring: Wiring, jobs: JobWorker, stop: threading.Event) -> None:
    """Whatever ends this ends the process too: half a worker would look alive."""
    try:
        while not stop.is_set() and not _migrated(wiring):
            stop.wait(MIGRATION_LOOK_SECONDS)
        if not stop.is_set():
            _do_jobs_and_tell(wiring, jobs, stop)
    finally:
        stop.set()


def _do_jobs_and_tell(wiring: Wiring, jobs: JobWorker, stop: threading.Event) -> None:
    sweeping = threading.Thread(target=keep_sweeping, args=(wiring.sweep_notices, stop), name="notices")
    sweeping.start()
    try:
        jobs.run(stop)
    finally:
        stop.set()
        sweeping.join()


def _migrated(wiring: Wiring) -> bool:
    """Runs are driven all the same where the owner of the database has not made our own tables yet."""
    try:
        missing = pending(wiring.own)
    except TreadleError as error:
        log.warning("worker.jobs_wait", error=str(error), kind=type(error).__name__)
        return False
    if missing:
        log.warning("worker.jobs_wait", missing=missing, hint="Run: treadle migrate")
    return not missing
