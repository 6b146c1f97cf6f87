"""Whether a week's events are fit for use: checks of what was kept, and the gate on how much was not. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

import polars as pl

from treadle.flows.weekly.week import Week

Gate = Literal["SUCCESS", "SUCCESS_WITH_REJECTS", "FAILED"]
LEAST_VALID_PCT: Final = 95  # below it the batch is refused, whatever the gate's threshold


@dataclass(frozen=True, slots=True)
class QualityCheck:
    """One check of the events. found: how many rows it counted; what it wants of that number, `detail` says."""

    check: str
    passed: bool
    found: int
    detail: str


def check_events(events: pl.LazyFrame | pl.DataFrame, week: Week) -> tuple[QualityCheck, ...]:
    """Check events.parquet once more as a whole; the contract has seen to each of its rows, so a check that fails is a defect or a damaged file.

    events: event_time timestamp (UTC), user_id text, price decimal or null; it is read in one streaming pass.
    """
    time = pl.col("event_time")
    counts = (
        events.lazy()
        .select(
            rows=pl.len(),
            null_users=pl.col("user_id").is_null().sum(),
            outside=(~time.is_between(week.opens_at, week.closes_at, closed="left")).fill_null(True).sum(),
            negative=(pl.col("price") < 0).sum(),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    return (
        QualityCheck("has_rows", counts["rows"] >= 1, counts["rows"], "at least one event"),
        QualityCheck("no_null_user", counts["null_users"] == 0, counts["null_users"], "no event without user_id"),
        QualityCheck("times_within_week", counts["outside"] == 0, counts["outside"], f"no event outside {week} (UTC)"),
        QualityCheck("no_negative_price", counts["negative"] == 0, counts["negative"], "no price below zero"),
    )


def failed(checks: Sequence[QualityCheck]) -> tuple[QualityCheck, ...]:
    """Those that did not pass."""
    return tuple(check for check in checks if not check.passed)


def gate(rows_fetched: int, rows_rejected: int, threshold_pct: Decimal | float) -> Gate:
    """Whether the week may go on: FAILED when more than `threshold_pct` percent of its records were rejected.

    A week without any record passes here; that it has no events is for `check_events` to say. Raises ValueError when the counts cannot be.
    """
    if not 0 <= rows_rejected <= rows_fetched:
        raise ValueError(f"{rows_rejected} of {rows_fetched} records cannot have been rejected.")
    if rows_rejected * 100 > Decimal(str(threshold_pct)) * rows_fetched:
        return "FAILED"
    return "SUCCESS_WITH_REJECTS" if rows_rejected else "SUCCESS"


def is_acceptable(rows_fetched: int, rows_rejected: int) -> bool:
    """Whether at least LEAST_VALID_PCT percent of the records are valid."""
    return (rows_fetched - rows_rejected) * 100 >= LEAST_VALID_PCT * rows_fetched


def reject_rate_pct(rows_fetched: int, rows_rejected: int) -> Decimal:
    """The rejected share in percent with six places, as `pipeline_run` keeps it; 0 when there were no records."""
    if not rows_fetched:
        return Decimal("0.000000")
    return (Decimal(rows_rejected) * 100 / Decimal(rows_fetched)).quantize(Decimal("0.000001"))
