"""treadle scenario plan, apply and destroy: what would change, do it, and be rid of it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, cast
from uuid import uuid4

import typer

from treadle.actions import scenarios
from treadle.cli.exit_codes import EXIT_CODES, INVALID
from treadle.cli.job_waiting import MAX_TIMEOUT, wait_for_job
from treadle.cli.options import Json, State, User, acting, looking, say_environment, session
from treadle.cli.output import Markup, counted, reported, say, show_json, stderr, stdout, waiting_for
from treadle.cli.questions import agrees
from treadle.cli.scenario_archives import (
    Archive,
    GraphFile,
    PromptsFile,
    RunbooksFile,
    TelemetryFile,
    TicketsFile,
    Workspaces,
    archives_of,
    opened,
    workspace_of,
)
from treadle.cli.tables import show_table
from treadle.control.access import Principal
from treadle.control.jobs.job import Job
from treadle.control.jobs.states import JobState
from treadle.errors import Conflict, OperationFailed
from treadle.flows.scenario.flow import Asked, BuildPlan, DestroyPlan, DocumentCounts
from treadle.flows.scenario.plan import Action, Change
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.slot_files import Slot, documents_told
from treadle.wiring import Wiring

CONFLICTS: Final = EXIT_CODES[Conflict]
FAILED: Final = EXIT_CODES[OperationFailed]
_SIGNS: Final[Mapping[Action, str]] = {
    Action.CREATE: "[green]+ create[/]",
    Action.UPDATE: "[yellow]~ update[/]",
    Action.UNCHANGED: "[dim]= unchanged[/]",
    Action.CONFLICT: "[bold red]! conflict[/]",
}

Name = Annotated[
    str | None, typer.Option("--name", help="What the scenario is called (default: as its manifest says).", show_default=False)
]
Backend = Annotated[
    Connector | None, typer.Option("--backend", help="Where the graph goes (default: as the manifest says).", show_default=False)
]
Lakehouse = Annotated[
    str | None,
    typer.Option(
        "--lakehouse",
        help="The lakehouse of the tables; it is made if it is missing (default: that of the scenario's last build in this workspace, else lakehouse).",
        show_default=False,
    ),
]
Ontology = Annotated[
    str | None,
    typer.Option(
        "--ontology",
        help="The ontology; it is made if it is missing (default: that of the scenario's last build in this workspace, else ontology).",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Take over what another scenario made, or nobody knows who.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask for the job; a worker does it.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0, max=MAX_TIMEOUT, help="Seconds to wait at most.")]


@reported
def plan(
    files: Archive = None,
    graph: GraphFile = None,
    telemetry: TelemetryFile = None,
    runbooks: RunbooksFile = None,
    tickets: TicketsFile = None,
    prompts: PromptsFile = None,
    name: Name = None,
    workspace: Workspaces = None,
    lakehouse: Lakehouse = None,
    ontology: Ontology = None,
    backend: Backend = None,
    overwrite: Overwrite = False,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Show what building a scenario would create, update and leave as it is. Changes nothing.

    Exit code 2 if an archive has faults, 4 if something stands in the way that --overwrite would take over.
    """
    paths = archives_of(files or [], _by_slot(graph, telemetry, runbooks, tickets, prompts))
    with session(state) as wiring:
        asked = _asked(wiring, workspace, scenario_name=name, lakehouse=lakehouse, ontology=ontology, backend=backend, overwrite=overwrite)
        found = _planned(wiring, looking(wiring), asked, paths)
        if json_output:
            show_json(plan_data(found, asked))
        else:
            _show_plan(found, asked)
        _leave_if_refused(found)


