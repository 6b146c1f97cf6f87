"""Listing: a walk over the tree in the order of names, cut into pages.

The order is that of a hierarchical namespace: by the names of the path one after the other, a folder right before what is in it.
"""

import base64
import binascii
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from treadle.sandbox.onelake.entries import Entry
from treadle.sandbox.onelake.failures import StorageError, bad_query
from treadle.sandbox.onelake.staging import Key
from treadle.sandbox.onelake.store import LakeStore
from treadle.sandbox.onelake.tree import Tree


@dataclass(frozen=True, slots=True)
class Listed:
    """A file or folder of a listing, with its path below the root of the tree."""

    key: Key
    entry: Entry


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing; `marker` gets the next part, "" ends it."""

    listed: list[Listed]
    marker: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks to see below a folder. `start` comes first (inclusive); `marker` continues behind an earlier page.

    admits: which direct children count, by name. newest: what was changed after this time is not listed yet (a scripted lag).
    """

    below: Key
    recursive: bool
    limit: int
    marker: str = ""
    start: Key | None = None
    admits: Callable[[str], bool] = bool
    newest: datetime | None = None


def list_page(store: LakeStore, wanted: Wanted) -> Page:
    """One page of a listing. Raises PathNotFound where the folder does not exist, InvalidQueryParameterValue for a marker that is none."""
    past = _key_of(wanted.marker)
    start = max((key for key in (past, wanted.start) if key is not None), default=None)
    found = walk(store.tree, wanted.below, recursive=wanted.recursive, start=start, admits=wanted.admits)
    seen = (Listed(key, store.describe(state)) for key, state in found if key != past)
    shown = (one for one in seen if wanted.newest is None or one.entry.modified_at <= wanted.newest)
    return _cut(shown, wanted.limit)


def walk(
    tree: Tree, below: Key, *, recursive: bool, start: Key | None = None, admits: Callable[[str], bool] = bool
) -> Iterator[tuple[Key, os.stat_result]]:
    """All below a folder from `start` on; folders that lie wholly before it are not read."""
    first = [(key, found) for key, found in _keyed(tree, below) if admits(key[-1])]
    waiting = [iter(first)]
    while waiting:
        if (step := next(waiting[-1], None)) is None:
            waiting.pop()
            continue
        key, found = step
        if start is None or key >= start:
            yield key, found
        if recursive and stat.S_ISDIR(found.st_mode) and (start is None or key >= start[: len(key)]):
            waiting.append(iter(_keyed_if_there(tree, key)))


def _keyed(tree: Tree, folder: Key) -> list[tuple[Key, os.stat_result]]:
    return [((*folder, name), found) for name, found in tree.children(folder)]


def _keyed_if_there(tree: Tree, folder: Key) -> list[tuple[Key, os.stat_result]]:
    try:
        return _keyed(tree, folder)
    except StorageError:  # it went away during the walk
        return []


def _cut(shown: Iterable[Listed], limit: int) -> Page:
    listed = list(islice(shown, limit + 1))
    if len(listed) <= limit:
        return Page(listed, "")
    return Page(listed[:limit], _marker_of(listed[limit - 1].key))


def _marker_of(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _key_of(marker: str) -> Key | None:
    if not marker:
        return None
    try:
        names = json.loads(base64.urlsafe_b64decode(marker.encode()))
        return tuple(str(name) for name in names)
    except (binascii.Error, ValueError, TypeError) as error:
        raise bad_query("continuation", marker) from error
