"""Import, in the states that a person meets between a file and its run."""

import time
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.surfaces.portal.conftest import texts, working
from treadle.control import runs
from treadle.control.access import Principal, Role, local_principal
from treadle.control.audit import list_audit
from treadle.control.states import RunStatus
from treadle.errors import PermissionDenied
from treadle.flows.sales.input_files import stored_mapping
from treadle.flows.sales.lakehouse import IMPORT
from treadle.portal import words
from treadle.portal.importing.checks import checks
from treadle.portal.importing.verdict_card import rows_csv
from treadle.portal.server import SCRIPT
from treadle.portal.shared import Portal, open_portal

NASTY = "\uff1cimg src=x onerror=alert(1)> (javascript:b) $x$ :material-bug: \u0645\u0628\u064a\u0639\u0627\u062a.csv"


@pytest.fixture(autouse=True)
def _nothing_remembered():
    st.cache_data.clear()


@pytest.fixture
def open_page(service):
    """As everywhere, but by way of the first page: AppTest finds a page whose address is not its file's name only once the script has run."""

    def show(page="import_file", *, role=Role.OPERATOR, name="olga", services=None, **query):
        open_portal(Portal(services or service.wiring.services, local=local_principal(name, role)))
        at = AppTest.from_file(SCRIPT, default_timeout=30).run()
        for key, value in query.items():
            at.query_params[key] = value
        return at.switch_page(f"app_pages/{page}.py").run()

    return show


@pytest.fixture
def put(service):
    """Put a CSV of these lines into the lake and return its name."""

    def put(*lines: str, name: str | None = None) -> str:
        name = name or f"import-{uuid4().hex[:8]}.csv"
        service.wiring.lake.upload(f"{IMPORT}/{name}", ("\n".join(lines) + "\n").encode())
        return name

    return put


def inspected(at, service):
    """Let a worker do what the page has asked for, and look again."""
    with working(service.wiring):
        late = time.monotonic() + 60
        while "Being inspected" in texts(at):
            assert time.monotonic() < late, "the inspection does not come to its end"
            at.run()
    assert not at.exception
    return at


def keys(at) -> set[str]:
    return {button.key for button in at.button}


def test_files_are_found_by_name_and_one_is_opened_by_a_click(put, open_page):
    name, other = put("order_id,revenue", "1,2", name="Ünïque name.csv"), put("order_id,revenue", "1,2")
    at = open_page("import_file")
    assert {f"open-{name}", f"open-{other}"} <= keys(at)
    at.text_input(key="import-search").set_value("ÜNÏQUE").run()
    assert f"open-{other}" not in keys(at)
    at.button(key=f"open-{name}").click().run()
    assert at.query_params["file"] == name
    assert not at.exception


def test_a_file_is_brought_and_an_older_one_of_its_name_is_replaced_only_when_asked(service, open_page):
    name = f"brought-{uuid4().hex[:8]}.csv"
    for content, label in ((b"order_id,revenue\n1,2\n", "Upload"), (b"order_id,revenue\n1,3\n", "Replace the file")):
        st.cache_data.clear()
        at = open_page("import_file")
        at.file_uploader[0].upload(name, content).run()
        assert at.button(key="upload-start").label == label
        at.button(key="upload-start").click().run()
        assert not at.exception
        assert at.query_params["file"] == name
        assert service.wiring.lake.read_bytes(f"{IMPORT}/{name}", max_bytes=100) == content
    newest = [entry for entry in list_audit(service.wiring.own, target=f"file:{name}").entries if entry.action == "file.upload"]
    assert [(entry.name, entry.outcome) for entry in newest][:2] == [("olga", "done"), ("olga", "asked")]


def test_a_viewer_sees_everything_and_is_told_why_nothing_can_be_changed(service, put, open_page):
    at = open_page("import_file", role=Role.VIEWER, name="vic")
    assert at.file_uploader[0].disabled
    assert "To bring files takes the role operator; yours is viewer" in texts(at)
    at = inspected(open_page("import_file", role=Role.VIEWER, name="vic", file=put("order_id,revenue", "1,2")), service)
    assert at.button(key="run").disabled
    assert "To start a run takes the role operator" in texts(at)
    assert "Ready" in texts(at)


def test_an_inspection_is_shown_under_way_and_then_the_verdict_the_columns_and_the_dates(service, put, open_page):
    name = put("order_id,order_date,revenue,region", "1,2026-01-02,5.50,West", "2,2026-02-03,7.25,East", "3,2026-02-04,1,West")
    at = open_page("import_file", file=name)
    assert "Being inspected" in texts(at)
    said = texts(inspected(at, service))
    assert "Every check passed" in said
    assert "Rows 3" in said
    assert "dates from 02 Jan 2026 to 04 Feb 2026" in said
    assert "Days covered 34" in said
    assert "0 % missing · 2 distinct" in said
    assert "Probable key" in said
    again = open_page("import_file", file=name, role=Role.VIEWER, name="vic")
    assert "Being inspected" not in texts(again), "a second person has it at once"


