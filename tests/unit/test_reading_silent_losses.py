"""What a file holds and a sum would not show: percent signs, several currencies, formulas without results, identifiers too long for a number."""

import zipfile
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter
import xlwt

from treadle.errors import InvalidInput
from treadle.flows.sales.reading.read import read_clean_table
from treadle.flows.sales.table import CleanTable, Finding

LONG = "123456789012345670"
SHEET = "xl/worksheets/sheet1.xml"


@pytest.fixture
def read(tmp_path):
    def reading(source: Path | str, **wishes) -> CleanTable:
        path = source if isinstance(source, Path) else tmp_path / "orders.csv"
        if not isinstance(source, Path):
            path.write_text(source, encoding="utf-8")
        return read_clean_table(path, scratch=tmp_path, **wishes)

    return reading


@pytest.fixture
def workbook(tmp_path):
    """Write rows to a workbook, then replace texts in the XML of its sheet, as another program would have written it."""

    def writing(rows, *replacements: tuple[str, str]) -> Path:
        plain, path = tmp_path / "plain.xlsx", tmp_path / "orders.xlsx"
        with xlsxwriter.Workbook(plain) as book:
            sheet = book.add_worksheet("Orders")
            for at, row in enumerate(rows):
                sheet.write_row(at, 0, row)
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                content = source.read(name).decode()
                for old, new in replacements if name == SHEET else ():
                    assert old in content
                    content = content.replace(old, new)
                target.writestr(name, content)
        return path

    return writing


def column(table: CleanTable, name: str) -> list:
    return table.frame.select(name).collect().to_series().to_list()


def finding(table: CleanTable, check: str) -> Finding | None:
    return next((found for found in table.findings if found.check == check), None)


def uncached(cell: str, formula: str) -> str:
    return f'<c r="{cell}"><f>{formula}</f><v></v></c>'


def test_only_what_carries_a_percent_sign_is_divided_and_the_row_is_named(read):
    table = read('order_id,revenue\n1,"1,100.25"\n2,"2,200.50"\n3,5%\n', inspecting=True)
    assert column(table, "revenue") == [Decimal("1100.25"), Decimal("2200.5"), Decimal("0.05")]
    found = finding(table, "percentages_mixed")
    assert found is not None
    assert (found.passed, found.severity) == (False, "warning")
    assert "revenue: 1 value carries a percent sign, first in row 4: '5%'" in found.detail
    assert found.failing is not None
    assert [(cell.row, cell.column, cell.value) for cell in found.failing.cells] == [(4, "revenue", "5%")]


@pytest.mark.parametrize(
    ("most", "late", "last"),
    [("1,100.25", "5%", Decimal("0.05")), ("5%", "7.5", Decimal("7.5")), ("$1,100.25", "5%", Decimal("0.05"))],
)
def test_a_percent_sign_far_below_or_its_absence_is_seen(read, most, late, last):
    table = read("order_id,revenue\n" + f'x,"{most}"\n' * 3000 + f"y,{late}\n")
    assert column(table, "revenue")[-1] == last
    assert finding(table, "percentages_mixed") is not None


def test_a_column_of_percentages_with_a_bare_zero_is_one_of_percentages(read):
    table = read("order_id,revenue,rate\n1,1,5%\n2,2,0\n3,3,12.5%\n")
    assert column(table, "rate") == [0.05, 0.0, 0.125]
    assert finding(table, "percentages_mixed") is None


def test_amounts_in_several_currencies_are_told_with_their_rows(read):
    table = read("order_id,revenue\n1,$5\n2,€5\n3,£5\n4,5 JPY\n5,$7\n", inspecting=True)
    assert column(table, "revenue") == [5, 5, 5, 5, 7]
    found = finding(table, "currencies_mixed")
    assert found is not None
    assert found.severity == "warning"
    assert "4 currencies" in found.detail
    assert "EUR (1, first in row 3)" in found.detail
    assert found.failing is not None
    assert [cell.row for cell in found.failing.cells] == [3, 4, 5]


