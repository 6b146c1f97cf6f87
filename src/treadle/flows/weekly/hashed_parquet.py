"""Writes a Parquet file piece by piece in bounded memory, with its SHA-256 computed on the way, whole or not at all."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

arrow: Final[Any] = pa  # their types are unknown to the checker
parquet: Final[Any] = pq
ROW_GROUP_ROWS: Final = 131_072


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that is on disk under its name."""

    path: Path
    rows: int
    size_bytes: int
    sha256: str


class _HashingFile:
    """A file for writing only; pyarrow needs no more of it than this."""

    closed = False

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self._discarded = False

    def write(self, data: Any) -> int:
        block = memoryview(data).cast("B")
        if self._discarded:
            return len(block)
        self.digest.update(block)
        written = 0
        while written < len(block):  # a raw file may take less than it is given
            written += self._file.write(block[written:]) or 0
        self.size_bytes += written
        return written

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def seal(self) -> None:
        """Make the content survive a power cut, and let go of the file."""
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Let go of the file; a writer that closes later still may write its footer, to nowhere."""
        self._discarded = True
        self._file.close()


class HashedParquet:
    """A Parquet file (Snappy) in the making: `write` tables in order, `finish`, then `publish` under its name. Leaving the context unpublished leaves nothing,
    and what a killed process left is overwritten.

    Equal tables make equal bytes, however they were cut into writes of whole row groups: nothing in the file tells when or where it was made.
    """

    def __init__(self, path: Path, schema: Any, *, dictionary: Sequence[str], statistics: Sequence[str]) -> None:
        """dictionary, statistics: the columns that get one; for the others it would cost more than it gives."""
        self._path = path
        self._temporary = path.with_name(f".{path.name}.new")
        self._file = _HashingFile(self._temporary)
        self._writer: Any = parquet.ParquetWriter(
            self._file, schema, compression="snappy", use_dictionary=list(dictionary), write_statistics=list(statistics), store_schema=False
        )
        self._held: list[Any] = []
        self._held_rows = self._rows = 0
        self._sealed = False

    def write(self, table: Any) -> None:
        """Append a table of the schema; its rows reach the file in groups of at least ROW_GROUP_ROWS."""
        self._held.append(table)
        self._held_rows += table.num_rows
        if self._held_rows >= ROW_GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        if self._held_rows:
            self._writer.write_table(arrow.concat_tables(self._held), row_group_size=self._held_rows)
        self._rows += self._held_rows
        self._held, self._held_rows = [], 0

    def finish(self) -> WrittenFile:
        """Write what is left and flush it to the disk; the name is still the temporary one. Says what `publish` will make of it."""
        self._write_group()
        self._writer.close()
        self._file.seal()
        self._sealed = True
        return WrittenFile(self._path, self._rows, self._file.size_bytes, self._file.digest.hexdigest())

    def publish(self) -> None:
        """Give the finished file its name, in place of one that has it."""
        self._temporary.replace(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._sealed:
            self._file.discard()
            with contextlib.suppress(OSError, arrow.ArrowException):  # it failed before
                self._writer.close()
        self._temporary.unlink(missing_ok=True)
