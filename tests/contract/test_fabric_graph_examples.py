"""The requests of the published examples of ontologies and graph models, replayed: status, headers and keys are those of the vendor.

Source: fabric-rest-api-specs, ontology/examples and graphModel/examples, named in each line. Payloads there are placeholders, so that
definitions of our own take their place; `Ontology 1`, a name that the documentation forbids, is written with an underscore. The sensitivity
label is left out; `properties` is what users of the API observe and no example shows.
"""

import json

import pytest
from tests.contract.fabric_trials import part
from tests.contract.graph_place import GraphPlace, definition

ITEM = {"id", "type", "displayName", "description", "workspaceId"}
ACCEPTED = {"location", "x-ms-operation-id", "retry-after"}
SUBMITTED = {"location", "retry-after"}
TOLD = {"location", "retry-after", "x-ms-operation-id"}

EQUIPMENT = {
    "id": "8813598896083",
    "namespace": "usertypes",
    "baseEntityTypeId": None,
    "name": "Equipment1",
    "entityIdParts": ["3117068036374594013"],
    "displayNamePropertyId": "3117068036374594013",
    "namespaceType": "Custom",
    "visibility": "Visible",
    "properties": [
        {"id": "3117068036374594013", "name": "DisplayName", "redefines": None, "baseTypeNamespaceType": None, "valueType": "String"},
        {"id": "3117068031950000331", "name": "Manufacturer", "redefines": None, "baseTypeNamespaceType": None, "valueType": "String"},
    ],
    "timeseriesProperties": [
        {
            "id": "3114584981368796953",
            "name": "PreciseTimestamp",
            "redefines": None,
            "baseTypeNamespaceType": None,
            "valueType": "DateTime",
        },
        {"id": "3114584979743320934", "name": "Name", "redefines": None, "baseTypeNamespaceType": None, "valueType": "String"},
        {"id": "3114584977562679672", "name": "Temperature", "redefines": None, "baseTypeNamespaceType": None, "valueType": "Double"},
    ],
}
"""The entity type inside the example CreateOntologyWithDefinition."""
ONTOLOGY = {"parts": [part("definition.json", "{}"), part("EntityTypes/8813598896083/definition.json", json.dumps(EQUIPMENT))]}


@pytest.fixture
def place(fabric):
    place = GraphPlace(fabric)
    place.load()
    place.ontology = fabric.finished(fabric.post(f"/workspaces/{place.workspace}/ontologies", {"displayName": "first"})).json()["id"]
    yield place
    place.drop()


