"""A scenario's job in words: what it is, how far it and each of its parts are, what came of it. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

from treadle.control.jobs.job import Job, JobEvent, Step, StepState
from treadle.control.jobs.states import JobState
from treadle.flows.scenario.flow import BUILD, DESTROY
from treadle.flows.scenario.slot_files import documents_told, passed_over_in
from treadle.looks import look_of
from treadle.portal.words import duration

KINDS: Final = (BUILD, DESTROY)
SLOTS: Final[Mapping[str, str]] = {
    "graph": "Graph",
    "telemetry": "Telemetry",
    "runbooks": "Runbooks",
    "tickets": "Tickets",
    "prompts": "Prompts",
}
"""The parts that a scenario is uploaded in, in the order in which they are built."""
LATELY: Final = timedelta(hours=24)  # for so long a failure stays in the head of every page, unless something newer came of it
NO_WORKER_SECONDS: Final = 15  # a job that waits longer than this waits for a worker, not for its turn
_FIRST: Final = ("A worker begins to read the archives.", "A worker looks what is there.")  # of a build, of a removal
_STEPS: Final[Mapping[str, str]] = {
    "extract": "Read the archive",
    "lakehouse": "Find or create the lakehouse",
    "upload": "Bring the table's data to the lake",
    "tables": "Load the table",
    "ontology": "Find or create the ontology",
    "ontology_def": "Write the ontology's definition",
    "graph_model": "Find or create the graph model",
    "graph_model_def": "Write the graph model's definition",
    "graph_refresh": "Refresh the graph",
    "vertices": "Write the nodes",
    "edges": "Write the edges",
    "eventhouse": "Find or create the eventhouse",
    "kql_database": "Find or create the KQL database",
    "ingest": "Ingest the table",
    "store": "Store the files and their index",
    "metadata": "Record the scenario",
}


def name_of(job: Job) -> str | None:
    """The scenario that the job is about. None: nobody named it, and its manifest has not been read yet."""
    name = job.payload.get("scenario_name") or _result_of(job).get("scenario_name")
    return str(name) if name else None


def _result_of(job: Job) -> Mapping[str, Any]:
    left: Any = job.result
    return cast("Mapping[str, Any]", left) if isinstance(left, Mapping) else dict[str, Any]()


def called(job: Job) -> str:
    """The scenario's name, or what stands for it."""
    return name_of(job) or "a scenario"


def job_title(job: Job) -> str:
    """What the job does, and to which scenario."""
    return f"{'Removal' if job.kind == DESTROY else 'Build'} of {called(job)}"


def doing_title(job: Job) -> str:
    """The same while it goes on."""
    if job.state is JobState.QUEUED and job.attempt == 0:
        return f"{called(job)} waits for its turn"
    return f"{'Removing' if job.kind == DESTROY else 'Building'} {called(job)}"


def job_progress(job: Job, events: Sequence[JobEvent], now: datetime) -> tuple[float | None, str, str]:
    """How far a job is that has not ended: from 0 to 1, None while nobody knows; what is being done; and advice, empty when there is none."""
    if job.cancel_requested_at:
        return None, f"{job.cancel_requested_by} has asked it to stop; it ends before its next step.", ""
    if job.state is JobState.QUEUED and job.attempt == 0:
        waits = now - job.due_at > timedelta(seconds=NO_WORKER_SECONDS)
        return None, "Waiting for its turn.", "No worker has taken it yet. Is one running? Start it with: treadle worker" if waits else ""
    part = next((event.pct / 100 for event in reversed(events) if event.pct is not None), None)
    advice = f"Attempt {job.attempt} did not come to its end; it is tried again by itself." if job.state is JobState.QUEUED else ""
    begun = any(event.step or event.pct is not None for event in events)  # what stands before is who asked for it, and which worker took it
    return part, _doing(events[-1]) if begun else _FIRST[job.kind == DESTROY], advice


def _doing(newest: JobEvent) -> str:
    """What the newest event says is done, and for which part; of one that only says that a step has begun, or is done, which step that is."""
    if newest.step and newest.message in {"begun", "done"}:
        return step_title(newest.step)
    part = slot_of(newest.step or "")
    return f"{part}: {newest.message}" if part else newest.message


def job_outcome(job: Job) -> str:
    """What came of a job that has ended, in a sentence."""
    if job.state is JobState.SUCCEEDED:
        return _removed_told(job) if job.kind == DESTROY else " ".join(["All its parts are there.", *passed_over(job)])
    if job.state is JobState.CANCELLED:
        return f"{job.cancel_requested_by or 'Somebody'} has cancelled it. What was done stays done; retried, it goes on from there."
    return job.error_message or "The reason was not recorded."


