"""The parts of an .xlsx workbook that are looked at before its sheet is read: the list of sheets, and the first rows of one.

Source: ECMA-376 part 1, 18.2 (workbook), 18.3.1 (worksheet), 18.4.8 (shared strings); part 2 (packages and relationships).
"""

import io
import posixpath
import re
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, ParseError  # only types and the error; defusedxml parses

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from treadle.errors import InvalidInput
from treadle.flows.sales.reading.sheet_scan import PIECE_BYTES, require_no_entities, scan_sheet

PREVIEW_ROWS: Final = 60
_SMALL_PART_BYTES: Final = 32 * 1024 * 1024
_TYPES: Final = "http://schemas.openxmlformats.org/package/2006/content-types"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_MAIN_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
_VALUE: Final = re.compile(rb"<(?:[\w.\-]+:)?(?:v|is)>")


@dataclass(frozen=True, slots=True)
class SheetPart:
    """One sheet of a workbook, and the part of the archive that holds it."""

    name: str
    part: str
    visible: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """Where things are in the archive. None: the workbook has no such part."""

    sheets: tuple[SheetPart, ...]
    shared_strings: str | None
    styles: str | None
    counts_from_1904: bool


@contextmanager
def open_archive(path: Path) -> Generator[zipfile.ZipFile]:
    """Open the archive; damage met while it is open is reported as bad input.

    Raises:
        InvalidInput: the archive or its XML is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DefusedXmlException as error:
        raise InvalidInput(
            f"{path.name} declares XML entities, which no spreadsheet program writes.",
            hint="Open the workbook in a spreadsheet program and save it anew.",
            details={"file": path.name},
        ) from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, KeyError, OSError, NotImplementedError, ParseError, ValueError) as error:
        raise InvalidInput(
            f"{path.name} is damaged: {error}.",
            hint="Upload it again, or open it in a spreadsheet program and save it anew.",
            details={"file": path.name},
        ) from error
    except Exception as error:
        if type(error).__module__ != "zlib":  # zlib.error is no subclass of any of the above
            raise
        raise InvalidInput(f"{path.name} is damaged: {error}.", hint="Upload it again.", details={"file": path.name}) from error


def read_parts(archive: zipfile.ZipFile) -> Parts:
    """Read the list of sheets with the parts that hold them, in the order of the tabs. Sheets that hold only a chart are left out."""
    main = next((target for kind, target in _relations(archive, "").values() if kind == "officeDocument"), "xl/workbook.xml")
    workbook = fromstring(_small(archive, main), forbid_dtd=True)
    related = _relations(archive, main)
    by_kind = dict(related.values())
    properties = next((item for item in workbook.iter() if _local(item) == "workbookPr"), None)
    return Parts(
        tuple(_sheets(workbook, related)),
        _present(archive, by_kind.get("sharedStrings")),
        _present(archive, by_kind.get("styles")),
        counts_from_1904=properties is not None and properties.get("date1904", "0") in {"1", "true"},
    )


def has_values(archive: zipfile.ZipFile, sheet: SheetPart) -> bool:
    """Whether any cell of the sheet holds something; stops at the first."""
    rest = b""
    with archive.open(sheet.part) as stream:
        while block := stream.read(PIECE_BYTES):
            if _VALUE.search(rest + block) or b"<is" in rest + block:
                return True
            rest = block[-32:]
    return False


def first_rows(archive: zipfile.ZipFile, parts: Parts, sheet: SheetPart) -> bytes | None:
    """A small workbook with the first rows of one sheet as its only sheet, in the same cells. None: its XML is not laid out as usual.

    Raises:
        InvalidInput: as `scan_sheet` does.
    """
    with archive.open(sheet.part) as stream:
        start = stream.read(PIECE_BYTES)
    require_no_entities(start, f"the sheet {sheet.name!r}")
    opening = re.search(rb"<((?:[\w.\-]+:)?)sheetData>", start)
    if not opening:
        return None
    prefix = opening.group(1)
    ends = [found.end() for found in re.finditer(b"</" + prefix + b"row>", start)][:PREVIEW_ROWS]
    if not ends:
        return None
    rows = start[: ends[-1]] + b"</" + prefix + b"sheetData></" + prefix + b"worksheet>"
    scan_sheet(io.BytesIO(rows), name=f"The sheet {sheet.name!r}")  # a far cell may be among the first
    strings = _first_strings(archive, parts.shared_strings, _highest_string(rows, prefix)) if parts.shared_strings else None
    return _small_workbook(rows, strings, _small(archive, parts.styles) if parts.styles else None, counts_from_1904=parts.counts_from_1904)


def _sheets(workbook: Element, related: dict[str, tuple[str, str]]) -> Iterator[SheetPart]:
    for item in workbook.iter():
        if _local(item) != "sheet":
            continue
        identifier = next((value for name, value in item.attrib.items() if name.endswith("}id")), "")
        kind, target = related.get(identifier, ("", ""))
        if kind == "worksheet":
            yield SheetPart(item.get("name", ""), target, visible=item.get("state", "visible") == "visible")


def _relations(archive: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Relationship id → last word of its type, and the part it leads to. Empty when the part has none."""
    folder, name = posixpath.split(part)
    listing = _present(archive, posixpath.join(folder, "_rels", f"{name}.rels"))
    if not listing:
        return {}
    found: dict[str, tuple[str, str]] = {}
    for item in fromstring(_small(archive, listing), forbid_dtd=True):
        target = posixpath.normpath(posixpath.join("/", folder, item.get("Target", ""))).lstrip("/")
        found[item.get("Id", "")] = (item.get("Type", "").rpartition("/")[2], _present(archive, target) or target)
    return found


