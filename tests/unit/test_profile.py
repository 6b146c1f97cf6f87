import json
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sales_tables import clean_table, table_of

from treadle.flows.sales import column_profile, profile, scan
from treadle.flows.sales.json_text import to_json
from treadle.flows.sales.profile import FileFacts, compute_profile, fallback_profile
from treadle.flows.sales.table import Finding

FILE = FileFacts("büro.xlsx", 1234, datetime(2026, 11, 20, 8, 30, tzinfo=UTC))
TODAY = date(2026, 11, 21)
TWO = {"order_id": ["A", "B"], "revenue": ["1", "2.5"]}


def profile_of(columns, **fields):
    return as_stored(clean_table(columns, **fields))


def as_stored(table):
    return json.loads(to_json(compute_profile(table, FILE, TODAY)))


def entry(found, name):
    return next(column for column in found["schema"] if column["column"] == name)


def check(found, name):
    return next(validation for validation in found["validations"] if validation["check"] == name)


def test_the_heading_names_file_sheet_and_mapping():
    found = profile_of(TWO, sheet="Orders", mapping={"Sales": "revenue"})
    assert {name: found[name] for name in ("file_name", "file_size", "last_modified", "row_count", "column_count", "sheet", "mapping")} == {
        "file_name": "büro.xlsx",
        "file_size": 1234,
        "last_modified": "2026-11-20T08:30:00+00:00",
        "row_count": 2,
        "column_count": 2,
        "sheet": "Orders",
        "mapping": {"Sales": "revenue"},
    }


def test_nulls_distinct_values_range_and_top_values_of_a_text_column():
    found = entry(
        profile_of({"order_id": list("abcdef"), "revenue": ["1"] * 6, "region": ["West", "East", "West", None, "East", "Ærø"]}), "region"
    )
    assert found["dtype"] == "text"
    assert (found["null_count"], found["null_pct"], found["distinct_count"], found["distinct_exact"]) == (1, 16.67, 3, True)
    assert (found["min"], found["max"]) == ("East", "Ærø")
    assert found["top_values"] == [{"value": "East", "count": 2}, {"value": "West", "count": 2}, {"value": "Ærø", "count": 1}]
    assert found["histogram"] is None


def test_the_histogram_of_few_whole_numbers_has_one_bin_each():
    found = entry(profile_of({"order_id": list("abcd"), "revenue": ["1"] * 4, "quantity": [3, 5, 5, 4]}), "quantity")
    assert found["histogram"] == [{"from": 3, "to": 4, "count": 1}, {"from": 4, "to": 5, "count": 1}, {"from": 5, "to": 6, "count": 2}]


def test_the_histogram_of_money_covers_the_range_in_twenty_bins_that_hold_every_row():
    found = entry(profile_of({"order_id": [str(n) for n in range(101)], "revenue": [str(n) for n in range(101)]}), "revenue")
    assert len(found["histogram"]) == 20
    assert (found["histogram"][0]["from"], found["histogram"][-1]["to"]) == (0, 100)
    assert [row["count"] for row in found["histogram"]] == [5] * 19 + [6]


def test_the_histogram_of_dates_has_dates_at_its_edges():
    days = [date(2024, 1, 1), date(2024, 1, 3), date(2024, 1, 3)]
    found = entry(profile_of({"order_id": list("abc"), "revenue": ["1"] * 3, "order_date": days}), "order_date")
    assert found["histogram"] == [
        {"from": "2024-01-01", "to": "2024-01-02", "count": 1},
        {"from": "2024-01-02", "to": "2024-01-03", "count": 0},
        {"from": "2024-01-03", "to": "2024-01-04", "count": 2},
    ]


@pytest.mark.parametrize("last", ["9999-12-31T23:59:59.999999", "2024-01-02T00:00:00"])
def test_timestamps_are_profiled_up_to_the_last_that_can_be(last):
    moments = [datetime.fromisoformat("0001-01-01T00:00:00"), datetime.fromisoformat(last)]
    found = entry(profile_of({"order_id": ["a", "b"], "revenue": ["1"] * 2, "sold_at": moments}), "sold_at")
    assert sum(row["count"] for row in found["histogram"]) == 2


def test_a_single_value_makes_a_single_bin():
    found = entry(profile_of({"order_id": ["a", "b"], "revenue": ["7", "7"]}), "revenue")
    assert found["histogram"] == [{"from": 7, "to": 7, "count": 2}]


