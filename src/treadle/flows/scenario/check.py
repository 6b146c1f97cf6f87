"""From an uploaded archive to a scenario that can be built, or everything that keeps it from being built. Changes nothing and asks no cloud."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final, Literal, TypeVar

import polars as pl

from treadle.flows.scenario.archive import ArchivedFile, Contents, read_archive
from treadle.flows.scenario.column_types import Column, decide_types
from treadle.flows.scenario.faults import Fault, listed, shortened
from treadle.flows.scenario.gunzip import Limits
from treadle.flows.scenario.ontology import check_ontology, ontology_of
from treadle.flows.scenario.scenario import Scenario, Table
from treadle.flows.scenario.schema import (
    Connector,
    EdgeFilter,
    EdgeRule,
    Endpoint,
    GraphSchema,
    Manifest,
    TelemetryTable,
    ValueType,
)
from treadle.flows.scenario.schema_files import GRAPH_SCHEMA, MANIFEST, read_graph_schema, read_manifest
from treadle.flows.scenario.tables import TableFacts, check_table_name, lines_of, missing_columns, read_table, table_name, type_fault
from treadle.flows.scenario.telemetry import ENTITY_NAME

_SHOWN: Final = 5
_READ_AT_ONCE: Final = 2  # the engine leaves a processor idle over files of a few megabytes
_NO_TELEMETRY: Final = Fault(
    "telemetry_missing", MANIFEST, "The manifest names no telemetry.", "List the tables under data_sources.telemetry.config.containers."
)
_T = TypeVar("_T")
Part = Literal["graph", "telemetry"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check. scenario: None while there are faults. tables: what could be read, faults or not. notes: worth knowing, no fault."""

    manifest: Manifest | None
    schema: GraphSchema | None
    tables: tuple[Table, ...]
    scenario: Scenario | None
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def check_scenario(source: BinaryIO, scratch: Path, *, limits: Limits | None = None, only: Part | None = None) -> Checked:
    """Read a .tar.gz with a scenario's graph, its telemetry, or both, and check all of it.

    scratch: an empty folder that the caller removes when the tables are no longer needed; their `path` is in it.
    only: the part that must be there; the other is passed over if it is there, too. None: whichever there is.
    """
    contents = read_archive(source, scratch, limits=limits)
    faults = list(contents.faults)
    manifest = _kept(_document(contents, MANIFEST, read_manifest, _no_manifest(contents)), faults)
    schema_file = manifest.schema_file if manifest else GRAPH_SCHEMA
    telemetry = _telemetry_files(contents, manifest) if manifest and only != "graph" else {}
    schema = None
    unread = manifest is None and MANIFEST in contents.files  # its faults are told; what else it would have named is not known
    if only == "graph" or (only is None and (schema_file in contents.files or not (any(telemetry.values()) or unread))):
        schema = _kept(_document(contents, schema_file, read_graph_schema, _no_schema(schema_file)), faults)
    tables: list[Table] = []
    notes: list[str] = []
    if schema:
        tables += _graph_tables(contents, schema, manifest, faults, scratch)
        notes += _edge_notes(schema, tables)
    if manifest and (only == "telemetry" or any(telemetry.values())):
        faults += [] if manifest.telemetry else [_NO_TELEMETRY]
        tables += _telemetry_tables(contents, manifest.telemetry, telemetry, faults)
    if manifest and only == "graph" and (beside := [name for name, file in _telemetry_files(contents, manifest).items() if file]):
        notes.append(f"It has telemetry, too ({listed(beside)}), which the slot telemetry builds from the same archive.")
    if only != "telemetry":
        notes += _unused(contents, tables, faults, manifest.telemetry if manifest and only == "graph" else ())
    scenario = Scenario(manifest, schema, tuple(tables)) if manifest and not faults else None
    if scenario and schema and scenario.manifest.connector is Connector.FABRIC_GQL:
        faults += check_ontology(ontology_of(schema, tables))
    return Checked(manifest, schema, tuple(tables), None if faults else scenario, shortened(faults), tuple(dict.fromkeys(notes)))


def _kept(found: "_T | tuple[Fault, ...]", faults: list[Fault]) -> "_T | None":
    if isinstance(found, tuple):
        faults += found
        return None
    return found


