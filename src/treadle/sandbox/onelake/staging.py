"""What has arrived but is not visible yet: bodies on their way in, appended data before its flush, blocks before their list.

All of it lives in one folder beside the tree, on the same file system, so that a finished file becomes visible by one rename.
It does not survive a restart (real storage keeps it for a week).
"""

import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

Key = tuple[str, ...]
"""Workspace id, item id and names: which file the data is for."""
_COPY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that arrived whole, with the digest of them."""

    path: Path
    size_bytes: int
    md5: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file: of one that is open already, or of one that is opened when its turn comes (there may be 50,000 of them)."""

    source: int | Path
    offset: int
    size_bytes: int


@dataclass(slots=True)
class Upload:
    """The uncommitted data of one file: appended pieces by position, blocks by id, each in order of arrival."""

    appended: dict[int, Piece] = field(default_factory=dict[int, Piece])
    blocks: dict[str, Piece] = field(default_factory=dict[str, Piece])

    def covering(self, position: int) -> tuple[int, Piece] | None:
        """The appended piece that holds the byte at `position`, with where it starts."""
        if (exact := self.appended.get(position)) is not None and exact.size_bytes:
            return position, exact
        for start, piece in self.appended.items():
            if start <= position < start + piece.size_bytes:
                return start, piece
        return None


class Incoming:
    """One request body on its way to disk: written in steps, finished into a Piece, or dropped."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0
        self._digest = hashlib.md5(usedforsecurity=False)
        self._file = path.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(data)
        self._size += len(data)

    def finish(self) -> Piece:
        """All bytes are here."""
        self._file.close()
        return Piece(self._path, self._size, self._digest.digest())

    def drop(self) -> None:
        """The sender went away, or the bytes are not wanted."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Staging:
    """The folder, and which file its pieces are for. Safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        self._folder = folder
        self._lock = threading.Lock()
        self._uploads: dict[Key, Upload] = {}

    def fresh_path(self) -> Path:
        """A name in the folder that nobody uses."""
        return self._folder / uuid.uuid4().hex

    def receive(self) -> Incoming:
        """Somewhere to put a body that arrives."""
        return Incoming(self.fresh_path())

    def add_appended(self, key: Key, position: int, piece: Piece) -> None:
        """Keep data appended at a position; a repeat replaces what was there."""
        with self._lock:
            upload = self._uploads.setdefault(key, Upload())
            self._drop(upload.appended.pop(position, None))
            upload.appended[position] = piece

    def add_block(self, key: Key, block_id: str, piece: Piece) -> None:
        """Keep an uncommitted block; a repeat replaces it."""
        with self._lock:
            upload = self._uploads.setdefault(key, Upload())
            self._drop(upload.blocks.pop(block_id, None))
            upload.blocks[block_id] = piece

    def pending(self, key: Key) -> Upload:
        """A copy of what waits for this file; empty when nothing does."""
        with self._lock:
            upload = self._uploads.get(key, Upload())
            return Upload(dict(upload.appended), dict(upload.blocks))

    def discard(self, key: Key, *, keep_from: int | None = None) -> None:
        """Forget what waits for this file; with `keep_from`, data appended at or after that position stays."""
        with self._lock:
            upload = self._uploads.pop(key, Upload())
            kept = {} if keep_from is None else {start: piece for start, piece in upload.appended.items() if start >= keep_from}
            for piece in [*(piece for start, piece in upload.appended.items() if start not in kept), *upload.blocks.values()]:
                self._drop(piece)
            if kept:
                self._uploads[key] = Upload(appended=kept)

    def discard_below(self, key: Key) -> None:
        """Forget what waits for any file at or below this path."""
        with self._lock:
            below = [known for known in self._uploads if known[: len(key)] == key]
        for known in below:
            self.discard(known)

    def assemble(self, parts: Sequence[Part]) -> Path:
        """Join stretches of files into a new file in the folder, in constant memory. Raises FileNotFoundError where a part is gone."""
        path = self.fresh_path()
        try:
            with path.open("xb", buffering=0) as target:
                for part in parts:
                    _copy(part, target.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _drop(self, piece: Piece | None) -> None:
        if piece is not None:
            piece.path.unlink(missing_ok=True)


def _copy(part: Part, target: int) -> None:
    if isinstance(part.source, Path):
        with part.source.open("rb", buffering=0) as opened:
            _copy(replace(part, source=opened.fileno()), target)
        return
    offset, end = part.offset, part.offset + part.size_bytes
    while offset < end:
        data = os.pread(part.source, min(end - offset, _COPY_BYTES), offset)
        if not data:
            raise OSError(f"a file became shorter while it was copied: {end - offset} bytes are missing")
        offset += os.write(target, data)