@reported
def apply(
    files: Archive = None,
    graph: GraphFile = None,
    telemetry: TelemetryFile = None,
    runbooks: RunbooksFile = None,
    tickets: TicketsFile = None,
    prompts: PromptsFile = None,
    name: Name = None,
    workspace: Workspaces = None,
    lakehouse: Lakehouse = None,
    ontology: Ontology = None,
    backend: Backend = None,
    overwrite: Overwrite = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    timeout: Timeout = 6 * 3600,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Build a scenario: show the plan, ask, send the archives, and wait for the job that does it. Safe to repeat: what is there stays.

    The job goes on when this command is interrupted. Exit code 2 if an archive has faults, 4 if something stands in the way, and then nothing
    is sent; 7 if the job fails.
    """
    paths = archives_of(files or [], _by_slot(graph, telemetry, runbooks, tickets, prompts))
    with session(state) as wiring:
        say_environment(wiring.settings)
        asked = _asked(wiring, workspace, scenario_name=name, lakehouse=lakehouse, ontology=ontology, backend=backend, overwrite=overwrite)
        who = acting(wiring, user)
        found = _planned(wiring, who, asked, paths)
        if not json_output:
            _show_plan(found, asked)
        elif not found.can_be_applied:
            show_json(plan_data(found, asked))
        _leave_if_refused(found)
        if not _agreed(_question(found), yes=yes):
            return
        with opened(paths) as archives, waiting_for(f"Sending {_named(paths)}"):
            job = scenarios.build(wiring.services, who, asked, archives, job_id=uuid4())
        _finish(wiring, who, job, no_wait=no_wait, timeout=timeout, data=plan_data(found, asked) if json_output else None)


@reported
def destroy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A scenario, as treadle scenario ls has it.")],
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would be removed.")] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    timeout: Timeout = 3600,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Remove what building a scenario made, with its documents: show it, ask, and wait for the job that does it.

    What others use stays, and so does what was there.
    """
    with session(state) as wiring:
        say_environment(wiring.settings)
        who = acting(wiring, user)
        found = scenarios.survey_destroy(wiring.services, who, name)
        data = {"scenario_name": name, "removed": found.removed, "documents": found.documents, "left": found.left}
        if not json_output:
            _show_removal(found)
        elif preview:
            show_json(data)
        if preview or not _agreed(_removal_question(name, found), yes=yes):
            return
        job = scenarios.destroy(wiring.services, who, name, job_id=uuid4())
        _finish(wiring, who, job, no_wait=no_wait, timeout=timeout, data=data if json_output else None)


def plan_data(found: BuildPlan, asked: Asked) -> dict[str, Any]:
    """A plan as JSON has it: the four counts of things, and every change; and by slot what changes of its documents."""
    return {
        "scenario_name": found.scenario_name,
        "backend": found.backend,
        "workspace_id": asked.workspace_id,
        "workspace_name": asked.workspace_name,
        **found.counts,
        "counts": found.counts,
        "can_be_applied": found.can_be_applied,
        "changes": found.changes,
        "documents": found.documents,
        "faults": found.faults,
        "notes": found.notes,
    }


def _by_slot(*paths: Path | None) -> dict[Slot, Path | None]:
    """The slots' options, in the order of the slots."""
    return dict(zip(Slot, paths, strict=True))


def _asked(
    wiring: Wiring,
    workspace: str | None,
    *,
    scenario_name: str | None,
    lakehouse: str | None,
    ontology: str | None,
    backend: Connector | None,
    overwrite: bool,
) -> Asked:
    place = workspace_of(wiring, workspace)
    return Asked(scenario_name, backend, place.workspace_id, place.name, lakehouse, ontology, overwrite)


def _planned(wiring: Wiring, who: Principal, asked: Asked, paths: Mapping[Slot, Path]) -> BuildPlan:
    with opened(paths) as archives, waiting_for(f"Reading {_named(paths)}"):
        return scenarios.plan(wiring.services, who, asked, archives)


def _show_plan(found: BuildPlan, asked: Asked) -> None:
    named = found.scenario_name or "A scenario that cannot be read"
    stdout().print(f"{named} in workspace {asked.workspace_name}, backend {found.backend}", markup=False, soft_wrap=True)
    if found.faults:
        rows = [(Markup(f"[red]{fault.code}[/]"), fault.where, fault.message, fault.hint) for fault in found.faults]
        show_table(("fault", "where", "what", "what to do"), rows, whole=("fault",), gap=True, title="Faults", empty="")
    else:
        rows = [_change_row(change) for change in found.changes]
        show_table(("", "kind", "name", "why"), rows, whole=("", "kind"), gap=True, empty="Nothing in Fabric is needed.")
        stdout().print("\n" + ", ".join(f"{count:,} {action}" for action, count in found.counts.items()), markup=False)
        for slot, counted_documents in found.documents.items():
            stdout().print(f"{slot}: {_documents_told(counted_documents)}", markup=False)
    if found.notes:
        show_table(("",), [(note,) for note in found.notes], gap=True, title="Worth knowing", empty="")


def _change_row(change: Change) -> tuple[Any, ...]:
    return Markup(_SIGNS[change.action]), change.kind.replace("_", " "), change.name, change.reason


def _show_removal(found: DestroyPlan) -> None:
    rows = [(Markup("[red]- remove[/]"), thing.kind.replace("_", " "), thing.name, "") for thing in found.removed]
    rows += [(Markup("[dim]= leave[/]"), left.thing.kind.replace("_", " "), left.thing.name, left.reason) for left in found.left]
    rows += [(Markup("[red]- remove[/]"), "documents", documents_told({slot: count}), "") for slot, count in found.documents.items()]
    show_table(("", "kind", "name", "why"), rows, whole=("", "kind"), empty="Only its record is left: nothing in Fabric, and no documents.")


def _removal_question(name: str, found: DestroyPlan) -> str:
    documents = documents_told(found.documents)
    return f"Remove the scenario {name}, {counted(len(found.removed), 'thing')} in Fabric{f', {documents}' if documents else ''}?"


def _leave_if_refused(found: BuildPlan) -> None:
    """With a word about why, and the exit code that says it."""
    if found.faults:
        say(f"{found.scenario_name or 'The scenario'} cannot be built: {counted(len(found.faults), 'fault')}.")
        raise typer.Exit(INVALID)
    if not found.can_be_applied:
        count = counted(found.counts[Action.CONFLICT], "conflict")
        say(f"Nothing is sent: {count}. Rename what is in the way or what is built, or take it over with --overwrite.")
        raise typer.Exit(CONFLICTS)


def _question(found: BuildPlan) -> str | None:
    """None: nothing would change, so there is nothing to ask."""
    changing = found.counts[Action.CREATE] + found.counts[Action.UPDATE]
    documents = [f"{slot} ({_documents_told(each, only_changes=True)})" for slot, each in found.documents.items() if _changes_any(each)]
    asked = ([counted(changing, "change")] if changing else []) + documents
    return f"Carry out: {', '.join(asked)}?" if asked else None


def _changes_any(documents: DocumentCounts) -> bool:
    return bool(documents.created or documents.updated or documents.removed)


def _documents_told(documents: DocumentCounts, *, only_changes: bool = False) -> str:
    told = {"created": documents.created, "updated": documents.updated, "removed": documents.removed, "unchanged": documents.unchanged}
    return ", ".join(f"{count:,} {what}" for what, count in told.items() if not only_changes or (count and what != "unchanged"))


def _agreed(question: str | None, *, yes: bool) -> bool:
    if yes or question is None:
        return True
    if not stderr.is_terminal:
        raise Conflict(f"{question.removesuffix('?')}: nobody is there to agree.", hint="Agree with --yes, or only look first.")
    return agrees(question)


def _finish(wiring: Wiring, who: Principal, job: Job, *, no_wait: bool, timeout: float, data: dict[str, Any] | None) -> None:
    """Wait for the job unless told not to, and say what came of it; leave with an exit code of its own if it failed. data: for JSON."""
    ended = job if no_wait else wait_for_job(wiring, who, job, timeout=timeout, open_worker=wiring.scenario_worker)
    if data is not None:
        came = {
            "job_id": ended.job_id,
            "state": ended.state,
            "result": ended.result,
            "error": ended.error_message,
            "hint": ended.error_hint,
        }
        show_json(data | came)
    else:
        _say_end(ended)
    if ended.state.ended and ended.state is not JobState.SUCCEEDED:
        raise typer.Exit(FAILED)


def _say_end(job: Job) -> None:
    short = str(job.job_id)[:8]
    if not job.state.ended:
        say(f"Job {job.job_id} is {job.state}. Follow it with: treadle jobs events {short} --follow")
        stdout().print(str(job.job_id))
    elif job.state is JobState.SUCCEEDED:
        message = cast("dict[str, Any]", job.result).get("message") if isinstance(job.result, dict) else None
        say(str(message or f"Done: job {short}."))
    else:
        stderr.print(f"[bold red]Job {short} ended as {job.state}.[/]", soft_wrap=True)
        say("\n".join(line for line in (job.error_message, job.error_hint) if line))
        say(f"What is done stays done. Try again with: treadle jobs retry {short}")


def _named(paths: Mapping[Slot, Path]) -> str:
    return ", ".join(dict.fromkeys(path.name for path in paths.values()))
