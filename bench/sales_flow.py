"""The whole sales flow against the straightforward pandas way: time, peak memory, and that both find the same.

Each measurement is a process of its own, the two variants take turns, and a ratio is of the medians of one session. Start-up (imports; for Treadle also that of
its child process) is measured apart from the work.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.inputs import make_input
from bench.table import Row

SECTION = "Sales flow: Treadle against pandas (with openpyxl for workbooks)"
SECTION_LARGE = "Sales flow, ten million rows: Treadle against pandas"
ROUNDS = 3
VARIANTS = ("treadle", "pandas")
_TWO_CORES = "it needs every core, pandas one, so the ratio falls when others use them"


@dataclass(frozen=True, slots=True)
class Case:
    """One input and what is asked of it: how many times faster, and either a share of the baseline's memory or an absolute limit."""

    file_name: str
    rows: int
    target_ratio: float
    memory_limit_mib: float | None = None  # None: 1.3 times the baseline's
    rounds: int = ROUNDS
    bound_by: str = ""  # what stands in the way of the target; told when it is missed


SMALL = (
    Case("sales_50k.xlsx", 50_000, 12, rounds=5),
    Case("sales_500k.xlsx", 500_000, 15),
)
LARGE = (
    Case("sales_10m.csv", 10_000_000, 5, memory_limit_mib=1600, rounds=2, bound_by=_TWO_CORES),
    Case("sales_10m.parquet", 10_000_000, 5, memory_limit_mib=1600, rounds=2, bound_by=_TWO_CORES),
)


def run(*, large: bool = False, cases: Sequence[str] = (), rounds: int | None = None) -> list[Row]:
    """Measure the workbooks, and with `large` the ten million rows; `cases` picks some by file name, `rounds` replaces each one's own number.

    Inputs are kept in TREADLE_BENCH_DIR when that is set.
    """
    named = [case for case in SMALL + (LARGE if large else ()) if not cases or case.file_name in cases]
    chosen = [replace(case, rounds=rounds or case.rounds) for case in named]
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as scratch:
        inputs = Path(os.environ.get("TREADLE_BENCH_DIR", scratch))
        inputs.mkdir(parents=True, exist_ok=True)
        return [row for case in chosen for row in _measure_case(case, inputs, Path(scratch))]


def _measure_case(case: Case, inputs: Path, scratch: Path) -> list[Row]:
    source = inputs / case.file_name
    make_input(source, case.rows)
    measured: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    loads: list[float] = []
    for round_number in range(case.rounds):
        lakes = {variant: scratch / variant for variant in VARIANTS}
        for variant in VARIANTS:
            loads.append(os.getloadavg()[0])
            measured[variant].append(_measure(variant, source, lakes[variant]))
            print(f"{case.file_name} round {round_number + 1} {variant}: {measured[variant][-1]}", file=sys.stderr, flush=True)
        if round_number == 0:
            require_equal_results(_results(lakes["treadle"]), _results(lakes["pandas"]))
        for lake in lakes.values():
            shutil.rmtree(lake)
    return _rows(case, measured, f"{min(loads):.1f}–{max(loads):.1f}")


