"""The schema of a scenario as a Fabric ontology: what kinds of things there are, how they relate, and which tables say so. Pure.

Source of shapes and rules: Fabric REST, "Ontology definition"; microsoft/skills-for-fabric, fabriciq-ontology-cli, ONTOLOGY-AUTHORING-CORE.md.
An ontology has no edge filters, no fixed values and no properties of relationships: those are in the graph model alone.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from treadle.flows.scenario.column_types import KEY_TYPES
from treadle.flows.scenario.definition import Part, platform_part, stable_guid, stable_id
from treadle.flows.scenario.faults import Fault, listed
from treadle.flows.scenario.scenario import Table
from treadle.flows.scenario.schema import EdgeRule, GraphSchema, ValueType, VertexType

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,127}")
_DISPLAY_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,98}")
_SCHEMAS: Final = "https://developer.microsoft.com/json-schemas/fabric/item/ontology/{}/1.0.0/schema.json"


@dataclass(frozen=True, slots=True)
class Property:
    """A property of an entity type, bound to the column of its name."""

    id: int
    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class EntityType:
    """A kind of thing, bound to the one table that has a row for each. key: the property that names a thing."""

    id: int
    name: str
    key: Property
    properties: tuple[Property, ...]
    table: str
    binding_id: str


@dataclass(frozen=True, slots=True)
class Contextualization:
    """A table whose rows have the keys of both ends."""

    id: str
    table: str
    source_column: str
    target_column: str


@dataclass(frozen=True, slots=True)
class RelationshipType:
    """How things of one type relate to those of another. label: the edge label that it comes from; name differs where a label has several pairs."""

    id: int
    name: str
    label: str
    source: EntityType
    target: EntityType
    contextualizations: tuple[Contextualization, ...]


@dataclass(frozen=True, slots=True)
class Ontology:
    """Entity types in the schema's order, relationship types in the order of their first edge."""

    entity_types: tuple[EntityType, ...]
    relationship_types: tuple[RelationshipType, ...]


@dataclass(frozen=True, slots=True)
class LakehouseSource:
    """Where the tables are. schema: None in a lakehouse without schemas."""

    workspace_id: str
    lakehouse_id: str
    schema: str | None = None


def ontology_of(schema: GraphSchema, tables: Iterable[Table]) -> Ontology:
    """Derive the ontology. The same input gives the same ids; they depend on labels and column names only, not on data or order.

    tables: those of the schema, checked: every column that the schema names is there.
    """
    by_file = {table.csv_file: table for table in tables}
    entities = {vertex.label: _entity_type(vertex, by_file[vertex.csv_file]) for vertex in schema.vertices}
    pairs: defaultdict[tuple[str, str, str], list[EdgeRule]] = defaultdict(list)
    for edge in schema.edges:
        pairs[edge.endpoints].append(edge)
    names = relationship_names(list(pairs))
    relationships = tuple(
        RelationshipType(
            stable_id("relationship", *pair),
            names[pair],
            pair[0],
            entities[pair[1]],
            entities[pair[2]],
            _contextualizations(edges, by_file),
        )
        for pair, edges in pairs.items()
    )
    return Ontology(tuple(entities.values()), relationships)


