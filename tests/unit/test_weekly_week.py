"""A week is counted in UTC, half-open, whatever any country does with its clocks."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import InvalidInput
from treadle.flows.weekly.contract import Accepted, judge
from treadle.flows.weekly.record import count_of_weeks, weeks_between
from treadle.flows.weekly.week import Week, require_begun, week_of

DAYS = st.dates(date(1990, 1, 1), date(2090, 1, 1))
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")


@given(DAYS)
def test_seven_days_have_168_hours_and_the_next_week_begins_where_one_ends(start):
    week = week_of(start)
    assert week.closes_at - week.opens_at == timedelta(hours=168)
    assert week.next.opens_at == week.closes_at
    assert week.opens_at.tzinfo is UTC
    assert week.end == start + timedelta(days=6)


@given(DAYS, st.sampled_from(ZONES))
def test_the_first_moment_belongs_to_a_week_and_the_last_edge_to_the_next_in_every_zones_words(start, zone):
    week = week_of(start)
    for moment, inside in ((week.opens_at, True), (week.closes_at - timedelta(microseconds=1), True), (week.closes_at, False)):
        told = moment.astimezone(ZoneInfo(zone))
        if told.utcoffset().total_seconds() % 60:
            continue  # zones of long ago were off by seconds
        record = json.dumps({"event_time": told.isoformat(), "event_type": "view", "user_id": "1"}).encode()
        assert isinstance(judge(record, week), Accepted) is inside, told


@pytest.mark.parametrize("zone", ZONES)
def test_the_machines_own_zone_moves_no_window(zone):
    code = (
        "from datetime import date; from treadle.flows.weekly.week import week_of; w = week_of(date(2019, 10, 21));"
        "print(w.opens_at.isoformat(), w.closes_at.isoformat())"
    )
    shown = subprocess.run([sys.executable, "-c", code], env={"TZ": zone}, capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["2019-10-21T00:00:00+00:00", "2019-10-28T00:00:00+00:00"]


def test_a_time_without_a_zone_is_utc():
    week = week_of(date(2019, 10, 21))  # in Europe, clocks go back in the last night of this week
    record = json.dumps({"event_time": "2019-10-27T02:30:00", "event_type": "view", "user_id": "1"}).encode()
    found = judge(record, week)
    assert isinstance(found, Accepted)
    assert found.record.event_time == datetime(2019, 10, 27, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize("start", [date.min, date(1969, 12, 31), date(9998, 12, 28), date.max])
def test_a_week_beyond_the_years_that_every_system_can_tell_is_refused(start):
    with pytest.raises(InvalidInput, match="1970 to 9998"):
        week_of(start)


def test_at_the_ends_of_the_calendar_nothing_overflows():
    last = week_of(date(9998, 12, 25))
    assert last.closes_at == datetime(9999, 1, 1, tzinfo=UTC)
    for span in (last, Week(date(1970, 1, 1), date(9998, 12, 31))):
        with pytest.raises(InvalidInput, match="1970 to 9998"):
            _ = span.next
    assert week_of(date(1970, 1, 1)).end == date(1970, 1, 7)
    assert count_of_weeks(date.min, date.max) == 521_723
    with pytest.raises(InvalidInput, match="1970 to 9998"):
        weeks_between(date(9998, 12, 20), date.max)


def test_a_week_has_begun_from_its_first_moment_on():
    week = week_of(date(2019, 12, 2))
    require_begun(week, week.opens_at + timedelta(microseconds=1))
    with pytest.raises(InvalidInput, match="has not begun"):
        require_begun(week, week.opens_at)


def test_a_command_is_told_of_seven_days_by_the_first():
    assert week_of(date(2019, 12, 2)).options == "--week-start 2019-12-02"
    assert Week(date(2019, 12, 2), date(2019, 12, 4)).options == "--week-start 2019-12-02 --week-end 2019-12-04"


def test_a_week_that_ends_before_it_starts_is_none():
    with pytest.raises(InvalidInput, match="ends"):
        Week(date(2019, 12, 8), date(2019, 12, 2))
