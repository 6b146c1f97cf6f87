"""Files of the lakehouse mount, written so that a crash leaves either the old or the new one, and checked by SHA-256."""

import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4

from treadle.errors import ChecksumMismatch, Conflict, PermissionDenied
from treadle.flows.sales.json_text import to_json
from treadle.flows.sales.manifest import FileEntry

TEMPORARY_SUFFIX: Final = ".tmp"
_BLOCK_BYTES = 256 * 1024


def entry_of(path: Path) -> FileEntry:
    """The file's name, size and SHA-256, read from its bytes."""
    with path.open("rb") as file:
        return entry_of_open(path.name, file)


def entry_of_open(name: str, file: BinaryIO) -> FileEntry:
    """The same for an open file, from its present position to its end."""
    digest, size_bytes = hashlib.sha256(), 0
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
        size_bytes += len(block)
    return FileEntry(name, size_bytes, digest.hexdigest())


def flushed_entry(path: Path) -> FileEntry:
    """Make a file survive a power cut, and say what it is, read from its bytes while the disk takes them."""
    with path.open("rb") as file, ThreadPoolExecutor(1, "flush") as threads:
        flushed = threads.submit(flush_to_disk, file)
        entry = entry_of(path)
        flushed.result()
    return entry


def require_entry(path: Path, entry: FileEntry) -> None:
    """Check a file against what was recorded for it.

    Raises:
        ChecksumMismatch: it is missing or has other bytes; the message names it.
    """
    seen = entry_of(path) if path.is_file() and path.stat().st_size == entry.size_bytes else None
    if seen is None or seen.sha256 != entry.sha256:
        found = seen.as_json() if seen else {"size_bytes": path.stat().st_size if path.is_file() else None}
        raise ChecksumMismatch(
            f"{entry.name} in {path.parent.name} is {'missing' if not path.is_file() else 'not the file that was written'}.",
            hint="Choose another run to restore, or run the workbook again.",
            details={"file": entry.name, "folder": path.parent.name, "expected": entry.as_json(), "found": found},
        )


def write_json(path: Path, value: Any) -> None:
    """Replace the file by the value as JSON, all at once; safe to repeat."""
    write_bytes(path, to_json(value).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file all at once: readers see the old content or the new, also after a crash of the machine."""
    temporary = temporary_beside(path)
    with temporary.open("wb") as file:
        file.write(content)
        flush_to_disk(file)
    temporary.replace(path)
    flush_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no reader takes for a result."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}{TEMPORARY_SUFFIX}")


def remove_temporaries(folder: Path) -> None:
    """Remove what a writer that was killed left behind; only for who holds the folder exclusively."""
    for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def flush_to_disk(file: BinaryIO) -> None:
    """Make an open file's content survive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make the renames in a folder survive a power cut, where the file system has a notion of it (a cloud mount has none)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EIO}:
            raise
    finally:
        os.close(descriptor)


def require_inside(lakehouse: Path, path: Path) -> Path:
    """Return the path with its links followed.

    Raises:
        PermissionDenied: a link leads out of the lakehouse; a file out there is none of its users' business.
    """
    resolved = path.resolve()
    if not resolved.is_relative_to(lakehouse.resolve()):
        raise PermissionDenied(
            f"{path.name} is a link that leads out of the lakehouse.", hint="Put the file itself there.", details={"file": path.name}
        )
    return resolved


@contextmanager
def exclusively(folder: Path, *, wait_seconds: float) -> Generator[None]:
    """Hold a folder against other writers on this machine; the kernel frees it when the holder dies.

    A mount without such locks (blobfuse) lets everybody through: there, the run lock in the database keeps writers apart, and readers are safe in any
    case, because they go by the manifest.

    Raises:
        Conflict: another process held it for all of `wait_seconds`.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder, time.monotonic() + wait_seconds)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, deadline: float) -> None:
    pause = threading.Event()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise Conflict(
                    f"Another process is writing to {folder.name}.", hint="Wait until it has ended.", details={"folder": str(folder.name)}
                ) from error
            pause.wait(0.05)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF, errno.ENOLCK}:
                raise
            return
        else:
            return
