"""Archive, Run and Compare, in the states that a browser meets seldom."""

from uuid import UUID, uuid4

import pytest
import streamlit as st

from tests.surfaces.api.conftest import eventually, finished_run, working
from tests.surfaces.portal.conftest import texts
from treadle.actions import runs as actions
from treadle.clients.onelake import OneLakeClient
from treadle.control import runs
from treadle.control.access import Role
from treadle.errors import Unavailable
from treadle.flows.sales.lakehouse import run_path
from treadle.portal import restoring

__all__ = ["finished_run"]


@pytest.fixture(autouse=True)
def _nothing_remembered():
    st.cache_data.clear()


def _tables(at) -> str:
    return "\n".join(str(table.value.to_dict()) for table in (*at.dataframe, *at.table))


def test_the_archive_lists_runs_and_a_search_in_the_address_finds_one(finished_run, open_page):
    made = [finished_run(), finished_run(5)]
    at = open_page("archive")
    assert not at.exception
    shown = at.dataframe[0].value
    assert shown["Run"].tolist()[:2] == [str(made[1])[:8], str(made[0])[:8]]
    assert shown["Status"].tolist()[0] == ["● Succeeded"]
    assert shown["Orders"].tolist()[:2] == [5, 3]
    found = open_page("archive", find=str(made[0])[:8])
    assert found.dataframe[0].value["Run"].tolist() == [str(made[0])[:8]]
    assert "No run fits" in texts(open_page("archive", find=str(made[0])[:8], status="Failed"))
    assert "No run fits" in texts(open_page("archive", find=str(made[0])[:8], to="2020-01-01"))


def test_no_run_that_fits_is_not_no_run_and_the_filters_can_be_cleared(finished_run, open_page):
    finished_run()
    at = open_page("archive", find="nobody has ever called a file so")
    assert "No run fits" in texts(at)
    at.button(key="clear-filters").click().run()
    assert not at.exception
    assert len(at.dataframe[0].value) >= 1
    assert at.text_input(key="find").value == ""


def test_a_page_is_followed_by_the_older_one_and_back(finished_run, open_page, monkeypatch):
    monkeypatch.setattr("treadle.actions.runs.list_runs", _two_at_most(actions.list_runs))
    made = [str(finished_run())[:8] for _ in range(3)][::-1]
    at = open_page("archive")
    assert at.dataframe[0].value["Run"].tolist() == made[:2]
    assert at.button(key="runs-newer").disabled
    at.button(key="runs-older").click().run()
    assert at.dataframe[0].value["Run"].tolist()[0] == made[2]
    at.button(key="runs-newer").click().run()
    assert at.dataframe[0].value["Run"].tolist() == made[:2]


def _two_at_most(list_runs):
    return lambda services, who, **filters: list_runs(services, who, **{**filters, "limit": min(2, filters.get("limit", 2))})


def test_an_opened_run_is_told_in_the_drawer_with_its_files_and_events(finished_run, open_page):
    run_id = finished_run()
    at = open_page("archive")
    at.session_state["archive-opened"] = str(run_id)
    at.run()
    assert not at.exception
    said = texts(at)
    assert f"/run?run={run_id}" in said
    assert "kpis.json" in said
    assert "Sales ingest" in _tables(at)


def test_a_run_has_an_address_with_figures_files_checksums_and_events(service, finished_run, open_page):
    run_id = finished_run()
    at = open_page("run", run=str(run_id)[:8])
    assert not at.exception
    said = texts(at)
    assert "Revenue 7.50" in said, "1.50 + 2.50 + 3.50"
    assert "sales_cleaned.parquet" in said
    entries = {entry["name"]: entry["sha256"] for entry in _record(service, run_id)["files"]}
    assert entries["kpis.json"] in said
    assert "Sales ingest" in _tables(at)
    assert len(at.get("download_button")) == 5


def test_while_the_lake_is_away_a_run_still_shows_what_the_database_has(finished_run, open_page, monkeypatch):
    run_id = finished_run()

    def away(*_: object, **__: object) -> None:
        raise Unavailable("OneLake cannot be reached.", hint="Try again in a moment.")

    for name in ("read_bytes", "stat", "list_files"):
        monkeypatch.setattr(OneLakeClient, name, away)
    at = open_page("run", run=str(run_id))
    assert not at.exception
    said = texts(at)
    assert "OneLake cannot be reached" in said
    assert "Revenue 7.50" in said
    assert "sales_cleaned.parquet" in said
    assert "Sales ingest" in _tables(at)


def _record(service, run_id) -> dict:
    return service.viewer.get(f"/api/runs/{run_id}/artifacts/run_metadata.json").json()


def test_who_may_not_restore_is_told_why_and_who_may_sees_what_will_change(finished_run, open_page):
    older, newer = finished_run(), finished_run(5)
    at = open_page("run", role=Role.VIEWER, run=str(older))
    assert at.button(key="restore").disabled
    assert "To restore a run takes the role operator; yours is viewer. Ask an admin." in texts(at)
    at = open_page("run", run=str(older))
    at.button(key="restore").click().run()
    assert not at.exception
    said = texts(at)
    assert f"Run {str(newer)[:8]}" in said, "what is current now"
    assert "Its 5 files are there" in said
    assert "The lock is free" in said
    assert at.button(key="restore-really").label == f"Restore run {str(older)[:8]}"


