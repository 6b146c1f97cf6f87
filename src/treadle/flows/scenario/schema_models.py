"""The shape of scenario.yaml and graph_schema.yaml, as models that check each field for itself.

What a file must say has UNREAD as its default and is marked as needed, so that a file in which something is missing or wrong can still be read for the rest.
What contradicts something elsewhere in the file is not judged here.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from treadle.flows.scenario.schema import (
    UNREAD,
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

GRAPH_SCHEMA: Final = "graph_schema.yaml"
NEEDED: Final = "needed"  # a mark in a field's annotation, of which pydantic takes no notice
_SCENARIO_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_TEXT_CHARS: Final = 10_000


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
_NeededText = Annotated[_Text, NEEDED]
_NeededFile = Annotated[_File, NEEDED]


class Model(BaseModel):
    """What all of them have in common: fields that nobody knows are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class VertexModel(Model):
    """A vertex type as the file has it."""

    label: _NeededText = UNREAD
    csv_file: _NeededFile = UNREAD
    id_column: _NeededText = UNREAD
    partition_key: _Text | None = None
    properties: _List[_Text] = []
    property_types: Annotated[dict[str, ValueType], BeforeValidator(_mapped)] = {}

    def value(self) -> VertexType:
        """The vertex type; its key is always a property."""
        names = tuple(dict.fromkeys([self.id_column, *self.properties]))
        return VertexType(self.label, self.csv_file, self.id_column, self.partition_key, names, self.property_types)


class EndpointModel(Model):
    """One end of an edge as the file has it."""

    label: _NeededText = UNREAD
    property: _NeededText = UNREAD
    column: _NeededText = UNREAD

    def value(self) -> Endpoint:
        """The end of an edge."""
        return Endpoint(self.label, self.property, self.column)


class EdgePropertyModel(Model):
    """A property of an edge as the file has it."""

    name: _NeededText = UNREAD
    column: _Text | None = None
    value: str | None = None


class EdgeFilterModel(Model):
    """The filter of an edge as the file has it."""

    column: _NeededText = UNREAD
    value: Annotated[str, AfterValidator(_printable), NEEDED] = UNREAD
    negate: bool = False


class EdgeModel(Model):
    """An edge rule as the file has it."""

    label: _NeededText = UNREAD
    csv_file: _NeededFile = UNREAD
    source: Annotated[EndpointModel, NEEDED] = EndpointModel()
    target: Annotated[EndpointModel, NEEDED] = EndpointModel()
    properties: _List[EdgePropertyModel] = []
    filter: EdgeFilterModel | None = None

    def value(self) -> EdgeRule:
        """The edge rule."""
        properties = tuple(EdgeProperty(item.name, item.column, item.value) for item in self.properties)
        wanted = EdgeFilter(self.filter.column, self.filter.value, self.filter.negate) if self.filter else None
        return EdgeRule(self.label, self.csv_file, self.source.value(), self.target.value(), properties, wanted)


class GraphSchemaModel(Model):
    """graph_schema.yaml."""

    data_dir: _Folder = "data/entities"
    vertices: Annotated[list[VertexModel], BeforeValidator(_listed), NEEDED] = []
    edges: _List[EdgeModel] = []

    def value(self) -> GraphSchema:
        """The schema, with UNREAD for what is missing."""
        return GraphSchema(self.data_dir, tuple(item.value() for item in self.vertices), tuple(item.value() for item in self.edges))


class _Container(Model):
    name: _NeededText = UNREAD
    csv_file: _NeededFile = UNREAD
    id_field: _Text | None = None
    numeric_fields: _List[_Text] = []


class _TelemetryConfig(Model):
    database: Annotated[str, AfterValidator(_database_name)] | None = None
    containers: _List[_Container] = []


class _Telemetry(Model):
    connector: Annotated[str, AfterValidator(_printable)] | None = None
    config: Annotated[_TelemetryConfig, BeforeValidator(_mapped)] = _TelemetryConfig()


class _Graph(Model):
    connector: Connector = Connector.FABRIC_GQL
    schema_file: _Folder = GRAPH_SCHEMA


class _Sources(Model):
    graph: Annotated[_Graph, BeforeValidator(_mapped)] = _Graph()
    telemetry: Annotated[_Telemetry, BeforeValidator(_mapped)] = _Telemetry()


class _Paths(Model):
    entities: _Folder | None = None
    telemetry: _Folder = "data/telemetry"


class _Style(Model):
    color: _Text | None = None
    size: int | None = None
    icon: _Text | None = None


class _Styles(Model):
    node_types: Annotated[dict[str, _Style], BeforeValidator(_mapped)] = {}


class ManifestModel(Model):
    """scenario.yaml."""

    name: Annotated[str, AfterValidator(_scenario_name), NEEDED] = UNREAD
    display_name: _Text | None = None
    description: str | None = None
    domain: _Text | None = None
    use_cases: _List[_Text] = []
    example_questions: _List[_Text] = []
    paths: Annotated[_Paths, BeforeValidator(_mapped)] = _Paths()
    data_sources: Annotated[_Sources, BeforeValidator(_mapped)] = _Sources()
    graph_styles: Annotated[_Styles, BeforeValidator(_mapped)] = _Styles()

    def value(self) -> Manifest:
        """The manifest, with UNREAD for what is missing."""
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
            telemetry_connector=self.data_sources.telemetry.connector,
            telemetry_database=self.data_sources.telemetry.config.database,
            node_styles={label: NodeStyle(item.color, item.size, item.icon) for label, item in self.graph_styles.node_types.items()},
        )
