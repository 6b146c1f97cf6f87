"""A build, from the archives that wait for it to the record of the scenario: one durable step for each thing that it does elsewhere.

Whoever is killed in the middle, the next attempt has the results of the steps that were done, and does the others. A step may run twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final, Literal

from treadle.control.jobs.job import Job, JsonValue, StepState
from treadle.control.jobs.overview import steps_of
from treadle.control.jobs.queue import list_jobs, list_steps
from treadle.control.jobs.run import JobContext
from treadle.errors import Conflict
from treadle.flows.scenario.asked import CHECKED_SLOTS, asked_in
from treadle.flows.scenario.build_graph import build_fabric_graph
from treadle.flows.scenario.build_telemetry import build_telemetry
from treadle.flows.scenario.building import Building, building
from treadle.flows.scenario.claims import claim_for_build
from treadle.flows.scenario.flow import BUILD, DESTROY
from treadle.flows.scenario.gremlin_claim import claim_graph
from treadle.flows.scenario.lakehouse_folders import note_lakehouse
from treadle.flows.scenario.ontology import ontology_of
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import Loss, ScenarioRecord, TableRecord, find_scenario, save_scenario
from treadle.flows.scenario.scenario import Scenario
from treadle.flows.scenario.schema import Connector, Manifest
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.slot_files import passed_over_in
from treadle.flows.scenario.slots import Slot, store_slot
from treadle.flows.scenario.uploads import remove_staged
from treadle.flows.scenario.wanted import graph_tables, schema_of

_LAST: Final = "metadata"
_CHANGING: Final = frozenset({BUILD, DESTROY})  # jobs after which what an earlier attempt did may no longer be there
_BROUGHT: Final = {
    "graph": (Kind.TABLE, Kind.ONTOLOGY, Kind.GRAPH_MODEL),
    "telemetry": (Kind.EVENTHOUSE, Kind.KQL_DATABASE, Kind.KQL_TABLE),
}
_MADE: Final = ("lakehouse_id", "ontology_id", "graph_model_id", "eventhouse_id", "kql_database_id", "kql_database_name")


def build_scenario(services: ScenarioServices, context: JobContext) -> JsonValue:
    """Do what the job's payload asks for. Returns what was built, as the end of the job tells it.

    Raises:
        InvalidInput: an archive has faults. Conflict: something is in the way, or others were at work since an earlier attempt. Others: as the systems that it works with.
    """
    done = [step for step in list_steps(services.own, context.job.job_id) if step.state is StepState.DONE]
    recorded = next((step for step in done if step.name == _LAST), None)
    if recorded is None:
        if done:
            _refuse_when_outdated(services, context.job, since=min(step.started_at for step in done))
        asked = asked_in(context.payload)
        claim_for_build(services, context, asked.workspace_id, asked.scenario_name)
        with building(services, context) as build:
            for slot in build.slots:
                _build_slot(build, slot)
            result = build.step("metadata", lambda: _record(build))
    else:
        result = recorded.result  # all was done, and the archives may be gone
    remove_staged(services.lake, context.job)
    return result


def _refuse_when_outdated(services: ScenarioServices, job: Job, since: datetime) -> None:
    """What an earlier attempt has done is taken as done; that holds only as long as nobody else was at work in the workspace.

    Between attempts of its own a job keeps its key, so others come between only when it had ended, and is asked for again.

    Raises:
        Conflict: another job of this workspace has done something after `since`.
    """
    others = [other for other in _jobs_of(services, job.key) if other.kind in _CHANGING and other.job_id != job.job_id]
    steps = steps_of(services.own, [other.job_id for other in others])
    newer = next((other for other in others if any(step.started_at > since for step in steps.get(other.job_id, ()))), None)
    if newer is None:
        return
    what = "build" if newer.kind == BUILD else "removal"
    raise Conflict(
        f"A newer {what} was at work in this workspace since this build began, so its earlier steps no longer hold.",
        hint="Apply the archives again, as a new build.",
        details={"code": "scenario_outdated", "newer_job_id": str(newer.job_id)},
    )


def _jobs_of(services: ScenarioServices, key: str | None) -> Iterator[Job]:
    """All jobs of a key, newest first."""
    after: str | None = None
    while key is not None:
        page = list_jobs(services.own, key=key, limit=500, after=after)
        yield from page.jobs
        if (after := page.next) is None:
            return


def _build_slot(build: Building, slot: str) -> None:
    if slot == "graph":
        _build_graph(build)
    elif slot == "telemetry":
        tables = build.extract("telemetry")
        build_telemetry(build, tables)
        build.results[slot] = _counted(tables)
    else:
        build.results[slot] = build.step(f"{slot}.store", lambda: _store(build, Slot(slot)))
    build.tell(slot, "done", f"{slot} is done", 100)


def _build_graph(build: Building) -> None:
    tables = build.extract("graph")
    if build.connector is Connector.FABRIC_GQL:
        build_fabric_graph(build, tables)
        build.results["graph"] = _counted(tables)
    else:
        from treadle.flows.scenario.build_gremlin import build_gremlin_graph  # noqa: PLC0415 - its driver is an extra

        gremlin = build.services.gremlin()
        build.step("graph.claim", lambda: claim_graph(build))
        build.results["graph"] = build_gremlin_graph(gremlin, build.scenario("graph"), build.scenario_name, _Telling(build))


def _store(build: Building, slot: Slot) -> JsonValue:
    """The files of a slot go to Treadle's own lakehouse, where the portal reads them, wherever the graph is."""
    scratch = build.folder / str(slot)
    scratch.mkdir(exist_ok=True)

    def report(done: int, of: int) -> None:
        build.tell(str(slot), "store", f"{done:,} of {of:,} files", 99 * done / of)

    with build.open_archive(str(slot)) as source:
        return store_slot(
            build.services.lake,
            build.services.documents,
            build.scenario_name,
            slot,
            source,
            scratch,
            check=build.context.check,
            report=report,
        )


