"""Reads an uploaded .tar.gz without extracting it: members are streamed, and no file is made under a name of the archive's choosing.

Regular files only, own rules for names, limits on count, size, total and ratio. What can be read is read to the end, so that all faults are told at once.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.gunzip import Gunzip, Limits, Stopped
from treadle.flows.scenario.member_names import collision_key, left_by_the_system, member_name, shown
from treadle.flows.scenario.tar_headers import (
    BLOCK,
    FOLDER,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    PAX,
    PAX_OF_ALL,
    REGULAR,
    WITHOUT_CONTENT,
    DamagedHeader,
    Header,
    padding,
    parse_header,
    parse_pax,
)

_EXTENSION_BYTES: Final = 64 * 1024  # of an extended header: names and times, nothing large
_END: Final = bytes(BLOCK)
_DOCUMENTS: Final = frozenset({".yaml", ".yml"})
_DOCUMENTS_KEPT: Final = 50  # two are needed; the others of a scenario may be prompts and the like
_REPACK: Final = "Pack the files themselves: tar --dereference --hard-dereference -czf scenario.tar.gz telco-noc/"


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A regular file of the archive. path: where its bytes are in the scratch folder (CSV, or what `keep` chose). content: its bytes (YAML).

    Others are only counted.
    """

    name: str
    size_bytes: int
    sha256: str
    path: Path | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds, by name below its root folder if it has one. faults: everything that is wrong with the archive as such.

    complete: whether it was read to its end, so that what is not among the files is not in the archive.
    """

    files: Mapping[str, ArchivedFile]
    root: str | None
    faults: tuple[Fault, ...]
    complete: bool


@dataclass(slots=True)
class _Reading:
    scratch: Path
    limits: Limits
    keep: Callable[[str], bool] | None = None
    files: dict[str, ArchivedFile] = field(default_factory=dict[str, ArchivedFile])
    names: dict[str, str] = field(default_factory=dict[str, str])  # collision key → name, files only
    folders: dict[str, str] = field(default_factory=dict[str, str])  # collision key → name as first written
    documents: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])


def read_archive(source: BinaryIO, scratch: Path, *, limits: Limits | None = None, keep: Callable[[str], bool] | None = None) -> Contents:
    """Read a .tar.gz from its beginning to its end, once. CSV files go to `scratch` as 00001.csv, 00002.csv …; YAML files stay in memory.

    scratch: an empty folder of the caller's, who also removes it. Memory is bounded by `document_bytes` per YAML file and a few pieces of 64 KiB.
    keep: instead, of each file by its name in the archive, whether it goes to `scratch`, as 00001.kept …; nothing stays in memory then.
    """
    reading = _Reading(scratch, limits or Limits(), keep)
    complete = False
    try:
        stream = Gunzip(source, reading.limits)
        for header in _headers(stream, reading):
            _take(stream, header, reading)
        complete = True
    except Stopped as stopped:
        reading.faults.append(stopped.fault)
    files, root = _below_root(reading.files)
    return Contents(files, root, tuple(reading.faults), complete)


def _headers(stream: Gunzip, reading: _Reading) -> Iterator[Header]:
    """Each member's header, with what extension headers say of it."""
    said: dict[str, bytes] = {}
    members = blocks = 0
    while (block := stream.exactly(BLOCK)) != _END:
        header = _parsed(block, stream.produced - BLOCK)
        blocks += 1
        if header.kind in {PAX, PAX_OF_ALL, GNU_LONG_NAME, GNU_LONG_LINK}:
            said |= _extension(stream, header, reading)
        else:
            members += 1
            yield _extended(header, said)
            said = {}
        if members > reading.limits.members or blocks > 4 * reading.limits.members:
            raise Stopped(_too_many(reading.limits))
    _only_zeros(stream)


def _parsed(block: bytes, at: int) -> Header:
    try:
        return parse_header(block)
    except DamagedHeader as error:
        hint = "A member's size may be a lie, or the upload was damaged. Make the archive again with tar."
        raise Stopped(Fault("tar_damaged", f"byte {at:,}", f"Where a member should begin is none: {error}.", hint)) from error


