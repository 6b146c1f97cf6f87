"""Graph models on the wire, beyond what all items have: queries, and the type of the graph that is loaded."""

import json

from treadle.sandbox.fabric import items
from treadle.sandbox.fabric.calls import Answer, Call
from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.fabric.graph.answers import refusal
from treadle.sandbox.fabric.graph.gql.faults import DATA, GqlFault
from treadle.sandbox.fabric.graph.queries import execute
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import invalid


def execute_query(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Execute Query (beta): 200 with a status of its own, whatever becomes of the query."""
    item = _graph_model(cloud, call)
    text = call.body.get("query")
    if not isinstance(text, str):
        raise invalid("The query is missing.", "InvalidInput")
    if fault := cloud.shop.faults.take("query_failed", call.operation):
        failed = GqlFault(fault.args.get("code", DATA), fault.args.get("message", "The query failed."))
        return Answer(200, text=json.dumps(refusal(failed)).encode())
    return Answer(200, text=execute(cloud.shop, item, text))


def get_queryable_graph_type(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Get Queryable Graph Type (beta): the type of what is loaded, not of the definition."""
    graph = cloud.shop.graphs.current(_graph_model(cloud, call)["id"])
    return Answer(200, {"nodeTypes": [], "edgeTypes": []} if graph is None else graph.layout.graph_type())


def _graph_model(cloud: FabricCloud, call: Call) -> Row:
    """The item of the call, which must say that it knows the API to be a beta (`preview` is the older word)."""
    if not call.flag("beta") and not call.flag("preview"):
        raise invalid("This API is in beta: call it with beta=true.")
    return items.get_item(cloud.shop.records, call.ids["workspace"], call.ids["item"], "GraphModel")
