"""Items, their definitions and long-running operations on the wire, in the generic form and in each type's own."""

from dataclasses import replace
from typing import Final

from treadle.sandbox.fabric import definitions, item_kinds, items, operations
from treadle.sandbox.fabric.calls import Answer, Call, nothing, page
from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import Refused, invalid

_TYPE_OF_COLLECTION: Final = {collection.lower(): item_type for collection, item_type in items.COLLECTIONS.items()}


def list_items(cloud: FabricCloud, call: Call) -> Answer:
    """Items - List Items, and List <type>s, whose lakehouses carry their properties."""
    typed = _typed(call)
    rows = items.list_items(
        cloud.shop.records,
        call.ids["workspace"],
        item_type=typed or call.query.get("type"),
        folder_id=call.query.get("rootFolderId"),
        recursive=call.flag("recursive", default=True),
    )
    if rows and cloud.shop.faults.take("listing_lag", call.operation):
        rows = rows[:-1]
    return page(rows, call, cloud.options.page_size, item_kinds.show(cloud.shop, typed))


def create_item(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Create Item: 201 with the item, or 202 with an operation that makes it."""
    shop = cloud.shop
    new = items.read_new_item(call.body, _typed(call) or call.body.get("type"))
    if shop.faults.take("name_reserved", call.operation):
        message = f"Requested '{new.name}' is not available yet and is expected to become available in the upcoming minutes."
        raise invalid(message, "ItemDisplayNameNotAvailableYet")
    items.check_name_is_free(shop.records, call.ids["workspace"], new.type, new.name)
    item_kinds.kind_of(new.type).check_new(shop, call.ids["workspace"], new)
    new = _with_platform_description(new)
    refused = _workload_refusal(cloud, call, new.type, new.parts)
    asynchronous = _is_asynchronous(cloud, call, new.type, defined=new.parts is not None)
    if refused is not None and not asynchronous:
        raise refused
    row = None if refused else item_kinds.create(shop, call.ids["workspace"], new)
    answer = None if row is None else items.item_json(row)
    if asynchronous:
        return _accepted(cloud, call, result=answer, error=refused, headers={"ETag": '""'})
    return Answer(201, answer, {"ETag": '""'})


def get_item(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Get Item, and Get <type>."""
    return Answer(200, item_kinds.show(cloud.shop, _typed(call))(_item(cloud, call)), {"ETag": '""'})


def update_item(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Update Item."""
    return Answer(200, items.item_json(items.update_item(cloud.shop.records, _item(cloud, call), call.body)))


def move_item(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Move Item: the answer is a list of what was moved."""
    row = items.move_item(cloud.shop.records, _item(cloud, call), call.body.get("targetFolderId"))
    return Answer(200, {"value": [items.item_json(row)]})


def delete_item(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Delete Item: what runs is cancelled; files, data and child items go with it."""
    rows = item_kinds.with_children(cloud.shop, _item(cloud, call))
    cloud.jobs.cancel_jobs_of({row["id"] for row in rows})
    item_kinds.delete(cloud.shop, rows)
    return nothing(200)


def get_definition(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Get Item Definition."""
    row = _defined_item(cloud, call)
    kept_format, parts = items.parts_of(cloud.shop.records, row["id"])
    definitions.check_format(row["type"], call.query.get("format"), kept_format)
    shown = definitions.parts_to_answer(parts, item_type=row["type"], name=row["display_name"], description=row["description"])
    told = {"format": kept_format} if row["type"] == "GraphModel" else {}
    answer = {"definition": {**told, "parts": shown}}
    return _accepted(cloud, call, result=answer) if _is_asynchronous(cloud, call, row["type"]) else Answer(200, answer)


def update_definition(cloud: FabricCloud, call: Call) -> Answer:
    """Items - Update Item Definition: replaces all parts; `.platform` counts only with updateMetadata=true. There is no result."""
    shop = cloud.shop
    row = _defined_item(cloud, call)
    declared, parts = definitions.read_definition(call.body.get("definition"), backslashes=row["type"] == "Ontology")
    metadata = definitions.platform_metadata(parts, row["type"]) if call.flag("updateMetadata") else None
    refused = _workload_refusal(cloud, call, row["type"], parts)
    asynchronous = _is_asynchronous(cloud, call, row["type"])
    if refused is not None and not asynchronous:
        raise refused
    if refused is None:
        with shop.records.transaction():
            items.put_definition(shop.records, row["id"], definitions.format_of(row["type"], declared, parts), parts)
            if metadata is not None:
                items.update_item(shop.records, row, metadata)
        item_kinds.kind_of(row["type"]).defined(shop, row)
    return _accepted(cloud, call, error=refused) if asynchronous else nothing(200)


def list_tables(cloud: FabricCloud, call: Call) -> Answer:
    """Tables - List Tables of a lakehouse without schemas: the Delta tables that lie under Tables. The list is called `data`."""
    row = items.get_item(cloud.shop.records, call.ids["workspace"], call.ids["item"], "Lakehouse")
    if items.has_schemas(row):
        raise invalid("The operation is not supported for a lakehouse with schemas.", "UnsupportedOperationForSchemasEnabledLakehouse")
    folder = cloud.shop.lake.path_of(row["workspace_id"], row["id"]) / "Tables"
    names = sorted(path.name for path in folder.iterdir() if (path / "_delta_log").is_dir()) if folder.is_dir() else []
    if names and (fault := cloud.shop.faults.take("listing_lag", call.operation)):
        names = sorted(sorted(names, key=lambda name: (folder / name).stat().st_ctime)[: -int(fault.args.get("hidden", 1))])
    root = f"abfss://{row['workspace_id']}@onelake.dfs.fabric.microsoft.com/{row['id']}/Tables"
    tables = [
        {"seq": number, "type": "Managed", "name": name, "location": f"{root}/{name}", "format": "Delta"}
        for number, name in enumerate(names)
    ]
    size = call.number("maxResults", default=cloud.options.page_size)
    answer = page(tables, call, size, lambda table: {key: value for key, value in table.items() if key != "seq"}, key="data")
    return Answer(200, {"continuationToken": None, "continuationUri": None} | answer.body)


def get_operation(cloud: FabricCloud, call: Call) -> Answer:
    """Long Running Operations - Get Operation State: a Location of the result only when there is one, Retry-After only while it runs."""
    shop = cloud.shop
    stale = shop.faults.take("stale_status", call.operation) is not None
    row = operations.poll_operation(shop.records, call.ids["operation"], shop.clock.now(), stale=stale)
    url = f"{call.base_url}/v1/operations/{row['id']}"
    headers = {"x-ms-operation-id": row["id"]}
    if operations.status_of(row) == "Running":
        headers |= {"Location": url} | _retry_after(cloud, call)
    elif operations.status_of(row) == "Succeeded" and row["result"] is not None:
        headers["Location"] = f"{url}/result"
    return Answer(200, operations.state_json(row), headers)


def get_operation_result(cloud: FabricCloud, call: Call) -> Answer:
    """Long Running Operations - Get Operation Result."""
    return Answer(200, operations.result_of(cloud.shop.records, call.ids["operation"]))


def _typed(call: Call) -> str | None:
    return _TYPE_OF_COLLECTION.get(call.ids.get("collection", "").lower())


def _item(cloud: FabricCloud, call: Call) -> Row:
    return items.get_item(cloud.shop.records, call.ids["workspace"], call.ids["item"], _typed(call))


def _defined_item(cloud: FabricCloud, call: Call) -> Row:
    row = _item(cloud, call)
    if row["type"] not in items.DEFINED_TYPES:
        raise invalid(f"The operation is not supported for items of type {row['type']}.", "OperationNotSupportedForItem")
    return row


def _with_platform_description(new: items.NewItem) -> items.NewItem:
    """At creation the description of `.platform` is taken when the request has none; its name never is (recorded traffic)."""
    metadata = None if new.parts is None or new.description else definitions.platform_metadata(new.parts, new.type)
    return new if metadata is None else replace(new, description=metadata["description"])


def _workload_refusal(cloud: FabricCloud, call: Call, item_type: str, parts: list[definitions.Part] | None) -> Refused | None:
    fault = cloud.shop.faults.take("operation_failed", call.operation)
    if fault:
        return invalid(fault.args.get("message", "The operation failed."), fault.args.get("code", "ALMOperationImportFailed"))
    return None if parts is None else item_kinds.check_content(cloud.shop, item_type, parts)


def _is_asynchronous(cloud: FabricCloud, call: Call, item_type: str, *, defined: bool = True) -> bool:
    if cloud.shop.faults.take("synchronous", call.operation):
        return False
    usual = cloud.options.asynchronous_types | (cloud.options.asynchronous_with_definition if defined else set[str]())
    return item_type in usual or cloud.shop.faults.take("asynchronous", call.operation) is not None


def _accepted(
    cloud: FabricCloud, call: Call, *, result: object = None, error: Refused | None = None, headers: dict[str, str] | None = None
) -> Answer:
    operation_id = operations.start_operation(
        cloud.shop.records, cloud.shop.clock.now(), polls=cloud.options.operation_polls, result=result, error=error
    )
    return accepted(cloud, call, operation_id, headers)


def accepted(cloud: FabricCloud, call: Call, operation_id: str, headers: dict[str, str] | None = None) -> Answer:
    """202 with the address of an operation."""
    own = {"Location": f"{call.base_url}/v1/operations/{operation_id}", "x-ms-operation-id": operation_id}
    return Answer(202, None, own | _retry_after(cloud, call) | (headers or {}))


def _retry_after(cloud: FabricCloud, call: Call) -> dict[str, str]:
    if cloud.shop.faults.take("no_retry_after", call.operation):
        return {}
    return {"Retry-After": str(cloud.options.operation_retry_after_seconds)}
