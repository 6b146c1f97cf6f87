"""`python -m bench [--large] [--only sales|control|jobs|api|portal|weekly|scenario] [--cases FILE …] [--rounds N]`: measure, print the tables, and write them to bench/RESULTS.md."""

import argparse
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import api, control_plane, jobs, portal, sales_flow, scenario, weekly_metrics, weekly_sync, weekly_transform
from bench.table import Row, markdown, sections, sections_of

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("polars", "narwhals", "fastexcel", "pandas", "openpyxl", "pyarrow", "psycopg")


def main() -> None:
    options = _options()
    rows: list[Row] = []
    if options.only in {None, "sales"}:
        rows += sales_flow.run(large=options.large, cases=options.cases, rounds=options.rounds)
    if options.only in {None, "control"}:
        rows += control_plane.run()
    if options.only in {None, "jobs"}:
        rows += jobs.run()
    if options.only in {None, "api"}:
        rows += api.run(large=options.large)
    if options.only in {None, "portal"}:
        rows += portal.run()
    if options.only in {None, "weekly"}:
        rows += weekly_transform.run(large=options.large, rounds=options.rounds)
        rows += weekly_metrics.run()
        rows += weekly_sync.run()
    if options.only in {None, "scenario"}:
        rows += scenario.run()
    print(markdown(rows))
    _record(rows)


def _record(rows: list[Row]) -> None:
    """Write the new sections; those that were not measured this time stay as they are."""
    measured_on = f"\nMeasured on {datetime.now(UTC):%Y-%m-%d}.\n"
    kept = sections_of(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    merged = kept | {name: text + measured_on for name, text in sections(rows).items()}
    RESULTS.write_text("\n".join([_heading(), *merged.values()]), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="ten million rows, too: takes half an hour and 10 GB of disk")
    parser.add_argument("--only", choices=("sales", "control", "jobs", "api", "portal", "weekly", "scenario"), help="one of the parts")
    parser.add_argument("--cases", nargs="+", default=(), metavar="FILE", help="only these inputs of the sales flow, such as sales_10m.csv")
    parser.add_argument(
        "--rounds", type=int, help="how often each variant of the sales flow runs, instead of the number that suits its input"
    )
    return parser.parse_args()


def _heading() -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        "# Benchmarks\n\n"
        f"Written by `make bench` (`python -m bench --large` for the ten million rows) with {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {versions}.\n\n"
        "Every variant runs in a process of its own, variants take turns, and a ratio compares medians of one session.\n"
        "Seconds depend on the machine and on what else runs there; the ratios are what to look at.\n"
        "The baseline is `bench/baseline_sales.py`; that both variants find the same figures is asserted before anything is reported.\n"
    )


if __name__ == "__main__":
    main()
