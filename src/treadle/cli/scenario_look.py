"""treadle scenario ls, show, query, docs and jobs: what was built, what its graph answers, what its documents say."""

import json
from typing import Annotated, Any, Final, cast

import typer
from rich.markup import escape

from treadle.actions import documents, scenarios
from treadle.cli.options import Json, State, looking, session
from treadle.cli.output import Markup, local_time, reported, say, show_json, status_cell, write_out
from treadle.cli.tables import show_list, show_table
from treadle.errors import InvalidInput
from treadle.flows.scenario.records import ScenarioRecord
from treadle.flows.scenario.slot_files import DOCUMENT_SLOTS, Slot
from treadle.flows.scenario.upload_job import UploadJob, UploadStatus
from treadle.visible_text import visible

_VALUE_CHARS: Final = 60  # of a node or a list in a table; --json has all of it
_STATES: Final = {
    UploadStatus.PENDING: "QUEUED",
    UploadStatus.RUNNING: "RUNNING",
    UploadStatus.DONE: "SUCCEEDED",
    UploadStatus.ERROR: "FAILED",
    UploadStatus.CANCELLED: "CANCELLED",
}

Name = Annotated[str, typer.Argument(metavar="NAME", help="A scenario, as treadle scenario ls has it.")]


@reported
def ls(state: State = None, json_output: Json = False) -> None:
    """List the scenarios that were built."""
    with session(state) as wiring:
        found = scenarios.list_scenarios(wiring.services, looking(wiring))
        if json_output:
            show_json({"scenarios": found})
            return
        rows = [
            (
                each.name,
                Markup(status_cell(each.state)),
                each.display_name,
                each.graph_connector,
                each.workspace_name,
                _count(each),
                each.updated_at,
            )
            for each in found
        ]
        heads = ("name", "state", "title", "backend", "workspace", "tables", "updated")
        spare = ("backend", "workspace")
        show_list(
            heads, rows, cut={"title": 20}, spare=spare, empty="No scenario was built yet. Build one with: treadle scenario apply FILE"
        )


@reported
def show(name: Name, state: State = None, json_output: Json = False) -> None:
    """Show what is known of a scenario: where it is, its tables, its model, and the questions that it was made for."""
    with session(state) as wiring:
        found = scenarios.get_scenario(wiring.services, looking(wiring), name)
        if json_output:
            show_json(found)
        else:
            _show(found)


@reported
def query(
    name: Name,
    gql: Annotated[str, typer.Argument(metavar="GQL", help="For example: MATCH (n) RETURN n LIMIT 10")],
    state: State = None,
    json_output: Json = False,
) -> None:
    """Ask the graph of a scenario, in GQL. Reads only."""
    with session(state) as wiring:
        answer = scenarios.query(wiring.services, looking(wiring), name, gql)
        if json_output:
            show_json(answer)
            return
        names = [column.name for column in answer.columns]
        rows = [[_value(row.get(column)) for column in names] for row in answer.rows]
        show_table([escape(visible(name)) for name in names], rows, empty="The graph has no such row.")
        if answer.rows:
            say(f"{len(answer.rows):,} row{'' if len(answer.rows) == 1 else 's'}.")


@reported
def docs(
    name: Name,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Only those with all of these words, best first.", show_default=False)
    ] = None,
    slot: Annotated[Slot | None, typer.Option("--slot", help="Only runbooks, tickets or prompts.", show_default=False)] = None,
    read: Annotated[
        str | None, typer.Option("--read", metavar="ID", help="Print the text of one of them instead.", show_default=False)
    ] = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List or search the runbooks, tickets and prompts of a scenario, or read one of them."""
    if slot and slot not in DOCUMENT_SLOTS:
        raise InvalidInput(f"The slot {slot} has no documents.", hint=f"Choose {', '.join(DOCUMENT_SLOTS)}.")
    with session(state) as wiring:
        services, who = wiring.services, looking(wiring)
        scenarios.get_scenario(services, who, name)
        if read is not None:
            text = documents.read(services, who, name, read)
            if json_output:
                show_json({"id": read, "text": text})
            else:
                write_out(visible(text.replace("\r\n", "\n"), kept="\n\t").rstrip("\n"))
            return
        wanted = (slot,) if slot else DOCUMENT_SLOTS
        if search is not None:
            found = [each for each in documents.search(services, who, name, search) if each.body.get("slot") in wanted]
        else:
            found = [each for part in wanted for each in documents.list_documents(services, who, name, part)]
        if json_output:
            show_json({"documents": [{"id": each.id, "updated_at": each.updated_at, **each.body} for each in found]})
            return
        rows = [(each.body["slot"], each.body["path"], each.body["title"], f"{each.body['size_bytes']:,}", each.id) for each in found]
        nothing = "No document has these words." if search is not None else "The scenario has no documents."
        show_list(("slot", "path", "title", "size", "id"), rows, cut={"path": 20, "title": 16}, spare=("size",), empty=nothing)


@reported
def jobs(
    workspace: Annotated[
        str | None, typer.Option("--workspace", metavar="ID", help="Only builds in this workspace.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200)] = 20,
    after: Annotated[str | None, typer.Option("--after", help="Continue after this cursor, as the previous page printed it.")] = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List the builds, newest first; treadle jobs show has the steps of one, and treadle jobs cancel and retry work on them."""
    with session(state) as wiring:
        page = scenarios.upload_jobs(wiring.services, looking(wiring), workspace_id=workspace, limit=limit, after=after)
        if json_output:
            show_json({"jobs": [job.as_document() for job in page.jobs], "next": page.next})
            return
        heads = ("job", "scenario", "status", "%", "created", "by", "workspace", "slots", "what")
        cut = {"what": 24, "slots": 12}
        show_list(heads, [_row(job) for job in page.jobs], cut=cut, spare=("workspace", "by", "slots"), empty="Nothing was built yet.")
        if page.next:
            say(f"More: --after {page.next}")


