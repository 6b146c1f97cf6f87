"""A private folder for copies of customers' files, which does not outlive its process for long, even one that was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "treadle-scratch-"
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@contextmanager
def scratch_folder(place: Path | None = None) -> Generator[Path]:
    """A new folder that only our own user may enter; deleted on leaving. The kernel frees its lock when its process dies, whatever the death:
    that is how the next one, anywhere on this machine, knows the folders that nobody needs any more, and deletes them.

    place: where to make it; None is the system's folder for temporary files.
    """
    within = place or Path(tempfile.gettempdir())
    _clear_orphans(within)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=within))
    descriptor = os.open(folder, _OPEN)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _clear_orphans(within: Path) -> None:
    for folder in within.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, a link, gone already, or in use
            descriptor = os.open(folder, _OPEN)
            try:
                if _is_orphan(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _is_orphan(descriptor: int) -> bool:
    """Ours and unlocked. One that was made this very moment and is not locked yet is still empty, and is left alone."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return os.fstat(descriptor).st_uid == os.geteuid() and bool(os.listdir(descriptor))
