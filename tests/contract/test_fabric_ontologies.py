"""Ontologies over HTTP: items, the rules of their definition, full replacement, and the empty graph model that comes with each.

Source: ontology/swagger.json of fabric-rest-api-specs; skills-for-fabric, fabriciq-ontology-cli (rules and error codes).
"""

import copy
import io
import json

import pytest
from tests.contract.fabric_trials import decode, error_of, part, until
from tests.unit.scenario_archives import telco

from treadle.flows.scenario.check import check_scenario
from treadle.flows.scenario.ontology import LakehouseSource, ontology_of, ontology_parts

WORKSPACE, LAKEHOUSE = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
BINDING, SERIES, LINK = (
    "66253a71-c26f-4c9d-877f-3af5632a4be2",
    "39a3889b-77e4-4851-8960-e3b779a5d9ba",
    "62bbbf52-39a4-47ed-b7bf-651debaca6ab",
)


def table(kind="LakehouseTable", **more):
    return {"sourceType": kind, "workspaceId": WORKSPACE, "itemId": LAKEHOUSE, "sourceTableName": "t", **more}


def entity(number, name, *properties, key=None, **more):
    return {
        "id": str(number),
        "namespace": "usertypes",
        "namespaceType": "Custom",
        "visibility": "Visible",
        "baseEntityTypeId": None,
        "name": name,
        "entityIdParts": [str(key or number * 10)],
        "displayNamePropertyId": None,
        "properties": [{"id": str(one), "name": told, "valueType": kind} for one, told, kind in properties],
        "timeseriesProperties": [],
        **more,
    }


def binding(guid, kind, *bound, source=None, **more):
    bindings = [{"sourceColumnName": column, "targetPropertyId": str(target)} for column, target in bound]
    configuration = {"dataBindingType": kind, "propertyBindings": bindings, "sourceTableProperties": source or table(), **more}
    return {"id": guid, "dataBindingConfiguration": configuration}


@pytest.fixture
def tree():
    """A definition that Fabric takes: two entity types, a static and a time-series binding, and how they relate."""
    ends = {"source": {"entityTypeId": "1"}, "target": {"entityTypeId": "2"}}
    return {
        "definition.json": {},
        "EntityTypes/1/definition.json": entity(
            1,
            "Pump",
            (10, "Name", "String"),
            (11, "Power", "Double"),
            timeseriesProperties=[{"id": "12", "name": "At", "valueType": "DateTime"}],
        ),
        f"EntityTypes/1/DataBindings/{BINDING}.json": binding(BINDING, "NonTimeSeries", ("name", 10), ("power", 11)),
        f"EntityTypes/1/DataBindings/{SERIES}.json": binding(
            SERIES,
            "TimeSeries",
            ("at", 12),
            timestampColumnName="at",
            source=table("KustoTable", clusterUri="https://x.kusto.fabric.microsoft.com", databaseName="d"),
        ),
        "EntityTypes/1/Documents/document1.json": {"displayText": "Guide", "url": "https://example.com"},
        "EntityTypes/2/definition.json": entity(2, "Site", (20, "Code", "BigInt")),
        "RelationshipTypes/3/definition.json": {
            "id": "3",
            "namespace": "usertypes",
            "namespaceType": "Custom",
            "name": "stands_at",
            **ends,
        },
        f"RelationshipTypes/3/Contextualizations/{LINK}.json": {
            "id": LINK,
            "dataBindingTable": table(),
            "sourceKeyRefBindings": [{"sourceColumnName": "pump", "targetPropertyId": "10"}],
            "targetKeyRefBindings": [{"sourceColumnName": "site", "targetPropertyId": "20"}],
        },
    }


def definition(files):
    return {"parts": [part(path, content if isinstance(content, str) else json.dumps(content)) for path, content in files.items()]}


@pytest.fixture
def workspace(fabric):
    workspace = fabric.workspace()
    yield workspace
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


@pytest.fixture
def ontology(fabric, workspace):
    """The path of an ontology without a definition."""
    return f"/workspaces/{workspace}/ontologies/{create(fabric, workspace, 'network').json()['id']}"


def create(fabric, workspace, name, **more):
    answer = fabric.post(f"/workspaces/{workspace}/ontologies", {"displayName": name, **more}, expect=202)
    return fabric.finished(answer)


