"""Weekly, in the states that a browser meets seldom; with the real flow, database, events API and Salesforce behind it."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from tests.flows.weekly_place import begin_empty
from tests.surfaces.portal.conftest import texts, working
from treadle.actions import jobs, weekly
from treadle.control.access import Role, local_principal
from treadle.control.database import Database
from treadle.control.jobs.states import JobState
from treadle.flows.weekly.flow import WeekOptions
from treadle.flows.weekly.jobs import KEY
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.state import PostgresState
from treadle.flows.weekly.week import week_of
from treadle.portal.weekly import rejects_panel

FIRST = week_of(date(2019, 12, 2))
OLGA = local_principal("olga", Role.OPERATOR)
NEEDS_APPROVAL = {"field": "Total_Spend_Week__c", "above": 2_000, "message": "Needs approval [now](javascript:alert(1)) <b>"}


@pytest.fixture(autouse=True)
def _no_earlier_weeks(service):
    begin_empty(service.environment)
    yield
    service.environment.cloud.salesforce.options.validation_rules = ()


@pytest.fixture
def run_week(service) -> Callable[..., str]:
    """Run a week here and now; its run's id."""

    def run(week=FIRST, **options) -> str:
        return str(weekly.run(service.wiring.services, OLGA, week, WeekOptions("olga", **options)).run_id)

    return run


def newest_job(service):
    return jobs.list_jobs(service.wiring.services, OLGA, key=KEY, limit=1).jobs[0]


def until_jobs_have_ended(service) -> None:
    with working(service.wiring):
        pause = threading.Event()
        for _ in range(600):
            if newest_job(service).state.ended:
                return
            pause.wait(0.1)


def test_before_the_first_week_the_page_says_how_to_begin_and_who_may(service, open_page):
    at = open_page("weekly", role=Role.VIEWER, name="vic")
    assert not at.exception
    said = texts(at)
    assert "No week was run yet" in said
    assert "takes the role operator; yours is viewer. Ask an admin." in said
    assert at.button(key="weekly-next").disabled
    first = open_page("weekly").button(key="weekly-next")
    assert (first.label, first.disabled) == ("Run the first week", False)


def test_what_the_installation_lacks_is_named_in_words(service, open_page):
    opened = service.wiring.services.weekly()
    bare = replace(opened, settings=opened.settings.model_copy(update={"api_key": None, "salesforce_client_id": None}))
    at = open_page("weekly", services=replace(service.wiring.services, weekly=lambda: bare))
    assert not at.exception
    assert "2 settings are missing: API_KEY, SALESFORCE_CLIENT_ID" in texts(at)
    assert at.button(key="weekly-next").disabled


def test_a_week_is_told_with_its_stages_events_and_figures(service, open_page, run_week):
    run_id = run_week()
    at = open_page("weekly", run=run_id)
    assert not at.exception
    said = texts(at)
    for words in (
        "2 – 8 Dec 2019",
        "9 – 15 Dec 2019",
        "Quality gate",
        "started by olga",
        run_id,
        "● Success: 1",
        "6,000",
    ):
        assert words in said
    assert "The checkpoint is past" in said
    assert at.metric[1].delta == "It is over and can be run"


def test_an_address_that_names_nothing_is_told_with_the_way_on(service, open_page, run_week):
    run_week()
    for query in ({"week": "2019-13-01"}, {"run": "nonsense"}, {"run": "00000000-0000-0000-0000-000000000000"}):
        at = open_page("weekly", **query)
        assert not at.exception
        assert at.error, query
    for day in ("9999-12-27", "9999-12-30", "9999-12-31", "0001-01-01"):
        at = open_page("weekly", week=day)
        assert not at.exception
        assert "No week is shown for" in texts(at), day
        assert "To the week that is current" in [link.label for link in at.get("page_link")]


def test_rejects_are_counted_listed_and_shown_whole_as_text(service, open_page, run_week):
    run_week()
    run_week(FIRST.next)
    at = open_page("weekly", week=str(FIRST.next.start), view="Rejects")
    assert not at.exception
    assert "140 events were rejected" in texts(at)
    one = next(each for each in weekly.list_rejects(service.wiring.services, OLGA, FIRST.next, rule="empty") if each.value)
    at = open_page("weekly", week=str(FIRST.next.start), view="Rejects", record=str(one.row_index))
    assert not at.exception
    assert f"Record {one.row_index}" in texts(at)
    assert json.loads(at.code[0].value), "the raw record is there, as it came"
    csv = rejects_panel.exported(OLGA, FIRST.next, None, "csv").decode()
    assert csv.count("negative_price") == 10
    assert ",'-" in csv, "no cell is taken for a formula"
    (service.environment.state / "all.parquet").write_bytes(rejects_panel.exported(OLGA, FIRST.next, None, "parquet"))
    assert pl.read_parquet(service.environment.state / "all.parquet").height == 140


