"""Reads scenario.yaml and graph_schema.yaml: checked at the edge by models, and plain values from there on.

Everything that is wrong with a file is told at once, with its line. What is wrong is cut out, and the rest is read all the same: who looks for faults goes on
with that. What depends on something that was cut out is not judged, so that no fault is told that is gone when another one is mended.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeAlias, TypeVar, cast

from pydantic import ValidationError

from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.schema import UNREAD, Endpoint, GraphSchema, Manifest, VertexType
from treadle.flows.scenario.schema_models import GRAPH_SCHEMA, NEEDED, EdgeModel, GraphSchemaModel, ManifestModel, Model, VertexModel
from treadle.flows.scenario.yaml_text import Document, Path, Value, read_yaml

__all__ = [
    "GRAPH_SCHEMA",
    "MANIFEST",
    "NOTHING_READ",
    "Readable",
    "read_graph_schema",
    "read_manifest",
    "readable_graph_schema",
    "readable_manifest",
]

MANIFEST: Final = "scenario.yaml"
_MEND: Final = "Mend it there."
_Wrong: TypeAlias = tuple[Path, str, str]  # where, what is wrong, what to do
_TYPES: Final = "property_types"
_M = TypeVar("_M", bound=Model)
_V = TypeVar("_V")
_L = TypeVar("_L", VertexModel, VertexType)


@dataclass(frozen=True, slots=True)
class Places:
    """Places in a file that were cut out of it or are missing. around: what they are in."""

    places: frozenset[Path] = frozenset()
    around: frozenset[Path] = frozenset()

    @classmethod
    def of(cls, places: Iterable[Path]) -> "Places":
        """These places."""
        found = frozenset(places)
        return cls(found, frozenset(place[:depth] for place in found for depth in range(len(place))))

    def touch(self, path: Path) -> bool:
        """Whether one of them is this place, or around it, or below it."""
        return path in self.around or any(path[:depth] in self.places for depth in range(len(path) + 1))


NOTHING_READ: Final = Places.of([()])


@dataclass(frozen=True, slots=True)
class Readable(Generic[_V]):
    """What a file says as far as it can be read. value: None if that is nothing; UNREAD is in it where a text is missing or wrong.

    unread: the places in the file that were cut out or are missing; what is in their stead is a guess.
    """

    value: _V | None
    faults: tuple[Fault, ...]
    unread: Places = Places()

    def knows(self, *path: str | int) -> bool:
        """Whether what the file says at this place, and below it, was read."""
        return not self.unread.touch(path)


def read_manifest(content: bytes, name: str = MANIFEST) -> Manifest | tuple[Fault, ...]:
    """Read scenario.yaml, or tell everything that is wrong with it, tables of one name included."""
    return _whole(readable_manifest(content, name))


def read_graph_schema(content: bytes, name: str = GRAPH_SCHEMA) -> GraphSchema | tuple[Fault, ...]:
    """Read graph_schema.yaml, or tell everything that is wrong with it, names that refer to nothing included."""
    return _whole(readable_graph_schema(content, name))


def readable_manifest(content: bytes, name: str = MANIFEST) -> Readable[Manifest]:
    """Read of scenario.yaml what can be read, and tell everything that is wrong with it."""
    return _read(content, name, ManifestModel, lambda model: model.value(), _tables_named_twice)


def readable_graph_schema(content: bytes, name: str = GRAPH_SCHEMA) -> Readable[GraphSchema]:
    """Read of graph_schema.yaml what can be read, and tell everything that is wrong with it.

    An end of an edge that does not surely name a vertex type and its key has UNREAD as its label.
    """
    return _read(content, name, GraphSchemaModel, lambda model: _with_certain_ends(model.value()), _contradictions)


def _whole(found: Readable[_V]) -> _V | tuple[Fault, ...]:
    return found.faults if found.faults or found.value is None else found.value


def _read(
    content: bytes,
    name: str,
    model: type[_M],
    value: Callable[[_M], _V],
    contradictions: Callable[[_M, Places], Iterator[_Wrong]],
) -> Readable[_V]:
    document = read_yaml(content, name)
    if isinstance(document, Fault):
        return Readable(None, (document,), NOTHING_READ)
    read, wrong, bad = _modelled(model, document.value)
    if read is not None:
        wrong += [(path, f"{_place(path)}: is missing.", _MEND) for path in _missing(read, (), bad)]
        bad |= {path for path, _, _ in wrong}
        wrong += contradictions(read, Places.of(bad))
    placed = sorted(((_line(path, document), message, hint) for path, message, hint in wrong), key=lambda item: item[0])
    faults = tuple(Fault("schema_invalid", f"{name} line {line}", message, hint) for line, message, hint in placed)
    return Readable(value(read) if read is not None else None, faults, Places.of(bad))


def _modelled(model: type[_M], value: Value) -> tuple[_M | None, list[_Wrong], set[Path]]:
    """The model of what is sound in a file, what is wrong with the rest, and where that is."""
    try:
        return model.model_validate(value), [], set()
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
    wrong = [(item["loc"], _message(item["loc"], item["type"], item["msg"]), _MEND) for item in errors]
    no_mappings = {item["loc"]: item["type"] == "model_type" for item in errors}
    if () in no_mappings:
        return None, wrong, {()}
    for path in [path for path in no_mappings if path[:1] == ("edges",) and path[2:3] == ("filter",)]:
        no_mappings[*path[:3], "value"] = False  # of a filter that is read in part nobody knows what it lets through
    try:
        return model.model_validate(_without(value, (), no_mappings)), wrong, set(no_mappings)
    except ValidationError:  # what is left is still wrong, so nothing of it is taken for read
        return None, wrong, {()}


def _without(value: Value, path: Path, bad: Mapping[Path, bool]) -> Value:
    """The value without the places that are bad. One that should be a mapping becomes an empty one: what is behind it in a list keeps its place."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if bad.get((*path, key), True)}
        return {key: {} if (*path, key) in bad else _without(item, (*path, key), bad) for key, item in kept.items()}
    if isinstance(value, list):
        places = [place for place in range(len(value)) if bad.get((*path, place), True)]
        return [{} if (*path, place) in bad else _without(value[place], (*path, place), bad) for place in places]
    return value


