"""The measurements of a scenario in an eventhouse: a KQL database, its tables and mappings, and each file ingested once."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from treadle.clients.fabric import ItemId
from treadle.clients.lake_path import lake_path
from treadle.control.jobs.job import JsonValue
from treadle.control.jobs.states import FINAL_ERRORS
from treadle.errors import Conflict, InvalidInput, Unavailable
from treadle.flows.scenario.at_once import each_at_once
from treadle.flows.scenario.build_graph import find_lakehouse
from treadle.flows.scenario.building import Building
from treadle.flows.scenario.existing import query_uri
from treadle.flows.scenario.find_or_create import wait_until_listed
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.scenario import Table
from treadle.flows.scenario.telemetry import (
    DATABASE_NAME,
    SHOW_TABLES,
    create_mapping,
    create_table,
    drop_older,
    drop_table,
    file_name,
    ingest_file,
    lake_uri,
    needs_another_table,
    show_columns,
    show_taken_in,
)
from treadle.flows.scenario.wanted import telemetry_tables

if TYPE_CHECKING:
    from treadle.clients.kusto import KustoClient

_SLOT = "telemetry"


def build_telemetry(build: Building, tables: Sequence[Mapping[str, Any]]) -> None:
    """From the extracted archive to filled tables. tables: name, rows and fingerprint of each."""
    names = build.names
    if not DATABASE_NAME.fullmatch(names.kql_database):
        raise InvalidInput(
            f"{names.kql_database[:80]!a} cannot be the name of a KQL database.",
            hint="Correct data_sources.telemetry.config.database in scenario.yaml: letters, digits and _ . -",
        )
    find_lakehouse(build, _SLOT)
    build.made |= build.step("telemetry.eventhouse", lambda: {"eventhouse_id": build.find_or_create(Kind.EVENTHOUSE, names.eventhouse)})
    build.tell(_SLOT, "eventhouse", f"Eventhouse {names.eventhouse}", 20)
    build.made |= build.step("telemetry.kql_database", lambda: _find_database(build))
    build.tell(_SLOT, "kql_database", f"KQL database {names.kql_database}", 30)
    ready = build.step("telemetry.tables", lambda: _prepare_tables(build, tables))
    build.tell(_SLOT, "tables", f"{len(tables)} tables are ready", 40)
    _ingest_all(build, tables, ready)


def _find_database(build: Building) -> JsonValue:
    """An eventhouse comes with a database of its own name, so that one is found, and any other created."""
    payload = {"databaseType": "ReadWrite", "parentEventhouseItemId": build.made["eventhouse_id"]}
    database_id = build.find_or_create(Kind.KQL_DATABASE, build.names.kql_database, payload)

    def look() -> str | None:
        return query_uri(build.services, build.workspace, database_id) or None

    uri = wait_until_listed(look, build.services.patience, build.context.check)
    if uri is None:
        raise Unavailable(
            f"Fabric does not say where KQL database {build.names.kql_database} is asked.", hint="It may not be ready yet; try again."
        )
    return {"kql_database_id": database_id, "kql_database_name": build.names.kql_database, "query_uri": uri}


def _kusto(build: Building) -> "KustoClient":
    return build.services.kusto(build.made["query_uri"], build.names.kql_database)


def _prepare_tables(build: Building, tables: Sequence[Mapping[str, Any]]) -> JsonValue:
    """Tables and mappings of all that is not there with this content."""
    kusto = _kusto(build)
    there = {str(row["TableName"]) for row in kusto.mgmt(SHOW_TABLES)}
    ready: dict[str, str] = {}
    for table in tables:
        build.context.check()
        name = str(table["name"])
        if name in there and _is_there(build, kusto, table):
            ready[name] = "unchanged"
            continue
        if name in there:
            build.refuse_unless_ours(Kind.KQL_TABLE, build.names.kql_table(name), _database_id(build))
        source = _source(build, name)
        before = build.found.things.get((Kind.KQL_TABLE, build.names.kql_table(name)))
        made = _claim(build, name, is_there=name in there)
        try:
            if name in there:
                _make_way(kusto, name, source, made=made)
            kusto.mgmt(create_table(name, source))
        except FINAL_ERRORS:
            if all(row["TableName"] != name for row in kusto.mgmt(SHOW_TABLES)):
                build.put_back(Kind.KQL_TABLE, build.names.kql_table(name), before)
            raise
        kusto.mgmt(create_mapping(name, source))
        ready[name] = "ready"
    return ready


def _is_there(build: Building, kusto: "KustoClient", table: Mapping[str, Any]) -> bool:
    """Whether an earlier build brought this very content, and nobody has cleared it away."""
    name, fingerprint = str(table["name"]), str(table["fingerprint"])
    if not build.has_content(Kind.KQL_TABLE, build.names.kql_table(name), _database_id(build), fingerprint):
        return False
    return not table["rows"] or bool(kusto.mgmt(show_taken_in(name, fingerprint)))


def _claim(build: Building, name: str, *, is_there: bool) -> bool:
    """Record the table as ours before it is touched. Returns whether it was not there before our builds."""
    told = build.names.kql_table(name)
    known = build.found.things.get((Kind.KQL_TABLE, told))
    made = known.made if is_there and known and known.item_id == _database_id(build) else not is_there
    build.remember(Kind.KQL_TABLE, told, _database_id(build), made=made)
    return made


def _make_way(kusto: "KustoClient", name: str, source: Table, *, made: bool) -> None:
    """A table of ours that has a column of another type is made anew; one of others stays.

    Raises:
        Conflict: it is not ours.
    """
    (row,) = kusto.mgmt(show_columns(name))
    if not needs_another_table(str(row["Schema"]), source):
        return
    if not made:
        raise Conflict(
            f"The KQL table {name} has columns of other types, and was not made by Treadle.",
            hint="Rename the table in scenario.yaml, or drop the one that is there.",
        )
    kusto.mgmt(drop_table(name))


def _ingest_all(build: Building, tables: Sequence[Mapping[str, Any]], ready: Mapping[str, str]) -> None:
    done = count(1)

    def ingest(table: Mapping[str, Any]) -> None:
        name = str(table["name"])
        build.step(f"telemetry.ingest:{name}", lambda: _ingest(build, table, is_current=ready[name] == "unchanged"))
        build.tell(_SLOT, "ingest", f"{name}: {table['rows']:,} rows", 40 + 59 * next(done) / len(tables))

    each_at_once({str(table["name"]): partial(ingest, table) for table in tables}, "tables")


def _ingest(build: Building, table: Mapping[str, Any], *, is_current: bool) -> JsonValue:
    """Bring the file to the lakehouse and have Kusto take it in, once; then forget what earlier builds took in."""
    name, fingerprint = str(table["name"]), str(table["fingerprint"])
    if is_current:
        return {"rows": table["rows"], "unchanged": True}
    source, lake = _source(build, name), build.lake()
    path = lake_path(build.place(_SLOT, file_name(name)))
    with source.path.open("rb") as content:
        lake.upload(path, content)
    kusto = _kusto(build)
    kusto.mgmt(
        ingest_file(name, lake_uri(lake.place.account_url, lake.place.file_system, lake.place.full(path)), fingerprint),
        deadline_seconds=build.services.patience.operation,
    )
    kusto.mgmt(drop_older(name, fingerprint))
    build.remember(Kind.KQL_TABLE, build.names.kql_table(name), _database_id(build), fingerprint)
    return {"rows": table["rows"], "path": path}


def _source(build: Building, name: str) -> Table:
    return next(table for told, table in telemetry_tables(build.scenario(_SLOT)) if told == name)


def _database_id(build: Building) -> ItemId:
    return ItemId(build.made["kql_database_id"])
