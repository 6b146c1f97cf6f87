"""A build as those who wait for it see it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.jobs.job import Job, JobEvent, Step, StepState
from treadle.control.jobs.states import JobState
from treadle.flows.scenario.upload_job import SLOTS, UploadStatus, ending_of, progress_of, says_step, stage_of, upload_job

ID = UUID("6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11")
BEGAN = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
WORKSPACE = "11111111-1111-4111-8111-111111111111"
STAGES = ("extract", "lakehouse", "upload", "tables", "ontology", "ontology_def", "graph_model")  # predecessors' names, which stay


def job(state: JobState = JobState.RUNNING, *slots: str, **changed: Any) -> Job:
    payload = {"scenario_name": "telco-noc", "backend": "fabric-gql", "workspace_id": WORKSPACE, "workspace_name": "ops"}
    ended = BEGAN + timedelta(minutes=5) if state.ended else None
    made = Job(
        job_id=ID, kind="scenario_build", key="scenario:1", once=None, state=state, payload={**payload, "slots": {key: {} for key in slots or ("graph",)}},
        result=None, error_message=None, error_hint=None, error_details=None, attempt=1, max_attempts=5, requested_by="olga",
        correlation_id=None, created_at=BEGAN, due_at=BEGAN, deadline_at=None, started_at=BEGAN, finished_at=ended, lease_owner=None,
        lease_until=None, fence=1, cancel_requested_at=None, cancel_requested_by=None, last_seq=7,
    )  # fmt: skip
    return replace(made, **changed)


def step(name: str, state: StepState = StepState.DONE, result: Any = None, error: str | None = None) -> Step:
    ended = None if state is StepState.RUNNING else BEGAN + timedelta(minutes=2)
    return Step(name, 1, state, 1, BEGAN + timedelta(minutes=1), ended, result, error)


def told(slot: str, name: str, pct: float, detail: str = "on it") -> JobEvent:
    data = {"slot": slot, "step": name, "detail": detail, "pct": pct}
    return JobEvent(ID, 5, BEGAN + timedelta(minutes=3), "INFO", f"{slot}.{name}", pct / 2, detail, data)


def slots_told(found: Any) -> Mapping[str, tuple[str, float]]:
    return {slot.name: (str(slot.status), slot.pct) for slot in found.steps}


def test_a_build_that_waits_is_pending_and_one_between_two_attempts_runs():
    waiting = upload_job(job(JobState.QUEUED, "graph", "runbooks", started_at=None, attempt=0), [])
    assert (waiting.status, waiting.overall_pct, slots_told(waiting)) == (
        "pending",
        0,
        {"graph": ("pending", 0), "runbooks": ("pending", 0)},
    )
    again = upload_job(job(JobState.QUEUED), [step("graph.extract"), step("graph.tables:A", StepState.FAILED, error="no")])
    assert (again.status, again.error, slots_told(again)["graph"][0]) == ("running", None, "running")


def test_slots_are_done_one_after_the_other():
    found = upload_job(
        job(JobState.RUNNING, "prompts", "telemetry", "graph"),
        [step("graph.extract"), step("graph.graph_refresh"), step("telemetry.extract"), step("telemetry.ingest:Alerts", StepState.RUNNING)],
        [told("graph", "graph_model", 100), told("telemetry", "ingest", 40, "Alerts: 200 rows")],
    )
    assert slots_told(found) == {"graph": ("done", 100), "telemetry": ("running", 40), "prompts": ("pending", 0)}
    assert (found.overall_pct, found.steps[1].detail) == (46.7, "Alerts: 200 rows")
    assert found.updated_at == BEGAN + timedelta(minutes=3)


def test_what_failed_is_told_where_it_failed():
    found = upload_job(
        job(
            JobState.FAILED,
            "graph",
            "telemetry",
            "runbooks",
            error_message="the table A: no",
            error_hint="mend A",
            error_details={"faults": [1]},
        ),
        [step("graph.extract"), step("graph.tables:A", StepState.FAILED, error="the table A: no"), step("graph.tables:B")],
        [told("graph", "tables", 50)],
    )
    assert slots_told(found) == {"graph": ("error", 50), "telemetry": ("pending", 0), "runbooks": ("pending", 0)}
    assert (found.status, found.error, found.hint, found.error_details) == ("error", "the table A: no", "mend A", {"faults": [1]})
    assert (found.steps[0].detail, list(found.steps[0].results)) == ("the table A: no", ["extract", "tables:B"])


def test_a_build_whose_record_failed_has_all_its_slots_done():
    steps = [step("graph.extract"), step("runbooks.store"), step("metadata", StepState.FAILED, error="away")]
    found = upload_job(job(JobState.FAILED, "graph", "runbooks", error_message="away"), steps, [told("graph", "tables", 90)])
    assert (found.status, slots_told(found)) == ("error", {"graph": ("done", 100), "runbooks": ("done", 100)})
    assert ending_of(job(JobState.FAILED, error_message="away"), steps)[1]["step"] == "metadata"


def test_a_build_that_was_cancelled_says_by_whom():
    cancelled = job(JobState.CANCELLED, "graph", "tickets", cancel_requested_by="ada")
    steps = [step("graph.extract"), step("graph.upload:A", StepState.STOPPED)]
    found = upload_job(cancelled, steps, [told("graph", "upload", 20)])
    assert slots_told(found) == {"graph": ("cancelled", 20), "tickets": ("cancelled", 0)}
    name, data = ending_of(cancelled, steps)
    assert (name, data["step"], data["detail"], data["pct"], data["status"]) == ("error", "upload", "Cancelled by ada.", -1, "cancelled")


def test_the_name_comes_from_the_manifest_when_nobody_gave_one():
    unnamed = {"scenario_name": None, "backend": None, "workspace_id": WORKSPACE, "workspace_name": "", "slots": {"graph": {}}}
    assert upload_job(job(payload=unnamed), []).scenario_name is None
    read = step("graph.extract", result={"scenario_name": "shop", "connector": "cosmosdb-gremlin"})
    found = upload_job(job(payload=unnamed), [read])
    assert (found.scenario_name, found.backend) == ("shop", "cosmosdb-gremlin")
    done = job(JobState.SUCCEEDED, payload=unnamed, result={"scenario_name": "shop", "backend": "fabric-gql"})
    assert (upload_job(done, []).scenario_name, upload_job(done, []).overall_pct) == ("shop", 100)


def test_the_document_has_the_members_that_front_ends_know():
    document = upload_job(job(JobState.SUCCEEDED), []).as_document()
    known = {
        "id",
        "scenario_name",
        "status",
        "created_at",
        "updated_at",
        "overall_pct",
        "error",
        "backend",
        "workspace_id",
        "workspace_name",
        "steps",
    }
    assert known <= document.keys()
    assert (document["id"], document["status"], document["created_at"]) == (str(ID), "done", "2026-11-22T01:00:00Z")
    assert document["steps"] == [{"name": "graph", "status": "done", "detail": "Done.", "pct": 100}]


def test_the_end_of_a_build_says_what_it_made():
    made = {"lakehouse_id": "l", "ontology_id": "o", "graph_model_id": "g", "tables": [{"name": "A", "rows": 1}], "message": "built"}
    name, data = ending_of(job(JobState.SUCCEEDED, result=made), [])
    assert name == "complete"
    assert {key: data[key] for key in made} == made


def test_a_fault_of_an_archive_is_in_the_error():
    faults = [{"code": "column_missing", "where": "A.csv", "message": "no", "hint": "mend"}]
    failed = job(JobState.FAILED, error_message="cannot be built", error_details={"faults": faults})
    name, data = ending_of(failed, [step("graph.extract", StepState.FAILED, error="cannot be built")])
    assert (name, data["step"], data["pct"], data["faults"]) == ("error", "extract", -1, faults)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        *((f"graph.{stage}", stage) for stage in STAGES),
        *((stage, stage) for stage in STAGES),
        ("graph.upload:Core.Router", "upload"),
        ("graph.graph_model_def", "graph_model"),
        ("graph.graph_refresh", "graph_model"),
        ("telemetry.ingest:Alerts", "ingest"),
        ("metadata", "metadata"),
        ("", ""),
    ],
)
def test_steps_are_told_by_the_names_of_a_provisioning(name: str, stage: str):
    assert stage_of(name) == stage


def test_progress_is_told_and_the_bookkeeping_of_steps_is_not():
    event = told("graph", "tables", 33.333, "A: 12 rows")
    assert progress_of(event) == {"step": "tables", "detail": "A: 12 rows", "pct": 33.3, "slot": "graph"}
    begun = JobEvent(ID, 2, BEGAN, "INFO", "graph.tables:A", None, "begun", None)
    assert progress_of(begun) is None
    assert progress_of(replace(begun, data={"state": "RUNNING", "attempt": 2})) is None
    warned = replace(begun, level="WARNING", step=None, message="Attempt 1 of 5 failed: away.")
    assert progress_of(warned) == {"step": "extract", "detail": "Attempt 1 of 5 failed: away.", "pct": 0.0}
    assert progress_of(warned, first_step="lakehouse")["step"] == "lakehouse"


def test_what_happens_to_the_job_is_told_where_the_build_was_then():
    lost = JobEvent(ID, 9, BEGAN, "WARNING", None, None, "The worker was lost.", {"state": "QUEUED"})
    before = told("telemetry", "ingest:Alerts", 61.25)
    assert (says_step(lost), says_step(before)) == (False, True)
    assert progress_of(lost, before) == {"step": "ingest", "detail": "The worker was lost.", "pct": 61.2, "slot": "telemetry"}
    waits = replace(lost, level="INFO", data={"slot": "graph", "step": "extract", "detail": "Waits.", "pct": None})
    assert progress_of(waits, before) == {"step": "extract", "detail": "Waits.", "pct": 0.0, "slot": "graph"}
    assert progress_of(waits, told("graph", "tables", 50))["pct"] == 50


def test_a_build_that_ended_before_its_first_step_ends_at_that_step():
    assert ending_of(job(JobState.CANCELLED, cancel_requested_by="ada"), [])[1]["step"] == "extract"
    alone = job(JobState.FAILED, error_message="away", payload={"kind": "lakehouse"})
    assert ending_of(alone, [])[1]["step"] == "lakehouse"


STEPS = st.builds(
    step,
    st.sampled_from([f"{slot}.{name}" for slot in SLOTS for name in ("extract", "upload:A", "store")] + ["metadata"]),
    st.sampled_from(list(StepState)),
)


@given(
    st.sampled_from(list(JobState)),
    st.lists(st.sampled_from(SLOTS), unique=True),
    st.lists(STEPS, max_size=6),
    st.lists(st.builds(told, st.sampled_from(SLOTS), st.just("x"), st.floats(0, 100)), max_size=5),
)
def test_whatever_happens_the_whole_agrees_with_its_parts(state: JobState, slots: list[str], steps: list[Step], events: list[JobEvent]):
    found = upload_job(
        job(state, *slots, error_message="broken" if state is JobState.FAILED else None, cancel_requested_by="ada"), steps, events
    )
    assert 0 <= found.overall_pct <= 100
    assert found.status.ended == state.ended
    statuses = {slot.status for slot in found.steps}
    if found.status is UploadStatus.DONE:
        assert statuses == {UploadStatus.DONE}
    if found.status.ended:
        assert UploadStatus.RUNNING not in statuses
    assert all(slot.detail for slot in found.steps)