def test_the_next_week_is_asked_for_once_followed_and_cancelled(service, open_page, run_week):
    run_week()
    at, beside = open_page("weekly"), open_page("weekly", name="otto")
    at.button(key="weekly-next").click().run()
    beside.button(key="weekly-next").click().run()
    assert "checkpoint moves past the week" in texts(at)
    at.button(key="weekly-next-really").click().run()
    assert not at.exception
    assert "Run of 9 – 15 Dec 2019 is under way" in texts(at)
    assert at.button(key="weekly-next").disabled
    beside.button(key="weekly-next-really").click().run()
    assert "Nothing was started" in texts(beside), "somebody was faster"
    assert len(jobs.list_jobs(service.wiring.services, OLGA, key=KEY, state=JobState.QUEUED).jobs) == 1
    at.button(key="weekly-cancel").click().run()
    at.button(key="weekly-cancel-really").click().run()
    assert newest_job(service).state is JobState.CANCELLED
    assert "It was cancelled" in texts(at)
    assert not at.button(key="weekly-next").disabled


def test_a_backfill_says_what_happens_to_each_week_before_it_begins(service, open_page, run_week):
    run_week()
    at = open_page("weekly")
    at.button(key="weekly-backfill").click().run()
    at.date_input(key="weekly-backfill-from").set_value(FIRST.start).run()
    at.date_input(key="weekly-backfill-to").set_value(FIRST.next.end).run()
    assert not at.exception
    said = texts(at)
    assert "Leave alone" in said
    assert "it was never run" in said
    assert at.button(key="weekly-backfill-really").label == "Run 1 week"
    at.checkbox(key="weekly-backfill-force").check().run()
    assert at.button(key="weekly-backfill-really").label == "Run 2 weeks"
    assert "unless a guard keeps the plan back" in texts(at)


def test_refused_rows_are_told_with_salesforces_words_and_sent_again(service, open_page, run_week):
    service.environment.cloud.salesforce.options.validation_rules = (NEEDS_APPROVAL,)
    run_week()
    refused = len(weekly.list_refused(service.wiring.services, OLGA, FIRST))
    assert refused
    at = open_page("weekly", view="Salesforce")
    assert NEEDS_APPROVAL["message"] in texts(at)
    assert open_page("weekly", role=Role.VIEWER, view="Salesforce").button(key="weekly-retry").disabled
    service.environment.cloud.salesforce.options.validation_rules = ()
    at = open_page("weekly", view="Salesforce")
    at.button(key="weekly-retry").click().run()
    assert f"{refused} rows that Salesforce refused" in texts(at)
    at.button(key="weekly-retry-really").click().run()
    until_jobs_have_ended(service)
    at.run()
    assert "No row of this week is refused" in texts(at)


def test_the_plan_shows_old_and_new_and_what_keeps_it_back(service, open_page, run_week):
    run_week()
    service.environment.cloud.events.add_late_events(FIRST.start, changed_every=1)
    options = WeekOptions("olga", force=True, tag="late")
    for stage in list(Stage)[:-1]:
        weekly.run_stage(service.wiring.services, OLGA, FIRST, stage, options)
    at = open_page("weekly", week=str(FIRST.start), view="Plan")
    at.button(key="weekly-plan-make").click().run()
    assert not at.exception
    assert "A guard keeps this plan back" in texts(at), "nearly every customer would change"
    at.selectbox(key="weekly-plan-action").set_value("update").run()
    at.selectbox(key="weekly-plan-field").set_value("Total_Spend_Week__c").run()
    [rows] = [table.value for table in at.dataframe if "Old" in table.value.columns]
    assert (rows["Action"] == "Update").all()
    assert (rows["Old"] != rows["New"]).all()
    at.text_input(key="weekly-plan-search").set_value("no such record").run()
    assert "No row fits the filters" in texts(at)


def test_a_database_that_is_away_is_told_in_words(service, open_page):
    with Database("host=127.0.0.1 port=1 dbname=none user=nobody", wait_seconds=0.1) as away:
        opened = replace(service.wiring.services.weekly(), own=away, state=PostgresState(away))
        at = open_page("weekly", services=replace(service.wiring.services, database=away, own=away, weekly=lambda: opened))
    assert not at.exception
    assert "database" in texts(at).lower()
