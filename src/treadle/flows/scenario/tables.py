"""Looks into one CSV file in bounded memory: is it a clean table, how many rows has it, and of which type could each column be.

Every column is read as text. Polars does the counting; where a file has quotes, the standard library's reader judges its shape, row by row.
"""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from treadle.flows.scenario.faults import Fault, listed
from treadle.flows.scenario.readable_rows import LINE_BYTES, bounded_lines, copy_readable, is_regular, is_stand_in, judged_names
from treadle.flows.scenario.schema import ValueType

CELL_BYTES: Final = 131_072  # also the standard library's limit, so that quotes change nothing
COLUMNS: Final = 1_000
SAMPLE_ROWS: Final = 1_000
_PIECE: Final = 512 * 1024
_SHOWN: Final = 5
_QUOTES: Final = f"Quote values that have quotes, and double those; a cell has at most {CELL_BYTES:,} bytes."
# Characters for which Delta needs column mapping, which Fabric's ontology does not read (Fabric IQ, "Bind data", limitations), and dots and backticks,
# which have a meaning in Spark's names.
_REFUSED_IN_COLUMNS: Final = re.compile(r"[ ,;{}()\n\t=.`\x00-\x1f]")
_REFUSED_IN_TABLES: Final = re.compile(r"(?=[0-9]*[a-zA-Z_])[a-zA-Z0-9_]{1,256}")  # Fabric REST, Lakehouse - Tables - Load Table
_WHOLE: Final = r"^[+-]?[0-9]{1,19}$"
_DECIMAL: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
_CODE: Final = r"^[+-]?0[0-9]|^\+"  # 007 and +61 are codes, not numbers, unless the schema says so
_YES_OR_NO: Final = r"^(?i:true|false)$"
_MOMENT: Final = r"^\d{4}-\d{2}-\d{2}([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$"
_CANDIDATES: Final = (ValueType.BIG_INT, ValueType.DOUBLE, ValueType.BOOLEAN, ValueType.DATE_TIME)


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """filled: cells that are not empty. inferred: the narrowest type that every value has; None where there is no value."""

    name: str
    filled: int
    inferred: ValueType | None


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What was found in one file. path: where its bytes are; of a file that is no clean table, a copy of what can be read of it.

    columns: those whose values can be judged. strays: the fields of rows that could not be read as rows, a line each; None: every row was read.
    """

    csv_file: str
    path: Path
    rows: int
    columns: Mapping[str, ColumnFacts]
    strays: Path | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What came of looking into a file.

    header: the names of its columns, as far as they can be read. names_known: whether a column that is not among them is missing. facts: None where no row
    can be relied on.
    """

    csv_file: str
    header: tuple[str, ...]
    names_known: bool
    facts: TableFacts | None
    faults: tuple[Fault, ...]


def table_name(csv_file: str) -> str:
    """The Delta table that a CSV file becomes."""
    return csv_file[: -len(".csv")]


def check_table_name(csv_file: str) -> Fault | None:
    """Whether Fabric takes the name of the table."""
    name = table_name(csv_file)
    if _REFUSED_IN_TABLES.fullmatch(name):
        return None
    hint = "Rename the file, here and in the schema: letters, digits and _, not digits alone, at most 256."
    return Fault("table_name_refused", csv_file, f"Fabric refuses {name!r} as the name of a table.", hint)


def is_refused_in_columns(name: str) -> bool:
    """Whether Fabric cannot bind a column of that name."""
    return bool(_REFUSED_IN_COLUMNS.search(name)) or not name.isprintable() or len(name) > 128


def read_table(csv_file: str, path: Path, spare: Path) -> Look:
    """Look into a file, and tell everything that keeps it from being a clean table.

    spare: a folder for a copy of what can be read of a table that is not clean; of one that is, nothing is written.
    """
    try:
        has_quotes = _check_bytes(path)
    except _Unreadable as unreadable:
        return Look(csv_file, (), False, None, (Fault("csv_unreadable", csv_file, unreadable.message, unreadable.hint),))
    header = _header(path)
    faults = list(_header_faults(csv_file, header))
    if any(fault.code == "csv_delimiter" for fault in faults) or not any(header):
        return Look(csv_file, (), False, None, tuple(faults))  # what a field is, is not known
    shape = _shape(csv_file, path, len(header), has_quotes=has_quotes)
    known = all(name.strip() for name in header) and len({name.casefold() for name in header}) == len(header)
    if isinstance(shape, Fault):
        return Look(csv_file, tuple(header), known, None, (*faults, shape))
    if shape.ragged:
        faults.append(_ragged(csv_file, shape, len(header)))
    if 2 * shape.ragged > shape.rows:
        return Look(csv_file, tuple(header), False, None, tuple(faults))  # it is rather the header that is wrong
    if len(header) > COLUMNS:
        return Look(csv_file, tuple(header), known, None, tuple(faults))
    facts, more = _facts(csv_file, *_clean(path, header, shape, spare, has_quotes=has_quotes))
    return Look(csv_file, tuple(header), known, facts, (*faults, *more))


