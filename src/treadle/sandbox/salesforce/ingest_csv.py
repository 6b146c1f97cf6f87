"""Reads the CSV of an ingest job row by row, and writes the CSV of its results.

Source: Bulk guide, Prepare CSV Files and Get Information About an Ingest Job (results).
"""

import codecs
import csv
import io
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.sandbox.salesforce.refusals import Unfit
from treadle.sandbox.salesforce.schema import OBJECTS, SObject
from treadle.sandbox.salesforce.values import Reader, external_key, reader_of
from treadle.sandbox.salesforce.writing import RowWish

DELIMITERS: Final = {"COMMA": ",", "TAB": "\t", "PIPE": "|", "SEMICOLON": ";", "CARET": "^", "BACKQUOTE": "`"}
LINE_ENDINGS: Final = {"LF": "\n", "CRLF": "\r\n"}
CLEAR: Final = "#N/A"
_HEAD_BYTES: Final = 1 << 20

Put = Callable[[RowWish, str], None]


@dataclass(frozen=True, slots=True)
class _Plain:
    """A column of a field's own values."""

    name: str
    read: Reader


class UnusableUpload(Exception):
    """The upload as a whole cannot be processed: the job fails with this message, and no row was tried from here on."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a job's CSV is written."""

    delimiter: str
    line_ending: str


@contextmanager
def open_upload(file: Path, dialect: Dialect) -> Generator[tuple[list[str], Iterator[list[str]]]]:
    """The header and the rows of an upload. Raises UnusableUpload here, or while the rows are read."""
    with file.open("rb") as head:
        _check_line_ending(head.read(_HEAD_BYTES), dialect)
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = _rows(csv.reader(text, delimiter=DELIMITERS[dialect.delimiter], strict=True))
        header = next(rows, None)
        if not header:
            raise UnusableUpload("InvalidBatch : The upload has no header row.")
        yield header, _of_same_width(rows, len(header))


def row_reader(sobject: SObject, header: Sequence[str], *, key_field: str | None) -> Callable[[Sequence[str]], RowWish]:
    """What reads a row of this upload into a wish. key_field: the external id that an upsert goes by.

    Raises UnusableUpload for a column that is no field.
    """
    puts = [_put_of(sobject, name.strip()) for name in header]
    plain = [(place, put.name, put.read) for place, put in enumerate(puts) if isinstance(put, _Plain)]
    other = [(place, put) for place, put in enumerate(puts) if not isinstance(put, _Plain)]
    key_name = key_field and (found := sobject.find(key_field)) and found.name

    def read(cells: Sequence[str]) -> RowWish:
        wish = RowWish()
        values = wish.values
        for place, name, read_cell in plain:
            if cell := cells[place]:
                try:
                    values[name] = None if cell == CLEAR else read_cell(cell)
                except Unfit as unfit:
                    wish.fault = wish.fault or unfit.fault
        for place, put in other:
            if cell := cells[place]:
                put(wish, cell)
        if key_name and (key := wish.values.get(key_name)):
            wish.key = external_key(key)
        return wish

    return read


def write_csv(rows: Iterable[Sequence[str]], dialect: Dialect) -> bytes:
    """Rows as CSV in the job's dialect, every field quoted as Salesforce does."""
    text = io.StringIO()
    csv.writer(
        text, delimiter=DELIMITERS[dialect.delimiter], lineterminator=LINE_ENDINGS[dialect.line_ending], quoting=csv.QUOTE_ALL
    ).writerows(rows)
    return text.getvalue().encode()


def _put_of(sobject: SObject, name: str) -> "Put | _Plain":
    relation, _, foreign = name.partition(".")
    if foreign:
        return _put_parent(sobject, name, relation, foreign)
    field = sobject.find(name)
    if field is None or (field.system and field.type != "id"):
        raise UnusableUpload(f"InvalidBatch : Field name not found : {name}")
    if field.type == "id":
        return _put_id
    return _Plain(field.name, reader_of(field))


def _put_parent(sobject: SObject, name: str, relation: str, foreign: str) -> Put:
    lookup = sobject.relationships.get(relation.lower())
    parent = OBJECTS[lookup.refers_to.lower()] if lookup and lookup.refers_to else None
    if lookup is None or parent is None or parent.external_id.name.lower() != foreign.lower():
        raise UnusableUpload(f"InvalidBatch : Field name not found : {name}")

    def put(wish: RowWish, cell: str) -> None:
        if cell == CLEAR:
            wish.values[lookup.name] = None
        else:
            wish.parents[lookup.name] = (parent.name, cell)

    return put


def _put_id(wish: RowWish, cell: str) -> None:
    wish.identity = cell.strip()


def _check_line_ending(head: bytes, dialect: Dialect) -> None:
    """Only the header's end is looked at: a line break inside quotes may be of either kind."""
    first = head.removeprefix(codecs.BOM_UTF8).partition(b"\n")
    found = "CRLF" if first[0].endswith(b"\r") else "LF"
    if first[1] and found != dialect.line_ending:
        raise UnusableUpload(f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {dialect.line_ending}")


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from (row for row in reader if row)
    except UnicodeDecodeError as error:
        raise UnusableUpload("InvalidBatch : Failed to parse CSV: the data is not UTF-8.") from error
    except csv.Error as error:
        raise UnusableUpload(f"InvalidBatch : Failed to parse CSV: {error}.") from error


def _of_same_width(rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    for row in rows:
        if len(row) != width:
            raise UnusableUpload(f"ClientInputError : A row has {len(row)} columns, and the header has {width}.")
        yield row


def lenient_rows(file: Path, dialect: Dialect) -> Iterator[list[str]]:
    """All that can be read of an upload, header first, whatever is wrong with it; nothing where there is none."""
    if not file.exists():
        return
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        try:
            yield from (row for row in csv.reader(text, delimiter=DELIMITERS[dialect.delimiter]) if row)
        except csv.Error:
            return
