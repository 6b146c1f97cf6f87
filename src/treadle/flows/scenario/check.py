"""From an uploaded archive to a scenario that can be built, or everything that keeps it from being built. Changes nothing and asks no cloud.

Every part that can be read is checked, whatever is wrong elsewhere; what cannot be judged because of another fault is passed over. The faults are in the
order in which people mend them: the archive, the manifest, the schema, the tables, the edges.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final, Literal, TypeVar

from treadle.flows.scenario.archive import ArchivedFile, Contents, read_archive
from treadle.flows.scenario.column_types import Column, Reason, decide_types
from treadle.flows.scenario.faults import Fault, listed, shortened
from treadle.flows.scenario.gunzip import Limits
from treadle.flows.scenario.key_checks import READ_AT_ONCE, called, check_keys, count, passes
from treadle.flows.scenario.ontology import check_ontology, ontology_of
from treadle.flows.scenario.scenario import Scenario, Table
from treadle.flows.scenario.schema import UNREAD, Connector, EdgeRule, GraphSchema, Manifest, TelemetryTable, ValueType
from treadle.flows.scenario.schema_files import GRAPH_SCHEMA, MANIFEST, NOTHING_READ, Readable, readable_graph_schema, readable_manifest
from treadle.flows.scenario.tables import (
    COLUMNS,
    Look,
    TableFacts,
    check_table_name,
    is_refused_in_columns,
    lines_of,
    missing_columns,
    read_table,
    table_name,
    type_fault,
)
from treadle.flows.scenario.telemetry import ENTITY_NAME

_NO_TELEMETRY: Final = Fault(
    "telemetry_missing", MANIFEST, "The manifest names no telemetry.", "List the tables under data_sources.telemetry.config.containers."
)
_KQL: Final = "fabric-kql"  # the only place that telemetry is built in
_CONTAINERS: Final = ("data_sources", "telemetry", "config", "containers")
_T = TypeVar("_T")
Part = Literal["graph", "telemetry"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check. scenario: None while there are faults. manifest, schema: None while there are faults in that file.

    tables: what could be read, faults or not. notes: worth knowing, no fault.
    """

    manifest: Manifest | None
    schema: GraphSchema | None
    tables: tuple[Table, ...]
    scenario: Scenario | None
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    """What came of the tables of a part. files: those that it names and that are there, by the names that it gives them. columns: the names in their headers."""

    tables: list[Table] = field(default_factory=list[Table])
    faults: list[Fault] = field(default_factory=list[Fault])
    files: dict[str, ArchivedFile] = field(default_factory=dict[str, ArchivedFile])
    columns: set[str] = field(default_factory=set[str])


def check_scenario(
    source: BinaryIO, scratch: Path, *, limits: Limits | None = None, only: Part | None = None, beside: Collection[str] = ()
) -> Checked:
    """Read a .tar.gz with a scenario's graph, its telemetry, or both, and check all of it.

    scratch: an empty folder that the caller removes when the tables are no longer needed; their `path` is in it.
    only: the part that must be there; the other is passed over if it is there, too. None: whichever there is.
    beside: the slots of the same build; of what they build nobody needs to be told that it is passed over here.
    """
    contents = read_archive(source, scratch, limits=limits)
    manifest = _document(contents, MANIFEST, readable_manifest, _no_manifest(contents))
    measured_files = _telemetry_files(contents, manifest.value) if manifest.value and only != "graph" else {}
    schema = _schema(contents, manifest, only, has_telemetry=any(measured_files.values()))
    graph, measured = _Found(), _Found()
    with TemporaryDirectory(dir=scratch) as spare:
        if schema and schema.value:
            graph = _graph(contents, schema, manifest, Path(spare))
        if manifest.value and (only == "telemetry" or any(measured_files.values())):
            measured = _telemetry(contents, manifest, measured_files, Path(spare))
    tables = (*graph.tables, *measured.tables)
    of_files = [*contents.faults, *manifest.faults, *(schema.faults if schema else ())]
    whole_manifest = None if manifest.faults else manifest.value
    whole_schema = None if schema is None or schema.faults else schema.value
    scenario = (
        Scenario(whole_manifest, whole_schema, tables) if whole_manifest and not (of_files or graph.faults or measured.faults) else None
    )
    faults = [*of_files, *_ontology_faults(manifest, schema, scenario, graph.columns), *graph.faults, *measured.faults]
    notes = [
        *(_edge_notes(whole_schema, graph.tables) if whole_schema else ()),
        *_telemetry_notes(contents, manifest, only, beside),
        *(_unused(contents, manifest, schema, [graph, measured], faults, only) if only != "telemetry" else ()),
    ]
    return Checked(whole_manifest, whole_schema, tables, None if faults else scenario, shortened(faults), tuple(dict.fromkeys(notes)))


