"""Which operation a request is, and the two ASGI apps that answer it.

    dfs, blob = dfs_app(store, clock, faults, authenticate), blob_app(store, clock, faults, authenticate)

`dfs_operation(scope)` and `blob_operation(scope)` give the id that fault scripts and the request log use, None for what is not modelled.
The DFS app answers Blob requests as well: the vendor's Data Lake client sends them to the same host where the URL has no ".dfs." in it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.sandbox.clock import Clock
from treadle.sandbox.entra.store import TokenRejected
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.onelake import blob, dfs, reading
from treadle.sandbox.onelake.batch import batch
from treadle.sandbox.onelake.blob_listing import list_blobs
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.store import LakeStore
from treadle.sandbox.onelake.wire import Authenticate, Call, add_common_headers, check_headers, refusal

Handler = Callable[[Call], Awaitable[Response]]
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"})
_BLOB_OPERATIONS: Final = ("onelake.Blob.", "onelake.Container.", "onelake.Account.")

HANDLERS: Final[Mapping[str, Handler]] = {
    "onelake.Filesystem.List": dfs.list_filesystems,
    "onelake.Filesystem.GetProperties": dfs.filesystem_properties,
    "onelake.Filesystem.Change": dfs.refuse_managed,
    "onelake.Path.Create": dfs.create,
    "onelake.Path.Rename": dfs.rename,
    "onelake.Path.Append": dfs.append,
    "onelake.Path.Flush": dfs.flush,
    "onelake.Path.SetProperties": dfs.set_properties,
    "onelake.Path.SetAccessControl": dfs.refuse_access_control,
    "onelake.Path.Update": dfs.refuse_action,
    "onelake.Path.GetProperties": reading.get_properties,
    "onelake.Path.Read": reading.read,
    "onelake.Path.Delete": dfs.delete,
    "onelake.Path.List": dfs.list_paths,
    "onelake.Account.GetInformation": blob.account_information,
    "onelake.Container.List": blob.list_containers,
    "onelake.Container.GetProperties": blob.container_properties,
    "onelake.Container.Change": dfs.refuse_managed,
    "onelake.Blob.Put": blob.put,
    "onelake.Blob.PutBlock": blob.put_block,
    "onelake.Blob.PutBlockList": blob.put_block_list,
    "onelake.Blob.GetBlockList": blob.get_block_list,
    "onelake.Blob.GetProperties": reading.get_properties,
    "onelake.Blob.Get": reading.read,
    "onelake.Blob.GetMetadata": blob.get_metadata,
    "onelake.Blob.SetMetadata": blob.set_metadata,
    "onelake.Blob.SetProperties": blob.set_properties,
    "onelake.Blob.Copy": blob.copy,
    "onelake.Blob.Delete": blob.delete,
    "onelake.Blob.List": list_blobs,
    "onelake.Blob.Batch": batch,
    "onelake.MethodNotAllowed": dfs.refuse_method,
}

_DFS_UPDATES: Final[Mapping[str | None, str]] = {
    "append": "onelake.Path.Append",
    "flush": "onelake.Path.Flush",
    "setProperties": "onelake.Path.SetProperties",
    "setAccessControl": "onelake.Path.SetAccessControl",
    "setAccessControlRecursive": "onelake.Path.SetAccessControl",
}
_DFS_PATHS: Final[Mapping[str, str]] = {"GET": "onelake.Path.Read", "HEAD": "onelake.Path.GetProperties", "DELETE": "onelake.Path.Delete"}
_BLOB_PATHS: Final[Mapping[tuple[str, str], str]] = {
    ("GET", ""): "onelake.Blob.Get",
    ("HEAD", ""): "onelake.Blob.GetProperties",
    ("DELETE", ""): "onelake.Blob.Delete",
    ("PUT", "block"): "onelake.Blob.PutBlock",
    ("PUT", "blocklist"): "onelake.Blob.PutBlockList",
    ("GET", "blocklist"): "onelake.Blob.GetBlockList",
    ("PUT", "metadata"): "onelake.Blob.SetMetadata",
    ("GET", "metadata"): "onelake.Blob.GetMetadata",
    ("HEAD", "metadata"): "onelake.Blob.GetMetadata",
    ("PUT", "properties"): "onelake.Blob.SetProperties",
}
_BLOB_CONTAINERS: Final[Mapping[tuple[str, str], str]] = {
    ("GET", "list"): "onelake.Blob.List",
    ("POST", "batch"): "onelake.Blob.Batch",
    ("GET", ""): "onelake.Container.GetProperties",
    ("HEAD", ""): "onelake.Container.GetProperties",
    ("PUT", ""): "onelake.Container.Change",
    ("DELETE", ""): "onelake.Container.Change",
}


def dfs_app(store: LakeStore, clock: Clock, faults: FaultScript, authenticate: Authenticate, *, tenant_id: str = "common") -> ASGIApp:
    """The app behind the DFS host. tenant_id: where a refused client is told to sign in."""
    return _App(dfs_operation, _Parts(store, clock, faults, authenticate, tenant_id))


def blob_app(store: LakeStore, clock: Clock, faults: FaultScript, authenticate: Authenticate, *, tenant_id: str = "common") -> ASGIApp:
    """The app behind the Blob host. tenant_id: as above."""
    return _App(blob_operation, _Parts(store, clock, faults, authenticate, tenant_id))


def dfs_operation(scope: Scope) -> str | None:
    """The operation id of a request to the DFS host."""
    query, headers, method = _query(scope), Headers(scope=scope), scope["method"]
    if "comp" in query or "restype" in query or "x-ms-blob-type" in headers or "x-ms-copy-source" in headers:
        return blob_operation(scope)
    if method not in _METHODS:
        return "onelake.MethodNotAllowed"
    if query.get("resource") == "account":
        return "onelake.Filesystem.List" if method == "GET" else None
    if query.get("resource") == "filesystem" or _depth(scope) == 1:
        return _filesystem_operation(method, query)
    return _path_operation(method, query, headers)


def blob_operation(scope: Scope) -> str | None:
    """The operation id of a request to the Blob host."""
    query, headers, method = _query(scope), Headers(scope=scope), scope["method"]
    comp, restype = query.get("comp", ""), query.get("restype", "")
    if method not in _METHODS - {"PATCH"}:
        return "onelake.MethodNotAllowed"
    if "snapshot" in query or "versionid" in query:
        return None
    if restype == "account" and comp == "properties":
        return "onelake.Account.GetInformation"
    if _depth(scope) == 0:
        return "onelake.Container.List" if (method, comp, restype) == ("GET", "list", "") else None
    if restype or _depth(scope) == 1:
        served = restype in {"container", ""} and (_depth(scope) == 1 or comp == "batch")
        return _BLOB_CONTAINERS.get((method, comp)) if served else None
    return _BLOB_PATHS.get((method, comp)) if (method, comp) != ("PUT", "") else _put_operation(headers)


def _filesystem_operation(method: str, query: Mapping[str, str]) -> str | None:
    if method == "HEAD":
        return "onelake.Filesystem.GetProperties"
    if method == "GET":
        return "onelake.Path.List" if query.get("resource") == "filesystem" else None
    return "onelake.Filesystem.Change" if method in {"PUT", "PATCH", "DELETE"} else None


def _path_operation(method: str, query: Mapping[str, str], headers: Headers) -> str | None:
    if method == "PUT":
        return "onelake.Path.Rename" if "x-ms-rename-source" in headers and "resource" not in query else "onelake.Path.Create"
    if method == "PATCH":
        return _DFS_UPDATES.get(query.get("action"), "onelake.Path.Update")
    return _DFS_PATHS.get(method)


def _put_operation(headers: Headers) -> str | None:
    kind = headers.get("x-ms-blob-type")
    if "x-ms-copy-source" in headers:
        return "onelake.Blob.Copy" if kind is None else None
    return "onelake.Blob.Put" if kind in {"BlockBlob", None} else None


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def _depth(scope: Scope) -> int:
    """0 for the account, 1 for a workspace, more below; the account prefix does not count."""
    names = [name for name in scope["raw_path"].split(b"/") if name]
    return len(names) - (1 if names and names[0].lower() == b"onelake" else 0)


@dataclass(frozen=True, slots=True)
class _Parts:
    store: LakeStore
    clock: Clock
    faults: FaultScript
    authenticate: Authenticate
    tenant_id: str


class _App:
    """Authenticates, hands the request to its operation, and words refusals in the dialect of the operation."""

    def __init__(self, operation_of: Callable[[Scope], str | None], parts: _Parts) -> None:
        self._operation_of, self._parts = operation_of, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that has an operation id."""
        parts, request = self._parts, Request(scope, receive)
        call = Call(request, self._operation_of(scope) or "", parts.store, parts.faults, parts.clock)
        try:
            answer = await self._answer(call)
        except StorageError as error:
            is_blob = call.operation.startswith(_BLOB_OPERATIONS)
            answer = refusal(error, request.method, parts.clock.now(), blob=is_blob)
        add_common_headers(answer, request.headers)
        await answer(scope, receive, send)

    async def _answer(self, call: Call) -> Response:
        try:
            self._parts.authenticate(call.headers, "onelake")
        except TokenRejected as error:
            code = "NoAuthenticationInformation" if error.reason == "missing" else "InvalidAuthenticationInfo"
            sign_in = f"https://login.microsoftonline.com/{self._parts.tenant_id}/oauth2/authorize"
            challenge = {"WWW-Authenticate": f"Bearer authorization_uri={sign_in} resource_id=https://storage.azure.com"}
            raise StorageError(401, code, f"Server failed to authenticate the request: {error.message}", challenge) from error
        check_headers(call.headers)
        return await HANDLERS[call.operation](call)
