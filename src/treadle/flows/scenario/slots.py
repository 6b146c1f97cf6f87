"""Runbooks, tickets and prompts of a scenario: files in Treadle's own lakehouse, each with a document by which it is listed and searched.

The document is written before its file, marked as not stored, and again behind it. So whatever is in the lakehouse has a document, and a
store that was killed is mended by the next one, whatever that brings.
"""

import hashlib
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from treadle.clients.onelake import LakeClient
from treadle.errors import ChecksumMismatch, InvalidInput, NotFound
from treadle.flows.scenario.document_text import decoded, excerpt_of, pieces_of, title_of
from treadle.flows.scenario.faults import listed
from treadle.flows.scenario.records import all_documents
from treadle.flows.scenario.slot_files import (
    DOCUMENT_SLOTS,
    TEXT_BYTES,
    Slot,
    SlotContents,
    SlotFile,
    read_slot,
    slot_folder,
)
from treadle.stores.containers import DOCUMENTS
from treadle.stores.document_store import Document, DocumentStore, no_document, search_roots

__all__ = [
    "DOCUMENT_SLOTS",
    "Slot",
    "SlotChanges",
    "count_documents",
    "list_documents",
    "plan_slot",
    "read_document",
    "remove_documents",
    "search_documents",
    "store_slot",
]

SEARCHED_CHARS: Final = 128 * 1024  # of a file that a search looks at
_FOUND: Final = 50
_PASSED_OVER: Final = 20  # that are named
_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]+")
_DIGITS: Final = 16  # of a SHA-256, in the id of a document
_NAME_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class SlotChanges:
    """What storing an archive would change. removed: documents whose files the archive does not have any more."""

    created: tuple[SlotFile, ...]
    updated: tuple[SlotFile, ...]
    unchanged: tuple[SlotFile, ...]
    removed: tuple[Document, ...]


def store_slot(  # noqa: PLR0913, PLR0917 - from where to where, for what, and who is asked and told on the way
    lake: LakeClient,
    store: DocumentStore,
    scenario: str,
    slot: Slot,
    source: BinaryIO,
    scratch: Path,
    *,
    check: Callable[[], None] = lambda: None,
    report: Callable[[int, int], None] = lambda _done, _of: None,
) -> dict[str, Any]:
    """Make the slot hold what the archive holds: new and changed files are stored, those that are gone are removed. Safe to repeat.

    scratch: a folder of this machine. check: called before each file; what it raises ends the work there. report: files done, of how many.
    Returns files, created, updated, unchanged, removed (counts), size_bytes, and of what is not stored: passed_over (names of files that are no
    texts; the first ones), passed_over_count, and elsewhere (how many files are outside the slot's folder).

    Raises:
        InvalidInput: the archive has faults; `details["faults"]` has all of them, and nothing was changed.
    """
    with tempfile.TemporaryDirectory(prefix=f"{slot}-", dir=scratch) as folder:
        contents = read_slot(scenario, slot, source, Path(folder))
        if contents.faults:
            raise _faulty(slot, contents)
        changes = plan_slot(lake, store, scenario, slot, contents)
        to_store = (*changes.created, *changes.updated)
        total = len(to_store) + len(changes.removed)
        for done, file in enumerate(to_store):
            check()
            _store_file(lake, store, scenario, slot, file)
            report(done + 1, total)
        for done, document in enumerate(changes.removed, start=len(to_store)):
            check()
            _remove(lake, store, document)
            report(done + 1, total)
    return _counted(contents, changes)


def plan_slot(lake: LakeClient, store: DocumentStore, scenario: str, slot: Slot, contents: SlotContents) -> SlotChanges:
    """Compare an archive with what is stored. Changes nothing. A file that somebody took out of the lakehouse is stored again."""
    known = {str(document.body["path"]): document for document in _index(store, scenario, slot)}
    sizes = _sizes_in_lake(lake, (str(document.body["lake_path"]) for document in known.values()))
    created = tuple(file for file in contents.files if file.name not in known)
    unchanged = tuple(
        file for file in contents.files if file.name in known and _is_stored(known[file.name], file, sizes.get(file.lake_path))
    )
    names = {file.name for file in contents.files}
    settled = {file.name for file in (*created, *unchanged)}
    updated = tuple(file for file in contents.files if file.name not in settled)
    return SlotChanges(created, updated, unchanged, tuple(document for name, document in sorted(known.items()) if name not in names))


def list_documents(store: DocumentStore, scenario: str, slot: Slot | None = None) -> list[Document]:
    """What a scenario has in a slot, or in all of them, by path. Bodies have no `text`: it is for searching."""
    return sorted((_shown(document) for document in _index(store, scenario, slot)), key=lambda document: str(document.body["path"]))


def search_documents(store: DocumentStore, scenario: str, text: str, *, slot: Slot | None = None, limit: int = _FOUND) -> list[Document]:
    """Documents of a scenario in which every word of the text, or one that begins like it, occurs; best first.

    Bodies have no `text`, but `pieces`: the best place of it as [{"text", "hit"}]; empty where only the title or the file's name was hit.

    Raises:
        InvalidInput: the text has no word.
    """
    roots = search_roots(text)
    found = store.search(DOCUMENTS, text, where=_members(scenario, slot), limit=limit)
    return [_shown(document, pieces=[asdict(piece) for piece in pieces_of(str(document.body["text"]), roots)]) for document in found]


