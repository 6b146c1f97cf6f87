"""What the pages of the scenarios make of jobs, plans, models, answers and hostile names, without a page."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from treadle.control.jobs.job import Job, JobEvent, Step, StepState
from treadle.control.jobs.states import JobState
from treadle.errors import InvalidInput
from treadle.flows.scenario.asked import STAYS
from treadle.flows.scenario.flow import BUILD, DESTROY, DocumentCounts
from treadle.flows.scenario.plan import Action, Change, Kind
from treadle.looks import LOOKS
from treadle.portal.scenarios.documents_panel import readable
from treadle.portal.scenarios.drawing import DrawnEdge, DrawnNode, answer_dot, ink_on, model_dot, quoted, styles_of
from treadle.portal.scenarios.job_told import (
    doing_title,
    job_progress,
    job_title,
    pill_label,
    slot_states,
    step_rows,
    step_title,
    worth_a_word,
)
from treadle.portal.scenarios.listing import lines_of, of_text, state_of
from treadle.portal.scenarios.plan_told import change_rows, documents_lines, documents_question, plan_sentence, split_notes
from treadle.portal.scenarios.ready_queries import ready_queries
from treadle.portal.scenarios.workspace_text import workspace_id_of

NOW = datetime(2026, 11, 22, 1, tzinfo=UTC)
MODEL = {
    "entity_types": [
        {"label": "Service", "key": "ServiceId", "properties": [{"name": "ServiceId", "type": "String"}]},
        {
            "label": "TransportLink",
            "key": "LinkId",
            "properties": [{"name": "LinkId", "type": "String"}, {"name": "Gbps", "type": "BigInt"}],
        },
        {"label": "CoreRouter", "key": "RouterId", "properties": [{"name": "RouterId", "type": "String"}]},
    ],
    "relationship_types": [
        {"name": "depends_on", "label": "depends_on", "source": "Service", "target": "TransportLink"},
        {"name": "connects_to", "label": "connects_to", "source": "TransportLink", "target": "CoreRouter"},
    ],
}
HOSTILE = '"]; n9 [label="pwned" URL="javascript:alert(1)"]; \\" <script>alert(1)</script> &lt; \u202e$x$\n'


def job(**changes) -> Job:
    values = dict.fromkeys(Job.__dataclass_fields__)
    payload = {"scenario_name": "telco-noc", "workspace_name": "ops", "slots": {"graph": {}, "runbooks": {}, "telemetry": {}}}
    values |= {"job_id": uuid4(), "kind": BUILD, "state": JobState.RUNNING, "payload": payload, "attempt": 1, "created_at": NOW}
    return Job(**(values | {"due_at": NOW, "requested_by": "olga", "last_seq": 1, "fence": 0} | changes))


def step(name: str, state: StepState = StepState.DONE, **changes) -> Step:
    ended = None if state is StepState.RUNNING else NOW + timedelta(seconds=2)
    return replace(Step(name, 1, state, 1, NOW, ended, None, None), **changes)


def test_a_job_is_called_by_what_it_does_to_which_scenario():
    assert job_title(job()) == "Build of telco-noc"
    assert job_title(job(kind=DESTROY)) == "Removal of telco-noc"
    assert doing_title(job(state=JobState.QUEUED, attempt=0)) == "telco-noc waits for its turn"
    assert job_title(job(payload={"scenario_name": None})) == "Build of a scenario"
    assert job_title(job(payload={}, result={"scenario_name": "found-later"})) == "Build of found-later"


def test_progress_is_the_newest_share_that_was_told_and_a_missing_worker_is_named():
    events = [
        JobEvent(uuid4(), seq, NOW, "INFO", None, pct, text, None)
        for seq, pct, text in ((1, 40.0, "loading"), (2, None, "waiting for Fabric"))
    ]
    assert job_progress(job(), events, NOW) == (0.4, "waiting for Fabric", "")
    begun = [replace(events[0], step="graph.tables:DimService", message="begun")]
    assert job_progress(job(), begun, NOW)[1] == "Load the table: DimService"
    waiting = job(state=JobState.QUEUED, attempt=0)
    assert job_progress(waiting, [], NOW + timedelta(seconds=5))[2] == ""
    assert "treadle worker" in job_progress(waiting, [], NOW + timedelta(minutes=1))[2]


def test_each_part_stands_as_its_steps_say_in_the_order_in_which_they_are_built():
    steps = [
        step("graph.extract"),
        step("graph.tables:DimService", StepState.FAILED, error_message="refused"),
        step("telemetry.extract", StepState.RUNNING),
    ]
    assert slot_states(job(), steps) == [("Graph", "FAILED"), ("Telemetry", "RUNNING"), ("Runbooks", "WAITING")]
    assert slot_states(job(state=JobState.SUCCEEDED), []) == [("Graph", "DONE"), ("Telemetry", "DONE"), ("Runbooks", "DONE")]
    assert slot_states(job(state=JobState.FAILED), steps[:2])[2] == ("Runbooks", "SKIPPED")
    assert {state for _, state in slot_states(job(), steps)} <= set(LOOKS)


def test_steps_are_told_in_words_with_their_time_and_what_kept_them():
    assert step_title("graph.tables:DimService") == "Load the table: DimService"
    assert step_title("telemetry.tables") == "Create the tables"
    assert step_title("metadata") == "Record the scenario"
    [row] = step_rows([step("graph.upload:DimService", StepState.FAILED, error_message="too large")], NOW)
    assert row == {
        "State": "✕ Failed",
        "Part": "Graph",
        "Step": "Bring the table's data to the lake: DimService",
        "Took": "2 s",
        "Note": "too large",
    }


def test_the_head_of_every_page_tells_what_goes_on_and_what_failed_lately_and_nothing_else():
    failed = job(state=JobState.FAILED, finished_at=NOW - timedelta(hours=2))
    assert worth_a_word([failed], NOW) == [failed]
    assert worth_a_word([failed], NOW + timedelta(days=2)) == []
    assert worth_a_word([job(state=JobState.SUCCEEDED, finished_at=NOW), failed], NOW) == [], "a newer build went well"
    assert worth_a_word([job(state=JobState.SUCCEEDED, finished_at=NOW)], NOW) == []
    going = job()
    assert worth_a_word([going, failed], NOW) == [going]
    assert pill_label([going], 0.45) == "Building telco-noc · 45%"
    assert pill_label([going, job(payload={"scenario_name": "b"})], None) == "2 scenario jobs"
    assert pill_label([failed], None) == "Build of telco-noc failed"


def test_the_list_has_what_is_built_and_what_only_a_job_knows_but_not_what_was_removed():
    first = job(state=JobState.FAILED)
    removed = job(kind=DESTROY, state=JobState.SUCCEEDED, payload={"scenario_name": "gone"})
    going = job(payload={"scenario_name": "zeta", "workspace_name": "ops"})
    lines = lines_of([], [going, removed, first])
    assert [(line.name, line.state) for line in lines] == [("zeta", "BUILDING"), ("telco-noc", "FAILED")]
    assert state_of(None, is_built=True) == "BUILT"
    assert state_of(job(kind=DESTROY), is_built=True) == "REMOVING"
    assert {line.state for line in lines} <= set(LOOKS)
    assert of_text(lines[0], "OPS")
    assert not of_text(lines[0], "nothing of it")


def test_a_plan_is_told_in_sums_and_in_rows():
    created = Change(Action.CREATE, Kind.TABLE, "DimService", None, "is not there yet")
    same = Change(Action.UNCHANGED, Kind.LAKEHOUSE, "lakehouse", "id", "is there")
    assert plan_sentence([created, same]) == "1 to create, 1 unchanged."
    assert plan_sentence([same]) == "Nothing would change in Fabric: 1 thing is as the archives say."
    assert plan_sentence([]) == plan_sentence([], {"runbooks": DocumentCounts(0, 0, 0, 2)}) == "Nothing would change."
    assert plan_sentence([], {"runbooks": DocumentCounts(0, 0, 1, 2)}) == "Only documents change; no item of Fabric is touched."
    changing = {"runbooks": DocumentCounts(1, 0, 3, 2), "tickets": DocumentCounts(0, 0, 0, 4)}
    assert documents_lines(changing) == ["Runbooks: 1 created, 3 removed, 2 unchanged.", "Tickets: nothing changes, 4 are there."]
    assert documents_question(changing) == "Yes, remove 3 documents that are there"
    assert documents_question({"runbooks": DocumentCounts(2, 0, 0, 0)}) is None
    moved = f"shop is built in lakehouse a. This build goes to lakehouse b; {STAYS}."
    notes = ["runbooks: 2 files are passed over.", moved, "depends_on: no filters"]
    assert split_notes(notes) == (notes[:1], [moved], notes[2:])
    assert change_rows([created])[0] == {"What happens": "+ Create", "Thing": "Table", "Name": "DimService", "Why": "is not there yet"}


def test_a_scenarios_own_colours_and_sizes_are_used_and_nothing_else_that_it_says():
    styles = styles_of(
        {"node_types": {"CoreRouter": {"color": "#38BDF8", "size": 28}, "Service": {"color": "red; x", "size": "big"}}},
        ["CoreRouter", "Service"],
    )
    assert (styles["CoreRouter"].fill, styles["CoreRouter"].ink) == ("#38bdf8", "#111827")
    assert re.fullmatch("#[0-9a-f]{6}", styles["Service"].fill)
    assert styles["CoreRouter"].points > styles["Service"].points
    assert ink_on("#1b1b1b") == "#ffffff"
    assert styles_of({"CoreRouter": {"color": "#38BDF8"}}, ["CoreRouter"])["CoreRouter"].fill == "#38bdf8", "also without the level above"


def test_the_model_is_drawn_with_every_type_and_relationship():
    dot = model_dot(MODEL, styles_of({}, [each["label"] for each in MODEL["entity_types"]]))
    assert 'label="TransportLink\\n2 properties"' in dot
    assert re.search(r'n1 -> n2 \[label="connects_to"', dot)
    assert dot.count("->") == 2


@pytest.mark.parametrize("text", [HOSTILE, 'a"b', "back\\slash", "line\nbreak", "\\N \\G", "x" * 500, "<b>html</b>"])
def test_texts_of_others_stay_within_their_quotes(text):
    told = quoted(text)
    assert re.fullmatch(r'"(?:[^"\\]|\\\\|\\")*"', told), "nothing but escaped quotes and backslashes"
    assert "\n" not in told
    node = DrawnNode(text, "Service", text, text)
    dot = answer_dot([node], [DrawnEdge(text, text, text)], styles_of({}, ["Service"]))
    assert len(dot.splitlines()) == 7, "one line for the node, one for the edge"


def test_an_answer_is_drawn_up_to_a_size_that_can_be_read():
    nodes = [DrawnNode(str(n), "Service", str(n), "") for n in range(500)]
    edges = [DrawnEdge("0", str(n), "to") for n in range(500)]
    dot = answer_dot(nodes, edges, styles_of({}, ["Service"]))
    assert dot.count("fillcolor") == 80
    assert dot.count("->") == 80, "no edge leads to a node that is not drawn"


def test_ready_queries_fit_the_model_and_quote_names_that_are_no_identifiers():
    queries = {each.title: each.gql for each in ready_queries(MODEL)}
    assert "MATCH (a:`Service`)-[e:depends_on]->(b:TransportLink)" in queries["Service depends on TransportLink"]
    assert "GROUP BY" in queries["How many Service for each TransportLink"]
    assert "-[f:connects_to]->(c:CoreRouter)" in queries["From Service over TransportLink to CoreRouter"]
    odd = {"entity_types": [{"label": "a`b c", "key": "k"}], "relationship_types": []}
    assert "(a:`a``b c`)" in ready_queries(odd)[0].gql
    assert ready_queries({}) == []


@pytest.mark.parametrize(
    "text",
    [
        " 0F8FAD5B-D9CB-469F-A165-70867728950E ",
        "https://app.fabric.microsoft.com/groups/0f8fad5b-d9cb-469f-a165-70867728950e/list?experience=fabric",
        "https://api.fabric.microsoft.com/v1/workspaces/0f8fad5b-d9cb-469f-a165-70867728950e",
    ],
)
def test_a_workspace_is_found_in_what_was_copied(text):
    assert workspace_id_of(text) == "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize("text", ["", "my workspace", "https://app.fabric.microsoft.com/home", "0f8fad5b-d9cb-469f-a165"])
def test_what_names_no_workspace_is_said_to(text):
    with pytest.raises(InvalidInput, match="neither the id"):
        workspace_id_of(text)


def test_a_document_keeps_its_lines_and_shows_what_would_hide():
    assert readable("one\r\ntwo\tend\nthree\u202e") == "one\ntwo end\nthree\\u202e"