def passed_over(job: Job) -> list[str]:
    """What its archives of documents brought that was not stored, a sentence for each of them that has such."""
    results: Any = _result_of(job).get("results")
    by_slot = cast("Mapping[str, Any]", results) if isinstance(results, Mapping) else dict[str, Any]()
    return [told for slot in SLOTS if isinstance(by_slot.get(slot), Mapping) and (told := passed_over_in(slot, by_slot[slot]))]


def _removed_told(job: Job) -> str:
    documents: Any = _result_of(job).get("documents")
    told = documents_told(cast("Mapping[str, int]", documents)) if isinstance(documents, Mapping) else ""
    return f"Everything that it made is gone{f', with {told}' if told else ''}."


def step_title(name: str) -> str:
    """A step as people call it: what is done, and to which table or label."""
    _, _, rest = name.partition(".")
    what, _, which = (rest or name).partition(":")
    told = _STEPS.get(what, what.replace("_", " ").capitalize())
    if what == "tables" and not which:
        told = "Create the tables"
    return f"{told}: {which}" if which else told


def slot_of(step_name: str) -> str:
    """Which part of the scenario a step is of, in words; empty for a step of the whole."""
    return SLOTS.get(step_name.partition(".")[0], "") if "." in step_name else ""


def step_rows(steps: Sequence[Step], now: datetime) -> list[dict[str, Any]]:
    """The steps as rows of a table, in the order in which they were begun."""
    return [
        {
            "State": f"{look_of(step.state).sign} {look_of(step.state).word}",
            "Step": step_title(step.name),
            "Part": slot_of(step.name) or "All",
            "Took": _took(step, now),
            "Note": step.error_message or "",
        }
        for step in steps
    ]


def step_lines(steps: Sequence[Step], most: int) -> list[str]:
    """The last steps that were begun, and those that failed, one line each."""
    shown = [step for place, step in enumerate(steps) if place >= len(steps) - most or step.state is StepState.FAILED]
    return [f"{look_of(step.state).sign} {step_title(step.name)}" for step in shown]


def slot_states(job: Job, steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Each part that was uploaded with how it stands, which is a name of `looks.LOOKS`."""
    given: Any = job.payload.get("slots")
    names = set(cast("Mapping[str, Any]", given)) if isinstance(given, Mapping) else set[str]()
    return [
        (word, _slot_state(job, [step for step in steps if step.name.startswith(f"{slot}.")]))
        for slot, word in SLOTS.items()
        if slot in names
    ]


def _slot_state(job: Job, steps: Sequence[Step]) -> str:
    if job.state is JobState.SUCCEEDED:
        return "DONE"
    if any(step.state is StepState.FAILED for step in steps):
        return "FAILED"
    if any(step.state is StepState.RUNNING for step in steps):
        return "STOPPED" if job.state.ended else "RUNNING"
    if not steps:
        return "SKIPPED" if job.state.ended else "WAITING"
    return "RUNNING" if job.state is JobState.RUNNING and steps else "STOPPED"


def part_done(job: Job, steps: Sequence[Step]) -> str:
    """How many steps are done, in words; empty before the first."""
    done = sum(step.state is StepState.DONE for step in steps)
    return f"{done} {'step' if done == 1 else 'steps'} done" if done and not job.state.ended else ""


def worth_a_word(newest_first: Sequence[Job], now: datetime) -> list[Job]:
    """The jobs that stand in the head of every page: all that go on, and what failed lately unless a newer job of the same scenario came after it."""
    seen: set[str] = set()
    told: list[Job] = []
    for job in newest_first:
        failed_lately = job.state is JobState.FAILED and job.finished_at is not None and now - job.finished_at < LATELY
        if not job.state.ended or (failed_lately and called(job) not in seen):
            told.append(job)
        seen.add(called(job))
    return told


def pill_label(told: Sequence[Job], part: float | None) -> str:
    """The few words in the head of every page. part: how far the first of them is."""
    active = [job for job in told if not job.state.ended]
    if not active:
        return f"{job_title(told[0])} failed" if len(told) == 1 else f"{len(told)} scenario jobs failed"
    if len(active) > 1:
        return f"{len(active)} scenario jobs"
    return doing_title(active[0]) + (f" · {part:.0%}" if part is not None else "")


def _took(step: Step, now: datetime) -> str:
    if step.finished_at is None and step.state is not StepState.RUNNING:
        return ""
    span = (step.finished_at or now) - step.started_at
    return duration(span) if span >= timedelta(seconds=1) else f"{max(span, timedelta()).total_seconds():.1f} s"