def read_document(lake: LakeClient, store: DocumentStore, scenario: str, document_id: str) -> str:
    """The text of a document, as it is in the lakehouse.

    Raises:
        NotFound: the scenario has no such document, or its file is gone.
        ChecksumMismatch: the file is not what was stored.
    """
    document = store.get(DOCUMENTS, document_id)
    if document.body.get("scenario") != scenario:
        raise no_document(DOCUMENTS, document_id)
    path = str(document.body["lake_path"])
    content = lake.read_bytes(path, max_bytes=TEXT_BYTES)
    if hashlib.sha256(content).hexdigest() != document.body["sha256"]:
        raise ChecksumMismatch(
            f"{path} is not what was stored: its SHA-256 differs.", hint="Apply the archive again.", details={"path": path}
        )
    return decoded(content)


def remove_documents(lake: LakeClient, store: DocumentStore, scenario: str) -> int:
    """Remove all runbooks, tickets and prompts of a scenario; returns how many there were. Safe to repeat."""
    removed = list(_index(store, scenario, None))
    for slot in DOCUMENT_SLOTS:
        lake.delete_folder(slot_folder(scenario, slot))
    for document in removed:
        _forget(store, document)
    return len(removed)


def count_documents(store: DocumentStore, scenario: str) -> dict[str, int]:
    """Slot → how many documents a scenario has of it; without slots that have none."""
    counted = Counter(str(document.body["slot"]) for document in _index(store, scenario, None))
    return {str(slot): counted[slot] for slot in DOCUMENT_SLOTS if counted[slot]}


def _index(store: DocumentStore, scenario: str, slot: Slot | None) -> Iterable[Document]:
    return all_documents(store, DOCUMENTS, _members(scenario, slot), page=_FOUND)  # each has a text, so a few at a time


def _members(scenario: str, slot: Slot | None) -> dict[str, str]:
    return {"scenario": scenario} | ({"slot": str(slot)} if slot else {})


def _sizes_in_lake(lake: LakeClient, paths: Iterable[str]) -> dict[str, int]:
    """Path → size, of all files in the folders of these."""
    folders = {path.rpartition("/")[0] for path in paths}
    return {f"{folder}/{file.name}": file.size_bytes for folder in sorted(folders) for file in lake.list_files(folder)}


def _is_stored(document: Document, file: SlotFile, size_in_lake: int | None) -> bool:
    body = document.body
    return body.get("stored") is True and body.get("sha256") == file.sha256 and size_in_lake == file.size_bytes


def _store_file(lake: LakeClient, store: DocumentStore, scenario: str, slot: Slot, file: SlotFile) -> None:
    content = file.path.read_bytes()
    document_id, body = _document_id(scenario, slot, file.name), _body(scenario, slot, file, decoded(content))
    store.put(DOCUMENTS, document_id, body | {"stored": False})
    lake.upload(file.lake_path, content)
    store.put(DOCUMENTS, document_id, body | {"stored": True})


def _remove(lake: LakeClient, store: DocumentStore, document: Document) -> None:
    with suppress(NotFound):  # an earlier try got so far
        lake.delete(str(document.body["lake_path"]))
    _forget(store, document)


def _forget(store: DocumentStore, document: Document) -> None:
    with suppress(NotFound):
        store.delete(DOCUMENTS, document.id)


def _body(scenario: str, slot: Slot, file: SlotFile, text: str) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "slot": str(slot),
        "path": file.name,
        "name": PurePosixPath(file.name).name,
        "lake_path": file.lake_path,
        "title": title_of(text, file.name),
        "excerpt": excerpt_of(text, file.name),
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "text": text[:SEARCHED_CHARS],
    }


def _document_id(scenario: str, slot: Slot, name: str) -> str:
    """Stable, and readable: the scenario, the slot, what tells paths apart, and the name of the file."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{scenario}:{slot}:{digest}-{_PLAIN.sub('_', PurePosixPath(name).name)[-_NAME_CHARS:]}"


def _shown(document: Document, **more: Any) -> Document:
    body = {name: value for name, value in document.body.items() if name not in {"text", "stored"}} | more
    return Document(document.container, document.id, body, document.etag, document.updated_at)


def _counted(contents: SlotContents, changes: SlotChanges) -> dict[str, Any]:
    counts: Mapping[str, int] = {name: len(getattr(changes, name)) for name in SlotChanges.__dataclass_fields__}
    return {
        "files": len(contents.files),
        **counts,
        "size_bytes": sum(file.size_bytes for file in contents.files),
        "passed_over": list(contents.passed_over[:_PASSED_OVER]),
        "passed_over_count": len(contents.passed_over),
        "elsewhere": len(contents.elsewhere),
    }


def _faulty(slot: Slot, contents: SlotContents) -> InvalidInput:
    first = contents.faults[0]
    others = listed([fault.where for fault in contents.faults[1:]])
    return InvalidInput(
        f"The {slot} archive cannot be stored: {first.where}: {first.message}{f' More faults: {others}.' if others else ''}",
        hint=first.hint,
        details={"code": "scenario_faulty", "faults": [asdict(fault) for fault in contents.faults]},
    )