def _missing(model: Model, path: Path, bad: set[Path]) -> Iterator[Path]:
    """What the file must say and does not. Within something that is wrong as a whole nothing is missing: that was told."""
    for name, field in type(model).model_fields.items():
        here = (*path, name)
        if here in bad or path in bad:
            continue
        if NEEDED in field.metadata and name not in model.model_fields_set:
            yield here
            continue
        found = getattr(model, name)
        for place, item in enumerate(cast("list[object]", found)) if isinstance(found, list) else [(None, found)]:
            if isinstance(item, Model):
                yield from _missing(item, here if place is None else (*here, place), bad)


def _message(path: Path, kind: str, message: str) -> str:
    told = "must be keys with values" if kind == "model_type" else message.removeprefix("Value error, ")
    return f"{_place(path)}: {told[0].lower()}{told[1:]}."


def _place(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".") or "the document"


def _line(path: Path, document: Document) -> int:
    """The line of the value, or of the nearest one around it that is there."""
    return next((document.lines[path[:depth]] for depth in range(len(path), -1, -1) if path[:depth] in document.lines), 1)


def _tables_named_twice(manifest: ManifestModel, bad: Places) -> Iterator[_Wrong]:
    """Telemetry tables of one name, of which only one could be there. Case makes a difference: Kusto's names have it."""
    seen: dict[str, str] = {}
    containers = ("data_sources", "telemetry", "config", "containers")
    for place, table in enumerate(manifest.data_sources.telemetry.config.containers):
        if bad.touch((*containers, place, "name")):
            continue
        earlier = seen.get(table.name)
        seen.setdefault(table.name, _told(table.csv_file))
        if earlier is not None:
            message = f"The telemetry table {table.name!r} is there already, of {earlier}; here it is of {_told(table.csv_file)}."
            yield (*containers, place, "name"), message, "Give each table its own name."


def _told(text: str) -> str:
    return "?" if text == UNREAD else text


