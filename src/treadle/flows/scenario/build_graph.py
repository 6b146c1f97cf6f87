"""The graph of a scenario in Fabric: tables in the lakehouse, an ontology over them, and the graph model that Fabric makes of it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import count
from typing import Any

from treadle.clients.fabric import Item, ItemId
from treadle.control.jobs.job import JsonValue
from treadle.control.jobs.states import FINAL_ERRORS
from treadle.errors import OperationFailed, Unavailable
from treadle.flows.scenario.as_brought import definition_now, is_made_since, table_known
from treadle.flows.scenario.at_once import each_at_once
from treadle.flows.scenario.building import Building
from treadle.flows.scenario.definition import Part
from treadle.flows.scenario.existing import look_at, table_names
from treadle.flows.scenario.find_or_create import wait_until_listed
from treadle.flows.scenario.graph_model import graph_model_parts
from treadle.flows.scenario.lakehouse_folders import note_lakehouse
from treadle.flows.scenario.ontology import LakehouseSource
from treadle.flows.scenario.ontology_graph import came_with_ontology, lost_graphs, ontology_graph
from treadle.flows.scenario.parquet import write_parquet
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.table_log import read_log
from treadle.flows.scenario.wanted import graph_fingerprint, graph_tables, ontology_definition, ontology_fingerprint, schema_of

_SLOT = "graph"
_UNDER_WAY = frozenset({"NotStarted", "InProgress"})


def build_fabric_graph(build: Building, tables: Sequence[Mapping[str, Any]]) -> None:
    """From the extracted archive to a refreshed graph. tables: name, rows and fingerprint of each.

    The ontology needs no table before its graph is defined, so it is made while the tables are loaded.
    """
    find_lakehouse(build, _SLOT)
    with ThreadPoolExecutor(1, thread_name_prefix="scenario-ontology") as beside:
        ontology = beside.submit(copy_context().run, make_ontology, build)
        load_tables(build, tables)
        graph_name = ontology.result()
    build.step("graph.graph_model_def", lambda: _define_graph(build, graph_name))
    build.tell(_SLOT, "graph_model", f"Graph model {graph_name} is defined", 85)
    build.step("graph.graph_refresh", lambda: _refresh(build, graph_name))


def make_ontology(build: Building) -> str:
    """The ontology with its definition, and the graph model that comes with it, whose name is returned."""
    found = build.step("graph.ontology", lambda: _find_ontology(build))
    build.made |= {"ontology_id": found["ontology_id"]}
    build.tell(_SLOT, "ontology", f"Ontology {build.names.ontology}", 14)
    build.step("graph.ontology_def", lambda: _define_ontology(build))
    build.tell(_SLOT, "ontology_def", "The ontology is defined", 16)
    graph = build.step("graph.graph_model", lambda: _find_graph(build))
    build.made |= {"graph_model_id": graph["graph_model_id"]}
    build.tell(_SLOT, "graph_model", f"Graph model {graph['name']}", 18)
    return str(graph["name"])


def find_lakehouse(build: Building, slot: str) -> None:
    """The lakehouse that the build works with; each slot that needs it has a step for it."""
    build.made |= build.step(f"{slot}.lakehouse", lambda: _find_lakehouse(build))
    build.tell(slot, "lakehouse", f"Lakehouse {build.names.lakehouse}", 12)


def _find_lakehouse(build: Building) -> JsonValue:
    lakehouse_id = build.find_or_create(Kind.LAKEHOUSE, build.names.lakehouse)
    note_lakehouse(build.services.documents, build.scenario_name, build.workspace, lakehouse_id)  # before: files go there
    return {"lakehouse_id": lakehouse_id}


def load_tables(build: Building, tables: Sequence[Mapping[str, Any]]) -> None:
    """Each CSV to the lakehouse as Parquet, and from there into its Delta table; whatever fails stops no other."""
    there = _TablesThere(build)
    done = count(1)

    def told(step: str, detail: str) -> None:
        build.tell(_SLOT, step, detail, 18 + 60 * next(done) / (2 * len(tables)))

    def load(table: Mapping[str, Any]) -> None:
        name = table["name"]
        sent = build.step(f"graph.upload:{name}", lambda: _upload(build, table, there))
        told("upload", f"{name} is uploaded" if sent.get("path") else f"{name} is unchanged")
        loaded = build.step(f"graph.tables:{name}", lambda: _load(build, table, sent, there))
        told("tables", f"{name}: {loaded['rows']:,} rows")

    each_at_once({table["name"]: partial(load, table) for table in tables}, "tables")


class _TablesThere:
    """The tables that the lakehouse has: as it listed them when this attempt began, and as its files say, which are there at once."""

    def __init__(self, build: Building) -> None:
        self._names = set(table_names(build.services, _lakehouse(build)))
        self._build = build

    def has(self, name: str) -> bool:
        """Whether there was a table of this name when this attempt began."""
        return name in self._names

    def has_by_now(self, name: str) -> bool:
        """Whether there is one right now: others may have made it while we were at work."""
        return self.has(name) or read_log(self._build.lake(), name) is not None

    def has_content(self, table: Mapping[str, Any]) -> bool:
        """Whether there is, and an earlier build brought this very content."""
        build, name = self._build, str(table["name"])
        if not self.has(name):
            return False
        known = table_known(build.services, build.found, build.names.table(name), build.made["lakehouse_id"])
        return known.made_by == build.scenario_name and known.fingerprint == table["fingerprint"]


def _lakehouse(build: Building) -> Item:
    return Item(build.made["lakehouse_id"], build.workspace, build.names.lakehouse, "Lakehouse")


def _upload(build: Building, table: Mapping[str, Any], there: _TablesThere) -> JsonValue:
    if there.has_content(table):
        return {"unchanged": True}
    name = str(table["name"])
    source = next(item for item in graph_tables(build.scenario(_SLOT)) if item.name == name)
    target = build.folder / f"{name}.parquet"
    target.unlink(missing_ok=True)
    path = build.place("tables", target.name)
    with build.converting:
        size_bytes = write_parquet(source, target)
        with target.open("rb") as content:
            build.lake().upload(path, content)
    target.unlink()
    return {"path": path, "size_bytes": size_bytes}


def _load(build: Building, table: Mapping[str, Any], sent: Mapping[str, Any], there: _TablesThere) -> JsonValue:
    name, rows = str(table["name"]), int(table["rows"])
    if "path" not in sent:
        return {"rows": rows, "unchanged": True}
    lakehouse_id, told = build.made["lakehouse_id"], build.names.table(name)
    is_there = there.has_by_now(name)
    if is_there:
        build.refuse_unless_ours(Kind.TABLE, told, lakehouse_id)
    known = build.found.things.get((Kind.TABLE, told))
    made, first = not is_there, None
    if is_there and known and known.item_id == lakehouse_id and not is_made_since(build.services, known):
        made, first = known.made, known.first_entry
    build.remember(Kind.TABLE, told, lakehouse_id, made=made, first_entry=first)  # before: if we die, it is known whose table it is
    build.outdate_graphs()
    try:
        build.services.fabric.load_table(
            build.workspace, ItemId(lakehouse_id), name, path=sent["path"], deadline_seconds=build.services.patience.operation
        )
    except FINAL_ERRORS:
        if not there.has_by_now(name):
            build.put_back(Kind.TABLE, told, known)
        raise
    log = read_log(build.lake(), name)
    entries = (log.first_entry, log.last_entry) if log else (None, None)
    build.remember(Kind.TABLE, told, lakehouse_id, str(table["fingerprint"]), made=made, first_entry=entries[0], last_entry=entries[1])
    return {"rows": rows}


def _find_ontology(build: Building) -> JsonValue:
    if build.found.find(Kind.ONTOLOGY, build.names.ontology) is None:
        for thing in lost_graphs(build.found, build.names.ontology, build.scenario_name):
            build.forget(thing.kind, thing.name)  # it went with the ontology of before; a new one brings another
    return {"ontology_id": build.find_or_create(Kind.ONTOLOGY, build.names.ontology)}


def _define_ontology(build: Building) -> JsonValue:
    scenario, name, item_id = build.scenario(_SLOT), build.names.ontology, build.made["ontology_id"]
    source = LakehouseSource(build.workspace, build.made["lakehouse_id"])
    wanted = ontology_fingerprint(scenario, source, name)
    if build.has_definition(Kind.ONTOLOGY, name, item_id, wanted):
        return {"unchanged": True}
    build.remember(Kind.ONTOLOGY, name, item_id)  # before: if we end here, nobody knows what it holds
    build.services.fabric.update_item_definition(
        build.workspace,
        ItemId(item_id),
        _files(ontology_definition(scenario, source, name)),
        deadline_seconds=build.services.patience.operation,
    )
    build.remember(Kind.ONTOLOGY, name, item_id, wanted, definition=definition_now(build.services, build.workspace, item_id))
    return {"parts": len(ontology_definition(scenario, source, name))}


def _find_graph(build: Building) -> JsonValue:
    """The graph that Fabric made with the ontology, as soon as it shows; one of our own where none does.

    Raises:
        Conflict: it is another's, as its ontology was, and may not be taken over.
    """
    ontology = Item(build.made["ontology_id"], build.workspace, build.names.ontology, "Ontology")

    def look() -> Item | None:
        found = look_at(build.services, build.workspace)
        return ontology_graph(build.services, found, build.names, str(build.made["lakehouse_id"]), build.scenario_name)

    graph = wait_until_listed(look, build.services.patience, build.context.check)
    if graph is None:
        name = build.names.new_graph_model
        return {"graph_model_id": build.find_or_create(Kind.GRAPH_MODEL, name), "name": name, "made": True}
    if came_with_ontology(build.found, ontology, graph, build.scenario_name):
        build.remember(Kind.GRAPH_MODEL, graph.name, graph.item_id, made=True)
    else:
        build.adopt(Kind.GRAPH_MODEL, graph)
    return {"graph_model_id": graph.item_id, "name": graph.name}


def _define_graph(build: Building, name: str) -> JsonValue:
    if _graph_is_current(build, name):
        return {"unchanged": True}
    build.refuse_unless_ours(Kind.GRAPH_MODEL, name, build.made["graph_model_id"])
    _let_refresh_end(build)
    scenario = build.scenario(_SLOT)
    tables = graph_tables(scenario)
    locations = _locations(build, {table.name for table in tables})
    parts = graph_model_parts(schema_of(scenario), tables, locations, name, scenario.manifest.node_styles)
    build.remember(Kind.GRAPH_MODEL, name, build.made["graph_model_id"])  # before, as with the ontology
    build.services.fabric.update_item_definition(
        build.workspace, ItemId(build.made["graph_model_id"]), _files(parts), deadline_seconds=build.services.patience.operation
    )
    return {"parts": len(parts)}


def _refresh(build: Building, name: str) -> JsonValue:
    """Let Fabric read the tables anew. What is recorded afterwards says that the graph has this content."""
    if _graph_is_current(build, name):
        return {"unchanged": True}
    fabric, item_id = build.services.fabric, ItemId(build.made["graph_model_id"])
    build.remember(Kind.GRAPH_MODEL, name, item_id)  # before, as with the ontology; it may be as our definition found it
    job = fabric.refresh_graph(build.workspace, item_id)
    definition = definition_now(build.services, build.workspace, item_id)  # asked meanwhile: what is refreshed is what is defined
    ended = fabric.wait_for_refresh(
        build.workspace, item_id, job.job_id, deadline_seconds=build.services.patience.refresh, check=build.context.check
    )
    build.remember(Kind.GRAPH_MODEL, name, item_id, _graph_fingerprint(build), definition=definition)
    return {"job_id": ended.job_id}


def _let_refresh_end(build: Building) -> None:
    """A refresh of before must not be taken for one of what is defined now."""
    fabric, item_id = build.services.fabric, ItemId(build.made["graph_model_id"])
    for job in fabric.list_job_instances(build.workspace, item_id):
        if job.status in _UNDER_WAY:
            try:
                fabric.wait_for_refresh(
                    build.workspace, item_id, job.job_id, deadline_seconds=build.services.patience.refresh, check=build.context.check
                )
            except OperationFailed:
                continue  # how it ends makes no difference


def _graph_is_current(build: Building, name: str) -> bool:
    return build.has_definition(Kind.GRAPH_MODEL, name, build.made["graph_model_id"], _graph_fingerprint(build))


def _graph_fingerprint(build: Building) -> str:
    return graph_fingerprint(build.scenario(_SLOT), LakehouseSource(build.workspace, build.made["lakehouse_id"]))


def _locations(build: Building, wanted: set[str]) -> Mapping[str, str]:
    """Where the tables are, as the lakehouse says; a list may lag behind what was loaded."""

    def look() -> Mapping[str, str] | None:
        tables = build.services.fabric.list_tables(build.workspace, ItemId(build.made["lakehouse_id"]))
        found = {table.name: table.location for table in tables if table.name in wanted}
        return found if len(found) == len(wanted) else None

    found = wait_until_listed(look, build.services.patience, build.context.check)
    if found is None:
        raise Unavailable(
            f"The lakehouse {build.names.lakehouse} does not list the tables that were loaded.",
            hint="Fabric's list may lag behind; try again in a minute.",
        )
    return found


def _files(parts: Sequence[Part]) -> dict[str, bytes]:
    return {part.path: part.text().encode() for part in parts}