def test_another_currency_far_below_is_seen(read):
    table = read("order_id,revenue\n" + 'x,"$1,100.25"\n' * 3000 + "y,5 EUR\n")
    assert column(table, "revenue")[-1] == 5
    found = finding(table, "currencies_mixed")
    assert found is not None
    assert "EUR (1, first in row 3,002)" in found.detail


@pytest.mark.parametrize("amounts", [["$5", "5 USD", "US$ 5"], ["€5", "5 EUR", "eur 5"], ["$5 CAD", "5 CAD"], ["$5", "6"], ["Rs. 5", "₹5"]])
def test_one_currency_spelled_in_several_ways_is_one(read, amounts):
    table = read("order_id,revenue\n" + "".join(f"{at},{text}\n" for at, text in enumerate(amounts)))
    assert None not in column(table, "revenue")
    assert finding(table, "currencies_mixed") is None


def test_formulas_without_a_stored_result_are_counted_by_column(read, workbook):
    rows = [("order_id", "revenue", "region"), ("a", 1111, "x"), ("b", 2222, 3333), ("c", 4444, 5555)]
    cells = [("B3", 2222, "A3*2"), ("C3", 3333, "1+1"), ("C4", 5555, "2+2")]
    table = read(
        workbook(rows, *((f'<c r="{cell}"><v>{value}</v></c>', uncached(cell, formula)) for cell, value, formula in cells)), inspecting=True
    )
    assert column(table, "revenue") == [1111, None, 4444]
    found = finding(table, "formulas_uncached")
    assert found is not None
    assert (found.passed, found.severity) == (False, "warning")
    assert found.detail.startswith("3 formulas without a stored result, read as empty: revenue (1), region (2), first B3.")
    assert "save it again" in found.detail
    assert found.failing is not None
    assert [(cell.row, cell.column) for cell in found.failing.cells] == [(3, "revenue"), (3, "region"), (4, "region")]


def test_a_workbook_whose_revenue_was_never_computed_is_refused_with_the_remedy(read, workbook):
    rows = [("order_id", "revenue"), ("a", 1111), ("b", 2222)]
    path = workbook(rows, ('<c r="B2"><v>1111</v></c>', uncached("B2", "1+1")), ('<c r="B3"><v>2222</v></c>', uncached("B3", "1+1")))
    with pytest.raises(InvalidInput, match="empty in every row") as caught:
        read(path)
    assert "save it again" in str(caught.value.hint)


@pytest.mark.parametrize("values", ["", "n/a", " "])
def test_a_file_without_any_revenue_is_refused(read, values):
    with pytest.raises(InvalidInput, match="revenue") as caught:
        read(f"order_id,revenue,note\n1,{values},x\n2,{values},y\n")
    assert "--map" in str(caught.value.hint)


def test_a_parquet_file_without_any_revenue_is_refused(read, tmp_path):
    pl.DataFrame({"order_id": ["a"], "revenue": pl.Series([None], dtype=pl.Float64)}).write_parquet(tmp_path / "orders.parquet")
    with pytest.raises(InvalidInput, match="empty in every row"):
        read(tmp_path / "orders.parquet")


@pytest.mark.parametrize("first", [7, "A-7"], ids=["all numbers", "mixed with text"])
def test_long_order_ids_are_taken_as_the_sheet_spells_them(read, workbook, first):
    ids = [f"{LONG[:-1]}{digit}" for digit in range(5)]
    rows = [("order_id", "revenue"), (first, 1), *((1000 + at, 10) for at in range(5))]
    table = read(workbook(rows, *((f"<v>{1000 + at}</v>", f"<v>{spelled}</v>") for at, spelled in enumerate(ids))))
    assert column(table, "order_id") == [str(first), *ids]
    assert finding(table, "identifiers_shortened") is None


