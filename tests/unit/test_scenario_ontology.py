"""The ontology of a scenario: the same for the same schema, by Fabric's rules, and on the real scenario exactly what was looked at."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from tests.unit.scenario_archives import SCHEMA, SMALL, same_as_snapshot, small, tar_gz, telco

from treadle.flows.scenario.check import check_scenario
from treadle.flows.scenario.definition import fingerprint
from treadle.flows.scenario.ontology import LakehouseSource, Ontology, check_ontology, ontology_of, ontology_parts, relationship_names

SOURCE = LakehouseSource("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")


def derived(archive: bytes, folder: Path) -> Ontology:
    scratch = folder / f"scratch{len(list(folder.iterdir()))}"
    scratch.mkdir()
    found = check_scenario(io.BytesIO(archive), scratch)
    return ontology_of(found.schema, found.tables)


@pytest.fixture
def network(tmp_path: Path) -> Ontology:
    return derived(telco("entities"), tmp_path)


def test_the_definition_of_the_real_scenario_is_the_one_that_was_looked_at(network):
    same_as_snapshot("scenario_telco_noc_ontology.json", {part.path: part.content for part in ontology_parts(network, SOURCE, "telco_noc")})


def test_the_real_scenario_has_eight_entity_types_and_nine_relationship_types(network):
    assert [entity.name for entity in network.entity_types] == [
        "CoreRouter", "AggSwitch", "BaseStation", "TransportLink", "MPLSPath", "Service", "SLAPolicy", "BGPSession",
    ]  # fmt: skip
    told = {item.name: (item.source.name, item.target.name, len(item.contextualizations)) for item in network.relationship_types}
    assert told == {
        "connects_to": ("TransportLink", "CoreRouter", 2), "aggregates_to": ("AggSwitch", "CoreRouter", 1), "backhauls_via": ("BaseStation", "AggSwitch", 1),
        "routes_via": ("MPLSPath", "TransportLink", 1), "depends_on_MPLSPath": ("Service", "MPLSPath", 1), "depends_on_AggSwitch": ("Service", "AggSwitch", 1),
        "depends_on_BaseStation": ("Service", "BaseStation", 1), "governed_by": ("SLAPolicy", "Service", 1), "peers_over": ("BGPSession", "CoreRouter", 2),
    }  # fmt: skip
    assert {item.label for item in network.relationship_types if item.name.startswith("depends_on")} == {"depends_on"}
    assert check_ontology(network, "telco_noc") == ()


def test_every_reference_within_the_definition_leads_somewhere_and_no_id_is_there_twice(network):
    contents = {part.path: part.content for part in ontology_parts(network, SOURCE, "telco_noc")}
    entities = {content["id"]: content for path, content in contents.items() if re.fullmatch(r"EntityTypes/\d+/definition\.json", path)}
    relationships = {
        content["id"]: content for path, content in contents.items() if re.fullmatch(r"RelationshipTypes/\d+/definition\.json", path)
    }
    properties = {item["id"]: (owner, item) for owner, entity in entities.items() for item in entity["properties"]}
    ids = [*entities, *relationships, *properties]
    assert len(set(ids)) == len(ids) == 8 + 9 + 35
    assert all(0 < int(one) < 2**63 for one in ids)
    for path, content in contents.items():
        if "/DataBindings/" in path:
            owner = path.split("/")[1]
            bound = content["dataBindingConfiguration"]["propertyBindings"]
            assert [properties[item["targetPropertyId"]][0] for item in bound] == [owner] * len(entities[owner]["properties"])
            assert path.endswith(f"/{content['id']}.json")
        if "/Contextualizations/" in path:
            ends = relationships[path.split("/")[1]]
            for bindings, end in (("sourceKeyRefBindings", "source"), ("targetKeyRefBindings", "target")):
                assert [item["targetPropertyId"] for item in content[bindings]] == entities[ends[end]["entityTypeId"]]["entityIdParts"]
    assert all(properties[key][1]["valueType"] in {"String", "BigInt"} for entity in entities.values() for key in entity["entityIdParts"])


def test_the_parts_are_sent_as_base64_with_forward_slashes(network):
    for part in ontology_parts(network, SOURCE, "telco_noc"):
        sent = part.sent()
        assert (sent["path"], sent["payloadType"]) == (part.path, "InlineBase64")
        assert json.loads(base64.b64decode(sent["payload"])) == part.content
        assert "\\" not in part.path
    assert [part.path for part in ontology_parts(network, SOURCE, "telco_noc")][:2] == [".platform", "definition.json"]


def test_ids_depend_on_names_alone_not_on_data_order_or_neighbours(tmp_path):
    plain = derived(small(), tmp_path)
    again = derived(small(), tmp_path)
    assert plain == again
    assert fingerprint(ontology_parts(plain, SOURCE, "shop")) == fingerprint(reversed(ontology_parts(again, SOURCE, "shop")))
    other_data = derived(small(Shop_csv="ShopId,City\nS2,Hobart\nS1,Perth\nS3,Darwin\n"), tmp_path)
    assert other_data == plain
    first, second = SCHEMA.index("  - label: Shop"), SCHEMA.index("  - label: Order")
    swapped = SCHEMA[:first] + SCHEMA[second : SCHEMA.index("edges:")] + SCHEMA[first:second] + SCHEMA[SCHEMA.index("edges:") :]
    turned = derived(small(graph_schema_yaml=swapped), tmp_path)
    assert set(turned.entity_types) == set(plain.entity_types)
    assert turned.relationship_types == plain.relationship_types


def test_another_property_changes_the_fingerprint_and_no_other_id(tmp_path):
    plain, more = derived(small(), tmp_path), derived(small(graph_schema_yaml=SCHEMA.replace("[Amount]", "[Amount, ShopId]")), tmp_path)
    ids = {item.name: item.id for item in plain.entity_types[1].properties}
    assert {item.name: item.id for item in more.entity_types[1].properties if item.name in ids} == ids
    assert fingerprint(ontology_parts(plain, SOURCE, "shop")) != fingerprint(ontology_parts(more, SOURCE, "shop"))


def test_edges_that_differ_in_their_filter_alone_are_one_contextualization(tmp_path):
    rule = SCHEMA[SCHEMA.index("  - label: placed_at") :]
    both = SCHEMA + "    filter: {column: Amount, value: '2'}\n" + rule + "    filter: {column: Amount, value: '2', negate: true}\n"
    [relationship] = derived(small(graph_schema_yaml=both), tmp_path).relationship_types
    assert (relationship.name, len(relationship.contextualizations)) == ("placed_at", 1)


def test_names_of_relationships_say_as_much_as_is_needed_to_be_unique():
    pairs = [("a", "X", "Y"), ("b", "X", "Y"), ("b", "X", "Z"), ("c", "X", "Y"), ("c", "Z", "Y")]
    assert list(relationship_names(pairs).values()) == ["a", "b_Y", "b_Z", "c_X_Y", "c_Z_Y"]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("label: placed_at", "label: placed at", "ontology_name_refused"),
        ("Order", "1st_Order", "ontology_name_refused"),
        (
            "target: {label: Shop, property: ShopId, column: ShopId}",
            "target: {label: Order, property: OrderId, column: OrderId}",
            "relationship_to_itself",
        ),
    ],
)
def test_what_fabric_would_refuse_is_a_fault_before_anything_is_sent(tmp_path, old, new, code):
    schema = SCHEMA.replace(old, new).replace("csv_file: 1st_", "csv_file: ").replace("1st_OrderId", "OrderId")
    found = check_scenario(io.BytesIO(small(graph_schema_yaml=schema)), tmp_path)
    assert code in [fault.code for fault in found.faults]
    assert found.scenario is None
    manifest = SMALL["scenario.yaml"] + "data_sources: {graph: {connector: cosmosdb-gremlin}}\n"
    (tmp_path / "gremlin").mkdir()
    elsewhere = check_scenario(io.BytesIO(tar_gz({**SMALL, "graph_schema.yaml": schema, "scenario.yaml": manifest})), tmp_path / "gremlin")
    assert elsewhere.faults == ()


def test_a_display_name_follows_the_ontologys_own_rule(network):
    assert [fault.code for fault in check_ontology(network, "telco-noc")] == ["ontology_name_refused"]
    assert check_ontology(network, "n" * 100) != ()
