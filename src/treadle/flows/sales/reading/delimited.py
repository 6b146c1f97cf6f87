"""Reading text with delimiters (.csv .tsv): encoding, delimiter and header from the beginning of the file, the rest as a stream.

All fields come as text, so that no sample of the rows decides a type: see `clean`.
"""

import codecs
import csv
import io
import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from treadle.errors import InvalidInput
from treadle.flows.sales.failing_rows import ROWS_A_CHECK, FailingRows, cell, whole_row
from treadle.flows.sales.reading.header import find_header, header_cells, header_finding
from treadle.flows.sales.reading.raw_table import RawTable
from treadle.flows.sales.table import Finding

_START_BYTES: Final = 256 * 1024
_PIECE_CHARACTERS: Final = 4 * 1024 * 1024
_SNIFFED_ROWS: Final = 60
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
FALLBACK_ENCODING: Final = "cp1252"  # the usual one of Windows in the West
_EXPORT: Final = "Correct that line, or export the file anew, as UTF-8 with quotation marks around texts."


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file in UTF-8, and the encoding in which it was found."""

    path: Path
    name: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text file is laid out. `header_rows`: rows down to the header and with it; `header_lines`: the same in lines of the file."""

    delimiter: str
    line_end: str
    headers: tuple[str | None, ...]
    header_rows: int
    header_lines: int
    findings: tuple[Finding, ...]


def open_text(path: Path, scratch: Path) -> TextFile:
    """Tell the encoding by the beginning of the file; one that is not UTF-8 is copied to `scratch` as UTF-8."""
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if start.startswith(mark)), None)
    if marked == "utf-8-sig" or (marked is None and _is_utf8(start)):
        return TextFile(path, path.name, "utf-8")
    return transcode(path, scratch, marked or FALLBACK_ENCODING)


def transcode(path: Path, scratch: Path, encoding: str) -> TextFile:
    """Copy a file as UTF-8, piece by piece. A byte that the encoding does not define becomes the replacement character."""
    copy = scratch / "utf8.txt"
    with path.open(encoding=encoding, errors="replace", newline="") as source, copy.open("w", encoding="utf-8", newline="") as target:
        while piece := source.read(_PIECE_CHARACTERS):
            target.write(piece)
    return TextFile(copy, path.name, encoding)


def read_delimited(text: TextFile, layout: Layout, *, failing_rows: bool = False) -> RawTable:
    """Stream the rows under the header, every field as text. failing_rows: whether findings are to say on which rows."""
    frame, first_row = _scan(text.path, layout), layout.header_rows + 1
    finding = Finding("encoding", passed=True, detail=f"The file is not UTF-8; it was read as {text.encoding}.", severity="warning")
    findings = (
        *([finding] if text.encoding != "utf-8" else []),
        *layout.findings,
        *_unnamed_fields(layout, frame if failing_rows else None),
    )
    return RawTable(frame, layout.headers, in_memory=False, findings=findings, first_row=first_row)


def _unnamed_fields(layout: Layout, frame: pl.LazyFrame | None) -> list[Finding]:
    """Rows that are wider than the header: mostly numbers with a comma that nobody quoted, so that one value is read as two.

    frame: the rows, where it is to be said which.
    """
    named = [name for name in layout.headers if name]
    if layout.headers[-1:] != (None,):
        return []
    detail = (
        f"The rows have {len(layout.headers)} fields, but the header names only {len(named)}: the others have names of their own position. "
        "If a number holds the delimiter, its value was cut in two: quote it."
    )
    rows = _wide_rows(frame, layout) if frame is not None else None
    return [Finding("unnamed_fields", passed=False, detail=detail, severity="warning", failing=rows)]


def _wide_rows(frame: pl.LazyFrame, layout: Layout) -> FailingRows:
    extra = [str(place) for place in range(_last_named(layout), len(layout.headers))]
    wide = frame.with_row_index("at").filter(pl.any_horizontal(pl.col(extra).is_not_null()))
    count, first = pl.collect_all([wide.select(pl.len()), wide.head(ROWS_A_CHECK)], engine="streaming")
    cells = tuple(cell(layout.header_rows + 1 + at, "", whole_row(values)) for at, *values in first.rows())
    return FailingRows("It has more fields than the header has names.", count.item(), cells)


def _last_named(layout: Layout) -> int:
    """How many columns there are up to the last one with a name."""
    return 1 + max((place for place, name in enumerate(layout.headers) if name), default=-1)


def find_layout(text: TextFile, wanted: Collection[str]) -> Layout:
    """Tell delimiter and header by the first rows.

    wanted: column names by which the header row is recognised.

    Raises:
        InvalidInput: there is nothing in the first rows.
    """
    with text.path.open("rb") as file:
        start = codecs.getincrementaldecoder("utf-8-sig")("replace").decode(file.read(_START_BYTES))
    delimiter = max(_delimiters(text.name), key=lambda candidate: _score(_rows(start, candidate)))
    rows = _rows(start, delimiter)
    header = find_header(rows, wanted)
    if header is None:
        raise _without_header(text.name, start)
    cells = header_cells(rows[header])
    width = max(len(cells), _usual_width(rows[header + 1 :]))
    return Layout(
        delimiter=delimiter,
        line_end="\n" if "\n" in start else "\r" if "\r" in start else "\n",
        headers=tuple(cells + [None] * (width - len(cells))),
        header_rows=header + 1,
        header_lines=_lines(start, delimiter, header + 1),
        findings=tuple(header_finding(rows, header)),
    )


