"""The list of scenarios: those that were built, and those of which only a job is known yet. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import shorten
from typing import Final

from treadle.control.jobs.job import Job
from treadle.control.jobs.states import JobState
from treadle.flows.scenario.flow import DESTROY
from treadle.flows.scenario.records import ScenarioRecord
from treadle.portal.scenarios.backends import backend_word
from treadle.portal.scenarios.job_told import name_of
from treadle.portal.words import number

SUMMARY: Final = 160  # characters of a description that a card shows


@dataclass(frozen=True, slots=True)
class ScenarioLine:
    """A scenario as the list shows it. state: a name of `looks.LOOKS`. at: when it was built last, or its job was asked for."""

    name: str
    title: str
    state: str
    summary: str
    facts: tuple[str, ...]
    at: datetime | None
    at_word: str
    domain: str = ""


def lines_of(built: Sequence[ScenarioRecord], newest_first: Sequence[Job]) -> list[ScenarioLine]:
    """What goes on first, then by name. newest_first: the jobs of all scenarios."""
    newest: dict[str, Job] = {}
    for job in newest_first:
        if name := name_of(job):
            known = newest.setdefault(name, job)
            if known.state.ended and not job.state.ended:
                newest[name] = job  # what goes on tells more than what ended after it was asked for
    lines = [_built(record, newest.get(record.name)) for record in built]
    known_names = {record.name for record in built}
    lines += [_asked_for(name, job) for name, job in newest.items() if name not in known_names and _is_worth_a_card(job)]
    return sorted(lines, key=lambda line: (line.state not in {"BUILDING", "REMOVING", "QUEUED"}, line.title.casefold(), line.name))


def state_of(job: Job | None, *, is_built: bool) -> str:
    """How a scenario stands, by its newest job."""
    if job is not None and job.state is JobState.RUNNING:
        return "REMOVING" if job.kind == DESTROY else "BUILDING"
    if job is not None and job.state is not JobState.SUCCEEDED:
        return str(job.state)
    return "BUILT" if is_built else "NOT_BUILT"


def of_text(line: ScenarioLine, text: str) -> bool:
    """Whether a line has a text in it, whatever the case."""
    wanted = text.strip().casefold()
    return wanted in " ".join([line.name, line.title, line.domain, *line.facts]).casefold()


def _is_worth_a_card(job: Job) -> bool:
    """One that was removed is gone; a first build that did not come to its end is shown, so that it can be retried."""
    return job.state is not JobState.SUCCEEDED


def _built(record: ScenarioRecord, job: Job | None) -> ScenarioLine:
    rows = sum(table.rows or 0 for table in record.tables)
    tables = f"{len(record.tables)} {'table' if len(record.tables) == 1 else 'tables'}, {number(rows)} rows"
    lost = (f"{len(record.lost)} {'thing' if len(record.lost) == 1 else 'things'} taken over by others",) if record.lost else ()
    facts = (tables, *lost, backend_word(record.graph_connector), record.workspace_name or record.workspace_id)
    summary = shorten(record.description, SUMMARY, placeholder=" …")
    title = record.display_name or record.name
    state = state_of(job, is_built=True)
    state = record.state if state == "BUILT" else state
    return ScenarioLine(record.name, title, state, summary, facts, record.updated_at, "Built", record.domain or "")


def _asked_for(name: str, job: Job) -> ScenarioLine:
    payload = job.payload
    place = str(payload.get("workspace_name") or payload.get("workspace_id") or "")
    facts = tuple(filter(None, (backend_word(str(payload.get("backend") or "")), place, f"asked for by {job.requested_by}")))
    return ScenarioLine(name, name, state_of(job, is_built=False), "", facts, job.created_at, "Asked for")
