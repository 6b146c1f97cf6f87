"""EXTRACT against the sandbox: complete and exact, or an error that says why; resumed where it stopped; drift of the list noticed."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import canaries
from treadle.clients.events_api import EventsApi
from treadle.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidInput,
    NotFound,
    Throttled,
    TreadleError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from treadle.flows.weekly.envelope import read_envelope
from treadle.flows.weekly.extract import MANIFEST, Extracted, PageFile, extract_week, read_extract, read_page
from treadle.flows.weekly.week import Week, week_of
from treadle.sandbox.events.routes import LIST_EVENTS
from treadle.sandbox.events.store import EventsStore
from treadle.sandbox.server import Sandbox

WEEK = week_of(date(2019, 12, 2))
NOW = datetime(2019, 12, 10, 9, 30, tzinfo=UTC)
ROWS, PAGE_SIZE, PAGES = 100, 30, 4


@pytest.fixture
def events(sandbox: Sandbox) -> Iterator[EventsStore]:
    sandbox.events.reset()
    canaries.plant(sandbox.events.api_key)
    sandbox.events.set_week(WEEK.start, rows=ROWS, defect_rate=0.1)
    yield sandbox.events
    sandbox.events.reset()


@pytest.fixture
def api(sandbox: Sandbox, events: EventsStore) -> Iterator[EventsApi]:
    made = EventsApi(
        sandbox.endpoints.events_url, api_key=events.api_key, ca_file=sandbox.endpoints.ca_file, max_retries=2, sleep=lambda _seconds: None
    )
    yield made
    made.close()


@pytest.fixture
def extract(api: EventsApi, tmp_path: Path) -> Callable[..., Extracted]:
    """Extract the week in pages of 30 without a pause; what a test is about is given by name."""

    def extract(folder: Path = tmp_path, week: Week = WEEK, **changes) -> Extracted:
        return extract_week(api, week, folder, **{"now": NOW, "page_size": PAGE_SIZE, "delay_seconds": 0, **changes})

    return extract


class Stop(Exception):
    """What a caller raises who wants no more."""


def stop_before_call(number: int) -> Callable[[], None]:
    calls = iter(range(1, number))

    def check() -> None:
        if next(calls, None) is None:
            raise Stop

    return check


def records_of(extracted: Extracted) -> list[bytes]:
    return [record for page in extracted.pages for record in read_envelope(read_page(page)).records]


def listed(events: EventsStore, week: Week = WEEK) -> list[bytes]:
    """What the API has of the week, straight from its store."""
    return list(events.page(week.opens_at, week.closes_at, 1, 1_000_000).records)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def asked_pages(sandbox: Sandbox) -> int:
    return sum(request.status == 200 for request in sandbox.requests)


# --- a whole week


def test_a_week_is_kept_as_the_api_sent_it(extract, api, events, tmp_path):
    done = extract()
    assert [page.rows for page in done.pages] == [30, 30, 30, 10]
    assert (done.rows_fetched, done.total_reported) == (ROWS, ROWS)
    assert (done.week, done.window_opens, done.window_closes, done.ingested_at) == (WEEK, WEEK.opens_at, WEEK.closes_at, NOW)
    for page in done.pages:
        assert read_page(page) == api.page(WEEK.opens_at, WEEK.closes_at, page.number, PAGE_SIZE)
    assert records_of(done) == listed(events)
    assert list(files_in(tmp_path)) == [MANIFEST, *(f"pages/page-{number:06d}.json.zst" for number in range(1, 5))]


def test_what_is_finished_is_read_back_and_not_fetched_again(extract, sandbox, tmp_path):
    done = extract()
    sandbox.requests.clear()
    assert extract(now=NOW + timedelta(days=3)) == read_extract(tmp_path) == done
    assert not sandbox.requests


def test_an_extract_can_be_had_anew_with_what_came_in_since(extract, events):
    before = extract()
    events.add_late_events(WEEK.start, added=5, changed_every=10)
    assert extract() == before
    after = extract(now=NOW + timedelta(days=1), anew=True)
    assert (after.rows_fetched, after.ingested_at) == (105, NOW + timedelta(days=1))
    assert records_of(after) == listed(events)
    assert after.sha256 != before.sha256


def test_another_page_size_or_week_starts_anew(extract, events):
    extract()
    assert [page.rows for page in extract(page_size=40, anew=True).pages] == [40, 40, 20]
    other = week_of(date(2019, 12, 9))
    assert extract(week=other, page_size=1000, now=datetime(2020, 1, 1, tzinfo=UTC)).week == other


def test_an_interrupted_extract_of_other_pages_is_not_resumed(extract, events):
    with pytest.raises(Stop):
        extract(check=stop_before_call(3))
    assert [page.rows for page in extract(page_size=40).pages] == [40, 40, 20]


@pytest.mark.parametrize("envelope", ["data", "events", "results", "items", "list"])
@pytest.mark.parametrize("rows", [0, 1, 30, 90, 100])
def test_a_week_is_whole_in_every_envelope_and_at_every_edge_of_a_page(extract, events, envelope, rows):
    events.set_week(WEEK.start, rows=rows)
    events.options.set({"envelope": envelope})
    done = extract()
    assert records_of(done) == listed(events)
    assert (done.rows_fetched, done.total_reported) == (rows, None if envelope == "list" else rows)
    assert all(page.rows for page in done.pages)


@pytest.mark.parametrize("reports_total", [True, False])
@pytest.mark.parametrize("rows", [7, 70, 100])
def test_an_api_that_gives_smaller_pages_than_it_is_asked_for_loses_nothing(extract, events, reports_total, rows):
    events.set_week(WEEK.start, rows=rows)
    events.options.set({"page_cap": 7, "reports_total": reports_total})
    assert records_of(extract()) == listed(events)


def test_records_of_every_kind_come_through_byte_for_byte(extract, events):
    events.set_week(WEEK.start, rows=600, defect_rate=0.3, oddity_rate=0.3, hostile_rate=0.4)
    done = extract(page_size=100)
    assert records_of(done) == listed(events)


def test_calls_are_spaced_and_listeners_told(extract, sandbox, api):
    slept, told = [], []
    extract(delay_seconds=2.5, sleep=slept.append, on_page=lambda page, total: told.append((page.number, page.rows, total)))
    assert slept == [2.5] * (len(sandbox.requests) - 1)
    assert told == [(1, 30, 100), (2, 30, 100), (3, 30, 100), (4, 10, 100)]


def test_the_window_is_half_open_and_spans_may_be_of_any_length(extract, events):
    events.set_week(date(2019, 12, 9), rows=50)
    ten_days = Week(date(2019, 12, 4), date(2019, 12, 13))
    done = extract(week=ten_days, now=datetime(2020, 1, 1, tzinfo=UTC))
    assert records_of(done) == listed(events, ten_days)
    assert 60 < done.rows_fetched < 150


# --- the upper bound


def test_of_a_week_that_is_not_over_the_bound_is_frozen_when_the_extract_begins(extract, events, sandbox):
    thursday = datetime(2019, 12, 5, 12, tzinfo=UTC)
    with pytest.raises(Stop):
        extract(now=thursday, check=stop_before_call(2))
    done = extract(now=thursday + timedelta(hours=30))
    assert (done.window_closes, done.ingested_at) == (thursday, thursday)
    assert records_of(done) == list(events.page(WEEK.opens_at, thursday, 1, 1_000).records)
    assert 0 < done.rows_fetched < ROWS


def test_once_the_week_is_over_it_is_fetched_whole(extract, events):
    thursday = datetime(2019, 12, 5, 12, tzinfo=UTC)
    partial = extract(now=thursday)
    assert extract(now=thursday) == partial
    later = extract(now=thursday + timedelta(hours=12))
    assert later.rows_fetched > partial.rows_fetched
    with pytest.raises(Stop):
        extract(now=thursday, anew=True, check=stop_before_call(3))
    whole = extract()
    assert (whole.window_closes, whole.ingested_at, whole.rows_fetched) == (WEEK.closes_at, NOW, ROWS)
    assert records_of(whole) == listed(events)


def test_a_week_that_has_not_begun_is_refused(extract, sandbox, tmp_path):
    with pytest.raises(InvalidInput, match="has not begun"):
        extract(now=WEEK.opens_at)
    assert not sandbox.requests
    assert files_in(tmp_path) == {}


# --- resuming


@pytest.mark.parametrize("call", range(1, 6))
def test_whoever_is_stopped_between_two_calls_goes_on_there(extract, sandbox, tmp_path, call):
    whole = extract(folder=tmp_path / "whole")
    sandbox.requests.clear()
    with pytest.raises(Stop):
        extract(folder=tmp_path / "stopped", check=stop_before_call(call))
    assert read_extract(tmp_path / "stopped") is None
    assert asked_pages(sandbox) == call - 1
    told = []
    resumed = extract(folder=tmp_path / "stopped", now=NOW + timedelta(days=2), on_page=lambda page, _total: told.append(page.number))
    assert resumed.ingested_at == NOW
    assert files_in(tmp_path / "stopped") == files_in(tmp_path / "whole")
    assert [page.sha256 for page in resumed.pages] == [page.sha256 for page in whole.pages]
    assert told == [1, 2, 3, 4]
    assert asked_pages(sandbox) <= (call - 1) + (PAGES - min(call - 1, PAGES)) + 1, "no page is asked for twice, but the first at the end"


@pytest.mark.parametrize(
    ("kind", "arguments", "error"),
    [
        ("status", {"status": 503}, Unavailable), ("status", {"status": 429, "retry_after_seconds": 1}, Throttled), ("drop_after", {}, Unavailable),
        ("truncate", {}, Unavailable), ("wrong_content_type", {}, UnexpectedAnswer),
    ],
)  # fmt: skip
def test_an_api_that_fails_in_the_middle_costs_no_page(extract, sandbox, events, tmp_path, kind, arguments, error):
    sandbox.faults.script(LIST_EVENTS, kind, times=3, after=2, **arguments)
    with pytest.raises(error):
        extract()
    kept = files_in(tmp_path)
    assert len(kept) == 3
    done = extract()
    assert records_of(done) == listed(events)
    assert kept.items() - files_in(tmp_path).items() == {(MANIFEST, kept[MANIFEST])}


@pytest.mark.parametrize("kind", ["status", "drop_before", "drop_after", "truncate", "wrong_content_type", "slow"])
def test_a_fault_now_and_then_is_not_even_noticed(extract, sandbox, events, kind):
    for after in (0, 2, 4):
        sandbox.faults.script(LIST_EVENTS, kind, after=after, seconds=0.1)
    assert records_of(extract()) == listed(events)


def test_a_key_that_is_withdrawn_ends_the_extract_and_a_new_one_goes_on(extract, sandbox, events):
    sandbox.faults.script(LIST_EVENTS, "status", status=401, after=2)
    with pytest.raises(Unauthenticated, match="page 3"):
        extract()
    assert records_of(extract()) == listed(events)


@pytest.mark.parametrize("damage", [b"", b"not zstd", None])
@pytest.mark.parametrize("number", [1, 3])
def test_a_page_that_is_damaged_or_gone_is_fetched_again(extract, tmp_path, number, damage):
    done = extract()
    before, path = files_in(tmp_path), done.pages[number - 1].path
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ChecksumMismatch, match=path.name):
        read_page(done.pages[number - 1])
    if damage is None:
        assert read_extract(tmp_path) is None
        assert extract() == done
    else:
        (tmp_path / MANIFEST).write_text(json.dumps({k: v for k, v in json.loads(before[MANIFEST]).items() if k != "pages"}))
        assert extract() == done
    assert files_in(tmp_path) == before


def test_another_body_of_the_same_length_is_noticed_when_a_page_is_read(extract):
    page = extract().pages[0]
    with pytest.raises(ChecksumMismatch) as raised:
        read_page(PageFile(page.number, page.path, page.rows, page.size_bytes, "0" * 64))
    assert raised.value.details["page"] == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version":1}', '{"version":2}', "\x00", None])
def test_a_manifest_that_cannot_be_read_is_named(extract, sandbox, tmp_path, content):
    extract()
    if content is None:  # all is there but what the pages are
        content = json.dumps(json.loads((tmp_path / MANIFEST).read_text()) | {"pages": [{"number": 1}]})
    (tmp_path / MANIFEST).write_text(content)
    sandbox.requests.clear()
    with pytest.raises(InvalidInput, match=MANIFEST):
        extract()
    assert not sandbox.requests
    assert extract(anew=True).rows_fetched == ROWS


def test_two_at_once_do_not_write_into_one_folder(extract, tmp_path):
    """The second is refused while the first is at it; the first finishes as if nothing had been."""
    refused = []

    def second(page: PageFile, _total: int | None) -> None:
        if page.number == 2:
            with pytest.raises(Conflict, match="Another process") as raised:
                extract(anew=True)
            refused.append(raised.value)

    done = extract(on_page=second)
    assert len(refused) == 1
    assert read_extract(tmp_path) == done
    assert extract(anew=True).rows_fetched == ROWS


@pytest.mark.parametrize("place", ["a file", "a file/below"])
def test_a_folder_that_cannot_be_is_named(extract, tmp_path, place):
    (tmp_path / "a file").touch()
    with pytest.raises(InvalidInput, match="a file"):
        extract(folder=tmp_path / place)


# --- what the API says and what it gives


@pytest.mark.parametrize("delta", [7, -7, 30, -10, -30, -40, -70, -99, -100, 1])
def test_a_total_that_is_wrong_is_an_error_and_nothing_is_kept(extract, sandbox, events, tmp_path, delta):
    events.set_week(WEEK.start, rows=ROWS)
    sandbox.faults.script(LIST_EVENTS, "wrong_total", times=None, delta=delta)
    with pytest.raises(UnexpectedAnswer, match=f"has {ROWS + delta} events") as raised:
        extract()
    assert raised.value.details["total_reported"] == ROWS + delta
    assert files_in(tmp_path) == {}
    sandbox.faults.clear()
    assert records_of(extract()) == listed(events)


def test_a_wrong_total_that_is_the_size_of_the_smaller_pages_that_come_is_noticed(extract, sandbox, events):
    events.set_week(WEEK.start, rows=34)
    events.options.set({"page_cap": 4})
    sandbox.faults.script(LIST_EVENTS, "wrong_total", delta=-30)
    assert records_of(extract()) == listed(events)


def test_an_envelope_that_no_contract_names_is_never_zero_rows(extract, sandbox, events):
    sandbox.faults.script(LIST_EVENTS, "unknown_envelope", after=1, key="rows")
    with pytest.raises(UnexpectedAnswer, match="only 'rows', 'meta'"):
        extract()
    assert records_of(extract()) == listed(events)


# --- the list changes while it is read


@pytest.mark.parametrize("reports_total", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 29, 30, 31, -1, -5, -30])
@pytest.mark.parametrize("after", [1, 3])
def test_a_list_that_shifts_is_read_anew(extract, sandbox, events, rows, after, reports_total):
    events.options.set({"reports_total": reports_total})
    sandbox.faults.script(LIST_EVENTS, "page_drift", after=after, rows=rows)
    done = extract()
    assert done.rows_fetched == ROWS + rows
    assert records_of(done) == listed(events)


def test_a_list_that_keeps_shifting_is_an_error_and_nothing_is_kept(extract, sandbox, events, tmp_path):
    for after in (1, 3):  # at the second page of either try
        sandbox.faults.script(LIST_EVENTS, "page_drift", after=after)
    with pytest.raises(UnexpectedAnswer, match="changed twice while they were read") as raised:
        extract()
    assert "102" in raised.value.details["change"]
    assert files_in(tmp_path) == {}
    assert records_of(extract()) == listed(events)


def test_a_list_that_changed_between_stop_and_resume_is_read_anew(extract, events):
    with pytest.raises(Stop):
        extract(check=stop_before_call(3))
    events.drift(WEEK.opens_at, 2)
    events.drift(WEEK.opens_at, -2)  # the count is as before, and so are the pages that come
    events.set_week(WEEK.start, rows=ROWS + 1)
    done = extract(now=NOW + timedelta(hours=1))
    assert records_of(done) == listed(events)


@pytest.mark.parametrize("reports_total", [True, False])
def test_a_page_that_comes_twice_once_is_noticed(extract, sandbox, events, reports_total):
    events.options.set({"reports_total": reports_total})
    sandbox.faults.script(LIST_EVENTS, "repeated_page", after=2)
    told = []
    done = extract(on_page=lambda page, _total: told.append(page.number))
    assert told == [1, 2, 1, 2, 3, 4]
    assert records_of(done) == listed(events)


@pytest.mark.parametrize("envelope", ["data", "list"])
def test_an_api_that_goes_round_in_a_circle_is_left(extract, sandbox, events, tmp_path, envelope):
    events.options.set({"envelope": envelope})
    sandbox.faults.script(LIST_EVENTS, "repeated_page", times=None, page=1)
    with pytest.raises(UnexpectedAnswer, match="page 2 has the events of page 1"):
        extract()
    assert len(sandbox.requests) == 4
    assert files_in(tmp_path) == {}


def test_a_shift_that_leaves_count_and_beginning_as_they_were_is_noticed_where_pages_meet(extract, sandbox, events):
    """One event turns up inside page 2, one goes from the end: an event is now on page 2 and on page 3."""
    events.options.set({"reports_total": False})
    with pytest.raises(Stop):
        extract(check=stop_before_call(3))
    events.drift(WEEK.opens_at, 3)
    done = extract()
    assert records_of(done) == listed(events)


def test_events_that_really_are_there_twice_stay_twice(extract, sandbox, events):
    """An event at the end of one page and the beginning of the next is no shift when the first page reads as before."""
    events.set_week(WEEK.start, rows=60, oddity_rate=0.0, defect_rate=1.0, kinds=("no_object",))
    done = extract()
    assert done.rows_fetched == 60
    assert records_of(done) == listed(events)


class Alike:
    """An API of so many events of one user in one second, who buys the same; as `EventsApi` is asked."""

    def __init__(self, rows: int, *, total: bool = True, end: bool = True) -> None:
        self.rows, self.total, self.end = rows, total, end

    def page(self, _opens: datetime, _closes: datetime, number: int, size: int) -> bytes:
        left = self.rows - (number - 1) * size if self.end else size
        meta = {"meta": {"total": self.rows}} if self.total else {}
        event = {"event_time": "2019-12-03T10:00:00Z", "event_type": "view", "user_id": "1"}
        return json.dumps({"data": [event] * max(0, min(size, left)), **meta}).encode()


@pytest.mark.parametrize("rows", [60, 75])
def test_pages_full_of_events_that_are_alike_are_all_kept(tmp_path, rows):
    done = extract_week(Alike(rows), WEEK, tmp_path, now=NOW, page_size=PAGE_SIZE, delay_seconds=0)
    assert (done.rows_fetched, len(records_of(done))) == (rows, rows)


@pytest.mark.parametrize("api", [Alike(75, total=False), Alike(75, end=False), Alike(90, end=False)])
def test_pages_that_are_alike_are_refused_where_nothing_says_how_many_there_are(tmp_path, api):
    with pytest.raises(UnexpectedAnswer, match=r"page 2 has the events of page 1|gave"):
        extract_week(api, WEEK, tmp_path, now=NOW, page_size=PAGE_SIZE, delay_seconds=0)


def test_an_api_that_refuses_the_page_behind_the_last_is_at_its_end(extract, sandbox, events):
    events.set_week(WEEK.start, rows=60)
    sandbox.faults.script(LIST_EVENTS, "status", status=404, after=2)
    assert records_of(extract()) == listed(events)
    sandbox.faults.script(LIST_EVENTS, "status", status=404, after=1)
    with pytest.raises(NotFound):
        extract(anew=True)


FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["repeated_page", "wrong_total", "unknown_envelope", "status", "drop_after", "truncate", "wrong_content_type"]),
        st.integers(0, 12),
    ),
    max_size=3,
)
DRIFT = st.tuples(st.integers(0, 12), st.integers(-25, 25).filter(bool))


@given(
    rows=st.integers(0, 45),
    faults=FAULTS,
    drift=DRIFT | st.none(),
    delta=st.integers(-30, 30),
    reports_total=st.booleans(),
    cap=st.sampled_from([1000, 4]),
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_goes_wrong_the_events_are_all_there_or_there_is_an_error(
    extract, sandbox, events, tmp_path_factory, rows, faults, drift, delta, reports_total, cap
):
    """What is returned is what the API had at one moment, event for event; and after an error, the next try without faults has it all."""
    sandbox.faults.clear()
    events.reset()
    events.set_week(WEEK.start, rows=rows, defect_rate=0.1)
    events.options.set({"reports_total": reports_total, "page_cap": cap})
    for kind, after in faults:
        sandbox.faults.script(LIST_EVENTS, kind, after=after, delta=delta)
    if drift:
        sandbox.faults.script(LIST_EVENTS, "page_drift", after=drift[0], rows=drift[1])
    folder, before = tmp_path_factory.mktemp("extract"), listed(events)
    try:
        found = records_of(extract(folder=folder, page_size=10))
    except TreadleError:
        sandbox.faults.clear()
        assert records_of(extract(folder=folder, page_size=10)) == listed(events)
    else:
        assert found in (before, listed(events))
    sandbox.faults.clear()
