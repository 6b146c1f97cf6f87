"""Monitor and the frame, in the states that a browser meets seldom."""

from dataclasses import replace

import pytest

from tests.surfaces.portal.conftest import texts, working
from treadle.control import lock, runs
from treadle.control.access import Role
from treadle.control.database import Database

PAGES = ["monitor", "archive", "results", "import_file", "run", "compare"]


def finished(service, put_file) -> str:
    with working(service.wiring):
        return service.operator.post("/api/runs", json={"input_file": put_file()}).json()["run_id"]


def test_a_run_that_ended_is_told_with_its_stages_and_events(service, put_file, open_page):
    run_id = finished(service, put_file)
    at = open_page("monitor", run=run_id[:8])
    assert not at.exception
    said = texts(at)
    assert "Succeeded" in said
    assert run_id in said
    assert "Sales ingest" in str(at.table[0].value)
    assert "olga" in said
    assert "SANDBOX" in said
    assert "Lock free" in said
    assert not [button for button in at.button if button.key in ("cancel", "release")], "nothing to cancel"


def test_while_a_run_is_active_everybody_sees_who_holds_the_lock_and_only_operators_may_act(service, put_file, open_page):
    run_id = service.operator.post("/api/runs", json={"input_file": put_file()}).json()["run_id"]
    for role, barred in ((Role.VIEWER, True), (Role.OPERATOR, False)):
        at = open_page("monitor", role=role)
        assert f"test-operator · run {run_id[:8]}" in texts(at)
        assert at.button(key="cancel").disabled is barred
        assert at.button(key="release").disabled is barred
        assert [at.button(key=key).proto.type for key in ("cancel", "release")] == ["secondary", "tertiary"]
        assert ("takes the role operator; yours is viewer. Ask an admin." in texts(at)) is barred


def test_a_button_of_yesterdays_role_does_nothing(service, put_file, open_page):
    """A disabled button is a courtesy: what decides is the action, with the role of now."""
    service.operator.post("/api/runs", json={"input_file": put_file()})
    at = open_page("monitor", role=Role.OPERATOR)
    at.button(key="cancel").click().run()
    open_page("monitor", role=Role.VIEWER)  # from now on whoever acts is a viewer
    at.button(key="cancel-really").click().run()
    assert not at.exception
    assert "may not" in texts(at)
    [run] = runs.active_runs(service.wiring.database)
    assert runs.cancel_requested_by(service.wiring.database, run.run_id) is None
    assert lock.show_lock(service.wiring.database).run_id == run.run_id


def test_a_cancelled_run_says_who_did_it(service, environment, monkeypatch, put_file, open_page):
    monkeypatch.setattr(environment.cloud.fabric.options, "job_queue_seconds", 600)  # so that there is something to cancel
    run_id = service.operator.post("/api/runs", json={"input_file": put_file()}).json()["run_id"]
    at = open_page("monitor", name="olga")
    at.button(key="cancel").click().run()
    at.button(key="cancel-really").click().run()
    with working(service.wiring):
        pass
    assert "cancelled by olga" in texts(open_page("monitor", run=run_id))


def test_a_run_that_is_not_there_is_told_with_the_way_on(open_page):
    at = open_page("monitor", run="00000000")
    assert not at.exception
    assert "no run" in texts(at).lower()


@pytest.mark.parametrize("page", PAGES)
def test_who_has_no_role_is_told_whom_to_ask_on_every_page(open_page, page):
    at = open_page(page, role=None, name="newcomer")
    assert not at.exception
    assert "No role yet" in texts(at)


@pytest.mark.parametrize("page", PAGES)
def test_a_database_that_is_away_is_told_in_words_on_every_page(service, open_page, page):
    with Database("host=127.0.0.1 port=1 dbname=none user=nobody", wait_seconds=0.1) as away:
        services = replace(service.wiring.services, database=away, own=away)
        at = open_page(page, services=services, run="12345678", a="12345678", b="87654321")
    assert not at.exception
    assert "database" in texts(at).lower()
