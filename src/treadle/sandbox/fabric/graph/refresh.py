"""The job RefreshGraph: the tables that the definition names become the graph that queries see."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from treadle.sandbox.fabric import items, job_log
from treadle.sandbox.fabric.graph.child import run_child
from treadle.sandbox.fabric.graph.layout import KEY_COLUMN, Layout, layout_of
from treadle.sandbox.fabric.graph.model import EdgeTable, GraphModel, NodeTable, filter_columns, read_model
from treadle.sandbox.fabric.graph.sources import table_folders
from treadle.sandbox.fabric.graph.store import DATABASE
from treadle.sandbox.fabric.job_log import JobEnd
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import Refused
from treadle.sandbox.fabric.workshop import Workshop

JOB_TYPE: Final = "RefreshGraph"
EMPTY: Final = "Graph doesn't have valid content and cannot be refreshed."
_LOADER: Final = "treadle.sandbox.fabric.graph.load_child"


def run_refresh(shop: Workshop, job: Row, item: Row, why_stop: Callable[[], str | None]) -> JobEnd:
    """Load the graph anew. A refresh of a graph that is being refreshed ends as Deduped; one that fails leaves the graph as it was."""
    if _runs_already(shop, job):
        return JobEnd("Deduped")
    try:
        _, parts = items.parts_of(shop.records, item["id"])
        model = read_model(parts)
        if model.is_empty:
            return JobEnd("Failed", EMPTY, "GraphNotRefreshable")
        folders = table_folders(shop, {name: model.sources[name] for name in _used(model)})
    except Refused as refused:
        return JobEnd("Failed", refused.message, refused.code)
    load = shop.graphs.new_load(item["id"])
    try:
        end = _load(model, folders, load, why_stop)
        if end.status == "Completed":
            shop.graphs.publish(item["id"], load, layout_of(model))
            return end
    finally:
        current = shop.graphs.current(item["id"])
        if current is None or current.database.parent != load:
            shutil.rmtree(load, ignore_errors=True)
    return end


def _runs_already(shop: Workshop, job: Row) -> bool:
    """Whether a refresh of the same graph that was asked for earlier has not ended."""
    rows = job_log.list_jobs(shop.records, job["item_id"])
    return any(row["seq"] < job["seq"] and row["job_type"] == JOB_TYPE and row["status"] not in job_log.ENDED for row in rows)


def _load(model: GraphModel, folders: Mapping[str, Path], load: Path, why_stop: Callable[[], str | None]) -> JobEnd:
    layout = layout_of(model)
    request = {
        "database": str(load / DATABASE),
        "scratch": str(load),
        "statements": layout.statements(),
        "loads": [*_node_loads(model, layout, folders), *_edge_loads(model, layout, folders)],
    }
    end = run_child(_LOADER, request, load, why_stop)
    if end.stopped is not None or end.broken is not None:
        return JobEnd("Failed", end.stopped or end.broken)
    told = json.loads(end.output)
    return JobEnd("Failed", told["fault"], "ModelValidationError") if "fault" in told else JobEnd("Completed")


def _node_loads(model: GraphModel, layout: Layout, folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    loads: list[dict[str, Any]] = []
    for one in layout.nodes.values():
        tables = [table for table in model.node_tables if table.alias == one.alias]
        sources = [_source(table, [[table.columns[name] for name in one.key]], one.columns, folders) for table in tables]
        loads.append({"table": one.table, "keys": [KEY_COLUMN], "columns": _columns(one.columns), "sources": sources})
    return loads


def _edge_loads(model: GraphModel, layout: Layout, folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    loads: list[dict[str, Any]] = []
    for one in layout.edges.values():
        tables = [table for table in model.edge_tables if table.alias == one.alias]
        sources = [_source(table, [table.source_columns, table.target_columns], one.columns, folders) for table in tables]
        loads.append({"table": one.table, "keys": ["from", "to"], "columns": _columns(one.columns), "sources": sources})
    return loads


def _source(
    table: NodeTable | EdgeTable, keys: Sequence[Sequence[str]], columns: Mapping[str, Any], folders: Mapping[str, Path]
) -> dict[str, Any]:
    return {
        "folder": str(folders[table.source]),
        "name": table.source,
        "keys": keys,
        "columns": {columns[name].name: column for name, column in table.columns.items()},
        "filter": table.filter,
        "filter_columns": sorted(filter_columns(table.filter)),
    }


def _columns(columns: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in columns.values()]


def _used(model: GraphModel) -> set[str]:
    return {table.source for table in (*model.node_tables, *model.edge_tables)}
