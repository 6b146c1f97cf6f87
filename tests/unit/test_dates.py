# ruff: noqa: DTZ001 - the timestamps of the cleaned table are UTC without zone
"""Dates written as text, as a column writes them."""

from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.flows.sales.reading.dates import as_moment, date_format

DAYS = st.lists(st.dates(date(1950, 1, 1), date(2049, 12, 31)), min_size=1, max_size=20)


def read(texts: list[str], **wishes) -> list[date | datetime | None]:
    column = pl.Series("v", texts)
    written = date_format(column, **wishes)
    assert written is not None
    return column.to_frame().select(as_moment(pl.col("v"), written)).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-11-08", date(2016, 11, 8)),
        ("2016/11/8", date(2016, 11, 8)),
        ("08.11.2016", date(2016, 11, 8)),
        ("8.11.16", date(2016, 11, 8)),
        ("18/11/2016", date(2016, 11, 18)),
        ("11/18/2016", date(2016, 11, 18)),
        ("8 Nov 2016", date(2016, 11, 8)),
        ("08-Nov-16", date(2016, 11, 8)),
        ("November 8, 2016", date(2016, 11, 8)),
        ("2016-11-08 00:00:00", date(2016, 11, 8)),
        ("2016-11-08T01:02:03", datetime(2016, 11, 8, 1, 2, 3)),
        ("2016-11-08T01:02:03.250", datetime(2016, 11, 8, 1, 2, 3, 250_000)),
        ("2016-11-08T01:02:03Z", datetime(2016, 11, 8, 1, 2, 3)),
        ("2016-11-08T01:02:03+02:00", datetime(2016, 11, 7, 23, 2, 3)),
        ("08.11.2016 13:05", datetime(2016, 11, 8, 13, 5)),
        ("11/18/2016 1:05 PM", datetime(2016, 11, 18, 13, 5)),
    ],
)
def test_a_date_is_read_in_its_format(text, expected):
    assert read([text]) == [expected]


@pytest.mark.parametrize("text", ["31.02.2016", "2016-13-01", "0016-01-01", "99/99/2016"])
def test_a_day_that_does_not_exist_is_null(text):
    assert read([text, "2016-11-08", "08.11.2016"])[0] is None


@pytest.mark.parametrize("texts", [["hello"], ["1-2"], ["2016-11-08x"], ["12.5"], ["A-2016-11"]])
def test_other_text_is_no_date(texts):
    assert date_format(pl.Series(texts)) is None


def test_the_order_of_day_and_month_is_decided_by_the_whole_column():
    assert read(["11/08/2016", "12/25/2016"]) == [date(2016, 11, 8), date(2016, 12, 25)]
    assert read(["11/08/2016", "25/12/2016"]) == [date(2016, 8, 11), date(2016, 12, 25)]


def test_an_order_that_nothing_shows_is_taken_from_other_columns_or_assumed():
    column = pl.Series(["11/08/2016", "01/02/2016"])
    alone, beside = date_format(column), date_format(column, otherwise="day first")
    assert alone is not None
    assert beside is not None
    assert (alone.order, alone.assumed) == ("month first", True)
    assert (beside.order, beside.assumed) == ("day first", False)


def test_real_dates_of_a_workbook_and_texts_in_one_column_are_all_read():
    assert read(["2020-01-31 00:00:00", "08.11.2016"]) == [date(2020, 1, 31), date(2016, 11, 8)]


def test_eight_digits_are_a_date_only_where_dates_are_expected():
    assert read(["20161108", "20200101"], compact=True) == [date(2016, 11, 8), date(2020, 1, 1)]
    assert date_format(pl.Series(["20161108"])) is None


@settings(deadline=None, max_examples=60)
@given(DAYS, st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%b-%Y", "%B %d, %Y", "%Y-%m-%dT00:00:00"]))
def test_days_survive_being_written_in_any_of_the_usual_formats(days, text):
    if "/%Y" in text:
        days = [*days, date(2000, 12, 31)]  # which shows the order
    assert read([day.strftime(text) for day in days]) == days


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=10))
def test_no_text_makes_reading_fail(texts):
    written = date_format(pl.Series(texts))
    if written is not None:
        pl.DataFrame({"v": texts}).select(as_moment(pl.col("v"), written))
