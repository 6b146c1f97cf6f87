# ruff: noqa: DTZ001 - the timestamps of workbooks and of the cleaned table have no zone
"""Reading and cleaning of every format: what a file holds is what the table holds, and bad input says what is wrong with it."""

import struct
import zipfile
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter
import xlwt
from odf.opendocument import OpenDocumentSpreadsheet
from odf.table import Table, TableCell, TableRow
from odf.text import P

from treadle.errors import InvalidInput
from treadle.flows.sales.reading.read import read_clean_table
from treadle.flows.sales.table import CleanTable, ColumnKind

SUPERSTORE = Path(__file__).parents[2] / "samples" / "superstore.xlsx"


@pytest.fixture
def read(tmp_path):
    """Read a file, or a text that becomes one."""

    def reading(source: Path | str | bytes, name: str = "orders.csv", **wishes) -> CleanTable:
        path = source if isinstance(source, Path) else tmp_path / name
        if not isinstance(source, Path):
            path.write_bytes(source.encode() if isinstance(source, str) else source)
        return read_clean_table(path, scratch=tmp_path, **wishes)

    return reading


@pytest.fixture
def workbook(tmp_path):
    """Write rows to the sheet `Orders` of a workbook; dates and times get formats. Other sheets come before it, as name → (state, rows)."""

    def writing(rows, *, others=(), merged=(), errors=(), **options) -> Path:
        path = tmp_path / "orders.xlsx"
        with xlsxwriter.Workbook(path, options) as book:
            formats = {
                kind: book.add_format({"num_format": text})
                for kind, text in ((datetime, "yyyy-mm-dd hh:mm"), (date, "dd.mm.yyyy"), (time, "hh:mm:ss"))
            }
            for name, state, other_rows in others:
                sheet = book.add_worksheet(name)
                fill(sheet, other_rows, formats)
                {"visible": lambda: None, "hidden": sheet.hide, "very hidden": sheet.very_hidden}[state]()
            sheet = book.add_worksheet("Orders")
            sheet.activate()
            fill(sheet, rows, formats)
            for cells in merged:
                sheet.merge_range(cells, "merged")
            for cell in errors:
                sheet.write_formula(cell, "=1/0", None, "#DIV/0!")
        return path

    def fill(sheet, rows, formats) -> None:
        for at, row in enumerate(rows):
            for column, value in enumerate(row):
                if type(value) in formats:
                    sheet.write_datetime(at, column, value, formats[type(value)])
                elif value is not None:
                    sheet.write(at, column, value)

    return writing


def column(table: CleanTable, name: str) -> list:
    return table.frame.select(name).collect().to_series().to_list()


def kinds(table: CleanTable) -> dict[str, str]:
    return {each.name: each.kind.value for each in table.columns}


def checks(table: CleanTable) -> dict[str, str]:
    return {finding.check: finding.detail for finding in table.findings}


def test_the_real_orders_are_read_to_the_last_decimal(read):
    table = read(SUPERSTORE, mapping={"Sales": "revenue"})
    assert table.row_count == 9994
    assert sum(column(table, "revenue")) == Decimal("2297200.8603")
    assert len(set(column(table, "order_id"))) == 5009
    assert table.frame.select(pl.col("revenue").filter(pl.col("region") == "South").sum()).collect().item() == Decimal("391721.9050")
    assert (kinds(table)["order_date"], kinds(table)["quantity"], kinds(table)["revenue"]) == ("date", "integer", "money")
    assert column(table, "order_date")[0] == date(2016, 11, 8)
    assert dict(table.mapping) == {"Sales": "revenue"}


def test_the_types_of_cells_are_recognised(read, workbook):
    rows = [
        ("Order ID", "Revenue", "Units", "Price", "Zip", "Day", "Moment", "Clock", "Gift", "Mixed", "Share"),
        (123.0, 1.0, 2.0, 2.0, "00123", date(2020, 1, 31), datetime(2020, 1, 31, 3, 4), time(3, 4), True, 12, 0.5),
        ("A-7", 261.96, 3.0, 2.5, "99", date(2020, 2, 1), datetime(2020, 2, 1), time(23, 59, 59), False, "x", 0.25),
        (None,) * 11,
        (124.5, -0.1, 4.0, 0.1, "7", None, None, None, None, 2.5, None),
    ]
    table = read(workbook(rows))
    assert list(kinds(table).values()) == [
        "text",
        "money",
        "integer",
        "float",
        "text",
        "date",
        "timestamp",
        "text",
        "boolean",
        "text",
        "float",
    ]
    assert column(table, "order_id") == ["123", "A-7", None, "124.5"]
    assert column(table, "revenue") == [Decimal(1), Decimal("261.96"), None, Decimal("-0.1")]
    assert column(table, "units") == [2, 3, None, 4]
    assert column(table, "zip") == ["00123", "99", None, "7"]
    assert column(table, "day")[:2] == [date(2020, 1, 31), date(2020, 2, 1)]
    assert column(table, "moment")[0] == datetime(2020, 1, 31, 3, 4)
    assert column(table, "clock")[:2] == ["03:04:00", "23:59:59"]
    assert column(table, "mixed") == ["12", "x", None, "2.5"]


