"""Side index: entity tags and properties of what was written through the API, found again by the file's own identity on disk."""

import json
import os
import re
import sqlite3
import stat
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Properties:
    """What a client stored beside the bytes. `content_md5` is base64; names in `metadata` are lower case; `blocks` are (id, bytes)."""

    content_type: str = DEFAULT_CONTENT_TYPE
    cache_control: str = ""
    content_encoding: str = ""
    content_language: str = ""
    content_disposition: str = ""
    content_md5: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    blocks: tuple[tuple[str, int], ...] = ()
    created_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """The entity tag (without quotes) and properties of one state of a file or folder."""

    etag: str
    properties: Properties


class PropertyIndex:
    """A small SQLite file beside the tree. Losing it loses no data, only properties; safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        self._sql = _statements()
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # a crash of the machine may lose properties; a crash of the process does not
        self._database.execute(self._sql["create_table"])

    def record(self, found: os.stat_result, stamp_ns: int, properties: Properties) -> Described:
        """Remember the properties of a file as it will be once its time is `stamp_ns`. Called before that state becomes visible."""
        values = _identity(found, stamp_ns) | {"properties": json.dumps(asdict(properties))}
        with self._lock:
            number = self._database.execute(self._sql["record"], values).lastrowid
        return Described(f"0x8DE{number:012X}", properties)

    def describe(self, found: os.stat_result) -> Described:
        """What is known of this very state; a state that was not written here gets a tag made from its inode, time and size."""
        identity = _identity(found, found.st_mtime_ns)
        with self._lock:
            row = self._database.execute(self._sql["find"], identity).fetchone()
        if row is not None:
            return Described(f"0x8DE{row[0]:012X}", _properties(json.loads(row[1])))
        digest = blake2b(repr(sorted(identity.items())).encode(), digest_size=6).hexdigest().upper()
        return Described(f"0x8DD{digest}", Properties())

    def settle(self, found: os.stat_result) -> None:
        """Drop what is known of this inode's earlier states."""
        with self._lock:
            self._database.execute(self._sql["forget_other_states"], _identity(found, found.st_mtime_ns))

    def forget(self, inodes: Iterable[int]) -> None:
        """Drop all that is known of inodes that are gone."""
        with self._lock:
            self._database.executemany(self._sql["forget"], [{"inode": inode} for inode in inodes])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def _identity(found: os.stat_result, stamp_ns: int) -> dict[str, int]:
    if stat.S_ISDIR(found.st_mode):
        return {"inode": _signed(found.st_ino), "stamp_ns": 0, "size_bytes": 0}
    return {"inode": _signed(found.st_ino), "stamp_ns": stamp_ns, "size_bytes": found.st_size}


def _signed(inode: int) -> int:
    return inode - 2**64 if inode >= 2**63 else inode  # SQLite's integers are signed, some file systems' inode numbers use all 64 bits


def _properties(stored: dict[str, Any]) -> Properties:
    blocks = tuple((str(name), int(size)) for name, size in stored.pop("blocks"))
    return Properties(**stored, blocks=blocks)


def _statements() -> Mapping[str, str]:
    text = files(__package__ or "").joinpath("index.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- (\w+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