def _clean(
    path: Path, header: Sequence[str], shape: "_Shape", spare: Path, *, has_quotes: bool
) -> "tuple[Path, list[str], int, Path | None]":
    """The file itself, or a copy of what can be read of it: its path, the names of its columns, how many rows it must have, and the fields left over."""
    names = judged_names(header)
    if not shape.ragged and names == list(header):
        return path, names, shape.rows, None
    copy = copy_readable(path, names, spare, has_quotes=has_quotes)
    return copy.path, names, shape.rows - shape.ragged, copy.strays if shape.ragged else None


def lines_of(path: Path) -> pl.LazyFrame:
    """The table, lazily, every column as text. An empty cell is null, quoted or not."""
    return pl.scan_csv(path, infer_schema=False).with_columns(pl.all().replace("", None))


def of_type(column: str, wanted: ValueType) -> pl.Expr:
    """Whether a text cell has the type. Null stays null."""
    return pl.when(pl.col(column).is_not_null()).then(_fits(pl.col(column), wanted))


def _fits(text: pl.Expr, wanted: ValueType) -> pl.Expr:
    if wanted is ValueType.BIG_INT:
        return text.str.contains(_WHOLE) & text.str.strip_prefix("+").cast(pl.Int64, strict=False).is_not_null()
    if wanted is ValueType.DOUBLE:
        return text.str.contains(_DECIMAL)
    if wanted is ValueType.BOOLEAN:
        return text.str.contains(_YES_OR_NO)
    if wanted is ValueType.DATE_TIME:
        return text.str.contains(_MOMENT) & text.str.head(10).str.to_date("%Y-%m-%d", strict=False).is_not_null()
    return text.is_not_null()


def type_fault(facts: TableFacts, column: str, wanted: ValueType) -> Fault | None:
    """Whether every value of a column has the type that was asked for."""
    if facts.columns[column].inferred in {None, wanted} or wanted in {ValueType.STRING, ValueType.OBJECT}:
        return None
    wrong = lines_of(facts.path).select(column).with_row_index("row", 2).filter(of_type(column, wanted).not_())
    count = int(wrong.select(pl.len()).collect(engine="streaming").item())
    if not count:
        return None
    first = wrong.head(5).collect(engine="streaming")
    place = f" (row {first['row'][0]} is the first)" if facts.strays is None else ""  # in a copy, rows have other numbers
    message = f"{count:,} of {facts.rows:,} values are no {wanted}: {listed(first[column])}{place}."
    return Fault(
        "type_wrong", f"{facts.csv_file} column {column}", message, f"Mend the values, or make it {ValueType.STRING} in property_types."
    )


