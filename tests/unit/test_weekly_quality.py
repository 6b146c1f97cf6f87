"""The checks of a week's events, and the gate on how many records were rejected."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from tests.unit.weekly_records import WEEK

from treadle.flows.weekly.quality import check_events, failed, gate, is_acceptable, reject_rate_pct

INSIDE = datetime(2019, 12, 2, tzinfo=UTC)


def events(*rows: tuple[datetime | None, str | None, str | None]) -> pl.DataFrame:
    schema = {"event_time": pl.Datetime("us", "UTC"), "user_id": pl.String, "price": pl.Decimal(38, 6)}
    return pl.DataFrame(
        [(time, user, None if price is None else Decimal(price)) for time, user, price in rows], schema=schema, orient="row"
    )


def names_of(frame: pl.DataFrame) -> list[tuple[str, int]]:
    return [(check.check, check.found) for check in failed(check_events(frame, WEEK))]


def test_good_events_pass_every_check():
    last = datetime(2019, 12, 8, 23, 59, 59, 999999, tzinfo=UTC)
    checks = check_events(events((INSIDE, "7", "0"), (last, "8", None)).lazy(), WEEK)
    assert [check.check for check in checks] == ["has_rows", "no_null_user", "times_within_week", "no_negative_price"]
    assert all(check.passed for check in checks)


def test_no_events_at_all_are_not_fit_for_use():
    assert names_of(events()) == [("has_rows", 0)]


@pytest.mark.parametrize(
    ("row", "check"),
    [
        ((INSIDE, None, "1"), "no_null_user"),
        ((datetime(2019, 12, 1, 23, 59, 59, 999999, tzinfo=UTC), "7", "1"), "times_within_week"),
        ((datetime(2019, 12, 9, tzinfo=UTC), "7", "1"), "times_within_week"),
        ((None, "7", "1"), "times_within_week"),
        ((INSIDE, "7", "-0.000001"), "no_negative_price"),
    ],
)
def test_each_check_counts_the_rows_that_fail_it(row, check):
    assert names_of(events((INSIDE, "1", "1"), row, row)) == [(check, 2)]


@pytest.mark.parametrize(
    ("fetched", "rejected", "threshold", "outcome"),
    [
        (100, 0, 5.0, "SUCCESS"),
        (100, 5, 5.0, "SUCCESS_WITH_REJECTS"),
        (100, 6, 5.0, "FAILED"),
        (1000, 1, 0, "FAILED"),
        (1000, 0, 0, "SUCCESS"),
        (1000, 1000, 100, "SUCCESS_WITH_REJECTS"),
        (0, 0, 5.0, "SUCCESS"),
        (3000, 1, Decimal("0.033333"), "FAILED"),
        (1000, 1, 0.1, "SUCCESS_WITH_REJECTS"),
    ],
)
def test_the_gate_compares_exactly(fetched, rejected, threshold, outcome):
    assert gate(fetched, rejected, threshold) == outcome


@pytest.mark.parametrize(("fetched", "rejected"), [(5, 6), (5, -1)])
def test_counts_that_cannot_be_are_no_success(fetched, rejected):
    with pytest.raises(ValueError, match="cannot have been rejected"):
        gate(fetched, rejected, 5)


def test_a_batch_is_acceptable_from_ninety_five_percent():
    assert is_acceptable(100, 5)
    assert not is_acceptable(100, 6)
    assert not is_acceptable(19, 1)
    assert is_acceptable(20, 1)
    assert is_acceptable(0, 0)


def test_the_reject_rate_has_six_places():
    assert [reject_rate_pct(3, 1), reject_rate_pct(0, 0), reject_rate_pct(8, 8)] == [Decimal("33.333333"), Decimal(0), Decimal(100)]