def _document(contents: Contents, name: str, read: Callable[[bytes, str], Readable[_T]], missing: Fault) -> Readable[_T]:
    file = contents.files.get(name)
    if file is None:  # of what was cut off nothing is known
        return Readable(None, (missing,)) if contents.complete else Readable(None, (), NOTHING_READ)
    if file.content is not None:
        return read(file.content, name)
    if any(fault.where == file.name for fault in contents.faults):
        return Readable(None, (), NOTHING_READ)  # it is too large, which was told
    message, hint = "It is not read: its name does not end in .yaml.", "Rename it, or take other YAML files out of the archive."
    return Readable(None, (Fault("schema_missing", name, message, hint),), NOTHING_READ)


def _no_manifest(contents: Contents) -> Fault:
    elsewhere = [name for name in contents.files if name.endswith(f"/{MANIFEST}")]
    hint = (
        f"It is in {listed(elsewhere)}: pack that folder."
        if elsewhere
        else f"Put {MANIFEST} at the root, or into the one folder at the root."
    )
    return Fault("manifest_missing", MANIFEST, "The archive has no scenario.yaml.", hint)


def _no_schema(name: str) -> Fault:
    return Fault("schema_missing", name, "The archive has no schema of the graph, and no telemetry either.", "Put it beside scenario.yaml.")


def _schema(contents: Contents, manifest: Readable[Manifest], only: Part | None, *, has_telemetry: bool) -> Readable[GraphSchema] | None:
    """The schema, if the graph is checked. What a manifest with faults would have called it, or named besides it, may not be known."""
    if only == "telemetry":
        return None
    name = manifest.value.schema_file if manifest.value else GRAPH_SCHEMA
    if name not in contents.files:
        others = any(path.endswith((".yaml", ".yml")) and path != MANIFEST for path in contents.files)
        called_otherwise = others and not manifest.knows("data_sources", "graph", "schema_file")
        no_graph = only is None and (has_telemetry or not manifest.knows(*_CONTAINERS))
        if called_otherwise or no_graph:
            return None
    return _document(contents, name, readable_graph_schema, _no_schema(name))


def _graph(contents: Contents, read: Readable[GraphSchema], manifest: Readable[Manifest], spare: Path) -> _Found:
    schema = read.value or GraphSchema("", (), ())
    folders = [schema.data_dir, manifest.value.entities_dir if manifest.value else None, "data/entities", "entities", ""]
    certain = read.knows("data_dir") and manifest.knows("paths", "entities")
    found = _Found()
    found.files = _find(contents, schema.csv_files, [folder for folder in folders if folder is not None], found.faults, certain=certain)
    looks = _look(found.files, spare)
    facts = {name: look.facts for name, look in looks.items() if look.facts}
    found.faults += [fault for look in looks.values() for fault in look.faults]
    found.columns.update(name for look in looks.values() for name in look.header)
    found.faults += _names(schema.csv_files)
    for name, look in looks.items():
        found.faults += missing_columns(look, _needed(schema, name))
    columns, contradictions = decide_types(_for_types(schema), facts)
    found.faults += contradictions
    found.faults += _type_faults(schema, facts)
    found.faults += check_keys(schema, facts, spare)
    found.tables += _tables(found.files, facts, columns)
    return found


