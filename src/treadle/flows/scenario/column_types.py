"""Decides the type of every column, purely: what the schema declares, else what the values allow, made one where Fabric needs it to be one.

Three things must share a type: a key and the columns that refer to it (an edge whose columns differ from the key's type has no rows), a property name
that several entity types have (names are global in an ontology), and an edge property that comes from several columns.
Source: Fabric IQ, ontology authoring reference, "Platform limitations"; Microsoft Fabric, graph, "Add edge types to your graph".
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from treadle.flows.scenario.faults import Fault, listed
from treadle.flows.scenario.schema import GraphSchema, ValueType
from treadle.flows.scenario.tables import TableFacts

KEY_TYPES: Final = frozenset({ValueType.STRING, ValueType.BIG_INT})
Place: TypeAlias = tuple[str, str]  # CSV file, column


class Reason(StrEnum):
    """Why a column has its type."""

    DECLARED = "declared"  # property_types says so
    INFERRED = "inferred"  # all its values have it
    SHARED = "shared"  # it has the type of a key, or of a property of the same name
    EMPTY = "empty"  # no value says anything


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a Delta table."""

    name: str
    type: ValueType
    reason: Reason


def decide_types(schema: GraphSchema, facts: Mapping[str, TableFacts]) -> tuple[dict[str, tuple[Column, ...]], tuple[Fault, ...]]:
    """The columns of each file in `facts`, in their order, and where declarations contradict each other or the values.

    Files and columns that are missing are no concern of this function; they are told elsewhere.
    """
    places = [(table.csv_file, name) for table in facts.values() for name in table.columns]
    inferred = {place: facts[place[0]].columns[place[1]].inferred for place in places}
    declared, faults = _declared(schema)
    keys = {(vertex.csv_file, vertex.id_column) for vertex in schema.vertices}
    types: dict[Place, ValueType] = {}
    for group in _groups(schema, places):
        chosen = _chosen(group, declared, inferred, is_key=bool(keys & set(group)))
        if isinstance(chosen, Fault):
            faults.append(chosen)
            chosen = ValueType.STRING
        types |= dict.fromkeys(group, chosen)
    columns = {
        name: tuple(_column((name, column), types[name, column], declared, inferred) for column in table.columns)
        for name, table in facts.items()
    }
    return columns, tuple(faults)


def _declared(schema: GraphSchema) -> tuple[dict[Place, ValueType], list[Fault]]:
    declared: dict[Place, ValueType] = {}
    faults: list[Fault] = []
    for vertex in schema.vertices:
        for name, wanted in vertex.property_types.items():
            where = f"{vertex.csv_file} column {name}"
            if declared.setdefault((vertex.csv_file, name), wanted) is not wanted:
                faults.append(Fault("types_differ", where, "Two vertices declare different types for it.", "Declare one."))
            if name == vertex.id_column and wanted not in KEY_TYPES:
                message = f"It is the key of {vertex.label} and declared {wanted}; Fabric takes String or BigInt for keys."
                faults.append(Fault("key_type_refused", where, message, "Declare it String."))
    return declared, faults


def _groups(schema: GraphSchema, places: list[Place]) -> list[list[Place]]:
    """Columns that must have one type."""
    leader = {place: place for place in places}

    def lead(place: Place) -> Place:
        while leader[place] != place:
            place = leader[place]
        return place

    for one, other in _ties(schema):
        if one in leader and other in leader:
            leader[lead(other)] = lead(one)
    groups: defaultdict[Place, list[Place]] = defaultdict(list)
    for place in places:
        groups[lead(place)].append(place)
    return list(groups.values())


def _ties(schema: GraphSchema) -> Iterator[tuple[Place, Place]]:
    first: dict[object, Place] = {}
    for vertex in schema.vertices:
        for name in vertex.properties:
            place = (vertex.csv_file, name)
            yield first.setdefault(name, place), place
    for edge in schema.edges:
        for endpoint in (edge.source, edge.target):
            if vertex := schema.vertex(endpoint.label):
                yield (vertex.csv_file, vertex.id_column), (edge.csv_file, endpoint.column)
        for item in edge.properties:
            if item.column is not None:
                place = (edge.csv_file, item.column)
                yield first.setdefault((edge.endpoints, item.name), place), place


def _chosen(
    group: list[Place], declared: Mapping[Place, ValueType], inferred: Mapping[Place, ValueType | None], *, is_key: bool
) -> ValueType | Fault:
    said = {declared[place] for place in group if place in declared}
    if len(said) > 1:
        columns = listed(f"{file} {column}: {declared[file, column]}" for file, column in group if (file, column) in declared)
        message = f"Columns that must have one type are declared with several: {columns}."
        return Fault(
            "types_differ", f"column {group[0][1]}", message, "Declare one type for all of them, or give the properties different names."
        )
    if said:
        wanted = said.pop()
        unlike = [
            f"{file} {column}" for file, column in group if (file, column) not in declared and not _fits(inferred[file, column], wanted)
        ]
        if unlike:
            message = f"{listed(unlike)} must be {wanted}, as the key or property of that name is, and holds other values."
            return Fault("types_differ", f"column {group[0][1]}", message, f"Mend the values, or declare {ValueType.STRING}.")
        return wanted
    return _widest({kind for place in group if (kind := inferred[place])}, is_key=is_key)


def _widest(found: set[ValueType], *, is_key: bool) -> ValueType:
    if len(found) == 1 and (not is_key or found <= KEY_TYPES):
        return next(iter(found))
    if found == {ValueType.BIG_INT, ValueType.DOUBLE} and not is_key:
        return ValueType.DOUBLE
    return ValueType.STRING


def _fits(inferred: ValueType | None, wanted: ValueType) -> bool:
    whole_as_decimal = inferred is ValueType.BIG_INT and wanted is ValueType.DOUBLE
    return inferred in {None, wanted} or whole_as_decimal or wanted in {ValueType.STRING, ValueType.OBJECT}


def _column(place: Place, kind: ValueType, declared: Mapping[Place, ValueType], inferred: Mapping[Place, ValueType | None]) -> Column:
    if place in declared:
        reason = Reason.DECLARED
    elif inferred[place] is kind:
        reason = Reason.INFERRED
    else:
        reason = Reason.EMPTY if inferred[place] is None and kind is ValueType.STRING else Reason.SHARED
    return Column(place[1], kind, reason)