def _counted(tables: Any) -> dict[str, Any]:
    return {"tables": len(tables), "rows": sum(table["rows"] for table in tables)}


class _Telling:
    """What the Gremlin backend needs of a context; its share of the slot comes behind the reading of the archive."""

    def __init__(self, build: Building) -> None:
        self._build = build
        self.check, self.step = build.context.check, build.context.step

    def progress(
        self, message: str, *, pct: float | None = None, data: Mapping[str, Any] | None = None, step: str | None = None, level: str = "INFO"
    ) -> None:
        """Tell those who watch."""
        if pct is None or level != "INFO":
            self._build.context.progress(message, data=data, step=step, level=level)
        else:
            self._build.tell("graph", str((data or {}).get("step") or "graph"), message, 10 + 0.9 * pct)


def _record(build: Building) -> JsonValue:
    """Write down what the scenario is now: what this build brought, beside what earlier ones did."""
    before = find_scenario(build.services.documents, build.scenario_name)
    if before and before.lakehouse_id:  # of a record that was written before lakehouses were noted
        note_lakehouse(build.services.documents, before.name, before.workspace_id, before.lakehouse_id)
    if before and before.workspace_id.lower() != build.workspace.lower():
        before = None  # it is built elsewhere now
    slot = next((slot for slot in CHECKED_SLOTS if slot in build.slots), None)
    record = _described(build, before, build.scenario(_checked(slot)).manifest if slot else None)
    record = replace(
        record,
        **{name: build.made[name] for name in _MADE if name in build.made},
        tables=_tables(build, before),
        upload_results={**(before.upload_results if before else {}), **build.results},
        job_id=str(build.context.job.job_id),
        updated_at=build.services.own.now(),
        lost=_still_lost(build, before.lost if before else ()),
    )
    if "graph" in build.slots:
        fabric = build.connector is Connector.FABRIC_GQL
        record = replace(
            record,
            graph_connector=str(build.connector),
            model=model_of(build.scenario("graph")),
            ontology_name=build.names.ontology if fabric else None,
        )
    if "lakehouse_id" in build.made:
        record = replace(record, lakehouse_name=build.names.lakehouse)
    if "eventhouse_id" in build.made:
        record = replace(record, eventhouse_name=build.names.eventhouse)
    save_scenario(build.services.documents, record)
    return _told(record, build)


