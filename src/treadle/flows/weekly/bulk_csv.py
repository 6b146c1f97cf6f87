"""Rows as CSV files for Bulk API 2.0: none longer than an upload may be, no record cut in two, no null that means something else. Pure but for its files.

RFC 4180 with LF, UTF-8, a header of API names in each file. `#N/A` sets a field to null, an empty cell leaves it as it is
(https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_prepare_csv.htm).
"""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import polars as pl
import polars.selectors as cs

from treadle.errors import InvalidInput
from treadle.flows.weekly.sync_cost import BATCH_ROWS, PART_BYTES
from treadle.flows.weekly.sync_fields import CLEAR_MARK

_BLOCK_ROWS: Final = 5 * BATCH_ROWS
_MOMENT: Final = "%Y-%m-%dT%H:%M:%S%.3fZ"


@dataclass(frozen=True, slots=True)
class CsvPart:
    """One file, which is the upload of one job."""

    path: Path
    rows: int
    size_bytes: int
    sha256: str  # hexadecimal, lower case


def write_bulk_csv(
    rows: pl.DataFrame | pl.LazyFrame, folder: Path, *, clears: frozenset[str] = frozenset(), limit_bytes: int = PART_BYTES
) -> list[CsvPart]:
    """Write the rows, in their order, to `folder`/part-000001.csv and so on; no file where there are no rows. Safe to repeat: same rows, same bytes.

    rows: columns are named as the fields are. A null – and empty text, which Salesforce keeps as null – becomes `#N/A` in a column of `clears`, and an
    empty cell in any other. Timestamps are written in UTC, to the millisecond.
    A file ends after a whole number of batches of 10,000 rows unless such a batch is itself longer than `limit_bytes`, the header included.

    Raises:
        InvalidInput: a text is `#N/A` itself, which Salesforce would take for the order to clear the field, or one row is longer than `limit_bytes`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lazy = rows.lazy()
    header = _encode(pl.DataFrame(schema=lazy.collect_schema()), header=True)
    parts: list[CsvPart] = []
    part = _Part(folder, 1, header)
    try:
        for block in _blocks(rows):
            for piece, encoded in _pieces(_as_cells(block, clears), limit_bytes - len(header)):
                if part.rows and part.size_bytes + len(encoded) > limit_bytes:
                    parts.append(part.finish())
                    part = _Part(folder, len(parts) + 1, header)
                part.add(encoded, piece)
        if part.rows:
            parts.append(part.finish())
    finally:
        part.discard()
    _forget_older(folder, parts)
    return parts


def _blocks(rows: pl.DataFrame | pl.LazyFrame) -> Iterator[pl.DataFrame]:
    if isinstance(rows, pl.DataFrame):
        return rows.iter_slices(_BLOCK_ROWS)
    return _even(rows.collect_batches(chunk_size=_BLOCK_ROWS, maintain_order=True))


def _even(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in blocks of one size, so that the files do not depend on how a file was read."""
    rest: pl.DataFrame | None = None
    for batch in batches:
        joined = batch if rest is None else pl.concat([rest, batch])
        whole = joined.height // _BLOCK_ROWS * _BLOCK_ROWS
        yield from joined[:whole].iter_slices(_BLOCK_ROWS)
        rest = joined[whole:]
    if rest is not None and rest.height:
        yield rest


def _as_cells(block: pl.DataFrame, clears: frozenset[str]) -> pl.DataFrame:
    """Every null as what it is to mean."""
    for name in block.select(cs.string()).columns:
        marked = block[name] == CLEAR_MARK
        if marked.any():
            row = block.filter(marked).row(0, named=True)
            raise InvalidInput(
                f"The text of {name} is “{CLEAR_MARK}”, by which Salesforce would clear the field.",
                hint="The plan blocks such rows; a row that is not of a plan has to be corrected at its source.",
                details={"field": name, "row": {key: None if value is None else str(value) for key, value in row.items()}},
            )
    block = block.with_columns(pl.when(cs.string() != "").then(cs.string()))
    moments = block.select(cs.datetime(time_zone="*")).columns
    block = block.with_columns(pl.col(name).dt.convert_time_zone("UTC").dt.replace_time_zone(None) for name in moments)
    cleared = [name for name in block.columns if name in clears and block[name].null_count()]
    return block.with_columns(_text(block[name]).fill_null(CLEAR_MARK) for name in cleared)


def _text(column: pl.Series) -> pl.Series:
    return column.dt.strftime(_MOMENT) if isinstance(column.dtype, pl.Datetime) else column.cast(pl.String)


def _pieces(block: pl.DataFrame, limit_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The block as one piece of so many rows and its bytes, or – where that is too long – as batches, or as ever smaller parts of one."""
    encoded = _encode(block)
    if len(encoded) <= min(limit_bytes, PART_BYTES // 4) or (block.height <= BATCH_ROWS and len(encoded) <= limit_bytes):
        yield block.height, encoded
    elif block.height == 1:
        raise InvalidInput(
            f"One row takes {len(encoded):,} bytes of CSV; {limit_bytes:,} are allowed in a file.",
            hint="Shorten its texts, or leave it out.",
            details={"row": {name: str(value)[:200] for name, value in block.row(0, named=True).items()}},
        )
    else:
        for piece in block.iter_slices(BATCH_ROWS if block.height > BATCH_ROWS else -(-block.height // 2)):
            yield from _pieces(piece, limit_bytes)


def _encode(block: pl.DataFrame, *, header: bool = False) -> bytes:
    buffer = io.BytesIO()
    block.write_csv(buffer, include_header=header, line_terminator="\n", quote_style="necessary", null_value="", datetime_format=_MOMENT)
    return buffer.getvalue()


def _forget_older(folder: Path, parts: list[CsvPart]) -> None:
    """Files that an earlier writing left beyond the last one would be taken for more rows."""
    kept = {part.path for part in parts}
    for path in folder.glob("part-*.csv"):
        if path not in kept:
            path.unlink()


class _Part:
    """A file that is being written: hashed on the way, on disk for good when it gets its name."""

    def __init__(self, folder: Path, number: int, header: bytes) -> None:
        self._path = folder / f"part-{number:06}.csv"
        self._temporary = folder / f".{self._path.name}.{uuid4().hex[:12]}.tmp"
        self._file = self._temporary.open("wb")
        self._digest = hashlib.sha256()
        self.rows = self.size_bytes = 0
        self.add(header, 0)

    def add(self, encoded: bytes, rows: int) -> None:
        self._file.write(encoded)
        self._digest.update(encoded)
        self.size_bytes += len(encoded)
        self.rows += rows

    def finish(self) -> CsvPart:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        return CsvPart(self._path, self.rows, self.size_bytes, self._digest.hexdigest())

    def discard(self) -> None:
        """Remove what was not finished; nothing where it was."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)
