"""Holds ids, ends of edges and filters against the rows: ids that are missing or there twice, keys that no vertex has, filters that nothing passes.

Of a table with rows that could not be read, those that could are checked: what is wrong in them is wrong whatever the others hold.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import polars as pl

from treadle.flows.scenario.faults import Fault, listed
from treadle.flows.scenario.schema import UNREAD, EdgeFilter, EdgeRule, Endpoint, GraphSchema, VertexType
from treadle.flows.scenario.tables import TableFacts, lines_of

READ_AT_ONCE: Final = 2  # the engine leaves a processor idle over files of a few megabytes
_SHOWN: Final = 5
_BORDERS: Final = r'[,"\r\n]'


def check_keys(schema: GraphSchema, facts: Mapping[str, TableFacts], folder: Path) -> Iterator[Fault]:
    """What is wrong with ids, and then with edges. folder: for the columns that are compared, while this runs."""
    keys = _key_columns(schema, facts, folder)
    yield from _key_faults(schema, facts, keys)
    yield from _edge_faults(schema, facts, keys)


def passes(wanted: EdgeFilter) -> pl.Expr:
    """Whether a row is one of the edge's. An empty cell has no text: it passes only a negated filter."""
    same = pl.col(wanted.column).fill_null("") == wanted.value
    return same.not_() if wanted.negate else same


def count(rows: pl.LazyFrame) -> int:
    """How many rows there are."""
    return int(rows.select(pl.len()).collect(engine="streaming").item())


def called(vertex: VertexType) -> str:
    """How messages name a vertex type: by its label, or while it has none by its file."""
    return vertex.csv_file if vertex.label == UNREAD else vertex.label


def _key_columns(schema: GraphSchema, facts: Mapping[str, TableFacts], folder: Path) -> dict[str, pl.LazyFrame]:
    """Of each file the columns that ids, ends and filters are in, parsed once, into the folder: they are compared with those of many others."""
    wanted = {name: sorted(_compared(schema, name) & table.columns.keys()) for name, table in facts.items()}

    def columns(name: str) -> pl.LazyFrame:
        file = folder / facts[name].path.stem
        lines_of(facts[name].path).select(wanted[name]).sink_parquet(file, compression="snappy", statistics=False)
        return pl.scan_parquet(file)

    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="scenario-keys") as threads:
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
            message = f"{table.rows - filled:,} rows of {called(vertex)} have no id."
            yield Fault("id_missing", where, message, "Fill them in, or remove the rows.")
        ids = keys[vertex.csv_file].select(pl.col(vertex.id_column).drop_nulls().alias("id"))
        if int(ids.select(pl.col("id").n_unique()).collect(engine="streaming").item()) == filled:
            continue
        twice = ids.group_by("id").len("times").filter(pl.col("times") > 1).sort("id").collect(engine="streaming")
        message = f"{twice.height:,} ids of {called(vertex)} are there more than once: {listed(twice['id'].head(_SHOWN + 1))}."
        yield Fault("id_twice", where, message, "An id names one row: remove or rename the others.")


def _edge_faults(schema: GraphSchema, facts: Mapping[str, TableFacts], keys: Mapping[str, pl.LazyFrame]) -> Iterator[Fault]:
    """Filters that nothing passes, and keys in the rows of an edge that no vertex has. An empty cell is no key: that row makes no edge."""
    for edge in schema.edges:
        table = facts.get(edge.csv_file)
        if table is None or not _filter_known(edge, table):
            continue
        if edge.csv_file not in keys:
            continue  # it has none of the columns, which was told
        rows = keys[edge.csv_file]
        if edge.filter:
            rows = rows.filter(passes(edge.filter))
            if table.strays is None and not count(rows):  # a row that could not be read may pass
                message = f"No row passes the filter of the edge {_label(edge)}."
                hint = "Compare it with the column: the text must be the same, case included."
                yield Fault("filter_matches_nothing", f"{edge.csv_file} column {edge.filter.column}", message, hint)
        for endpoint in (edge.source, edge.target):
            if endpoint.column in table.columns and (fault := _unknown_keys(edge, endpoint, rows, schema, facts, keys)):
                yield fault


def _filter_known(edge: EdgeRule, table: TableFacts) -> bool:
    """Whether it can be said which rows are the edge's."""
    return edge.filter is None or (edge.filter.column in table.columns and edge.filter.value != UNREAD)


def _unknown_keys(  # noqa: PLR0913, PLR0917 - an end of an edge, and what it is held against
    edge: EdgeRule,
    endpoint: Endpoint,
    rows: pl.LazyFrame,
    schema: GraphSchema,
    facts: Mapping[str, TableFacts],
    keys: Mapping[str, pl.LazyFrame],
) -> Fault | None:
    vertex = schema.vertex(endpoint.label)
    nodes = facts.get(vertex.csv_file) if vertex else None
    if vertex is None or nodes is None or vertex.id_column not in nodes.columns:
        return None
    if (vertex.csv_file, vertex.id_column) == (edge.csv_file, endpoint.column):
        return None  # the row is the node
    ids = keys[vertex.csv_file].select(pl.col(vertex.id_column).alias("key"))
    named = rows.select(pl.col(endpoint.column).alias("key")).drop_nulls()
    if (
        nodes.strays
    ):  # a key that stands in a row that could not be read is no unknown one, nor is one that borders of fields may have cut there
        ids = pl.concat([ids, pl.scan_lines(nodes.strays, name="key")])
        named = named.filter(pl.col("key").str.contains(_BORDERS).not_())
    unknown = named.join(ids, on="key", how="anti").unique().sort("key").collect(engine="streaming")["key"]
    if not len(unknown):
        return None
    some = listed(unknown.head(_SHOWN + 1))
    message = f"The edge {_label(edge)} names {len(unknown):,} {endpoint.label} that are not in {vertex.csv_file}: {some}."
    return Fault("edge_key_unknown", f"{edge.csv_file} column {endpoint.column}", message, "Add the rows, or mend the keys.")


def _label(edge: EdgeRule) -> str:
    return f"of {edge.csv_file}" if edge.label == UNREAD else edge.label