def _document(
    contents: Contents, name: str, read: "Callable[[bytes, str], _T | tuple[Fault, ...]]", missing: Fault
) -> "_T | tuple[Fault, ...]":
    file = contents.files.get(name)
    if file is None:
        return (missing,) if contents.complete else ()  # of what was cut off nothing is known
    if file.content is not None:
        return read(file.content, name)
    if any(fault.where == file.name for fault in contents.faults):
        return ()  # it is too large, which was told
    return (
        Fault(
            "schema_missing",
            name,
            "It is not read: its name does not end in .yaml.",
            "Rename it, or take other YAML files out of the archive.",
        ),
    )


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


def _graph_tables(contents: Contents, schema: GraphSchema, manifest: Manifest | None, faults: list[Fault], scratch: Path) -> list[Table]:
    folders = [schema.data_dir, manifest.entities_dir if manifest else None, "data/entities", "entities", ""]
    files = _found(contents, schema.csv_files, [folder for folder in folders if folder is not None], faults)
    facts = _read_tables(files, faults)
    faults += _names(schema.csv_files)
    for name, table in facts.items():
        faults += missing_columns(table, _needed(schema, name))
    columns, contradictions = decide_types(schema, facts)
    faults += contradictions
    faults += _type_faults(schema, facts)
    with TemporaryDirectory(dir=scratch) as folder:
        keys = _key_columns(schema, facts, Path(folder))
        faults += _key_faults(schema, facts, keys)
        faults += _edge_faults(schema, facts, keys)
    return [_table(name, files[name], facts[name], columns[name]) for name in facts]


def _found(contents: Contents, names: Iterable[str], folders: list[str], faults: list[Fault]) -> dict[str, ArchivedFile]:
    """Each CSV file by the name that the schema gives it, from the first folder that has it."""
    found: dict[str, ArchivedFile] = {}
    for name in names:
        paths = list(dict.fromkeys(f"{folder}/{name}".removeprefix("./").removeprefix("/") for folder in folders))
        file = next((contents.files[path] for path in paths if path in contents.files), None)
        if file is not None:
            found[name] = file
            continue
        if not contents.complete:
            continue
        alike = [path for path in contents.files if path.rpartition("/")[2].casefold() == name.casefold()]
        hint = (
            f"There is {listed(alike)}: move or rename it."
            if alike
            else f"Put it into {folders[0] or 'the root'}/, or take it out of the schema."
        )
        faults.append(Fault("csv_missing", name, "The schema names it, and the archive does not have it.", hint))
    return found


def _read_tables(files: Mapping[str, ArchivedFile], faults: list[Fault]) -> dict[str, TableFacts]:
    facts: dict[str, TableFacts] = {}
    there = {name: file.path for name, file in files.items() if file.path is not None}
    with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="scenario-read") as threads:
        for name, found in zip(there, threads.map(read_table, there, there.values()), strict=True):
            if isinstance(found, TableFacts):
                facts[name] = found
            else:
                faults += found
    return facts


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
            yield vertex.id_column, f"the vertex {vertex.label} as its id"
            yield from ((name, f"the vertex {vertex.label}") for name in vertex.properties if name != vertex.id_column)
    for edge in schema.edges:
        if edge.csv_file == csv_file:
            yield from ((end.column, f"the edge {edge.label}") for end in (edge.source, edge.target))
            yield from ((item.column, f"the edge {edge.label}") for item in edge.properties if item.column is not None)
            if edge.filter:
                yield edge.filter.column, f"the filter of the edge {edge.label}"


def _type_faults(schema: GraphSchema, facts: Mapping[str, TableFacts]) -> Iterator[Fault]:
    for vertex in schema.vertices:
        table = facts.get(vertex.csv_file)
        for name, wanted in vertex.property_types.items():
            if table and name in table.columns and (fault := type_fault(table, name, wanted)):
                yield fault


