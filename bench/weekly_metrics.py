"""Weekly metrics of ten million events against pandas: time, peak memory, and that both find the same.

Both read the flow's own events.parquet, whose prices are decimals. pandas gets Python objects for those and turns them into floats, as people do;
a second pandas has a file with float prices to begin with, which is the least that it can be asked to do, and is not exact.
"""

import os
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from bench.table import Row
from bench.weekly_rounds import measured_in_turns, medians, span

SECTION = "Weekly metrics: ten million events, a million customers, against pandas"
EVENTS = 10_000_000
ROUNDS = 3
WEEK_START, WEEK_END = date(2019, 12, 2), date(2019, 12, 8)
SEED = 7
TYPES = ["view"] * 70 + ["cart"] * 20 + ["purchase"] * 6 + ["remove_from_cart"] * 4


def run(*, events: int = EVENTS, rounds: int = ROUNDS) -> list[Row]:
    """Measure. Inputs are kept in TREADLE_BENCH_DIR when that is set."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as scratch:
        inputs = Path(os.environ.get("TREADLE_BENCH_DIR", scratch))
        inputs.mkdir(parents=True, exist_ok=True)
        source = make_events(inputs / f"events_{events}.parquet", events)
        floats = _with_floats(source)
        variants = {
            "treadle": ("metrics_treadle", source, Path(scratch) / "treadle.parquet"),
            "pandas": ("metrics_pandas", source, Path(scratch) / "pandas.parquet"),
            "pandas_floats": ("metrics_pandas", floats, Path(scratch) / "floats.parquet"),
        }
        measured = measured_in_turns(variants, rounds)
        for other in ("pandas", "pandas_floats"):
            _require_same(variants["treadle"][2], variants[other][2])
    return _rows(measured, events, rounds)


def make_events(path: Path, count: int) -> Path:
    """events.parquet as the flow writes it, `count` rows of a tenth as many customers; a file that is there stays."""
    if path.exists():
        return path
    random = np.random.default_rng(SEED)
    opens = datetime.combine(WEEK_START, datetime.min.time(), UTC)
    numbers = pl.LazyFrame(
        {
            "microseconds": random.integers(0, 7 * 86_400, count) * 1_000_000,
            "kind": random.integers(0, len(TYPES), count),
            "cents": random.integers(100, 50_000, count),
            "user": (count / 10 * random.random(count)).astype(np.int64),
            "product": random.integers(1, 60_000, count),
        }
    )
    money = pl.Decimal(38, 6)
    table = numbers.select(
        event_time=(pl.lit(opens) + pl.duration(microseconds="microseconds")).cast(pl.Datetime("us", "UTC")),
        event_type=pl.lit(pl.Series(TYPES)).implode().list.get(pl.col("kind")),
        product_id=pl.col("product").cast(pl.String),
        category_id=(2_053_013_550_000_000_000 + pl.col("product") % 900).cast(pl.String),
        category_code=pl.lit("electronics.smartphone"),
        brand="brand " + (pl.col("product") % 200).cast(pl.String),
        price=pl.when(pl.col("kind") < 98).then((pl.col("cents").cast(money) / pl.lit(100).cast(money)).cast(money)),
        user_id=(500_000_000 + pl.col("user")).cast(pl.String),
        user_session=pl.col("user").hash(SEED).cast(pl.String),
        batch_week_start=pl.lit(WEEK_START),
        batch_week_end=pl.lit(WEEK_END),
        ingested_at=pl.lit(opens).dt.cast_time_unit("us"),
    )
    temporary = path.with_name(f"part-{path.name}")
    table.sink_parquet(temporary, compression="snappy", row_group_size=131_072)
    temporary.replace(path)
    return path


def _with_floats(source: Path) -> Path:
    path = source.with_name(f"floats_{source.name}")
    if not path.exists():
        pl.scan_parquet(source).with_columns(pl.col("price").cast(pl.Float64)).sink_parquet(
            path, compression="snappy", row_group_size=131_072
        )
    return path


def _require_same(ours: Path, theirs: Path) -> None:
    """Counts, times and tiers exactly, money within the error of floats. A tier may differ where the spend is within that error of its border."""
    joined = pl.read_parquet(ours).join(
        pl.read_parquet(theirs), left_on="external_customer_id", right_on="user_id", how="full", suffix="_pandas"
    )
    spend = pl.col("total_spend_week").cast(pl.Float64)
    differs = (
        pl.col("total_spend_week").is_null()
        | ((spend - pl.col("total_spend_week_pandas").cast(pl.Float64)).abs() > 1e-6)
        | (pl.col("activity_count_week") != pl.col("activity_count_week_pandas"))
        | (pl.col("last_activity_time") != pl.col("last_activity_time_pandas"))
        | ((pl.col("customer_tier") != pl.col("customer_tier_pandas")) & (spend - 1000).abs().gt(1e-6) & (spend - 5000).abs().gt(1e-6))
    )
    wrong = joined.filter(differs.fill_null(value=True))
    assert wrong.is_empty(), wrong.head()


def _rows(measured: dict[str, list[dict[str, float]]], events: int, rounds: int) -> list[Row]:
    work, peak, cpu = (medians(measured, name) for name in ("work_seconds", "peak_mib", "processor_seconds"))
    ours = span(measured["treadle"], "work_seconds")
    loads = span([run for runs in measured.values() for run in runs], "load")
    ratio = work["pandas"] / work["treadle"]
    return [
        Row(
            SECTION,
            f"{events:,} events, Parquet to Parquet",
            f"**{ratio:.1f} ×** ({ours} s against {span(measured['pandas'], 'work_seconds')} s)",
            "≥ 5 ×",
            ratio >= 5,
            f"median [min–max] of {rounds}, load {loads} on {os.cpu_count()} cores; pandas makes floats of the decimals",
        ),
        Row(
            SECTION,
            "the same, pandas given a file with float prices",
            f"{work['pandas_floats'] / work['treadle']:.1f} × ({span(measured['pandas_floats'], 'work_seconds')} s)",
            note="sums that are not exact",
        ),
        Row(SECTION, "processor time", f"{cpu['pandas'] / cpu['treadle']:.1f} × ({cpu['treadle']:.1f} s against {cpu['pandas']:.1f} s)"),
        Row(
            SECTION, "peak memory", f"{peak['treadle']:,.0f} MiB against {peak['pandas']:,.0f} MiB", "≤ 1,200 MiB", peak["treadle"] <= 1200
        ),
    ]
