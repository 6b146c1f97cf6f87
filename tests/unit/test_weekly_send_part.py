"""What became of a row is told by its external id; how values look in Salesforce's JSON."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl
import pytest

from treadle.errors import OperationFailed
from treadle.flows.weekly.row_outcomes import correlate
from treadle.flows.weekly.send_part import _quoted, _same, json_value

KEY = "External_Signal_Id__c"


def rows(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"external_id": list(ids), "action": ["create"] * len(ids)})


def succeeded(*found: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(found, {"sf__Id": pl.String, "sf__Created": pl.String, KEY: pl.String}, orient="row")


def failed(*found: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame([("", *one) for one in found], {"sf__Id": pl.String, "sf__Error": pl.String, KEY: pl.String}, orient="row")


def told(outcomes: pl.DataFrame) -> dict[str, tuple[str, str | None]]:
    return {row["external_id"]: (row["outcome"], row["code"]) for row in outcomes.iter_rows(named=True)}


def test_results_in_any_order_find_their_rows():
    good = succeeded(("a03", "true", "c"), ("a01", "false", "a"))
    bad = failed(("STRING_TOO_LONG:Customer Tier: data value too large: x (max length=5):Customer_Tier__c --", "b"))
    outcomes = correlate(rows("a", "b", "c", "d"), good, bad, KEY)
    assert told(outcomes) == {
        "a": ("updated", None),
        "b": ("refused", "STRING_TOO_LONG"),
        "c": ("created", None),
        "d": ("undecided", None),
    }
    assert outcomes["salesforce_id"].to_list() == ["a01", None, "a03", None]
    assert "data value too large" in outcomes["message"][1]


def test_an_id_that_comes_back_in_another_case_or_without_spaces_is_the_same():
    outcomes = correlate(rows("Ab_1 ", "CD_2"), succeeded(("a1", "true", "ab_1"), ("a2", "true", "cd_2")), failed(), KEY)
    assert told(outcomes) == {"Ab_1 ": ("created", None), "CD_2": ("created", None)}


def test_ids_that_differ_in_case_alone_are_told_apart():
    outcomes = correlate(
        rows("a", "A", "b"), succeeded(("1", "true", "a"), ("2", "true", "B")), failed(("REQUIRED_FIELD_MISSING:x", "A")), KEY
    )
    assert told(outcomes) == {"a": ("created", None), "A": ("refused", "REQUIRED_FIELD_MISSING"), "b": ("created", None)}


def test_a_row_that_is_listed_as_both_was_written():
    outcomes = correlate(
        rows("a"), succeeded(("a1", "true", "a")), failed(("UNABLE_TO_LOCK_ROW:unable to obtain exclusive access", "a")), KEY
    )
    assert told(outcomes) == {"a": ("created", None)}


@pytest.mark.parametrize("code", ["UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE"])
def test_passing_faults_leave_a_row_undecided(code):
    assert told(correlate(rows("a"), succeeded(), failed((f"{code}:later:--", "a")), KEY)) == {"a": ("undecided", code)}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("InternalServerError:out of order", "UNKNOWN", "InternalServerError:out of order"),
        ("Could not parse value", "UNKNOWN", "Could not parse value"),
        ("A:b", "UNKNOWN", "A:b"),
        ("DUPLICATE_VALUE", "DUPLICATE_VALUE", ""),
        ("DUPLICATE_VALUE:found:Name --", "DUPLICATE_VALUE", "found:Name --"),
    ],
)
def test_a_word_that_is_no_code_stays_in_the_message(error, code, message):
    outcomes = correlate(rows("a"), succeeded(), failed((error, "a")), KEY)
    assert outcomes.select("code", "message").row(0) == (code, message)


def test_results_without_the_key_are_refused():
    with pytest.raises(OperationFailed, match="nobody can tell"):
        correlate(rows("a"), pl.DataFrame({"sf__Id": ["x"]}), failed(), KEY)


def test_every_row_has_one_outcome_even_when_results_repeat():
    twice = succeeded(("a1", "true", "a"), ("a1", "true", "a"))
    assert correlate(rows("a", "b"), twice, failed(), KEY).height == 2


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime(2019, 12, 8, 23, 59, 59, 123456, UTC), "2019-12-08T23:59:59.123Z"),
        (datetime(2019, 12, 9, 1, 0, 0, 0, timezone(timedelta(hours=1))), "2019-12-09T00:00:00.000Z"),
        (date(2019, 12, 8), "2019-12-08"),
        (Decimal("1234567890123456.78"), Decimal("1234567890123456.78")),
        (None, None),
        (7, 7),
    ],
)
def test_values_as_json(value, written):
    assert json_value(value) == written


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        (Decimal("12.50"), 12.5, True),
        (Decimal("12.50"), 12.51, False),
        (datetime(2019, 12, 8, 23, 59, 59, 999000, UTC), "2019-12-08T23:59:59.000+0000", True),
        (datetime(2019, 12, 8, 23, 59, 58, 0, UTC), "2019-12-08T23:59:59.000+0000", False),
        (date(2019, 12, 8), "2019-12-08", True),
        (None, None, True),
        (None, "x", False),
        ("HIGH", "HIGH", True),
        (3, 3.0, True),
        (3, "nonsense", False),
    ],
)
def test_what_counts_as_the_same_value(ours, theirs, same):
    assert _same(ours, theirs) is same


def test_ids_are_quoted_for_soql():
    assert _quoted("a'b\\c\n") == r"'a\'b\\c\n'"
