"""The heavy half of a run, for a child process: read the workbook, write the data files, the KPIs and the profile into one folder."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import polars as pl

from treadle.flows.sales.beside import read_funnel, read_mapping
from treadle.flows.sales.column_mapping import ColumnMapping
from treadle.flows.sales.durable_copy import copy_durably, written_twice
from treadle.flows.sales.files import flushed_entry, require_entry
from treadle.flows.sales.json_text import to_json
from treadle.flows.sales.kpis import compute_kpis, count_table_orders
from treadle.flows.sales.lakehouse import COPIES, KPIS, PROFILE
from treadle.flows.sales.manifest import FileEntry
from treadle.flows.sales.orders import OrderCounts
from treadle.flows.sales.profile import FileFacts, compute_profile, fallback_profile
from treadle.flows.sales.reading.read import read_clean_table
from treadle.flows.sales.table import CleanTable, Finding

PARQUET: Final = "sales_cleaned.parquet"
CSV: Final = "sales_cleaned.csv"
FORMATS: Final = {
    PARQUET: "Apache Parquet, Snappy; revenue is decimal(38, 6)",
    CSV: "UTF-8, comma, header, RFC 4180 quotes; null is empty, empty text is quoted; dates ISO 8601",
    KPIS: "JSON",
    PROFILE: "JSON",
}
_IN_MEMORY_ROWS: Final = 1_000_000  # a longer table is streamed to Parquet, and computed on from there


def build_artifacts(  # noqa: PLR0913 - one JSON-able argument each, for the way to a child process
    *, input_path: str, lakehouse: str, input_file: str, folder: str, run_id: str, modified_at: str, today: str
) -> dict[str, Any]:
    """Write the four data files into `folder`, and copies of the two long ones into its folder COPIES, on disk for good, and return what the run's metadata tells of them and the table, JSON-able.

    `warnings` of the result says what could not be computed, and which checks of the file warn.

    Raises:
        InvalidInput: the workbook or its mapping file cannot be read, or a required column is missing.
    """
    path, target = Path(input_path), Path(folder)
    facts = FileFacts(input_file, path.stat().st_size, datetime.fromisoformat(modified_at))
    mapping = read_mapping(Path(lakehouse), input_file)
    funnel, unreadable = read_funnel(Path(lakehouse), input_file)
    table = over_the_fastest(_read(path, mapping, target), target)
    with ThreadPoolExecutor(2, "figures") as threads:
        tables = threads.submit(_write_tables, table, target)
        orders = count_table_orders(table)
        computed = threads.submit(compute_kpis, table, funnel, orders)
        profile, failures = _profile(table, facts, date.fromisoformat(today), orders)
        kpis, findings = computed.result()
        figures = [
            _write_figures(target / KPIS, {"run_id": run_id, "input_file": input_file, **kpis}),
            _write_figures(target / PROFILE, profile),
        ]
        files = [*tables.result(), *figures]
    return _told(table, files, list_warnings([*unreadable, *findings, *failures], profile["validations"]))


def _write_tables(table: CleanTable, folder: Path) -> list[FileEntry]:
    """Both files, and the copies of them that are to be published: made now, they cost neither another reading nor time of their own."""
    copies = folder / COPIES
    copies.mkdir()
    write_parquet(table, folder)
    with ThreadPoolExecutor(1, "parquet") as threads:
        parquet = threads.submit(_copied_entry, folder / PARQUET, copies / PARQUET)
        with written_twice(folder / CSV, copies / CSV) as file:
            table.frame.sink_csv(cast("BinaryIO", file))
        return [parquet.result(), file.entry]


def _copied_entry(path: Path, copy: Path) -> FileEntry:
    entry = flushed_entry(path)
    if copy_durably(path, copy) != entry:
        require_entry(copy, entry)
    return entry


def _write_figures(path: Path, figures: Mapping[str, Any]) -> FileEntry:
    path.write_bytes(to_json(figures).encode())
    return flushed_entry(path)


def _read(path: Path, mapping: ColumnMapping, folder: Path) -> CleanTable:
    scratch = folder / "scratch"
    scratch.mkdir()
    return read_clean_table(path, sheet=mapping.sheet, mapping=mapping.columns, scratch=scratch)


def _told(table: CleanTable, files: Sequence[FileEntry], warnings: list[str]) -> dict[str, Any]:
    return {
        "files": [file.as_json() for file in files],
        "sheet": table.sheet,
        "mapping": dict(table.mapping),
        "row_count": table.row_count,
        "column_count": len(table.columns),
        "columns": [column.name for column in table.columns],
        "warnings": warnings,
        "formats": FORMATS,
    }


def over_the_fastest(table: CleanTable, folder: Path) -> CleanTable:
    """Return the table over what is fastest to read several times: memory for a short one, else its Parquet file in `folder`.

    A Parquet file that reading had to write is taken over.
    """
    path, short = folder / PARQUET, table.row_count <= _IN_MEMORY_ROWS
    if table.parquet:
        table.parquet.replace(path)
    elif not short:
        table.frame.sink_parquet(path, compression="snappy")
    frame = pl.scan_parquet(path, glob=False) if path.exists() else table.frame
    return replace(table, frame=frame.collect().lazy() if short else frame, parquet=None)


def write_parquet(table: CleanTable, folder: Path) -> None:
    """Write the table as Parquet where that is not there already."""
    if not (folder / PARQUET).exists():
        table.frame.sink_parquet(folder / PARQUET, compression="snappy")


def _profile(table: CleanTable, facts: FileFacts, today: date, orders: OrderCounts | None = None) -> tuple[dict[str, Any], list[Finding]]:
    try:
        return compute_profile(table, facts, today, orders), []
    except Exception as error:  # noqa: BLE001 - product.md §1.2: a failing profile, whatever the reason, is a warning
        detail = f"The profile could not be computed: {type(error).__name__}: {error}"[:500]
        failure = Finding("profile", passed=False, detail=detail, severity="warning")
        return fallback_profile(table, facts, failure), [failure]


def list_warnings(findings: Sequence[Finding], validations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every failed check that is more than information, once."""
    told = [finding.detail for finding in findings if not finding.passed and finding.severity != "info"]
    told += [check["detail"] for check in validations if not check["passed"] and check["severity"] != "info"]
    return list(dict.fromkeys(told))
