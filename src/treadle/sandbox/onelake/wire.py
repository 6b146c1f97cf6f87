"""What both dialects share on the wire: the call, its body on the way in, a file on the way out, headers of an entry, and refusals."""

import base64
import hashlib
import os
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from treadle.sandbox.answers import blob_error, dfs_error
from treadle.sandbox.clock import Clock
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.onelake import failures
from treadle.sandbox.onelake.addresses import Address, address_of
from treadle.sandbox.onelake.entries import Entry, Target
from treadle.sandbox.onelake.failures import StorageError, blob_code
from treadle.sandbox.onelake.index import Properties
from treadle.sandbox.onelake.staging import Incoming, Piece
from treadle.sandbox.onelake.store import LakeStore

Authenticate = Callable[[Mapping[str, str], str], Any]
"""(headers, "onelake") → who calls; raises entra.store.TokenRejected."""

_BUFFER_BYTES: Final = 1024 * 1024
_SEND_BYTES: Final = 256 * 1024
_LONGEST_LIST: Final = 5000
_LARGEST_CHECKED_RANGE: Final = 4 * 1024 * 1024
_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_METADATA_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_METADATA_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]*\Z")  # or a stored value could break out of its header
_IGNORED_HEADERS: Final = (
    "x-ms-owner", "x-ms-group", "x-ms-permissions", "x-ms-acl", "x-ms-acls", "x-ms-access-tier",
    "x-ms-encryption-key", "x-ms-encryption-key-sha256", "x-ms-encryption-algorithm", "x-ms-encryption-scope", "x-ms-encryption-context",
)  # fmt: skip
"""OneLake ignores these and says so in x-ms-rejected-headers (fabric-docs, onelake-api-parity)."""
_UNSUPPORTED_HEADERS: Final = ("x-ms-structured-body", "x-ms-if-tags", "x-ms-source-if-tags")
_CONTENT_FIELDS: Final = ("content_type", "cache_control", "content_encoding", "content_language", "content_disposition", "content_md5")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation of the store."""

    request: Request
    operation: str
    store: LakeStore
    faults: FaultScript
    clock: Clock

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by name, whatever their case."""
        return self.request.headers

    @property
    def query(self) -> Mapping[str, str]:
        """Query parameters, decoded."""
        return self.request.query_params

    @property
    def address(self) -> Address:
        """Where the URL points."""
        return address_of(self.request.scope["raw_path"])

    def target(self) -> Target:
        """Where the URL points on disk."""
        return self.store.locate(self.address)


def flag(call: Call, name: str) -> bool | None:
    """A query parameter that is true or false; None when it is absent."""
    if (text := call.query.get(name)) is None:
        return None
    if text.lower() not in {"true", "false"}:
        raise failures.bad_query(name, text)
    return text.lower() == "true"


def number(call: Call, name: str) -> int:
    """A query parameter that is a whole number from zero. Raises MissingRequiredQueryParameter, InvalidQueryParameterValue."""
    if (text := call.query.get(name)) is None:
        raise failures.missing_query(name)
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise failures.bad_query(name, text)
    return int(text)


def page_size(call: Call, name: str) -> int:
    """How many entries a page may have: 5,000 unless less is asked for. Raises OutOfRangeQueryParameterValue below one."""
    if name not in call.query:
        return _LONGEST_LIST
    if (size := number(call, name)) < 1:
        raise StorageError(400, "OutOfRangeQueryParameterValue", f"{name} must be 1 or more.")
    return min(size, _LONGEST_LIST)


def refuse_body(call: Call) -> None:
    """Raise ContentLengthMustBeZero where a request that takes no body has one."""
    if call.headers.get("content-length", "0") != "0" or "transfer-encoding" in call.headers:
        raise failures.body_not_empty()


@asynccontextmanager
async def received_body(call: Call) -> AsyncGenerator[Piece]:
    """The body on disk, written in constant memory; gone again if what is done with it fails.

    Raises MD5Mismatch where it is not what Content-MD5 promised.
    """
    incoming = await run_in_threadpool(call.store.staging.receive)
    try:
        await _fill(incoming, call.request)
        piece = await run_in_threadpool(incoming.finish)
        check_digest(call.headers.get("content-md5"), piece.md5)
        yield piece
    except BaseException:
        incoming.drop()
        raise


async def small_body(call: Call, most_bytes: int) -> bytes:
    """A body that is read as a whole, such as a list of blocks; raises RequestBodyTooLarge."""
    body = bytearray()
    async for chunk in call.request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise StorageError(413, "RequestBodyTooLarge", f"The request body is larger than {most_bytes} bytes.")
    return bytes(body)


async def _fill(incoming: Incoming, request: Request) -> None:
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= _BUFFER_BYTES:
            await run_in_threadpool(incoming.write, bytes(waiting))
            waiting.clear()
    if waiting:
        await run_in_threadpool(incoming.write, bytes(waiting))


def base64_md5(md5: bytes) -> str:
    """A digest as headers carry it."""
    return base64.b64encode(md5).decode()


def check_digest(promised: str | None, md5: bytes) -> None:
    """Compare a base64 MD5 header, if there is one, with the digest of what arrived."""
    if promised is not None and promised.strip() != base64_md5(md5):
        raise failures.digest_mismatch()


