"""What is different between two files, told from their profiles alone."""

import pytest

from treadle.flows.sales.drift import (
    ColumnAdded,
    ColumnRemoved,
    ColumnRetyped,
    NullsChanged,
    RangeShifted,
    RowCountChanged,
    Shift,
    ValuesChanged,
    compare_profiles,
)


def column(name, dtype="text", **fields):
    return {
        "column": name,
        "dtype": dtype,
        "null_pct": 0.0,
        "min": None,
        "max": None,
        "top_values": [],
        "distinct_count": 0,
        "distinct_exact": True,
        **fields,
    }


def words(name, distinct=None, **counts):
    top = [{"value": value, "count": count} for value, count in counts.items()]
    return column(name, top_values=top, distinct_count=len(counts) if distinct is None else distinct)


def profile(*columns, rows=100):
    return {"row_count": rows, "schema": list(columns)}


def changes(before, now, rows=100):
    return compare_profiles(profile(*before, rows=100), profile(*now, rows=rows))


def test_a_file_like_the_one_before_has_no_change():
    same = [column("revenue", "money", min=1, max=9), words("region", West=60, East=40)]
    assert changes(same, same) == []


def test_columns_that_came_and_went_are_named_and_a_required_one_is_grave():
    found = changes([column("revenue", "money"), column("note")], [column("channel")])
    assert found == [ColumnRemoved("revenue", "money", "error"), ColumnRemoved("note", "text", "warning"), ColumnAdded("channel", "text")]


@pytest.mark.parametrize(
    ("name", "was", "now", "severity"),
    [
        ("quantity", "integer", "float", "info"),
        ("day", "date", "timestamp", "info"),
        ("quantity", "integer", "text", "warning"),
        ("revenue", "money", "text", "error"),
    ],
)
def test_another_kind_of_values_is_as_grave_as_what_is_lost_by_it(name, was, now, severity):
    assert changes([column(name, was)], [column(name, now)]) == [ColumnRetyped(name, was, now, severity)]


@pytest.mark.parametrize(
    ("rows", "severity"), [(105, "info"), (80, "info"), (79, "warning"), (200, "info"), (201, "warning"), (0, "warning")]
)
def test_a_file_grows_and_shrinks_a_little_by_itself(rows, severity):
    assert changes([], [], rows=rows) == [RowCountChanged(100, rows, severity)]


def test_more_missing_values_are_a_warning_and_fewer_are_not():
    assert changes([column("a", null_pct=1.0)], [column("a", null_pct=6.0)]) == [NullsChanged("a", 1.0, 6.0, "warning")]
    assert changes([column("a", null_pct=6.0)], [column("a", null_pct=1.0)]) == [NullsChanged("a", 6.0, 1.0, "info")]
    assert changes([column("a", null_pct=1.0)], [column("a", null_pct=1.4)]) == []


def test_a_value_is_new_or_gone_only_where_the_list_it_is_missing_from_is_complete():
    few, many = words("region", West=60, East=40), words("region", distinct=500, North=50, West=20)
    assert changes([few], [many]) == [ValuesChanged("region", ("North",), (), (), "warning")]
    assert changes([many], [few]) == [ValuesChanged("region", (), ("North",), ("East",), "warning")]


def test_a_rare_value_that_comes_is_worth_a_word_but_no_warning():
    found = changes([words("region", West=60, East=40)], [words("region", West=60, East=39, Wset=1)])
    assert found == [ValuesChanged("region", ("Wset",), (), (), "info")]


def test_ids_which_are_all_different_are_not_compared_value_by_value():
    old, new = (words("order_id", distinct=100, **{f"{letter}{n}": 1 for n in range(10)}) for letter in "AB")
    assert changes([old], [new]) == []
    assert changes([words("order_id", A=1, B=1)], [words("order_id", C=1)]) == [], "nor when they are so few that the lists are complete"


@pytest.mark.parametrize(
    ("was", "now", "shift", "severity"),
    [
        ((0, 100), (-1, 90), Shift.NEGATIVE, "warning"),
        ((1, 100), (1, 10_000), Shift.LARGER, "warning"),
        ((1, 100), (2, 120.5), Shift.OTHER, "info"),
        ((0, 0), (0, 5), Shift.OTHER, "info"),
    ],
)
def test_numbers_that_turn_negative_or_grow_tenfold_are_a_warning(was, now, shift, severity):
    found = changes([column("revenue", "money", min=was[0], max=was[1])], [column("revenue", "money", min=now[0], max=now[1])])
    assert found == [RangeShifted("revenue", was, now, shift, severity)]


@pytest.mark.parametrize(
    ("now", "shift", "severity"),
    [
        (("2026-01-01", "2026-02-27"), Shift.EARLIER, "warning"),
        (("2026-02-01", "2026-03-31T12:00:00"), Shift.LATER, "info"),
        (("2025-12-01", "2026-02-28"), Shift.OTHER, "info"),
    ],
)
def test_dates_move_on_by_themselves_and_a_file_that_ends_earlier_is_an_old_one(now, shift, severity):
    was = ("2026-01-01", "2026-02-28")
    found = changes([column("order_date", "date", min=was[0], max=was[1])], [column("order_date", "date", min=now[0], max=now[1])])
    assert found == [RangeShifted("order_date", was, now, shift, severity)]


def test_the_gravest_come_first_and_a_profile_without_counts_is_compared_as_far_as_it_goes():
    bare = {"column": "region", "dtype": "text"}
    found = changes([bare, column("order_id")], [bare | {"dtype": "integer"}, column("extra")], rows=150)
    assert [change.severity for change in found] == ["error", "warning", "info", "info"]
