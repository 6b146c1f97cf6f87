"""Scenarios and Connections, in the states that a browser meets seldom; with the real actions, database and sandbox behind them."""

import io
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from tests.surfaces.portal.conftest import texts, working
from tests.unit.scenario_archives import small, tar_gz
from treadle.actions import connections, documents, jobs, scenarios
from treadle.control.access import Role, local_principal
from treadle.control.database import Database
from treadle.control.jobs import overview, queue
from treadle.control.jobs.job import Job, JobEvent, NewJob
from treadle.control.jobs.states import JobState
from treadle.errors import NotFound
from treadle.flows.scenario.flow import BUILD, DESTROY, Asked, workspace_key
from treadle.flows.scenario.records import ScenarioRecord, TableRecord, forget_scenario, list_scenarios, save_scenario
from treadle.flows.scenario.slots import Slot
from treadle.portal.scenarios.job_told import job_progress

OLGA = local_principal("olga", Role.OPERATOR)
NOWHERE = "00000000-0000-4000-8000-000000000000"
HOSTILE = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) :material/bolt: $x$"
MODEL = {
    "entity_types": [
        {"label": "Order", "key": "OrderId", "properties": [{"name": "OrderId", "type": "String"}]},
        {"label": "Shop", "key": "ShopId", "properties": [{"name": "ShopId", "type": "String"}, {"name": "City", "type": "String"}]},
    ],
    "relationship_types": [{"name": "placed_at", "label": "placed_at", "source": "Order", "target": "Shop"}],
}


@pytest.fixture(autouse=True)
def _nothing_built(service):
    """No job, no scenario and no connection from before."""
    clear(service)
    yield
    clear(service)


def clear(service) -> None:
    services = service.wiring.services
    with psycopg.connect(service.environment.postgres.admin_dsn) as connection:
        connection.execute("DELETE FROM treadle.jobs WHERE kind LIKE 'scenario%'")
    store = services.scenarios().documents
    for record in list_scenarios(store):
        forget_scenario(store, record.name)
    for each in connections.list_connections(services, OLGA):
        connections.delete_connection(services, OLGA, each.workspace_id)


def newest_jobs(service) -> tuple[Job, ...]:
    return jobs.list_jobs(service.wiring.services, OLGA, kind=BUILD).jobs


@pytest.fixture
def workspace(service) -> str:
    return str(service.environment.settings.fabric_workspace_id)


@pytest.fixture
def connected(service, workspace) -> str:
    connections.add_connection(service.wiring.services, OLGA, workspace)
    return workspace


@pytest.fixture
def ask_for(service, workspace) -> Callable[..., Job]:
    """A job as a build asks for it; nobody does it."""

    def ask(name="shop", **changes) -> Job:
        payload = {
            "scenario_name": name,
            "backend": "fabric-gql",
            "workspace_id": workspace,
            "workspace_name": "ws",
            "slots": {"graph": {}},
        }
        return queue.enqueue(service.wiring.own, NewJob(BUILD, payload, "olga", key=workspace_key(workspace), job_id=uuid4(), **changes))

    return ask


@pytest.fixture
def record(service, workspace) -> ScenarioRecord:
    """A scenario that was built, as its last step leaves it."""
    kept = ScenarioRecord(
        name="shop",
        display_name="A shop",
        description="Orders and where they were placed.",
        domain="retail",
        use_cases=("See where orders go",),
        example_questions=("Which shop has the most orders?",),
        graph_styles={"Shop": {"color": "#38BDF8", "size": 28}},
        graph_connector="fabric-gql",
        workspace_id=workspace,
        workspace_name="ws",
        lakehouse_name="lakehouse",
        ontology_name="ontology",
        graph_model_id=NOWHERE,
        tables=(TableRecord("Shop", 2, "lakehouse"), TableRecord("Order", 12345, "lakehouse")),
        model=MODEL,
        updated_at=datetime.now(UTC),
    )
    save_scenario(service.wiring.services.scenarios().documents, kept)
    return kept


def built(service, workspace: str, archives: dict[str, bytes]) -> None:
    """Build a scenario to its end, here and now."""
    opened = {Slot(slot): io.BytesIO(content) for slot, content in archives.items()}
    job = until_ended(service, scenarios.build(service.wiring.services, OLGA, Asked("shop", None, workspace, "ws"), opened))
    assert job.state is JobState.SUCCEEDED, job.error_message