class _Unreadable(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def _check_bytes(path: Path) -> bool:
    """Look at the bytes once. Returns whether there are quotes.

    Raises:
        _Unreadable: not UTF-8, binary, empty, or with an endless line.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    has_quotes, line, at = False, 0, 0
    carriage_return = False  # the last byte of the piece before
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            _check_encoding(piece, at, decoder)
            if (carriage_return or b"\r" in piece) and _has_lone_return(piece, behind_return=carriage_return):
                raise _Unreadable(f"It has a carriage return without a line feed near byte {at:,}.", "Save it with ordinary line ends.")
            carriage_return = piece.endswith(b"\r")
            has_quotes = has_quotes or b'"' in piece
            first = piece.find(b"\n")
            line += len(piece) if first < 0 else first
            if line > LINE_BYTES:
                message = f"A line is longer than {LINE_BYTES:,} bytes, near byte {at:,}."
                raise _Unreadable(
                    message, f"Shorten it: a cell has at most {CELL_BYTES:,} bytes. A quote that is never closed looks like this, too."
                )
            line = line if first < 0 else len(piece) - piece.rfind(b"\n") - 1
            at += len(piece)
    if carriage_return:
        raise _Unreadable("It ends with a carriage return without a line feed.", "Save it with ordinary line ends.")
    if not at:
        raise _Unreadable("It is empty.", "Put the header line into it, or take the file out of the schema.")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _Unreadable("It ends in the middle of a character.", "Save it as UTF-8 again; it was probably cut off.") from error
    return has_quotes


def _has_lone_return(piece: bytes, *, behind_return: bool) -> bool:
    """Whether a line feed is missing behind a carriage return. What follows the piece's last byte is the next piece's concern."""
    followed = piece.count(b"\r\n") + (behind_return and piece[:1] == b"\n") + piece.endswith(b"\r")
    return piece.count(b"\r") + behind_return != followed


def _check_encoding(piece: bytes, at: int, decoder: codecs.IncrementalDecoder) -> None:
    if not at and piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _Unreadable("It is UTF-16.", "Save it as UTF-8.")
    if b"\0" in piece:
        raise _Unreadable(f"It has a NUL near byte {at + piece.index(0):,}: this is no text.", "Save it as CSV in UTF-8.")
    try:
        decoder.decode(piece)
    except UnicodeDecodeError as error:
        raise _Unreadable(f"It is not UTF-8 (near byte {at + error.start:,}).", "Save it as CSV in UTF-8.") from error


def _header(path: Path) -> list[str]:
    """The names of the columns, without the byte order mark that some programs write."""
    with path.open("r", encoding="utf-8-sig", newline="") as file:
        try:
            return next(csv.reader(file))
        except (StopIteration, csv.Error):
            return []


def _header_faults(csv_file: str, header: Sequence[str]) -> Iterator[Fault]:
    if len(header) == 1 and (other := next((sign for sign in (";", "\t", "|") if sign in header[0]), None)):
        name = {"\t": "tabs"}.get(other, repr(other))
        yield Fault("csv_delimiter", csv_file, f"Its columns are separated by {name}, not by commas.", "Save it again with commas.")
        return
    if not header or not any(header):
        yield Fault("csv_header", csv_file, "It has no header line.", "Put the names of the columns into the first line.")
        return
    if len(header) > COLUMNS:
        yield Fault("csv_header", csv_file, f"It has {len(header):,} columns; {COLUMNS:,} are allowed.", "Split the table.")
    if empty := [place for place, name in enumerate(header, 1) if not name.strip()]:
        yield Fault("csv_header", csv_file, f"Columns without a name: {listed(empty)}.", "Name them, or remove them.")
    keys = [name.casefold() for name in header]
    if twice := sorted({name for name in header if keys.count(name.casefold()) > 1}):
        yield Fault(
            "csv_header", csv_file, f"Columns that a lakehouse takes for one: {listed(twice)}.", "Rename them; case makes no difference."
        )
    if refused := [name for name in header if name.strip() and is_refused_in_columns(name)]:
        hint = "Rename them, here and in the schema: no blanks, and none of , ; { } ( ) = . `"
        yield Fault("column_name_refused", csv_file, f"Fabric cannot bind columns with these names: {listed(refused)}.", hint)


@dataclass(frozen=True, slots=True)
class _Shape:
    """rows: without the header. ragged: how many have another number of fields; first: row and number of fields of a few of them."""

    rows: int
    ragged: int
    first: list[tuple[int, int]]


def _shape(csv_file: str, path: Path, columns: int, *, has_quotes: bool) -> _Shape | Fault:
    """How many rows there are, and whether each has as many fields as the header."""
    try:
        shape = _shape_by_row(path, columns) if has_quotes else _shape_by_line(path, columns)
    except csv.Error as error:
        return Fault("csv_unreadable", csv_file, f"It is no proper CSV: {error}.", _QUOTES)
    return shape


def _ragged(csv_file: str, shape: _Shape, columns: int) -> Fault:
    some = ", ".join(f"row {row} has {fields}" for row, fields in shape.first)
    message = f"Rows whose number of fields is not the header's {columns}: {shape.ragged:,} ({some})."
    return Fault("csv_ragged", csv_file, message, "A comma in a value needs quotes around the value; blank lines are rows, too.")


def _shape_by_line(path: Path, columns: int) -> _Shape:
    """Where nothing is quoted, a line is a row, and commas are borders."""
    fields = pl.scan_lines(path, name="line").select(pl.col("line").str.count_matches(",", literal=True) + 1).with_row_index("row", 1)
    wrong = pl.col("line") != columns
    rows, ragged = fields.select(pl.len(), wrong.sum()).collect(engine="streaming").row(0)
    first = fields.filter(wrong).head(_SHOWN).collect(engine="streaming") if ragged else None
    return _Shape(rows - 1, ragged, list(first.iter_rows()) if first is not None else [])


def _shape_by_row(path: Path, columns: int) -> _Shape:
    first: list[tuple[int, int]] = []
    ragged = row = 0
    with path.open("r", encoding="utf-8-sig", newline="") as file:
        for row, cells in enumerate(csv.reader(bounded_lines(file), strict=True), 1):
            if not is_regular(cells, columns):
                ragged += 1
                if len(first) < _SHOWN:
                    first.append((row, len(cells)))
    return _Shape(row - 1, ragged, first)


def _facts(
    csv_file: str, path: Path, names: Sequence[str], expected: int, strays: Path | None
) -> tuple[TableFacts | None, tuple[Fault, ...]]:
    table = lines_of(path)
    try:
        sample = table.head(SAMPLE_ROWS).collect(engine="streaming")
        possible = _possible(sample)
        counted = table.select(pl.len().alias("rows"), *_counts(possible)).collect(engine="streaming").row(0)
    except pl.exceptions.PolarsError:
        possible, counted = {}, (None,)
    rows, *figures = counted
    if rows is None or rows != expected:  # two readers see different rows: only stray quotes do that
        return None, (Fault("csv_unreadable", csv_file, "A value has quotes within it and none around it.", _QUOTES),)
    columns: dict[str, ColumnFacts] = {}
    faults: list[Fault] = []
    for name in names:
        filled, longest, *failed = (figures.pop(0) for _ in range(2 + len(possible[name])))
        if (longest or 0) > CELL_BYTES:
            message = f"A value has {longest:,} bytes; {CELL_BYTES:,} are allowed."
            hint = "Keep long texts in files of their own, such as runbooks."
            faults.append(Fault("cell_too_large", f"{csv_file} column {name.strip()}", message, hint))
        columns[name] = ColumnFacts(name, filled, _inferred(filled, dict(zip(possible[name], failed, strict=True))))
    judged = {name: facts for name, facts in columns.items() if not is_stand_in(name)}
    return TableFacts(csv_file, path, rows, judged, strays), tuple(faults)


def _counts(possible: Mapping[str, Sequence[ValueType]]) -> Iterator[pl.Expr]:
    for place, (name, types) in enumerate(possible.items()):
        yield pl.col(name).count().alias(f"filled {place}")
        yield pl.col(name).str.len_bytes().max().alias(f"longest {place}")
        for kind in types:
            yield _unlike(name, kind).sum().alias(f"{kind} {place}")


def _unlike(column: str, kind: ValueType) -> pl.Expr:
    """Values that speak against the type when nobody declared it."""
    unlike = of_type(column, kind).not_()
    return unlike | pl.col(column).str.contains(_CODE) if kind in {ValueType.BIG_INT, ValueType.DOUBLE} else unlike


def _possible(sample: pl.DataFrame) -> dict[str, tuple[ValueType, ...]]:
    """The types that the first rows leave possible for each column: most are text, and need no second look."""
    unlike = {(place, kind): _unlike(name, kind).any() for place, name in enumerate(sample.columns) for kind in _CANDIDATES}
    found = sample.select(test.alias(f"{kind} {place}") for (place, kind), test in unlike.items())
    return {name: tuple(kind for kind in _CANDIDATES if not found[f"{kind} {place}"].item()) for place, name in enumerate(sample.columns)}


def _inferred(filled: int, failed: Mapping[ValueType, int]) -> ValueType | None:
    if not filled:
        return None
    return next((kind for kind in _CANDIDATES if kind in failed and not failed[kind]), ValueType.STRING)


def missing_columns(look: Look, needed: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    """needed: column, and what needs it. One whose name in the file is refused, and would be this one without what is refused, is not missing."""
    if not look.names_known:
        return
    refused = {_REFUSED_IN_COLUMNS.sub("", name) for name in look.header if is_refused_in_columns(name)}
    for column, user in dict.fromkeys(needed):
        if column not in look.header and _REFUSED_IN_COLUMNS.sub("", column) not in refused:
            hint = f"Columns are: {', '.join(look.header[:30])}. Names are exact, case included."
            yield Fault("column_missing", look.csv_file, f"There is no column {column!r}, which {user} needs.", hint)
