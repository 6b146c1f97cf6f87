"""A 128-bit hash of a row's typed values that means the same for ever, so that stored hashes stay comparable. Pure.

SCHEME 1: the values, in the order of the columns, become bytes (`canonical_bytes` says how, value by value), and these are hashed with
MurmurHash3_x64_128, seed 0 – published, in the public domain, and complete: https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp.
It tells values apart by accident-proof odds (2⁻¹²⁸), not against somebody who makes collisions on purpose: it is compared only with the stored hash of the same key.
Engines have hashes of their own, none of which is promised to stay as it is. Whoever changes anything here raises SCHEME.

`row_hashes` does for whole columns what `murmur3(canonical_bytes(…))` says for one row; the tests hold the two together, and both to known answers.
"""

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from treadle.errors import InvalidInput

SCHEME: Final = 1
HASH_COLUMNS: Final = (
    "row_hash_hi",
    "row_hash_lo",
)  # the first and second 64 bits, as signed integers: PostgreSQL, Delta and Arrow all have those

arrow: Final[Any] = pa  # its types are unknown to the checker
Value = str | int | Decimal | date | datetime | bool | None
Words = npt.NDArray[np.uint64]
RowWords = Words | np.uint64  # a word for each row, or one that all of them share: what is done to that is done once

_NULL, _INTEGER, _BOOLEAN, _DATE, _TIMESTAMP, _DECIMAL, _TEXT = range(7)
_BLOCK_BYTES: Final = 16
_CHUNK_ROWS: Final = 32_768  # so many rows' words stay in a processor's second-level cache
_MASK: Final = (1 << 64) - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC), date(1970, 1, 1)
_PADDING: Final = np.zeros(_BLOCK_BYTES, np.uint8)


def row_hashes(frame: pl.DataFrame) -> pl.DataFrame:
    """The hash of each row as HASH_COLUMNS, rows in the same order.

    frame: columns of text, integers, booleans, dates, decimals, and timestamps with a time zone; nothing else, so that nothing is rounded on the way.

    Raises:
        InvalidInput: a column is of another kind.
    """
    columns = [_prepare(column) for column in frame.get_columns()]
    starts = range(0, frame.height, _CHUNK_ROWS)
    parts = [_hash_rows(columns, slice(start, min(start + _CHUNK_ROWS, frame.height))) for start in starts]
    halves = zip(*parts, strict=True) if parts else ([np.empty(0, np.uint64)], [np.empty(0, np.uint64)])
    return pl.DataFrame({name: np.concatenate(half).view(np.int64) for name, half in zip(HASH_COLUMNS, halves, strict=True)})


def canonical_bytes(values: Sequence[tuple[Value, int]]) -> bytes:
    """What is hashed of one row: (value, scale) for each column; the scale is that of a decimal column, and 0 for others.

    Each value is a block of 16 bytes – two little-endian words – and, where it needs them, more:
    null (0, 0) · integer (1, two's complement) · boolean (2, 0 or 1) · date (3, days since 1970-01-01) · timestamp (4, µs since 1970-01-01 UTC) ·
    decimal (5 + 256 × scale, upper half of the unscaled 128-bit number), (lower half, 0) · text (6, length in bytes), then UTF-8 in NFC, filled up with zeros.
    So null is not '', '1' is not 1, and 1.50 with two places is not 1.5 with one. NFC never changes for a text of assigned characters
    (https://www.unicode.org/policies/stability_policy.html).
    """
    return b"".join(_canonical_value(value, scale) for value, scale in values)


def murmur3(content: bytes) -> tuple[int, int]:
    """MurmurHash3_x64_128 with seed 0 of whole blocks of 16 bytes, as (h1, h2), unsigned."""
    h1 = h2 = 0
    for start in range(0, len(content), _BLOCK_BYTES):
        k1, k2 = (int.from_bytes(content[at : at + 8], "little") for at in (start, start + 8))
        h1 ^= _rotated(k1 * _C1 & _MASK, 31) * _C2 & _MASK
        h1 = ((_rotated(h1, 27) + h2) * 5 + 0x52DCE729) & _MASK
        h2 ^= _rotated(k2 * _C2 & _MASK, 33) * _C1 & _MASK
        h2 = ((_rotated(h2, 31) + h1) * 5 + 0x38495AB5) & _MASK
    h1, h2 = h1 ^ len(content), h2 ^ len(content)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    h1, h2 = _mixed(h1), _mixed(h2)
    h1 = (h1 + h2) & _MASK
    return h1, (h2 + h1) & _MASK


