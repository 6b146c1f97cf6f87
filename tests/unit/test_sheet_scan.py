"""The quick look over a sheet's XML, which decides what the reader may see."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import InvalidInput
from treadle.flows.sales.reading.sheet_scan import PIECE_BYTES, column_number, scan_sheet

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def letters(number: int) -> str:
    text = ""
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text


def scan(rows: str, *, after: str = "", prefix: str = ""):
    name_space = MAIN if not prefix else MAIN.replace("xmlns", f"xmlns:{prefix[:-1]}")
    text = f"<{prefix}worksheet {name_space}><{prefix}sheetData>{rows}</{prefix}sheetData>{after}</{prefix}worksheet>"
    return scan_sheet(io.BytesIO(text.encode()), name="The sheet 'S'")


def cells(places: list[tuple[int, int]], prefix: str = "", kind: str = "") -> str:
    return "".join(
        f'<{prefix}row r="{row}"><{prefix}c r="{letters(column)}{row}"{kind}><{prefix}v>1</{prefix}v></{prefix}c></{prefix}row>'
        for row, column in places
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 16384))
def test_column_letters_and_numbers_agree(number):
    assert column_number(letters(number)) == number


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
