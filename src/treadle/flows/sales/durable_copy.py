"""Two files with the same bytes, both on disk for good: one copied from the other, or both written at once. What is told of a file was read back from it."""

import hashlib
import os
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, cast

from treadle.errors import ChecksumMismatch
from treadle.flows.sales.files import entry_of_open
from treadle.flows.sales.manifest import FileEntry

_BLOCK_BYTES = 256 * 1024
_STRETCH_BYTES = 32 * _BLOCK_BYTES  # after each, pages that nobody needs any more are given back, and those of a copy may be read


def copy_durably(source: Path, target: Path) -> FileEntry:
    """Copy a file, on disk for good, and say what the copy is, read back from it while it grows, under the name of its source."""
    with _read_back(source.name, target) as (written, reading):
        _copy(source, target, written)
    read = _read(reading)
    return read if read and read.size_bytes == target.stat().st_size else _read_again(source.name, target)


class Twin(RawIOBase):
    """A file that is two: what is written goes to both. `entry` tells of them once `written_twice` has ended."""

    entry: FileEntry

    def __init__(self, files: Mapping[RawIOBase, "_Written"]) -> None:
        """files: each with what tells its reader how far it is."""
        super().__init__()
        self._files = files
        self.digest, self.size_bytes = hashlib.sha256(), 0

    def writable(self) -> bool:
        """It takes bytes, and gives none."""
        return True

    def write(self, content: Any) -> int:
        """Take all of them. Raises OSError as either file does."""
        block = memoryview(content)
        self.digest.update(block)
        self.size_bytes += len(block)
        for file, written in self._files.items():
            _write_all(file, block)
            written.grow_to(self.size_bytes)
        return len(block)


@contextmanager
def written_twice(target: Path, copy: Path) -> Generator[Twin]:
    """A file to write to, which is `target` and `copy` in one; both are on disk for good when this ends.

    Raises:
        ChecksumMismatch: one of them, read back, is not what was written.
        OSError: one of them cannot be written.
    """
    with ExitStack() as opened:
        readers = {path: opened.enter_context(_read_back(target.name, path)) for path in (target, copy)}
        files = {path: opened.enter_context(path.open("wb", buffering=0)) for path in readers}
        twin = Twin({files[path]: written for path, (written, _) in readers.items()})
        yield twin
        with ThreadPoolExecutor(len(files), "flush") as threads:
            list(threads.map(os.fsync, (file.fileno() for file in files.values())))
    twin.entry = FileEntry(target.name, twin.size_bytes, twin.digest.hexdigest())
    for path, (_, reading) in readers.items():
        if _read(reading) != twin.entry and (seen := _read_again(target.name, path)) != twin.entry:
            raise ChecksumMismatch(
                f"{target.name} reads back as other bytes than were written.",
                hint="The disk or its mount is at fault. Start the run again; if it happens again, use another disk.",
                details={"file": str(path.name), "folder": path.parent.name, "expected": twin.entry.as_json(), "found": seen.as_json()},
            )


@contextmanager
def _read_back(name: str, copy: Path) -> Generator[tuple["_Written", Future[FileEntry]]]:
    """While the copy is written, what it is, under this name."""
    copy.touch()
    written = _Written()
    with copy.open("rb") as file, ThreadPoolExecutor(1, "read-back") as threads:
        entry = threads.submit(entry_of_open, name, cast("BinaryIO", _Growing(file, written)))
        with written.until_all():
            yield written, entry


def _read(reading: Future[FileEntry]) -> FileEntry | None:
    """None where it could not be read yet: not every mount shows a file before its writer has closed it."""
    try:
        return reading.result()
    except OSError:
        return None


def _read_again(name: str, copy: Path) -> FileEntry:
    with copy.open("rb") as file:
        return entry_of_open(name, file)


class _Written:
    """How much of a file its writer has written so far."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._bytes, self._all = 0, False

    def grow_to(self, size_bytes: int) -> None:
        with self._changed:
            self._bytes = size_bytes
            self._changed.notify()

    @contextmanager
    def until_all(self) -> Generator[None]:
        """While the writer writes; afterwards, also after a failure, nobody waits for more."""
        try:
            yield
        finally:
            with self._changed:
                self._all = True
                self._changed.notify()

    def beyond(self, position: int) -> int:
        """Wait until there is more than `position` bytes, and say how much more; 0: there will not be."""
        with self._changed:
            self._changed.wait_for(lambda: self._all or self._bytes > position)
            return self._bytes - position


class _Growing:
    """Reads a file behind its writer."""

    def __init__(self, file: BinaryIO, written: _Written) -> None:
        self._file, self._written, self._position = file, written, 0

    def read(self, size_bytes: int) -> bytes:
        block = self._file.read(min(size_bytes, self._written.beyond(self._position)))
        self._position += len(block)
        if self._position % _STRETCH_BYTES < len(block):
            _give_back(self._file, self._position)
        return block


def _copy(source: Path, target: Path, written: _Written) -> None:
    """Give the source's pages back on the way, which `shutil.copyfile` does not: the copy can then be written to them.

    Fresh pages are slow to get in a virtual machine: they were most of the time that publishing a long file took.
    """
    block, copied = memoryview(bytearray(_BLOCK_BYTES)), 0
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        while count := reader.readinto(block):
            _write_all(writer, block[:count])
            copied += count
            if copied % _STRETCH_BYTES < count:
                written.grow_to(copied)
                _give_back(reader, copied)
        written.grow_to(copied)
        os.fsync(writer.fileno())


def _give_back(file: RawIOBase | BinaryIO, size_bytes: int) -> None:
    """Let the kernel have the pages of the file's first bytes; those that are not on disk yet are on their way afterwards."""
    if size_bytes > 0 and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, size_bytes, os.POSIX_FADV_DONTNEED)


def _write_all(writer: RawIOBase, block: memoryview) -> None:
    """A raw file may take less than it is given."""
    while len(block):
        block = block[writer.write(block) or 0 :]