class FileAnswer(Response):
    """Streams a stretch of an open file in constant memory and closes it, whatever happens."""

    def __init__(self, descriptor: int, stretch: tuple[int, int], status: int, headers: Mapping[str, str]) -> None:
        self._descriptor, (self._offset, self._left) = descriptor, stretch
        super().__init__(None, status, {**headers, "Content-Length": str(self._left)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a file that a notebook cuts short meanwhile ends the answer early, which the client sees as a broken one."""
        _ = receive
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while self._left and scope["method"] != "HEAD":
                data = await run_in_threadpool(os.pread, self._descriptor, min(self._left, _SEND_BYTES), self._offset)
                if not data:
                    break
                self._offset, self._left = self._offset + len(data), self._left - len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            os.close(self._descriptor)


def range_digest(call: Call, descriptor: int, stretch: tuple[int, int]) -> dict[str, str]:
    """The MD5 of a range (offset, length), for a client that asks for it; raises OutOfRangeInput above 4 MiB."""
    offset, size_bytes = stretch
    if call.headers.get("x-ms-range-get-content-md5", "").lower() != "true":
        return {}
    if size_bytes > _LARGEST_CHECKED_RANGE:
        raise StorageError(400, "OutOfRangeInput", "A range with its MD5 can be 4 MiB at most.")
    return {"Content-MD5": base64_md5(hashlib.md5(os.pread(descriptor, size_bytes, offset), usedforsecurity=False).digest())}


def http_date(moment: datetime) -> str:
    """RFC 1123, in GMT."""
    return format_datetime(moment, usegmt=True)


def version_headers(entry: Entry) -> dict[str, str]:
    """What every answer says about the state that an operation left or found."""
    return {"ETag": f'"{entry.etag}"', "Last-Modified": http_date(entry.modified_at)}


def property_headers(entry: Entry) -> dict[str, str]:
    """All that HEAD and GET say, for both dialects at once: the vendor's Data Lake client asks one host in both."""
    stored = entry.properties
    known = {
        "Content-Type": stored.content_type,
        "Cache-Control": stored.cache_control,
        "Content-Encoding": stored.content_encoding,
        "Content-Language": stored.content_language,
        "Content-Disposition": stored.content_disposition,
        "x-ms-properties": encode_properties(stored.metadata),
    }
    return {
        **version_headers(entry),
        **{name: value for name, value in known.items() if value},
        **{f"x-ms-meta-{name}": value.encode().decode("latin-1") for name, value in stored.metadata.items()},
        **({"x-ms-meta-hdi_isfolder": "true"} if entry.is_directory else {}),
        "Accept-Ranges": "bytes",
        "x-ms-resource-type": "directory" if entry.is_directory else "file",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": http_date(entry.created_at),
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-server-encrypted": "true",
        "x-ms-owner": "$superuser",
        "x-ms-group": "$superuser",
        "x-ms-permissions": "---------",
    }


def content_of(headers: Mapping[str, str], prefix: str, base: Properties) -> Properties:
    """The stored content headers (`prefix` is x-ms- or x-ms-blob-) over those of `base`."""
    given = {name: headers.get(prefix + name.replace("_", "-")) for name in _CONTENT_FIELDS}
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The x-ms-meta- headers; raises InvalidMetadata for a name or value that cannot be kept."""
    found = {
        name[10:]: value.encode("latin-1").decode(errors="replace") for name, value in headers.items() if name.startswith("x-ms-meta-")
    }
    return _checked({name: value for name, value in found.items() if name != "hdi_isfolder"})


def decode_properties(text: str) -> dict[str, str]:
    """Read x-ms-properties, `name=base64,…`. Raises InvalidHeaderValue, InvalidMetadata."""
    pairs = [pair.strip().partition("=") for pair in text.split(",") if pair.strip()]
    try:
        return _checked({name.strip().lower(): base64.b64decode(value, validate=True).decode() for name, _, value in pairs})
    except ValueError as error:
        raise failures.bad_header("x-ms-properties") from error


def encode_properties(metadata: Mapping[str, str]) -> str:
    """Write x-ms-properties."""
    return ",".join(f"{name}={base64.b64encode(value.encode()).decode()}" for name, value in metadata.items())


def _checked(metadata: dict[str, str]) -> dict[str, str]:
    for name, value in metadata.items():
        if not _METADATA_NAME.match(name) or not _METADATA_VALUE.match(value):
            raise StorageError(
                400, "InvalidMetadata", f"The metadata specified is invalid: {name[:64]!r} or its value has a forbidden character."
            )
    return metadata


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse what would change the meaning of a call and is not modelled, instead of ignoring it."""
    for name in _UNSUPPORTED_HEADERS:
        if name in headers:
            raise failures.unsupported_header(name)


def add_common_headers(answer: Response, headers: Mapping[str, str]) -> None:
    """Add what goes with every answer: ids, the version of the protocol, and which request headers were ignored."""
    asked_version, client_id = headers.get("x-ms-version", ""), headers.get("x-ms-client-request-id")
    rejected = [name for name in _IGNORED_HEADERS if name in headers]
    common = {
        "x-ms-request-id": answer.headers.get("x-ms-request-id") or str(uuid.uuid4()),
        "x-ms-version": asked_version if _VERSION.match(asked_version) else "2021-06-08",
        **({"x-ms-client-request-id": client_id} if client_id else {}),
        **({"x-ms-rejected-headers": ",".join(rejected)} if rejected else {}),
    }
    answer.headers.update(common)


def refusal(error: StorageError, method: str, now: datetime, *, blob: bool) -> Response:
    """A StorageError in the envelope of the dialect; HEAD and 304 have no body, so the code is in a header alone."""
    if error.status == 304:
        return Response(None, 304, {"x-ms-error-code": error.code, **error.headers})
    code = blob_code(error.code) if blob or method == "HEAD" else error.code
    answer = (blob_error if blob else dfs_error)(error.status, code, error.message, now)
    answer.headers.update(error.headers)
    return answer