@pytest.mark.parametrize(
    ("example", "method", "path", "body", "status", "headers", "keys"),
    [
        ("ListOntologiesInWorkspace", "GET", "/ontologies", None, 200, set(), {"value": ITEM}),
        (
            "CreateOntology",
            "POST",
            "/ontologies",
            {"displayName": "Ontology_1", "description": "An ontology description."},
            202,
            ACCEPTED,
            None,
        ),
        ("CreateOntologyWithDefinition", "POST", "/ontologies", {"displayName": "Ontology_1", "definition": ONTOLOGY}, 202, ACCEPTED, None),
        ("GetOntology", "GET", "/ontologies/{ontology}", None, 200, set(), ITEM),
        (
            "UpdateOntology",
            "PATCH",
            "/ontologies/{ontology}",
            {"displayName": "Ontology_New_name", "description": "New"},
            200,
            set(),
            ITEM,
        ),
        ("DeleteOntology", "DELETE", "/ontologies/{ontology}", None, 200, set(), None),
        ("HardDeleteOntology", "DELETE", "/ontologies/{ontology}?hardDelete=true", None, 200, set(), None),
        ("GetOntologyDefinition", "POST", "/ontologies/{ontology}/getDefinition", None, 202, ACCEPTED, None),
        (
            "UpdateOntologyDefinition",
            "POST",
            "/ontologies/{ontology}/updateDefinition?updateMetadata=true",
            {"definition": ONTOLOGY},
            202,
            ACCEPTED,
            None,
        ),
        ("ListGraphModelsInWorkspace", "GET", "/graphModels", None, 200, set(), {"value": ITEM | {"properties"}}),
        (
            "CreateGraphModelWithoutDefinition",
            "POST",
            "/graphModels",
            {"displayName": "GraphModel 1", "description": "A GraphModel description."},
            201,
            set(),
            ITEM,
        ),
        (
            "CreateGraphModel",
            "POST",
            "/graphModels",
            {"displayName": "GraphModel 1", "description": "A GraphModel description.", "definition": "{model}"},
            202,
            ACCEPTED,
            None,
        ),
        ("GetGraphModel", "GET", "/graphModels/{graph}", None, 200, set(), ITEM | {"properties"}),
        (
            "UpdateGraphModel",
            "PATCH",
            "/graphModels/{graph}",
            {"displayName": "GraphModel's New name", "description": "GraphModel's New description"},
            200,
            set(),
            ITEM,
        ),
        ("DeleteGraphModel", "DELETE", "/graphModels/{graph}", None, 200, set(), None),
        ("HardDeleteGraphModel", "DELETE", "/graphModels/{graph}?hardDelete=true", None, 200, set(), None),
        ("GetGraphModelDefinition", "POST", "/graphModels/{graph}/getDefinition", None, 202, ACCEPTED, None),
        (
            "UpdateGraphModelDefinition",
            "POST",
            "/graphModels/{graph}/updateDefinition?updateMetadata=true",
            {"definition": "{model}"},
            202,
            ACCEPTED,
            None,
        ),
        ("RunOnDemandRefreshGraph", "POST", "/graphModels/{graph}/jobs/refreshGraph/instances", None, 202, SUBMITTED, None),
        (
            "ExecuteQuery",
            "POST",
            "/graphModels/{graph}/executeQuery?beta=true",
            {"query": "MATCH (node_station:`City`) RETURN TO_JSON_STRING(node_station) AS `station` LIMIT 10;"},
            200,
            set(),
            {"status", "result"},
        ),
        (
            "GetQueryableGraphType",
            "GET",
            "/graphModels/{graph}/getQueryableGraphType?beta=true",
            None,
            200,
            set(),
            {"nodeTypes", "edgeTypes"},
        ),
    ],
)
def test_a_published_example_is_answered_with_its_status_headers_and_keys(place, example, method, path, body, status, headers, keys):
    """Each example is one request."""
    request = body if body is None or body.get("definition") != "{model}" else body | {"definition": definition(place.contents())}
    url = f"/workspaces/{place.workspace}{path.format(ontology=place.ontology, graph=place.model)}"
    answer = place.fabric.call(method, url, json=request)
    assert (answer.status_code, {name for name in answer.headers if name in TOLD}) == (status, headers), f"{example}: {answer.text}"
    if isinstance(keys, dict):
        ((name, inner),) = keys.items()
        assert set(answer.json()[name][0]) == inner
    elif keys is not None:
        assert set(answer.json()) == keys


def test_the_examples_of_a_query_and_of_a_graph_type_have_the_same_members_inside(place):
    """ExecuteQuery and GetQueryableGraphType, as deep as the examples go."""
    body = {"query": "MATCH (node_station:`City`) RETURN TO_JSON_STRING(node_station) AS `station` LIMIT 10;"}
    answer = place.fabric.post(f"{place.path}/executeQuery?beta=true", body, expect=200).json()
    assert set(answer["status"]) == {"code", "description", "diagnostics"}
    assert {"kind", "columns", "data"} <= set(answer["result"])
    assert set(json.loads(answer["result"]["data"][0]["station"])) == {"labels", "oid", "properties"}
    told = place.fabric.get(f"{place.path}/getQueryableGraphType?beta=true").json()
    assert set(told["nodeTypes"][0]) == {"alias", "primaryKeyProperties", "labels", "properties"}
    assert set(told["edgeTypes"][0]) == {"alias", "labels", "sourceNodeType", "destinationNodeType", "properties"}
    assert told["nodeTypes"][0]["properties"][0] == {"name": "id", "type": "INT"}


def test_the_location_of_a_refresh_leads_to_the_job(place):
    """RunOnDemandRefreshGraph: …/items/{id}/jobs/instances/{job}."""
    location = place.refresh()
    assert f"/workspaces/{place.workspace}/items/{place.model}/jobs/instances/" in location
    assert place.fabric.ended(location)["status"] == "Completed"