def push(fabric, path, files):
    """The state of an update when it has ended."""
    answer = fabric.post(f"{path}/updateDefinition", {"definition": definition(files)}, expect=202)
    return until(lambda: next((state for state in [fabric.get(answer.headers["location"]).json()] if state["status"] != "Running"), None))


def kept(fabric, path):
    answer = fabric.finished(fabric.post(f"{path}/getDefinition", expect=202)).json()
    return {one["path"]: json.loads(decode(one["payload"])) for one in answer["definition"]["parts"]}


def test_an_ontology_is_made_by_an_operation_and_brings_an_empty_graph_model(fabric, workspace, tree):
    """202 with the operation; the child is called after the ontology; pushing the ontology's definition does not fill it."""
    made = create(fabric, workspace, "network", description="all of it", definition=definition(tree)).json()
    assert (made["type"], made["displayName"], made["description"]) == ("Ontology", "network", "all of it")
    [child] = fabric.get(f"/workspaces/{workspace}/graphModels").json()["value"]
    assert child["displayName"] == f"network_graph_{made['id'].replace('-', '')}"
    files = kept(fabric, f"/workspaces/{workspace}/ontologies/{made['id']}")
    assert {path: content for path, content in files.items() if path != ".platform"} == tree
    graph = f"/workspaces/{workspace}/graphModels/{child['id']}"
    answer = fabric.finished(fabric.post(f"{graph}/getDefinition?format=json", expect=202)).json()["definition"]
    assert answer["format"] == "json"
    contents = {one["path"]: json.loads(decode(one["payload"])) for one in answer["parts"]}
    assert contents["graphType.json"]["nodeTypes"] == contents["graphDefinition.json"]["nodeTables"] == []
    assert fabric.get(graph).json()["properties"] == {"queryReadiness": "None", "lastDataLoadingStatus": None}


def test_the_child_goes_with_its_ontology_and_no_other(fabric, workspace):
    """Deleting an ontology deletes the graph model that came with it."""
    first, second = (create(fabric, workspace, name).json()["id"] for name in ("one", "two"))
    fabric.call("DELETE", f"/workspaces/{workspace}/ontologies/{first}", 200)
    assert [one["displayName"].split("_")[0] for one in fabric.get(f"/workspaces/{workspace}/graphModels").json()["value"]] == ["two"]
    assert [one["id"] for one in fabric.get(f"/workspaces/{workspace}/items?type=Ontology").json()["value"]] == [second]


def test_an_ontology_is_renamed_and_described(fabric, ontology):
    """PATCH; the name rule holds there too."""
    changed = fabric.call("PATCH", ontology, 200, json={"displayName": "grid", "description": "new"}).json()
    assert (changed["displayName"], changed["description"]) == ("grid", "new")
    assert error_of(fabric.call("PATCH", ontology, json={"displayName": "my grid"}), 400) == "InvalidInput"


@pytest.mark.parametrize("name", ["1st", "a b", "a-b", "é", "a" * 100, "_a"])
def test_a_name_has_letters_digits_and_underscores_after_a_letter(fabric, workspace, name):
    """Fewer than 100 characters."""
    assert error_of(fabric.post(f"/workspaces/{workspace}/ontologies", {"displayName": name}), 400) == "InvalidInput"


def test_a_name_is_taken_once(fabric, workspace):
    """409 for the second, before any operation."""
    create(fabric, workspace, "network")
    assert (
        error_of(fabric.post(f"/workspaces/{workspace}/items", {"displayName": "Network", "type": "Ontology"}), 409)
        == "ItemDisplayNameAlreadyInUse"
    )


def test_a_tenant_that_has_ontologies_switched_off_does_not_know_the_type(fabric, workspace):
    """InvalidItemType, in both forms."""
    fabric.sandbox.fabric.options.ontology_enabled = False
    assert error_of(fabric.post(f"/workspaces/{workspace}/ontologies", {"displayName": "a"}), 400) == "InvalidItemType"
    assert error_of(fabric.post(f"/workspaces/{workspace}/items", {"displayName": "a", "type": "Ontology"}), 400) == "InvalidItemType"
    assert fabric.get(f"/workspaces/{workspace}/graphModels").json()["value"] == []