def _canonical_value(value: Value, scale: int) -> bytes:  # noqa: PLR0911 - one answer for each type
    match value:
        case None:
            return _block(_NULL, 0)
        case bool():
            return _block(_BOOLEAN, int(value))
        case int():
            return _block(_INTEGER, value)
        case datetime():
            return _block(_TIMESTAMP, (value - _EPOCH) // timedelta(microseconds=1))
        case date():
            return _block(_DATE, (value - _EPOCH_DAY).days)
        case Decimal():
            unscaled = int(value.scaleb(scale))
            return _block(_DECIMAL | scale << 8, unscaled >> 64) + _block(unscaled, 0)
        case str():
            text = unicodedata.normalize("NFC", value).encode()
            return _block(_TEXT, len(text)) + text + bytes(-len(text) % _BLOCK_BYTES)


def _block(first: int, second: int) -> bytes:
    return (first & _MASK).to_bytes(8, "little") + (second & _MASK).to_bytes(8, "little")


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK


def _mixed(word: int) -> int:
    word = (word ^ word >> 33) * 0xFF51AFD7ED558CCD & _MASK
    word = (word ^ word >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return word ^ word >> 33


class _Hasher:
    """The same for many rows at a time; a row may lack the blocks that another has."""

    def __init__(self, rows: int) -> None:
        self._h1, self._h2 = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
        self._lengths = np.zeros(rows, np.uint64)

    def add(self, first: RowWords, second: RowWords, only: npt.NDArray[np.intp] | None = None) -> None:
        """Take in a block per row. only: the rows that have it, None for all. Both arrays are used up."""
        if only is None:
            _mix_block(self._h1, self._h2, first, second)
            self._lengths += np.uint64(_BLOCK_BYTES)
            return
        h1, h2 = self._h1[only], self._h2[only]
        _mix_block(h1, h2, first, second)
        self._h1[only], self._h2[only] = h1, h2
        self._lengths[only] += np.uint64(_BLOCK_BYTES)

    def digest(self) -> tuple[Words, Words]:
        h1, h2 = self._h1 ^ self._lengths, self._h2 ^ self._lengths
        h1 += h2
        h2 += h1
        _mix_final(h1)
        _mix_final(h2)
        h1 += h2
        h2 += h1
        return h1, h2


def _mix_block(h1: Words, h2: Words, k1: RowWords, k2: RowWords) -> None:
    h1 ^= _premixed(k1, _C1, 31, _C2)
    _rotate(h1, 27)
    h1 += h2
    h1 *= np.uint64(5)
    h1 += np.uint64(0x52DCE729)
    h2 ^= _premixed(k2, _C2, 33, _C1)
    _rotate(h2, 31)
    h2 += h1
    h2 *= np.uint64(5)
    h2 += np.uint64(0x38495AB5)


def _premixed(words: RowWords, factor: int, bits: int, other: int) -> RowWords:
    if isinstance(words, np.ndarray):
        words *= np.uint64(factor)
        _rotate(words, bits)
        words *= np.uint64(other)
        return words
    return np.uint64(_rotated(int(words) * factor & _MASK, bits) * other & _MASK)  # numpy warns where a single number overflows


def _rotate(words: Words, bits: int) -> None:
    over = words >> np.uint64(64 - bits)
    words <<= np.uint64(bits)
    words |= over


def _mix_final(words: Words) -> None:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        words ^= words >> np.uint64(33)
        words *= np.uint64(factor)
    words ^= words >> np.uint64(33)


_Prepared = Callable[[_Hasher, slice], None]  # adds these rows of one column


def _hash_rows(columns: Sequence[_Prepared], rows: slice) -> tuple[Words, Words]:
    hasher = _Hasher(rows.stop - rows.start)
    for add in columns:
        add(hasher, rows)
    return hasher.digest()


def _prepare(column: pl.Series) -> _Prepared:
    dtype = column.dtype
    present = column.is_not_null().to_numpy()
    if isinstance(dtype, pl.String):
        return _prepare_text(column, present)
    if isinstance(dtype, pl.Decimal):
        return _prepare_decimal(column, present, dtype.scale)
    tag, words = _as_words(column)
    tags = _tags(present, tag)
    return lambda hasher, rows: hasher.add(_of(tags, rows), words[rows])  # each row is visited once, so both may be used up


def _tags(present: npt.NDArray[np.bool_], tag: int) -> RowWords:
    return np.uint64(tag) if present.all() else np.where(present, np.uint64(tag), np.uint64(_NULL))


def _of(words: RowWords, rows: slice) -> RowWords:
    return words[rows] if isinstance(words, np.ndarray) else words


def _as_words(column: pl.Series) -> tuple[int, Words]:
    """The tag and second word of a column whose values fit into one; null is 0."""
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return _TIMESTAMP, _words(column.dt.epoch("us"))
    if isinstance(dtype, pl.Date):
        return _DATE, _words(column.cast(pl.Int32))
    if isinstance(dtype, pl.Boolean):
        return _BOOLEAN, _words(column)
    if dtype.is_integer() and not isinstance(dtype, pl.UInt64):
        return _INTEGER, _words(column)
    raise InvalidInput(
        f"The column {column.name} holds {dtype}, which has no canonical bytes.",
        hint="Cast it to text, an integer, a boolean, a date, a decimal, or a timestamp with a time zone.",
    )


def _words(column: pl.Series) -> Words:
    return column.cast(pl.Int64).fill_null(0).to_numpy().astype(np.int64, copy=True).view(np.uint64)


def _prepare_decimal(column: pl.Series, present: npt.NDArray[np.bool_], scale: int) -> _Prepared:
    unscaled = _arrow(column, arrow.decimal128(38, scale))
    begin = unscaled.offset * 2
    halves = np.frombuffer(unscaled.buffers()[1] or b"", np.uint64)[begin : begin + 2 * len(unscaled)].reshape(-1, 2)
    tags = _tags(present, _DECIMAL | scale << 8)
    upper = np.where(present, halves[:, 1], np.uint64(0))

    def add(hasher: _Hasher, rows: slice) -> None:
        hasher.add(_of(tags, rows), upper[rows])
        chosen = _all_or_indices(present[rows])
        lower = halves[rows, 0] if chosen is None else halves[rows, 0][chosen]
        hasher.add(lower.copy(), np.uint64(0), chosen)

    return add


def _prepare_text(column: pl.Series, present: npt.NDArray[np.bool_]) -> _Prepared:
    text = _arrow(_nfc(column), arrow.large_string())
    offsets = np.frombuffer(text.buffers()[1] or b"", np.int64)[text.offset : text.offset + len(text) + 1]
    content = np.concatenate([np.frombuffer(text.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]], _PADDING])
    words = np.ndarray((len(content) - 7,), np.dtype("<u8"), content, strides=(1,))  # the word that begins at each byte
    starts = offsets[:-1] - offsets[0]
    lengths = np.where(present, np.diff(offsets), 0)
    tags = _tags(present, _TEXT)
    if len(lengths) and lengths.min() == lengths.max():
        return _prepare_even_text(words, starts, int(lengths[0]), tags)

    def add(hasher: _Hasher, rows: slice) -> None:
        hasher.add(_of(tags, rows), lengths[rows].astype(np.uint64))
        for at in range(0, int(lengths[rows].max(initial=0)), _BLOCK_BYTES):
            chosen = _all_or_indices(lengths[rows] > at)
            places, left = starts[rows] + at, lengths[rows] - at
            if chosen is not None:
                places, left = places[chosen], left[chosen]
            hasher.add(_text_words(words, places, left), _text_words(words, places + 8, left - 8), chosen)

    return add


def _prepare_even_text(words: Words, starts: npt.NDArray[np.int64], length: int, tags: RowWords) -> _Prepared:
    """Texts of one length, as keys and dates often are: where they end need not be asked row by row."""

    def add(hasher: _Hasher, rows: slice) -> None:
        hasher.add(_of(tags, rows), np.uint64(length))
        for at in range(0, length, _BLOCK_BYTES):
            first, second = (_even_words(words, starts[rows] + place, length - place) for place in (at, at + 8))
            hasher.add(first, second)

    return add


def _even_words(words: Words, places: npt.NDArray[np.int64], left: int) -> RowWords:
    """As `_text_words`, where all texts have as many bytes left."""
    if left <= 0:
        return np.uint64(0)
    found = words[places]
    if left < 8:
        found &= np.uint64((1 << 8 * left) - 1)
    return found


def _all_or_indices(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp] | None:
    return None if chosen.all() else np.flatnonzero(chosen)


def _text_words(words: Words, places: npt.NDArray[np.int64], left: npt.NDArray[np.int64]) -> Words:
    """The words at these places, where only so many bytes are the text's own; the others are zeros."""
    bits = np.clip(left, 0, 8).astype(np.uint64) << np.uint64(3)
    kept = np.where(bits == 64, np.uint64(_MASK), (np.uint64(1) << bits) - np.uint64(1))
    return words[np.minimum(places, len(words) - 1)] & kept


def _nfc(column: pl.Series) -> pl.Series:
    """In Unicode's composed form. Text of ASCII alone is in it already."""
    is_ascii = bool((column.str.len_bytes() == column.str.len_chars()).all())
    return column if is_ascii else column.str.normalize("NFC")


def _arrow(column: pl.Series, kind: Any) -> Any:
    """One Arrow array of this type."""
    whole: Any = column.rechunk()
    return whole.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(kind)


def hash_text(hi: int, lo: int) -> str:
    """A row's hash for people and JSON: 32 hexadecimal digits."""
    return f"{hi & _MASK:016x}{lo & _MASK:016x}"
