"""Between HTTP and the rules: a request becomes a `Call`, an `Answer` becomes a response, each with what Fabric puts around them.

Source of the headers: recorded traffic of ms-fabric-cli and fabric-cicd (their test fixtures).
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.sandbox.entra.store import Principal, TokenRejected
from treadle.sandbox.fabric.records import Row, new_id
from treadle.sandbox.fabric.refusals import Refused, invalid

Authenticate = Callable[[Mapping[str, str], str], Principal]
_EXPOSED: Final = ("RequestId", "Location", "Retry-After", "ETag", "x-ms-operation-id")
_COMMON_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store, must-revalidate, no-cache",
    "Pragma": "no-cache",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "home-cluster-uri": "https://wabi-sandbox-redirect.analysis.windows.net/",
    "request-redirected": "true",
}
_JSON: Final = "application/json; charset=utf-8"
_EMPTY: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request. `base_url` is the host that the client used, so that links lead back through the same door."""

    operation: str
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any]
    principal_id: str
    request_id: str
    base_url: str
    path: str

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean of the query, whatever its case."""
        return self.query.get(name, str(default)).lower() == "true"

    def number(self, name: str, *, default: int) -> int:
        """A whole number above 0 of the query."""
        text = self.query.get(name, str(default))
        if not text.isascii() or not text.isdecimal() or int(text[:9]) < 1:
            raise invalid(f"The value '{text}' of {name} is not a number above 0.")
        return int(text[:9])

    def object(self, name: str) -> dict[str, Any]:
        """An object of the body; an absent one is empty."""
        value = self.body.get(name)
        if value is not None and not isinstance(value, dict):
            raise invalid(f"{name} is not an object.")
        return cast("dict[str, Any]", value or {})


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, JSON body (None is the word null; `empty`: no body at all; `text`: JSON that is written already) and headers of its own."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    empty: bool = False
    text: bytes | None = None


def nothing(status: int, **headers: str) -> Answer:
    """An answer without a body; Fabric calls that octet-stream."""
    return Answer(status, headers={name.replace("_", "-"): value for name, value in headers.items()}, empty=True)


class AnyCaseRoute(Route):
    """A route whose fixed words match in any case, as Fabric's do: clients write dataPipelines and datapipelines."""

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: Sequence[str], name: str) -> None:
        super().__init__(path, endpoint, methods=list(methods), name=name)
        self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE)


def endpoint(operation: str, authenticate: Authenticate, handle: Callable[[Call], Answer]) -> Callable[[Request], Any]:
    """The Starlette endpoint that authenticates, reads the JSON body, calls `handle` in a thread and writes its answer."""

    async def respond(request: Request) -> Response:
        request_id = new_id()
        try:
            body = await request.body()
            call = _read(operation, request, body, request_id, authenticate)
            answer = await run_in_threadpool(handle, call)
        except Refused as refused:
            return _refusal(refused, request_id)
        return _response(answer, request_id)

    return respond


def page(rows: Sequence[Row], call: Call, size: int, show: Callable[[Row], Any], key: str = "value") -> Answer:
    """One page of a list whose rows are in order of `seq`, up or down; the token names the last row that was seen."""
    after = _read_token(call.query.get("continuationToken"))
    rising = len(rows) < 2 or rows[0]["seq"] < rows[-1]["seq"]
    left = [row for row in rows if after is None or (row["seq"] > after if rising else row["seq"] < after)]
    body: dict[str, Any] = {key: [show(row) for row in left[:size]]}
    if len(left) > size:
        token = base64.urlsafe_b64encode(f"after:{left[size - 1]['seq']}".encode()).decode()
        query = {name: value for name, value in call.query.items() if name != "continuationToken"} | {"continuationToken": token}
        body |= {"continuationToken": token, "continuationUri": f"{call.base_url}{call.path}?{urlencode(query)}"}
    return Answer(200, body)


def _read_token(token: str | None) -> int | None:
    if not token:
        return None
    try:
        word, _, seq = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        if word == "after":
            return int(seq)
    except (binascii.Error, ValueError):  # a made-up token is refused below, like one of another kind
        pass
    raise invalid("The continuation token is not valid.", "InvalidContinuationToken")


def _read(operation: str, request: Request, body: bytes, request_id: str, authenticate: Authenticate) -> Call:
    try:
        principal = authenticate(request.headers, "fabric")
    except TokenRejected as rejected:
        raise Refused(401, rejected.code, rejected.message, headers={"WWW-Authenticate": "Bearer"}) from rejected
    return Call(
        operation=operation,
        ids=request.path_params,
        query=request.query_params,
        body={} if request.method in ("GET", "DELETE") else _read_json(body),
        principal_id=principal.object_id,
        request_id=request_id,
        base_url=f"https://{request.headers.get('host', 'api.fabric.microsoft.com')}",
        path=request.url.path,
    )


def _read_json(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError as error:
        raise invalid("The request body is not valid JSON.", "InvalidInput") from error
    if value in (None, "{}"):  # fabric-cicd encodes its empty body twice; real Fabric does not mind
        return {}
    if not isinstance(value, dict):
        raise invalid("The request body is not a JSON object.", "InvalidInput")
    return cast("dict[str, Any]", value)


def _response(answer: Answer, request_id: str) -> Response:
    headers = _with_common({"RequestId": request_id, **answer.headers})
    if answer.empty:
        return Response(b"", answer.status, headers, media_type=_EMPTY)
    body = json.dumps(answer.body).encode() if answer.text is None else answer.text
    return Response(body, answer.status, headers | {"Content-Type": _JSON})


def _refusal(refused: Refused, request_id: str) -> Response:
    headers = _with_common({"RequestId": request_id, "x-ms-public-api-error-code": refused.code, **refused.headers})
    body = json.dumps(refused.envelope(request_id)).encode()
    return Response(body, refused.status, headers | {"Content-Type": _JSON})


def _with_common(headers: Mapping[str, str]) -> dict[str, str]:
    exposed = ",".join(name for name in _EXPOSED if name in headers)
    return {**_COMMON_HEADERS, "Access-Control-Expose-Headers": exposed, **headers}