def test_an_update_replaces_the_whole_tree(fabric, ontology, tree):
    """What is not sent any more is gone."""
    assert push(fabric, ontology, tree)["status"] == "Succeeded"
    smaller = {path: content for path, content in tree.items() if "/1/" not in path and "Relationship" not in path}
    assert push(fabric, ontology, smaller)["status"] == "Succeeded"
    assert set(kept(fabric, ontology)) == {*smaller, ".platform"}


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        ("EntityTypes/1/definition.json", {"id": "4"}, "not the name of its folder"),
        ("EntityTypes/1/definition.json", {"id": 1}, "written as text"),
        ("EntityTypes/1/definition.json", {"name": "my pump"}, "does not match"),
        ("EntityTypes/1/definition.json", {"namespace": "other"}, "usertypes"),
        ("EntityTypes/1/definition.json", {"namespaceType": None}, "Custom"),
        ("EntityTypes/1/definition.json", {"visibility": "Hidden"}, "Visible"),
        ("EntityTypes/1/definition.json", {"baseEntityTypeId": "2"}, "baseEntityTypeId"),
        ("EntityTypes/1/definition.json", {"entityIdParts": ["11"]}, "no property of type String or BigInt"),
        ("EntityTypes/1/definition.json", {"entityIdParts": ["12"]}, "no property of type String or BigInt"),
        ("EntityTypes/1/definition.json", {"displayNamePropertyId": "20"}, "displayNamePropertyId"),
        ("EntityTypes/1/definition.json", {"properties": [{"id": "10", "name": "Name", "valueType": "Text"}]}, "valueType 'Text'"),
        ("EntityTypes/2/definition.json", {"properties": [{"id": "10", "name": "Code", "valueType": "BigInt"}]}, "used already"),
        ("EntityTypes/1/definition.json", {"properties": [{"id": "10", "name": "At", "valueType": "String"}]}, "occurs twice"),
        ("EntityTypes/2/definition.json", {"properties": [{"id": "20", "name": "Name", "valueType": "BigInt"}]}, "conflicting value types"),
        (f"EntityTypes/1/DataBindings/{BINDING}.json", {"id": "x"}, "not a GUID"),
        (f"EntityTypes/1/DataBindings/{BINDING}.json", {"dataBindingConfiguration": None}, "dataBindingConfiguration"),
        ("RelationshipTypes/3/definition.json", {"target": {"entityTypeId": "1"}}, "two different"),
        ("RelationshipTypes/3/definition.json", {"target": {"entityTypeId": "9"}}, "not in the definition"),
        ("RelationshipTypes/3/definition.json", {"name": "9lives"}, "does not match"),
        (f"RelationshipTypes/3/Contextualizations/{LINK}.json", {"sourceKeyRefBindings": []}, "whole key"),
        (
            f"RelationshipTypes/3/Contextualizations/{LINK}.json",
            {"targetKeyRefBindings": [{"sourceColumnName": "site", "targetPropertyId": "10"}]},
            "entityIdParts of the target",
        ),
        (f"RelationshipTypes/3/Contextualizations/{LINK}.json", {"dataBindingTable": table("KustoTable")}, "LakehouseTable"),
        (f"RelationshipTypes/3/Contextualizations/{LINK}.json", {"dataBindingTable": table(workspaceId="ws")}, "not a GUID"),
        ("EntityTypes/1/Documents/document1.json", {"url": None}, "url"),
    ],
)
def test_a_definition_that_breaks_a_rule_fails_and_names_the_part(fabric, ontology, tree, path, change, words):
    """The operation ends as Failed with ALMOperationImportFailed; what was there stays."""
    assert push(fabric, ontology, tree)["status"] == "Succeeded"
    broken = copy.deepcopy(tree)
    broken[path].update(change)
    state = push(fabric, ontology, broken)
    assert state["status"] == "Failed"
    assert state["error"]["errorCode"] == "ALMOperationImportFailed"
    assert state["error"]["message"].startswith(f"{path}: ")
    assert words in state["error"]["message"]
    assert {name: content for name, content in kept(fabric, ontology).items() if name != ".platform"} == tree


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataBindingType": "Static"}, "NonTimeSeries or TimeSeries"),
        ({"propertyBindings": [{"sourceColumnName": "c", "targetPropertyId": "20"}]}, "not one of this entity type"),
        ({"propertyBindings": [{"targetPropertyId": "10"}]}, "no sourceColumnName"),
        ({"sourceTableProperties": table("KustoTable", clusterUri="u", databaseName="d")}, "LakehouseTable"),
        ({"sourceTableProperties": table(sourceTableName="")}, "sourceTableName"),
        ({"dataBindingType": "TimeSeries", "timestampColumnName": "at"}, "needs a NonTimeSeries binding"),
        ({"dataBindingType": "TimeSeries"}, "timestampColumnName"),
    ],
)
def test_a_binding_follows_the_rules_of_its_kind(fabric, ontology, tree, change, words):
    """A static binding has a lakehouse table; time series come after a static binding."""
    tree[f"EntityTypes/1/DataBindings/{BINDING}.json"]["dataBindingConfiguration"].update(change)
    state = push(fabric, ontology, tree)
    assert (state["status"], state["error"]["errorCode"]) == ("Failed", "ALMOperationImportFailed")
    assert words in state["error"]["message"]


