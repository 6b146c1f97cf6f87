"""The Blob dialect: what adlfs, object_store (obstore, deltalake) and the vendor's Blob client send.

Sources: Put Blob, Put Block, Put Block List, Get Block List, List Containers, Copy Blob, Delete Blob, Set Blob Metadata, Set Blob Properties,
Get Account Information of the Blob service REST reference.
"""

import base64
import binascii
import uuid
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.sandbox.onelake import failures, uploads, xml
from treadle.sandbox.onelake.addresses import Address, address_of
from treadle.sandbox.onelake.conditions import conditions_of
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.index import DEFAULT_CONTENT_TYPE, Properties
from treadle.sandbox.onelake.store import create_check
from treadle.sandbox.onelake.wire import (
    Call,
    base64_md5,
    check_digest,
    content_of,
    http_date,
    metadata_of,
    property_headers,
    received_body,
    refuse_body,
    small_body,
    version_headers,
)

_LONGEST_BLOCK_ID_BYTES: Final = 64
_LARGEST_BLOCK_LIST_BYTES: Final = 8 * 1024 * 1024
_ENCRYPTED: Final = {"x-ms-request-server-encrypted": "true"}
_HOSTS: Final = (".dfs.fabric.microsoft.com", ".blob.fabric.microsoft.com")


async def put(call: Call) -> Response:
    """Put Blob, BlockBlob: the whole file in one request. If-None-Match: * makes it a commit that one of many wins."""
    if "x-ms-blob-type" not in call.headers:
        raise failures.missing_header("x-ms-blob-type")
    properties, conditions = _given_properties(call), conditions_of(call.headers)
    target = await run_in_threadpool(call.target)
    async with received_body(call) as piece:
        check_digest(call.headers.get("x-ms-blob-content-md5"), piece.md5)
        digest = base64_md5(piece.md5)
        stored = replace(properties, content_md5=digest)
        entry = await run_in_threadpool(uploads.put_file, call.store, target, piece, stored, create_check(conditions))
    return Response(None, 201, {**version_headers(entry), **_ENCRYPTED, "Content-MD5": digest})


async def put_block(call: Call) -> Response:
    """Put Block: kept until a block list names it."""
    block_id = _block_id(call)
    target = await run_in_threadpool(call.target)
    async with received_body(call) as piece:
        await run_in_threadpool(uploads.put_block, call.store, target, block_id, piece)
    return Response(None, 201, {**_ENCRYPTED, "Content-MD5": base64_md5(piece.md5)})


async def put_block_list(call: Call) -> Response:
    """Put Block List: the named blocks, in this order, become the file."""
    properties, check = _given_properties(call), create_check(conditions_of(call.headers))
    target = await run_in_threadpool(call.target)
    wanted = xml.read_block_list(await small_body(call, _LARGEST_BLOCK_LIST_BYTES))
    entry = await run_in_threadpool(uploads.commit_blocks, call.store, target, wanted, properties, check)
    return Response(None, 201, {**version_headers(entry), **_ENCRYPTED})


async def get_block_list(call: Call) -> Response:
    """Get Block List: blocks of the file, blocks that wait, or both."""
    kind = call.query.get("blocklisttype", "committed").lower()
    if kind not in {"committed", "uncommitted", "all"}:
        raise failures.bad_query("blocklisttype", kind)
    return await run_in_threadpool(_block_list, call, kind)


async def get_metadata(call: Call) -> Response:
    """Get Blob Metadata."""
    entry = await run_in_threadpool(lambda: call.store.entry(call.target()))
    headers = property_headers(entry)
    return Response(None, 200, version_headers(entry) | {name: value for name, value in headers.items() if name.startswith("x-ms-meta-")})


async def set_metadata(call: Call) -> Response:
    """Set Blob Metadata: replaces all of it."""
    metadata, conditions = metadata_of(call.headers), conditions_of(call.headers)
    entry = await run_in_threadpool(
        lambda: call.store.change_properties(call.target(), lambda stored: replace(stored, metadata=metadata), conditions)
    )
    return Response(None, 200, {**version_headers(entry), "Content-Length": "0"})


