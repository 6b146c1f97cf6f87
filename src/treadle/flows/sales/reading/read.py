"""A file of orders becomes a cleaned table: what it is, what is in it, what each column holds.

Run this in a child process (`isolation`) unless the file is one of ours: readers abort the process on some hostile files.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl

from treadle.errors import InvalidInput
from treadle.flows.sales.reading.clean import clean
from treadle.flows.sales.reading.container import ArchiveLimits, Format, detect_format
from treadle.flows.sales.reading.delimited import (
    FALLBACK_ENCODING,
    TextFile,
    explain_failure,
    find_layout,
    is_wrong_encoding,
    open_text,
    read_delimited,
    short_rows_finding,
    transcode,
)
from treadle.flows.sales.reading.names import REQUIRED, normalise_name, plan_names, require_columns
from treadle.flows.sales.reading.raw_table import RawTable
from treadle.flows.sales.reading.workbook import read_workbook
from treadle.flows.sales.table import CleanTable, Finding

_WORKBOOKS: Final = frozenset({Format.XLSX, Format.XLS, Format.XLSB, Format.ODS})


def read_clean_table(  # noqa: PLR0913 - how to read, each by name
    path: Path,
    *,
    sheet: str | None = None,
    mapping: Mapping[str, str] | None = None,
    scratch: Path,
    limits: ArchiveLimits | None = None,
    inspecting: bool = False,
) -> CleanTable:
    """Read a file of any of the formats and clean it.

    sheet: which sheet of a workbook; None takes the first visible one that holds anything. Formats without sheets take none.
    mapping: source column → wanted name.
    scratch: an existing folder, of the caller's, for files that the table may be read from: it must outlive the table.
    inspecting: to look at it, not to run it. It is read although a required column is missing, and a finding says what is missing and what to map;
        findings say on which rows, and `source` holds the rows as the file has them.

    Raises:
        InvalidInput: the file cannot be used; the message says why, and the hint what would mend it.
    """
    kind = detect_format(path, limits=limits)
    wishes = dict(mapping or {})
    wanted = _wanted(wishes)
    if kind in _WORKBOOKS:
        return _cleaned(read_workbook(path, kind, sheet=sheet, wanted=wanted), wishes, scratch, inspecting=inspecting)
    if sheet is not None:
        raise InvalidInput(
            f"{path.name} has no sheets, so {sheet!r} cannot be chosen.", hint="Leave the sheet out.", details={"sheet": sheet}
        )
    if kind is Format.PARQUET:
        return _read_parquet(path, wishes, scratch, inspecting=inspecting)
    return _read_text(path, wishes, scratch, wanted, inspecting=inspecting)


def _wanted(mapping: Mapping[str, str]) -> set[str]:
    """The names by which a header is recognised: the mapped columns, and the required ones that are not to come from those."""
    targets = {normalise_name(target) for target in mapping.values()}
    return {*mapping, *(name for name in REQUIRED if name not in targets)}


def _cleaned(raw: RawTable, mapping: Mapping[str, str], scratch: Path, *, inspecting: bool) -> CleanTable:
    plan = plan_names(raw.headers, mapping)
    try:
        require_columns(plan, raw.headers)
    except InvalidInput as missing:
        if not inspecting:
            raise
        table = clean(raw, plan, scratch, failing_rows=True)
        lacking = Finding("required_columns", passed=False, detail=f"{missing.message} {missing.hint or ''}".strip(), severity="error")
        return replace(table, findings=(lacking, *table.findings))
    return clean(raw, plan, scratch, failing_rows=inspecting)


def _read_text(path: Path, mapping: Mapping[str, str], scratch: Path, wanted: Collection[str], *, inspecting: bool) -> CleanTable:
    text = open_text(path, scratch)
    try:
        return _clean_text(text, mapping, scratch, wanted, inspecting=inspecting)
    except pl.exceptions.PolarsError as error:
        if text.encoding != "utf-8" or not is_wrong_encoding(error):
            raise explain_failure(text, find_layout(text, wanted), error) from error
    return _clean_text(transcode(path, scratch, FALLBACK_ENCODING), mapping, scratch, wanted, inspecting=inspecting)


def _clean_text(text: TextFile, mapping: Mapping[str, str], scratch: Path, wanted: Collection[str], *, inspecting: bool) -> CleanTable:
    layout = find_layout(text, wanted)
    table = _cleaned(read_delimited(text, layout, failing_rows=inspecting), mapping, scratch, inspecting=inspecting)
    last = table.columns[-1].name
    if table.frame.select(pl.col(last).null_count()).collect(engine="streaming").item():
        return replace(table, findings=(*table.findings, *short_rows_finding(text, layout, table.row_count, failing_rows=inspecting)))
    return table


def _read_parquet(path: Path, mapping: Mapping[str, str], scratch: Path, *, inspecting: bool) -> CleanTable:
    try:
        frame = pl.scan_parquet(path, glob=False)
        headers = frame.collect_schema().names()
        by_position = frame.select(pl.col(name).alias(str(position)) for position, name in enumerate(headers))
        return _cleaned(RawTable(by_position, tuple(headers), in_memory=False), mapping, scratch, inspecting=inspecting)
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(
            f"{path.name} could not be read as Parquet: {str(error).splitlines()[0]}.",
            hint="The file is probably damaged: upload it again.",
            details={"file": path.name},
        ) from error