def until_ended(service, job: Job) -> Job:
    """The job as it is when a worker has brought it to its end."""
    with working(service.wiring):
        pause = threading.Event()
        for _ in range(600):
            found = queue.get_job(service.wiring.own, job.job_id)
            if found.state.ended:
                return found
            pause.wait(0.1)
    pytest.fail(f"{job.kind} does not come to its end: {found}")


def test_before_the_first_scenario_the_page_says_how_to_begin_and_who_may(service, open_page):
    at = open_page("scenarios", role=Role.VIEWER, name="vic")
    assert not at.exception
    assert "No scenario yet" in texts(at)
    assert "takes the role operator; yours is viewer. Ask an admin." in texts(at)
    assert at.button(key="scenario-add").disabled
    at = open_page("scenarios")
    at.button(key="scenario-add").click().run()
    assert not at.exception
    assert "No workspace is connected yet" in texts(at)
    assert len(at.file_uploader) == 5


def test_a_connection_is_asked_for_before_it_is_kept(service, open_page, workspace):
    at = open_page("connections")
    assert "No connection yet" in texts(at)
    for typed, told in (("my workspace", "neither the id"), (NOWHERE, "workspace")):
        at.text_input(key="connection-workspace-0").set_value(typed)
        at.button(key="connection-add").click().run()
        assert not at.exception
        assert told in "".join(each.value for each in [*at.error, *at.warning])
    assert connections.list_connections(service.wiring.services, OLGA) == []
    at.text_input(key="connection-workspace-0").set_value(f"https://app.fabric.microsoft.com/groups/{workspace.upper()}/list")
    at.button(key="connection-add").click().run()
    assert not at.exception
    assert [each.active for each in connections.list_connections(service.wiring.services, OLGA)] == [True]
    assert workspace in texts(at)
    at.button(key=f"connection-delete-{workspace}").click().run()
    assert "stays as it is" in texts(at)
    at.button(key="connection-delete-really").click().run()
    assert "No connection yet" in texts(at)


def test_another_connection_is_made_the_active_one_and_is_offered_first(service, open_page, connected):
    services = service.wiring.services
    second = services.scenarios().fabric.create_workspace(f"second {uuid4()} <b>").workspace_id
    connections.add_connection(services, OLGA, second)
    at = open_page("connections")
    at.button(key=f"connection-select-{second}").click().run()
    assert not at.exception
    assert [each.workspace_id for each in connections.list_connections(services, OLGA) if each.active] == [second]
    assert f"connection-select-{connected}" in {button.key for button in at.button}
    at = open_page("scenarios")
    at.button(key="scenario-add").click().run()
    assert at.selectbox(key="scenario-add-workspace").value == second


def test_a_viewer_sees_connections_and_changes_none(service, open_page, connected):
    at = open_page("connections", role=Role.VIEWER, name="vic")
    assert not at.exception
    assert connected in texts(at)
    assert at.button(key=f"connection-delete-{connected}").disabled
    assert at.button(key="connection-add").disabled
    assert "takes the role operator; yours is viewer. Ask an admin." in texts(at)


def test_faults_of_an_archive_are_told_together_and_nothing_is_sent(service, open_page, connected):
    at = open_page("scenarios")
    at.button(key="scenario-add").click().run()
    at.file_uploader[0].upload("shop.tar.gz", small(Order_csv="OrderId,ShopId,Amount\nO1,S9,1\nO1,S1,x\n")).run()
    assert not at.exception
    said = texts(at)
    assert "have to be mended first" in said
    assert "more than once" in said
    assert "not in Shop.csv" in said
    assert not [button for button in at.button if button.key == "scenario-add-really"]
    assert newest_jobs(service) == ()


def test_an_archive_becomes_a_plan_then_one_job_and_the_dialog_closes(service, open_page, connected):
    at = open_page("scenarios")
    at.button(key="scenario-add").click().run()
    at.file_uploader[0].upload("shop.tar.gz", small()).run()
    assert not at.exception
    assert "to create" in texts(at)
    at.button(key="scenario-add-really").click().run()
    assert not at.exception
    [job] = newest_jobs(service)
    assert (job.payload["scenario_name"], job.requested_by, job.state) == ("shop", "olga", JobState.QUEUED)
    assert "Build of shop" in texts(at), "the portal has gone where the job can be followed"
    assert not at.file_uploader