def _find(contents: Contents, names: Iterable[str], folders: list[str], faults: list[Fault], *, certain: bool) -> dict[str, ArchivedFile]:
    """Each CSV file by the name that is given to it, from the first folder that has it. certain: whether all folders are known."""
    found: dict[str, ArchivedFile] = {}
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for path in contents.files:
        by_name[path.rpartition("/")[2].casefold()].append(path)
    for name in names:
        paths = list(dict.fromkeys(f"{folder}/{name}".removeprefix("./").removeprefix("/") for folder in folders))
        alike = by_name[name.casefold()]
        if not certain and len(alike) == 1 and alike[0].endswith(name):
            paths += alike
        file = next((contents.files[path] for path in paths if path in contents.files), None)
        if file is not None:
            found[name] = file
        elif contents.complete and (certain or not alike):
            put = f"Put it into {folders[0] or 'the root'}/, or take it out of the schema."
            hint = f"There is {listed(alike)}: move or rename it." if alike else put
            faults.append(Fault("csv_missing", name, "The schema names it, and the archive does not have it.", hint))
    return found


def _look(files: Mapping[str, ArchivedFile], spare: Path) -> dict[str, Look]:
    there = {name: file.path for name, file in files.items() if file.path is not None}
    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="scenario-read") as threads:
        return dict(zip(there, threads.map(read_table, there, there.values(), repeat(spare)), strict=True))


def _names(csv_files: Iterable[str]) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for name in csv_files:
        if fault := check_table_name(name):
            yield fault
        earlier = seen.setdefault(table_name(name).casefold(), name)
        if earlier != name:
            yield Fault("names_collide", name, f"It becomes the same table as {earlier}.", "Rename one of them: case makes no difference.")


def _needed(schema: GraphSchema, csv_file: str) -> Iterator[tuple[str, str]]:
    """The columns that the schema names of a file, and what for."""
    for vertex in schema.vertices:
        if vertex.csv_file == csv_file:
            user = "a vertex" if vertex.label == UNREAD else f"the vertex {vertex.label}"
            yield from ((name, f"{user} as its id" if name == vertex.id_column else user) for name in vertex.properties if name != UNREAD)
    for edge in schema.edges:
        if edge.csv_file == csv_file:
            user = "an edge" if edge.label == UNREAD else f"the edge {edge.label}"
            yield from ((name, user) for name in _columns_of(edge) if name != UNREAD)
            if edge.filter and edge.filter.column != UNREAD:
                yield edge.filter.column, f"the filter of {user}"


def _columns_of(edge: EdgeRule) -> Iterator[str]:
    yield from (end.column for end in (edge.source, edge.target))
    yield from (item.column for item in edge.properties if item.column is not None)


def _for_types(schema: GraphSchema) -> GraphSchema:
    """The schema as far as types can be judged by it: edges whose label or ends are not known tie no properties together."""
    return replace(
        schema,
        vertices=tuple(replace(vertex, label=called(vertex)) for vertex in schema.vertices),
        edges=tuple(replace(edge, properties=()) if UNREAD in edge.endpoints else edge for edge in schema.edges),
    )


def _type_faults(schema: GraphSchema, facts: Mapping[str, TableFacts]) -> Iterator[Fault]:
    for vertex in schema.vertices:
        table = facts.get(vertex.csv_file)
        for name, wanted in vertex.property_types.items():
            if table and name in table.columns and (fault := type_fault(table, name, wanted)):
                yield fault


def _tables(
    files: Mapping[str, ArchivedFile], facts: Mapping[str, TableFacts], columns: Mapping[str, tuple[Column, ...]]
) -> Iterator[Table]:
    """The files that were read as they are. Of another one only what can be read of it was looked at."""
    for name, table in facts.items():
        if table.path == files[name].path:
            yield Table(table_name(name), name, table.path, files[name].sha256, files[name].size_bytes, table.rows, columns[name])


