"""The two workbooks that come with Treadle, and runs of them; two weeks of the sandbox's events, and runs of those."""

import threading
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

from treadle.actions import jobs, weekly
from treadle.actions import runs as actions
from treadle.cli.waiting import LOOK_SECONDS, wait_for_end
from treadle.control.access import Principal
from treadle.control.jobs.job import Job
from treadle.control.jobs.states import JobState
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.errors import NotFound, OperationFailed
from treadle.flows.sales import samples
from treadle.flows.weekly.week import week_of
from treadle.wiring import Wiring

SAMPLES: Final = Path(__file__).parents[3] / "samples"
SUPERSTORE_COLUMNS: Final = {"Sales": "revenue"}
SAMPLE_WEEKS: Final = (
    week_of(date(2019, 12, 2)),
    week_of(date(2019, 12, 9)),
)  # all events of the first are valid; some of the second are not
_SECONDS: Final = 300


def sample_files(place: Path) -> tuple[Path, Path]:
    """Real orders, and generated ones, which are written into the folder if they are not there.

    Raises:
        NotFound: this is no checkout of Treadle.
    """
    superstore = SAMPLES / "superstore.xlsx"
    if not superstore.exists():
        raise NotFound(f"{superstore} is missing.", hint="Run this from a checkout of Treadle.")
    orders = place / samples.FILE_NAME
    if not orders.exists():
        samples.write_sales_orders(orders)
    return superstore, orders


def run_sample(wiring: Wiring, who: Principal, file: Path, columns: dict[str, str] | None) -> Run:
    """Run a workbook to its end. Raises OperationFailed when it fails."""
    started = actions.start(wiring.services, who, file.name, columns=columns, local_file=file)
    return require_success(wait_for_end(wiring, started, _SECONDS))


def require_success(run: Run) -> Run:
    """The run, if it succeeded. Raises OperationFailed."""
    if run.status is not RunStatus.SUCCEEDED:
        raise OperationFailed(f"Run {run.run_id} of a sample ended as {run.status}: {run.error_message}")
    return run


def ask_for_sample_weeks(wiring: Wiring, who: Principal) -> list[Job]:
    """Have a worker run the sample weeks, one after the other, beside whatever else there is to do."""
    return [weekly.request_run(wiring.services, who, week) for week in SAMPLE_WEEKS]


def wait_for_sample_weeks(wiring: Wiring, who: Principal, asked: Sequence[Job]) -> None:
    """Wait until a worker has run them. Raises OperationFailed when one fails, or is not done in time."""
    deadline, pause = time.monotonic() + _SECONDS, threading.Event()
    for job in asked:
        while not (seen := jobs.get_job(wiring.services, who, job.job_id)).state.ended:
            if time.monotonic() > deadline:
                raise OperationFailed(f"A sample week was not run within {_SECONDS} s: job {job.job_id} is {seen.state}.")
            pause.wait(LOOK_SECONDS)
        if seen.state is not JobState.SUCCEEDED:
            raise OperationFailed(f"Job {job.job_id} of a sample week ended as {seen.state}: {seen.error_message}", hint=seen.error_hint)