def test_a_scenario_is_told_with_its_tables_and_where_it_is(service, open_page, record):
    at = open_page("scenario", scenario="shop")
    assert not at.exception
    said = texts(at)
    for told in ("A shop", "See where orders go", "12345", "Fabric graph (GQL)", "2 tables, 12,347 rows", "retail"):
        assert told in said
    at = open_page("scenarios")
    assert "2 tables, 12,347 rows" in texts(at)
    at = open_page("scenario", scenario="shop", view="Model")
    assert not at.exception
    assert "placed_at" in texts(at)
    at = open_page("scenario", scenario="shop", view="Graph")
    assert not at.exception
    assert "MATCH (a:`Order`)-[e:placed_at]->(b:`Shop`)" in at.text_area(key="gql").value
    assert "Which shop has the most orders?" in texts(at)


def test_an_address_that_names_no_scenario_is_told_with_the_way_on(open_page):
    for query in ({}, {"scenario": "nothing"}, {"scenario": HOSTILE}):
        at = open_page("scenario", **query)
        assert not at.exception
        assert "No such scenario" in texts(at)


def test_the_address_keeps_what_means_something_here_alone(open_page, record):
    at = open_page("scenario", scenario="shop", week="2019-12-02", run="5")
    assert dict(at.query_params) == {"scenario": "shop"}


def test_a_view_of_another_page_is_not_taken_along(open_page, record):
    at = open_page("weekly", week="2019-12-02", view="Plan")
    if not at.segmented_control:  # nothing was run yet; somebody was there before
        at.session_state["view"] = "Plan"
    at.switch_page("app_pages/scenario.py")
    at.query_params["scenario"] = "shop"
    at.run()
    assert at.segmented_control(key="view").value == "About"
    assert not at.exception


def test_names_and_texts_of_others_are_shown_as_they_are(service, open_page, record, ask_for):
    hostile = replace(
        record,
        display_name=HOSTILE,
        description=HOSTILE,
        use_cases=(HOSTILE,),
        example_questions=(HOSTILE,),
        tables=(TableRecord(HOSTILE, 1, HOSTILE),),
        workspace_name=HOSTILE,
        graph_styles={HOSTILE: {"color": HOSTILE, "size": HOSTILE}},
        model={
            "entity_types": [{"label": HOSTILE, "key": HOSTILE, "properties": [{"name": HOSTILE, "type": HOSTILE}]}],
            "relationship_types": [HOSTILE],
        },
    )
    save_scenario(service.wiring.services.scenarios().documents, hostile)
    ask_for(HOSTILE)
    for page, query in (
        ("scenarios", {}),
        *(("scenario", {"scenario": "shop", "view": view}) for view in ("About", "Model", "Graph", "Jobs")),
    ):
        at = open_page(page, **query)
        assert not at.exception, (page, query)
        raw = "\n".join(str(each.value) for kind in ("title", "markdown", "caption", "error", "info") for each in getattr(at, kind))
        for danger in (r"(?<!\\)<img", r"(?<!\\)\[x", r":material/bolt:", r"(?<!\\)\$x"):
            assert not re.search(danger, raw), (page, query, danger)
        assert "onerror" in texts(at), "it is shown all the same"


def test_what_goes_on_stands_on_every_page_and_can_be_cancelled_and_retried(service, open_page, record, ask_for):
    job = ask_for()
    at = open_page("monitor")
    assert "Build of shop" in texts(at)
    assert "Waiting for its turn" in texts(at) or at.get("progress")
    at = open_page("scenario", scenario="shop")
    assert not at.exception
    assert at.button(key="scenario-update").disabled, "one thing at a time"
    at.button(key="scenario-cancel").click().run()
    assert "goes on from there" in texts(at)
    at.button(key="scenario-cancel-really").click().run()
    assert not at.exception
    assert queue.get_job(service.wiring.own, job.job_id).state is JobState.CANCELLED
    at.button(key="scenario-retry").click().run()
    assert not at.exception
    assert queue.get_job(service.wiring.own, job.job_id).state is JobState.QUEUED


def test_the_first_words_about_a_job_say_what_is_done_and_for_which_part(ask_for):
    job = replace(ask_for(), state=JobState.RUNNING, attempt=1)
    told = [(None, "olga asks for scenario_build."), (None, "Worker vm:1 begins."), ("graph.extract", "10 tables, 82 rows")]
    events = [JobEvent(uuid4(), seq, datetime.now(UTC), "INFO", step, None, text, None) for seq, (step, text) in enumerate(told)]
    assert job_progress(job, events[:2], datetime.now(UTC))[1] == "A worker begins to read the archives."
    assert job_progress(job, events, datetime.now(UTC))[1] == "Graph: 10 tables, 82 rows"