def test_numbers_that_json_cannot_hold_never_reach_it():
    rates = [float("nan"), float("inf"), float("-inf"), 1.5, None, 1e308, -1e308]
    text = to_json(compute_profile(clean_table({"order_id": list("abcdefg"), "revenue": ["1"] * 7, "rate": rates}), FILE, TODAY))
    found = entry(json.loads(text, parse_constant=pytest.fail), "rate")
    assert (found["min"], found["max"], found["null_count"]) == (-1e308, 1e308, 1)
    assert sum(row["count"] for row in found["histogram"]) == 3


def test_a_column_of_nulls_has_no_range_and_no_histogram():
    found = entry(profile_of(TWO | {"note": [None, None]}), "note")
    assert (found["null_count"], found["distinct_count"], found["min"], found["max"], found["top_values"]) == (2, 0, None, None, [])


def test_long_text_is_cut_in_values_range_and_sample():
    found = profile_of(TWO | {"note": ["x" * 5000, "y"]})
    assert entry(found, "note")["top_values"][0]["value"] == "x" * 199 + "…"
    assert len(entry(found, "note")["min"]) == column_profile.TEXT_LENGTH
    assert len(found["sample_rows"][0]["note"]) == column_profile.TEXT_LENGTH


def test_money_and_dates_of_the_sample_are_plain_json():
    found = profile_of(TWO | {"order_date": [date(2024, 1, 2), None], "paid": [True, False]})
    assert found["sample_rows"] == [
        {"order_id": "A", "revenue": 1, "order_date": "2024-01-02", "paid": True},
        {"order_id": "B", "revenue": 2.5, "order_date": None, "paid": False},
    ]
    assert found["date_range"] == {"min": "2024-01-02", "max": "2024-01-02", "column": "order_date"}


def test_the_sample_is_the_first_rows():
    found = profile_of({"order_id": [str(n) for n in range(100)], "revenue": ["1"] * 100})
    assert [row["order_id"] for row in found["sample_rows"]] == [str(n) for n in range(profile.SAMPLE_ROWS)]


def test_a_good_table_passes_every_check():
    found = profile_of(TWO | {"order_date": [TODAY, TODAY]})
    checks = {validation["check"]: validation["passed"] for validation in found["validations"]}
    assert checks.keys() >= {
        *("required_columns", "order_id_unique", "revenue_non_negative", "revenue_numeric", "no_null_rows"),
        *("dates_parse", "dates_not_in_future", "duplicate_rows", "columns_renamed"),
    }
    assert all(checks.values())


@pytest.mark.parametrize(
    ("columns", "name", "severity", "word"),
    [
        ({"order_id": ["A", "A"], "revenue": ["1", "2"]}, "order_id_unique", "info", "1 distinct"),
        ({"order_id": ["A", "B"], "revenue": ["1", "-2.50"]}, "revenue_non_negative", "warning", "-2.5"),
        ({"order_id": ["A", None], "revenue": ["1", None]}, "no_null_rows", "warning", "1 row"),
        ({"order_id": ["A", "B"], "revenue": ["1", None]}, "revenue_present", "warning", "1 row"),
        ({"order_id": ["A", "A"], "revenue": ["1", "1"]}, "duplicate_rows", "warning", "1 row"),
        (TWO | {"order_date": [TODAY, date(2026, 11, 22)]}, "dates_not_in_future", "warning", "2026-11-22"),
    ],
)
def test_each_fault_fails_its_check_and_says_how_much(columns, name, severity, word):
    failed = check(profile_of(columns), name)
    assert (failed["passed"], failed["severity"]) == (False, severity)
    assert word in failed["detail"]


def test_details_read_well_for_none_one_and_many():
    def told(name, *ids):
        return check(profile_of({"order_id": ids, "revenue": ["1" if value else None for value in ids]}), name)["detail"]

    assert told("no_null_rows", "A", "B") == "No row is empty."
    assert told("no_null_rows", "A", None) == "1 row is empty in every column."
    assert told("no_null_rows", "A", None, None) == "2 rows are empty in every column."
    assert (told("revenue_present", "A"), told("revenue_present", "A", None)) == ("Every row has revenue.", "1 row is without revenue.")
    assert told("duplicate_rows", "A", "B") == "No row repeats another."
    assert told("revenue_numeric", "A") == "All values of revenue were read as numbers."


def test_values_that_could_not_be_read_fail_the_checks_of_their_column():
    columns = TWO | {"order_date": [None, date(2024, 1, 1)]}
    found = profile_of(columns, unparseable={"revenue": 3, "order_date": 1})
    assert (check(found, "revenue_numeric")["passed"], check(found, "dates_parse")["passed"]) == (False, False)
    assert "3 values of revenue" in check(found, "revenue_numeric")["detail"]
    assert entry(found, "order_date")["unparseable_count"] == 1


