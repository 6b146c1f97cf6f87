"""The weekly transform against the straightforward way (`json.loads`, Pydantic per record, pandas), from the same page files to both Parquet files.

Each measurement is a process of its own, variants take turns, and a ratio is of the medians of one session. Imports are not measured; decompressing the pages is part of
every variant that reads them, and checking their SHA-256 is part of ours alone. That both ways keep and reject the same records is asserted first.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import polars as pl

from bench.table import Row
from bench.weekly_events import BAD, ODD, make_extract

SECTION = "Weekly transform: Treadle against json + Pydantic per record + pandas"
ROUNDS = 3
ROWS = 1_000_000
ROWS_LARGE = 10_000_000
TARGET_RATIO = 6
MEMORY_LIMIT_MIB = 1200
LINEAR_LIMIT = 1.3
VARIANTS = ("treadle", "write", "parse", "pydantic")  # write needs what treadle wrote

Runs = list[dict[str, float]]


def run(*, large: bool = False, rounds: int | None = None, rows: int = ROWS) -> list[Row]:
    """Measure a million records, and with `large` ten times as many, which the baseline has no memory for. Pages are kept in TREADLE_BENCH_DIR when that is set."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as scratch:
        inputs = Path(os.environ.get("TREADLE_BENCH_DIR", scratch))
        small, loads = _measure(inputs, Path(scratch), rows, VARIANTS, rounds or ROUNDS)
        found = _rows(rows, small, loads)
        if large:
            big, _ = _measure(inputs, Path(scratch), rows * 10, ("treadle",), rounds or ROUNDS)
            found += _large_rows(rows * 10, small["treadle"], big["treadle"])
        return found


def _measure(inputs: Path, scratch: Path, rows: int, variants: tuple[str, ...], rounds: int) -> tuple[dict[str, Runs], list[float]]:
    extract = inputs / f"weekly_{rows}"
    make_extract(extract, rows)
    measured: dict[str, Runs] = {variant: [] for variant in variants}
    loads: list[float] = []
    for round_number in range(rounds):
        for variant in variants:
            loads.append(os.getloadavg()[0])
            out = scratch / ("pydantic" if variant == "pydantic" else "treadle")
            out.mkdir(exist_ok=True)
            measured[variant].append(_run(variant, extract, out))
            print(f"weekly {rows:,} round {round_number + 1} {variant}: {measured[variant][-1]}", file=sys.stderr, flush=True)
        if round_number == 0 and "pydantic" in variants:
            require_equal_verdicts(scratch / "treadle", scratch / "pydantic")
    return measured, loads


def _run(variant: str, extract: Path, out: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.weekly_variant", variant, str(extract), str(out)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{variant} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def require_equal_verdicts(ours: Path, theirs: Path) -> None:
    """Fail unless both kept the same values in the same order, and rejected the same records."""
    events, other_events = (pl.read_parquet(folder / "events.parquet") for folder in (ours, theirs))
    other_events = other_events.select(pl.col(name).cast(kind) for name, kind in events.schema.items())
    assert events.equals(other_events), f"{events.height} and {other_events.height} valid"
    rejects, other_rejects = (
        pl.read_parquet(folder / "rejects.parquet", columns=["row_index", "page", "field"]) for folder in (ours, theirs)
    )
    assert rejects.with_columns(pl.col("field").fill_null("")).equals(other_rejects.cast({"page": pl.Int32})), (
        f"{rejects.height} and {other_rejects.height} rejected"
    )


def _rows(rows: int, measured: dict[str, Runs], loads: list[float]) -> list[Row]:
    work, processor, peak = (_medians(measured, name) for name in ("work_seconds", "processor_seconds", "peak_mib"))
    ratio = work["pydantic"] / work["treadle"]
    rounds = len(measured["treadle"])
    return [
        Row(
            SECTION,
            f"{rows:,} records, {BAD:.0%} bad in every way, {ODD:.0%} in unusual forms: compressed pages → both Parquet files",
            f"**{ratio:.1f} ×** ({_span(measured['treadle'])} s against {_span(measured['pydantic'])} s)",
            f"≥ {TARGET_RATIO} ×",
            ratio >= TARGET_RATIO,
            f"median [min–max] of {rounds}, load {min(loads):.1f}–{max(loads):.1f} on {os.cpu_count()} cores; verdicts and values equal",
        ),
        Row(
            SECTION,
            "records per second",
            f"{rows / work['treadle']:,.0f} against {rows / work['pydantic']:,.0f}",
        ),
        Row(
            SECTION,
            "processor time",
            f"{processor['pydantic'] / processor['treadle']:.1f} × ({processor['treadle']:.1f} s against {processor['pydantic']:.1f} s)",
            note="depends less on what else runs; ours is spread over the cores, Pydantic's is not",
        ),
        Row(
            SECTION,
            "peak memory",
            f"{peak['treadle']:,.0f} MiB against {peak['pydantic']:,.0f} MiB",
        ),
        Row(
            SECTION,
            "against the bare parse of the same pages (msgspec, one core)",
            f"{work['treadle'] / work['parse']:.2f} × its time ({_span(measured['parse'])} s)",
            note="decompress and parse into Python objects, nothing else",
        ),
        Row(
            SECTION,
            "against writing the same Parquet files alone",
            f"{work['treadle'] / work['write']:.2f} × its time ({_span(measured['write'])} s)",
            note="from tables in memory, SHA-256 and flush to the disk with it",
        ),
    ]


def _large_rows(rows: int, small: Runs, big: Runs) -> list[Row]:
    small_seconds, seconds = (median(run["work_seconds"] for run in runs) for runs in (small, big))
    growth, peak = seconds / (10 * small_seconds), median(run["peak_mib"] for run in big)
    return [
        Row(
            SECTION,
            f"{rows:,} records: time against ten times that of a tenth",
            f"{growth:.2f} × ({_span(big)} s)",
            f"≤ {LINEAR_LIMIT} ×",
            growth <= LINEAR_LIMIT,
            f"{rows / seconds:,.0f} records per second",
        ),
        Row(SECTION, f"{rows:,} records: peak memory", f"{peak:,.0f} MiB", f"≤ {MEMORY_LIMIT_MIB:,} MiB", peak <= MEMORY_LIMIT_MIB),
    ]


def _medians(measured: dict[str, Runs], name: str) -> dict[str, float]:
    return {variant: median(run[name] for run in runs) for variant, runs in measured.items()}


def _span(runs: Runs) -> str:
    values = [run["work_seconds"] for run in runs]
    return f"{median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


if __name__ == "__main__":
    from bench.table import markdown

    print(markdown(run(large="--large" in sys.argv, rounds=1 if "--once" in sys.argv else None)))
