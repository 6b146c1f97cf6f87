"""The two workbooks that come with Treadle, and runs of them."""

from pathlib import Path
from typing import Final

from treadle.actions import runs as actions
from treadle.cli.waiting import wait_for_end
from treadle.control.access import Principal
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.errors import NotFound, OperationFailed
from treadle.flows.sales import samples
from treadle.wiring import Wiring

SAMPLES: Final = Path(__file__).parents[3] / "samples"
SUPERSTORE_COLUMNS: Final = {"Sales": "revenue"}
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
