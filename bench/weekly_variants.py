"""What the weekly benchmarks compare: each function imports what it needs and returns the work, which reads one path and writes another."""
# ruff: noqa: PLC0415 - the imports are no part of the work

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

Work = Callable[[Path, Path], None]
KEY, FIELDS = (
    "external_signal_id",
    (
        "external_customer_id",
        "batch_week_start",
        "batch_week_end",
        "total_spend_week",
        "activity_count_week",
        "last_activity_time",
        "customer_tier",
    ),
)


def metrics_treadle() -> Work:
    from treadle.flows.weekly.metrics import write_metrics
    from treadle.flows.weekly.week import Week

    def work(source: Path, target: Path) -> None:
        write_metrics(source, Week(date(2019, 12, 2), date(2019, 12, 8)), target, frozenset({"purchase"}))

    return work


def metrics_pandas() -> Work:
    import numpy as np
    import pandas as pd
    import pyarrow.parquet  # noqa: F401

    def work(source: Path, target: Path) -> None:
        events = pd.read_parquet(source, columns=["user_id", "event_type", "event_time", "price"])
        events["spend"] = events["price"].astype(float).where(events["event_type"].isin(["purchase"]), 0.0).fillna(0.0)
        customers = events.groupby("user_id", as_index=False).agg(
            total_spend_week=("spend", "sum"), activity_count_week=("event_type", "size"), last_activity_time=("event_time", "max")
        )
        customers["external_signal_id"] = customers["user_id"] + "_2019-12-02"
        customers["batch_week_start"], customers["batch_week_end"] = date(2019, 12, 2), date(2019, 12, 8)
        spend = customers["total_spend_week"]
        customers["customer_tier"] = np.select([spend >= 5000, spend >= 1000], ["HIGH", "MEDIUM"], "LOW")
        customers.to_parquet(target)

    return work


def diff_treadle() -> Work:
    """source: the folder of both sides; target: the folder of the plan, which is a JSON file of counts beside it."""
    from bench.weekly_sync import DESCRIBE
    from treadle.flows.weekly.sync_cost import Guards
    from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY
    from treadle.flows.weekly.sync_plan import plan_sync

    def work(source: Path, target: Path) -> None:
        plan = plan_sync(
            source / "metrics.parquet",
            source / "acknowledged.parquet",
            DESCRIBE,
            CUSTOMER_WEEKLY,
            Guards(),
            folder=target.with_suffix(".plan"),
        )
        target.write_text(json.dumps({"create": plan.create, "update": plan.update, "gone": plan.kept, "unchanged": plan.unchanged}))

    return work


def diff_pandas(floats: bool = False) -> Work:  # noqa: FBT001, FBT002
    """An outer merge on the key, then every column compared."""
    import pandas as pd
    import pyarrow.parquet  # noqa: F401

    def work(source: Path, target: Path) -> None:
        suffix = "_floats" if floats else ""
        today = pd.read_parquet(source / f"metrics{suffix}.parquet")
        before = pd.read_parquet(source / f"before{suffix}.parquet")
        merged = before.merge(today, on=KEY, how="outer", suffixes=("_old", "_new"), indicator=True)
        both = merged["_merge"] == "both"
        changed = pd.Series(data=False, index=merged.index)
        for name in FIELDS:
            changed |= merged[f"{name}_old"] != merged[f"{name}_new"]
        updates = merged[both & changed]
        counts = merged["_merge"].value_counts()
        found = {
            "create": counts["right_only"],
            "update": len(updates),
            "gone": counts["left_only"],
            "unchanged": counts["both"] - len(updates),
        }
        target.write_text(json.dumps({name: int(count) for name, count in found.items()}))

    return work


def diff_pandas_floats() -> Work:
    return diff_pandas(floats=True)


def csv_treadle() -> Work:
    import polars as pl

    from treadle.flows.weekly.bulk_csv import write_bulk_csv

    def work(source: Path, target: Path) -> None:
        write_bulk_csv(pl.scan_parquet(source), target, clears=frozenset({"Customer_Tier__c"}))

    return work


def csv_dict_writer() -> Work:
    """The rows as dicts, a part begun anew when the next row would exceed the limit."""
    import csv
    import io

    import pyarrow.parquet as pq

    def shown(value: Any) -> Any:
        if value is None:
            return "#N/A"
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z" if hasattr(value, "hour") else value

    def work(source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        rows = pq.read_table(source).to_pylist()
        part, size, number = None, 0, 0
        line = io.StringIO(newline="")
        to_line = csv.DictWriter(line, list(rows[0]), lineterminator="\n")
        for row in rows:
            to_line.writerow({name: shown(value) for name, value in row.items()})
            text = line.getvalue()
            line.seek(0)
            line.truncate()
            if part is None or size + len(text.encode()) > 100_000_000:
                if part:
                    part.close()
                number += 1
                part = (target / f"part-{number:06}.csv").open("w", encoding="utf-8", newline="")
                size = part.write(",".join(row) + "\n")
            part.write(text)
            size += len(text.encode())
        if part:
            part.close()

    return work


def csv_dict_writer_plain() -> Work:
    """DictWriter into one file, which knows of no limit: the least that it can be asked to do."""
    import csv

    import pyarrow.parquet as pq

    def work(source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        rows = pq.read_table(source).to_pylist()
        with (target / "part-000001.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            for row in rows:
                writer.writerow({name: "#N/A" if value is None else value for name, value in row.items()})

    return work