def test_nothing_stands_in_the_head_of_a_page_when_nothing_goes_on(open_page, record):
    at = open_page("monitor")
    assert not at.exception
    assert "shop" not in texts(at)


def test_a_viewer_looks_and_may_not_change(open_page, record, ask_for):
    at = open_page("scenario", role=Role.VIEWER, name="vic", scenario="shop")
    assert not at.exception
    assert at.button(key="scenario-update").disabled
    assert at.button(key="scenario-destroy").disabled
    assert "takes the role operator; yours is viewer. Ask an admin." in texts(at)
    ask_for()
    at = open_page("scenario", role=Role.VIEWER, name="vic", scenario="shop")
    assert at.button(key="scenario-cancel").disabled


def test_a_database_that_is_away_is_told_in_words(service, open_page):
    with Database("host=127.0.0.1 port=1 dbname=none user=nobody", wait_seconds=0.1) as away:
        for page in ("scenarios", "scenario"):
            at = open_page(page, services=replace(service.wiring.services, database=away, own=away), scenario="shop")
            assert not at.exception
            assert "database" in texts(at).lower()


@pytest.mark.timeout(240)
def test_a_scenario_that_was_built_is_asked_read_and_removed(service, open_page, connected):
    runbook = f"# Fibre cut\nCall the depot. {HOSTILE}\n"
    built(
        service,
        connected,
        {"graph": small(), "runbooks": tar_gz({"runbooks/fibre_cut.md": runbook, "runbooks/power.md": "# Power\nCheck the fuse.\n"})},
    )
    at = open_page("scenario", scenario="shop", view="Graph")
    at.button(key="scenario-ready-1").click().run()
    assert not at.exception
    [answer] = [table.value for table in at.dataframe]
    assert sorted(answer["total"]) == [1, 1]
    at.text_area(key="gql").set_value("MATCH (n:Nothing RETURN n").run()
    at.button(key="scenario-query-run").click().run()
    assert "does not take this query" in texts(at)

    at = open_page("scenario", scenario="shop", view="Documents")
    assert "2 documents" in texts(at)
    at.text_input(key="scenario-find").set_value("depot").run()
    assert "1 document" in texts(at)
    document = documents.search(service.wiring.services, OLGA, "shop", "depot")[0].id
    at = open_page("scenario", scenario="shop", view="Documents", doc=document)
    assert HOSTILE in at.code[0].value

    at = open_page("scenarios")
    at.button(key="scenario-add").click().run()
    at.file_uploader[0].upload("shop.tar.gz", small()).run()
    assert "Nothing would change" in texts(at)

    at = open_page("scenario", scenario="shop")
    at.button(key="scenario-destroy").click().run()
    assert "will be removed" in texts(at)
    assert at.button(key="scenario-destroy-really").disabled
    at.text_input(key="scenario-destroy-name").set_value("shop").run()
    at.button(key="scenario-destroy-really").click().run()
    assert not at.exception
    [removal] = jobs.list_jobs(service.wiring.services, OLGA, kind=DESTROY).jobs
    assert until_ended(service, removal).state is JobState.SUCCEEDED
    at.run()
    assert "No such scenario" in texts(at)
    with pytest.raises(NotFound):
        scenarios.get_scenario(service.wiring.services, OLGA, "shop")


def test_update_offers_the_place_of_the_scenario_and_what_nobody_changed_was_not_given(service, open_page, connected, record):
    services = service.wiring.services
    save_scenario(services.scenarios().documents, replace(record, lakehouse_name="hafen_lh", ontology_name="hafen_onto"))
    other = services.scenarios().fabric.create_workspace(f"other {uuid4()}").workspace_id
    connections.add_connection(services, OLGA, other)
    connections.select_connection(services, OLGA, other)
    at = open_page("scenario", scenario="shop")
    at.button(key="scenario-update").click().run()
    assert at.selectbox(key="scenario-add-workspace").value == connected, "where it is, and not the active connection"
    assert [field(at, name).value for name in ("lakehouse", "ontology")] == ["hafen_lh", "hafen_onto"]
    at.file_uploader[0].upload("shop.tar.gz", small()).run()
    assert not at.exception
    assert {"hafen_lh", "hafen_onto"} <= set(plan_of(at)["Name"])
    field(at, "ontology").set_value("mine").run()
    assert "This build goes to ontology mine" in texts(at)
    field(at, "ontology").set_value("hafen_onto").run()
    at.button(key="scenario-add-really").click().run()
    assert not at.exception
    [job] = newest_jobs(service)
    assert not set(job.payload) & {"lakehouse_name", "ontology_name", "eventhouse_name"}
    assert job.payload["workspace_id"] == connected


