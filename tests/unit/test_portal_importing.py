"""What the page Import says about a profile."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest
from tests.unit.sales_tables import clean_table

from treadle.control.jobs.states import JobState
from treadle.flows.sales import drift
from treadle.flows.sales.json_text import to_json
from treadle.flows.sales.profile import FileFacts, compute_profile
from treadle.flows.sales.verdict import Verdict
from treadle.portal.importing import changes, checks, column_cards, column_charts, headline, progress, sources
from treadle.portal.importing import values as shown_values
from treadle.portal.importing.column_cards import Order
from treadle.portal.importing.sources import Source
from treadle.portal.upload_limits import limits_told

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def profile_of(columns, **fields):
    """The profile as it comes back from the database."""
    return json.loads(to_json(compute_profile(clean_table(columns, **fields), FileFacts("f.csv", 10, NOW), NOW.date())))


def check(name, *, passed=False, severity="warning", detail="d"):
    return {"check": name, "passed": passed, "severity": severity, "detail": detail}


def words(entry, rows=100):
    return [alert.word for alert in column_cards.alerts(entry, rows)]


def entry(dtype="text", **fields):
    usual = {
        "column": "a",
        "source_column": "A",
        "null_count": 0,
        "null_pct": 0.0,
        "unparseable_count": 0,
        "distinct_count": 50,
        "distinct_exact": True,
    }
    return {**usual, "dtype": dtype, "min": None, "max": None, "top_values": [], "histogram": None, **fields}


def test_the_verdict_says_what_it_means_for_a_run():
    assert "should succeed" in checks.verdict_told(Verdict.READY, []).sentence
    assert "1 check deserves" in checks.verdict_told(Verdict.READY_WITH_WARNINGS, [check("a"), check("b", passed=True)]).sentence
    assert checks.verdict_told(Verdict.BLOCKED, []).colour == "red"


def test_a_note_is_neither_counted_nor_called_a_passed_check():
    noted = check("order_id_unique", severity="info")
    assert "1 check deserves" in checks.verdict_told(Verdict.READY_WITH_WARNINGS, [check("a"), noted]).sentence
    alone = checks.verdict_told(Verdict.READY, [noted, check("b", passed=True)])
    assert (alone.colour, alone.sentence) == ("green", "No check found a fault: a run of this file should succeed.")


def test_letters_that_turn_text_around_are_written_out_on_a_card():
    turned = "safe\u202egnp.exe"
    top = [{"value": turned, "count": 3}, {"value": "b", "count": 1}]
    found = {**entry(min="a", max=turned, top_values=top), "source_column": "A\u200b"}
    [card] = column_cards.column_cards({"row_count": 4, "schema": [found]})
    [listed] = column_cards.column_cards({"row_count": 2, "schema": [{**found, "top_values": [{"value": turned, "count": 1}] * 2}]})
    assert card.bars
    assert card.bars.bars[0].values == "safe\\u202egnp.exe"
    assert (card.span, card.source) == ("From a to safe\\u202egnp.exe", "A\\u200b")
    assert "\u202e" not in listed.instead
    assert "safe\\u202egnp.exe" in listed.instead


def test_what_becomes_of_a_file_that_is_too_large_is_said_beforehand():
    told = limits_told(200 * 1024**2, 2 * 1024**3, "treadle files upload FILE")
    assert "A larger file is not sent" in told
    assert "Up to 2.1 GB, send it by `treadle files upload FILE`" in told
    assert "treadle" not in limits_told(1000, 1000, "treadle files upload FILE")


def test_checks_that_failed_come_first_the_gravest_before_the_others():
    given = [check("fine", passed=True, severity="info"), check("note", severity="info"), check("warn"), check("grave", severity="error")]
    assert [(found.name, found.look.word) for found in checks.checks(given)] == [
        ("Grave", "Error"),
        ("Warn", "Warning"),
        ("Note", "Note"),
        ("Fine", "Passed"),
    ]


def test_how_the_command_line_mends_a_missing_column_is_not_told_in_the_portal():
    detail = "The required column 'revenue' is missing. Columns found: a. If these columns hold it, say so with: --map \"a=revenue\""
    [found] = checks.checks([check("required_columns", severity="error", detail=detail)])
    assert found.detail == "The required column 'revenue' is missing. Columns found: a. Say under Mapping which column is which."
    assert checks.without_commands('Name the column, for example: --map "Sales=revenue"') == "Name the column below."
    assert checks.without_commands("Did you mean 'Sales'?") == "Did you mean 'Sales'?"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=x", "\rx"])
def test_no_text_of_a_download_is_taken_for_a_formula(text):
    content = checks.findings_csv({"file_name": text, "validations": [check("a", detail=text), check("b", detail="a = b")]}, Verdict.READY)
    assert content.startswith(b"\xef\xbb\xbf"), "so that a spreadsheet program knows that it is UTF-8"
    [head, first, second] = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert head == ["file", "verdict", "check", "outcome", "severity", "detail"]
    assert (first[0], first[-1], second[-1]) == (f"'{text}", f"'{text}", "a = b")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"unparseable_count": 3}, ["3 unreadable"]),
        ({"null_count": 100, "null_pct": 100.0, "distinct_count": 0}, ["Empty"]),
        ({"null_count": 37, "null_pct": 37.0}, ["37.0 % missing"]),
        ({"null_count": 19, "null_pct": 19.0}, []),
        ({"null_count": 1, "null_pct": 1.0, "column": "revenue"}, ["1.0 % missing"]),
        ({"distinct_count": 1, "top_values": [{"value": "x", "count": 100}]}, ["Constant"]),
        ({"distinct_count": 2, "top_values": [{"value": "x", "count": 95}]}, ["95.0 % one value"]),
        ({"distinct_count": 100}, ["Probable key"]),
        ({"distinct_count": 100, "distinct_exact": False}, []),
        ({"distinct_count": 100, "dtype": "money"}, []),
    ],
)
def test_a_column_has_the_alerts_that_its_figures_call_for(fields, expected):
    assert words(entry(**fields)) == expected


def test_a_column_whose_figures_could_not_be_computed_is_shown_without_them():
    [card] = column_cards.column_cards({"row_count": 3, "schema": [{"column": "a", "source_column": "A", "dtype": "text"}]})
    assert (card.missing_told, card.distinct_told, card.bars, card.alerts, card.instead) == ("–", "–", None, (), "Not computed.")


def test_numbers_have_a_histogram_words_their_most_frequent_values_and_ids_neither():
    found = profile_of({"order_id": list("abcdef"), "revenue": ["1", "2", "3", "4", "5", "9"], "region": ["W", "W", "W", "E", "E", "N"]})
    by_name = {card.name: card for card in column_cards.column_cards(found)}
    bins = by_name["revenue"].bars.bars
    assert (sum(bar.rows for bar in bins), bins[0].values.split(" to ")[0]) == (6, "1.00")
    assert [(bar.values, bar.rows) for bar in by_name["region"].bars.bars] == [("W", 3), ("E", 2), ("N", 1)]
    assert by_name["order_id"].bars is None
    assert by_name["order_id"].instead == "All are different, for example: a, b, c"
    assert by_name["revenue"].span == "From 1.00 to 9.00"


def test_values_that_are_cut_to_the_same_text_stay_two_bars():
    long = [{"value": "x" * 60 + end, "count": 5} for end in "ab"]
    values = [bar.values for bar in column_charts.column_bars(entry(top_values=long)).bars]
    assert len(set(values)) == 2


def test_a_chart_is_valid_shows_every_bar_in_its_order_and_is_told_in_words():
    spread = [{"from": 0, "to": 5, "count": 7}, {"from": 5, "to": 10, "count": 3}]
    frequent = [{"value": "West", "count": 9}, {"value": "East", "count": 1}]
    for found, mark, said in (
        (entry("integer", histogram=spread), ["0 to 5", "5 to 10"], "7 rows, lie from 0 to 5"),
        (entry(top_values=frequent), ["West", "East"], "West, 9 rows; East, 1 row."),
    ):
        bars = column_charts.column_bars(found)
        spec = column_charts.column_chart(bars).to_dict()
        assert [row["values"] for row in spec["data"]["values"]] == mark
        assert spec["height"] == column_charts.CHART_HEIGHT
        assert said in column_charts.in_words("a", bars)


def test_columns_are_searched_filtered_and_put_in_order():
    columns = {"order_id": list("abcd"), "Revenue": ["1", "2", "2", "2"], "note": [None, None, None, "x"], "same": ["y"] * 4}
    found = profile_of({name.lower(): values for name, values in columns.items()})
    cards = column_cards.column_cards(found)

    def names(query="", order=Order.FILE, *, only=False):
        return [card.name for card in column_cards.chosen_cards(cards, query, order, only_alerts=only)]

    assert names() == ["order_id", "revenue", "note", "same"]
    assert names("absent") == []
    assert names(" EV ") == ["revenue"]
    assert names(order=Order.NAME) == ["note", "order_id", "revenue", "same"]
    assert names(order=Order.MISSING)[0] == "note"
    assert names(only=True) == ["order_id", "note", "same"]
    assert names(order=Order.ALERTS)[-1] == "revenue"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, "text", "–"),
        (True, "boolean", "yes"),
        (1234567, "integer", "1,234,567"),
        (1234.5, "money", "1,234.50"),
        (0.30000000000000004, "float", "0.3"),
        (1e300, "float", "1e+300"),
        ("2026-01-02T03:04:05", "timestamp", "2026-01-02 03:04:05"),
        ("T", "text", "T"),
    ],
)
def test_values_are_written_as_people_read_them(value, kind, expected):
    assert shown_values.shown(value, kind) == expected


@pytest.mark.parametrize(("value", "expected"), [(0, "0 %"), (0.01, "< 0.1 %"), (12.34, "12.3 %"), (99.99, "99.9 %"), (100, "100 %")])
def test_a_share_is_never_nothing_for_something_nor_all_for_less(value, expected):
    assert shown_values.percent(value) == expected


def test_the_file_as_a_whole_is_told_with_its_period():
    found = profile_of({"order_id": ["a", "b"], "revenue": ["1", None], "order_date": [date(2026, 1, 1), date(2026, 2, 1)]})
    assert headline.headline(found) == [("Rows", "2"), ("Columns", "3"), ("Missing values", "16.7 %"), ("Days covered", "32")]
    assert headline.period(found) == "01 Jan 2026 to 01 Feb 2026"
    assert headline.period({"date_range": {"min": None, "max": None}}) == ""


def test_differences_become_rows_and_one_sentence():
    found = [
        drift.ColumnRemoved("revenue", "money", "error"),
        drift.RowCountChanged(100, 50, "warning"),
        drift.ValuesChanged("region", ("North",), ("West",), (), "warning"),
        drift.RangeShifted("order_date", ("2026-01-01", "2026-02-01"), ("2026-01-01", "2026-03-01"), drift.Shift.LATER, "info"),
    ]
    rows = changes.change_rows(found)
    assert [tuple(row.values()) for row in rows] == [
        ("Error", "revenue", "The column is gone", "amount", "–"),
        ("Warning", "", "Number of rows", "100", "50 (-50.0 %)"),
        ("Warning", "region", "New values, values gone", "West", "North"),
        ("Note", "order_date", "The range moves on", "2026-01-01 to 2026-02-01", "2026-01-01 to 2026-03-01"),
    ]
    assert changes.change_sentence(found).sentence.startswith("3 differences deserve a look")
    assert changes.change_sentence(found).sentence.endswith("1 more is ordinary.")
    assert changes.change_sentence([]).colour == "green"


COLUMNS = [
    Source("Order No", "text", "order_no"),
    Source("Sales", "float", "sales"),
    Source("region", "text", "region"),
    Source("Land", "text", "land"),
]


def test_what_looks_like_a_missing_column_is_suggested_and_nothing_when_none_is_missing():
    assert sources.suggested(COLUMNS) == {"revenue": "Sales", "order_id": "Order No"}
    assert sources.suggested([Source("A", "text", "order_id"), Source("B", "float", "revenue")]) == {}


def test_a_mapping_has_only_what_differs_from_the_file():
    picks = {"revenue": "Sales", "order_id": "Order No", "region": "region", "channel": None}
    assert sources.new_mapping(COLUMNS, {}, picks, [(" Land ", " country "), ("", "x")]) == (
        {"Sales": "revenue", "Order No": "order_id", "Land": "country"},
        [],
    )


def test_a_column_that_a_mapping_has_named_keeps_its_name():
    read = [Source("Sales", "float", "revenue"), Source("Order No", "text", "order_id")]
    mapping = {"Sales": "revenue", "Order No": "order_id"}
    assert sources.new_mapping(read, mapping, sources.picked(read), sources.other_names(mapping)) == (mapping, [])


@pytest.mark.parametrize(
    ("picks", "others", "problem"),
    [
        ({"revenue": "Sales", "channel": "Sales"}, [], "Sales can only have one name."),
        ({"revenue": "Sales"}, [("Land", "Revenue")], "Only one column can be read as revenue."),
        ({"region": "region"}, [("region", "area")], "Region and another name cannot both come from region."),
    ],
)
def test_choices_that_contradict_each_other_are_told_before_a_worker_is_asked(picks, others, problem):
    assert problem in sources.new_mapping(COLUMNS, {}, picks, others)[1]


def test_the_sheets_are_those_that_the_checks_tell_of():
    found = {
        "sheet": "Orders",
        "validations": [
            check("other_sheets", passed=True, detail="Read: Orders. Not read: Returns, People."),
            check("hidden_sheets", passed=True, detail="The workbook has 1 hidden sheet: Old; not read."),
        ],
    }
    assert sources.sheets(found) == ["Orders", "Returns", "People", "Old"]
    assert sources.sheets({"sheet": "Orders", "validations": []}) == []
    assert sources.sheets({"sheet": None, "validations": []}) == []
    assert sources.sheets(None, {"sheets": ["A", "B"]}) == ["A", "B"]
    assert [source.name for source in sources.sources_of_failure({"columns": ["A b", "", "C"]})] == ["A b", "C"]


def test_an_inspection_that_nobody_takes_up_says_what_may_be_missing():
    def job(state, attempt, seconds):
        return SimpleNamespace(state=state, attempt=attempt, due_at=NOW - timedelta(seconds=seconds))

    event = SimpleNamespace(pct=40.0, message="half of it is here")
    assert progress.inspection_told(job(JobState.QUEUED, 0, 5), [], NOW) == (0.0, "Waiting for its turn", "")
    assert "worker" in progress.inspection_told(job(JobState.QUEUED, 0, 60), [], NOW)[2]
    assert progress.inspection_told(job(JobState.RUNNING, 1, 60), [event], NOW) == (0.4, "half of it is here", "")
    assert "tried again" in progress.inspection_told(job(JobState.QUEUED, 1, 0), [event], NOW)[2]
