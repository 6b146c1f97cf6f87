"""Uncommitted data becomes a file: appended pieces by a flush, blocks by a block list, a whole body at once.

Sources: Path - Update (append, flush), Put Block, Put Block List, Put Blob of the Azure Storage REST reference.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from treadle.sandbox.onelake import failures
from treadle.sandbox.onelake.conditions import Conditions, check_write
from treadle.sandbox.onelake.entries import Entry, Target
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.index import Properties
from treadle.sandbox.onelake.staging import Part, Piece
from treadle.sandbox.onelake.store import Change, Check, LakeStore


class _ChangedMeanwhile(Exception):
    """The file that was being extended is no longer the one it was."""


@dataclass(frozen=True, slots=True)
class WantedBlock:
    """One line of a block list: where to look for the block (Committed, Uncommitted, Latest) and its id."""

    where: str
    block_id: str


@dataclass(frozen=True, slots=True)
class Flush:
    """What a flush asks for: `position` is the length of the file afterwards; `retain` keeps what was appended behind it."""

    position: int
    change: Change
    conditions: Conditions
    retain: bool = False


def put_file(store: LakeStore, target: Target, piece: Piece, properties: Properties, check: Check) -> Entry:
    """Make a whole body the file."""
    entry = store.publish(target, piece.path, properties, check)
    store.staging.discard(target.key)
    return entry


def append(store: LakeStore, target: Target, position: int, piece: Piece) -> None:
    """Keep a piece for a later flush; nobody sees it yet. Raises PathNotFound where no file was created."""
    if store.entry(target).is_directory:
        raise failures.path_conflict()
    store.staging.add_appended(target.key, position, piece)


def flush(store: LakeStore, target: Target, wanted: Flush) -> Entry:
    """Add what was appended, up to the position, to the file. Raises InvalidFlushPosition where pieces do not join up to it."""
    while True:
        try:
            entry = _flush_once(store, target, wanted)
        except _ChangedMeanwhile:
            continue
        store.staging.discard(target.key, keep_from=wanted.position if wanted.retain else None)
        return entry


def put_block(store: LakeStore, target: Target, block_id: str, piece: Piece) -> None:
    """Keep a block for a later block list."""
    if target.is_managed:
        raise failures.managed_folder()
    store.staging.add_block(target.key, block_id, piece)


def commit_blocks(store: LakeStore, target: Target, wanted: Sequence[WantedBlock], properties: Properties, check: Check) -> Entry:
    """Make the listed blocks, in this order, the file. Raises InvalidBlockList for a block that is not where the list says."""
    while True:
        try:
            entry = _commit_once(store, target, wanted, properties, check)
        except _ChangedMeanwhile:
            continue
        store.staging.discard(target.key)
        return entry


def _flush_once(store: LakeStore, target: Target, wanted: Flush) -> Entry:
    with store.reading(target) as (descriptor, base):
        check_write(wanted.conditions, base.etag, base.modified_at)
        if wanted.position == base.size_bytes:
            return store.change_properties(target, wanted.change, wanted.conditions)
        if (added := _appended_parts(store, target, base.size_bytes, wanted.position)) is None:
            if store.entry(target).etag != base.etag:  # another flush of the same pieces was quicker
                raise _ChangedMeanwhile
            raise failures.flush_position()
        finished = _assembled(store, [Part(descriptor, 0, base.size_bytes), *added])
    properties = wanted.change(replace(base.properties, blocks=(), content_md5=""))
    return store.publish(target, finished, properties, _unchanged(base))


def _appended_parts(store: LakeStore, target: Target, start: int, end: int) -> list[Part] | None:
    """What was appended from `start` to `end`, in order; None where something is missing, or the end lies before the start."""
    pending, parts, position = store.staging.pending(target.key), list[Part](), start
    while position < end:
        if (found := pending.covering(position)) is None:
            return None
        piece_start, piece = found
        offset = position - piece_start
        size = min(piece.size_bytes - offset, end - position)
        parts.append(Part(piece.path, offset, size))
        position += size
    return parts if position == end else None


def _commit_once(store: LakeStore, target: Target, wanted: Sequence[WantedBlock], properties: Properties, check: Check) -> Entry:
    pending = store.staging.pending(target.key).blocks
    with ExitStack() as opened:
        committed, base = _committed_parts(store, target, opened) if any(one.where != "Uncommitted" for one in wanted) else ({}, None)
        parts = [_block_part(one, pending, committed) for one in wanted]
        finished = _assembled(store, parts)
    blocks = tuple((one.block_id, part.size_bytes) for one, part in zip(wanted, parts, strict=True))
    return store.publish(target, finished, replace(properties, blocks=blocks), _both(check, base))


def _block_part(wanted: WantedBlock, pending: Mapping[str, Piece], committed: Mapping[str, Part]) -> Part:
    if wanted.where != "Committed" and (piece := pending.get(wanted.block_id)) is not None:
        return Part(piece.path, 0, piece.size_bytes)
    if wanted.where != "Uncommitted" and wanted.block_id in committed:
        return committed[wanted.block_id]
    raise StorageError(400, "InvalidBlockList", "The specified block list is invalid.")


def _committed_parts(store: LakeStore, target: Target, opened: ExitStack) -> tuple[dict[str, Part], Entry | None]:
    """The blocks that the file was made of, as stretches of it; none where there is no file or it was made otherwise."""
    try:
        descriptor, base = opened.enter_context(store.reading(target))
    except StorageError as error:
        if error.status != 404:
            raise
        return {}, None
    parts, offset = dict[str, Part](), 0
    for block_id, size in base.properties.blocks:
        parts[block_id] = Part(descriptor, offset, size)
        offset += size
    return parts, base


def _assembled(store: LakeStore, parts: Sequence[Part]) -> Path:
    try:
        return store.staging.assemble(parts)
    except FileNotFoundError as error:  # another flush or list used a piece up, or newer data came in its place
        raise _ChangedMeanwhile from error


def _both(check: Check, base: Entry | None) -> Check:
    def both(there: Entry | None) -> None:
        check(there)
        if base is not None:
            _unchanged(base)(there)

    return both


def _unchanged(base: Entry) -> Check:
    def check(there: Entry | None) -> None:
        if there is None or there.etag != base.etag:
            raise _ChangedMeanwhile

    return check