def test_texts_that_are_numbers_and_dates_are_read_as_such_and_the_rest_is_counted(read, workbook):
    rows = [
        ("order_id", "revenue", "order_date", "Total cost", "note"),
        ("1", "$1,234.50", "08.11.2016", "1.234,56 €", " kept "),
        ("2", "(5.00)", date(2020, 1, 2), "12,00", "=SUM(A1)"),
        ("3", "abc", "unknown", "n/a", ""),
        ("4", 10.25, "01.02.2021", "3", "007"),
    ]
    table = read(workbook(rows, strings_to_formulas=False))
    assert column(table, "revenue") == [Decimal("1234.5"), Decimal(-5), None, Decimal("10.25")]
    assert column(table, "order_date") == [date(2016, 11, 8), date(2020, 1, 2), None, date(2021, 2, 1)]
    assert column(table, "total_cost") == [Decimal("1234.56"), Decimal(12), None, Decimal(3)]
    assert column(table, "note") == ["kept", "=SUM(A1)", None, "007"]
    assert {each.name: each.unparseable for each in table.columns if each.unparseable} == {"revenue": 1, "order_date": 1, "total_cost": 1}
    assert "'abc'" in next(finding.detail for finding in table.findings if finding.check == "values_readable")


def test_a_workbook_that_counts_days_from_1904_gives_the_same_dates(read, workbook):
    table = read(workbook([("order_id", "revenue", "day"), ("1", 1, date(2020, 1, 31))], date_1904=True))
    assert column(table, "day") == [date(2020, 1, 31)]


def test_day_numbers_without_a_date_format_are_dates_in_a_column_called_so(read, workbook):
    table = read(workbook([("order_id", "revenue", "order_date", "Ship Date", "units"), ("1", 1, 43861, 20200131, 43861)]))
    assert (column(table, "order_date"), column(table, "ship_date"), column(table, "units")) == (
        [date(2020, 1, 31)],
        [date(2020, 1, 31)],
        [43861],
    )


def test_what_is_odd_about_a_sheet_is_reported(read, workbook):
    rows = [("order_id", "revenue", "x", "merged"), ("1", 2, 3), ("2", 3, 4), (None, None, 5)]
    others = [("Secret", "hidden", [("order_id", "revenue"), ("9", 9)]), ("Cover", "visible", []), ("Deep", "very hidden", [("a",)])]
    table = read(workbook(rows, others=others, merged=["D2:E3"], errors=["C2", "C3"]))
    found = checks(table)
    assert table.sheet == "Orders"
    assert "Secret, Deep" in found["hidden_sheets"]
    assert "2 cells with a formula error" in found["formula_errors"]
    assert "C2, C3" in found["formula_errors"]
    assert "D2:E3" in found["merged_cells"]
    assert column(table, "x") == [None, None, 5]


def test_rows_above_the_header_are_left_out_and_reported(read, workbook):
    table = read(workbook([("Sales report",), (), ("order_id", "revenue", "region"), ("1", 2, "West")]))
    assert (table.row_count, list(kinds(table))) == (1, ["order_id", "revenue", "region"])
    assert "'Sales report'" in checks(table)["header_row"]


def test_empty_rows_inside_stay_and_those_at_the_end_go(read, workbook):
    table = read(workbook([("order_id", "revenue", "", "note"), ("1", 2), (), ("2", 3), ("  ",), ("", None, None, " ")]))
    assert (table.row_count, column(table, "order_id")) == (3, ["1", None, "2"])
    assert "2 wholly empty rows" in checks(table)["empty_rows"]
    assert "without a header" in checks(table)["empty_columns"]
    assert "note" in kinds(table)


def test_a_table_that_does_not_begin_in_the_first_cell_is_found(read, workbook):
    rows = [(), (), (None, None, "order_id", "revenue"), (None, None, "1", 2)]
    table = read(workbook([*rows, *[()] * 70, ("note",)]))
    assert column(table, "order_id")[0] == "1"
    assert column(table, "revenue")[0] == Decimal(2)


