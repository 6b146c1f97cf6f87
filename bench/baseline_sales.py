"""The straightforward way to the same results: pandas with openpyxl, one process, everything in memory.

Written as a careful analyst would write it, with the library's own vectorised calls, and doing all that `treadle.flows.sales` does: cleaned Parquet and CSV,
KPIs with distinct orders per period, a profile with top values and histograms, metadata with checksums, and the verified copies in `current/`.
"""

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CATEGORY_VALUES = range(2, 51)


def run(source: Path, lakehouse: Path, run_id: str) -> None:
    """Do the whole flow for one input file."""
    folder = lakehouse / "Files/results/runs" / run_id
    folder.mkdir(parents=True)
    frame = clean(read(source))
    frame.to_parquet(folder / "sales_cleaned.parquet", index=False)
    frame.to_csv(folder / "sales_cleaned.csv", index=False)
    write_json(folder / "kpis.json", kpis(frame))
    write_json(folder / "import_profile.json", profile(frame, source))
    files = [entry(path) for path in sorted(folder.iterdir())]
    write_json(folder / "run_metadata.json", {"run_id": run_id, "input": entry(source), "files": files, "rows": len(frame)})
    publish(folder, lakehouse / "Files/results/current", files)


def read(source: Path) -> pd.DataFrame:
    if source.suffix == ".parquet":
        return pd.read_parquet(source)
    if source.suffix == ".csv":
        return pd.read_csv(source, dtype={"order_id": "str"})
    return pd.read_excel(source, engine="openpyxl", dtype={"order_id": "str"})


def clean(frame: pd.DataFrame) -> pd.DataFrame:
    frame.columns = [str(name).strip().lower().replace(" ", "_") for name in frame.columns]
    missing = {"revenue", "order_id"} - set(frame.columns)
    if missing:
        raise ValueError(f"missing columns: {missing}")
    frame["revenue"] = pd.to_numeric(frame["revenue"], errors="coerce")
    frame["order_date"] = pd.to_datetime(frame["order_date"], errors="coerce")
    for name in frame.select_dtypes(["object", "string"]).columns:
        frame[name] = frame[name].str.strip()
    return frame


def kpis(frame: pd.DataFrame) -> dict[str, Any]:
    revenue, orders = frame["revenue"].sum(), int(frame["order_id"].nunique())
    categorical = [
        name
        for name in frame.select_dtypes(["object", "string"]).columns
        if not name.endswith("_id") and frame[name].nunique() in CATEGORY_VALUES
    ]
    breakdowns = {f"revenue_by_{name}": revenue_by(frame, name) for name in categorical}
    visitors, converting = int(frame["total_visitors"].iloc[0]), int(frame["converting_visitors"].iloc[0])
    return {
        "total_revenue": round(float(revenue), 2),
        "orders": orders,
        "aov": round(float(revenue) / orders, 2),
        **{f"revenue_by_{name}": breakdowns[f"revenue_by_{name}"] for name in ("channel", "region", "product_category")},
        "breakdowns": breakdowns,
        "time_series_monthly": series(frame, "month", "%Y-%m", "M"),
        "time_series_daily": series(frame, "day", "%Y-%m-%d", "D"),
        "funnel": {
            "conversion_rate_pct": round(100 * converting / visitors, 2),
            "orders_per_visitor_pct": round(100 * orders / visitors, 2),
        },
    }


def revenue_by(frame: pd.DataFrame, name: str) -> dict[str, float]:
    sums = frame.assign(key=frame[name].fillna("(missing)")).groupby("key")["revenue"].sum().sort_values(ascending=False)
    return {str(key): round(float(value), 2) for key, value in sums.items()}


def series(frame: pd.DataFrame, key: str, shown: str, frequency: str) -> list[dict[str, Any]]:
    grouped = frame.groupby(frame["order_date"].dt.to_period(frequency)).agg(revenue=("revenue", "sum"), orders=("order_id", "nunique"))
    return [
        {key: period.strftime(shown), "revenue": round(float(row.revenue), 2), "orders": int(row.orders)}
        for period, row in grouped.iterrows()
    ]


def profile(frame: pd.DataFrame, source: Path) -> dict[str, Any]:
    stat = source.stat()
    return {
        "file_name": source.name,
        "file_size": stat.st_size,
        "last_modified": datetime.fromtimestamp(stat.st_mtime, UTC).isoformat(),
        "row_count": len(frame),
        "column_count": len(frame.columns),
        "schema": [column_profile(frame[name]) for name in frame.columns],
        "date_range": {"min": str(frame["order_date"].min()), "max": str(frame["order_date"].max())},
        "validations": validations(frame),
        "sample_rows": json.loads(frame.head(20).to_json(orient="records", date_format="iso")),
    }


def column_profile(values: pd.Series) -> dict[str, Any]:
    counts = values.value_counts()
    return {
        "column": values.name,
        "dtype": str(values.dtype),
        "null_count": int(values.isna().sum()),
        "null_pct": round(100 * float(values.isna().mean()), 2),
        "distinct_count": len(counts),
        "min": shown(values.min() if values.dtype.kind in "ifM" else values.dropna().min()),
        "max": shown(values.max() if values.dtype.kind in "ifM" else values.dropna().max()),
        "top_values": [{"value": shown(value), "count": int(count)} for value, count in counts.head(10).items()],
        "histogram": histogram(values),
    }


def histogram(values: pd.Series) -> list[int] | None:
    if values.dtype.kind not in "ifM":
        return None
    numbers = values.dropna().astype("int64" if values.dtype.kind == "M" else "float64")
    return [int(count) for count in np.histogram(numbers, bins=20)[0]]


def shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, pd.Timestamp) else value.item() if isinstance(value, np.generic) else value


def validations(frame: pd.DataFrame) -> list[dict[str, Any]]:
    today = pd.Timestamp.now()
    return [
        {"check": "order_id_unique", "passed": bool(frame["order_id"].is_unique)},
        {"check": "revenue_non_negative", "passed": bool((frame["revenue"] >= 0).all())},
        {"check": "revenue_numeric", "passed": bool(frame["revenue"].notna().all())},
        {"check": "no_null_rows", "passed": not bool(frame.isna().all(axis=1).any())},
        {"check": "dates_not_in_future", "passed": bool((frame["order_date"] <= today).all())},
        {"check": "duplicate_rows", "passed": int(frame.duplicated().sum()) == 0},
    ]


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, default=str), encoding="utf-8")


def entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"name": path.name, "size_bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def publish(folder: Path, current: Path, files: list[dict[str, Any]]) -> None:
    current.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(folder / file["name"], current / file["name"])
        if entry(current / file["name"]) != file:
            raise ValueError(f"{file['name']} was not copied well")
    write_json(current / "manifest.json", {"run_id": folder.name, "files": files})
