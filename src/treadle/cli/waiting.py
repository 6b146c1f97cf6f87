"""Wait for the end of a run, or for what happens to it next."""

import threading
import time
from collections.abc import Sequence

import typer

from treadle.cli.output import say, show_json, status_cell, stderr, stdout
from treadle.cli.run_views import print_events, run_details, show_run
from treadle.control import events, runs
from treadle.control.events import Event
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.control.worker import Worker
from treadle.errors import TreadleError, Unavailable
from treadle.wiring import Wiring

RUN_FAILED = 7  # --wait: the run ended as FAILED
MAX_TIMEOUT = 7 * 24 * 3600
LOOK_SECONDS = 0.2


def finish_command(wiring: Wiring, run: Run, *, wait: bool, timeout: float, json_output: bool) -> None:
    """Show the run that was started; with `wait`, drive it to its end first and leave with exit code 7 if it failed."""
    if wait:
        run = wait_for_end(wiring, run, timeout)
    if json_output:
        show_json(run_details(wiring, run))
    elif wait:
        show_run(wiring, run)
    else:
        say(f"Run {run.run_id} is {run.status}. Follow it with: treadle run events {str(run.run_id)[:8]} --follow")
        stdout().print(str(run.run_id))
    if wait and run.status is not RunStatus.SUCCEEDED:
        raise typer.Exit(RUN_FAILED)


def wait_for_end(wiring: Wiring, run: Run, timeout: float) -> Run:
    """Wait until the run has ended, working on it ourselves whenever no other worker does.

    Raises:
        Unavailable: it has not ended in time; it goes on.
    """
    deadline = time.monotonic() + timeout
    worker, pause, said = wiring.worker(), threading.Event(), ""
    with stderr.status(f"Run {str(run.run_id)[:8]}: {run.status}") as progress:
        try:
            while not run.status.ended:
                if time.monotonic() > deadline:
                    raise _not_ended(run, timeout)
                said = _work(worker, said)
                run = runs.get_run(wiring.database, run.run_id)
                progress.update(f"Run {str(run.run_id)[:8]}: {status_cell(run.status)}")
                pause.wait(LOOK_SECONDS)
        finally:
            worker.close()
    return run


def follow_events(wiring: Wiring, run: Run, seen: Sequence[Event], *, json_output: bool) -> None:
    """Print what is added to the trail until the run has ended."""
    pause, known = threading.Event(), {event.id for event in seen}
    while True:
        ended = runs.get_run(wiring.database, run.run_id).status.ended
        fresh = [event for event in events.list_events(wiring.database, run.run_id) if event.id not in known]
        print_events(fresh, json_output=json_output)
        known.update(event.id for event in fresh)
        if ended:
            return
        pause.wait(1)


def _not_ended(run: Run, timeout: float) -> Unavailable:
    return Unavailable(
        f"Run {run.run_id} has not ended within {timeout:g} s; it is {run.status} and goes on.",
        hint=f"treadle run events {str(run.run_id)[:8]} --follow",
    )


def _work(worker: Worker, said: str) -> str:
    """Look at all runs once, and return what we are waiting for, which is told when it changes."""
    try:
        worker.step(ignore_schedule=False)
    except TreadleError as error:
        if error.message != said:
            say(f"Waiting: {error.message}")
        return error.message
    return ""