async def set_properties(call: Call) -> Response:
    """Set Blob Properties: a content header that is not given is cleared."""
    conditions = conditions_of(call.headers)
    given = content_of(call.headers, "x-ms-blob-", Properties())
    entry = await run_in_threadpool(
        lambda: call.store.change_properties(
            call.target(),
            lambda stored: replace(given, metadata=stored.metadata, blocks=stored.blocks, created_ns=stored.created_ns),
            conditions,
        )
    )
    return Response(None, 200, {**version_headers(entry), "Content-Length": "0"})


async def copy(call: Call) -> Response:
    """Copy Blob, done at once. The source is read from this store, never over the network."""
    refuse_body(call)
    source = _copy_source(call)
    metadata = metadata_of(call.headers) or None
    check, source_conditions = create_check(conditions_of(call.headers)), conditions_of(call.headers, "x-ms-source-")
    entry = await run_in_threadpool(lambda: call.store.copy(call.store.locate(source), call.target(), metadata, check, source_conditions))
    return Response(None, 202, {**version_headers(entry), "x-ms-copy-id": str(uuid.uuid4()), "x-ms-copy-status": "success"})


async def delete(call: Call) -> Response:
    """Delete Blob: a file, or a folder that is empty."""
    conditions = conditions_of(call.headers)
    await run_in_threadpool(lambda: call.store.delete(call.target(), conditions, recursive=False))
    return Response(None, 202, {"x-ms-delete-type-permanent": "true"})


async def list_containers(call: Call) -> Response:
    """List Containers: the workspaces."""
    names = [name for _, name in await run_in_threadpool(call.store.catalog.workspaces)]
    wanted = [name for name in names if name.startswith(call.query.get("prefix", ""))]
    return Response(xml.containers(wanted, http_date(call.clock.now())), 200, media_type="application/xml")


async def container_properties(call: Call) -> Response:
    """Get Container Properties, for a workspace."""
    await run_in_threadpool(lambda: call.store.workspace(call.address.workspace or ""))
    lease = {"x-ms-lease-status": "unlocked", "x-ms-lease-state": "available"}
    return Response(None, 200, {"ETag": '"0x8DC000000000000"', "Last-Modified": http_date(call.clock.now()), **lease})


async def account_information(call: Call) -> Response:
    """Get Account Information."""
    _ = call
    return Response(None, 200, {"x-ms-sku-name": "Standard_LRS", "x-ms-account-kind": "StorageV2", "x-ms-is-hns-enabled": "true"})


def _given_properties(call: Call) -> Properties:
    base = Properties(content_type=call.headers.get("content-type", "") or DEFAULT_CONTENT_TYPE, metadata=metadata_of(call.headers))
    if "blocklist" in call.query.get("comp", ""):
        base = replace(base, content_type=DEFAULT_CONTENT_TYPE)  # the Content-Type of a block list is that of its XML
    return content_of(call.headers, "x-ms-blob-", base)


def _block_id(call: Call) -> str:
    block_id = call.query.get("blockid", "")
    try:
        size = len(base64.b64decode(block_id, validate=True))
    except binascii.Error:
        size = 0
    if not 0 < size <= _LONGEST_BLOCK_ID_BYTES:
        raise failures.bad_query("blockid", block_id)
    if call.headers.get("content-length") == "0":
        raise failures.bad_header("Content-Length")
    return block_id


def _block_list(call: Call, kind: str) -> Response:
    target = call.target()
    waiting = call.store.staging.pending(target.key).blocks
    try:
        entry = call.store.entry(target)
    except StorageError:
        if not waiting or kind == "committed":
            raise
        entry = None
    committed = entry.properties.blocks if entry and kind != "uncommitted" else ()
    uncommitted = [(block_id, piece.size_bytes) for block_id, piece in waiting.items()] if kind != "committed" else []
    headers = {**(version_headers(entry) if entry else {}), "x-ms-blob-content-length": str(entry.size_bytes if entry else 0)}
    return Response(xml.block_list(committed, uncommitted), 200, headers, media_type="application/xml")


def _copy_source(call: Call) -> Address:
    source = urlsplit(call.headers["x-ms-copy-source"])
    own = source.netloc.lower() == call.headers.get("host", "").lower() or (source.hostname or "").endswith(_HOSTS)
    if source.scheme not in {"http", "https"} or not own:
        raise StorageError(
            403, "CannotVerifyCopySource", "The source of a copy must be in this account; nothing is fetched from elsewhere."
        )
    return address_of(source.path.encode("latin-1"))