def _extension(stream: Gunzip, header: Header, reading: _Reading) -> dict[str, bytes]:
    """What an extension header says of the member behind it: its path and size."""
    if header.size_bytes > _EXTENSION_BYTES:
        raise Stopped(
            Fault(
                "tar_damaged", f"byte {stream.produced:,}", "An extended header is larger than 64 KiB.", "Make the archive again with tar."
            )
        )
    content = stream.exactly(header.size_bytes + padding(header.size_bytes))[: header.size_bytes]
    if header.kind == GNU_LONG_NAME:
        return {"path": content.rstrip(b"\0")}
    if header.kind == GNU_LONG_LINK:
        return {}  # of a link, which is refused in any case
    try:
        said = parse_pax(content)
    except DamagedHeader as error:
        raise Stopped(
            Fault("tar_damaged", f"byte {stream.produced:,}", f"The archive is damaged: {error}.", "Make it again with tar.")
        ) from error
    if header.kind == PAX_OF_ALL:
        if said.keys() & {"path", "size", "linkpath"}:
            reading.faults.append(
                Fault("kind_refused", "the whole archive", "A header gives all members the same path or size.", "Pack it with plain tar.")
            )
        return {}
    return said


def _extended(header: Header, said: Mapping[str, bytes]) -> Header:
    size = said.get("size", b"")
    if size and not (size.isdigit() and len(size) <= 18):
        raise Stopped(
            Fault(
                "tar_damaged", shown(header.name), "An extended header gives a size that is no number.", "Make the archive again with tar."
            )
        )
    name, kind = said.get("path") or header.name, header.kind
    if any(key.startswith("GNU.sparse") for key in said):
        kind = b"S"
    elif kind in REGULAR and name.endswith(b"/"):
        kind = FOLDER  # how tar wrote folders before it had a kind for them
    return Header(name, kind, int(size) if size else header.size_bytes)


def _take(stream: Gunzip, header: Header, reading: _Reading) -> None:
    """Keep the member if it may be kept; in any case be behind it afterwards."""
    if header.size_bytes and header.kind in {FOLDER, *WITHOUT_CONTENT}:
        what = WITHOUT_CONTENT.get(header.kind, "a folder")
        raise Stopped(Fault("tar_damaged", shown(header.name), f"It is {what} and claims to have content.", _REPACK))
    if header.kind in WITHOUT_CONTENT:
        reading.faults.append(Fault("kind_refused", shown(header.name), f"It is {WITHOUT_CONTENT[header.kind]}.", _REPACK))
        return
    name = _accepted(header, reading)
    if header.size_bytes > reading.limits.member_bytes:
        message = f"It has {header.size_bytes:,} bytes; {reading.limits.member_bytes:,} are allowed."
        raise Stopped(Fault("member_too_large", shown(header.name), message, "Split the table, or leave out what is not needed."))
    if name is None:
        _copy(stream, header.size_bytes, None)
    else:
        _keep(stream, name, header.size_bytes, reading)


def _accepted(header: Header, reading: _Reading) -> str | None:
    """The name of a file that is kept. None: a folder, something to leave out, or a fault, which is noted."""
    if header.kind not in REGULAR | {FOLDER}:
        reading.faults.append(
            Fault("kind_refused", shown(header.name), f"It is a member of kind {header.kind!r}, not a plain file.", _REPACK)
        )
        return None
    if header.kind == FOLDER and header.name in {b".", b"./"}:
        return None  # tar -C folder -czf x.tar.gz .
    name = member_name(header.name)
    if isinstance(name, Fault):
        reading.faults.append(name)
        return None
    if left_by_the_system(name):
        return None
    fault = _collision(name, reading, is_folder=header.kind == FOLDER)
    if fault:
        reading.faults.append(fault)
    return None if fault or header.kind == FOLDER else name


