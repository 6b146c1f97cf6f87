"""OneLake's state and rules: one tree of plain files, `<state>/onelake/<workspace id>/<item id>/{Files,Tables}/…`.

A file becomes visible in one step (link or rename of a finished file), so a reader, a notebook or a crash never meets half of one.
`If-None-Match: *` ends in a hard link, which the disk refuses where something stands: it holds between processes, too.
Times are written to the files, so Last-Modified is the sandbox clock's for what came through the API and the disk's own for the rest.
"""

import os
import shutil
import stat
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from treadle.sandbox.clock import Clock
from treadle.sandbox.onelake import failures
from treadle.sandbox.onelake.addresses import Address, is_guid
from treadle.sandbox.onelake.catalog import Catalog, FolderCatalog, ItemUnknown
from treadle.sandbox.onelake.conditions import ALWAYS, Conditions, check_create, check_source, check_write
from treadle.sandbox.onelake.entries import MANAGED_DEPTH, Entry, Target, entry_of, nanoseconds
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.index import Properties, PropertyIndex
from treadle.sandbox.onelake.staging import Key, Part, Staging
from treadle.sandbox.onelake.tree import Make, Tree, find_if_there, find_in

Check = Callable[[Entry | None], None]
"""Raises StorageError where what is stored now (None: nothing) forbids the write."""
Change = Callable[[Properties], Properties]


