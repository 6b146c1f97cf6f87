"""What a file really is, told from its content: the extension may say something else, and then the reader would fail in obscure ways.

Sources: PKWARE APPNOTE (ZIP), ECMA-376 part 2 (OPC), ODF 1.3 part 2, [MS-CFB] (compound files), [MS-OFFCRYPTO] (encryption).
"""

import io
import mmap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from treadle.errors import InvalidInput


class Format(StrEnum):
    """The formats that can be read."""

    XLSX = "xlsx"
    XLS = "xls"
    XLSB = "xlsb"
    ODS = "ods"
    TEXT = "text"  # comma, semicolon, tab or bar between fields
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What the directory of a ZIP container may declare. Ratios up to 30 are seen in honest sheets; deflate cannot exceed 1,032."""

    entries: int = 10_000
    total_bytes: int = 8 * 1024**3
    ratio: float = 100.0
    ratio_from_bytes: int = 16 * 1024**2  # a part that is smaller does no harm at any ratio


_EXTENSIONS: Final = {
    ".xlsx": Format.XLSX,
    ".xls": Format.XLS,
    ".xlsb": Format.XLSB,
    ".ods": Format.ODS,
    ".csv": Format.TEXT,
    ".tsv": Format.TEXT,
    ".parquet": Format.PARQUET,
}
_NAMES: Final = {
    Format.XLSX: "an Excel workbook (.xlsx)",
    Format.XLS: "an old Excel workbook (.xls)",
    Format.XLSB: "a binary Excel workbook (.xlsb)",
    Format.ODS: "an OpenDocument spreadsheet (.ods)",
    Format.TEXT: "plain text, such as .csv",
    Format.PARQUET: "a Parquet file",
}
_OLE: Final = bytes.fromhex("D0CF11E0A1B11AE1")
_SIGNATURES: Final = (
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "a rich text document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"ARROW1", "an Arrow file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"PARE", "an encrypted Parquet file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"PAR1", None),
)
_MARKUP: Final = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"<table", "an HTML page"),
)
_HEAD_BYTES: Final = 4096
_WHOLE_FILE: Final = {"refused": "the whole file"}
_ANEW: Final = "Open it in a spreadsheet program and save the one sheet that is needed in a new workbook."
_HANDS_OFF: Final = "Do not open it. Ask whoever sent it what it is, or upload another file."
_OLE_ENTRY_BYTES: Final = 128
_OLE_STREAMS: Final = (
    ("EncryptedPackage", "encrypted"),
    ("Workbook", "xls"),
    ("Book", "xls"),
    ("WordDocument", "a Word document (.doc)"),
    ("PowerPoint Document", "a PowerPoint document (.ppt)"),
    ("__properties_version1.0", "an Outlook message"),
)


def detect_format(path: Path, *, limits: ArchiveLimits | None = None) -> Format:
    """Tell what the file holds, and check that its extension says the same and that its archive, if it is one, may be unpacked.

    Raises:
        InvalidInput: it is empty, truncated, encrypted, a bomb, or something else than its extension says; the message tells which.
    """
    expected = _EXTENSIONS.get(path.suffix.lower())
    if expected is None:
        raise InvalidInput(
            f"{path.name} has no extension that can be read.", hint=f"Readable are: {' '.join(_EXTENSIONS)}.", details=_facts(path.name)
        )
    if not path.is_file():
        raise InvalidInput(f"{path.name} is not there, or is not a file.", hint="Upload it first.", details=_facts(path.name))
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head.strip(b"\x00 \t\r\n\xef\xbb\xbf"):
        raise InvalidInput(f"{path.name} is empty.", hint="Upload it again; the upload was probably cut off.", details=_facts(path.name))
    found = _content(path, head, limits or ArchiveLimits())
    if found is not expected:
        raise _differs(path, _NAMES[found])
    return found


def protected(file: str) -> InvalidInput:
    """The error for a file that only opens with a password."""
    return InvalidInput(
        f"{file} is protected by a password and cannot be read.",
        hint="Open it, remove the password (File, Info, Protect Workbook), and save it again.",
        details=_facts(file),
    )


def is_refused_whole(details: Mapping[str, Any] | None) -> bool:
    """Whether an error with these details refuses the file for what it is, so that no choice of columns or of a sheet makes it readable."""
    return (details or {}).get("refused") == _WHOLE_FILE["refused"]


def _facts(file: str, **more: Any) -> dict[str, Any]:
    return {"file": file, **_WHOLE_FILE, **more}


def _content(path: Path, head: bytes, limits: ArchiveLimits) -> Format:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip_content(path, limits)
    if head.startswith(_OLE):
        return _ole_content(path)
    if head.startswith(b"PAR1"):
        _require_parquet_end(path)
        return Format.PARQUET
    for signature, name in _SIGNATURES:
        if name and head.startswith(signature) and not _reads_as_text(signature, head):
            raise _differs(path, name)
    lowered = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, name in _MARKUP:
        if lowered.startswith(start):
            raise _differs(path, name)
    if b"\x00" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _differs(path, "binary data of an unknown kind")
    return Format.TEXT


def _reads_as_text(signature: bytes, head: bytes) -> bool:
    """A header such as `ORCHARD,…` or `MZone;…` begins like a signature of plain letters, but goes on without control characters."""
    return signature.isalnum() and not any(byte < 9 or 13 < byte < 32 for byte in head)


def _zip_content(path: Path, limits: ArchiveLimits) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = {entry.filename.replace("\\", "/").lstrip("/").lower() for entry in entries}
            _require_harmless(path, entries, limits)
            mimetype = (
                archive.read("mimetype")[:100].strip() if "mimetype" in names and archive.getinfo("mimetype").file_size < 200 else b""
            )
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, KeyError) as error:
        raise InvalidInput(
            f"{path.name} is truncated or damaged: {error}.",
            hint="Upload it again, or open it in a spreadsheet program and save it anew.",
            details=_facts(path.name, size_bytes=path.stat().st_size),
        ) from error
    return _zip_kind(path, names, mimetype)


def _zip_kind(path: Path, names: set[str], mimetype: bytes) -> Format:
    if "xl/workbook.bin" in names:
        return Format.XLSB
    if "[content_types].xml" in names and any(name.startswith("xl/") for name in names):
        return Format.XLSX
    if mimetype.startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
        return Format.ODS
    if "word/document.xml" in names:
        raise _differs(path, "a Word document (.docx)")
    if "ppt/presentation.xml" in names:
        raise _differs(path, "a PowerPoint document (.pptx)")
    if mimetype.startswith(b"application/vnd.oasis.opendocument"):
        raise _differs(path, "an OpenDocument file that is no spreadsheet")
    raise _differs(path, "a ZIP archive without a workbook in it")


def _require_harmless(path: Path, entries: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    """Refuse by the directory alone, before anything is unpacked."""
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    worst = max((entry for entry in entries if entry.file_size >= limits.ratio_from_bytes), key=_ratio, default=None)
    if len(entries) > limits.entries:
        _refuse(path, f"has {len(entries):,} parts, more than the {limits.entries:,} that are allowed", hint=_ANEW)
    if total > limits.total_bytes:
        _refuse(path, f"would unpack to {total / 1024**3:,.1f} GiB, more than the {limits.total_bytes / 1024**3:,.0f} GiB that are allowed")
    if worst and _ratio(worst) > limits.ratio:
        _refuse(path, f"is packed {_ratio(worst):,.0f} to 1 in its part {worst.filename!r}, which only a zip bomb is")
    if packed > path.stat().st_size:
        _refuse(path, "has parts that overlap, which only a zip bomb has")
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise protected(path.name)


def _ratio(entry: zipfile.ZipInfo) -> float:
    return entry.file_size / max(1, entry.compress_size)


def _refuse(path: Path, why: str, *, hint: str = _HANDS_OFF) -> None:
    """A file that is meant to fill a disk would fill that of whoever opens it, too: the hint sends nobody to do so."""
    raise InvalidInput(
        f"{path.name} {why}; it was not unpacked.",
        hint=hint,
        details=_facts(path.name, size_bytes=path.stat().st_size),
    )


def _ole_content(path: Path) -> Format:
    """Find the streams by their directory entries: UTF-16 name, zeros up to 64 bytes, then the length of the name with its end mark."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        kind = next((kind for name, kind in _OLE_STREAMS if _has_stream(content, name)), None)
    if kind == "encrypted":
        raise protected(path.name)
    if kind == "xls":
        return Format.XLS
    if kind is None:
        raise InvalidInput(
            f"{path.name} is a compound file without a workbook in it, or is truncated.",
            hint="Upload it again, or open it in a spreadsheet program and save it anew.",
            details=_facts(path.name, size_bytes=path.stat().st_size),
        )
    raise _differs(path, kind)


def _has_stream(content: mmap.mmap, name: str) -> bool:
    encoded = name.encode("utf-16-le")
    entry = encoded.ljust(64, b"\x00") + (len(encoded) + 2).to_bytes(2, "little")
    at = content.find(entry)
    while at >= 0:
        if at % _OLE_ENTRY_BYTES == 0:  # entries fill their sectors from the start
            return True
        at = content.find(entry, at + 1)
    return False


def _require_parquet_end(path: Path) -> None:
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 4))
        end = file.read(4)
    if size < 12 or end not in {b"PAR1", b"PARE"}:
        raise InvalidInput(
            f"{path.name} is truncated: a Parquet file ends with PAR1.",
            hint="Upload it again.",
            details=_facts(path.name, size_bytes=size),
        )


def _differs(path: Path, really: str) -> InvalidInput:
    return InvalidInput(
        f"{path.name} looks like {really}, which its extension {path.suffix} does not say.",
        hint="Save the data as .xlsx or .csv from the program that made it, or correct the extension.",
        details=_facts(path.name, found=really),
    )
