"""Wait for the end of a background job, with what it says on the way. If no worker takes it up, this process does it."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from treadle.actions import jobs
from treadle.cli.exit_codes import EXIT_CODES
from treadle.cli.output import say, stderr
from treadle.control.access import Principal
from treadle.control.jobs.job import Job, JobEvent
from treadle.control.jobs.states import JobState
from treadle.control.jobs.worker import JobWorker
from treadle.errors import Unavailable
from treadle.wiring import Wiring

MAX_TIMEOUT: Final = 7 * 24 * 3600
LOOK_SECONDS: Final = 0.3
ALONE_SECONDS: Final = 2.0  # a worker that is there takes a job up within a second
_Told = Callable[[JobEvent], None]


def wait_for_job(wiring: Wiring, who: Principal, job: Job, *, timeout: float, open_worker: Callable[[], JobWorker]) -> Job:
    """Wait until the job has ended, showing how far it is. open_worker: a worker for it, for when nobody else does it.

    Raises:
        Unavailable: it has not ended in time; it goes on.
        Exit: somebody interrupted the waiting; the job goes on.
    """
    deadline = time.monotonic() + timeout
    try:
        with _progress(job) as told, _stand_in(open_worker) as stand_in:
            return _follow(wiring, who, job, deadline, told, stand_in)
    except KeyboardInterrupt:
        say(f"Interrupted. The job goes on as soon as a worker has it: treadle jobs events {str(job.job_id)[:8]} --follow")
        raise typer.Exit(EXIT_CODES[KeyboardInterrupt]) from None
    except TimeoutError:
        seen = jobs.get_job(wiring.services, who, job.job_id)
        raise Unavailable(
            f"Job {job.job_id} has not ended within {timeout:g} s; it is {seen.state} and goes on.",
            hint=f"treadle jobs events {str(job.job_id)[:8]} --follow",
        ) from None


def _follow(wiring: Wiring, who: Principal, job: Job, deadline: float, told: _Told, stand_in: Callable[[], None]) -> Job:
    """Whether the job has ended is asked before its events are read, so that none is left out."""
    pause, seen, waits_since = threading.Event(), 0, time.monotonic()
    while True:
        now = jobs.get_job(wiring.services, who, job.job_id)
        for event in jobs.list_events(wiring.services, who, job.job_id, after_seq=seen):
            told(event)
            seen = event.seq
        if now.state.ended:
            return now
        if now.state is JobState.RUNNING:
            waits_since = time.monotonic()
        elif time.monotonic() - waits_since > ALONE_SECONDS:
            stand_in()
        if time.monotonic() > deadline:
            raise TimeoutError
        pause.wait(LOOK_SECONDS)


@contextmanager
def _stand_in(open_worker: Callable[[], JobWorker]) -> Generator[Callable[[], None]]:
    """What starts a worker in this process, once. At the end it stops; what it was at is given back."""
    stop, running = threading.Event(), list[threading.Thread]()

    def start() -> None:
        if not running:
            say("No worker has taken the job up, so this process does it.")
            running.append(threading.Thread(target=open_worker().run, args=(stop,), name="stand-in-worker"))
            running[0].start()

    try:
        yield start
    finally:
        stop.set()
        for thread in running:
            if thread.ident is not None:  # an interruption may come before it has started
                thread.join()


@contextmanager
def _progress(job: Job) -> Generator[_Told]:
    """A bar on a terminal; elsewhere a line for whatever the job says of itself."""
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(f"Job {str(job.job_id)[:8]} waits for its turn", total=100)

        def told(event: JobEvent) -> None:
            if event.pct is not None:
                bar.update(task, completed=event.pct)
            bar.update(task, description=event.message if _is_worth_a_line(event) else event.step or event.message)
            if event.level != "INFO" or (not stderr.is_terminal and _is_worth_a_line(event)):
                say(f"{_share(event)}{event.message}")

        yield told


def _is_worth_a_line(event: JobEvent) -> bool:
    """What the job itself says; not that a step has begun or is done."""
    data: dict[str, Any] = event.data or {}
    return event.pct is not None or "step" in data


def _share(event: JobEvent) -> str:
    return "" if event.pct is None else f"{event.pct:3.0f} %  "
