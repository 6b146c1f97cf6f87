"""Write a table as a small .xlsx workbook, the same bytes for the same rows: what the samples need, so that running needs no spreadsheet package.

Layout of the parts: ECMA-376 part 1 (SpreadsheetML) and part 2 (packaging).
"""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

Cell = str | int | float | date | None

_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_KIND: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_DAY_ZERO: Final = date(1899, 12, 30)  # serial dates count from here; right for every day after 1900-02-28
_DATE_STYLE: Final = 1  # the second cell format of styles.xml
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: a fixed one keeps the bytes the same

_PARTS: Final = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_KIND}.worksheet+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_KIND}.styles+xml"/>'
        f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_KIND}.sharedStrings+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="rId2" Type="{_RELATIONS}/styles" Target="styles.xml"/>'
        f'<Relationship Id="rId3" Type="{_RELATIONS}/sharedStrings" Target="sharedStrings.xml"/></Relationships>'
    ),
    "xl/styles.xml": (
        f'<styleSheet xmlns="{_MAIN}"><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
        '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
        '<cellXfs count="2"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
        '<xf numFmtId="14" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    ),
}


def write_workbook(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]], *, sheet: str = "Sheet1") -> None:
    """Write one sheet: the header, then the rows. None is an empty cell; dates are real dates. Replaces a file that is there."""
    strings: dict[str, int] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as workbook:
        for name, content in _PARTS.items():
            _write_part(workbook, name, [_HEAD, content])
        _write_part(workbook, "xl/workbook.xml", [_HEAD, _workbook(sheet)])
        _write_part(workbook, "xl/worksheets/sheet1.xml", _sheet(header, rows, strings))
        _write_part(workbook, "xl/sharedStrings.xml", _shared_strings(strings))


def _write_part(workbook: zipfile.ZipFile, name: str, content: Iterable[str]) -> None:
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with workbook.open(entry, "w", force_zip64=True) as part:
        for text in content:
            part.write(text.encode())


def _workbook(sheet: str) -> str:
    name = escape(sheet, {'"': "&quot;"})
    return f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets><sheet name="{name}" sheetId="1" r:id="rId1"/></sheets></workbook>'


def _sheet(header: Sequence[str], rows: Iterable[Sequence[Cell]], strings: dict[str, int]) -> Iterator[str]:
    letters = [_letters(position) for position in range(len(header))]
    yield f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'
    for number, row in enumerate(chain([header], rows), start=1):
        cells = [_cell(f"{letter}{number}", value, strings) for letter, value in zip(letters, row, strict=True) if value is not None]
        yield f'<row r="{number}">{"".join(cells)}</row>'
    yield "</sheetData></worksheet>"


def _cell(reference: str, value: Cell, strings: dict[str, int]) -> str:
    if isinstance(value, str):
        return f'<c r="{reference}" t="s"><v>{strings.setdefault(value, len(strings))}</v></c>'
    if isinstance(value, date):
        return f'<c r="{reference}" s="{_DATE_STYLE}"><v>{(value - _DAY_ZERO).days}</v></c>'
    return f'<c r="{reference}"><v>{value!r}</v></c>'


def _shared_strings(strings: dict[str, int]) -> Iterator[str]:
    yield f'{_HEAD}<sst xmlns="{_MAIN}" uniqueCount="{len(strings)}">'
    for text in strings:
        yield f'<si><t xml:space="preserve">{escape(text)}</t></si>'
    yield "</sst>"


def _letters(position: int) -> str:
    """The column's letters; the first column, A, has position 0."""
    letters = ""
    position += 1
    while position:
        position, remainder = divmod(position - 1, 26)
        letters = chr(ord("A") + remainder) + letters
    return letters
