"""How one thing of a scenario is removed from where it is; and when one that was not found there may count as gone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.job import JsonValue
from treadle.errors import NotFound, Unavailable
from treadle.flows.scenario.existing import query_uri
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.presence import item_now
from treadle.flows.scenario.records import Thing
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.telemetry import SHOW_TABLES, drop_ours, drop_table

if TYPE_CHECKING:
    from treadle.clients.kusto import KustoClient


def take_away(services: ScenarioServices, thing: Thing, check: Callable[[], None]) -> None:
    """Remove one thing from where it is. Raises NotFound: it is not there, or what it was in."""
    if thing.kind is Kind.TABLE:
        services.lake_of(thing.workspace_id, thing.item_id).delete_folder(f"Tables/{thing.name.partition('/')[2]}")
    elif thing.kind is Kind.KQL_TABLE:
        _kusto(services, thing).mgmt(drop_table(thing.name.partition("/")[2]))
    elif thing.kind is Kind.GREMLIN_GRAPH:
        remove_gremlin(services, thing.name, check)
    else:
        services.fabric.delete_item(WorkspaceId(thing.workspace_id), ItemId(thing.item_id))


def clear_kql_table(services: ScenarioServices, thing: Thing) -> bool:
    """Take the rows that builds brought out of a table of others. False: the table is gone, or all around it. Raises Unavailable."""
    table = thing.name.partition("/")[2]
    try:
        kusto = _kusto(services, thing)
        if all(row["TableName"] != table for row in kusto.mgmt(SHOW_TABLES)):
            return False
        kusto.mgmt(drop_ours(table))
    except NotFound as error:
        refuse_unless_gone(services, thing, error)
        return False
    return True


def remove_gremlin(services: ScenarioServices, name: str, check: Callable[[], None]) -> JsonValue:
    """Remove the graph of a scenario from Cosmos DB. Safe to repeat."""
    from treadle.flows.scenario.build_gremlin import remove_gremlin_graph  # noqa: PLC0415 - its driver is an extra

    return remove_gremlin_graph(services.gremlin(), name, check)


def refuse_unless_gone(services: ScenarioServices, thing: Thing, error: NotFound) -> None:
    """What was not found is gone only if Fabric does not know its item any more, or that of the lakehouse or database around it.

    Raises:
        Unavailable: the item is there.
    """
    if thing.kind is not Kind.GREMLIN_GRAPH and item_now(services, thing.workspace_id, thing.item_id):
        raise Unavailable(
            f"The {thing.kind} {thing.name} was not found where it is to be removed, although Fabric shows its item: {error.message}",
            hint=f"Wait a few minutes, then ask again: treadle scenario destroy {thing.scenario}. What is not removed is still known.",
            details={**error.details, "scenario": thing.scenario, "item_id": thing.item_id},
        ) from error


def _kusto(services: ScenarioServices, thing: Thing) -> "KustoClient":
    """The database that a table is in, by the name that it has now.

    Raises:
        NotFound: the database is gone. Unavailable: Fabric does not say where it is asked.
    """
    database = item_now(services, thing.workspace_id, thing.item_id)
    if database is None:
        raise NotFound(f"The KQL database of {thing.name} is gone.", details={"item_id": thing.item_id})
    uri = query_uri(services, thing.workspace_id, thing.item_id)
    if not uri:
        raise Unavailable(f"Fabric does not say where the KQL database {database.name} is asked.", hint="Try again in a moment.")
    return services.kusto(uri, database.name)
