"""The DFS dialect (Data Lake Storage Gen2): Filesystem and Path operations.

Sources: "Path - Create, Update, Delete, List" of the Data Lake Storage Gen2 REST reference; fabric-docs
onelake-api-parity for what OneLake refuses or ignores. Handlers run on the event loop; what touches the disk runs in threads.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from treadle.sandbox.onelake import failures, uploads
from treadle.sandbox.onelake.addresses import Address, address_of, split_path
from treadle.sandbox.onelake.conditions import conditions_of
from treadle.sandbox.onelake.entries import Entry
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.index import Properties
from treadle.sandbox.onelake.listing import Listed, Wanted, list_page
from treadle.sandbox.onelake.staging import Key
from treadle.sandbox.onelake.store import Change, create_check
from treadle.sandbox.onelake.wire import (
    Call,
    content_of,
    decode_properties,
    flag,
    http_date,
    number,
    page_size,
    received_body,
    refuse_body,
    version_headers,
)

_FILETIME_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


async def create(call: Call) -> Response:
    """Path - Create: an empty file, or a folder."""
    if "x-ms-rename-source" in call.headers:
        raise failures.unsupported_header("x-ms-rename-source")
    refuse_body(call)
    kind = call.query.get("resource", "")
    if kind not in {"file", "directory"}:
        raise failures.bad_query("resource", kind)
    conditions, properties = conditions_of(call.headers), _change(call)(Properties())
    target = await run_in_threadpool(call.target)
    if kind == "directory":
        entry = await run_in_threadpool(call.store.create_directory, target, properties, conditions)
    else:
        empty = call.store.staging.receive().finish()
        entry = await run_in_threadpool(uploads.put_file, call.store, target, empty, properties, create_check(conditions))
    return Response(None, 201, {**version_headers(entry), "x-ms-request-server-encrypted": "true"})


async def rename(call: Call) -> Response:
    """Path - Create with x-ms-rename-source. OneLake takes it with mode=legacy only."""
    refuse_body(call)
    if call.query.get("mode") != "legacy":
        raise failures.unsupported_header("x-ms-rename-source")
    source_address = _rename_source(call.headers["x-ms-rename-source"])
    conditions, source_conditions = conditions_of(call.headers), conditions_of(call.headers, "x-ms-source-")

    def move() -> Entry:
        return call.store.rename(call.store.locate(source_address), call.target(), conditions, source_conditions)

    return Response(None, 201, version_headers(await run_in_threadpool(move)))


async def append(call: Call) -> Response:
    """Path - Update, action=append: keep data for a flush, or with flush=true make it visible at once."""
    position = number(call, "position")
    target = await run_in_threadpool(call.target)
    async with received_body(call) as piece:
        await run_in_threadpool(uploads.append, call.store, target, position, piece)
    if not flag(call, "flush"):
        return Response(None, 202, {"x-ms-request-server-encrypted": "true"})
    wanted = uploads.Flush(position + piece.size_bytes, lambda stored: stored, conditions_of(call.headers))
    entry = await run_in_threadpool(uploads.flush, call.store, target, wanted)
    return Response(None, 202, {**version_headers(entry), "x-ms-request-server-encrypted": "true"})


async def flush(call: Call) -> Response:
    """Path - Update, action=flush: make what was appended part of the file. close=true changes nothing here."""
    refuse_body(call)
    flag(call, "close")
    wanted = uploads.Flush(number(call, "position"), _change(call), conditions_of(call.headers), bool(flag(call, "retainUncommittedData")))
    entry = await run_in_threadpool(lambda: uploads.flush(call.store, call.target(), wanted))
    return Response(None, 200, {**version_headers(entry), "Content-Length": "0", "x-ms-request-server-encrypted": "true"})


async def set_properties(call: Call) -> Response:
    """Path - Update, action=setProperties."""
    conditions, change = conditions_of(call.headers), _change(call)
    entry = await run_in_threadpool(lambda: call.store.change_properties(call.target(), change, conditions))
    return Response(None, 200, {**version_headers(entry), "Content-Length": "0"})


async def refuse_access_control(call: Call) -> Response:
    """Path - Update, action=setAccessControl[Recursive]: rights are given in Fabric."""
    raise failures.bad_query("action", call.query.get("action", ""))


async def refuse_action(call: Call) -> Response:
    """Path - Update without a known action."""
    if "action" not in call.query:
        raise failures.missing_query("action")
    raise failures.bad_query("action", call.query["action"])


async def delete(call: Call) -> Response:
    """Path - Delete. A folder needs recursive=true unless it is empty; paginated deletes are done in one page."""
    refuse_body(call)
    recursive, conditions = bool(flag(call, "recursive")), conditions_of(call.headers)
    await run_in_threadpool(lambda: call.store.delete(call.target(), conditions, recursive=recursive))
    return Response(None, 200, {"Content-Length": "0"})


async def list_paths(call: Call) -> Response:
    """Path - List, in the shape that real answers have: strings for numbers and for true, ids instead of item names."""
    if (recursive := flag(call, "recursive")) is None:
        raise failures.missing_query("recursive")
    page = await run_in_threadpool(lambda: list_page(call.store, _wanted(call, recursive=recursive)))
    headers = {"x-ms-continuation": page.marker} if page.marker else {}
    return JSONResponse({"paths": [_listed(one) for one in page.listed], "ContinuationToken": None}, 200, headers)


async def filesystem_properties(call: Call) -> Response:
    """Filesystem - Get Properties, for a workspace."""
    await run_in_threadpool(lambda: call.store.workspace(call.address.workspace or ""))
    now = call.clock.now()
    return Response(None, 200, {"ETag": '"0x8DC000000000000"', "Last-Modified": http_date(now), "x-ms-namespace-enabled": "true"})


async def list_filesystems(call: Call) -> Response:
    """Filesystem - List: the workspaces."""
    found = await run_in_threadpool(call.store.catalog.workspaces)
    modified = http_date(call.clock.now())
    listed = [{"name": name, "lastModified": modified, "etag": "0x8DC000000000000"} for _, name in found]
    return JSONResponse({"filesystems": listed})


async def refuse_managed(call: Call) -> Response:
    """Create, change or delete a workspace."""
    _ = call
    raise failures.managed_folder()


async def refuse_method(call: Call) -> Response:
    """A method that no path has."""
    raise StorageError(
        405,
        "MethodNotAllowed",
        f"The resource doesn't support the method {call.request.method}.",
        {"Allow": "GET, HEAD, PUT, PATCH, POST, DELETE"},
    )


def _change(call: Call) -> Change:
    """What the property headers of a request do to stored properties; metadata is replaced as a whole where it is given."""
    headers = call.headers
    metadata = decode_properties(headers["x-ms-properties"]) if "x-ms-properties" in headers else None

    def change(stored: Properties) -> Properties:
        changed = content_of(headers, "x-ms-", stored)
        return changed if metadata is None else replace(changed, metadata=metadata)

    return change


def _rename_source(header: str) -> Address:
    path, _, _ = header.partition("?")  # a SAS of the source may follow; the bearer speaks for both sides here
    if not path.startswith("/"):
        raise failures.bad_header("x-ms-rename-source")
    return address_of(path.encode("latin-1"))


def _wanted(call: Call, *, recursive: bool) -> Wanted:
    below = _listed_folder(call)
    lag = call.faults.take("listing_lag", call.operation)
    start = split_path(call.query.get("beginFrom", ""))
    return Wanted(
        below,
        recursive,
        page_size(call, "maxResults"),
        marker=call.query.get("continuation", ""),
        start=(*below, *start) if start else None,
        newest=call.clock.now() - timedelta(seconds=float(lag.args.get("seconds", 60))) if lag else None,
    )


def _listed_folder(call: Call) -> Key:
    address = call.address
    if directory := call.query.get("directory", "").strip("/"):
        names = split_path(directory)
        address = Address(address.workspace, names[0], names[1:])
    if address.workspace is None:
        raise failures.path_missing()
    if address.item is None:
        return (call.store.workspace(address.workspace)[0],)
    target = call.store.locate(address)
    if not call.store.entry(target).is_directory:
        raise failures.path_missing()
    return target.key


def _listed(one: Listed) -> dict[str, Any]:
    entry = one.entry
    return {
        "name": "/".join(one.key[1:]),
        **({"isDirectory": "true"} if entry.is_directory else {}),
        "contentLength": str(entry.size_bytes),
        "lastModified": http_date(entry.modified_at),
        "etag": entry.etag,
        "creationTime": str((entry.created_at - _FILETIME_EPOCH) // timedelta(microseconds=1) * 10),
        "expiryTime": "0",
        "owner": _NOBODY,
        "group": _NOBODY,
        "permissions": "rwxr-x---" if entry.is_directory else "rw-r-----",
    }