def _collision(name: str, reading: _Reading, *, is_folder: bool) -> Fault | None:
    """Whether the name, or a folder on the way to it, means something else already. Takes note of both."""
    path = PurePosixPath(name)
    folders = [str(parent) for parent in path.parents if str(parent) != "."] + ([name] if is_folder else [])
    for folder in folders:
        key = collision_key(folder)
        first = reading.folders.setdefault(key, folder)
        if first != folder or key in reading.names:
            return _collides(name, reading.names.get(key, first))
    if is_folder:
        return None
    key = collision_key(name)
    earlier = reading.names.get(key) or reading.folders.get(key)
    reading.names.setdefault(key, name)
    return _collides(name, earlier) if earlier else None


def _collides(name: str, earlier: str) -> Fault:
    if name == earlier:
        return Fault("name_twice", name, "The archive has two members of this name.", "Pack it again from a folder; keep one of them.")
    return Fault("names_collide", name, f"{earlier!r} is there as well: many systems take the two for one.", "Rename one of them.")


def _keep(stream: Gunzip, name: str, size_bytes: int, reading: _Reading) -> None:
    suffix = PurePosixPath(name).suffix.lower()
    if reading.keep is not None:
        target = reading.scratch / f"{len(reading.files) + 1:05}.kept" if reading.keep(name) else None
        reading.files[name] = ArchivedFile(name, size_bytes, _copy(stream, size_bytes, target), path=target)
    elif suffix == ".csv":
        target = reading.scratch / f"{len(reading.files) + 1:05}.csv"
        reading.files[name] = ArchivedFile(name, size_bytes, _copy(stream, size_bytes, target), path=target)
    elif suffix in _DOCUMENTS and size_bytes <= reading.limits.document_bytes and reading.documents < _DOCUMENTS_KEPT:
        reading.documents += 1
        content = stream.exactly(size_bytes)
        stream.exactly(padding(size_bytes))
        reading.files[name] = ArchivedFile(name, size_bytes, hashlib.sha256(content).hexdigest(), content=content)
    else:
        reading.files[name] = ArchivedFile(name, size_bytes, _copy(stream, size_bytes, None))
        if suffix in _DOCUMENTS and size_bytes > reading.limits.document_bytes:
            message = f"It has {size_bytes:,} bytes; {reading.limits.document_bytes:,} are allowed."
            reading.faults.append(Fault("member_too_large", name, message, "A manifest is a page or two: move data to CSV files."))


def _copy(stream: Gunzip, size_bytes: int, target: Path | None) -> str:
    """Let the content pass, into a new file if one is given. Returns its SHA-256. What arrives in part is removed again."""
    digest = hashlib.sha256()
    file = target.open("xb") if target else None
    missing = size_bytes
    try:
        while missing:
            piece = stream.read(missing)
            if not piece:
                raise Stopped(
                    Fault("archive_cut_off", "the end of the file", "The archive ends within a member.", "Make or upload it again.")
                )
            missing -= len(piece)
            digest.update(piece)
            if file:
                file.write(piece)
    finally:
        if file:
            file.close()
        if target and missing:
            target.unlink()
    stream.exactly(padding(size_bytes))
    return digest.hexdigest()


def _only_zeros(stream: Gunzip) -> None:
    """Read what is behind the end of the archive, which also checks gzip's own checksum."""
    while piece := stream.read(BLOCK * 128):
        if piece.count(0) != len(piece):
            raise Stopped(
                Fault(
                    "tar_damaged",
                    f"byte {stream.produced:,}",
                    "There is data behind the archive's end.",
                    "Make the archive again with tar.",
                )
            )


def _below_root(files: Mapping[str, ArchivedFile]) -> tuple[dict[str, ArchivedFile], str | None]:
    """The files without the folder that all of them are in, and its name."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or any("/" not in name for name in files) or tops <= {"data", "entities"}:
        return dict(files), None
    root = tops.pop()
    return {name.removeprefix(f"{root}/"): file for name, file in files.items()}, root


def _too_many(limits: Limits) -> Fault:
    return Fault("too_many_members", "the whole archive", f"It has more than {limits.members:,} members.", "Leave out what is not needed.")
