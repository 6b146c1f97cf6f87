"""Reading one sheet of a workbook (.xlsx .xls .xlsb .ods) by fastexcel, the reader that measured fastest.

An .xlsx is looked over first, in its own XML: see `sheet_scan`. The other formats have no such scan; there, the memory limit of the
child process that reads is what stops a stray far cell.
"""

import difflib
import threading
import zipfile
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import fastexcel
import polars as pl

from treadle.errors import InvalidInput
from treadle.flows.sales.failing_rows import FailingRows, cell
from treadle.flows.sales.reading.container import Format, protected
from treadle.flows.sales.reading.header import Row, find_header, header_cells, header_finding
from treadle.flows.sales.reading.long_numbers import may_be_shortened, with_digits
from treadle.flows.sales.reading.raw_table import SAVE_AGAIN, UNCACHED_FORMULAS, RawTable
from treadle.flows.sales.reading.sheet_scan import SheetFacts, column_letters, column_number, long_integers, scan_sheet
from treadle.flows.sales.reading.workbook_parts import PREVIEW_ROWS, Parts, SheetPart, first_rows, has_values, open_archive, read_parts
from treadle.flows.sales.table import Finding

_SCAN_FIRST_BYTES: Final = (
    8 * 1024 * 1024
)  # up to here the scan takes some 30 ms; beyond, it runs while the reader parses, which takes longer
_SHOWN: Final = 5  # cells and ranges that a finding names
_EMPTY_HINT: Final = "Check that the right file was uploaded, and that the sheet with the orders is not empty."


def read_workbook(path: Path, kind: Format, *, sheet: str | None, wanted: Collection[str]) -> RawTable:
    """Read the named sheet, or the first visible one that holds anything.

    wanted: column names by which the header row is recognised.

    Raises:
        InvalidInput: there is no such sheet, all are empty or hidden, the file is damaged or protected, or cells lie too far apart to be read.
    """
    return _read_xlsx(path, sheet, wanted) if kind is Format.XLSX else _read_other(path, sheet, wanted)


def _read_xlsx(path: Path, wanted_sheet: str | None, wanted: Collection[str]) -> RawTable:
    with open_archive(path) as archive:
        parts = read_parts(archive)
        chosen = _choose(
            [(part.name, part.visible) for part in parts.sheets], wanted_sheet, lambda at: has_values(archive, parts.sheets[at])
        )
        part = parts.sheets[chosen]
        preview = _preview_xlsx(path, archive, parts, part)
        header = _header_of(preview, wanted, path.name, part.name)
        loaded, facts = _load_scanned(path, archive, part, header)
        frame, is_rounded = _with_long_integers(loaded, archive, part, header)
    names = [(other.name, other.visible) for other in parts.sheets]
    findings = (*_sheet_findings(names, part.name), *header_finding(preview, header), *_scan_findings(facts, preview[header]))
    return replace(_raw(frame, preview[header], header, part.name, findings), rounds_long_numbers=is_rounded)


def _load_scanned(path: Path, archive: zipfile.ZipFile, part: SheetPart, header: int) -> tuple[pl.DataFrame, SheetFacts]:
    """Scan and load. What the scan refuses is raised at once, though the reader may still be at work in its thread: the caller then ends."""
    name = f"The sheet {part.name!r}"
    with archive.open(part.part) as stream:
        if archive.getinfo(part.part).file_size <= _SCAN_FIRST_BYTES:
            facts = scan_sheet(stream, name=name)
            return _load(path, part.name, header), facts
        loading = _Background(lambda: _load(path, part.name, header))
        facts = scan_sheet(stream, name=name)
    return loading.result(), facts


def _with_long_integers(frame: pl.DataFrame, archive: zipfile.ZipFile, part: SheetPart, header: int) -> tuple[pl.DataFrame, bool]:
    """Take numbers of more digits than a float keeps from the sheet's own XML, which is gone through again only where there are any.

    Also returns whether the sheet itself has only the first digits of some of them.
    """
    columns = {column_letters(int(name) + 1): name for name in frame.columns if may_be_shortened(frame[name])}
    if not columns:
        return frame, False
    with archive.open(part.part) as stream:
        found = long_integers(stream, columns)
    exact = [
        with_digits(frame[columns[letters]], [row - header - 2 for row in rows], texts) for letters, (rows, texts) in found.items() if rows
    ]
    return frame.with_columns(exact), any("E" in text.upper() for _rows, texts in found.values() for text in texts)


class _Background:
    """A call that runs in a daemon thread, which does not keep a process alive that has given up on it."""

    def __init__(self, call: Callable[[], pl.DataFrame]) -> None:
        self._call = call
        self._outcome: pl.DataFrame | BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._outcome = error

    def result(self) -> pl.DataFrame:
        """Wait for the call and return what it returned, or raise what it raised."""
        self._thread.join()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