@pytest.mark.parametrize("named", ["Cover", " cover "])
def test_a_sheet_is_read_by_name_even_if_hidden(read, workbook, named):
    table = read(workbook([("x",)], others=[("Cover", "hidden", [("order_id", "revenue"), ("9", 9)])]), sheet=named)
    assert (table.sheet, column(table, "revenue")) == ("Cover", [Decimal(9)])


def test_a_sheet_that_is_not_there_is_answered_with_those_that_are(read, workbook):
    with pytest.raises(InvalidInput, match="Orders") as caught:
        read(workbook([("order_id",)]), sheet="Ordrs")
    assert "'Orders'" in caught.value.hint


@pytest.mark.parametrize(
    ("rows", "others", "told"),
    [
        ([], [], "no sheet holds any value"),
        ([("order_id", "revenue")], [], "no rows"),
        ([("order_id", "revenue"), (" ", None)], [], "no rows"),
        ([], [("Secret", "hidden", [("order_id", "revenue"), ("1", 2)])], "only the hidden sheet 'Secret'"),
        ([("Order", "Sales"), ("1", 2)], [], "Order, Sales"),
        ([("order_id", "revenue"), ("1", "West"), ("2", "East")], [], "is a number"),
        ([("order_id", "revenue"), ("1", date(2020, 1, 1))], [], "is a number"),
        ([("order_id", "revenue"), ("1", True)], [], "is a number"),
    ],
)
def test_a_workbook_without_orders_says_what_is_missing(read, workbook, rows, others, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        read(workbook(rows, others=others))
    assert caught.value.hint


def test_an_old_workbook_is_read(read, tmp_path):
    book = xlwt.Workbook()
    sheet = book.add_sheet("Orders")
    for at, row in enumerate([("order_id", "revenue", "day"), ("01", 1.5, datetime(2020, 1, 31))]):
        for place, value in enumerate(row):
            sheet.write(at, place, value, xlwt.easyxf(num_format_str="YYYY-MM-DD") if isinstance(value, datetime) else xlwt.XFStyle())
    book.add_sheet("Secret").visibility = 1
    book.save(tmp_path / "orders.xls")
    table = read(tmp_path / "orders.xls")
    assert table.frame.collect().rows() == [("01", Decimal("1.5"), date(2020, 1, 31))]
    assert "Secret" in checks(table)["hidden_sheets"]


def test_an_open_document_spreadsheet_is_read(read, tmp_path):
    document, sheet = OpenDocumentSpreadsheet(), Table(name="Orders")
    for row in [("order_id", "revenue"), ("01", 1.5), ("02", 2.25)]:
        line = TableRow()
        for value in row:
            cell = TableCell(valuetype="string") if isinstance(value, str) else TableCell(valuetype="float", value=str(value))
            cell.addElement(P(text=str(value)))
            line.addElement(cell)
        sheet.addElement(line)
    document.spreadsheet.addElement(sheet)
    document.save(tmp_path / "orders.ods")
    assert read(tmp_path / "orders.ods").frame.collect().rows() == [("01", Decimal("1.5")), ("02", Decimal("2.25"))]


def binary_record(kind: int, content: bytes = b"") -> bytes:
    """One record of [MS-XLSB] 2.1.4: type and size in seven bits a byte."""
    head = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
    return head + bytes([len(content)]) + content


def wide_text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def binary_cell(column: int, value: str | float) -> bytes:
    place = struct.pack("<II", column, 0)
    return binary_record(6, place + wide_text(value)) if isinstance(value, str) else binary_record(5, place + struct.pack("<d", value))


def test_a_binary_workbook_is_read(read, tmp_path):
    rows = [("order_id", "revenue"), ("01", 1.5), ("02", 2.25)]
    lines = b"".join(
        binary_record(0, struct.pack("<IIHBBBI", at, 0, 300, 0, 0, 0, 0))
        + b"".join(binary_cell(column, value) for column, value in enumerate(row))
        for at, row in enumerate(rows)
    )
    office, package = (
        "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
        "http://schemas.openxmlformats.org/package/2006",
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="bin" ContentType="application/vnd.ms-excel.sheet.binary.macroEnabled.main"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" Type="{office}/officeDocument" Target="xl/workbook.bin"/></Relationships>',
        "xl/_rels/workbook.bin.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" Type="{office}/worksheet" Target="worksheets/sheet1.bin"/></Relationships>',
        "xl/workbook.bin": binary_record(131)
        + binary_record(143)
        + binary_record(156, struct.pack("<II", 0, 1) + wide_text("rId1") + wide_text("Orders"))
        + binary_record(144)
        + binary_record(132),
        "xl/worksheets/sheet1.bin": binary_record(129)
        + binary_record(148, struct.pack("<IIII", 0, 2, 0, 1))
        + binary_record(145)
        + lines
        + binary_record(146)
        + binary_record(130),
    }
    with zipfile.ZipFile(tmp_path / "orders.xlsb", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    table = read(tmp_path / "orders.xlsb")
    assert (table.sheet, table.frame.collect().rows()) == ("Orders", [("01", Decimal("1.5")), ("02", Decimal("2.25"))])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_text_file_is_read_with_any_of_the_usual_delimiters(read, delimiter):
    rows = [("order_id", "revenue", "note"), ("007", "1.5", "=1+1"), ("008", "2", '"a\nb"')]
    table = read("\n".join(delimiter.join(row) for row in rows) + "\n")
    assert table.frame.collect().rows() == [("007", Decimal("1.5"), "=1+1"), ("008", Decimal(2), "a\nb")]
    assert table.parquet is not None
    assert pl.read_parquet(table.parquet).equals(table.frame.collect())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_text_file_is_read_in_its_encoding_and_another_than_utf8_is_reported(read, encoding):
    table = read("order_id;revenue;note\r\n1;1,5;Ärger €\r\n".encode(encoding))
    assert table.frame.collect().rows() == [("1", Decimal("1.5"), "Ärger €")]
    assert ("encoding" in checks(table)) is (not encoding.startswith("utf-8"))


def test_an_encoding_that_shows_only_late_is_found_all_the_same(read):
    table = read(b"order_id,revenue,note\n" + b"1,2,x\n" * 100_000 + "2,3,Ä\n".encode("cp1252"))
    assert (table.row_count, column(table, "note")[-1]) == (100_001, "Ä")


def late(last: str, row: str = "{0},{0}.5,{0},{1}/{1}/2020", count: int = 5000) -> str:
    return (
        "order_id,revenue,code,order_date\n"
        + "".join(row.format(number, number % 12 + 1) + "\n" for number in range(1, count))
        + last
        + "\n"
    )


@pytest.mark.parametrize(
    ("last", "name", "kind", "value"),
    [
        ("9,1,01234,1/1/2020", "code", ColumnKind.TEXT, "01234"),
        ("9,1,x,1/1/2020", "code", ColumnKind.TEXT, "x"),
        ("9,1,1.5,1/1/2020", "code", ColumnKind.FLOAT, 1.5),
        ("9,1, 7 ,1/1/2020", "code", ColumnKind.INTEGER, 7),
        ("9,1,99999999999999999999,1/1/2020", "code", ColumnKind.TEXT, "99999999999999999999"),
        ("9,1,7,25/12/2020", "order_date", ColumnKind.DATE, date(2020, 12, 25)),
        ("9,1,7,soon", "order_date", ColumnKind.DATE, None),
        ('9,"$1,000.1234567",7,1/1/2020', "revenue", ColumnKind.MONEY, Decimal("1000.123457")),
        ("9,n/a,7,1/1/2020", "revenue", ColumnKind.MONEY, None),
        ("9, 5 ,7,1/1/2020", "revenue", ColumnKind.MONEY, Decimal(5)),
    ],
)
def test_a_value_far_behind_the_first_rows_decides_with_the_others(read, last, name, kind, value):
    table = read(late(last))
    assert table.row_count == 5000
    assert kinds(table)[name] == kind
    assert column(table, name)[-1] == value
    assert column(table, "order_id")[0] == "1"


@pytest.mark.parametrize("at", [1, 1_500, 4_999])
def test_an_amount_that_has_to_be_rounded_is_counted_wherever_it_stands(read, at):
    lines = [f"{number},{'0.1234567' if number == at else '1.5'}" for number in range(1, 5_000)]
    table = read("order_id,revenue\n" + "\n".join(lines) + "\n")
    assert column(table, "revenue")[at - 1] == Decimal("0.123457")
    assert [finding.detail for finding in table.findings if "rounded" in finding.detail] == [
        "revenue: 1 value has more than six decimal places, rounded half to even."
    ]


def test_an_order_number_keeps_its_leading_zeros_if_only_the_last_row_has_one(read):
    table = read(late("007,1,7,1/1/2020"))
    assert column(table, "order_id")[-1] == "007"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("order_id,revenue\n1,2\n3,4,5\n", 3, "3 fields"),
        ('order_id,revenue\n1,2\n"a"b,4\n', 3, "quotation mark"),
        ('order_id,revenue\n1,"2\n3,4\n', 3, "quotation mark"),
    ],
)
def test_a_broken_line_is_named(read, text, line, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        read(text)
    assert caught.value.details["line"] == line


def test_rows_with_fewer_fields_are_read_and_reported(read):
    table = read("order_id,revenue,x\n1,2,3\n3,4\n\n5,6,\n")
    assert column(table, "x") == [3, None, None, None]
    assert "line 3" in checks(table)["short_rows"]


@pytest.mark.parametrize(
    ("text", "told"), [("", "empty"), ("\n \n", "empty"), ("order_id,revenue\n", "no rows"), ("order_id,revenue\n,\n , \n", "no rows")]
)
def test_a_text_file_without_rows_says_so(read, text, told):
    with pytest.raises(InvalidInput, match=told):
        read(text)


def test_columns_of_parquet_keep_their_types_and_nested_ones_become_json(read, tmp_path):
    pl.DataFrame(
        {
            "order_id": [7, 8],
            "Revenue": pl.Series(["1.5", "2.25"]).cast(pl.Decimal(20, 8)),
            "units": pl.Series([1, 2], dtype=pl.UInt8),
            "rate": pl.Series([0.1, 0.2], dtype=pl.Float32),
            "at": pl.Series([datetime(2020, 1, 1, 5), None]).dt.replace_time_zone("Europe/Berlin"),
            "kind": pl.Series(["a", None]).cast(pl.Categorical),
            "tags": [["x", "y"], []],
        }
    ).write_parquet(tmp_path / "orders.parquet")
    table = read(tmp_path / "orders.parquet")
    assert list(kinds(table).values()) == ["text", "money", "integer", "float", "timestamp", "text", "text"]
    assert table.frame.collect().rows()[0] == ("7", Decimal("1.5"), 1, 0.1, datetime(2020, 1, 1, 4), "a", '["x","y"]')


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("orders.xlsx", b"order_id,revenue\n1,2\n", "plain text"),
        ("orders.xlsx", b"<html><table></table></html>", "an HTML page"),
        ("orders.xls", b"<?xml version='1.0'?><Workbook/>", "an XML document"),
        ("orders.csv", b"%PDF-1.7 ...", "a PDF document"),
        ("orders.csv", b"PK\x03\x04" + b"\x00" * 40, "truncated"),
        ("orders.parquet", b"PAR1" + b"x" * 40, "truncated"),
        ("orders.parquet", b"order_id,revenue\n1,2\n", "plain text"),
        ("orders.ods", b"\x1f\x8b\x08rest", "a gzip archive"),
        ("orders.csv", b"a,b\x00\x01\x02,c", "binary data"),
        ("orders.xlsx", b"", "empty"),
        ("orders.docx", b"x", "no extension that can be read"),
    ],
)
def test_a_file_that_is_not_what_its_extension_says_is_named_for_what_it_is(read, name, content, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        read(content, name)
    assert caught.value.hint


def test_a_workbook_under_the_wrong_extension_is_recognised(read, workbook, tmp_path):
    renamed = workbook([("order_id", "revenue"), ("1", 2)]).rename(tmp_path / "orders.xls")
    with pytest.raises(InvalidInput, match=r"Excel workbook \(\.xlsx\)"):
        read(renamed)


def test_a_text_file_has_no_sheets_to_choose(read):
    with pytest.raises(InvalidInput, match="no sheets"):
        read("order_id,revenue\n1,2\n", sheet="Orders")


def test_rows_that_are_wider_than_the_header_are_reported(read):
    """Commas inside unquoted numbers cut a value in two; nobody may miss that."""
    table = read("order_id,revenue\n1,2,50\n4,5,75\n")
    assert "header names only 2" in checks(table)["unnamed_fields"]
    assert "unnamed_fields" not in checks(read("order_id,revenue\n1,2\n"))


@pytest.mark.parametrize("name", ["orders [2026].csv", "a*b?.csv", "{x} [!a].tsv", "[y].parquet"])
def test_a_name_with_signs_that_patterns_are_made_of_is_a_name(read, tmp_path, name):
    (tmp_path / "orders 2.csv").write_text("order_id,revenue\nanother,1\n")
    if name.endswith(".parquet"):
        pl.DataFrame({"order_id": ["x"], "revenue": [2.5]}).write_parquet(tmp_path / name)
        table = read(tmp_path / name)
    else:
        table = read("order_id,revenue\nx,2.5\n".replace(",", "\t" if name.endswith(".tsv") else ","), name=name)
    assert column(table, "order_id") == ["x"]
    assert column(table, "revenue") == [Decimal("2.5")]