def _still_lost(build: Building, lost: Sequence[Loss]) -> tuple[Loss, ...]:
    """What others took over, and this build has not brought anew."""
    brought = {kind for slot in build.slots for kind in _BROUGHT.get(slot, ())}
    brought |= {Kind.LAKEHOUSE} if "lakehouse_id" in build.made else set()
    return tuple(loss for loss in lost if loss.kind not in brought)


def _described(build: Building, before: ScenarioRecord | None, manifest: Manifest | None) -> ScenarioRecord:
    """The scenario in the words of its manifest; without one, as it was."""
    asked = build.asked
    bare = before or ScenarioRecord(
        name=build.scenario_name,
        display_name=build.scenario_name,
        description="",
        domain=None,
        use_cases=(),
        example_questions=(),
        graph_styles={},
        graph_connector=str(build.connector),
        workspace_id=asked.workspace_id,
        workspace_name=asked.workspace_name,
    )
    if manifest is None:
        return bare
    return replace(
        bare,
        display_name=manifest.display_name,
        description=manifest.description,
        domain=manifest.domain,
        use_cases=manifest.use_cases,
        example_questions=manifest.example_questions,
        graph_styles={label: asdict(style) for label, style in manifest.node_styles.items()},
    )


def _tables(build: Building, before: ScenarioRecord | None) -> tuple[TableRecord, ...]:
    """The tables of the slots that were built, and of the others as they were."""
    kinds = {"graph": "lakehouse", "telemetry": "kql"}
    built = {kinds[slot] for slot in build.extracted}
    kept = [table for table in (before.tables if before else ()) if table.kind not in built]
    if "graph" in build.extracted and build.connector is not Connector.FABRIC_GQL:
        kinds.pop("graph")
    new = [
        TableRecord(str(table["name"]), int(table["rows"]), kinds[slot])
        for slot, told in build.extracted.items()
        if slot in kinds
        for table in told["tables"]
    ]
    return tuple(sorted([*new, *kept], key=lambda table: table.kind != "lakehouse"))


def model_of(scenario: Scenario) -> dict[str, Any]:
    """What the graph is made of, for drawing: entity types with keys and properties, relationship types with both ends. Pure."""
    ontology = ontology_of(schema_of(scenario), graph_tables(scenario))
    return {
        "entity_types": [
            {
                "label": entity.name,
                "key": entity.key.name,
                "properties": [{"name": item.name, "type": str(item.type)} for item in entity.properties],
            }
            for entity in ontology.entity_types
        ],
        "relationship_types": [
            {"name": item.name, "label": item.label, "source": item.source.name, "target": item.target.name}
            for item in ontology.relationship_types
        ],
    }


def _told(record: ScenarioRecord, build: Building) -> JsonValue:
    ids = {name: getattr(record, name) for name in _MADE}
    tables = [asdict(table) for table in record.tables]
    message = f"{record.name} is built in {build.asked.workspace_name or build.asked.workspace_id}: {', '.join(build.slots)}."
    passed_over = [told for slot in build.slots if (told := passed_over_in(slot, build.results.get(slot)))]
    message = " ".join((message, *passed_over))
    return {
        "scenario_name": record.name,
        "backend": record.graph_connector,
        **ids,
        "tables": tables,
        "results": build.results,
        "message": message,
    }


def _checked(slot: str | None) -> Literal["graph", "telemetry"]:
    return "graph" if slot == "graph" else "telemetry"
