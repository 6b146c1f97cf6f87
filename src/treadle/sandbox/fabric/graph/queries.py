"""Answers a query: read and checked here, run in a process of its own. The engine never sees the text of the query."""

import json
import time
from datetime import UTC
from typing import Any, Final

from treadle.sandbox.fabric.graph.answers import refusal
from treadle.sandbox.fabric.graph.child import run_child
from treadle.sandbox.fabric.graph.gql.faults import DATA, GqlFault
from treadle.sandbox.fabric.graph.gql.translate import EnginePlan, translate
from treadle.sandbox.fabric.graph.store import LoadedGraph
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import invalid
from treadle.sandbox.fabric.workshop import Workshop

_ANSWERER: Final = "treadle.sandbox.fabric.graph.query_child"


def execute(shop: Workshop, item: Row, text: str) -> bytes:
    """The answer to a GQL query as JSON. Raises Refused (GraphNotQueryable) before the graph was loaded for the first time."""
    while (graph := shop.graphs.current(item["id"])) is not None:
        try:
            return _answer(shop, graph, text)
        except GqlFault as fault:
            if shop.graphs.current(item["id"]) == graph:  # else it was refreshed meanwhile, and the old one may have gone under the query
                return json.dumps(refusal(fault)).encode()
    raise invalid("GraphIsNotLoaded: the graph was never refreshed.", "GraphNotQueryable")


def _answer(shop: Workshop, graph: LoadedGraph, text: str) -> bytes:
    plan = translate(text, graph.layout, shop.clock.now().astimezone(UTC).isoformat())
    return _run(shop, graph, plan)


def _run(shop: Workshop, graph: LoadedGraph, plan: EnginePlan) -> bytes:
    deadline = time.monotonic() + shop.options.graph_query_seconds
    request = {
        "database": str(graph.database),
        "statement": plan.statement,
        "parameters": plan.parameters,
        "columns": [(one.name, one.form) for one in plan.columns],
        "marks": _marks(plan),
        "layout": graph.layout.to_json(),
        "limit_bytes": shop.options.graph_answer_bytes,
    }
    with shop.graphs.queries:
        end = run_child(_ANSWERER, request, shop.work_dir, lambda: "The query timed out." if time.monotonic() > deadline else None)
    if end.stopped is not None or end.broken is not None:
        raise GqlFault(DATA, end.stopped or end.broken or "")
    return end.output


def _marks(plan: EnginePlan) -> dict[str, Any]:
    return {"isOrdered": plan.ordered, "isDistinct": plan.distinct}