def field(at, name):
    """The field of a name that a build may be given, in whatever round of the dialog."""
    return next(each for each in at.text_input if each.key.startswith(f"scenario-add-{name}-"))


def plan_of(at):
    return next(table.value for table in at.dataframe if "What happens" in table.value)


def test_in_another_workspace_the_names_are_given_as_they_stand_there(service, open_page, connected, record):
    save_scenario(service.wiring.services.scenarios().documents, replace(record, lakehouse_name="hafen_lh", ontology_name="hafen_onto"))
    other = service.wiring.services.scenarios().fabric.create_workspace(f"other {uuid4()}").workspace_id
    connections.add_connection(service.wiring.services, OLGA, other)
    at = open_page("scenario", scenario="shop")
    at.button(key="scenario-update").click().run()
    at.selectbox(key="scenario-add-workspace").set_value(other).run()
    at.file_uploader[0].upload("shop.tar.gz", small()).run()
    at.button(key="scenario-add-really").click().run()
    [job] = newest_jobs(service)
    assert (job.payload["workspace_id"], job.payload["lakehouse_name"], job.payload["ontology_name"]) == (other, "hafen_lh", "hafen_onto")


def test_a_job_that_was_put_out_of_sight_does_not_tell_how_a_scenario_stands(service, open_page, record, ask_for):
    job = ask_for()
    queue.request_cancel(service.wiring.own, job.job_id, "aud")
    assert "Cancelled" in texts(open_page("scenarios"))
    overview.hide_job(service.wiring.own, BUILD, job.job_id, "aud")
    at = open_page("scenarios")
    assert ("Cancelled" in texts(at), "Built" in texts(at)) == (False, True)
    at = open_page("scenario", scenario="shop")
    assert not at.exception
    assert ("cancelled" in texts(at).lower(), "scenario-retry" in {button.key for button in at.button}) == (False, False)
    assert "No job of this scenario" in texts(open_page("scenario", scenario="shop", view="Jobs"))
    failed = ask_for()
    with psycopg.connect(service.environment.postgres.admin_dsn) as connection:
        connection.execute("UPDATE treadle.jobs SET state = 'FAILED', finished_at = now() WHERE job_id = %s", [failed.job_id])
    open_page("scenarios")  # which looks anew; the head of a page takes a look of a moment ago
    assert "Build of shop" in texts(open_page("monitor"))
    overview.hide_job(service.wiring.own, BUILD, failed.job_id, "aud")
    open_page("scenarios")
    assert "Build of shop" not in texts(open_page("monitor"))


@pytest.mark.timeout(240)
def test_documents_that_go_are_asked_about_and_files_that_are_no_texts_are_told(service, open_page, connected):
    papers = {f"runbooks/{name}.md": f"# {name}" for name in "abcd"}
    built(service, connected, {"runbooks": tar_gz({**papers, "runbooks/manual.pdf": "%PDF"})})
    at = open_page("scenario", scenario="shop", view="Documents")
    assert "Of the last archive of runbooks: 1 file is passed over: manual.pdf" in texts(at)
    assert "1 file is passed over: manual.pdf" in texts(open_page("scenario", scenario="shop", view="Jobs"))
    at.button(key="scenario-update").click().run()
    at.file_uploader[2].upload("papers.tar.gz", tar_gz({"runbooks/a.md": "# other", "runbooks/manual.pdf": "%PDF"})).run()
    assert not at.exception
    said = texts(at)
    for told in ("1 updated, 3 removed", "b.md, c.md, d.md are no longer in the archive", "1 file is passed over: manual.pdf"):
        assert told in said
    assert at.button(key="scenario-add-really").disabled
    asked = at.checkbox(key="scenario-add-documents")
    assert asked.label == "Yes, remove 3 documents and replace 1 document that are there"
    asked.check().run()
    assert not at.button(key="scenario-add-really").disabled
    at = open_page("scenario", scenario="shop")
    at.button(key="scenario-destroy").click().run()
    assert "**4 runbooks** and its record are removed" in texts(at)
