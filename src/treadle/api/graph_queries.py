"""Graphs: asked in GQL, answered as rows, and as nodes and edges to draw."""

from typing import Any

from fastapi import APIRouter

from treadle.actions import scenarios
from treadle.actions.services import Services
from treadle.api.answers import Json
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.shapes.scenarios import GraphAnswerShape, GraphColumnShape, GraphEdgeShape, GraphNodeShape, GraphQuery
from treadle.clients.graph_answers import GraphAnswer, nodes_and_edges
from treadle.control.access import Principal, Right
from treadle.errors import InvalidInput

router = APIRouter(route_class=GuardedRoute, tags=["graph"])


@router.post(
    "/query/graph", openapi_extra=needs(Right.SCENARIOS_READ), responses=answers(404, 409, 415, 502), response_model=GraphAnswerShape
)
def query_graph(services: With, who: Who, body: GraphQuery) -> Any:
    """Ask a scenario's graph, or any graph model by its ids, in GQL. What the engine refuses is 422 with its words."""
    answer = _asked(services, who, body)
    nodes, edges = nodes_and_edges(answer)
    shape = GraphAnswerShape(
        columns=[GraphColumnShape.model_validate(column) for column in answer.columns],
        rows=[dict(row) for row in answer.rows],
        status=answer.status,
        description=answer.description,
        nodes=[GraphNodeShape.model_validate(node) for node in nodes],
        edges=[GraphEdgeShape.model_validate(edge) for edge in edges],
    )
    return Json(shape.model_dump(mode="json"))


def _asked(services: Services, who: Principal, body: GraphQuery) -> GraphAnswer:
    if body.scenario_name and not (body.workspace_id or body.graph_model_id):
        return scenarios.query(services, who, body.scenario_name, body.query)
    if body.workspace_id and body.graph_model_id and not body.scenario_name:
        return scenarios.query_model(services, who, str(body.workspace_id), str(body.graph_model_id), body.query)
    raise InvalidInput(
        "Which graph is asked is not said, or twice.",
        hint="Give scenario_name, or workspace_id and graph_model_id.",
        details={"field": "scenario_name"},
    )
