"""The graphs that are loaded: one folder for each graph model, in it a folder for each load, and a small file that says which one counts.

A load is published by replacing that file in one step: a query finds the old graph or the new one, and a load that fails leaves the old.
"""

import shutil
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.sandbox.fabric.graph.layout import Layout
from treadle.sandbox.state import read_json, write_json

DATABASE: Final = "graph.lbug"
_CURRENT = "current.json"
_LAYOUT: Final = "layout-2.json"  # 2: since graphs have the table z. One that was loaded before counts as never loaded
_QUERIES_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class LoadedGraph:
    """A graph that can be asked."""

    database: Path
    layout: Layout


class GraphStore:
    """All graphs of a state folder. Safe to use from any thread. `queries`: how many processes may answer at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self.queries = threading.BoundedSemaphore(_QUERIES_AT_ONCE)

    def current(self, item_id: str) -> LoadedGraph | None:
        """The graph that counts now; None before the first load."""
        known = read_json(self._folder / item_id / _CURRENT)
        while known is not None:
            folder = self._folder / item_id / known["load"]
            if (layout := read_json(folder / _LAYOUT)) is not None:
                return LoadedGraph(folder / DATABASE, Layout.of_json(layout))
            before, known = known, read_json(self._folder / item_id / _CURRENT)  # another load was published between the two reads
            if before == known:
                break
        return None

    def new_load(self, item_id: str) -> Path:
        """An empty folder for a load."""
        folder = self._folder / item_id / uuid.uuid4().hex
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def publish(self, item_id: str, load: Path, layout: Layout) -> None:
        """Let a finished load count, and remove the others: what is open in a process that answers stays there until it is done."""
        write_json(load / _LAYOUT, layout.to_json())
        write_json(self._folder / item_id / _CURRENT, {"load": load.name})
        for other in (self._folder / item_id).iterdir():
            if other.is_dir() and other != load:
                shutil.rmtree(other, ignore_errors=True)

    def forget(self, item_id: str) -> None:
        """Remove all loads of a graph model."""
        shutil.rmtree(self._folder / item_id, ignore_errors=True)