def test_who_restores_too_late_is_told_who_was_faster(service, finished_run, put_file, open_page, monkeypatch):
    """The lock is free when the dialog looks, and taken a moment later."""
    older, taken, look = finished_run(), put_file(), restoring.look

    def look_and_lose(run):
        checks = look(run)
        service.admin.post("/api/runs", json={"input_file": taken}).raise_for_status()
        return checks

    at = open_page("archive")
    at.session_state["archive-restoring"] = str(older)
    at.run()
    monkeypatch.setattr(restoring, "look", look_and_lose)
    at.session_state["archive-restoring"] = str(older)  # AppTest runs the whole page where a browser runs the dialog alone
    at.button(key="restore-really").click().run()
    assert not at.exception
    [said] = [warning.value.replace("*", "").replace("\\", "") for warning in at.warning]
    assert said.startswith(f"test-admin was faster and started a run of {taken} at ")
    assert "UTC" not in said
    assert "SUBMITTED" not in said


def test_a_restore_can_be_asked_for_in_the_drawer_and_called_off(service, finished_run, open_page):
    older, newer = finished_run(), finished_run(5)
    at = open_page("archive")
    at.session_state["archive-opened"] = str(older)
    at.run()
    at.session_state["archive-opened"] = str(older)  # AppTest runs the whole page where a browser runs the drawer alone
    at.button(key="restore-opened").click().run()
    assert not at.exception
    assert "kpis.json" not in texts(at), "the question stands in place of the drawer"
    assert f"Run {str(newer)[:8]}" in texts(at), "what is current now"
    assert at.button(key="restore-really").label == f"Restore run {str(older)[:8]}"
    at.session_state["archive-restoring"] = str(older)
    at.button(key="restore-not").click().run()
    assert not at.exception
    assert "restore-really" not in {button.key for button in at.button}
    assert runs.active_runs(service.wiring.database) == []


def test_the_run_whose_results_are_published_is_marked(service, finished_run, open_page):
    older, newer = finished_run(), finished_run(5)
    assert _marked(open_page("archive")) == [str(newer)[:8]]
    assert "Current" in texts(open_page("run", run=str(newer)))
    assert "Current" not in texts(open_page("run", run=str(older)))
    with working(service.wiring):
        service.operator.post(f"/api/runs/{older}/restore", json={}).raise_for_status()
    at = open_page("archive")
    assert _marked(at) == [str(older)[:8]], "a restore publishes the run that it brings back"
    assert list(at.dataframe[0].value.columns)[:4] == ["Status", "Run", "File", "Now"], "what a narrow window shows"


def _marked(at) -> list[str]:
    shown = at.dataframe[0].value
    return [run for run, now in zip(shown["Run"], shown["Now"], strict=True) if list(now) == ["Current"]]


def test_a_restore_starts_one_run_and_leads_to_it(service, finished_run, open_page):
    older, _ = finished_run(), finished_run()
    at = open_page("run", run=str(older))
    at.button(key="restore").click().run()
    at.button(key="restore").click()  # AppTest runs the whole page where a browser runs the dialog alone: it must be open in that run, too
    at.button(key="restore-really").click().run()
    assert not at.exception
    [run] = runs.active_runs(service.wiring.database)
    assert (run.is_restore, run.triggered_by) == (True, "olga")
    assert at.query_params["run"] == str(run.run_id)
    with working(service.wiring):
        eventually(lambda: runs.get_run(service.wiring.database, run.run_id).status.ended, seconds=60)
    at = open_page("archive", view="Restores")
    assert at.dataframe[0].value["Brought back"].tolist()[0] == str(older)[:8]
    at = open_page("run", run=str(run.run_id))
    assert not at.exception
    assert at.button(key="restore").disabled


def test_what_stands_in_the_way_of_a_restore_is_named(service, finished_run, put_file, open_page):
    older, _ = finished_run(), finished_run()
    service.wiring.lake.delete(run_path(older, "sales_cleaned.csv"))
    service.operator.post("/api/runs", json={"input_file": put_file()})
    at = open_page("run", run=str(older))
    at.button(key="restore").click().run()
    said = texts(at)
    assert "Missing in the run's folder: sales_cleaned.csv." in said
    assert "test-operator holds the lock" in said
    assert at.button(key="restore-really").disabled


def test_two_runs_are_compared_and_swapped_under_an_address(finished_run, open_page):
    a, b = finished_run(), finished_run(5)
    at = open_page("compare", a=str(a)[:8], b=str(b)[:8])
    assert not at.exception
    figures = at.dataframe[0].value.set_index("Figure")
    assert figures.loc["Orders", ["A", "B", "Change", "Relative"]].tolist() == ["3", "5", "+2", "+66.7 %"]
    assert "3 rows in A, 5 in B" in texts(at).replace("\\", "")
    at.button(key="swap").click().run()
    assert at.query_params["a"] == str(b)
    assert at.dataframe[0].value.set_index("Figure").loc["Orders", "Change"] == "-2"


@pytest.mark.parametrize(("page", "query"), [("run", {"run": "zz"}), ("run", {"run": str(uuid4())}), ("compare", {"a": str(UUID(int=1))})])
def test_an_address_that_names_no_run_is_told_in_words(finished_run, open_page, page, query):
    finished_run()
    finished_run()
    at = open_page(page, **query)
    assert not at.exception
    assert at.error
    assert "run" in at.error[0].value
