"""A week's metrics, and the stage SYNC in this process or in one that can be killed."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl

from treadle.flows.weekly.deliver import sync_week
from treadle.flows.weekly.metrics import MetricsFile
from treadle.flows.weekly.services import WeeklyServices, nobody_listens, nobody_objects
from treadle.flows.weekly.sync_outcome import SyncOutcome
from treadle.flows.weekly.week import Week, week_of
from treadle.settings import Settings, load_settings
from treadle.wiring import wired

WEEK = week_of(date(2019, 12, 2))


def write_week(folder: Path, spends: Iterable[Decimal | int | str], *, week: Week = WEEK, tier: str = "LOW") -> MetricsFile:
    """Metrics of customers 1, 2, 3 …, each of whom spent so much."""
    amounts = [Decimal(spend) for spend in spends]
    ids = [f"{number:06d}" for number in range(1, len(amounts) + 1)]
    frame = pl.DataFrame(
        {
            "external_customer_id": ids,
            "external_signal_id": [f"{one}_{week.start}" for one in ids],
            "batch_week_start": [week.start] * len(ids),
            "batch_week_end": [week.end] * len(ids),
            "total_spend_week": pl.Series(amounts, dtype=pl.Decimal(38, 6)),
            "activity_count_week": pl.Series([3] * len(ids), dtype=pl.Int64),
            "last_activity_time": pl.Series([datetime(2019, 12, 8, 23, 59, 59, 123456, UTC)] * len(ids), dtype=pl.Datetime("us", "UTC")),
            "customer_tier": [tier] * len(ids),
        }
    )
    path = folder / "weeks" / week.folder / "metrics.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return MetricsFile(path, frame.height, "", path.stat().st_size)


@contextmanager
def opened(settings: Settings, folder: Path) -> Iterator[WeeklyServices]:
    """The weekly services of an environment, with work folders of the test's own."""
    with wired(settings.model_copy(update={"state_dir": folder})) as wiring:
        yield wiring.weekly()


def sync(services: WeeklyServices, metrics: MetricsFile, run_id: UUID, **how: Any) -> SyncOutcome:
    """The stage, with nobody listening."""
    return sync_week(services, WEEK, run_id, metrics, **{"plan_only": False, "report": nobody_listens, "check": nobody_objects, **how})


def main() -> None:
    """Sync in a process that can be killed: state of the environment, work folder, run id, number of rows."""
    state, folder, run_id, rows = sys.argv[1:]
    with opened(load_settings(Path(state)), Path(folder)) as services:
        path = Path(folder) / "weeks" / WEEK.folder / "metrics.parquet"
        sync(services, MetricsFile(path, int(rows), "", path.stat().st_size), UUID(run_id))


if __name__ == "__main__":
    main()