def test_a_missing_column_blocks_and_the_likeliest_one_is_taken_by_one_click(service, put, open_page):
    name = put("order_id,Sales", "1,2", "2,3")
    at = inspected(open_page("import_file", file=name), service)
    assert "A run of this file would fail" in texts(at)
    assert at.button(key="run").disabled
    at.button(key="use-suggestion").click().run()
    assert dict(stored_mapping(service.wiring.lake, name).columns) == {"Sales": "revenue"}
    at = inspected(at, service)
    assert "Every check passed" in texts(at)
    assert not at.button(key="run").disabled


def test_columns_are_named_by_choice_and_a_choice_that_cannot_be_is_told(service, put, open_page):
    name = put("order_id,revenue,Land,Kanal", "1,2,A,x", "2,3,B,y")
    at = inspected(open_page("import_file", file=name, tab="Mapping"), service)
    boxes = {box.label: box for box in at.selectbox}
    boxes["Region"].select("Land")
    boxes["Channel"].select("Land")
    [save] = [button for button in at.button if (button.key or "").startswith("save-")]
    save.click().run()
    assert "Land can only have one name" in texts(at)
    assert stored_mapping(service.wiring.lake, name).columns == {}
    next(box for box in at.selectbox if box.label == "Channel").select("Kanal")
    next(button for button in at.button if (button.key or "").startswith("save-")).click().run()
    assert not at.exception
    assert dict(stored_mapping(service.wiring.lake, name).columns) == {"Land": "region", "Kanal": "channel"}


def test_a_file_that_cannot_be_read_says_why_and_what_helps(service, put, open_page):
    at = inspected(open_page("import_file", file=put("order_id,revenue", "1,much", "2,more")), service)
    said = texts(at)
    assert "could not be inspected" in said
    assert "is a number" in said
    assert "A run could not read the file either" in said
    assert at.button(key="run").disabled


def test_a_run_is_started_once_with_who_asked_and_while_it_goes_on_its_holder_is_named(service, put, open_page):
    name = put("order_id,revenue", "1,2")
    at = inspected(open_page("import_file", file=name), service)
    at.button(key="run").click().run()
    asked = texts(at)
    assert "Recorded as" in asked
    assert "olga" in asked
    at.button(key="run-really").click().run()
    assert not at.exception
    [run] = runs.active_runs(service.wiring.database)
    assert (run.input_file, run.triggered_by, run.run_id) == (name, "olga", UUID(at.session_state["import-run-id"]))
    other = open_page("import_file", name="otto", file=name)
    assert other.button(key="run").disabled
    assert f"A run is active: olga · run {str(run.run_id)[:8]}" in texts(other)


def test_hidden_signs_of_a_file_are_written_out_in_its_sample(service, put, open_page):
    name = put("order_id,revenue,customer", "1,2,safe\u202egnp.exe")
    at = inspected(open_page("import_file", file=name, tab="Sample"), service)
    assert not at.exception
    [sample] = [table.value for table in at.dataframe if "revenue" in table.value.columns]
    assert sample["customer"].tolist() == ["safe\\u202egnp.exe"]


def test_who_was_slower_is_told_who_was_faster(service, put, open_page):
    name = put("order_id,revenue", "1,2")
    at = inspected(open_page("import_file", file=name), service)
    at.button(key="run").click().run()
    service.operator.post("/api/runs", json={"input_file": name})
    at.button(key="run-really").click().run()
    assert not at.exception
    assert f"test-operator was faster and started a run of {name} at" in texts(at).replace("*", "")
    [run] = runs.active_runs(service.wiring.database)
    runs.finish_run(service.wiring.database, run.run_id, RunStatus.FAILED, error_message="Over.")
    assert "was faster" not in texts(at.run()), "it has ended"


def test_who_started_the_run_in_another_window_is_not_told_of_somebody_else(service, put, open_page):
    name = put("order_id,revenue", "1,2")
    at = inspected(open_page("import_file", file=name), service)
    other = inspected(open_page("import_file", file=name), service)
    for window in (at, other):
        window.button(key="run").click().run()
    other.button(key="run-really").click().run()
    at.button(key="run-really").click().run()
    assert not at.exception
    [run] = runs.active_runs(service.wiring.database)
    assert f"You started this run in another window at {words.clock(run.created_at)[:5]}" in texts(at)
    assert "SUBMITTED" not in texts(at)
    assert "run-really" not in keys(at)
    assert at.get("page_link"), "to Monitor"


@pytest.mark.parametrize("back_to", ["all files", "another page"])
def test_whoever_leaves_the_file_is_not_asked_again_when_they_come_back(service, put, open_page, back_to):
    name = put("order_id,revenue", "1,2")
    at = inspected(open_page("import_file", file=name), service)
    at.button(key="run").click().run()
    assert "run-really" in keys(at.run()), "a page that is drawn again keeps its question"
    if back_to == "another page":
        at.switch_page("app_pages/monitor.py").run()
        at.switch_page("app_pages/import_file.py")
    else:
        del at.query_params["file"]
        at.run()
    at.query_params["file"] = name
    assert {"run", "run-really"} & keys(at.run()) == {"run"}