def _present(archive: zipfile.ZipFile, part: str | None) -> str | None:
    """The part as the archive spells it: names of parts are compared without regard to case."""
    if part is None:
        return None
    return next((name for name in archive.namelist() if name.replace("\\", "/").lstrip("/").lower() == part.lower()), None)


def _small(archive: zipfile.ZipFile, part: str) -> bytes:
    if archive.getinfo(part).file_size > _SMALL_PART_BYTES:
        raise ValueError(f"the part {part} is unusually large")
    content = archive.read(part)
    require_no_entities(content, f"the part {part}")
    return content


def _highest_string(rows: bytes, prefix: bytes) -> int:
    """The highest index of a shared string in use; -1 when none is."""
    found = re.findall(b"<" + prefix + rb'c [^>]*?t="s"[^>]*>\s*<' + prefix + rb"v>(\d+)<", rows)
    return max(map(int, found), default=-1)


def _first_strings(archive: zipfile.ZipFile, part: str, highest: int) -> bytes:
    """The shared strings up to an index, unpacking no more than it takes."""
    read = b""
    with archive.open(part) as stream:
        while True:
            block = stream.read(PIECE_BYTES // 4)
            read += block
            opening = re.search(rb"<((?:[\w.\-]+:)?)sst\b[^>]*>", read)
            if not block or not opening:
                return read
            require_no_entities(read, "the list of shared strings")
            prefix = opening.group(1)
            ends = [found.end() for found in re.finditer(b"</" + prefix + b"si>|<" + prefix + rb"si\s*/>", read)]
            if len(ends) > highest:
                end = ends[highest] if highest >= 0 else opening.end()
                return read[:end] + b"</" + prefix + b"sst>"


def _small_workbook(sheet: bytes, strings: bytes | None, styles: bytes | None, *, counts_from_1904: bool) -> bytes:
    relations = f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    relations += f'<Relationship Id="rId2" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>' if strings else ""
    relations += f'<Relationship Id="rId3" Type="{_OFFICE}/styles" Target="styles.xml"/>' if styles else ""
    content = {
        "[Content_Types].xml": f'<Types xmlns="{_TYPES}"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="{_MAIN_TYPE}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><workbookPr date1904="{int(counts_from_1904)}"/>'
        '<sheets><sheet name="rows" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{relations}</Relationships>',
        "xl/worksheets/sheet1.xml": sheet,
        "xl/sharedStrings.xml": strings,
        "xl/styles.xml": styles,
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, part in content.items():
            if part is not None:
                archive.writestr(name, part)
    return target.getvalue()


def _local(item: Element) -> str:
    return item.tag.rpartition("}")[2]
