"""The query service on the wire: management, query (v1 and v2) and what clients ask about signing in.

The eventhouse stands in the path on localhost, and the first label of the host by Microsoft's names.
Sources: "Query/management HTTP request", "authentication" of the Kusto REST documentation; azure-kusto-data, _cloud_settings.py.
"""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from treadle.sandbox.answers import ErrorAnswer
from treadle.sandbox.endpoints import service_of_host
from treadle.sandbox.entra.store import EntraStore, TokenRejected
from treadle.sandbox.kusto.answers import Result, Told, management_answer, query_answer_v1, query_answer_v2
from treadle.sandbox.kusto.cloud import MOST_ROWS, KustoCloud
from treadle.sandbox.kusto.refusals import Refused, bad_command, not_modelled

Handle = Callable[[str, dict[str, Any]], Result]
Show = Callable[[Result, Told], Any]
_EVENTHOUSE: Final = "/eventhouses/{cluster}"
_LOGIN: Final = "https://login.microsoftonline.com"
_CODES: Final = {429: "General_TooManyRequests", 503: "General_ServiceUnavailable", 504: "General_Timeout", 501: "NotModelled"}


def kusto_routes(kusto: KustoCloud, entra: EntraStore, login_url: str) -> list[Route]:
    """All routes; a route's name is its operation id. `login_url`: the authority that clients on localhost are told."""

    def manage(cluster: str, body: dict[str, Any]) -> Result:
        return kusto.command(cluster, _database_of(body), _text_of(body))

    def query(cluster: str, body: dict[str, Any]) -> Result:
        return kusto.query(cluster, _database_of(body), _text_of(body), _most_rows(body))

    def at(path: str, name: str, handle: Handle, show: Show) -> list[Route]:
        endpoint = _endpoint(kusto, entra, handle, show)
        return [Route(prefix + path, endpoint, methods=["POST"], name=f"kusto.{name}") for prefix in ("", _EVENTHOUSE)]

    async def metadata(request: Request) -> Response:
        return JSONResponse(_sign_in(_LOGIN if _by_microsofts_name(request) else login_url))

    return [
        *at("/v1/rest/mgmt", "Management", manage, lambda result, _: management_answer(result)),
        *at("/v1/rest/query", "QueryV1", query, query_answer_v1),
        *at("/v2/rest/query", "Query", query, query_answer_v2),
        *(Route(f"{prefix}/v1/rest/auth/metadata", metadata, methods=["GET"], name="kusto.AuthMetadata") for prefix in ("", _EVENTHOUSE)),
    ]


def kusto_error(kusto: KustoCloud) -> ErrorAnswer:
    """The service's envelope for scripted faults and for what is not modelled."""

    def answer(status: int, code: str | None, message: str, _now: object) -> Response:
        refused = Refused(status, code or _CODES.get(status, "General_InternalServerError"), message, permanent=status < 429)
        return _refusal(kusto, refused, str(uuid.uuid4()))

    return answer


def _endpoint(kusto: KustoCloud, entra: EntraStore, handle: Handle, show: Show) -> Callable[[Request], Any]:
    async def respond(request: Request) -> Response:
        asked = request.headers.get("x-ms-client-request-id") or f"unspecified;{uuid.uuid4()}"
        raw = await request.body()
        try:
            entra.authenticate(request.headers, "kusto")
            cluster = _cluster(request)
            return await run_in_threadpool(_answer, kusto, lambda: handle(cluster, _body(raw)), show, asked)
        except TokenRejected as rejected:
            refused = Refused(401, "Unauthorized", rejected.message)
            answer = _refusal(kusto, refused, asked)
            answer.headers["WWW-Authenticate"] = f'Bearer authorization_uri="{_LOGIN}/{entra.credentials.tenant_id}"'
            return answer
        except Refused as refused:
            return _refusal(kusto, refused, asked)

    return respond


def _answer(kusto: KustoCloud, handle: Callable[[], Result], show: Show, asked: str) -> Response:
    began = time.monotonic()
    result = handle()
    told = Told(asked, kusto.clock.now(), time.monotonic() - began)
    headers = {"x-ms-client-request-id": asked, "x-ms-activity-id": told.activity_id}
    return Response(json.dumps(show(result, told)).encode(), 200, headers, media_type="application/json")


def _refusal(kusto: KustoCloud, refused: Refused, asked: str) -> Response:
    activity = str(uuid.uuid4())
    body = refused.envelope(client_request_id=asked, activity_id=activity, now=kusto.clock.now())
    return JSONResponse(body, refused.status, {"x-ms-client-request-id": asked, "x-ms-activity-id": activity})


def _cluster(request: Request) -> str:
    by_path = request.path_params.get("cluster")
    cluster = by_path if by_path is not None else request.headers.get("host", "").partition(".")[0]
    if by_path is None and not _by_microsofts_name(request):
        raise Refused(404, "NotFound", "The address names no eventhouse; take the queryServiceUri that Fabric says.")
    if cluster.startswith("ingest-"):
        raise not_modelled("The data management service (the ingestionServiceUri)")
    return cluster


def _by_microsofts_name(request: Request) -> bool:
    return service_of_host(request.headers.get("host", "")) == "kusto"


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body: Any = json.loads(raw)
    except ValueError as error:
        raise bad_command("The request body is not JSON.") from error
    if not isinstance(body, dict):
        raise bad_command("The request body is not a JSON object.")
    read = cast("dict[str, Any]", body)
    if _properties(read).get("Parameters"):
        raise not_modelled("Query parameters")
    return read


def _text_of(body: dict[str, Any]) -> str:
    text = body.get("csl")
    if not isinstance(text, str) or not text.strip():
        raise bad_command("The request has no text in 'csl'.", "BadRequest_EmptyRequest")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a pair of code units, which JSON can carry
        raise bad_command("The text in 'csl' is not valid Unicode.") from error
    return text


def _database_of(body: dict[str, Any]) -> str | None:
    name = body.get("db")
    if name is not None and not isinstance(name, str):
        raise bad_command("The database 'db' is not a text.")
    return name


def _properties(body: dict[str, Any]) -> dict[str, Any]:
    """The request properties, which clients send as an object or as JSON in a text."""
    given: Any = body.get("properties") or "{}"
    try:
        read: Any = json.loads(given) if isinstance(given, str) else given
    except ValueError as error:
        raise bad_command("The request properties are not JSON.") from error
    return cast("dict[str, Any]", read) if isinstance(read, dict) else {}


def _most_rows(body: dict[str, Any]) -> int | None:
    given: Any = _properties(body).get("Options")
    options = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    most = options.get("truncationmaxrecords", MOST_ROWS)
    if not isinstance(most, int) or most < 0:
        raise bad_command("The option 'truncationmaxrecords' is not a whole number.")
    return None if options.get("notruncation") is True else most


def _sign_in(login_url: str) -> dict[str, Any]:
    azure = {
        "LoginEndpoint": login_url,
        "LoginMfaRequired": False,
        "KustoClientAppId": "db662dc1-0cfe-4e1c-a843-19a68e65be58",
        "KustoClientRedirectUri": "https://microsoft/kustoclient",
        "KustoServiceResourceId": "https://kusto.kusto.windows.net",
        "FirstPartyAuthorityUrl": f"{login_url}/f8cdef31-a31e-4b4a-93e4-5f571e91255a",
    }
    return {"AzureAD": azure, "dSTS": None}