class LakeStore:
    """The tree with everything that is kept beside it. Safe to use from any thread; one process at a time, beside notebooks.

    state_dir: has the tree, and in `sandbox/` what belongs to it; both on one file system.
    `catalog` says which items exist; until Fabric's is put there, every item folder on disk counts, by id.
    """

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self.root, own = state_dir / "onelake", state_dir / "sandbox"
        self.root.mkdir(parents=True, exist_ok=True)
        own.mkdir(exist_ok=True, mode=0o700)
        self.tree = Tree(self.root)
        self.staging = Staging(own / "onelake-staging")
        self.index = PropertyIndex(own / "onelake-properties.sqlite3")
        self.catalog: Catalog = FolderCatalog(self.root)
        self.clock = clock
        self._lock = threading.Lock()
        self._writes = 0

    def close(self) -> None:
        """Let go of the index."""
        self.index.close()

    # What the Fabric store asks for.

    def create_item_folder(self, workspace_id: str, item_id: str, folders: Sequence[str] = ("Files", "Tables")) -> Path:
        """Make the folder of an item with its managed folders. Safe to repeat."""
        path = self.path_of(workspace_id, item_id)
        for name in folders:
            (path / name).mkdir(parents=True, exist_ok=True)
        return path

    def delete_item_folder(self, workspace_id: str, item_id: str) -> None:
        """Remove an item's folder with all in it; nothing happens where there is none."""
        if self.path_of(workspace_id, item_id).is_dir():
            with self._lock, self.tree.folder((workspace_id,)) as above:
                grave = self._take_away(above, item_id, (workspace_id, item_id))
            self._clear_away(grave)

    def path_of(self, workspace_id: str, item_id: str) -> Path:
        """Where an item's folders are: what a notebook sees as its lakehouse."""
        return self.root / workspace_id / item_id

    # Addresses.

    def workspace(self, asked: str) -> tuple[str, str]:
        """(id, name) of a workspace. Raises WorkspaceNotFound."""
        for workspace_id, name in self.catalog.workspaces():
            if asked.lower() == workspace_id.lower() or asked == name:
                return workspace_id, name
        raise StorageError(404, "WorkspaceNotFound", f"The workspace '{asked}' does not exist.")

    def locate(self, address: Address) -> Target:
        """Find the item of an address. Raises ArtifactNotFound, WorkspaceNotFound, BadRequest for an id beside a name."""
        if address.workspace is None or address.item is None:
            raise failures.managed_folder()
        if is_guid(address.workspace) != is_guid(address.item):
            raise StorageError(400, "BadRequest", "Workspace and item must both be given by id, or both by name.")
        try:
            workspace_id, item_id, _ = self.catalog.resolve(address.workspace, address.item)
        except ItemUnknown as error:
            self.workspace(address.workspace)
            raise StorageError(404, "ArtifactNotFound", f"The item '{address.item}' does not exist in this workspace.") from error
        return Target(workspace_id, item_id, address.names, address.workspace, address.item)

    # Reading.

    def entry(self, target: Target) -> Entry:
        """What is stored there. Raises PathNotFound."""
        return self.describe(self.tree.find(target.key))

    def open(self, target: Target) -> tuple[int, Entry]:
        """A descriptor of the file as it is now, for the caller to close, and its entry. Raises PathNotFound, PathConflict at a folder."""
        descriptor, found = self.tree.open_file(target.key)
        return descriptor, self.describe(found)

    @contextmanager
    def reading(self, target: Target) -> Generator[tuple[int, Entry]]:
        """As `open`, closed at the end."""
        descriptor, entry = self.open(target)
        try:
            yield descriptor, entry
        finally:
            os.close(descriptor)

    def describe(self, found: os.stat_result) -> Entry:
        """The entry of a state of a file or folder."""
        return entry_of(found, self.index.describe(found))

    # Writing. Each of these is one step under the lock; nothing else changes the tree through this process meanwhile.

    def publish(self, target: Target, finished: Path, properties: Properties, check: Check) -> Entry:
        """Make a finished file of the staging folder visible under its path, in place of what was there, if `check` lets it."""
        try:
            while True:
                try:
                    return self._publish_once(target, finished, properties, check)
                except FileExistsError:  # a notebook made it just now: what is there decides
                    continue
        finally:
            finished.unlink(missing_ok=True)

    def create_directory(self, target: Target, properties: Properties, conditions: Conditions) -> Entry:
        """Make a folder, with those above it; a folder that is there stays, with new properties."""
        while True:
            try:
                return self._create_directory_once(target, properties, create_check(conditions))
            except FileExistsError:  # as above
                continue

    def change_properties(self, target: Target, change: Change, conditions: Conditions) -> Entry:
        """Replace the properties of a file or folder; its bytes stay, its tag and time are new."""
        _refuse_managed(target)
        with self._lock, self.tree.folder(target.key[:-1]) as above:
            old = self.describe(find_in(above, target.key[-1]))
            check_write(conditions, old.etag, old.modified_at)
            return self._restate(above, target.key[-1], change(old.properties))

    def delete(self, target: Target, conditions: Conditions, *, recursive: bool) -> None:
        """Delete a file, or a folder: an empty one, or with all in it. A folder disappears in one step."""
        _refuse_managed(target)
        with self._lock:
            old = self.entry(target)
            check_write(conditions, old.etag, old.modified_at)
            if old.is_directory and not recursive and self._has_children(target):
                raise StorageError(
                    409, "DirectoryNotEmpty", "The recursive query parameter value must be true to delete a non-empty directory."
                )
            with self.tree.folder(target.key[:-1]) as above:
                grave = self._take_away(above, target.key[-1], target.key)
                self._touch(above)
        self._clear_away(grave)

    def rename(self, source: Target, target: Target, conditions: Conditions, source_conditions: Conditions = ALWAYS) -> Entry:
        """Move a file or folder inside its item, over a file or an empty folder of the same kind. Appended data is forgotten."""
        _refuse_managed(source)
        _refuse_managed(target)
        if source.key[:2] != target.key[:2]:
            raise StorageError(400, "InvalidRenameSourcePath", "A rename stays inside one item.")
        if target.key[: len(source.key)] == source.key:
            raise StorageError(409, "InvalidRenameSourcePath", "The destination cannot be the source itself, or inside it.")
        with self._lock:
            moved = self._rename_source(source, source_conditions)
            self._check_rename_target(target, conditions, moved)
            with self.tree.folder(source.key[:-1]) as from_folder, self.tree.folder(target.key[:-1]) as to_folder:
                return self._move(from_folder, source.key, to_folder, target.key)

    def copy(
        self, source: Target, target: Target, metadata: Mapping[str, str] | None, check: Check, source_conditions: Conditions = ALWAYS
    ) -> Entry:
        """Copy a file with its properties; `metadata` None keeps that of the source, too."""
        _refuse_managed(target)
        with self.reading(source) as (descriptor, entry):
            check_source(source_conditions, entry.etag, entry.modified_at)
            finished = self.staging.assemble([Part(descriptor, 0, entry.size_bytes)])
        kept = replace(entry.properties, blocks=(), created_ns=None)
        return self.publish(target, finished, kept if metadata is None else replace(kept, metadata=metadata), check)

    def _current(self, target: Target) -> Entry | None:
        _refuse_managed(target)
        try:
            with self.tree.folder(target.key[:-1]) as above:
                found = find_if_there(above, target.key[-1])
        except StorageError as error:
            if error.status != 404:
                raise
            return None
        return None if found is None else self.describe(found)

    def _publish_once(self, target: Target, finished: Path, properties: Properties, check: Check) -> Entry:
        with self._lock:
            old = self._current(target)
            if old is not None and old.is_directory:
                raise failures.path_conflict()
            check(old)
            with self.tree.folder(target.key[:-1], Make(MANAGED_DEPTH, self._stamp_ns())) as above:
                return self._put_in_place(above, target.key[-1], finished, properties, old)

    def _create_directory_once(self, target: Target, properties: Properties, check: Check) -> Entry:
        with self._lock:
            old = self._current(target)
            check(old)
            if old is not None and not old.is_directory:
                raise failures.path_conflict()
            with self.tree.folder(target.key[:-1], Make(MANAGED_DEPTH, self._stamp_ns())) as above:
                if old is None:
                    os.mkdir(target.key[-1], 0o755, dir_fd=above)
                    self._touch(above)
                return self._restate(above, target.key[-1], properties)

    def _put_in_place(self, above: int, name: str, finished: Path, properties: Properties, old: Entry | None) -> Entry:
        stamp = self._stamp_ns()
        os.utime(finished, ns=(stamp, stamp))
        found = finished.stat()
        described = self.index.record(found, stamp, _with_creation(properties, stamp))
        if old is None:
            os.link(finished, name, dst_dir_fd=above)
        else:
            os.rename(finished, name, dst_dir_fd=above)
            self.index.forget([old.inode])
        self._touch(above)
        return entry_of(found, described)

    def _restate(self, above: int, name: str, properties: Properties) -> Entry:
        """Give what is there new properties, a new tag and a new time."""
        stamp = self._stamp_ns()
        described = self.index.record(find_in(above, name), stamp, _with_creation(properties, stamp))
        os.utime(name, ns=(stamp, stamp), dir_fd=above, follow_symlinks=False)
        found = find_in(above, name)
        self.index.settle(found)
        return entry_of(found, described)

    def _rename_source(self, source: Target, conditions: Conditions) -> Entry:
        try:
            moved = self.entry(source)
        except StorageError as error:
            if error.status != 404:
                raise
            raise StorageError(404, "SourcePathNotFound", "The source path for a rename operation does not exist.") from error
        check_source(conditions, moved.etag, moved.modified_at)
        return moved

    def _check_rename_target(self, target: Target, conditions: Conditions, moved: Entry) -> None:
        there = self._current(target)
        create_check(conditions)(there)
        self._check_rename_parent(target)
        if there is not None and there.is_directory != moved.is_directory:
            raise StorageError(409, "InvalidSourceOrDestinationResourceType", "The source and destination resource type must be identical.")
        if there is not None and there.is_directory and self._has_children(target):
            raise failures.path_exists()

    def _check_rename_parent(self, target: Target) -> None:
        try:
            with self.tree.folder(target.key[:-1]):
                return
        except StorageError as error:
            if error.status != 404:
                raise
            raise StorageError(
                404, "RenameDestinationParentPathNotFound", "The parent directory of the destination path does not exist."
            ) from error

    def _move(self, from_folder: int, source: Key, to_folder: int, target: Key) -> Entry:
        replaced = find_if_there(to_folder, target[-1])
        os.rename(source[-1], target[-1], src_dir_fd=from_folder, dst_dir_fd=to_folder)
        if replaced is not None:
            self.index.forget([replaced.st_ino])
        self.staging.discard_below(source)
        self.staging.discard_below(target)
        self._touch(from_folder)
        self._touch(to_folder)
        return self.describe(find_in(to_folder, target[-1]))

    def _take_away(self, above: int, name: str, key: Key) -> Path:
        """Move it out of sight in one step; where it is then."""
        grave = self.staging.fresh_path()
        os.rename(name, grave, src_dir_fd=above)
        self.staging.discard_below(key)
        return grave

    def _clear_away(self, grave: Path) -> None:
        self.index.forget(_inodes(grave))  # first, or another file could have taken over an inode
        if stat.S_ISDIR(grave.lstat().st_mode):
            shutil.rmtree(grave)
        else:
            grave.unlink()

    def _has_children(self, target: Target) -> bool:
        with self.tree.folder(target.key) as here, os.scandir(here) as entries:
            return next(entries, None) is not None

    def _touch(self, folder: int) -> None:
        stamp = self._stamp_ns()
        os.utime(folder, ns=(stamp, stamp))

    def _stamp_ns(self) -> int:
        """The clock's time, told apart from its neighbours below the microsecond when the clock stands still."""
        self._writes += 1
        return nanoseconds(self.clock.now()) + self._writes % 1000


def create_check(conditions: Conditions) -> Check:
    """The check of an operation that creates: `If-None-Match: *` meets an existing path with PathAlreadyExists."""
    return lambda there: check_create(conditions, there.etag if there else None, there.modified_at if there else None)


def write_check(conditions: Conditions) -> Check:
    """The check of an operation on something that is there already."""
    return lambda there: check_write(conditions, there.etag if there else None, there.modified_at if there else None)


def _refuse_managed(target: Target) -> None:
    if target.is_managed:
        raise failures.managed_folder()


def _with_creation(properties: Properties, stamp_ns: int) -> Properties:
    return replace(properties, created_ns=stamp_ns) if properties.created_ns is None else properties


def _inodes(path: Path) -> Iterator[int]:
    yield path.lstat().st_ino
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            yield (Path(folder) / name).lstat().st_ino