def _ontology_faults(
    manifest: Readable[Manifest], schema: Readable[GraphSchema] | None, scenario: Scenario | None, columns: Collection[str]
) -> Iterable[Fault]:
    """What Fabric's ontology refuses, if that is where the graph goes."""
    known = manifest.value if manifest.knows("data_sources", "graph", "connector") else None
    if not known or known.connector is not Connector.FABRIC_GQL or not schema or not schema.value:
        return ()
    if scenario and scenario.schema:
        return check_ontology(ontology_of(scenario.schema, scenario.tables))
    return _of_names(schema.value, {name for name in columns if is_refused_in_columns(name)})


def _of_names(schema: GraphSchema, told: Collection[str]) -> Iterator[Fault]:
    """What it refuses whatever is in the tables: names, and relationships by what they join. told: names of columns that are refused already."""
    edges = tuple(edge for edge in schema.edges if UNREAD not in edge.endpoints)
    vertices = tuple(  # each in a table of its own, with no more columns than a table may have
        replace(vertex, csv_file=f"{place}", properties=vertex.properties[:COLUMNS]) for place, vertex in enumerate(schema.vertices)
    )
    tables = [_stand_in(vertex.csv_file, vertex.properties) for vertex in vertices] + [_stand_in(edge.csv_file, ()) for edge in edges]
    for fault in check_ontology(ontology_of(replace(schema, vertices=vertices, edges=edges), tables)):
        # An edge that is not whole may change what others of its label are called.
        if fault.where not in {UNREAD, *told} and (fault.code != "names_collide" or len(edges) == len(schema.edges)):
            yield fault


def _stand_in(csv_file: str, columns: Iterable[str]) -> Table:
    return Table(csv_file, csv_file, Path(), "", 0, 0, tuple(Column(name, ValueType.STRING, Reason.EMPTY) for name in columns))


def _edge_notes(schema: GraphSchema, tables: list[Table]) -> Iterator[str]:
    """What Fabric cannot say as the schema does."""
    paths = {table.csv_file: table for table in tables}
    for edge in schema.edges:
        if fixed := [item.name for item in edge.properties if item.value is not None]:
            yield f"{edge.label} ({edge.csv_file}): Fabric's graph has no place for the fixed value of {listed(fixed)}; it is left out there."
        if edge.filter and (extra := _beyond_filter(edge, schema, paths)):
            yield (
                f"{edge.label} → {edge.target.label} ({edge.csv_file}): Fabric's ontology knows no filters, and {extra:,} rows that the filter"
                " leaves out would match there. The graph model applies the filter."
            )


def _beyond_filter(edge: EdgeRule, schema: GraphSchema, tables: Mapping[str, Table]) -> int:
    """Rows that the filter leaves out although both their keys exist."""
    source, target = schema.vertex(edge.source.label), schema.vertex(edge.target.label)
    names = {edge.filter.column, edge.source.column, edge.target.column} if edge.filter else set[str]()
    complete = edge.csv_file in tables and names <= {column.name for column in tables[edge.csv_file].columns}
    if not edge.filter or not source or not target or not complete:
        return 0
    rows = lines_of(tables[edge.csv_file].path).filter(passes(edge.filter).not_())
    for vertex, column in ((source, edge.source.column), (target, edge.target.column)):
        if vertex.csv_file not in tables or vertex.id_column not in {item.name for item in tables[vertex.csv_file].columns}:
            return 0
        ids = lines_of(tables[vertex.csv_file].path).select(vertex.id_column)
        rows = rows.join(ids, left_on=column, right_on=vertex.id_column, how="semi")
    return count(rows)


def _telemetry_files(contents: Contents, manifest: Manifest) -> dict[str, ArchivedFile | None]:
    folders = (f"{manifest.telemetry_dir}/", "data/telemetry/", "telemetry/", "")
    return {
        table.csv_file: next((file for folder in folders if (file := contents.files.get(f"{folder}{table.csv_file}"))), None)
        for table in manifest.telemetry
        if table.csv_file != UNREAD
    }


