"""Files and folders below one root, reached step by step so that no symbolic link is ever followed out of it.

Each name of a path is opened relative to the folder before it, without following links; names were checked by addresses.py.
"""

import errno
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.sandbox.onelake import failures
from treadle.sandbox.onelake.addresses import is_addressable
from treadle.sandbox.onelake.failures import StorageError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking, or a planted pipe would hang the reader


@dataclass(frozen=True, slots=True)
class Make:
    """Make folders that are missing, beyond the first `after` names, with this time."""

    after: int
    stamp_ns: int


class Tree:
    """Plain files below `root`; every path is a sequence of checked names."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def folder(self, names: Sequence[str], make: Make | None = None) -> Generator[int]:
        """A file descriptor of the folder; missing folders are made as `make` says, or not at all.

        Raises PathNotFound, PathConflict where a file is in the way, InvalidUri at a symbolic link.
        """
        here = os.open(self._root, _FOLDER)
        try:
            for depth, name in enumerate(names):
                above, here = here, _step(here, name, make if make and depth >= make.after else None)
                os.close(above)
            yield here
        finally:
            os.close(here)

    def find(self, names: Sequence[str]) -> os.stat_result:
        """The state of a file or folder. Raises PathNotFound, InvalidUri at anything that is neither."""
        try:
            with self.folder(names[:-1]) as above:
                return find_in(above, names[-1])
        except StorageError as error:
            raise (failures.path_missing() if error.code == "PathConflict" else error) from error

    def open_file(self, names: Sequence[str]) -> tuple[int, os.stat_result]:
        """A descriptor of a file as it is now, for the caller to close, and its state; who replaces the file does not disturb the reader.

        Raises PathNotFound, PathConflict at a folder, InvalidUri at anything else.
        """
        if stat.S_ISDIR(self.find(names).st_mode):
            raise failures.path_conflict()
        with self.folder(names[:-1]) as above:
            try:
                descriptor = os.open(names[-1], _FILE, dir_fd=above)
            except FileNotFoundError as error:
                raise failures.path_missing() from error
        return descriptor, os.fstat(descriptor)

    def children(self, names: Sequence[str]) -> list[tuple[str, os.stat_result]]:
        """Files and folders directly inside, by name. What could not be asked for (links, pipes, odd names) is left out."""
        with self.folder(names) as here, os.scandir(here) as entries:
            known = sorted(entry.name for entry in entries if is_addressable(entry.name))
            return [(name, found) for name in known if (found := _find_or_none(here, name)) is not None]


def find_in(folder: int, name: str) -> os.stat_result:
    """The state of one entry of an open folder. Raises PathNotFound, InvalidUri at anything but a file or folder."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError as error:
        raise failures.path_missing() from error
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise failures.bad_path("it leads to something that is neither a file nor a folder")
    return found


def find_if_there(folder: int, name: str) -> os.stat_result | None:
    """As find_in; None where nothing is."""
    try:
        return find_in(folder, name)
    except StorageError as error:
        if error.status == 404:
            return None
        raise


def _find_or_none(folder: int, name: str) -> os.stat_result | None:
    try:
        return find_in(folder, name)
    except StorageError:
        return None


def _step(here: int, name: str, make: Make | None) -> int:
    try:
        if make:
            _make(here, name, make.stamp_ns)
        return os.open(name, _FOLDER, dir_fd=here)
    except FileNotFoundError as error:
        raise failures.path_missing() from error
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
        linked = stat.S_ISLNK(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode)
        raise (failures.bad_path("a symbolic link is not followed") if linked else failures.path_conflict()) from error


def _make(here: int, name: str, stamp_ns: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=here)
    except FileExistsError:
        return  # a folder that is there is all that is wanted; anything else is found out by opening it
    os.utime(name, ns=(stamp_ns, stamp_ns), dir_fd=here, follow_symlinks=False)
    os.utime(here, ns=(stamp_ns, stamp_ns))