def _key_columns(schema: GraphSchema, facts: Mapping[str, TableFacts], folder: Path) -> dict[str, pl.LazyFrame]:
    """Of each file the columns that ids, ends and filters are in, parsed once, into the folder: they are compared with those of many others."""
    wanted = {name: sorted(_compared(schema, name) & table.columns.keys()) for name, table in facts.items()}

    def columns(name: str) -> pl.LazyFrame:
        file = folder / facts[name].path.stem
        lines_of(facts[name].path).select(wanted[name]).sink_parquet(file, compression="snappy", statistics=False)
        return pl.scan_parquet(file)

    with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="scenario-keys") as threads:
        names = [name for name in facts if wanted[name]]
        return dict(zip(names, threads.map(columns, names), strict=True))


def _compared(schema: GraphSchema, csv_file: str) -> set[str]:
    """The columns that the schema names of a file as ids, ends or filters."""
    edges = [edge for edge in schema.edges if edge.csv_file == csv_file]
    return {
        *(vertex.id_column for vertex in schema.vertices if vertex.csv_file == csv_file),
        *(end.column for edge in edges for end in (edge.source, edge.target)),
        *(edge.filter.column for edge in edges if edge.filter),
    }


def _key_faults(schema: GraphSchema, facts: Mapping[str, TableFacts], keys: Mapping[str, pl.LazyFrame]) -> Iterator[Fault]:
    """Ids that are missing or there twice."""
    for vertex in schema.vertices:
        table = facts.get(vertex.csv_file)
        if table is None or vertex.id_column not in table.columns:
            continue
        filled = table.columns[vertex.id_column].filled
        where = f"{vertex.csv_file} column {vertex.id_column}"
        if filled < table.rows:
            yield Fault(
                "id_missing", where, f"{table.rows - filled:,} rows of {vertex.label} have no id.", "Fill them in, or remove the rows."
            )
        ids = keys[vertex.csv_file].select(pl.col(vertex.id_column).drop_nulls().alias("id"))
        if int(ids.select(pl.col("id").n_unique()).collect(engine="streaming").item()) == filled:
            continue
        twice = ids.group_by("id").len("times").filter(pl.col("times") > 1).sort("id").collect(engine="streaming")
        message = f"{twice.height:,} ids of {vertex.label} are there more than once: {listed(twice['id'].head(_SHOWN + 1))}."
        yield Fault("id_twice", where, message, "An id names one row: remove or rename the others.")


def _edge_faults(schema: GraphSchema, facts: Mapping[str, TableFacts], keys: Mapping[str, pl.LazyFrame]) -> Iterator[Fault]:
    """Filters that nothing passes, and keys in the rows of an edge that no vertex has. An empty cell is no key: that row makes no edge."""
    for edge in schema.edges:
        table = facts.get(edge.csv_file)
        if table is None or (edge.filter and edge.filter.column not in table.columns):
            continue
        if edge.csv_file not in keys:
            continue  # it has none of the columns, which was told
        rows = keys[edge.csv_file]
        if edge.filter:
            rows = rows.filter(_passes(edge.filter))
            if not _count(rows):
                message = f"No row passes the filter of the edge {edge.label}."
                hint = "Compare it with the column: the text must be the same, case included."
                yield Fault("filter_matches_nothing", f"{edge.csv_file} column {edge.filter.column}", message, hint)
        for endpoint in (edge.source, edge.target):
            if endpoint.column in table.columns and (fault := _unknown_keys(edge, endpoint, rows, schema, keys)):
                yield fault


def _unknown_keys(
    edge: EdgeRule, endpoint: Endpoint, rows: pl.LazyFrame, schema: GraphSchema, keys: Mapping[str, pl.LazyFrame]
) -> Fault | None:
    vertex = schema.vertex(endpoint.label)
    nodes = keys.get(vertex.csv_file) if vertex else None
    if vertex is None or nodes is None or vertex.id_column not in nodes.collect_schema():
        return None
    if (vertex.csv_file, vertex.id_column) == (edge.csv_file, endpoint.column):
        return None  # the row is the node
    ids = nodes.select(pl.col(vertex.id_column).alias("key"))
    named = rows.select(pl.col(endpoint.column).alias("key")).drop_nulls()
    unknown = named.join(ids, on="key", how="anti").unique().sort("key").collect(engine="streaming")["key"]
    if not len(unknown):
        return None
    some = listed(unknown.head(_SHOWN + 1))
    message = f"The edge {edge.label} names {len(unknown):,} {endpoint.label} that are not in {vertex.csv_file}: {some}."
    return Fault("edge_key_unknown", f"{edge.csv_file} column {endpoint.column}", message, "Add the rows, or mend the keys.")