def test_what_cleaning_found_comes_first_and_is_not_checked_a_second_time():
    told = Finding("duplicate_rows", passed=False, detail="told by cleaning", severity="warning")
    found = profile_of(TWO, findings=(told,))
    assert found["validations"][0]["detail"] == "told by cleaning"
    assert [validation["check"] for validation in found["validations"]].count("duplicate_rows") == 1


def test_duplicates_are_found_by_hash_in_a_long_table(monkeypatch):
    monkeypatch.setattr(profile, "_EXACT_DUPLICATES", 3)
    found = check(profile_of({"order_id": ["A", "A", "B", "A"], "revenue": ["1", "1", "1", "2"]}), "duplicate_rows")
    assert (found["passed"], found["detail"].startswith("1 row")) == (False, True)
    assert "hash" in found["detail"]


@pytest.mark.parametrize(
    ("notes", "repeated"),
    [
        (["x"], 0),
        (["x", "x", "x"], 2),
        ([None, None, "", "", " "], 2),
        (["x", "y"] * 50, 98),
        ([f"n{number}" for number in range(100)] + ["n0"], 1),
        ([f"n{number}" for number in range(101)], 0),
    ],
)
@pytest.mark.parametrize("streamed_from", [0, 1_000])
def test_rows_that_repeat_are_counted_by_hash_as_when_compared_whole(monkeypatch, notes, repeated, streamed_from):
    columns = {"order_id": ["A"] * len(notes), "revenue": ["1"] * len(notes), "note": notes}
    monkeypatch.setattr(scan, "_IN_MEMORY_ROWS", streamed_from)
    whole = check(profile_of(columns), "duplicate_rows")
    monkeypatch.setattr(profile, "_EXACT_DUPLICATES", 0)
    hashed = check(profile_of(columns), "duplicate_rows")
    assert whole["passed"] == (repeated == 0)
    assert repeated == 0 or whole["detail"].startswith(f"{repeated} row")
    assert hashed | {"detail": hashed["detail"].replace(" (compared by a 64-bit hash)", "")} == whole


def test_values_that_change_places_between_columns_make_another_row(monkeypatch):
    """The hash of a row is a sum, so the columns must differ in their hashes."""
    monkeypatch.setattr(profile, "_EXACT_DUPLICATES", 0)
    found = profile_of({"order_id": ["A", "A"], "revenue": ["1", "1"], "from": ["x", "y"], "to": ["y", "x"]})
    assert check(found, "duplicate_rows")["passed"]


def test_counting_in_parts_and_streaming_change_no_figure(monkeypatch):
    columns = {
        "order_id": [f"O{n % 171:03d}" for n in range(500)],
        "revenue": [f"{n % 97}.{n % 10}" for n in range(500)],
        "rate": [n / 7 for n in range(500)],
        "order_date": [date.fromordinal(738_000 + n % 400) for n in range(500)],
    }
    at_once = profile_of(columns)
    monkeypatch.setattr(scan, "GROUPS_IN_MEMORY", 20)
    monkeypatch.setattr(scan, "_IN_MEMORY_ROWS", 0)
    assert profile_of(columns) == at_once


def test_beyond_the_limit_distinct_values_are_estimated_and_labelled(monkeypatch):
    monkeypatch.setattr(column_profile, "EXACT_DISTINCT", 50)
    found = profile_of({"order_id": [f"O{n}" for n in range(1000)], "revenue": ["1"] * 1000})
    ids = entry(found, "order_id")
    assert (ids["distinct_exact"], ids["top_values"], ids["histogram"]) == (False, [], None)
    assert 900 < ids["distinct_count"] < 1100
    assert entry(found, "revenue")["distinct_exact"] is True


def test_the_fallback_shows_columns_and_the_failure():
    failure = Finding("profile", passed=False, detail="it broke", severity="warning")
    found = json.loads(to_json(fallback_profile(clean_table(TWO), FILE, failure)))
    assert [column["column"] for column in found["schema"]] == ["order_id", "revenue"]
    assert found["validations"] == [{"check": "profile", "passed": False, "detail": "it broke", "severity": "warning"}]


values = st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32)), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(values)
def test_every_number_falls_into_exactly_one_bin(drawn):
    frame = pl.DataFrame({"order_id": [str(n) for n in range(len(drawn))], "revenue": [None] * len(drawn), "rate": drawn})
    found = entry(as_stored(table_of(frame.cast({"revenue": pl.Decimal(38, 6), "rate": pl.Float64}))), "rate")
    there = [value for value in drawn if value is not None]
    assert found["null_count"] == len(drawn) - len(there)
    assert found["distinct_count"] == len(set(there))
    assert sum(row["count"] for row in found["histogram"] or []) == len(there)
    assert sum(row["count"] for row in found["top_values"]) <= len(there)
