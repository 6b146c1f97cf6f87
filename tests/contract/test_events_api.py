"""The events API of the sandbox through a plain HTTP client, each of its faults, and Treadle's own client against them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import httpx2
import pytest
import requests
from tests import canaries

from treadle.clients.events_api import EventsApi
from treadle.errors import InvalidInput, NotFound, Throttled, Unauthenticated, Unavailable, UnexpectedAnswer
from treadle.flows.weekly.contract import Accepted, Rejected, judge
from treadle.flows.weekly.week import week_of
from treadle.sandbox.clock import Clock
from treadle.sandbox.events.defects import DEFECTS, HOSTILE, ODDITIES
from treadle.sandbox.events.routes import LIST_EVENTS
from treadle.sandbox.events.store import EventsStore, WeekPlan
from treadle.sandbox.faults import WIRE_KINDS

MONDAY = date(2019, 12, 2)
OPENS, CLOSES = datetime(2019, 12, 2, tzinfo=UTC), datetime(2019, 12, 9, tzinfo=UTC)
PATH = "/datasets/ecom_events"
FIELDS = {"event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id", "user_session"}


@pytest.fixture
def events(sandbox) -> Iterator[EventsStore]:
    sandbox.events.reset()
    canaries.plant(sandbox.events.api_key)
    yield sandbox.events
    sandbox.events.reset()


@pytest.fixture
def ask(sandbox, events, https) -> Callable[..., httpx2.Response]:
    """Ask for a page of the first week of the demo; any part of the question can be replaced, or left out by None."""

    def ask(**changes: object) -> httpx2.Response:
        question = {"start_time": "2019-12-02T00:00:00Z", "end_time": "2019-12-09T00:00:00Z", "page": 1, "page_size": 1000} | changes
        params = {name: str(value) for name, value in question.items() if value is not None}
        return https.get(f"{sandbox.endpoints.events_url}{PATH}", params=params, headers={"X-API-KEY": events.api_key})

    return ask


@pytest.fixture
def empty_store(tmp_path) -> EventsStore:
    """A store outside any server."""
    return EventsStore(tmp_path, Clock())


class Waits:
    """Waiting that takes no time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def api(sandbox, events, waits) -> Iterator[EventsApi]:
    made = EventsApi(
        sandbox.endpoints.events_url,
        api_key=events.api_key,
        ca_file=sandbox.endpoints.ca_file,
        timeout_seconds=20,
        max_retries=3,
        sleep=waits,
    )
    yield made
    made.close()


def all_pages(ask, size=1000, **changes) -> list[list[dict]]:
    found = []
    while events := ask(page=len(found) + 1, page_size=size, **changes).json()["data"]:
        found.append(events)
    return found


def moment(event: dict) -> datetime:
    found = datetime.fromisoformat(event["event_time"])
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def user(event: dict) -> str:
    return str(event["user_id"]).strip()


# --- the contract


def test_a_plain_client_reads_a_week_page_by_page(sandbox, events):
    session = requests.Session()
    session.verify, session.trust_env, session.headers["X-API-KEY"] = str(sandbox.endpoints.ca_file), False, events.api_key
    found, page = [], 0
    while True:
        page += 1
        params = {"start_time": "2019-12-02", "end_time": "2019-12-09", "page": page, "page_size": 700}
        answer = session.get(f"{sandbox.endpoints.events_url}{PATH}", params=params, timeout=10)
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert body["meta"] == {"page": page, "page_size": 700, "total": 6000}
        if not body["data"]:
            break
        found += body["data"]
    assert (len(found), page) == (6000, 10)


@pytest.mark.parametrize("key", [None, "", "wrong", "sandbox-events-"])
def test_without_the_key_nothing_is_told(sandbox, https, events, key):
    answer = https.get(f"{sandbox.endpoints.events_url}{PATH}", headers={} if key is None else {"x-api-key": key})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page", 0), ("page", -1), ("page", "one"), ("page", "1.0"), ("page", "١"), ("page", "9" * 30), ("page_size", 0), ("page_size", 1001),
        ("page_size", ""), ("start_time", None), ("start_time", "last week"), ("end_time", "2019-12-32"), ("end_time", "2019-12-01T23:59:59Z"),
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused_by_the_name_of_what_is_wrong(ask, name, value):
    answer = ask(**{name: value})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_parameter")
    assert name in answer.json()["error"]["message"]


