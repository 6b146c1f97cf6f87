"""Cuts the bodies of pages into raw records, column-wise where that can be proven right. Pure.

A record begins wherever `{` follows `},`, unless that stands inside a text or a nested value. So a cut of this kind is a guess, and it holds when

1. the page without the part that was cut is an envelope without records,
2. there are as many pieces as the page has records, and
3. each piece is one JSON value: then they are the members of the array, for JSON can be read in one way only.

`cut` sees to 1 and 2. 3 is for whoever reads the pieces, most of them column-wise; `is_one_value` answers it for a single one.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from treadle.errors import UnexpectedAnswer

arrow: Final[Any] = pa  # its types are unknown to the checker
ReadRecords = Callable[[bytes], Sequence[bytes]]
"""The raw records of a page's body, each exactly, in order. Raises UnexpectedAnswer when it is no page."""

Offsets = NDArray[np.int64]

_CLOSING, _COMMA, _OPENING, _SPACE, _NEWLINE = b"},{ \n"
_BETWEEN: Final = b", \t\r\n"  # what may stand after a record in its piece
_LAST_RECORD: Final = len(b"},{}]")  # a record that others follow closes at least so many bytes before the end


@dataclass(frozen=True, slots=True)
class Pieces:
    """The records of some pages, in order. A piece may still have the comma after it, with white space."""

    raw: pl.Series  # Binary, one per record
    page: Offsets  # of each piece: which of the pages that were cut, from 0
    proven: bool  # every piece is one record, whatever is in it

    def records(self, indices: pl.Series) -> list[bytes]:
        """The bytes of these records alone: no JSON value ends with a comma or white space."""
        return [piece.rstrip(_BETWEEN) for piece in cast("list[bytes]", self.raw.gather(indices).to_list())]


@dataclass(frozen=True, slots=True)
class _Cut:
    text: bytes | memoryview
    starts: Offsets  # of each piece, in `text`
    proven: bool


def cut(bodies: Sequence[bytes], rows: Sequence[int], read_records: ReadRecords) -> Pieces:
    """Cut pages of so many records each; a page for which the guess fails is read by `read_records`."""
    return _pieces([_guess(body, count, read_records) or _exact(body, read_records) for body, count in zip(bodies, rows, strict=True)])


def cut_exactly(bodies: Sequence[bytes], read_records: ReadRecords) -> Pieces:
    """Cut pages as `read_records` reads them: right whatever they hold, and slower."""
    return _pieces([_exact(body, read_records) for body in bodies])


def is_one_value(record: bytes) -> bool:
    """Whether the bytes are one JSON value, as far as its extent goes; what is in its texts does not matter."""
    try:
        msgspec.json.decode(record, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return _is_one_value_to_python(record)
    return True


def _is_one_value_to_python(record: bytes) -> bool:
    """Unlike msgspec it reads over half a surrogate pair, control characters in texts, and NaN. Latin-1 has a letter for every byte, UTF-8 or not."""
    try:
        json.loads(record.decode("latin-1"), parse_int=str, parse_float=str, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


def _guess(body: bytes, rows: int, read_records: ReadRecords) -> _Cut | None:
    opens, closes = body.find(b"[{") + 1, body.rfind(b"}]") + 1
    if not 0 < opens < closes or not _is_without_records(body[:opens] + body[closes:], read_records):
        return None
    starts = np.append(opens, _starts_of_further_records(body, opens, closes))
    if len(starts) < rows:
        starts = _with_hidden_starts(body, starts, closes, read_records)
    return _Cut(memoryview(body)[opens:closes], starts - opens, proven=False) if len(starts) == rows else None


def _with_hidden_starts(body: bytes, starts: Offsets, closes: int, read_records: ReadRecords) -> Offsets:
    """Between two objects records hide that are none, such as the 5 in `{…},5,{…}`: in a piece with more than one closing bracket. It is read as the list that it is."""
    closing: Offsets = np.flatnonzero(np.frombuffer(body, np.uint8)[starts[0] : closes] == _CLOSING) + starts[0]
    piece_of: Offsets = np.asarray(np.searchsorted(starts, closing, side="right")) - 1
    brackets = np.bincount(piece_of, minlength=len(starts))
    ends = np.append(starts[1:], closes)
    hidden = [
        starts[piece] + offset
        for piece in np.flatnonzero(brackets != 1)
        for offset in _starts_within(body[starts[piece] : ends[piece]].rstrip(_BETWEEN), read_records)
    ]
    return np.union1d(starts, np.array(hidden, np.int64))


def _starts_within(piece: bytes, read_records: ReadRecords) -> Iterator[int]:
    """Where each record of a piece begins, if it is a list without its brackets."""
    position = 0
    try:
        for record in read_records(b"[" + piece + b"]"):
            position = piece.index(record, position)  # only a comma and white space lie in between
            yield position
            position += len(record)
    except (UnexpectedAnswer, ValueError):
        return


def _is_without_records(body: bytes, read_records: ReadRecords) -> bool:
    try:
        return not read_records(body)
    except UnexpectedAnswer:
        return False


def _starts_of_further_records(body: bytes, opens: int, closes: int) -> Offsets:
    characters = np.frombuffer(body, np.uint8)
    closing = np.flatnonzero(characters[opens : closes + 1 - _LAST_RECORD] == _CLOSING) + opens
    closing = closing[characters[closing + 1] == _COMMA]
    second, third = characters[closing + 2], characters[closing + 3]
    at_once = second == _OPENING
    spaced = ((second == _SPACE) | (second == _NEWLINE)) & (third == _OPENING)
    return (closing + np.where(at_once, 2, 3))[at_once | spaced]


def _exact(body: bytes, read_records: ReadRecords) -> _Cut:
    records = read_records(body)
    ends = np.cumsum(np.fromiter(map(len, records), np.int64, len(records)))
    return _Cut(b"".join(records), np.append(np.zeros(1, np.int64), ends)[: len(records)], proven=True)


def _pieces(cuts: Sequence[_Cut]) -> Pieces:
    text = b"".join(one.text for one in cuts)
    begins = np.cumsum([0, *(len(one.text) for one in cuts)])
    offsets = np.concatenate([*(one.starts + begin for one, begin in zip(cuts, begins, strict=False)), begins[-1:]]).astype(np.int64)
    raw = arrow.Array.from_buffers(arrow.large_binary(), len(offsets) - 1, [None, arrow.py_buffer(offsets), arrow.py_buffer(text)])
    page = np.repeat(np.arange(len(cuts)), [len(one.starts) for one in cuts])
    return Pieces(cast("pl.Series", pl.from_arrow(raw)), page, all(one.proven for one in cuts))
