"""One week of valid events → one row per customer: the figures that go to the CRM. Written once, for Polars, DuckDB and Spark, by way of narwhals.

`sql/vw_reverse_etl_customer_weekly.sql` says the same in T-SQL; the tests run all of them on the same events and compare every value.
"""

import hashlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import narwhals as nw
import polars as pl

from treadle.flows.weekly.week import Week

HIGH_FROM: Final = 5_000  # product.md §2: HIGH ≥ 5000, MEDIUM ≥ 1000, else LOW
MEDIUM_FROM: Final = 1_000
MONEY: Final = nw.Decimal(38, 6)
METRIC_COLUMNS: Final = (
    "external_customer_id",
    "external_signal_id",
    "batch_week_start",
    "batch_week_end",
    "total_spend_week",
    "activity_count_week",
    "last_activity_time",
    "customer_tier",
)
ROW_GROUP_ROWS: Final = 100_000
EVENTS_PER_PASS: Final = 16_000_000  # so many events have at most as many customers: some 1.5 GB when each has one event only
_SAMPLE_STEP: Final = 1_000
_BLOCK_BYTES: Final = 1024 * 1024

Frame = TypeVar("Frame")


@dataclass(frozen=True, slots=True)
class MetricsFile:
    """`metrics.parquet`: one row per customer, in the order of external_customer_id."""

    path: Path
    rows: int
    sha256: str  # hexadecimal, lower case
    size_bytes: int


def weekly_metrics(events: Frame, week: Week, spend_types: frozenset[str]) -> Frame:
    """Sum one week of valid events into one row per customer, keys ascending by their UTF-8 bytes.

    events: one row per event – user_id text, event_type text, event_time timestamp (UTC), price decimal(38, 6) or null. A lazy frame of Polars,
    a DuckDB relation or a Spark frame; the answer is of the same kind.
    Returns external_customer_id (key; user_id as it is, leading zeros and all), external_signal_id (`<user_id>_<week start>`), batch_week_start,
    batch_week_end, total_spend_week decimal(38, 6), activity_count_week (events of every type), last_activity_time (UTC), customer_tier.
    spend_types: the event types whose price is spent money. A customer without any has spend 0, not null. Source of the tiers: product.md §2.

    Polars sums decimals beyond 38 digits wrongly in memory, and refuses them when streaming: collect with `engine="streaming"`, as `write_metrics` does.
    """
    native: Any = events
    frame: nw.LazyFrame[Any] = nw.from_native(native)
    spent = nw.when(nw.col("event_type").is_in(sorted(spend_types))).then(nw.col("price").cast(MONEY))
    customers = frame.group_by("user_id").agg(
        spent.sum().alias("total_spend_week"),
        nw.len().alias("activity_count_week"),
        nw.col("event_time").max().alias("last_activity_time"),
    )
    spend, count = nw.col("total_spend_week").cast(MONEY).fill_null(0).cast(MONEY), nw.col("activity_count_week").cast(nw.Int64())
    return customers.with_columns(spend, count).select(*_columns(week)).sort("external_customer_id").to_native()


def _columns(week: Week) -> list[Any]:
    spend = nw.col("total_spend_week")
    low_or_medium = nw.when(spend >= MEDIUM_FROM).then(nw.lit("MEDIUM")).otherwise(nw.lit("LOW"))
    return [
        nw.col("user_id").alias("external_customer_id"),
        nw.concat_str(nw.col("user_id"), nw.lit(f"_{week.start}")).alias("external_signal_id"),
        nw.lit(week.start, dtype=nw.Date()).alias("batch_week_start"),
        nw.lit(week.end, dtype=nw.Date()).alias("batch_week_end"),
        spend,
        nw.col("activity_count_week"),
        nw.col("last_activity_time"),
        nw.when(spend >= HIGH_FROM).then(nw.lit("HIGH")).otherwise(low_or_medium).alias("customer_tier"),
    ]


def write_metrics(
    events_path: Path, week: Week, out: Path, spend_types: frozenset[str], *, events_per_pass: int = EVENTS_PER_PASS
) -> MetricsFile:
    """Write the metrics of an events file to `out`, all at once: a reader sees the old file or the new one. Safe to repeat; same events, same bytes.

    Memory grows with the customers of one pass, not with the week: a week of more events than `events_per_pass` is gone through several times,
    each time for another range of customers.
    """
    events = pl.scan_parquet(events_path)
    ranges = _ranges(events, events_per_pass)
    if len(ranges) == 1:
        return publish_metrics(weekly_metrics(events, week, spend_types), out)
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = [out.with_name(f".{out.name}.{uuid4().hex[:12]}.tmp") for _ in ranges]
    try:
        for part, chosen in zip(parts, ranges, strict=True):
            _sink(weekly_metrics(events.filter(chosen), week, spend_types), part)
        return publish_metrics(pl.scan_parquet(parts), out)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def publish_metrics(metrics: pl.LazyFrame, out: Path) -> MetricsFile:
    """Write metrics that are in order to `out`, all at once."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid4().hex[:12]}.tmp")
    try:
        _sink(metrics, temporary)
        written = _describe(temporary, out)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _ranges(events: pl.LazyFrame, events_per_pass: int) -> list[pl.Expr]:
    """Conditions on user_id, each true for about as many events as a pass may see; together they choose each event once. In ascending order."""
    event_count: int = events.select(pl.len()).collect().item()
    passes = -(-event_count // events_per_pass)
    if passes <= 1:
        return [pl.lit(True)]
    step = min(_SAMPLE_STEP, max(1, events_per_pass // 4))
    sample = events.select(pl.col("user_id").gather_every(step).sort()).collect(engine="streaming").to_series()
    bounds = sorted({sample[len(sample) * number // passes] for number in range(1, passes)})
    user = pl.col("user_id")
    inner = [(user >= low) & (user < high) for low, high in itertools.pairwise(bounds)]
    return [user < bounds[0], *inner, user >= bounds[-1]]


def _sink(frame: pl.LazyFrame, path: Path) -> None:
    frame.sink_parquet(path, compression="snappy", row_group_size=ROW_GROUP_ROWS, maintain_order=True, engine="streaming")


def _describe(temporary: Path, out: Path) -> MetricsFile:
    digest = hashlib.sha256()
    with temporary.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
        os.fsync(file.fileno())
    rows: int = pl.scan_parquet(temporary).select(pl.len()).collect().item()
    return MetricsFile(out, rows, digest.hexdigest(), temporary.stat().st_size)