def test_a_page_has_a_hundred_events_unless_asked_otherwise_and_none_behind_the_last(ask):
    assert len(ask(page_size=None).json()["data"]) == 100
    assert ask(page=7).json() == {"data": [], "meta": {"page": 7, "page_size": 1000, "total": 6000}}


def test_the_window_is_half_open(ask):
    at = ask(page=3).json()["data"][500]["event_time"]
    before, behind = all_pages(ask, end_time=at), all_pages(ask, start_time=at)
    assert max(moment(event) for page in before for event in page) < datetime.fromisoformat(at)
    assert behind[0][0]["event_time"] == at
    assert sum(map(len, before)) + sum(map(len, behind)) == 6000
    assert ask(start_time=at, end_time=at).json()["meta"]["total"] == 0


def test_a_window_may_span_weeks_and_begin_on_any_day(ask):
    parts = [("2019-12-04T12:00:00Z", "2019-12-09T00:00:00Z"), ("2019-12-09T00:00:00Z", "2019-12-11T12:00:00+00:00")]
    totals = [ask(start_time=start, end_time=end).json()["meta"]["total"] for start, end in parts]
    assert min(totals) > 0
    assert ask(start_time=parts[0][0], end_time=parts[1][1]).json()["meta"]["total"] == sum(totals)
    assert ask(start_time="2031-01-01", end_time="2031-02-01").json()["meta"]["total"] == 0


def test_a_time_with_an_offset_means_that_moment(ask):
    offset = ask(start_time="2019-12-02T05:30:00+05:30", end_time="2019-12-08T19:00:00-05:00")
    assert offset.json()["data"] == ask().json()["data"]


def test_the_same_events_come_whatever_the_size_of_the_pages(ask):
    whole = [event for page in all_pages(ask) for event in page]
    assert [event for page in all_pages(ask, size=333) for event in page] == whole


def test_what_is_not_modelled_answers_501(sandbox, https, events):
    for method, path in [("POST", PATH), ("GET", "/datasets"), ("GET", f"{PATH}/1")]:
        answer = https.request(method, sandbox.endpoints.events_url + path, headers={"X-API-KEY": events.api_key})
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_modelled")


def test_calls_beyond_the_limit_wait_for_the_minute_to_pass(sandbox, ask, events):
    sandbox.clock.freeze()
    events.options.set({"requests_per_minute": 2})
    assert [ask().status_code for _ in range(2)] == [200, 200]
    sandbox.clock.advance(20)
    refused = ask()
    assert (refused.status_code, refused.headers["retry-after"], refused.json()["error"]["code"]) == (429, "40", "rate_limited")
    sandbox.clock.advance(39)
    assert ask().headers["retry-after"] == "1"
    sandbox.clock.advance(1)
    assert ask().status_code == 200
    sandbox.faults.script(LIST_EVENTS, "no_retry_after")
    assert [ask().status_code, "retry-after" in ask().headers] == [200, False]


# --- what the events are like