def _measure(variant: str, source: Path, lakehouse: Path) -> dict[str, float]:
    target = lakehouse / "Files/import" / source.name
    target.parent.mkdir(parents=True)
    _link_or_copy(source, target)
    command = [sys.executable, "-m", "bench.variant", variant, str(target), str(lakehouse)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{variant} failed on {source.name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _rows(case: Case, measured: dict[str, list[dict[str, float]]], loads: str) -> list[Row]:
    """loads: least and greatest load average of the minute before a variant began, which tells how much of the machine others had."""
    ours, theirs = measured["treadle"], measured["pandas"]
    work, peak = _medians(measured, "work_seconds"), _medians(measured, "peak_mib")
    start_up = _medians(measured, "start_up_seconds")
    ratio = work["pandas"] / work["treadle"]
    missed = ratio < case.target_ratio
    limit = case.memory_limit_mib or 1.3 * peak["pandas"]
    section = SECTION_LARGE if case.file_name in {large.file_name for large in LARGE} else SECTION
    told_limit = f"≤ {limit:,.0f} MiB" if case.memory_limit_mib else "≤ 1.3 × pandas"
    return [
        Row(
            section,
            f"{case.file_name}: {case.rows:,} rows × 15 columns, work",
            f"**{ratio:.1f} ×** ({_span(ours, 'work_seconds')} s against {_span(theirs, 'work_seconds')} s)",
            f"≥ {case.target_ratio:g} ×",
            not missed,
            f"median [min–max] of {case.rounds}, load {loads} on {os.cpu_count()} cores"
            + (f"; {case.bound_by}" if missed and case.bound_by else ""),
        ),
        Row(
            section,
            f"{case.file_name}: with start-up",
            f"{(work['pandas'] + start_up['pandas']) / (work['treadle'] + start_up['treadle']):.1f} ×",
            note=f"start-up {start_up['treadle']:.2f} s (two processes) against {start_up['pandas']:.2f} s",
        ),
        Row(
            section,
            f"{case.file_name}: processor time",
            _times(measured, "processor_seconds"),
            note="start-up included; depends less on what else runs",
        ),
        Row(
            section,
            f"{case.file_name}: peak memory",
            f"{peak['treadle']:,.0f} MiB against {peak['pandas']:,.0f} MiB ({peak['treadle'] / peak['pandas']:.2f} ×)",
            told_limit,
            peak["treadle"] <= limit,
            "parent and child added up",
        ),
    ]


def _medians(measured: dict[str, list[dict[str, float]]], name: str) -> dict[str, float]:
    return {variant: median(run[name] for run in runs) for variant, runs in measured.items()}


def _span(runs: list[dict[str, float]], name: str) -> str:
    values = [run[name] for run in runs]
    return f"{median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


def _times(measured: dict[str, list[dict[str, float]]], name: str) -> str:
    seconds = _medians(measured, name)
    return f"{seconds['pandas'] / seconds['treadle']:.1f} × ({seconds['treadle']:.1f} s against {seconds['pandas']:.1f} s)"


def _results(lakehouse: Path) -> dict[str, Any]:
    current = lakehouse / "Files/results/current"
    return {name: json.loads((current / f"{name}.json").read_bytes()) for name in ("kpis", "import_profile")}


def require_equal_results(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Fail unless both variants found the same figures: money within a cent (pandas sums in floats), counts exactly."""
    for name, value in theirs["kpis"].items():
        if name == "funnel":
            assert value.items() <= ours["kpis"][name].items(), name
        else:
            _require_alike(ours["kpis"][name], value, name)
    schema = {column["column"]: column for column in ours["import_profile"]["schema"]}
    for column in theirs["import_profile"]["schema"]:
        _require_same_column(schema[column["column"]], column)
    ours_passed = {check["check"]: check["passed"] for check in ours["import_profile"]["validations"]}
    for check in theirs["import_profile"]["validations"]:
        assert ours_passed[check["check"]] == check["passed"], check


def _require_same_column(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    name = theirs["column"]
    for fact in ("null_count", "null_pct", "distinct_count"):
        _require_alike(ours[fact], theirs[fact], f"{name} {fact}")
    assert [top["count"] for top in ours["top_values"]] == [top["count"] for top in theirs["top_values"]], name
    assert (ours["histogram"] is None) == (theirs["histogram"] is None), name
    if theirs["histogram"] is not None:
        assert sum(row["count"] for row in ours["histogram"]) == sum(theirs["histogram"]), name


def _require_alike(ours: Any, theirs: Any, where: str) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), f"{where}: {sorted(ours)} and {sorted(theirs)}"
        for key, value in theirs.items():
            _require_alike(ours[key], value, f"{where} {key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            _require_alike(one, other, f"{where} {index}")
    elif isinstance(theirs, float):
        assert math.isclose(ours, theirs, abs_tol=0.0101), f"{where}: {ours} and {theirs}"
    else:
        assert ours == theirs, f"{where}: {ours!r} and {theirs!r}"
