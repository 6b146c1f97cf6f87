"""Load Table on the wire."""

from treadle.sandbox.fabric import items, operations
from treadle.sandbox.fabric.calls import Answer, Call
from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.fabric.refusals import Refused, invalid
from treadle.sandbox.fabric.routes_items import accepted
from treadle.sandbox.fabric.table_loads import read_load


def load_table(cloud: FabricCloud, call: Call) -> Answer:
    """Tables - Load Table, and Load Schema Table (beta): 202 with an operation that has no result."""
    shop, schema = cloud.shop, call.ids.get("schema")
    lakehouse = items.get_item(shop.records, call.ids["workspace"], call.ids["item"], "Lakehouse")
    if schema is not None and not call.flag("beta"):
        raise invalid("The operation is in beta; call it with beta=true.", "FeatureNotAvailable")
    if (schema is not None) != items.has_schemas(lakehouse):
        raise _wrong_form(schema)
    wish = read_load(call.ids["table"], schema, call.body)
    fault = shop.faults.take("operation_failed", call.operation)
    if fault is not None:
        refused = invalid(fault.args.get("message", "The operation failed."), fault.args.get("code", "UnknownError"))
        failed = operations.start_operation(shop.records, shop.clock.now(), polls=cloud.options.operation_polls, error=refused)
        return accepted(cloud, call, failed)
    return accepted(cloud, call, cloud.loads.start(lakehouse, wish))


def _wrong_form(schema: str | None) -> Refused:
    if schema is None:
        return invalid("The operation is not supported for a lakehouse with schemas.", "UnsupportedOperationForSchemasEnabledLakehouse")
    return invalid("The operation is not supported for a lakehouse without schemas.", "UnsupportedOperationForSchemasDisabledLakehouse")
