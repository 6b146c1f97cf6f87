"""The plan of a sync and the CSV for Bulk API 2.0, against pandas and the csv module.

Five million rows, of which 2 % changed, some are new and some gone. Treadle's side does all that a plan is: keys checked, every row mapped, checked against
describe(), hashed and compared with the stored hashes, the changes written field by field; pandas merges and compares.
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from bench.table import Row
from bench.weekly_metrics import SEED, WEEK_END, WEEK_START
from bench.weekly_rounds import Measured, measured_in_turns, medians, span
from treadle.flows.weekly.row_hash import SCHEME, row_hashes
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY, Describe, DescribedField, mapped

SECTION = "Plan of a sync: five million rows, 2 % changed, against pandas"
SECTION_CSV = "CSV for Bulk API 2.0: one million rows, against csv.DictWriter"
ROWS, CSV_ROWS, ROUNDS = 5_000_000, 1_000_000, 5
NEW, GONE = 25_000, 25_000
DESCRIBE = Describe(
    "Customer_Weekly_Metric__c",
    {
        field.name: field
        for field in (
            DescribedField("External_Signal_Id__c", "string", length=80, external_id=True),
            DescribedField("External_Customer_Id__c", "string", length=80),
            DescribedField("Batch_Week_Start__c", "date"),
            DescribedField("Batch_Week_End__c", "date"),
            DescribedField("Total_Spend_Week__c", "currency", precision=18, scale=2),
            DescribedField("Activity_Count_Week__c", "double", precision=18, scale=0),
            DescribedField("Last_Activity_Time__c", "datetime"),
            DescribedField(
                "Customer_Tier__c", "picklist", length=255, restricted_picklist=True, picklist_values=frozenset({"HIGH", "MEDIUM", "LOW"})
            ),
        )
    },
)


def run(*, rows: int = ROWS, csv_rows: int = CSV_ROWS, rounds: int = ROUNDS) -> list[Row]:
    """Measure both. Inputs are kept in TREADLE_BENCH_DIR when that is set."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as scratch:
        inputs = Path(os.environ.get("TREADLE_BENCH_DIR", scratch))
        return [*_diff(inputs, Path(scratch), rows, rounds), *_csv(inputs, Path(scratch), csv_rows, rounds)]


def _diff(inputs: Path, scratch: Path, rows: int, rounds: int) -> list[Row]:
    sides = make_sides(inputs / f"sync_{rows}", rows)
    variants = {name: (f"diff_{name}", sides, scratch / f"{name}.json") for name in ("treadle", "pandas", "pandas_floats")}
    measured = measured_in_turns(variants, rounds)
    found = [json.loads(target.read_text()) for _, _, target in variants.values()]
    assert all(counts == found[0] for counts in found), found
    work, peak = medians(measured, "work_seconds"), medians(measured, "peak_mib")
    ratio = work["pandas"] / work["treadle"]
    return [
        Row(
            SECTION,
            f"{rows:,} rows: " + ", ".join(f"{count:,} {name}" for name, count in found[0].items()),
            f"**{ratio:.1f} ×** ({span(measured['treadle'], 'work_seconds')} s against {span(measured['pandas'], 'work_seconds')} s)",
            "≥ 8 ×",
            ratio >= 8,
            _note(measured, rounds),
        ),
        Row(
            SECTION,
            "the same, pandas given files with float amounts",
            f"{work['pandas_floats'] / work['treadle']:.1f} × ({span(measured['pandas_floats'], 'work_seconds')} s)",
        ),
        Row(SECTION, "processor time", _processor(measured, "pandas")),
        Row(SECTION, "peak memory", f"{peak['treadle']:,.0f} MiB against {peak['pandas']:,.0f} MiB", "≤ 700 MiB", peak["treadle"] <= 700),
    ]


def _csv(inputs: Path, scratch: Path, rows: int, rounds: int) -> list[Row]:
    source = _make_csv_rows(inputs / f"sync_{rows}_csv.parquet", rows)
    variants = {name: (f"csv_{name}", source, scratch / name) for name in ("treadle", "dict_writer", "dict_writer_plain")}
    measured = measured_in_turns(variants, rounds)
    ours, theirs = (b"".join(path.read_bytes() for path in sorted((scratch / name).iterdir())) for name in ("treadle", "dict_writer"))
    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
    work, peak = medians(measured, "work_seconds"), medians(measured, "peak_mib")
    ratio = work["dict_writer"] / work["treadle"]
    return [
        Row(
            SECTION_CSV,
            f"{rows:,} rows × 8 fields ({len(ours) / 1e6:.0f} MB), in parts of at most 100 MB",
            f"**{ratio:.1f} ×** ({span(measured['treadle'], 'work_seconds')} s against {span(measured['dict_writer'], 'work_seconds')} s)",
            "≥ 12 ×",
            ratio >= 12,
            _note(measured, rounds) + "; Treadle also hashes and flushes the parts; the same bytes",
        ),
        Row(
            SECTION_CSV,
            "the same, DictWriter into one file of any length",
            f"{work['dict_writer_plain'] / work['treadle']:.1f} × ({span(measured['dict_writer_plain'], 'work_seconds')} s)",
        ),
        Row(SECTION_CSV, "processor time", _processor(measured, "dict_writer")),
        Row(SECTION_CSV, "peak memory", f"{peak['treadle']:,.0f} MiB against {peak['dict_writer']:,.0f} MiB"),
    ]