def _without_header(name: str, start: str) -> InvalidInput:
    if not start.strip(' \t\r\n,;|"'):
        return InvalidInput(f"{name} is empty.", hint="Check that the right file was uploaded.", details={"file": name})
    return InvalidInput(
        f"No header was found in {name}: what comes first is a text of more than {csv.field_size_limit():,} characters without an end.",
        hint="Begin the file with a line that names its columns, and look whether a quotation mark is opened there and not closed.",
        details={"file": name},
    )


def is_wrong_encoding(error: pl.exceptions.PolarsError) -> bool:
    """Whether a stream broke off because the text is not UTF-8 after all."""
    return "utf-8" in str(error) or "utf8" in str(error)


def explain_failure(text: TextFile, layout: Layout, error: pl.exceptions.PolarsError) -> InvalidInput:
    """Find the line that a stream broke off at, which the reader does not tell, by going through the file row by row."""
    with text.path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        reader = csv.reader(lines, delimiter=layout.delimiter, strict=True)
        try:
            wide = next((row for row in itertools.islice(reader, layout.header_rows, None) if len(row) > len(layout.headers)), None)
            reason = f"the row has {len(wide)} fields, the header {len(layout.headers)}" if wide else None
        except csv.Error as broken:
            reason = f"{broken}; a quotation mark is probably not closed, or not doubled"
        line = reader.line_num
    if reason is None:
        return InvalidInput(f"{text.name} could not be read: {str(error).splitlines()[0]}.", hint=_EXPORT, details={"file": text.name})
    return InvalidInput(f"{text.name}, line {line:,}: {reason}.", hint=_EXPORT, details={"file": text.name, "line": line})


def short_rows_finding(text: TextFile, layout: Layout, row_count: int, *, failing_rows: bool = False) -> list[Finding]:
    """Report rows with fewer fields than the header; what is missing there was read as empty. Not told where fields span lines.

    failing_rows: whether to say on which rows.
    """
    lines = pl.scan_csv(
        text.path,
        glob=False,
        has_header=False,
        schema={"line": pl.String},
        separator="\x1f",
        quote_char=None,
        skip_lines=layout.header_lines,
        truncate_ragged_lines=True,
        eol_char=layout.line_end,
    )
    fields = pl.col("line").str.count_matches(layout.delimiter, literal=True) + 1
    short = (fields < len(layout.headers)) & ~pl.col("line").str.contains('"', literal=True) & (pl.col("line").str.strip_chars() != "")
    found = (
        lines.with_row_index("at")
        .select(pl.len(), short.sum().alias("short"), pl.col("at").filter(short).min().alias("first"))
        .collect(engine="streaming")
        .row(0, named=True)
    )
    if not found["short"] or found["len"] != row_count:
        return []
    first = layout.header_lines + found["first"] + 1
    told = "1 row has" if found["short"] == 1 else f"{found['short']:,} rows have"
    detail = f"{told} fewer fields than the header, first in line {first:,}; the missing ones were read as empty."
    rows = None
    if failing_rows:
        found_rows = lines.with_row_index("at").filter(short).head(ROWS_A_CHECK).collect(engine="streaming").rows()
        cells = tuple(cell(layout.header_rows + 1 + at, "", line) for at, line in found_rows)
        rows = FailingRows("It has fewer fields than the header; those that are missing were read as empty.", found["short"], cells)
    return [Finding("short_rows", passed=False, detail=detail, severity="warning", failing=rows)]


def _scan(path: Path, layout: Layout) -> pl.LazyFrame:
    return pl.scan_csv(
        path,
        glob=False,  # a name may have brackets in it
        has_header=False,
        schema={str(position): pl.String for position in range(len(layout.headers))},
        separator=layout.delimiter,
        skip_rows=layout.header_rows,
        missing_columns="insert",
        eol_char=layout.line_end,
    )


def _is_utf8(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _delimiters(name: str) -> str:
    return "\t,;|" if name.lower().endswith(".tsv") else ",;\t|"


def _rows(start: str, delimiter: str) -> list[list[str | None]]:
    """The first rows as a delimiter would make them. One that is cut off where the beginning ends, or that is too long to be read, is left out with
    all that follow it; a single one that is cut off is kept.
    """
    reader = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
    rows: list[list[str | None]] = []
    try:
        for row in itertools.islice(reader, _SNIFFED_ROWS):
            rows.append(list[str | None](row))  # noqa: PERF401 - what was read before an error stays
    except csv.Error:
        return rows
    is_cut = len(rows) < _SNIFFED_ROWS and not start.endswith(("\n", "\r")) and len(start) >= _START_BYTES // 2
    return rows[:-1] if is_cut and len(rows) > 1 else rows


def _score(rows: Sequence[Sequence[str | None]]) -> tuple[float, int]:
    """How well a delimiter explains the rows: the share of them that have the usual number of fields, and that number. One field explains nothing."""
    width = _usual_width(rows)
    filled = [len(row) for row in rows if row]
    return (filled.count(width) / len(filled), width) if width > 1 else (0.0, width)


def _usual_width(rows: Sequence[Sequence[str | None]]) -> int:
    widths = Counter(len(row) for row in rows if row)
    return widths.most_common(1)[0][0] if widths else 0


def _lines(start: str, delimiter: str, rows: int) -> int:
    reader = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
    for _ in itertools.islice(reader, rows):
        pass
    return reader.line_num