def relationship_names(pairs: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    """A name for each (label, source, target): the label, or where several pairs share it, the label and its target, or both ends.

    Fabric wants the name of a relationship type to be unique in its ontology.
    """
    named: dict[tuple[str, str, str], str] = {}
    for pair in pairs:
        label, source, target = pair
        of_label = [other for other in pairs if other[0] == label]
        if len(of_label) == 1:
            named[pair] = label
        elif sum(other[2] == target for other in of_label) == 1:
            named[pair] = f"{label}_{target}"
        else:
            named[pair] = f"{label}_{source}_{target}"
    return named


def check_ontology(ontology: Ontology, display_name: str | None = None) -> tuple[Fault, ...]:
    """What Fabric would refuse, told before anything is sent."""
    return (*_name_faults(ontology, display_name), *_entity_faults(ontology), *_relationship_faults(ontology))


def ontology_parts(ontology: Ontology, source: LakehouseSource, display_name: str) -> tuple[Part, ...]:
    """The definition, whole: an update replaces the tree, and what is not in it is deleted."""
    parts = [platform_part("Ontology", display_name, stable_guid("ontology", display_name)), Part("definition.json", {})]
    for entity in ontology.entity_types:
        folder = f"EntityTypes/{entity.id}"
        parts.append(Part(f"{folder}/definition.json", _entity_content(entity)))
        parts.append(Part(f"{folder}/DataBindings/{entity.binding_id}.json", _binding_content(entity, source)))
    for relationship in ontology.relationship_types:
        folder = f"RelationshipTypes/{relationship.id}"
        parts.append(Part(f"{folder}/definition.json", _relationship_content(relationship)))
        parts += [
            Part(f"{folder}/Contextualizations/{item.id}.json", _contextualization_content(item, relationship, source))
            for item in relationship.contextualizations
        ]
    return tuple(parts)


def _entity_type(vertex: VertexType, table: Table) -> EntityType:
    properties = tuple(Property(stable_id("property", vertex.label, name), name, table.column(name).type) for name in vertex.properties)
    key = next(item for item in properties if item.name == vertex.id_column)
    return EntityType(stable_id("entity", vertex.label), vertex.label, key, properties, table.name, stable_guid("binding", vertex.label))


def _contextualizations(edges: Iterable[EdgeRule], tables: dict[str, Table]) -> tuple[Contextualization, ...]:
    """One per table and pair of columns: edges that differ in their filter alone say the same here."""
    found: dict[tuple[str, str, str], Contextualization] = {}
    for edge in edges:
        place = (tables[edge.csv_file].name, edge.source.column, edge.target.column)
        found[place] = Contextualization(stable_guid("contextualization", *edge.endpoints, *place), *place)
    return tuple(found.values())


def _name_faults(ontology: Ontology, display_name: str | None) -> Iterator[Fault]:
    hint = "Use letters, digits, - and _, beginning with a letter, at most 128."
    names = [("entity type", item.name) for item in ontology.entity_types]
    names += [("property", item.name) for entity in ontology.entity_types for item in entity.properties]
    names += [("relationship type", item.name) for item in ontology.relationship_types]
    for kind, name in dict.fromkeys(names):
        if not _NAME.fullmatch(name):
            yield Fault("ontology_name_refused", name, f"Fabric refuses {name!r} as the name of a {kind}.", hint)
    if display_name is not None and not _DISPLAY_NAME.fullmatch(display_name):
        hint = "Use letters, digits and _, beginning with a letter, fewer than 100."
        yield Fault("ontology_name_refused", display_name, f"Fabric refuses {display_name!r} as the name of an ontology.", hint)


def _entity_faults(ontology: Ontology) -> Iterator[Fault]:
    types: defaultdict[str, set[ValueType]] = defaultdict(set)
    for entity in ontology.entity_types:
        if entity.key.type not in KEY_TYPES:
            message = f"Its key {entity.key.name} is {entity.key.type}; Fabric takes String or BigInt."
            yield Fault("key_type_refused", entity.name, message, "Declare it String in property_types.")
        for item in entity.properties:
            types[item.name].add(item.type)
    for name, kinds in types.items():
        if len(kinds) > 1:
            message = f"The property {name} has several types: {listed(sorted(kinds))}. Names are global in an ontology."
            yield Fault("types_differ", name, message, "Declare one type, or rename one of them.")


def _relationship_faults(ontology: Ontology) -> Iterator[Fault]:
    seen: dict[str, RelationshipType] = {}
    for relationship in ontology.relationship_types:
        if relationship.source.id == relationship.target.id:
            message = f"{relationship.label} leads from {relationship.source.name} to itself; Fabric wants two different entity types."
            yield Fault("relationship_to_itself", relationship.label, message, "Give one of the ends a vertex type of its own.")
        earlier = seen.setdefault(relationship.name.casefold(), relationship)
        if earlier is not relationship:
            message = f"{relationship.label} and {earlier.label} would both be the relationship type {relationship.name}."
            yield Fault("names_collide", relationship.label, message, "Rename one of the labels.")


def _entity_content(entity: EntityType) -> dict[str, Any]:
    return {
        "$schema": _SCHEMAS.format("entityType"),
        "id": str(entity.id),
        "namespace": "usertypes",
        "baseEntityTypeId": None,
        "name": entity.name,
        "entityIdParts": [str(entity.key.id)],
        "displayNamePropertyId": str(entity.key.id),
        "namespaceType": "Custom",
        "visibility": "Visible",
        "properties": [
            {"id": str(item.id), "name": item.name, "redefines": None, "baseTypeNamespaceType": None, "valueType": item.type.value}
            for item in entity.properties
        ],
        "timeseriesProperties": [],
        "untypedProperties": [],
    }


def _binding_content(entity: EntityType, source: LakehouseSource) -> dict[str, Any]:
    return {
        "$schema": _SCHEMAS.format("dataBinding"),
        "id": entity.binding_id,
        "dataBindingConfiguration": {
            "dataBindingType": "NonTimeSeries",
            "propertyBindings": [_bound(item.name, item) for item in entity.properties],
            "sourceTableProperties": _table_content(entity.table, source),
        },
    }


def _relationship_content(relationship: RelationshipType) -> dict[str, Any]:
    return {
        "$schema": _SCHEMAS.format("relationshipType"),
        "namespace": "usertypes",
        "id": str(relationship.id),
        "name": relationship.name,
        "namespaceType": "Custom",
        "source": {"entityTypeId": str(relationship.source.id)},
        "target": {"entityTypeId": str(relationship.target.id)},
    }


def _contextualization_content(item: Contextualization, relationship: RelationshipType, source: LakehouseSource) -> dict[str, Any]:
    return {
        "$schema": _SCHEMAS.format("contextualization"),
        "id": item.id,
        "dataBindingTable": _table_content(item.table, source),
        "sourceKeyRefBindings": [_bound(item.source_column, relationship.source.key)],
        "targetKeyRefBindings": [_bound(item.target_column, relationship.target.key)],
    }


def _table_content(table: str, source: LakehouseSource) -> dict[str, Any]:
    return {
        "sourceType": "LakehouseTable",
        "workspaceId": source.workspace_id,
        "itemId": source.lakehouse_id,
        "sourceTableName": table,
        "sourceSchema": source.schema,
    }


def _bound(column: str, target: Property) -> dict[str, str]:
    return {"sourceColumnName": column, "targetPropertyId": str(target.id)}
