"""Numbers written as text, as a column writes them."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.flows.sales.reading.numbers import (
    as_float,
    as_integer,
    as_money,
    float_as_money,
    has_more_places,
    may_be_identifiers,
    number_format,
)

AMOUNTS = st.decimals(min_value=-(10**9), max_value=10**9, places=2, allow_nan=False, allow_infinity=False)


def read_money(texts: list[str], otherwise: str = ".") -> list[Decimal | None]:
    column = pl.Series("v", texts)
    written = number_format(column, otherwise=otherwise)
    assert written is not None
    return column.to_frame().select(as_money(pl.col("v"), written)).to_series().to_list()


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1.234,56 €", "12,00 €", "-5,10 €"], ["1234.56", "12", "-5.1"]),
        (["$1,234.50", "(1,234.50)", "1,234.50-", "-$5.00", "$ (7.25)"], ["1234.5", "-1234.5", "-1234.5", "-5", "-7.25"]),
        (["1'234.50", "CHF 12", "CHF 1’000"], ["1234.5", "12", "1000"]),
        (["1 234,50", "12,5", "1\u202f000\u00a0000,25"], ["1234.5", "12.5", "1000000.25"]),
        (["1,23,456.00"], ["123456"]),
        (["1.234.567", "2"], ["1234567", "2"]),
        (["EUR 1.000,00", "2.000,50 EUR"], ["1000", "2000.5"]),
        (["100 kr", "2 500 kr"], ["100", "2500"]),
        (["−5.5", "+6"], ["-5.5", "6"]),
        (["0,5", ",25"], ["0.5", "0.25"]),
        (["1.5e3", "1.5E-3"], ["1500", "0.0015"]),
        (["12.5%", "3 %"], ["0.125", "0.03"]),
        (["10.5", "$1,234.50", "1.234,56 €"], ["10.5", "1234.5", "1234.56"]),
    ],
)
def test_a_column_of_amounts_is_read_as_it_is_written(texts, values):
    assert read_money(texts) == [Decimal(value) for value in values]


@pytest.mark.parametrize("text", ["12 34", "1.234.56", "--5", "(-5)", "1,2,3", "5 apples", "0x10", "1_000", "inf", "NaN", "1e999"])
def test_what_is_no_number_is_null_and_never_a_wrong_number(text):
    assert read_money([text, "1,000.50", "7.25"])[0] is None


def test_thousands_and_decimals_that_look_alike_are_decided_by_the_column():
    assert read_money(["1.234", "5,5"]) == [Decimal(1234), Decimal("5.5")]
    assert read_money(["1.234", "5.5"]) == [Decimal("1.234"), Decimal("5.5")]


def test_what_no_value_decides_is_assumed_and_says_so():
    written = number_format(pl.Series(["1.234", "2.345"]))
    assert written is not None
    assert written.assumed
    assert read_money(["1.234"]) == [Decimal("1.234")]
    assert read_money(["1,234"]) == [Decimal(1234)]
    assert read_money(["1.234"], otherwise=",") == [Decimal(1234)]


@settings(deadline=None, max_examples=60)
@given(st.lists(AMOUNTS, min_size=1, max_size=20))
def test_amounts_survive_every_usual_way_of_writing_them(amounts):
    written = {
        ".": [f"{amount:,.2f}" for amount in amounts],
        "$": [f"-${-amount:,.2f}" if amount < 0 else f"${amount:,.2f}" for amount in amounts],
        "()": [f"({-amount:,.2f})" if amount < 0 else f"{amount:,.2f}" for amount in amounts],
        ",": [f"{amount:,.2f} €".translate(str.maketrans(",.", ".,")) for amount in amounts],
        "'": [f"{amount:,.2f}".replace(",", "'") for amount in amounts],
        " ": [f"{amount:,.2f}".replace(",", "\u00a0").replace(".", ",") for amount in amounts],
    }
    for texts in written.values():
        assert read_money(texts) == amounts


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=15), min_size=1, max_size=10))
def test_no_text_makes_reading_fail(texts):
    column = pl.Series("v", texts)
    written = number_format(column)
    if written is not None:
        column.to_frame().select(as_money(pl.col("v"), written).alias("a"), as_float(pl.col("v"), written).alias("b"))


@settings(deadline=None, max_examples=60)
@given(st.decimals(min_value=-(10**12), max_value=10**12, places=2, allow_nan=False, allow_infinity=False))
def test_a_workbooks_float_becomes_the_amount_that_was_typed(amount):
    assert pl.select(float_as_money(pl.lit(float(amount)))).item() == amount


def test_floats_of_more_places_are_rounded_half_to_even_and_the_infinite_are_null():
    values = pl.DataFrame({"v": [0.0000005, 0.0000015, 1.2345675, 1 / 3, float("inf"), float("nan"), 1.2e20]})
    expected = ["0", "0.000002", "1.234568", "0.333333", None, None, "120000000000000000000"]
    assert values.select(float_as_money(pl.col("v"))).to_series().to_list() == [value and Decimal(value) for value in expected]


def test_more_places_than_money_holds_are_rounded_and_can_be_told():
    column = pl.DataFrame({"v": ["1.2345675", "1.5000000", "2.25"]})
    written = number_format(column["v"])
    assert written is not None
    read = column.select(as_money(pl.col("v"), written).alias("money"), has_more_places(pl.col("v")).alias("rounded"))
    assert read["money"].to_list() == [Decimal("1.234568"), Decimal("1.5"), Decimal("2.25")]
    assert read["rounded"].to_list() == [True, False, False]


def test_an_integer_that_would_be_written_otherwise_is_not_read():
    column = pl.DataFrame({"v": ["7", "007", "+7", "-0", "9999999999999999999"]})
    written = number_format(column["v"].head(1))
    assert written is not None
    assert column.select(as_integer(pl.col("v"), written)).to_series().to_list() == [7, None, None, None, None]


@pytest.mark.parametrize(
    ("texts", "would_lose"), [(["00123"], True), (["+49123"], True), (["1" * 19], True), (["0", "10"], False), (["0.5"], False)]
)
def test_texts_that_would_lose_something_as_numbers_are_recognised(texts, would_lose):
    assert may_be_identifiers(pl.Series(texts)) is would_lose
