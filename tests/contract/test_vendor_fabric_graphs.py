"""The official Python SDK's ontology and graphmodel clients, unmodified, against the sandbox."""

import json

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from microsoft_fabric_api import FabricClient
from tests.contract.fabric_trials import decode, part, until
from tests.contract.graph_place import GraphPlace, definition


@pytest.fixture
def sdk(sandbox):
    who, where = sandbox.credentials, sandbox.endpoints
    trusted = str(where.ca_file)
    credential = ClientSecretCredential(
        who.tenant_id,
        who.client_id,
        who.client_secret,
        authority=where.entra_url,
        disable_instance_discovery=True,
        connection_verify=trusted,
    )
    return FabricClient(credential, base_url=where.fabric_url + "/", connection_verify=trusted)


@pytest.fixture
def place(fabric):
    place = GraphPlace(fabric)
    yield place
    place.drop()


def made(operation):
    """What a long-running operation made; the SDK's own waiting form looks only every five seconds."""
    return until(lambda: operation.result)


def test_an_ontology_is_made_defined_read_listed_changed_and_deleted(sdk, place):
    """Every method of the ontology client."""
    client, workspace = sdk.ontology.items, place.workspace
    entity = {
        "id": "1",
        "namespace": "usertypes",
        "namespaceType": "Custom",
        "name": "Pump",
        "entityIdParts": ["10"],
        "properties": [{"id": "10", "name": "Name", "valueType": "String"}],
    }
    parts = [part("definition.json", "{}"), part("EntityTypes/1/definition.json", json.dumps(entity))]
    request = {"displayName": "network", "description": "d", "definition": {"parts": parts}}
    ontology = made(client.begin_create_ontology(workspace, request, polling_interval=0))
    assert (ontology.type, ontology.display_name) == ("Ontology", "network")
    assert client.get_ontology(workspace, ontology.id).description == "d"
    assert [one.id for one in client.list_ontologies(workspace)] == [ontology.id]
    answer = made(client.begin_get_ontology_definition(workspace, ontology.id, polling_interval=0))
    assert {one.path for one in answer.definition.parts} == {"definition.json", "EntityTypes/1/definition.json", ".platform"}
    client.begin_update_ontology_definition(workspace, ontology.id, {"definition": {"parts": parts[:1]}}, polling_interval=0).result()
    answer = made(client.begin_get_ontology_definition(workspace, ontology.id, polling_interval=0))
    assert {one.path for one in answer.definition.parts} == {"definition.json", ".platform"}
    assert client.update_ontology(workspace, ontology.id, {"displayName": "grid"}).display_name == "grid"
    client.delete_ontology(workspace, ontology.id)
    with pytest.raises(ResourceNotFoundError):
        client.get_ontology(workspace, ontology.id)


def test_a_definition_that_breaks_a_rule_is_an_error_of_the_operation(sdk, place):
    """The SDK raises at the end of the polling."""
    client = sdk.ontology.items
    ontology = made(client.begin_create_ontology(place.workspace, {"displayName": "network"}, polling_interval=0))
    request = {"definition": {"parts": [part("EntityTypes/1/definition.json", "{}")]}}
    with pytest.raises(HttpResponseError):
        client.begin_update_ontology_definition(place.workspace, ontology.id, request, polling_interval=0).result()


def test_a_graph_model_is_made_defined_refreshed_and_asked(sdk, place):
    """Every method of the graphmodel client."""
    items, jobs, workspace = sdk.graphmodel.items, sdk.graphmodel.background_jobs, place.workspace
    request = {"displayName": "graph", "definition": definition(place.contents())}
    graph = made(items.begin_create_graph_model(workspace, request, polling_interval=0))
    assert {one.display_name for one in items.list_graph_models(workspace)} == {"people", "graph"}
    answer = made(items.begin_get_graph_model_definition(workspace, graph.id, format="json", polling_interval=0))
    assert answer.definition.format == "json"
    kept = {one.path: json.loads(decode(one.payload)) for one in answer.definition.parts}
    assert kept["graphType.json"] == place.contents()["graphType.json"]
    update = {"definition": definition(place.contents())}
    items.begin_update_graph_model_definition(workspace, graph.id, update, polling_interval=0).result()

    jobs.run_on_demand_refresh_graph(workspace, graph.id)
    [job] = sdk.core.job_scheduler.list_item_job_instances(workspace, graph.id)
    assert job.job_type == "RefreshGraph"
    assert until(lambda: sdk.core.job_scheduler.get_item_job_instance(workspace, graph.id, job.id).status == "Completed")

    loaded = items.get_queryable_graph_type_beta(workspace, graph.id, beta=True)
    assert [one.labels for one in loaded.node_types] == [["Person"], ["Place", "City"], ["Place", "Country"]]
    assert [one.source_node_type.alias for one in loaded.edge_types] == ["P", "P", "C"]
    query = {"query": "MATCH (p:Person)-[:lives_in]->(c:City) RETURN c.name, count(*) AS n ORDER BY n DESC"}
    told = json.loads(b"".join(items.execute_query_beta(workspace, graph.id, query, beta=True)))
    assert [list(row.values()) for row in told["result"]["data"]] == [["Oslo", 2], ["Rome", 1]]
    assert items.update_graph_model(workspace, graph.id, {"description": "new"}).description == "new"
    items.delete_graph_model(workspace, graph.id)
    with pytest.raises(ResourceNotFoundError):
        items.get_graph_model(workspace, graph.id)
