"""As whom the embedded PostgreSQL runs, and what that account must be able to reach.

PostgreSQL refuses to run as root. For root the server runs as the owner of existing data, else as `nobody`, an account that every system
has; folders on the way get the right to be passed (not to be listed) where they lack it. For anyone else there is nothing to do.
"""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypedDict

import structlog

_log = structlog.get_logger()
_UNPRIVILEGED: Final = "nobody"


class ProcessAccount(TypedDict, total=False):
    """The arguments of `subprocess` that say as whom a child runs; none for our own account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The account of the server process; `switched` when it is another one than ours."""

    user_id: int
    group_id: int
    switched: bool

    @classmethod
    def for_data(cls, data: Path) -> Self:
        """The account for this data folder, which may not exist yet. Raises RuntimeError for data that belongs to somebody else."""
        owner = data.stat() if data.exists() else None
        if os.geteuid() != 0:
            if owner is not None and owner.st_uid != os.geteuid():
                raise RuntimeError(f"{data} belongs to user {owner.st_uid}; start as that user or as root, or choose another state folder")
            return cls(os.geteuid(), os.getegid(), switched=False)
        if owner is not None and owner.st_uid != 0:
            return cls(owner.st_uid, owner.st_gid, switched=True)
        unprivileged = pwd.getpwnam(_UNPRIVILEGED)
        return cls(unprivileged.pw_uid, unprivileged.pw_gid, switched=True)

    def process_arguments(self) -> "ProcessAccount":
        """Arguments for `subprocess` that make a child run as this account."""
        return {"user": self.user_id, "group": self.group_id, "extra_groups": []} if self.switched else {}

    def make_private_folder(self, folder: Path) -> None:
        """Make the folder when it is missing, with mode 0700 and this owner."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.switched:
            os.chown(folder, self.user_id, self.group_id)

    def let_reach(self, folder: Path, programs: Path) -> None:
        """Make sure that the account can get to `folder` and run what is below `programs`."""
        if not self.switched:
            return
        _add_mode(_lacking((folder, *folder.parents), stat.S_IXOTH, self.user_id), stat.S_IXOTH)
        _add_mode(_lacking((programs, *programs.parents), stat.S_IXOTH, self.user_id), stat.S_IXOTH)
        _add_mode(_lacking(_everything_below(programs), stat.S_IROTH, self.user_id), stat.S_IROTH)
        _add_mode(_lacking(programs.rglob("bin/*"), stat.S_IXOTH, self.user_id), stat.S_IXOTH)


def _lacking(paths: Iterable[Path], right: int, user_id: int) -> Iterator[Path]:
    for path in paths:
        state = path.stat()
        if not state.st_mode & right and state.st_uid != user_id:
            yield path


def _everything_below(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if not path.is_symlink())


def _add_mode(paths: Iterable[Path], right: int) -> None:
    for path in paths:
        added = right | (stat.S_IXOTH if path.is_dir() else 0)
        path.chmod(stat.S_IMODE(path.stat().st_mode) | added)
        _log.info("sandbox.postgres.path_opened", path=str(path), added=oct(added))