def _preview_xlsx(path: Path, archive: zipfile.ZipFile, parts: Parts, part: SheetPart) -> list[list[str | None]]:
    small = first_rows(archive, parts, part)
    if small is None:
        return _preview(path, path.name, part.name)
    rows = _preview(small, path.name, 0)
    return rows if any(map(any, rows)) else _preview(path, path.name, part.name)


def _read_other(path: Path, wanted_sheet: str | None, wanted: Collection[str]) -> RawTable:
    with _reading(path.name):
        names = fastexcel.read_excel(path).sheet_names
    previews = {at: _preview(path, path.name, at) for at in range(len(names))}
    visible = [(name, _is_visible(path, name)) for name in names]
    chosen = _choose(visible, wanted_sheet, lambda at: any(map(any, previews[at])))
    preview = previews[chosen]
    header = _header_of(preview, wanted, path.name, names[chosen])
    frame = _load(path, names[chosen], header)
    findings = (*_sheet_findings(visible, names[chosen]), *header_finding(preview, header))
    return replace(_raw(frame, preview[header], header, names[chosen], findings), rounds_long_numbers=True)


def _choose(sheets: Sequence[tuple[str, bool]], wanted: str | None, holds_values: Callable[[int], bool]) -> int:
    """The position of the sheet to read: the named one, else the first visible one with values; a hidden one is never taken by itself."""
    names = [name for name, _ in sheets]
    if wanted is not None:
        return _named(names, wanted)
    for at, (_name, visible) in enumerate(sheets):
        if visible and holds_values(at):
            return at
    hidden = [name for at, (name, visible) in enumerate(sheets) if not visible and holds_values(at)]
    if hidden:
        raise InvalidInput(
            f"The visible sheets are empty; only the hidden sheet {hidden[0]!r} holds values.",
            hint=f'If it is the one to read, name it: "sheet": "{hidden[0]}"; or make it visible.',
            details={"sheets": names, "hidden": hidden},
        )
    raise InvalidInput("The workbook is empty: no sheet holds any value.", hint=_EMPTY_HINT, details={"sheets": names})


def _named(names: Sequence[str], wanted: str) -> int:
    alike = [at for at, name in enumerate(names) if name.strip().casefold() == wanted.strip().casefold()]
    if wanted in names:
        return names.index(wanted)
    if len(alike) == 1:
        return alike[0]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    raise InvalidInput(
        f"The workbook has no sheet {wanted!r}. Its sheets: {', '.join(names)}.",
        hint=f"Did you mean {near[0]!r}?" if near else "Name one of its sheets.",
        details={"sheet": wanted, "sheets": list(names)},
    )


def _header_of(preview: Sequence[Row], wanted: Collection[str], file: str, sheet: str) -> int:
    header = find_header(preview, wanted)
    if header is None:
        raise InvalidInput(
            f"The sheet {sheet!r} of {file} is empty in its first {PREVIEW_ROWS} rows.", hint=_EMPTY_HINT, details={"sheet": sheet}
        )
    return header


def _load(path: Path, sheet: str, header: int) -> pl.DataFrame:
    """Load a sheet's rows under its header; columns are named by their place in the sheet, from 0. Types that do not go together become text."""
    with _reading(path.name):
        reader = fastexcel.read_excel(path)
        try:
            loaded = reader.load_sheet(sheet, header_row=header, schema_sample_rows=None)
        except fastexcel.UnsupportedColumnTypeCombinationError:
            loaded = reader.load_sheet(sheet, header_row=header, dtypes="string")
        frame = pl.DataFrame(loaded)
        frame.columns = [str(column.absolute_index) for column in loaded.available_columns()]
        return frame


def _preview(source: Path | bytes, file: str, sheet: str | int) -> list[list[str | None]]:
    """The first rows as text, from row 1 and column A on. Empty: the sheet has no cells."""
    with _reading(file):
        loaded = fastexcel.read_excel(source).load_sheet(sheet, header_row=None, skip_rows=0, n_rows=PREVIEW_ROWS, dtypes="string")
        if not loaded.width:
            return []
        before: list[str | None] = [None] * loaded.available_columns()[0].absolute_index
        return [before + list(row) for row in pl.DataFrame(loaded).rows()]


def _is_visible(path: Path, sheet: str) -> bool:
    with _reading(path.name):
        return fastexcel.read_excel(path).load_sheet(sheet, header_row=None, n_rows=1, dtypes="string").visible == "visible"