def test_an_entity_type_has_one_static_binding(fabric, ontology, tree):
    """The second one fails."""
    second = tree[f"EntityTypes/1/DataBindings/{SERIES}.json"]["dataBindingConfiguration"]
    second.update({"dataBindingType": "NonTimeSeries", "sourceTableProperties": table()})
    assert "at most one NonTimeSeries" in push(fabric, ontology, tree)["error"]["message"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("EntityTypes\\1\\definition.json", "ALMOperationBadRequest"),
        ("EntityTypes/pump/definition.json", "ALMOperationBadRequest"),
        ("Entities/1/definition.json", "ALMOperationBadRequest"),
        ("EntityTypes/9/definition.json", "ALMOperationImportFailed"),
        ("EntityTypes/9/Documents/a.json", "ALMOperationImportFailed"),
    ],
)
def test_a_part_without_a_place_in_the_tree_is_named(fabric, ontology, tree, path, code):
    """Backslashes, unknown folders, and folders without a definition; a part that is no JSON."""
    state = push(fabric, ontology, tree | {path: "not json" if path.endswith("9/definition.json") else {"url": "u"}})
    assert state["error"]["errorCode"] == code
    assert state["error"]["message"].startswith("EntityTypes/9/" if "/9/" in path else path)


def test_a_definition_needs_its_root_and_create_checks_it_too(fabric, workspace, tree):
    """No item comes of a definition that fails."""
    del tree["definition.json"]
    answer = fabric.post(f"/workspaces/{workspace}/ontologies", {"displayName": "a", "definition": definition(tree)}, expect=202)
    state = until(lambda: next((one for one in [fabric.get(answer.headers["location"]).json()] if one["status"] != "Running"), None))
    assert state["error"]["message"].startswith("definition.json: ")
    assert fabric.get(f"/workspaces/{workspace}/ontologies").json()["value"] == []


def test_two_relationship_types_do_not_share_a_name(fabric, ontology, tree):
    """Nor does anything share an id."""
    again = tree["RelationshipTypes/3/definition.json"] | {"id": "5"}
    assert "used by another" in push(fabric, ontology, tree | {"RelationshipTypes/5/definition.json": again})["error"]["message"]


def test_what_treadle_makes_of_the_real_scenario_is_accepted(fabric, ontology, tmp_path):
    """Eight entity types, nine relationship types, and each part comes back as it was sent."""
    found = check_scenario(io.BytesIO(telco("entities")), tmp_path)
    source = LakehouseSource(WORKSPACE, LAKEHOUSE)
    parts = ontology_parts(ontology_of(found.schema, found.tables), source, "network")
    answer = fabric.post(
        f"{ontology}/updateDefinition?updateMetadata=true", {"definition": {"parts": [one.sent() for one in parts]}}, expect=202
    )
    state = until(lambda: next((one for one in [fabric.get(answer.headers["location"]).json()] if one["status"] != "Running"), None))
    assert state["status"] == "Succeeded", state
    given = kept(fabric, ontology)
    assert {one.path: one.content for one in parts if one.path != ".platform"} == {
        path: given[path] for path in given if path != ".platform"
    }


def test_faults_by_script_hit_ontologies_as_any_item(fabric, ontology, tree):
    """A failed operation keeps the old definition; a reserved name is told."""
    fabric.sandbox.faults.script("fabric.UpdateItemDefinition", "operation_failed", code="ALMOperationImportFailed", message="by script")
    assert push(fabric, ontology, tree)["error"]["message"] == "by script"
    assert set(kept(fabric, ontology)) == {".platform"}
