"""Does table loads, two at a time and one after another for a table: files of the lakehouse become a real Delta table beside them."""

import os
import stat
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import structlog
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from treadle.sandbox.fabric import operations
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import Refused
from treadle.sandbox.fabric.table_load_files import LoadFailed, LoadFile, batches_of
from treadle.sandbox.fabric.table_loads import LoadWish
from treadle.sandbox.fabric.workshop import Workshop
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.tree import Tree

arrow: Final[Any] = pa  # its types are unknown to the checker
_log = structlog.get_logger()
_STOPPED: Final = "The sandbox was stopped while this table was loaded."
_AT_ONCE: Final = 2
_UNSEEN: Final = ("_", ".")


class TableLoads:
    """Safe to use from any thread."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._workers = ThreadPoolExecutor(_AT_ONCE, "fabric-table-load")
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._tables: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        operations.fail_interrupted_operations(shop.records, shop.clock.now(), _STOPPED)

    def start(self, lakehouse: Row, wish: LoadWish) -> str:
        """Load a table; the id of the operation that tells how it ended."""
        shop = self._shop
        operation_id = operations.begin_operation(shop.records, shop.clock.now(), polls=shop.options.operation_polls)
        self._workers.submit(self._run, operation_id, lakehouse, wish)
        return operation_id

    def stop(self) -> None:
        """Break off what runs; a table that was not committed is as it was before."""
        self._stopping.set()
        self._workers.shutdown(cancel_futures=True)
        operations.fail_interrupted_operations(self._shop.records, self._shop.clock.now(), _STOPPED)

    def _run(self, operation_id: str, lakehouse: Row, wish: LoadWish) -> None:
        shop, error = self._shop, None
        try:
            self._load(lakehouse, wish)
        except LoadFailed as failed:
            error = Refused(400, failed.code, failed.message)
        except Exception as crash:  # noqa: BLE001 - a fault of the sandbox must end the operation, or its caller waits for ever
            _log.exception("sandbox.table_load.crashed", operation_id=operation_id)
            error = Refused(500, "UnknownError", f"The sandbox itself failed: {crash!r}")
        operations.end_operation(shop.records, operation_id, shop.clock.now(), error)
        _log.info("sandbox.table_load.ended", operation_id=operation_id, table=wish.table, error=None if error is None else error.code)

    def _load(self, lakehouse: Row, wish: LoadWish) -> None:
        shop, root = self._shop, (lakehouse["workspace_id"], lakehouse["id"])
        files = _files(shop.lake.tree, root, shop.lake.path_of(*root), wish)
        place = _place(shop.lake.tree, root, shop.lake.path_of(*root), wish)
        with self._guard:
            alone = self._tables[place]
        with alone:
            self._write(place, wish, files)
        if shop.records.row("SELECT id FROM items WHERE id = :id", id=lakehouse["id"]) is None:  # deleted meanwhile
            shop.lake.delete_item_folder(*root)

    def _write(self, place: Path, wish: LoadWish, files: Sequence[LoadFile]) -> None:
        """One commit. What goes wrong in the stream reaches us through the writer, who puts it in words of its own."""
        why: list[Exception] = []
        appended = wish.append and DeltaTable.is_deltatable(str(place))
        wanted = arrow.schema(DeltaTable(place).schema().to_arrow()) if appended else None
        with batches_of(wish, files, wanted) as reader:
            rows = arrow.RecordBatchReader.from_batches(reader.schema, self._watched(reader, why))
            try:
                write_deltalake(place, rows, mode="append" if appended else "overwrite", schema_mode=None if appended else "overwrite")
            except (DeltaError, OSError, ValueError, arrow.ArrowException) as error:
                raise (why[0] if why else LoadFailed(f"The Delta table '{wish.table}' cannot be written: {error}")) from error

    def _watched(self, reader: Any, why: list[Exception]) -> Iterator[Any]:
        try:
            for batch in reader:
                self._go_on()
                yield batch
        except Exception as error:
            why.append(error)
            raise

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise LoadFailed(_STOPPED, "UnknownError")


def _files(tree: Tree, root: tuple[str, str], folder: Path, wish: LoadWish) -> list[LoadFile]:
    """The files to load, by path. Raises LoadFailed where nothing is."""
    try:
        names = list(_below(tree, (*root, *wish.names), wish)) if wish.folder else [_one(tree, (*root, *wish.names))]
    except StorageError as error:
        kind = "folder" if wish.folder else "file"
        raise LoadFailed(f"{wish.path}: there is no {kind} that can be read: {error.message}", "PathNotFound") from error
    if not names:
        ending = f" that end with .{wish.extension}" if wish.extension else ""
        raise LoadFailed(f"{wish.path}: the folder has no files{ending}.", "PathNotFound")
    return [LoadFile(str(folder.joinpath(*key[2:])), "/".join(key[2:])) for key in names]


def _one(tree: Tree, key: tuple[str, ...]) -> tuple[str, ...]:
    descriptor, _ = tree.open_file(key)
    os.close(descriptor)
    return key


def _below(tree: Tree, key: tuple[str, ...], wish: LoadWish) -> Iterator[tuple[str, ...]]:
    for name, found in tree.children(key):
        if name.startswith(_UNSEEN):
            continue  # as Spark does: logs and temporary files
        if stat.S_ISDIR(found.st_mode):
            if wish.recursive:
                yield from _below(tree, (*key, name), wish)
        elif wish.extension is None or name.lower().endswith(f".{wish.extension}"):
            yield (*key, name)


def _place(tree: Tree, root: tuple[str, str], folder: Path, wish: LoadWish) -> Path:
    """Where the table is or will be; raises LoadFailed where something else than a folder stands there."""
    names = ("Tables", *((wish.schema,) if wish.schema else ()), wish.table)
    for depth in range(1, len(names) + 1):
        try:
            with tree.folder((*root, *names[:depth])):
                pass
        except StorageError as error:
            if error.status != 404:
                raise LoadFailed(f"{'/'.join(names)}: a table cannot be there: {error.message}", "PathConflict") from error
            break
    return folder.joinpath(*names)