def _row(job: UploadJob) -> tuple[Any, ...]:
    now = next((step for step in reversed(job.steps) if step.status in {UploadStatus.RUNNING, UploadStatus.ERROR}), None)
    return (
        str(job.job_id)[:8], job.scenario_name or "–", Markup(status_cell(_STATES[job.status])), f"{job.overall_pct:.0f}", job.created_at,
        job.requested_by, job.workspace_name, ", ".join(step.name for step in job.steps), job.error or (now.detail if now else ""),
    )  # fmt: skip


def _show(found: ScenarioRecord) -> None:
    facts = {
        "scenario": found.name, "state": _standing(found), "title": found.display_name, "about": found.description.strip(), "domain": found.domain,
        "backend": found.graph_connector, "workspace": f"{found.workspace_name} ({found.workspace_id})", "lakehouse": found.lakehouse_name,
        "ontology": found.ontology_name, "graph model": found.graph_model_id, "eventhouse": found.eventhouse_name, "KQL database": found.kql_database_name,
        "updated": local_time(found.updated_at), "job": found.job_id,
    }  # fmt: skip
    show_table(("", ""), [(name, str(value)) for name, value in facts.items() if value], empty="")
    rows = [(table.name, table.kind, f"{table.rows:,}") for table in found.tables]
    show_table(("table", "of", "rows"), rows, whole=("table", "of"), gap=True, title="Tables", empty="It has no tables.")
    if found.lost:
        lost = [(loss.kind.replace("_", " "), loss.name, loss.taken_by) for loss in found.lost]
        show_table(("kind", "name", "taken over by"), lost, whole=("kind", "taken over by"), gap=True, title="Lost", empty="")
    entities: list[dict[str, Any]] = list(found.model.get("entity_types", ()))
    types = [(each["label"], each["key"], ", ".join(str(item["name"]) for item in each["properties"])) for each in entities]
    if types:
        show_table(("entity type", "key", "properties"), types, whole=("entity type", "key"), gap=True, title="Entity types", empty="")
    relations: list[dict[str, Any]] = list(found.model.get("relationship_types", ()))
    if relations:
        pairs = [(each["label"], each["source"], each["target"]) for each in relations]
        show_table(("relationship", "from", "to"), pairs, gap=True, title="Relationship types", empty="")
    if found.example_questions:
        questions = [(question,) for question in found.example_questions]
        show_table(("",), questions, gap=True, title="Questions it was made for", empty="")


def _count(found: ScenarioRecord) -> str:
    return str(len(found.tables))


def _standing(found: ScenarioRecord) -> str:
    if not found.lost:
        return found.state
    takers = ", ".join(sorted({loss.taken_by for loss in found.lost}))
    return f"{found.state}: taken over by {takers}; build it again, with names of its own"


def _value(value: Any) -> str | None:
    """A value in a table: nodes by label and properties, lists as JSON; long ones are cut."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and "properties" in value:
        node = cast("dict[str, Any]", value)
        labels = ", ".join(str(label) for label in node.get("labels") or ())
        value = {labels: node["properties"]} if labels else node["properties"]
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if not isinstance(value, dict | list) or len(text) <= _VALUE_CHARS else f"{text[: _VALUE_CHARS - 1]}…"
