"""Reads scenario.yaml and graph_schema.yaml: checked at the edge by models, and plain values from there on.

Everything that is wrong with a file is told at once, with its line.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.schema import (
    Connector,
    EdgeFilter,
    EdgeProperty,
    EdgeRule,
    Endpoint,
    GraphSchema,
    Manifest,
    NodeStyle,
    TelemetryTable,
    ValueType,
    VertexType,
)
from treadle.flows.scenario.telemetry import DATABASE_NAME
from treadle.flows.scenario.yaml_text import Document, Path, read_yaml

MANIFEST: Final = "scenario.yaml"
GRAPH_SCHEMA: Final = "graph_schema.yaml"
_SCENARIO_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_TEXT_CHARS: Final = 10_000


def read_manifest(content: bytes, name: str = MANIFEST) -> Manifest | tuple[Fault, ...]:
    """Read scenario.yaml, or tell everything that is wrong with it, tables of one name included."""
    return _read(content, name, _Manifest, lambda model: model.value(), _tables_named_twice)


def read_graph_schema(content: bytes, name: str = GRAPH_SCHEMA) -> GraphSchema | tuple[Fault, ...]:
    """Read graph_schema.yaml, or tell everything that is wrong with it, names that refer to nothing included."""
    return _read(content, name, _GraphSchema, lambda model: model.value(), _references)


def _plain_file(name: str) -> str:
    _printable(name)
    if "/" in name or "\\" in name or name in {".", ".."} or not name.lower().endswith(".csv"):
        raise ValueError("must be the plain name of a .csv file")
    return name


def _plain_folder(name: str) -> str:
    path = PurePosixPath(_printable(name))
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError("must be a folder below the scenario's own")
    return str(path)


def _scenario_name(name: str) -> str:
    if not _SCENARIO_NAME.fullmatch(name):
        raise ValueError("must be letters, digits, - and _, at most 63, and begin with a letter or digit")
    return name


def _database_name(name: str) -> str:
    if not DATABASE_NAME.fullmatch(name):
        raise ValueError("must be letters, digits and _ . -, at most 123, and begin with a letter, a digit or _")
    return name


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return _printable(text)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not have line breaks or other control characters")
    if len(text) > _TEXT_CHARS:
        raise ValueError(f"must not be longer than {_TEXT_CHARS:,} characters")
    return text


def _listed(value: Any) -> Any:
    return [] if value is None else value


def _mapped(value: Any) -> Any:
    return {} if value is None else value


Item = TypeVar("Item")
_Text = Annotated[str, AfterValidator(_text)]
_File = Annotated[str, AfterValidator(_plain_file)]
_Folder = Annotated[str, AfterValidator(_plain_folder)]
_List = Annotated[list[Item], BeforeValidator(_listed)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Vertex(_Model):
    label: _Text
    csv_file: _File
    id_column: _Text
    partition_key: _Text | None = None
    properties: _List[_Text] = []
    property_types: Annotated[dict[str, ValueType], BeforeValidator(_mapped)] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "_Vertex":
        known = {self.id_column, *self.properties}
        if unknown := [name for name in self.property_types if name not in known]:
            raise ValueError(f"property_types names {', '.join(unknown)}, which is not among the properties")
        if len(set(self.properties)) != len(self.properties):
            raise ValueError("a property is named twice")
        return self

    def value(self) -> VertexType:
        names = tuple(dict.fromkeys([self.id_column, *self.properties]))  # the key is always a property
        return VertexType(self.label, self.csv_file, self.id_column, self.partition_key, names, self.property_types)


class _Endpoint(_Model):
    label: _Text
    property: _Text
    column: _Text

    def value(self) -> Endpoint:
        return Endpoint(self.label, self.property, self.column)


class _EdgeProperty(_Model):
    name: _Text
    column: _Text | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "_EdgeProperty":
        if (self.column is None) == (self.value is None):
            raise ValueError("needs either column or value")
        return self


class _EdgeFilter(_Model):
    column: _Text
    value: Annotated[str, AfterValidator(_printable)]
    negate: bool = False


class _Edge(_Model):
    label: _Text
    csv_file: _File
    source: _Endpoint
    target: _Endpoint
    properties: _List[_EdgeProperty] = []
    filter: _EdgeFilter | None = None

    def value(self) -> EdgeRule:
        properties = tuple(EdgeProperty(item.name, item.column, item.value) for item in self.properties)
        wanted = EdgeFilter(self.filter.column, self.filter.value, self.filter.negate) if self.filter else None
        return EdgeRule(self.label, self.csv_file, self.source.value(), self.target.value(), properties, wanted)


class _GraphSchema(_Model):
    data_dir: _Folder = "data/entities"
    vertices: Annotated[list[_Vertex], BeforeValidator(_listed)]
    edges: _List[_Edge] = []

    @model_validator(mode="after")
    def _some(self) -> "_GraphSchema":
        if not self.vertices:
            raise ValueError("names no vertices")
        return self

    def value(self) -> GraphSchema:
        return GraphSchema(self.data_dir, tuple(item.value() for item in self.vertices), tuple(item.value() for item in self.edges))


class _Container(_Model):
    name: _Text
    csv_file: _File
    id_field: _Text | None = None
    numeric_fields: _List[_Text] = []


class _TelemetryConfig(_Model):
    database: Annotated[str, AfterValidator(_database_name)] | None = None
    containers: _List[_Container] = []


class _Telemetry(_Model):
    config: Annotated[_TelemetryConfig, BeforeValidator(_mapped)] = _TelemetryConfig()


class _Graph(_Model):
    connector: Connector = Connector.FABRIC_GQL
    schema_file: _Folder = GRAPH_SCHEMA


class _Sources(_Model):
    graph: Annotated[_Graph, BeforeValidator(_mapped)] = _Graph()
    telemetry: Annotated[_Telemetry, BeforeValidator(_mapped)] = _Telemetry()


class _Paths(_Model):
    entities: _Folder | None = None
    telemetry: _Folder = "data/telemetry"


class _Style(_Model):
    color: _Text | None = None
    size: int | None = None
    icon: _Text | None = None


class _Styles(_Model):
    node_types: Annotated[dict[str, _Style], BeforeValidator(_mapped)] = {}


class _Manifest(_Model):
    name: Annotated[str, AfterValidator(_scenario_name)]
    display_name: _Text | None = None
    description: str | None = None
    domain: _Text | None = None
    use_cases: _List[_Text] = []
    example_questions: _List[_Text] = []
    paths: Annotated[_Paths, BeforeValidator(_mapped)] = _Paths()
    data_sources: Annotated[_Sources, BeforeValidator(_mapped)] = _Sources()
    graph_styles: Annotated[_Styles, BeforeValidator(_mapped)] = _Styles()

    def value(self) -> Manifest:
        telemetry = self.data_sources.telemetry.config.containers
        return Manifest(
            name=self.name,
            display_name=self.display_name or self.name,
            description=(self.description or "").strip(),
            domain=self.domain,
            use_cases=tuple(self.use_cases),
            example_questions=tuple(self.example_questions),
            connector=self.data_sources.graph.connector,
            schema_file=self.data_sources.graph.schema_file,
            entities_dir=self.paths.entities,
            telemetry_dir=self.paths.telemetry,
            telemetry=tuple(TelemetryTable(item.name, item.csv_file, item.id_field, tuple(item.numeric_fields)) for item in telemetry),
            telemetry_database=self.data_sources.telemetry.config.database,
            node_styles={label: NodeStyle(item.color, item.size, item.icon) for label, item in self.graph_styles.node_types.items()},
        )


_M = TypeVar("_M", bound=_Model)
_V = TypeVar("_V")


def _read(
    content: bytes,
    name: str,
    model: type[_M],
    value: Callable[[_M], _V],
    more: Callable[[_V, Document, str], tuple[Fault, ...]] | None = None,
) -> _V | tuple[Fault, ...]:
    document = read_yaml(content, name)
    if isinstance(document, Fault):
        return (document,)
    try:
        found = value(model.model_validate(document.value))
    except ValidationError as error:
        return tuple(_fault(item, document, name) for item in error.errors(include_url=False, include_context=False))
    faults = more(found, document, name) if more else ()
    return faults or found


def _fault(item: Any, document: Document, name: str) -> Fault:
    path: Path = item["loc"]
    message = str(item["msg"]).removeprefix("Value error, ")
    message = (
        "is missing"
        if item["type"] == "missing"
        else "must be keys with values"
        if item["type"] == "model_type"
        else message[0].lower() + message[1:]
    )
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".") or "the document"
    return Fault("schema_invalid", f"{name} line {_line(path, document)}", f"{place}: {message}.", "Mend it there.")


def _line(path: Path, document: Document) -> int:
    """The line of the value, or of the nearest one around it that is there."""
    return next((document.lines[path[:depth]] for depth in range(len(path), -1, -1) if path[:depth] in document.lines), 1)


def _tables_named_twice(manifest: Manifest, document: Document, name: str) -> tuple[Fault, ...]:
    """Telemetry tables of one name, of which only one could be there. Case makes a difference: Kusto's names have it."""
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for place, table in enumerate(manifest.telemetry):
        earlier = seen.get(table.name)
        seen.setdefault(table.name, table.csv_file)
        if earlier is not None:
            line = _line(("data_sources", "telemetry", "config", "containers", place, "name"), document)
            message = f"The telemetry table {table.name!r} is there already, of {earlier}; here it is of {table.csv_file}."
            faults.append(Fault("schema_invalid", f"{name} line {line}", message, "Give each table its own name."))
    return tuple(faults)


