"""The quick look over a sheet's XML, which decides what the reader may see."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import InvalidInput
from treadle.flows.sales.reading.sheet_scan import PIECE_BYTES, column_letters, column_number, long_integers, scan_sheet

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def scan(rows: str, *, after: str = "", prefix: str = ""):
    name_space = MAIN if not prefix else MAIN.replace("xmlns", f"xmlns:{prefix[:-1]}")
    text = f"<{prefix}worksheet {name_space}><{prefix}sheetData>{rows}</{prefix}sheetData>{after}</{prefix}worksheet>"
    return scan_sheet(io.BytesIO(text.encode()), name="The sheet 'S'")


def cells(places: list[tuple[int, int]], prefix: str = "", kind: str = "") -> str:
    return "".join(
        f'<{prefix}row r="{row}"><{prefix}c r="{column_letters(column)}{row}"{kind}><{prefix}v>1</{prefix}v></{prefix}c></{prefix}row>'
        for row, column in places
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 16384))
def test_column_letters_and_numbers_agree(number):
    assert column_number(column_letters(number)) == number


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 800)), min_size=1, max_size=40), st.sampled_from(["", "x:"]))
def test_the_widest_column_and_the_last_row_are_found_in_any_order(places, prefix):
    facts = scan(cells(places, prefix), prefix=prefix)
    assert (column_number(facts.widest), facts.last_row, facts.cells) == (max(c for _, c in places), max(r for r, _ in places), len(places))


@settings(deadline=None, max_examples=20)  # a megabyte each time
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_columns_that_widen_far_into_the_sheet_are_found(widths):
    filler = cells([(row, 1) for row in range(1, 25_000)])
    assert len(filler) > PIECE_BYTES
    facts = scan(filler + cells([(25_000 + at, width) for at, width in enumerate(widths)]))
    assert column_number(facts.widest) == max(widths)
    assert facts.last_row == 25_000 + len(widths) - 1


def test_errors_and_merged_ranges_are_counted_and_the_first_ones_named():
    facts = scan(
        cells([(row, 2) for row in range(1, 9)], kind=' s="1" t="e"'),
        after='<mergeCells count="2"><mergeCell ref="A1:B2"/><mergeCell ref="C3:C4"/></mergeCells>',
    )
    assert (facts.error_count, facts.error_cells) == (8, [f"B{row}" for row in range(1, 9)])
    assert (facts.merged_count, facts.merged_ranges) == (2, ["A1:B2", "C3:C4"])


def test_text_that_looks_like_cells_is_none():
    facts = scan('<row r="1"><c r="A1" t="inlineStr"><is><t>c r="XFD1048576" t="e"</t></is></c></row>')
    assert (facts.widest, facts.last_row, facts.error_count) == ("A", 1, 0)


def test_a_wide_sparse_sheet_of_reasonable_size_is_let_through():
    assert scan(cells([(1, 200), (4000, 1)])).box_cells == 800_000


def test_more_cells_than_can_be_held_are_refused_even_if_they_are_there():
    with pytest.raises(InvalidInput, match="far from the rest"):
        scan(cells([(row, column) for row in range(1, 7000) for column in (1, 16384)]))


@pytest.mark.parametrize("prefix", ["", "x:"])
def test_formulas_without_a_result_are_counted_by_column_and_those_with_one_are_not(prefix):
    def formula(cell: str, attributes: str, text: str, value: str) -> str:
        tags = f'<c r="{cell}"{attributes}>{text}{value}</c>'
        return re.sub("<(/?)", rf"<\1{prefix}", tags)

    bare, shared = "<f>A1*2</f>", '<f t="shared" si="0"/>'
    without = [
        ("B1", "", bare, "<v></v>"),
        ("B2", "", bare, "<v/>"),
        ("C2", ' s="1"', bare, ""),
        ("C3", "", shared, ""),
        ("C4", "", bare, " \n"),
    ]
    with_result = [
        ("D1", "", bare, "<v>1</v>"),
        ("D2", ' t="str"', bare, "<v></v>"),
        ("D3", "", shared, "<v>0</v>"),
        ("D4", "", "", "<v></v>"),
    ]
    row = "".join(formula(*each) for each in (*without, *with_result))
    facts = scan(f'<{prefix}row r="1">{row}</{prefix}row>', prefix=prefix)
    assert (dict(facts.uncached), facts.uncached_cells[0]) == ({"B": 2, "C": 3}, "B1")


def test_formulas_are_found_wherever_the_pieces_of_a_long_sheet_are_cut():
    rows = [f'<row r="{row}"><c r="A{row}"><f>SUM(B1:B{row})+{"1+" * (row % 7)}1</f><v></v></c></row>' for row in range(1, 40_001)]
    assert sum(map(len, rows)) > 2 * PIECE_BYTES
    facts = scan("".join(rows))
    assert facts.uncached == {"A": 40_000}


def test_long_numbers_are_found_as_they_are_spelled_wherever_the_pieces_are_cut():
    digits = {row: str(10**17 + row) for row in range(1, 40_001)}
    rows = [f'<row r="{row}"><c r="A{row}" s="2"><v>{text}</v></c><c r="B{row}"><v>{row}</v></c></row>' for row, text in digits.items()]
    text = f'<worksheet {MAIN}><sheetData>{"".join(rows)}<row r="50000"><c r="A50000" t="s"><v>12345678901234567</v></c></row></sheetData></worksheet>'
    found = long_integers(io.BytesIO(text.encode()), {"A"})
    assert dict(zip(*found["A"], strict=True)) == digits