def _contradictions(schema: GraphSchemaModel, bad: Places) -> Iterator[_Wrong]:
    """Names that refer to nothing, and names that two things share."""
    if not schema.vertices and not bad.touch(("vertices",)):
        yield (), "the document: names no vertices.", _MEND
    labels: dict[str, str] = {}
    mistyped: defaultdict[Path, list[str]] = defaultdict(list)
    for item in bad.places:
        mistyped[item[:-1]].append(str(item[-1:] and item[-1]))
    for place, vertex in enumerate(schema.vertices):
        yield from _about_properties(vertex, ("vertices", place), bad, mistyped["vertices", place, _TYPES])
        earlier = labels.get(vertex.label.casefold())
        labels.setdefault(vertex.label.casefold(), vertex.label)
        if earlier is not None and vertex.label != UNREAD:
            message = f"The label {vertex.label!r} is there already, as {earlier!r}."
            yield ("vertices", place, "label"), message, "Give each vertex type its own label."
    named = _by_label(schema.vertices)
    known = ", ".join(label for label in named if label != UNREAD)
    hint = f"Vertices are: {known}." if known else "No vertex has a label."
    for place, edge in enumerate(schema.edges):
        yield from _about_ends(edge, named, place, hint)
        yield from _about_edge_properties(edge, place, bad)


def _about_properties(vertex: VertexModel, path: Path, bad: Places, mistyped: Iterable[str]) -> Iterator[_Wrong]:
    """mistyped: what it gives a type that is none."""
    typed = dict.fromkeys([*vertex.property_types, *sorted(mistyped)])
    known = {vertex.id_column, *vertex.properties}
    names_known = not bad.touch((*path, "properties")) and not bad.touch((*path, "id_column"))
    if names_known and (unknown := [name for name in typed if name not in known]):
        yield path, f"{_place(path)}: {_TYPES} names {', '.join(unknown)}, which is not among the properties.", _MEND
    if len(set(vertex.properties)) != len(vertex.properties):
        yield path, f"{_place(path)}: a property is named twice.", _MEND


def _about_ends(edge: EdgeModel, vertices: Mapping[str, list[VertexModel]], place: int, hint: str) -> Iterator[_Wrong]:
    """Ends that no vertex type has, or that are found by something else than its key. hint: which vertex types there are.

    While a vertex type has no label, an end that no other has may be that one, by its key: nothing is said of it then.
    """
    keys = {vertex.id_column for vertex in vertices.get(UNREAD, ())}
    for end, endpoint in (("source", edge.source), ("target", edge.target)):
        path = ("edges", place, end)
        named = vertices.get(endpoint.label, [])
        may_be_another = not vertices or endpoint.property in keys or (keys and UNREAD in {endpoint.property, *keys})
        if endpoint.label == UNREAD:
            continue
        if not named and not may_be_another:
            message = f"{_told(edge.label)}: there is no vertex {endpoint.label!r}."
            yield (*path, "label"), message, hint
        elif len(named) == 1 and UNREAD not in {endpoint.property, named[0].id_column} and endpoint.property != named[0].id_column:
            message = f"{_told(edge.label)}: {endpoint.label} is found by {endpoint.property!r}, which is not its id_column."
            yield (*path, "property"), message, f"Use {named[0].id_column!r}: Fabric joins by keys alone."


def _by_label(vertices: Iterable[_L]) -> dict[str, list[_L]]:
    named: dict[str, list[_L]] = {}
    for vertex in vertices:
        named.setdefault(vertex.label, []).append(vertex)
    return named


def _about_edge_properties(edge: EdgeModel, place: int, bad: Places) -> Iterator[_Wrong]:
    path = ("edges", place, "properties")
    for number, item in enumerate(edge.properties):
        if not bad.touch((*path, number)) and (item.column is None) == (item.value is None):
            yield (*path, number), f"{_place((*path, number))}: needs either column or value.", _MEND
    names = [item.name for item in edge.properties if item.name != UNREAD]
    if len(set(names)) != len(names):
        yield path, f"{_told(edge.label)}: an edge property is named twice.", "Keep one of them."


def _with_certain_ends(schema: GraphSchema) -> GraphSchema:
    named = _by_label(schema.vertices)
    return replace(
        schema,
        edges=tuple(replace(edge, source=_certain(edge.source, named), target=_certain(edge.target, named)) for edge in schema.edges),
    )


def _certain(end: Endpoint, vertices: Mapping[str, list[VertexType]]) -> Endpoint:
    """The end, if one vertex type has its label, and its property is that one's key."""
    named = vertices.get(end.label, [])
    sure = len(named) == 1 and end.label != UNREAD and end.property == named[0].id_column != UNREAD
    return end if sure else replace(end, label=UNREAD)