def test_the_question_before_a_run_can_be_called_off(service, put, open_page):
    at = inspected(open_page("import_file", file=put("order_id,revenue", "1,2")), service)
    at.button(key="run").click().run()
    at.button(key="run-not").click().run()
    assert not at.exception
    assert {"run", "run-really"} & keys(at) == {"run"}
    assert runs.active_runs(service.wiring.database) == []


def test_names_and_values_of_others_are_shown_as_they_are(service, put, open_page):
    column, value = "<b>x</b> :red[y]", "**z** <img src=x>"
    name = put(f"order_id,revenue,{column}", f"1,2,{value}", f"2,3,{value}", name=NASTY)
    at = inspected(open_page("import_file", file=name), service)
    drawn = "\n".join(element.value for element in (*at.markdown, *at.caption))
    assert words.plain(value) in drawn
    assert f"from {words.plain(column)}" in drawn
    assert value not in drawn
    assert at.title[0].value == words.plain(NASTY)


def test_what_is_different_from_the_published_file_is_told_before_a_run(service, put, open_page):
    before = put("order_id,revenue,region", "1,2,West", "2,3,West", "3,4,East")
    with working(service.wiring):
        service.operator.post("/api/runs", json={"input_file": before})
    st.cache_data.clear()
    after = put("order_id,revenue", "1,2")
    at = inspected(open_page("import_file", file=after, tab="Changes"), service)
    said = texts(at)
    assert "2 differences deserve a look" in said
    assert f"Compared with {before}" in said
    changes = at.dataframe[0].value
    assert list(changes["What is different"])[:2] == ["Number of rows", "The column is gone"]


def test_a_file_that_is_too_large_is_refused_with_the_limit(service, open_page):
    services = service.wiring.services
    small = replace(services, sales=replace(services.sales, upload_limit_bytes=10))
    at = open_page("import_file", services=small)
    at.file_uploader[0].upload("large.csv", b"order_id,revenue\n1,2\n").run()
    at.button(key="upload-start").click().run()
    assert "uploads end at 10" in texts(at)
    assert not service.wiring.lake.exists(f"{IMPORT}/large.csv")


def downloads(at) -> dict[str, str]:
    return {button.key: button.label for button in at.download_button}


def test_the_rows_on_which_checks_fail_can_be_taken_along_by_check_and_all_together(service, put, open_page):
    name = put("order_id,revenue,note", "1,2,x", "2,=much,[a](javascript:b)", ",-3,z", "4,5,z")
    at = inspected(open_page("import_file", file=name, role=Role.VIEWER, name="vic"), service)
    offered = downloads(at)
    assert offered["failing-rows"] == "Failing rows"
    assert sorted(label for key, label in offered.items() if key.startswith("rows-")) == ["1 row"] * 5
    known, viewer = at.session_state["import-opened"], local_principal("vic", Role.VIEWER)
    [unread] = [check for check in checks(known["profile"].profile["validations"]) if check.name == "Values readable"]
    told = rows_csv(viewer, known, unread.place).decode("utf-8-sig").splitlines()
    assert told[1].startswith(f'"{name}",3,"revenue","\'=much","values_readable","warning"')
    assert len(told) == 2
    assert len(rows_csv(viewer, known).decode("utf-8-sig").splitlines()) > 5
    service.wiring.lake.upload(f"{IMPORT}/{name}", b"order_id,revenue\n1,2\n")
    with pytest.raises(PermissionDenied):
        rows_csv(Principal("local:nobody", "nobody", None, "local"), known)


def test_a_file_that_passes_every_check_offers_no_failing_rows(service, put, open_page):
    at = inspected(open_page("import_file", file=put("order_id,revenue", "1,2")), service)
    assert [key for key in downloads(at) if key == "failing-rows" or key.startswith("rows-")] == []


def test_a_note_alone_leaves_the_verdict_and_its_rows_are_not_called_failing(service, put, open_page):
    at = inspected(open_page("import_file", file=put("order_id,revenue", "1,2", "1,3")), service)
    said, offered = texts(at), downloads(at)
    assert "No check found a fault" in said
    assert "Order id unique" in said
    assert "failing-rows" not in offered
    assert [label for key, label in offered.items() if key.startswith("rows-")]


def test_a_file_refused_for_what_it_is_offers_no_mapping(service, put, open_page):
    at = inspected(open_page("import_file", file=put("%PDF-1.7", "nothing to map")), service)
    said = texts(at)
    assert "looks like a PDF document" in said
    assert "Read it otherwise" not in said
    assert not [button for button in keys(at) if button and button.startswith("save-")]


def test_a_run_is_told_to_take_as_long_as_the_last_ones(service, put, open_page):
    with working(service.wiring):
        service.operator.post("/api/runs", json={"input_file": put("order_id,revenue", "1,2")})
    st.cache_data.clear()
    at = inspected(open_page("import_file", file=put("order_id,revenue", "1,3")), service)
    at.button(key="run").click().run()
    assert "Takes usually" in texts(at)
    assert "not known yet" not in texts(at)