def _references(schema: GraphSchema, document: Document, name: str) -> tuple[Fault, ...]:
    """Labels and properties that edges name and no vertex has, and names that two things share."""
    faults: list[Fault] = []

    def note(path: Path, message: str, hint: str) -> None:
        faults.append(Fault("schema_invalid", f"{name} line {_line(path, document)}", message, hint))

    labels: dict[str, str] = {}
    for place, vertex in enumerate(schema.vertices):
        if earlier := labels.get(vertex.label.casefold()):
            note(
                ("vertices", place, "label"),
                f"The label {vertex.label!r} is there already, as {earlier!r}.",
                "Give each vertex type its own label.",
            )
        labels.setdefault(vertex.label.casefold(), vertex.label)
    for place, edge in enumerate(schema.edges):
        for end, endpoint in (("source", edge.source), ("target", edge.target)):
            vertex = schema.vertex(endpoint.label)
            if vertex is None:
                known = ", ".join(item.label for item in schema.vertices)
                note(("edges", place, end, "label"), f"{edge.label}: there is no vertex {endpoint.label!r}.", f"Vertices are: {known}.")
            elif endpoint.property != vertex.id_column:
                message = f"{edge.label}: {endpoint.label} is found by {endpoint.property!r}, which is not its id_column."
                note(("edges", place, end, "property"), message, f"Use {vertex.id_column!r}: Fabric joins by keys alone.")
        names = [item.name for item in edge.properties]
        if len(set(names)) != len(names):
            note(("edges", place, "properties"), f"{edge.label}: an edge property is named twice.", "Keep one of them.")
    return tuple(faults)