@contextmanager
def _reading(file: str) -> Generator[None]:
    """Say in our words what the reader says in its own, be it an error or a panic of the Rust code underneath."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, fastexcel.FastExcelError) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, fastexcel.UnsupportedColumnTypeCombinationError):
            raise
        raise _unreadable(file, str(error)) from error


def _unreadable(file: str, told: str) -> InvalidInput:
    first_line = told.strip().splitlines()[0] if told.strip() else "no reason given"
    if "password" in told.lower() or "encrypt" in told.lower():
        return protected(file)
    return InvalidInput(
        f"{file} could not be read: {first_line}.",
        hint="The file is probably damaged. Open it in a spreadsheet program and save it again as .xlsx.",
        details={"file": file, "reader": told[:1000]},
    )


def _raw(frame: pl.DataFrame, names: Row, header: int, sheet: str, findings: tuple[Finding, ...]) -> RawTable:
    cells = header_cells(names)
    headers = tuple(cells[int(place)] if int(place) < len(cells) else None for place in frame.columns)
    frame.columns = [str(position) for position in range(frame.width)]
    return RawTable(frame.lazy(), headers, in_memory=True, sheet=sheet, findings=findings, first_row=header + 2)


def _sheet_findings(sheets: Sequence[tuple[str, bool]], read: str) -> list[Finding]:
    hidden = [name for name, visible in sheets if not visible]
    others = [name for name, visible in sheets if visible and name != read]
    found: list[Finding] = []
    if hidden:
        text = f"The workbook has {len(hidden)} hidden sheet{'s' if len(hidden) > 1 else ''}: {', '.join(hidden)}; {'it was read by name' if read in hidden else 'not read'}."
        found.append(Finding("hidden_sheets", passed=True, detail=text, severity="warning"))
    if others:
        found.append(Finding("other_sheets", passed=True, detail=f"Read: {read}. Not read: {', '.join(others)}."))
    return found


def _scan_findings(facts: SheetFacts, header: Row) -> list[Finding]:
    found: list[Finding] = []
    if facts.error_count:
        text = f"{_counted(facts.error_count, 'cell')} with a formula error, left empty: {_listed(facts.error_cells, facts.error_count)}."
        rows = _cells_named(
            facts.error_cells, facts.error_values, facts.error_count, header, "It holds a formula error, which counts as missing."
        )
        found.append(Finding("formula_errors", passed=False, detail=text, severity="warning", failing=rows))
    if facts.uncached:
        rows = _cells_named(
            facts.uncached_cells, [""] * len(facts.uncached_cells), facts.uncached.total(), header, "Its formula has no stored result."
        )
        found.append(Finding(UNCACHED_FORMULAS, passed=False, detail=_uncached_told(facts, header), severity="warning", failing=rows))
    if facts.merged_count:
        text = f"{_counted(facts.merged_count, 'merged range')}, of which only the first cell has a value: {_listed(facts.merged_ranges, facts.merged_count)}."
        rows = _cells_named(
            facts.merged_ranges, facts.merged_ranges, facts.merged_count, header, "Of merged cells only the first one has a value."
        )
        found.append(Finding("merged_cells", passed=False, detail=text, severity="warning", failing=rows))
    if facts.dimension and _end_of(facts.dimension) != (column_number(facts.widest), facts.last_row) and ":" in facts.dimension:
        text = f"The sheet declares its cells as {facts.dimension}, but they reach to {facts.widest}{facts.last_row}; all were read."
        found.append(Finding("dimension", passed=False, detail=text, severity="info"))
    return found


def _uncached_told(facts: SheetFacts, header: Row) -> str:
    names = header_cells(header)
    by_column = sorted(facts.uncached.items(), key=lambda counted: column_number(counted[0]))
    named = [(names[at - 1] if (at := column_number(letters)) <= len(names) else None) or letters for letters, _ in by_column]
    told = [f"{name} ({count:,})" for name, (_, count) in zip(named, by_column, strict=True)]
    cells = _counted(facts.uncached.total(), "formula")
    return f"{cells} without a stored result, read as empty: {_listed(told, len(told))}, first {facts.uncached_cells[0]}. {SAVE_AGAIN}"


def _cells_named(ranges: Sequence[str], values: Sequence[str], count: int, header: Row, reason: str) -> FailingRows:
    """Cells, or ranges by their first cell, with the names of their columns: the header's, else their letters."""
    names = header_cells(header)
    cells = [
        cell(row, (names[number - 1] if number <= len(names) else None) or letters, value or None)
        for (letters, number, row), value in zip(map(_place_of, ranges), values, strict=True)
    ]
    return FailingRows(reason, count, tuple(sorted(cells, key=lambda one: one.row)))


def _place_of(reference: str) -> tuple[str, int, int]:
    """B12, or B12:C14 → B, 2, 12."""
    first = reference.partition(":")[0]
    letters = first.rstrip("0123456789")
    return letters, column_number(letters), int(first[len(letters) :] or 0)


def _end_of(dimension: str) -> tuple[int, int]:
    cell = dimension.rpartition(":")[2]
    column = cell.rstrip("0123456789")
    return column_number(column), int(cell[len(column) :] or 0)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _listed(shown: Sequence[str], count: int) -> str:
    return ", ".join(shown[:_SHOWN]) + (" …" if count > _SHOWN else "")
