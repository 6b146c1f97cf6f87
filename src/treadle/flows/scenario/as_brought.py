"""Whether what is there is still what builds brought: the same table, with the same rows; the same definition. What cannot be told counts as it was."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.errors import InvalidInput, NotFound, OperationFailed, PermissionDenied, Unavailable
from treadle.flows.scenario.definition import fingerprint_of_files
from treadle.flows.scenario.existing import Workspace, query_uri
from treadle.flows.scenario.plan import Existing, Kind
from treadle.flows.scenario.presence import item_now
from treadle.flows.scenario.records import Thing
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.table_log import TableLog, is_written_since, read_log
from treadle.flows.scenario.telemetry import OURS, SHOW_TABLES, show_extents, show_taken_in

_LOADED_WITHIN: Final = timedelta(hours=1)  # of being written down, whether or not anybody waited for the answer
_log = structlog.get_logger()


def is_made_since(services: ScenarioServices, thing: Thing) -> bool:
    """Whether a table is another one than we know of: ours was dropped, or never came about, and this is somebody else's.

    Of a lakehouse it is told by the first entry of the Delta log, or where a build died before it could note that, by its age; of a KQL database by
    its rows: none is of a build, and there are some. Of other kinds of things, of logs that were cut, and of what is gone, it cannot be told.
    """
    try:
        if thing.kind is Kind.TABLE:
            log = _log_of(services, thing)
            return log is not None and _is_another(thing, log)
        return thing.kind is Kind.KQL_TABLE and thing.made and _holds_only_rows_of_others(services, thing)
    except NotFound:
        if item_now(services, thing.workspace_id, thing.item_id) is None:
            return False
        raise Unavailable(
            f"What {thing.kind} {thing.name} holds was not found, although what it is in is there.", hint="Try again in a moment."
        ) from None


def _log_of(services: ScenarioServices, table: Thing) -> TableLog | None:
    return read_log(services.lake_of(table.workspace_id, table.item_id), table.name.partition("/")[2])


def _is_another(thing: Thing, log: TableLog) -> bool:
    if log.first is None:
        return False
    if thing.first_entry is not None:
        return log.first_entry != thing.first_entry
    return thing.noted_at is not None and log.first.modified_at > datetime.fromisoformat(thing.noted_at) + _LOADED_WITHIN


def _holds_only_rows_of_others(services: ScenarioServices, thing: Thing) -> bool:
    database, _, table = thing.name.partition("/")
    uri = query_uri(services, thing.workspace_id, thing.item_id)
    if not uri:
        return False
    kusto = services.kusto(uri, database)
    if all(row["TableName"] != table for row in kusto.mgmt(SHOW_TABLES)):
        return False
    return not kusto.mgmt(show_extents(table, OURS)) and bool(kusto.mgmt(show_extents(table)))


def table_known(services: ScenarioServices, found: Workspace, name: str, lakehouse_id: str) -> Existing:
    """A table that is there, with what we know of it: not its content, when somebody has written to it since; nothing, when it was made anew."""
    known, thing = found.known(Kind.TABLE, name, lakehouse_id), found.things.get((Kind.TABLE, name))
    log = _log_of(services, thing) if thing and known.made_by else None
    if thing is None or log is None:
        return known
    if _is_another(thing, log):
        return Existing(Kind.TABLE, name, lakehouse_id)
    lake = services.lake_of(thing.workspace_id, thing.item_id)
    return replace(known, fingerprint=None) if is_written_since(lake, log, thing.last_entry) else known


def kql_table_known(services: ScenarioServices, found: Workspace, known: Existing, brought: str | None) -> Existing:
    """A KQL table that is there, with what we know of it: not its content, when our rows were cleared; nothing, when it holds those of others alone.

    brought: the fingerprint of the rows that a build would bring; None: it would bring none, so that nothing can be told.
    """
    thing = found.things.get((Kind.KQL_TABLE, known.name))
    if thing is None or not known.made_by or brought is None:
        return known
    if known.fingerprint == brought and _holds(services, thing, brought):
        return known
    if is_made_since(services, thing):
        return Existing(known.kind, known.name, known.item_id)
    return replace(known, fingerprint=None) if known.fingerprint == brought else known


def _holds(services: ScenarioServices, thing: Thing, fingerprint: str) -> bool:
    database, _, table = thing.name.partition("/")
    uri = query_uri(services, thing.workspace_id, thing.item_id)
    return bool(uri) and bool(services.kusto(uri, database).mgmt(show_taken_in(table, fingerprint)))


def definition_known(services: ScenarioServices, found: Workspace, known: Existing) -> Existing:
    """An ontology or a graph model, with what we know of it: not its content, when its definition is another than the one that was brought."""
    thing = found.things.get((known.kind, known.name))
    if thing is None or known.fingerprint is None or thing.definition is None:
        return known
    now = definition_now(services, found.workspace_id, known.item_id)
    return known if now in {None, thing.definition} else replace(known, fingerprint=None)


def definition_now(services: ScenarioServices, workspace_id: str, item_id: str) -> str | None:
    """What tells the definition of an item from any other. None: Fabric does not show it, as with items under an encrypted label."""
    files = _files_of(services, workspace_id, item_id)
    return None if files is None else fingerprint_of_files(files)


def is_empty(services: ScenarioServices, workspace_id: str, kind: Kind, item_id: str) -> bool:
    """Whether an ontology or a graph model defines nothing, as Fabric makes it, so that whoever fills it overwrites nothing."""
    files = _files_of(services, workspace_id, item_id)
    if files is None:
        return False
    if kind is Kind.GRAPH_MODEL:
        return sources_in(files) == []
    return files.keys() <= {".platform", "definition.json"} and "".join(
        files.get("definition.json", b"").decode(errors="replace").split()
    ) in {"", "{}"}


def sources_in(graph_model: Mapping[str, bytes]) -> list[str] | None:
    """The addresses of the tables that a graph model reads. None: that cannot be told."""
    try:
        sources: list[Any] = json.loads(graph_model.get("dataSources.json") or "{}").get("dataSources") or []
        return [str(source["properties"]["path"]) for source in sources]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _files_of(services: ScenarioServices, workspace_id: str, item_id: str) -> Mapping[str, bytes] | None:
    try:
        return services.fabric.get_item_definition(WorkspaceId(workspace_id), ItemId(item_id))
    except (PermissionDenied, OperationFailed, InvalidInput) as error:
        _log.info("scenario.definition_not_shown", item_id=item_id, reason=error.message)
        return None