def test_a_good_week_looks_like_a_shop(ask):
    found = [event for page in all_pages(ask) for event in page]
    good = [event for event in found if set(event) == FIELDS and isinstance(event["price"], float) and event["event_time"].endswith("Z")]
    assert len(good) > 5_900
    kinds = Counter(event["event_type"].strip().lower() for event in good)
    assert kinds["view"] > 3 * kinds["cart"] > 3 * kinds["purchase"] > 300
    of_user = Counter(user(event) for event in good)
    (_, most), middle = of_user.most_common(1)[0], sorted(of_user.values())[len(of_user) // 2]
    assert most > 5 * middle, "customers are not alike"
    sessions = {}
    for event in good:
        sessions.setdefault(event["user_session"], set()).add(user(event))
    assert len(good) > 3 * len(sessions)
    assert all(len(users) == 1 for users in sessions.values())
    prices = sorted(event["price"] for event in good)
    assert prices[len(prices) // 2] * 3 < sum(prices) / len(prices) * 2 < prices[-1], "prices are skewed"
    hours = Counter(moment(event).hour for event in good)
    assert hours[20] > 5 * hours[3]


def test_events_are_in_the_order_of_their_times(empty_store):
    empty_store.set_week(MONDAY, oddity_rate=0.0)
    times = [json.loads(record)["event_time"] for number in range(1, 7) for record in empty_store.page(OPENS, CLOSES, number, 1000).records]
    assert times == sorted(times)
    assert times[0] >= "2019-12-02T00:00:00Z"
    assert times[-1] <= "2019-12-08T23:59:59Z"


@pytest.mark.parametrize("kind", DEFECTS)
def test_every_defect_breaks_the_contract(empty_store, kind):
    empty_store.set_week(MONDAY, rows=60, defect_rate=1.0, kinds=[kind], oddity_rate=0.0)
    verdicts = [judge(record, week_of(MONDAY)) for record in empty_store.page(OPENS, CLOSES, 1, 60).records]
    assert len(verdicts) == 60
    assert all(isinstance(verdict, Rejected) for verdict in verdicts), verdicts


@pytest.mark.parametrize("kind", ODDITIES)
def test_no_oddity_breaks_it(empty_store, kind):
    empty_store.set_week(MONDAY, rows=60, oddity_rate=1.0, kinds=[kind])
    verdicts = [judge(record, week_of(MONDAY)) for record in empty_store.page(OPENS, CLOSES, 1, 60).records]
    assert len(verdicts) == 60
    assert all(isinstance(verdict, Accepted) for verdict in verdicts), verdicts


def test_hostile_records_of_every_kind_can_be_asked_for(empty_store):
    empty_store.set_week(MONDAY, rows=5_000, oddity_rate=0.0, hostile_rate=1.0)
    found = b"\n".join(empty_store.page(OPENS, CLOSES, 1, 5_000).records)
    for trace in (b"\xff\xfe", b"\\ud800", b"\\u0000", b"[" * 200, b"x" * 20_000, b"9" * 30, b'"product_id":true', b"W49", "١٢".encode()):
        assert trace in found
    assert found.count(b"first of two") > 100
    assert len(HOSTILE) > 15


def test_rates_are_kept_and_every_kind_occurs(empty_store):
    empty_store.set_week(MONDAY, rows=50_000, defect_rate=0.02, oddity_rate=0.0)
    verdicts = [judge(record, week_of(MONDAY)) for record in empty_store.page(OPENS, CLOSES, 1, 50_000).records]
    rejected = [verdict for verdict in verdicts if isinstance(verdict, Rejected)]
    assert 0.017 < len(rejected) / 50_000 < 0.023
    broken = {(error.rule, error.field) for verdict in rejected for error in verdict.errors}
    assert len(broken) >= 15, broken


def test_the_weeks_of_the_demo_have_the_quality_that_it_tells_of(empty_store):
    rates = {}
    for monday in (MONDAY, date(2019, 12, 9), date(2019, 12, 16)):
        week = week_of(monday)
        page = empty_store.page(week.opens_at, week.closes_at, 1, 100_000)
        assert len(page.records) == page.total > 5_000
        rates[monday.day] = sum(isinstance(judge(record, week), Rejected) for record in page.records) / page.total
    assert (rates[2], rates[16]) == (0, 0)
    assert 0.012 < rates[9] < 0.028


# --- any week, any size, again and again


def test_any_page_of_a_huge_week_is_made_alone(empty_store):
    empty_store.set_week(MONDAY, rows=100_000_000)
    page = empty_store.page(OPENS, CLOSES, 99_999, 1_000)
    assert (len(page.records), page.total) == (1_000, 100_000_000)
    assert json.loads(page.records[0])["event_time"].startswith("2019-12-08T23:59")
    noon = datetime(2019, 12, 5, 12, tzinfo=UTC)
    before, behind = empty_store.page(OPENS, noon, 1, 1), empty_store.page(noon, CLOSES, 1, 1)
    assert before.total + behind.total == 100_000_000
    assert json.loads(behind.records[0])["event_time"] == "2019-12-05T12:00:00Z"


def test_another_store_has_the_same_events_and_another_seed_has_others(tmp_path):
    one, other = EventsStore(tmp_path / "one", Clock()), EventsStore(tmp_path / "other", Clock())
    assert one.page(OPENS, CLOSES, 2, 1000) == other.page(OPENS, CLOSES, 2, 1000)
    assert one.api_key != other.api_key
    other.set_week(MONDAY, seed=2)
    assert one.page(OPENS, CLOSES, 2, 1000).records != other.page(OPENS, CLOSES, 2, 1000).records


def test_the_events_stay_the_same_from_version_to_version(empty_store):
    """Known answer: what a test or a demo has counted once holds."""
    empty_store.set_week(MONDAY, oddity_rate=0.0)
    assert empty_store.page(OPENS, CLOSES, 1, 1).records == [FIRST_EVENT]


def test_weeks_and_key_outlast_the_process(tmp_path):
    before = EventsStore(tmp_path, Clock())
    planned = before.set_week(date(2031, 6, 2), rows=7, defect_rate=0.5, kinds=["user_empty"], seed=9)
    after = EventsStore(tmp_path, Clock())
    assert (after.api_key, after.week(date(2031, 6, 2))) == (before.api_key, planned)
    assert (tmp_path / "identity.json").stat().st_mode & 0o077 == 0


def test_late_events_come_behind_the_others_and_change_none_of_them(empty_store):
    empty_store.set_week(MONDAY, rows=2_500)
    before = empty_store.page(OPENS, CLOSES, 1, 10_000).records
    empty_store.add_late_events(MONDAY, added=40)
    with_late = empty_store.page(OPENS, CLOSES, 1, 10_000).records
    empty_store.add_late_events(MONDAY, added=3)
    assert (len(with_late), with_late[:2_500]) == (2_540, before)
    assert empty_store.page(OPENS, CLOSES, 1, 10_000).records[:2_540] == with_late
    days = {json.loads(record)["event_time"][:10] for record in with_late[2_500:]}
    assert len(days) >= 5


def test_a_correction_changes_prices_and_nothing_else(empty_store):
    empty_store.set_week(MONDAY, rows=2_500, oddity_rate=0.0)

    def read() -> list[dict]:
        return [json.loads(record) for record in empty_store.page(OPENS, CLOSES, 1, 10_000).records]

    before = read()
    empty_store.add_late_events(MONDAY, changed_every=100)
    once = read()
    empty_store.add_late_events(MONDAY, changed_every=100)
    twice = read()
    changed = [place for place in range(2_500) if once[place] != before[place]]
    assert changed == list(range(0, 2_500, 100)) == [place for place in range(2_500) if twice[place] != once[place]]
    assert all({**once[place], "price": 0} == {**before[place], "price": 0} for place in changed)


@pytest.mark.parametrize(
    "plan",
    [
        {"start": date(2019, 12, 3), "rows": 1}, {"rows": -1}, {"rows": True}, {"rows": 1, "defect_rate": 1.5}, {"rows": 1, "kinds": ("x",)},
        {"rows": 1, "defect_rate": 0.6, "oddity_rate": 0.6}, {"rows": 1, "removed": 2}, {"rows": 1, "late": (-1,)},
    ],
)  # fmt: skip
def test_a_week_that_cannot_be_is_refused(plan):
    with pytest.raises(ValueError):
        WeekPlan(**{"start": MONDAY, **plan})


# --- the admin port


def test_weeks_and_options_are_set_through_the_admin_port(sandbox, ask, https, events):
    admin = f"{sandbox.endpoints.admin_url}/events"
    planned = https.post(admin, json={"week": "2019-12-02", "rows": 12, "defect_rate": 0.5, "kinds": ["user_empty", "user_null"]})
    assert next(week for week in planned.json()["weeks"] if week["start"] == "2019-12-02")["rows"] == 12
    assert ask().json()["meta"]["total"] == 12
    https.post(admin, json={"week": "2019-12-02", "late_events": {"added": 5, "changed_every": 3}})
    assert ask().json()["meta"]["total"] == 17
    answer = https.post(admin, json={"options": {"envelope": "items", "requests_per_minute": 5}})
    assert answer.json()["options"] == {"requests_per_minute": 5, "envelope": "items", "reports_total": True, "page_cap": 1000}
    assert len(ask().json()["items"]) == 17
    assert events.api_key not in https.get(admin).text
    assert https.delete(admin).status_code == 204
    assert ask().json()["meta"]["total"] == 6000


@pytest.mark.parametrize(
    "change",
    [
        {"week": "2019-12-03", "rows": 1}, {"week": "soon", "rows": 1}, {"rows": 1}, {"week": "2019-12-02", "colour": "red"}, {"options": {"envelope": "x"}},
        {"options": {"requests_per_minute": 0}}, {"options": {"page_cap": 2000}}, {"options": {"x": 1}}, {"late_events": {"added": 1}},
        {"week": "2019-12-02", "late_events": {"added": -1}}, {"week": "2019-12-02", "late_events": {"x": 1}}, {"week": "2019-12-02", "rows": "many"},
    ],
)  # fmt: skip
def test_the_admin_port_refuses_what_cannot_be_set_and_sets_nothing(sandbox, https, events, change):
    before = events.weeks()
    assert https.post(f"{sandbox.endpoints.admin_url}/events", json=change).status_code == 400
    assert events.weeks() == before


# --- faults, as a plain client sees them


@pytest.mark.parametrize("envelope", ["data", "events", "results", "items"])
def test_events_stand_under_the_key_that_is_set(ask, events, envelope):
    events.options.set({"envelope": envelope, "reports_total": False})
    assert set(ask().json()) == {envelope, "meta"}
    assert ask().json()["meta"] == {"page": 1, "page_size": 1000}


def test_a_list_may_come_without_anything_around_it(sandbox, ask, events):
    sandbox.faults.script(LIST_EVENTS, "bare_array")
    assert len(ask().json()) == 1000
    events.options.set({"envelope": "list"})
    assert len(ask().json()) == 1000


def test_the_api_may_give_less_than_it_is_asked_for(ask, events):
    events.options.set({"page_cap": 250})
    assert [len(page) for page in all_pages(ask)] == [250] * 24


def test_pages_shift_when_events_turn_up_or_go(sandbox, ask):
    first, second = (ask(page=page).json()["data"] for page in (1, 2))
    sandbox.faults.script(LIST_EVENTS, "page_drift", rows=2)
    shifted = ask(page=2).json()
    assert (shifted["data"][:2], shifted["data"][2:]) == (first[-2:], second[:-2])
    assert shifted["meta"]["total"] == 6002
    sandbox.faults.script(LIST_EVENTS, "page_drift", rows=-5)
    assert ask(page=1).json()["data"][2:] == [*first[5:], *second[:3]]
    assert ask().json()["meta"]["total"] == 5997


def test_the_total_the_page_and_the_envelope_may_be_wrong(sandbox, ask):
    good = ask(page=2).json()
    sandbox.faults.script(LIST_EVENTS, "wrong_total", delta=-10)
    assert ask(page=2).json() == good | {"meta": {"page": 2, "page_size": 1000, "total": 5990}}
    sandbox.faults.script(LIST_EVENTS, "repeated_page")
    assert ask(page=3).json() == good | {"meta": {"page": 3, "page_size": 1000, "total": 6000}}
    sandbox.faults.script(LIST_EVENTS, "repeated_page", page=2)
    assert ask(page=5).json()["data"] == good["data"]
    sandbox.faults.script(LIST_EVENTS, "unknown_envelope", key="rows")
    assert ask(page=2).json() == {"rows": good["data"], "meta": good["meta"]}
    assert ask(page=2).json() == good


# --- Treadle's client


def test_the_client_brings_the_body_as_it_came(sandbox, api, ask):
    assert api.page(OPENS, CLOSES, 2, 1000) == ask(page=2).content
    assert api.page(OPENS, OPENS + timedelta(microseconds=1), 1, 1).endswith(b'"total":0}}')


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("status", {"status": 429, "retry_after_seconds": 7}), ("status", {"status": 500}), ("status", {"status": 503, "retry_after_seconds": 3}),
        ("drop_before", {}), ("drop_after", {}), ("truncate", {}), ("wrong_content_type", {}), ("wrong_content_type", {"status": 502}), ("slow", {"seconds": 0.2}),
    ],
)  # fmt: skip
def test_what_passes_is_repeated(sandbox, api, waits, kind, arguments):
    assert kind in WIRE_KINDS
    sandbox.faults.script(LIST_EVENTS, kind, times=2, **arguments)
    assert json.loads(api.page(OPENS, CLOSES, 1, 10))["meta"]["total"] == 6000
    assert len(sandbox.requests) == (3 if kind != "slow" else 1)
    assert all(seconds >= arguments.get("retry_after_seconds", 0) for seconds in waits.seconds)
    if kind == "slow":
        api.page(OPENS, CLOSES, 1, 10)


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "calls"),
    [
        ("status", {"status": 429, "retry_after_seconds": 5}, Throttled, 4), ("status", {"status": 502}, Unavailable, 4), ("drop_after", {}, Unavailable, 4),
        ("wrong_content_type", {}, UnexpectedAnswer, 3), ("status", {"status": 400}, InvalidInput, 1), ("status", {"status": 404}, NotFound, 1),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_told_after_as_many_retries_as_were_allowed(sandbox, api, waits, kind, arguments, error, calls):
    sandbox.faults.script(LIST_EVENTS, kind, times=calls, **arguments)
    with pytest.raises(error) as raised:
        api.page(OPENS, CLOSES, 1, 10)
    assert len(sandbox.requests) == calls
    assert len(waits.seconds) == calls - 1
    assert raised.value.hint
    assert "list page 1 of the events from 2019-12-02T00:00:00Z to 2019-12-09T00:00:00Z" in raised.value.message


def test_the_limit_of_the_sandbox_is_waited_for(sandbox, api, events, waits):
    sandbox.clock.freeze()
    events.options.set({"requests_per_minute": 1})
    api.page(OPENS, CLOSES, 1, 10)
    with pytest.raises(Throttled):
        api.page(OPENS, CLOSES, 1, 10)
    assert len(waits.seconds) == 3
    assert all(60 <= seconds < 62 for seconds in waits.seconds)


def test_a_key_that_is_not_taken_is_told_at_once_and_shown_nowhere(sandbox, events):
    key = "a-key-that-nobody-knows"
    api = EventsApi(sandbox.endpoints.events_url, api_key=key, ca_file=sandbox.endpoints.ca_file)
    with pytest.raises(Unauthenticated) as raised:
        api.check()
    assert len(sandbox.requests) == 1
    assert raised.value.hint == "Check API_KEY."
    assert key not in f"{raised.value} {raised.value.details} {api.transport.__dict__}"
    api.close()


def test_a_check_says_where_it_looked(sandbox, api):
    assert api.check().url == f"{sandbox.endpoints.events_url}{PATH}"
    assert [(request.path, request.status) for request in sandbox.requests] == [(PATH, 200)]


def test_the_base_url_may_have_a_path(sandbox, events):
    api = EventsApi(f"{sandbox.endpoints.events_url}/shop/v1/", api_key=events.api_key, ca_file=sandbox.endpoints.ca_file)
    with pytest.raises(UnexpectedAnswer, match="501"):
        api.check()
    assert sandbox.requests[-1].path == "/shop/v1/datasets/ecom_events"
    api.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://events.example",
        "http://localhost:8080",
        "events.example",
        "",
        "https://",
        "https://u:pw-1@host",
        "https://h/?a=b",
        "https://h:x",
    ],
)
def test_only_https_is_taken_and_a_wrong_address_is_not_repeated(url):
    with pytest.raises(InvalidInput) as raised:
        EventsApi(url, api_key="key")
    assert "pw-1" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize("key", ["", " ", "two\nlines", "schlüssel", "trailing "])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_repeated(key):
    with pytest.raises(InvalidInput, match="X-API-KEY") as raised:
        EventsApi("https://events.example", api_key=key)
    assert not key.strip() or key.strip() not in str(raised.value)


@pytest.mark.parametrize("size", [0, 1001, -5])
def test_a_page_size_out_of_bounds_is_refused_before_anything_is_asked(sandbox, api, size):
    with pytest.raises(InvalidInput, match="A page cannot have"):
        api.page(OPENS, CLOSES, 1, size)
    assert not sandbox.requests


FIRST_EVENT = (
    b'{"event_time":"2019-12-02T00:03:46Z","event_type":"view","product_id":1001921,"category_id":2053013555715768825,"category_code":"a'
    b'pparel.costume","brand":"kestrel","price":20.36,"user_id":"550475775","user_session":"1cf4592f-9805-4a2b-a3d2-969f619b5459"}'
)
