"""What an archive of runbooks, tickets or prompts holds: text files, each checked, by their path within the slot. Changes nothing."""

import os.path
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from treadle.clients.lake_path import lake_path
from treadle.errors import InvalidInput
from treadle.flows.scenario.archive import ArchivedFile, Contents, read_archive
from treadle.flows.scenario.document_text import NotText, decoded
from treadle.flows.scenario.faults import Fault, shortened
from treadle.flows.scenario.gunzip import Limits
from treadle.stores.containers import DOCUMENTS
from treadle.stores.document_store import checked_key

TEXT_BYTES: Final = 1024**2  # a book of 400 pages
LIMITS: Final = Limits(members=2_000, member_bytes=64 * 1024**2, total_bytes=512 * 1024**2)
_TEXTS: Final = frozenset(
    {".md", ".markdown", ".rst", ".txt", ".log", ".yaml", ".yml", ".json", ".jsonl", ".csv", ".tsv", ".prompty", ".jinja", ".j2"}
)


class Slot(StrEnum):
    """What an archive is for, in the order in which they are done."""

    GRAPH = "graph"
    TELEMETRY = "telemetry"
    RUNBOOKS = "runbooks"
    TICKETS = "tickets"
    PROMPTS = "prompts"


DOCUMENT_SLOTS: Final = (Slot.RUNBOOKS, Slot.TICKETS, Slot.PROMPTS)


@dataclass(frozen=True, slots=True)
class SlotFile:
    """A text file of a slot. name: its path within the slot. path: its bytes on this machine, while the scratch folder lasts."""

    name: str
    lake_path: str
    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SlotContents:
    """What came of reading an archive. files: by name; to be used only where there are no faults. passed_over: files that are no texts."""

    files: tuple[SlotFile, ...]
    passed_over: tuple[str, ...]
    faults: tuple[Fault, ...]


def read_slot(scenario: str, slot: Slot, source: BinaryIO, scratch: Path, *, limits: Limits = LIMITS) -> SlotContents:
    """Read a .tar.gz once, and check every text in it. What is no text by the end of its name is passed over.

    If the archive has a folder of the slot's name, such as data/knowledge/runbooks, only what is in there counts; else everything does.
    scratch: an empty folder of the caller's, who also removes it.

    Raises:
        InvalidInput: the scenario's name cannot be used, or the slot is none of documents.
    """
    folder = slot_folder(scenario, slot)
    contents = read_archive(source, scratch, limits=limits, keep=_is_text)
    texts = {name: file for name, file in contents.files.items() if file.path is not None}
    names = _within_slot(texts, slot)
    faults = list(contents.faults)
    files = tuple(
        file for name, archived in sorted(texts.items()) if name in names and (file := _file(folder, names[name], archived, faults))
    )
    if not names and contents.complete and not faults:
        faults.append(_no_texts(slot, contents))
    passed_over = tuple(sorted(set(contents.files) - set(names)))
    return SlotContents(files, passed_over, shortened(faults))


def slot_folder(scenario: str, slot: Slot) -> str:
    """Where the files of a slot are in Treadle's own lakehouse. Raises InvalidInput."""
    if slot not in DOCUMENT_SLOTS:
        raise InvalidInput(f"The slot {slot} has no documents.", hint=f"Choose {', '.join(DOCUMENT_SLOTS)}.")
    checked_key(DOCUMENTS, scenario)
    return lake_path("Files/scenarios", scenario, slot)


def _is_text(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _TEXTS


def _within_slot(names: Iterable[str], slot: Slot) -> dict[str, str]:
    """Name in the archive → path within the slot, for the files that count."""
    bases = {name: base for name in names if (base := _base(name, slot)) is not None}
    if bases:
        common = os.path.commonpath(bases.values())
    else:
        bases = {name: os.path.dirname(name) for name in names}  # noqa: PTH120 - of an archive, not of this machine
        common = os.path.commonpath(bases.values()) if bases else ""
    return {name: name[len(common) + 1 :] if common else name for name in bases}


def _base(name: str, slot: Slot) -> str | None:
    """The folder of the slot that a file is in, if it is in one."""
    parts = name.split("/")[:-1]
    place = next((number for number, part in enumerate(parts) if part.casefold() == slot), None)
    return None if place is None else "/".join(parts[: place + 1])


def _file(folder: str, name: str, archived: ArchivedFile, faults: list[Fault]) -> SlotFile | None:
    """A file that may be stored. None: it has a fault, which is noted."""
    fault = _fault(archived)
    if fault is None and archived.path is not None:
        try:
            return SlotFile(name, lake_path(folder, name), archived.path, archived.size_bytes, archived.sha256)
        except InvalidInput as error:
            fault = Fault("name_refused", archived.name, error.message, error.hint or "Rename the file.")
    if fault:
        faults.append(fault)
    return None


def _fault(archived: ArchivedFile) -> Fault | None:
    if archived.size_bytes > TEXT_BYTES:
        message = f"It has {archived.size_bytes:,} bytes; {TEXT_BYTES:,} are allowed."
        return Fault("member_too_large", archived.name, message, "Split the text into chapters, or leave the file out.")
    try:
        decoded(archived.path.read_bytes() if archived.path else b"")
    except NotText as error:
        return Fault("not_text", archived.name, str(error), "Save it as plain text in UTF-8, or leave it out.")
    return None


def _no_texts(slot: Slot, contents: Contents) -> Fault:
    others = len(contents.files)
    message = f"It holds no text file{f', only {others:,} others' if others else ''}."
    return Fault("no_documents", "the whole archive", message, f"Pack {slot} as .md, .txt, .yaml, .json or .csv files.")
