"""Blob Batch: many deletes in one request, answered one by one. OneLake serves it at an item, not at the container.

Sources: Blob Batch of the Blob service REST reference; delta-io/delta-rs issue 4401 for the refusal at the container and
apache/arrow-rs-object-store issue 701 for the form with the item. The bearer of the whole request speaks for each part.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import MIMEPart
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.sandbox.answers import dfs_error
from treadle.sandbox.onelake import failures
from treadle.sandbox.onelake.addresses import address_of
from treadle.sandbox.onelake.conditions import conditions_of
from treadle.sandbox.onelake.failures import StorageError, blob_code
from treadle.sandbox.onelake.wire import Call, small_body

_MOST_PARTS: Final = 256
_BOUNDARY: Final = re.compile(r'multipart/mixed; *boundary="?([^"\s;]{1,100})"?\Z', re.IGNORECASE)
_CONTENT_ID: Final = re.compile(r"[^\w.<>@-]")  # what is echoed must not break out of its header
_LARGEST_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Part:
    """One request inside the batch; header names are lower case."""

    content_id: str
    method: str
    url: str
    headers: Mapping[str, str]


async def batch(call: Call) -> Response:
    """Carry out the deletes; each part of the answer has its own status. At the container: OneLake's refusal, which is JSON even here."""
    if call.address.item is None:
        return dfs_error(400, "BadRequest", "Either WorkspaceId or ArtifactId are missing in the request", call.clock.now())
    parts = _parts_of(call.headers.get("content-type", ""), await small_body(call, _LARGEST_BYTES))
    boundary = f"batchresponse_{uuid.uuid4()}"
    answers = [await run_in_threadpool(_answer, call, part) for part in parts]
    body = b"".join(f"--{boundary}\r\n".encode() + answer for answer in answers) + f"--{boundary}--\r\n".encode()
    return Response(body, 202, {"Content-Type": f"multipart/mixed; boundary={boundary}"})


def _parts_of(content_type: str, body: bytes) -> list[_Part]:
    if (boundary := _BOUNDARY.match(content_type)) is None:
        raise failures.bad_header("Content-Type")
    header = f'Content-Type: multipart/mixed; boundary="{boundary[1]}"\r\n\r\n'  # clients do not quote it, whatever is in it
    whole = BytesParser(policy=HTTP).parsebytes(header.encode("latin-1") + body)
    parts = [_part_of(one) for one in whole.iter_parts()]
    if not 0 < len(parts) <= _MOST_PARTS:
        raise StorageError(400, "InvalidInput", f"A batch has 1 to {_MOST_PARTS} requests.")
    return parts


def _part_of(message: MIMEPart) -> _Part:
    payload = message.get_payload(decode=True)
    head, _, rest = (payload if isinstance(payload, bytes) else b"").lstrip().partition(b"\r\n")
    method, _, target = head.decode("latin-1").partition(" ")
    headers = BytesParser(policy=HTTP).parsebytes(rest, headersonly=True)
    return _Part(
        str(message.get("Content-ID", "")), method, target.rpartition(" ")[0], {name.lower(): str(value) for name, value in headers.items()}
    )


def _answer(call: Call, part: _Part) -> bytes:
    try:
        _delete(call, part)
    except StorageError as error:
        return _wrapped(part, error.status, {"x-ms-error-code": blob_code(error.code)})
    return _wrapped(part, 202, {"x-ms-delete-type-permanent": "true"})


def _delete(call: Call, part: _Part) -> None:
    if part.method != "DELETE":
        raise StorageError(501, "NotModelled", f"{part.method} in a batch is not modelled by the Treadle sandbox.")
    target = call.store.locate(address_of(urlsplit(part.url).path.encode("latin-1")))
    if target.key[:2] != call.target().key[:2]:
        raise StorageError(400, "InvalidInput", "A request of the batch is about another item.")
    call.store.delete(target, conditions_of(part.headers), recursive=False)


def _wrapped(part: _Part, status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        "Content-Type: application/http",
        f"Content-ID: {_CONTENT_ID.sub('', part.content_id)}",
        "",
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in {**headers, "x-ms-request-id": str(uuid.uuid4())}.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1", "replace")