def _note(measured: Measured, rounds: int) -> str:
    loads = span([run for runs in measured.values() for run in runs], "load")
    return f"median [min–max] of {rounds}, load {loads} on {os.cpu_count()} cores"


def _processor(measured: Measured, other: str) -> str:
    used = medians(measured, "processor_seconds")
    return f"{used[other] / used['treadle']:.1f} × ({used['treadle']:.1f} s against {used[other]:.1f} s)"


def make_sides(folder: Path, rows: int) -> Path:
    """metrics.parquet (today), before.parquet (the same columns), acknowledged.parquet (as Treadle keeps them), and both with floats for pandas."""
    if (folder / "before_floats.parquet").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    before = _metrics(rows)
    random = np.random.default_rng(SEED + 1)
    changed = pl.Series(random.random(rows) < 0.02)
    today = before.with_columns(
        total_spend_week=pl.when(changed)
        .then(pl.col("total_spend_week") + pl.lit(1).cast(pl.Decimal(38, 6)))
        .otherwise("total_spend_week")
        .cast(pl.Decimal(38, 6))
    )
    today = pl.concat([today[GONE:], _metrics(NEW, first=rows)]).sort("external_signal_id")
    today.write_parquet(folder / "metrics.parquet", compression="snappy", row_group_size=100_000)
    rules = (CUSTOMER_WEEKLY.external_id, *CUSTOMER_WEEKLY.rules)
    fields = before.select(mapped(rule, DESCRIBE.fields[rule.target], before.schema[rule.source]) for rule in rules).rename(
        {CUSTOMER_WEEKLY.external_id.target: "external_id"}
    )
    kept = fields.hstack(row_hashes(fields.drop("external_id"))).with_columns(hash_scheme=pl.lit(SCHEME), created_by_us=pl.lit(value=True))
    shuffled = kept.sample(fraction=1, shuffle=True, seed=SEED)
    shuffled.write_parquet(folder / "acknowledged.parquet", compression="snappy", row_group_size=100_000)
    order = before.sample(fraction=1, shuffle=True, seed=SEED)
    order.write_parquet(folder / "before.parquet", compression="snappy", row_group_size=100_000)
    for name in ("metrics", "before"):
        table = pl.scan_parquet(folder / f"{name}.parquet").with_columns(pl.col("total_spend_week").cast(pl.Float64))
        table.sink_parquet(folder / f"{name}_floats.parquet", compression="snappy", row_group_size=100_000)
    return folder


def _metrics(rows: int, first: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(SEED + first)
    money = pl.Decimal(38, 6)
    numbers = pl.DataFrame(
        {
            "user": np.arange(first, first + rows),
            "cents": random.integers(0, 700_000, rows),
            "count": random.integers(1, 60, rows),
            "second": random.integers(0, 7 * 86_400, rows),
        }
    )
    spend = (pl.col("cents").cast(money) / pl.lit(100).cast(money)).cast(money)
    user = (500_000_000 + pl.col("user")).cast(pl.String)
    return numbers.select(
        external_customer_id=user,
        external_signal_id=user + f"_{WEEK_START}",
        batch_week_start=pl.lit(WEEK_START),
        batch_week_end=pl.lit(WEEK_END),
        total_spend_week=spend,
        activity_count_week="count",
        last_activity_time=pl.lit(WEEK_START).cast(pl.Datetime("us", "UTC")) + pl.duration(seconds="second"),
        customer_tier=pl.when(pl.col("cents") >= 500_000)
        .then(pl.lit("HIGH"))
        .when(pl.col("cents") >= 100_000)
        .then(pl.lit("MEDIUM"))
        .otherwise(pl.lit("LOW")),
    )


def _make_csv_rows(path: Path, rows: int) -> Path:
    """Fields as a plan has them; one of a hundred tiers is null, one of ten thousand customers has a comma and a quotation mark."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = _metrics(rows)
    rules = (CUSTOMER_WEEKLY.external_id, *CUSTOMER_WEEKLY.rules)
    fields = metrics.select(mapped(rule, DESCRIBE.fields[rule.target], metrics.schema[rule.source]) for rule in rules).with_row_index()
    number = pl.col("index")
    fields.with_columns(
        Customer_Tier__c=pl.when(number % 100 > 0).then("Customer_Tier__c"),
        External_Customer_Id__c=pl.when(number % 10_000 == 0).then(pl.lit('so "called", user')).otherwise("External_Customer_Id__c"),
    ).drop("index").write_parquet(path, compression="snappy")
    return path