@pytest.mark.parametrize("first", [7, "A-7"], ids=["all numbers", "mixed with text"])
def test_order_ids_of_which_the_sheet_keeps_only_the_first_digits_are_told_and_have_no_exponent(read, workbook, first):
    rows = [("order_id", "revenue"), (first, 1), (1000, 10), (1001, 10)]
    shortened = "1.23456789012345E+17"
    table = read(workbook(rows, ("<v>1000</v>", f"<v>{shortened}</v>"), ("<v>1001</v>", f"<v>{shortened}</v>")), inspecting=True)
    assert column(table, "order_id") == [str(first), "123456789012345000", "123456789012345000"]
    found = finding(table, "identifiers_shortened")
    assert found is not None
    assert (found.passed, found.severity) == (False, "warning")
    assert "order_id: 2 values" in found.detail
    assert "row 3" in found.detail
    assert found.failing is not None
    assert [cell.row for cell in found.failing.cells] == [3, 4]


def test_long_identifiers_under_a_title_stay_in_their_rows(read, workbook):
    rows = [("Report",), (), ("order_id", "revenue", "customer_id"), ("a", 1, 5), (), ("b", 2, 1000), ("c", 3, None)]
    table = read(workbook(rows, ("<v>1000</v>", "<v>98765432109876543</v>")))
    assert column(table, "customer_id") == [5, None, 98765432109876543, None]


def test_long_identifiers_stored_as_floats_are_told_in_every_format(read, tmp_path):
    pl.DataFrame({"order_id": [1.0, 2.0**60, 2.0**60], "revenue": [1.0, 2.0, 3.0]}).write_parquet(tmp_path / "orders.parquet")
    table = read(tmp_path / "orders.parquet")
    assert column(table, "order_id") == ["1", "1152921504606847000", "1152921504606847000"]
    assert finding(table, "identifiers_shortened") is not None


@pytest.mark.parametrize("length", [100_000, 140_000, 600_000])
def test_a_first_row_that_is_very_long_is_read(read, length):
    table = read(f"order_id,revenue,note\n1,2,{'y' * length}\n2,3,z\n")
    assert column(table, "revenue") == [2, 3]
    assert len(column(table, "note")[0]) == length


def test_a_file_that_begins_with_an_endless_text_is_not_called_empty(read):
    with pytest.raises(InvalidInput, match="No header was found") as caught:
        read(f"{'y' * 600_000},revenue\n1,2\n")
    assert caught.value.hint


@pytest.mark.parametrize("first", [7, "A-7"], ids=["all numbers", "mixed with text"])
def test_long_order_ids_of_an_older_workbook_are_told_and_texts_of_digits_are_not(read, tmp_path, first):
    def save(ids) -> Path:
        book = xlwt.Workbook()
        sheet = book.add_sheet("Orders")
        for at, (order_id, revenue) in enumerate([("order_id", "revenue"), (first, 1), *((order_id, 10) for order_id in ids)]):
            sheet.write(at, 0, order_id)
            sheet.write(at, 1, revenue)
        book.save(str(tmp_path / "orders.xls"))
        return tmp_path / "orders.xls"

    table = read(save([float(f"{LONG[:-1]}{digit}") for digit in range(5)]))
    assert not any("e" in text for text in column(table, "order_id"))
    found = finding(table, "identifiers_shortened")
    assert found is not None
    assert "order_id: 5 values" in found.detail
    assert finding(read(save([f"{LONG[:-1]}{digit}" for digit in range(5)])), "identifiers_shortened") is None


def test_what_is_no_number_at_all_is_not_told_as_a_long_one(read, tmp_path):
    frame = pl.DataFrame({"order_id": ["a", "b"], "revenue": [1.0, 2.0], "customer_id": [float("nan"), float("inf")]})
    frame.write_parquet(tmp_path / "orders.parquet")
    assert finding(read(tmp_path / "orders.parquet"), "identifiers_shortened") is None
