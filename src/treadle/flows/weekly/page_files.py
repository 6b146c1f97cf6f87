"""The pages of an extract on disk: each one file, written whole or not at all, and the extract's manifest beside them."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import zstandard

from treadle.errors import ChecksumMismatch, Conflict, InvalidInput, Unavailable

PAGES: Final = "pages"
MAX_PAGES: Final = 999_999  # as many as their names have room for
_NAME: Final = re.compile(r"page-(\d{6})\.json\.zst")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MAX_BYTES: Final = 1 << 30  # of one page; a damaged file may claim any size

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PageFile:
    """One page as the API sent it, compressed. size_bytes, sha256: of the body. records_sha256: of its records alone, without what surrounds them."""

    number: int
    path: Path
    rows: int
    size_bytes: int
    sha256: str
    records_sha256: str = ""


@contextlib.contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Keep other processes from writing pages into this folder. The kernel lets go when this one dies, whatever the death.

    Raises Conflict when another one is at it, and as `commit_file` when there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _not_written(folder, error) from error
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            f"Another process is extracting into {folder}.", hint="Wait until it has finished.", details={"path": str(folder)}
        ) from None


def path_of(folder: Path, number: int) -> Path:
    """Where page `number`, from 1, of the extract in this folder is."""
    return folder / PAGES / f"page-{number:06d}.json.zst"


def read_page(page: PageFile) -> bytes:
    """The body of a page. Raises ChecksumMismatch when it is not what was written, or is gone."""
    body = _body_of(page.path)
    if body is None or len(body) != page.size_bytes or hashlib.sha256(body).hexdigest() != page.sha256:
        raise ChecksumMismatch(
            f"{page.path} is not the page of events that was written there.",
            hint="Run the extract again with --force.",
            details={"page": page.number, "expected_bytes": page.size_bytes, "expected_sha256": page.sha256},
        )
    return body


def write_page(path: Path, body: bytes) -> None:
    """Keep the body of a page for good. Raises as `commit_file`."""
    commit_file(path, zstandard.ZstdCompressor(level=3, write_checksum=True).compress(body))


def kept_bodies(folder: Path) -> Generator[tuple[Path, bytes]]:
    """The pages that an earlier try left, in order, up to the first that is missing or damaged. That one and what lies behind it are removed."""
    names = {path.name for path in _files_in(folder / PAGES)}
    for number in range(1, len(names) + 1):
        path = path_of(folder, number)
        body = _body_of(path) if path.name in names else None
        if body is None:
            break
        names.discard(path.name)
        yield path, body
    remove(folder / PAGES / name for name in names)


def clear_pages(folder: Path) -> None:
    """Remove all pages of an extract, the last first: whoever is stopped in between finds a row of pages without a gap."""
    remove(sorted(_files_in(folder / PAGES), reverse=True))


def commit_file(path: Path, content: bytes) -> None:
    """Write a file in one step that outlasts a power cut: there is the old content, or the new, and never a part.

    Raises:
        Unavailable: there is no room on the disk. Nothing was written.
        InvalidInput: nothing may be written there.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _not_written(path, error) from error


def remove(paths: Iterable[Path]) -> None:
    """Remove files, whether or not they are there."""
    for path in paths:
        path.unlink(missing_ok=True)


def _files_in(folder: Path) -> list[Path]:
    """The pages, and what a killed process has left half-written."""
    return [path for path in folder.glob("*") if _NAME.fullmatch(path.name)] + list(folder.glob(".*.new"))


def _body_of(path: Path) -> bytes | None:
    try:
        return zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=_MAX_BYTES)
    except FileNotFoundError:
        return None
    except zstandard.ZstdError as error:
        _log.warning("weekly.page.damaged", path=str(path), reason=str(error))
        return None


def _sync_folder(folder: Path) -> None:
    """A renamed file is only there for good once its folder is on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_written(path: Path, error: OSError) -> Unavailable | InvalidInput:
    details = {"path": str(path), "errno": error.errno}
    if error.errno in _FULL:
        message = f"There is no room for {path}: {error.strerror}."
        return Unavailable(message, hint="Make room on the disk and run the same again: it goes on where it stopped.", details=details)
    return InvalidInput(f"{path} cannot be written: {error.strerror}.", hint="Check STATE_DIR and who may write there.", details=details)
