"""What an archive of runbooks, tickets or prompts holds: text files, each checked, by their path within the slot. Changes nothing."""

import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

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
_NAMED: Final = 5  # files that a sentence names
_NAME_CHARS: Final = 80
TEXTS: Final = frozenset(
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
    """What came of reading an archive. files: by name; to be used only where there are no faults.

    passed_over: files that are no texts by the end of their names. elsewhere: files of any kind outside the folder of the slot's name, if there is one.
    """

    files: tuple[SlotFile, ...]
    passed_over: tuple[str, ...]
    faults: tuple[Fault, ...]
    elsewhere: tuple[str, ...] = ()


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
    left_out = sorted(set(contents.files) - set(names))
    has_folder = any(_base(name, slot) is not None for name in names)
    elsewhere = tuple(name for name in left_out if has_folder and _base(name, slot) is None)
    passed_over = tuple(name for name in left_out if not has_folder or _base(name, slot) is not None)
    return SlotContents(files, passed_over, shortened(faults), elsewhere)


def passed_over_told(slot: str, names: Sequence[str], count: int, elsewhere: int) -> str | None:
    """In a sentence, what an archive brought that is not stored; None where all of it is. names: the first of them. Pure."""
    told: list[str] = []
    if count:
        told.append(f"{_files(count)} passed over: {first_named(names, count)}; only {', '.join(sorted(TEXTS))} are taken.")
    if elsewhere:
        told.append(f"{_files(elsewhere)} left out, outside the archive's folder {slot}.")
    return f"{slot}: {' '.join(told)}" if told else None


def documents_told(counted: Mapping[str, int]) -> str:
    """How many documents of which slot, in words: `3 runbooks and 1 ticket`; empty for none. Pure."""
    *others, last = [f"{count:,} {slot.removesuffix('s') if count == 1 else slot}" for slot, count in counted.items() if count] or [""]
    return f"{', '.join(others)} and {last}" if others else last


def passed_over_in(slot: str, result: Mapping[str, Any] | None) -> str | None:
    """In a sentence, what of an archive was not stored, as `store_slot` has returned it; None where all of it was, or that was not kept. Pure."""
    names = [str(name) for name in (result or {}).get("passed_over") or ()]
    count, elsewhere = (result or {}).get("passed_over_count"), (result or {}).get("elsewhere")
    return passed_over_told(slot, names, len(names) if count is None else int(count), int(elsewhere or 0))


def first_named(names: Sequence[str], count: int) -> str:
    """The first of some names for a message, and how many more there are. count: of all. Pure."""
    shown = [f"{name[: _NAME_CHARS - 1]}…" if len(name) > _NAME_CHARS else name for name in names[:_NAMED]]
    more = f" and {count - len(shown):,} more" if count > len(shown) else ""
    return ", ".join(shown) + more


def _files(count: int) -> str:
    return f"{count:,} {'file is' if count == 1 else 'files are'}"


def slot_folder(scenario: str, slot: Slot) -> str:
    """Where the files of a slot are in Treadle's own lakehouse. Raises InvalidInput."""
    if slot not in DOCUMENT_SLOTS:
        raise InvalidInput(f"The slot {slot} has no documents.", hint=f"Choose {', '.join(DOCUMENT_SLOTS)}.")
    checked_key(DOCUMENTS, scenario)
    return lake_path("Files/scenarios", scenario, slot)


def _is_text(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in TEXTS


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