def _count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect(engine="streaming").item())


def _passes(wanted: EdgeFilter) -> pl.Expr:
    """Whether a row is one of the edge's. An empty cell has no text: it passes only a negated filter."""
    same = pl.col(wanted.column).fill_null("") == wanted.value
    return same.not_() if wanted.negate else same


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
    rows = lines_of(tables[edge.csv_file].path).filter(_passes(edge.filter).not_())
    for vertex, column in ((source, edge.source.column), (target, edge.target.column)):
        if vertex.csv_file not in tables or vertex.id_column not in {item.name for item in tables[vertex.csv_file].columns}:
            return 0
        ids = lines_of(tables[vertex.csv_file].path).select(vertex.id_column)
        rows = rows.join(ids, left_on=column, right_on=vertex.id_column, how="semi")
    return _count(rows)


def _telemetry_files(contents: Contents, manifest: Manifest) -> dict[str, ArchivedFile | None]:
    folders = (f"{manifest.telemetry_dir}/", "data/telemetry/", "telemetry/", "")
    return {
        table.csv_file: next((file for folder in folders if (file := contents.files.get(f"{folder}{table.csv_file}"))), None)
        for table in manifest.telemetry
    }


def _telemetry_tables(
    contents: Contents, wanted: Iterable[TelemetryTable], telemetry: Mapping[str, ArchivedFile | None], faults: list[Fault]
) -> Iterator[Table]:
    files = {name: file for name, file in telemetry.items() if file}
    _found(contents, [name for name, file in telemetry.items() if not file], ["data/telemetry"], faults)
    facts = _read_tables(files, faults)
    for table in wanted:
        faults += _telemetry_names(table, facts.get(table.csv_file))
        if table.csv_file not in facts:
            continue
        found = facts[table.csv_file]
        needed = [*([table.id_field] if table.id_field else []), *table.numeric_fields]
        faults += missing_columns(found, [(name, f"the telemetry table {table.name}") for name in needed])
        numeric = [name for name in table.numeric_fields if name in found.columns]
        faults += [fault for name in numeric if (fault := type_fault(found, name, ValueType.DOUBLE))]
        schema = GraphSchema("", (), ())
        yield _table(table.csv_file, files[table.csv_file], found, decide_types(schema, {table.csv_file: found})[0][table.csv_file])


def _telemetry_names(table: TelemetryTable, facts: TableFacts | None) -> Iterator[Fault]:
    """Names that Kusto takes for no table and no column."""
    allowed = "letters, digits, _, blanks, dots and dashes, at most 1,024."
    if not ENTITY_NAME.fullmatch(table.name):
        message = f"Kusto refuses {listed([table.name])} as the name of a table."
        yield Fault("table_name_refused", MANIFEST, message, f"Rename it under data_sources.telemetry.config.containers: {allowed}")
    if refused := [name for name in facts.columns if not ENTITY_NAME.fullmatch(name)] if facts else []:
        message = f"Kusto refuses columns with these names: {listed(refused)}."
        yield Fault("column_name_refused", table.csv_file, message, f"Rename them, here and in the manifest: {allowed}")


def _table(csv_file: str, file: ArchivedFile, facts: TableFacts, columns: tuple[Column, ...]) -> Table:
    return Table(table_name(csv_file), csv_file, facts.path, file.sha256, file.size_bytes, facts.rows, columns)


def _unused(contents: Contents, tables: Iterable[Table], faults: Iterable[Fault], passed_over: Iterable[TelemetryTable]) -> Iterator[str]:
    used = {table.path for table in tables}
    told = {fault.where.split(" ")[0] for fault in faults} | {table.csv_file for table in passed_over}
    left = [
        file.name for file in contents.files.values() if file.path and file.path not in used and file.name.rpartition("/")[2] not in told
    ]
    if left:
        yield f"Not used, because neither schema nor manifest names them: {listed(left)}."
