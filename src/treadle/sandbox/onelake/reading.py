"""Read and Get Properties, which both dialects answer alike.

Sources: Path - Read, Path - Get Properties, Get Blob, Get Blob Properties of the Azure Storage REST reference.
"""

import os
from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.sandbox.onelake.conditions import byte_range, check_read, conditions_of
from treadle.sandbox.onelake.entries import Entry
from treadle.sandbox.onelake.wire import Call, FileAnswer, property_headers, range_digest


async def get_properties(call: Call) -> Response:
    """HEAD, whatever its action: OneLake's rights show as one fixed access control list."""
    entry = await run_in_threadpool(lambda: call.store.entry(call.target()))
    check_read(conditions_of(call.headers), entry.etag, entry.modified_at)
    access = {"x-ms-acl": "user::rwx,group::---,other::---"} if "action" in call.query else {}
    return Response(None, 200, {**property_headers(entry), **_digest(entry), **access, "Content-Length": str(entry.size_bytes)})


async def read(call: Call) -> Response:
    """A file or a range of it. A folder answers with its properties and no bytes."""
    return await run_in_threadpool(_read, call)


def _read(call: Call) -> Response:
    target, conditions = call.target(), conditions_of(call.headers)
    folder = call.store.entry(target)
    if folder.is_directory:
        check_read(conditions, folder.etag, folder.modified_at)
        return Response(None, 200, property_headers(folder))
    descriptor, entry = call.store.open(target)
    try:
        check_read(conditions, entry.etag, entry.modified_at)
        return _file_answer(call, descriptor, entry)
    except BaseException:
        os.close(descriptor)
        raise


def _file_answer(call: Call, descriptor: int, entry: Entry) -> Response:
    headers = property_headers(entry)
    if (wanted := byte_range(call.headers, entry.size_bytes)) is None:
        return FileAnswer(descriptor, (0, entry.size_bytes), 200, {**headers, **_digest(entry)})
    offset, length = wanted
    headers |= {"Content-Range": f"bytes {offset}-{offset + length - 1}/{entry.size_bytes}"}
    headers |= {f"x-ms-{kind}content-md5": value for value in _digest(entry).values() for kind in ("", "blob-")}
    return FileAnswer(descriptor, wanted, 206, {**headers, **range_digest(call, descriptor, wanted)})


def _digest(entry: Entry) -> Mapping[str, str]:
    return {"Content-MD5": entry.properties.content_md5} if entry.properties.content_md5 else {}
