"""What storage says about a file or folder, and where a request finds it. Plain values."""

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from treadle.sandbox.onelake.index import Described, Properties
from treadle.sandbox.onelake.staging import Key

MANAGED_DEPTH: Final = 3  # workspace, item and its first-level folder belong to Fabric
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """One state of a file or folder. Times are UTC in whole seconds, as storage reports them; the tag is without quotes."""

    is_directory: bool
    size_bytes: int
    modified_at: datetime
    created_at: datetime
    etag: str
    properties: Properties
    inode: int


@dataclass(frozen=True, slots=True)
class Target:
    """A resolved address: where it is on disk, and how the client named the workspace and the item."""

    workspace_id: str
    item_id: str
    names: tuple[str, ...]
    asked_workspace: str
    asked_item: str

    @property
    def key(self) -> Key:
        """The path below the root of the tree."""
        return (self.workspace_id, self.item_id, *self.names)

    @property
    def is_managed(self) -> bool:
        """Whether Fabric owns it: the item itself, or its first-level folder."""
        return len(self.key) <= MANAGED_DEPTH


def entry_of(found: os.stat_result, described: Described) -> Entry:
    """Join what the disk and the index know."""
    is_directory = stat.S_ISDIR(found.st_mode)
    created_ns = described.properties.created_ns
    return Entry(
        is_directory=is_directory,
        size_bytes=0 if is_directory else found.st_size,
        modified_at=_second_of(found.st_mtime_ns),
        created_at=_second_of(found.st_mtime_ns if created_ns is None else created_ns),
        etag=described.etag,
        properties=described.properties,
        inode=found.st_ino,
    )


def nanoseconds(moment: datetime) -> int:
    """A time as the disk counts it, exact to the microsecond."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _second_of(stamp_ns: int) -> datetime:
    return _EPOCH + timedelta(seconds=stamp_ns // 1_000_000_000)