def _telemetry(contents: Contents, read: Readable[Manifest], files: Mapping[str, ArchivedFile | None], spare: Path) -> _Found:
    wanted = read.value.telemetry if read.value else ()
    found = _Found(files={name: file for name, file in files.items() if file})
    if not wanted and read.knows(*_CONTAINERS):
        found.faults.append(_NO_TELEMETRY)
    missing = [name for name, file in files.items() if not file]
    found.files |= _find(contents, missing, ["data/telemetry"], found.faults, certain=read.knows("paths", "telemetry"))
    looks = _look(found.files, spare)
    facts = {name: look.facts for name, look in looks.items() if look.facts}
    found.faults += [fault for look in looks.values() for fault in look.faults]
    for table in wanted:
        found.faults += _telemetry_faults(table, looks.get(table.csv_file))
    found.tables += _tables(found.files, facts, decide_types(GraphSchema("", (), ()), facts)[0])
    return found


def _telemetry_faults(table: TelemetryTable, look: Look | None) -> Iterator[Fault]:
    """Names that Kusto takes for no table and no column, and columns that are not there or hold no numbers."""
    allowed = "letters, digits, _, blanks, dots and dashes, at most 1,024."
    if table.name != UNREAD and not ENTITY_NAME.fullmatch(table.name):
        message = f"Kusto refuses {listed([table.name])} as the name of a table."
        yield Fault("table_name_refused", MANIFEST, message, f"Rename it under data_sources.telemetry.config.containers: {allowed}")
    if look is None:
        return
    if refused := [name for name in look.header if name.strip() and not ENTITY_NAME.fullmatch(name) and not is_refused_in_columns(name)]:
        message = f"Kusto refuses columns with these names: {listed(refused)}."
        yield Fault("column_name_refused", table.csv_file, message, f"Rename them, here and in the manifest: {allowed}")
    user = "a telemetry table" if table.name == UNREAD else f"the telemetry table {table.name}"
    needed = [*([table.id_field] if table.id_field else []), *table.numeric_fields]
    yield from missing_columns(look, [(name, user) for name in needed])
    numeric = [name for name in table.numeric_fields if look.facts and name in look.facts.columns]
    yield from (fault for name in numeric if look.facts and (fault := type_fault(look.facts, name, ValueType.DOUBLE)))


def _telemetry_notes(contents: Contents, read: Readable[Manifest], only: Part | None, beside: Collection[str]) -> Iterator[str]:
    """What is passed over, and what goes elsewhere than the manifest says."""
    if read.value is None:
        return
    connector = read.value.telemetry_connector
    if only != "graph" and connector and connector != _KQL:
        yield f"The telemetry connector {connector[:60]!r} is not known; telemetry goes to a KQL database, as with {_KQL!r}."
    there = [name for name, file in _telemetry_files(contents, read.value).items() if file] if only == "graph" else []
    if there and "telemetry" not in beside:
        yield f"It has telemetry, too ({listed(there)}), which the slot telemetry builds from the same archive."


def _unused(  # noqa: PLR0913, PLR0917 - what is there, what names it, and what was told of it
    contents: Contents,
    manifest: Readable[Manifest],
    schema: Readable[GraphSchema] | None,
    parts: Iterable[_Found],
    faults: Iterable[Fault],
    only: Part | None,
) -> Iterator[str]:
    """The tables that nothing names, if it is known what is named."""
    if not _names_all_known(manifest, schema):
        return
    used = {file.path for part in parts for file in part.files.values()}
    passed_over = manifest.value.telemetry if manifest.value and only == "graph" else ()
    told = {fault.where.split(" ")[0] for fault in faults} | {table.csv_file for table in passed_over}
    left = [
        file.name for file in contents.files.values() if file.path and file.path not in used and file.name.rpartition("/")[2] not in told
    ]
    if left:
        yield f"Not used, because neither schema nor manifest names them: {listed(left)}."


def _names_all_known(manifest: Readable[Manifest], schema: Readable[GraphSchema] | None) -> bool:
    if not manifest.knows(*_CONTAINERS):
        return False
    if schema is None:
        return True
    places = [(part, number) for part in ("vertices", "edges") for number in range(len(getattr(schema.value, part, ())))]
    return all(schema.knows(*place, "csv_file") for place in places) and schema.value is not None
