"""Workbooks made to harm the reader: each is refused with a clear error, or read rightly, and the process that asked survives.

All files are read as a run reads them: in a child process.
"""

import io
import struct
import time
import zipfile
from pathlib import Path

import msoffcrypto.format.ooxml
import pytest
import xlsxwriter

from treadle.errors import InvalidInput
from treadle.flows.sales.inspect_file import inspect_file
from treadle.flows.sales.isolation import Limits, run_isolated
from treadle.flows.sales.reading.container import is_refused_whole

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
HEADER = '<row r="1"><c r="A1" t="inlineStr"><is><t>order_id</t></is></c><c r="B1" t="inlineStr"><is><t>revenue</t></is></c></row>'
ORDER = '<row r="2"><c r="A2" t="inlineStr"><is><t>O-1</t></is></c><c r="B2"><v>10.5</v></c></row>'


def sheet_xml(rows: str, *, before: str = "", doctype: str = "") -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>{doctype}<worksheet xmlns="{MAIN}">{before}<sheetData>{rows}</sheetData></worksheet>'


def write_xlsx(path: Path, sheet: str | bytes, **parts: str) -> Path:
    """A workbook of one sheet, from its XML; `parts` replace or add parts, named as in the archive with `__` for `/`."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer) as workbook:
        workbook.add_worksheet("Orders").write(0, 0, "so that there is a list of shared strings")
    replaced = {"xl/worksheets/sheet1.xml": sheet} | {name.replace("__", "/"): text for name, text in parts.items()}
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, replaced.pop(name, source.read(name)))
        for name, text in replaced.items():
            target.writestr(name, text)
    return path


def refusal(path: Path) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        inspect_file(path, mapping={}, sheet=None)
    assert caught.value.hint, "an error says what to do next"
    return caught.value


@pytest.mark.parametrize(
    "far",
    [
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        '<row r="3"><c r="XFD1048576"><v>1</v></c></row>',
        '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>x</t></is></c></row>',
        '<row r="3"><c t="n" r="XFD1048576"><v>1</v></c></row>',
    ],
    ids=["in its row", "in a row that says otherwise", "as text", "with its attributes in another order"],
)
def test_a_far_cell_is_refused_by_name_before_the_reader_allocates_what_lies_between(tmp_path, far):
    path = write_xlsx(tmp_path / "far.xlsx", sheet_xml(HEADER + ORDER + far))
    started = time.monotonic()
    error = refusal(path)
    assert "XFD1048576" in error.message
    assert error.details["far_cell"] == "XFD1048576"
    assert time.monotonic() - started < 20


def test_a_stray_cell_at_the_bottom_of_the_first_column_is_refused_with_its_row(tmp_path):
    path = write_xlsx(tmp_path / "far.xlsx", sheet_xml(HEADER + ORDER + '<row r="1048576"><c r="A1048576"><v>1</v></c></row>'))
    assert "B1048576" in refusal(path).message


def test_a_stray_cell_in_the_last_column_of_many_rows_is_refused(tmp_path):
    rows = "".join(f'<row r="{row}"><c r="A{row}"><v>{row}</v></c><c r="B{row}"><v>1</v></c></row>' for row in range(2, 3000))
    path = write_xlsx(tmp_path / "far.xlsx", sheet_xml(HEADER + rows + '<row r="3000"><c r="XFD3000"><v>1</v></c></row>'))
    assert "XFD3000" in refusal(path).message


def test_a_far_cell_hidden_from_the_scan_meets_the_memory_limit_and_the_caller_survives(tmp_path):
    """Late in the sheet, and with its reference not the first attribute as every writer has it: the reader asks for 512 GB and aborts."""
    rows = "".join(f'<row r="{row}"><c r="A{row}"><v>{row}</v></c><c r="B{row}"><v>1</v></c></row>' for row in range(2, 40_000))
    far = '<row r="40000"><c t="n" r="XFD1048576"><v>1</v></c></row>'
    error = refusal(write_xlsx(tmp_path / "far.xlsx", sheet_xml(HEADER + rows + far)))
    assert "memory" in error.message
    assert inspect_file(write_xlsx(tmp_path / "good.xlsx", sheet_xml(HEADER + ORDER)), mapping={}, sheet=None).profile["row_count"] == 1


@pytest.mark.parametrize("declared", ["A1:B2", "A1", "A1:XFD1048576", "C7:D9"])
def test_a_lying_dimension_loses_no_row(tmp_path, declared):
    rows = "".join(f'<row r="{row}"><c r="A{row}"><v>{row}</v></c><c r="B{row}"><v>2.5</v></c></row>' for row in range(2, 102))
    path = write_xlsx(tmp_path / "lying.xlsx", sheet_xml(HEADER + rows, before=f'<dimension ref="{declared}"/>'))
    assert inspect_file(path, mapping={}, sheet=None).profile["row_count"] == 100


def test_a_zip_bomb_is_refused_by_its_directory_without_unpacking(tmp_path):
    rows = HEADER + ORDER + '<row r="3"><c r="A3" t="inlineStr"><is><t>' + "A" * 97_000_000 + "</t></is></c></row>"
    path = write_xlsx(tmp_path / "bomb.xlsx", sheet_xml(rows))
    assert path.stat().st_size < 400_000
    error = refusal(path)
    assert "zip bomb" in error.message
    assert "not unpacked" in error.message
    assert (error.hint or "").startswith("Do not open it.")
    assert is_refused_whole(error.details)


def test_a_zip_bomb_whose_directory_lies_about_its_size_does_not_fill_the_memory(tmp_path):
    rows = HEADER + ORDER + '<row r="3"><c r="A3" t="inlineStr"><is><t>' + "A" * 50_000_000 + "</t></is></c></row>"
    path = write_xlsx(tmp_path / "bomb.xlsx", sheet_xml(rows))
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = content.find(signature)
        while at >= 0:
            name_at, length_at = (at + 46, at + 28) if signature == b"PK\x01\x02" else (at + 30, at + 26)
            (length,) = struct.unpack_from("<H", content, length_at)
            if content[name_at : name_at + length] == b"xl/worksheets/sheet1.xml":
                struct.pack_into("<I", content, at + offset, 5000)
            at = content.find(signature, at + 4)
    path.write_bytes(content)
    assert "damaged" in refusal(path).message


def test_an_archive_of_very_many_parts_is_refused(tmp_path):
    path = write_xlsx(tmp_path / "parts.xlsx", sheet_xml(HEADER + ORDER))
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(10_001):
            archive.writestr(f"junk/{number}", b"")
    assert "parts" in refusal(path).message


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'


@pytest.mark.parametrize("part", ["sheet", "sharedStrings", "workbook"])
@pytest.mark.parametrize("attack", ["laughs", "outside"])
def test_xml_entities_are_harmless_wherever_they_stand(tmp_path, part, attack):
    canary = tmp_path / "canary.txt"
    canary.write_text("canary-9f2c")
    doctype = LAUGHS if attack == "laughs" else f'<!DOCTYPE x [<!ENTITY c SYSTEM "{canary.as_uri()}">]>'
    cell = '<row r="2"><c r="A2" t="inlineStr"><is><t>&c;</t></is></c><c r="B2"><v>10.5</v></c></row>'
    if part == "sheet":
        path = write_xlsx(tmp_path / "xml.xlsx", sheet_xml(HEADER + cell, doctype=doctype))
    elif part == "workbook":
        path = write_xlsx(tmp_path / "xml.xlsx", sheet_xml(HEADER + ORDER))
        with zipfile.ZipFile(path) as archive:
            workbook = archive.read("xl/workbook.xml").decode()
        body = workbook[workbook.index("<workbook") :].replace("Orders", "&c;")
        path = write_xlsx(path, sheet_xml(HEADER + ORDER), xl__workbook__xml="", **{"xl/workbook.xml": doctype + body})
    else:
        shared = f'{doctype}<sst xmlns="{MAIN}"><si><t>order_id</t></si><si><t>revenue</t></si><si><t>&c;</t></si></sst>'
        rows = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row><row r="2"><c r="A2" t="s"><v>2</v></c><c r="B2"><v>1</v></c></row>'
        path = write_xlsx(tmp_path / "xml.xlsx", sheet_xml(rows), **{"xl/sharedStrings.xml": shared})
    error = refusal(path)
    assert "entities" in error.message
    assert "canary-9f2c" not in f"{error.message} {error.hint} {error.details}"


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
def test_a_truncated_workbook_says_so(tmp_path, share):
    rows = "".join(f'<row r="{row}"><c r="A{row}"><v>{row}</v></c><c r="B{row}"><v>2.5</v></c></row>' for row in range(2, 500))
    whole = write_xlsx(tmp_path / "whole.xlsx", sheet_xml(HEADER + rows)).read_bytes()
    path = tmp_path / "cut.xlsx"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "truncated" in refusal(path).message


def test_a_workbook_whose_sheet_is_cut_inside_says_that_it_is_damaged(tmp_path):
    path = write_xlsx(tmp_path / "cut.xlsx", sheet_xml(HEADER + ORDER)[:-40])
    assert refusal(path).details["file"] == "cut.xlsx"


def test_a_password_protected_workbook_says_so(tmp_path):
    plain = write_xlsx(tmp_path / "plain.xlsx", sheet_xml(HEADER + ORDER))
    path = tmp_path / "locked.xlsx"
    with plain.open("rb") as source, path.open("wb") as target:
        msoffcrypto.format.ooxml.OOXMLFile(source).encrypt("secret", target)
    error = refusal(path)
    assert "password" in error.message
    assert "remove the password" in error.hint


def test_a_compound_file_without_a_workbook_is_not_mistaken_for_one(tmp_path):
    path = tmp_path / "cut.xls"
    path.write_bytes(bytes.fromhex("D0CF11E0A1B11AE1") + b"\x00" * 5000)
    assert "compound file without a workbook" in refusal(path).message


def test_rows_in_the_wrong_order_are_all_read(tmp_path):
    rows = '<row r="5"><c r="A5" t="inlineStr"><is><t>O-4</t></is></c><c r="B5"><v>1</v></c></row>' + ORDER
    profile = inspect_file(write_xlsx(tmp_path / "odd.xlsx", sheet_xml(HEADER + rows)), mapping={}, sheet=None).profile
    assert [row["order_id"] for row in profile["sample_rows"]] == ["O-1", None, None, "O-4"]


def test_a_far_cell_at_the_end_of_a_large_sheet_is_refused_while_the_reader_is_still_at_work(tmp_path):
    rows = "".join(f'<row r="{row}"><c r="A{row}"><v>{row}</v></c><c r="B{row}"><v>1.25</v></c></row>' for row in range(2, 150_000))
    assert len(rows) > 9_000_000
    path = write_xlsx(tmp_path / "far.xlsx", sheet_xml(HEADER + rows + '<row r="150000"><c r="XFD150000"><v>1</v></c></row>'))
    assert refusal(path).details["far_cell"] == "XFD150000"


def test_reading_that_takes_too_long_is_stopped(tmp_path):
    with pytest.raises(InvalidInput, match="took longer") as caught:
        run_isolated("signal:pause", {}, limits=Limits(seconds=1.0))
    assert caught.value.details["limit_seconds"] == 1.0
