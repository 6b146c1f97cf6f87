"""The org on the wire: versions, resources, limits, describe, rows, query and Collections.

Sources: REST guide – Versions, Resources by Version, Limits, sObject Basic Information, sObject Describe, sObject Rows, sObject Rows by External ID,
Query, sObject Collections; Status Codes and Error Responses.
"""

import itertools
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, cast

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from treadle.sandbox.salesforce.cloud import SalesforceCloud
from treadle.sandbox.salesforce.org import SeveralError
from treadle.sandbox.salesforce.refusals import Refused, no_resource
from treadle.sandbox.salesforce.schema import OBJECTS, SObject
from treadle.sandbox.salesforce.soql import Query, parse
from treadle.sandbox.salesforce.writing import RowResult

VERSIONS: Final = range(31, 68)
_LABELS: Final = {64: "Summer '25", 65: "Winter '26", 66: "Spring '26", 67: "Summer '26"}
_CURSORS_KEPT: Final = 1000
_USUAL_CODES: Final = {
    400: "BAD_REQUEST", 401: "INVALID_SESSION_ID", 403: "REQUEST_LIMIT_EXCEEDED", 404: "NOT_FOUND", 429: "REQUEST_LIMIT_EXCEEDED",
    500: "UNKNOWN_EXCEPTION", 501: "NOT_MODELLED", 503: "SERVER_UNAVAILABLE",
}  # fmt: skip

Handler = Callable[[Request, bytes], Response]


def salesforce_error(status: int, code: str | None, message: str, now: datetime) -> Response:
    """`[{"errorCode", "message"}]`, the list that every REST and Bulk error comes in."""
    _ = now
    return JSONResponse([{"errorCode": code or _USUAL_CODES.get(status, "UNKNOWN_EXCEPTION"), "message": message}], status)


class AnyCase(Route):
    """A route whose fixed parts are matched in any case, as Salesforce's are."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str, name: str) -> None:
        super().__init__(path, endpoint, methods=[method], name=f"salesforce.{name}")
        self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE)


class Door:
    """What every request to the data API goes through: session, version, allocation; refusals become Salesforce's list of errors."""

    def __init__(self, cloud: SalesforceCloud) -> None:
        self._cloud = cloud

    def checked(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that reads the body and runs the handler in a thread, as a batch that is being written may keep it waiting."""

        async def endpoint(request: Request) -> Response:
            body = await request.body()
            return await anyio.to_thread.run_sync(self._answer, handler, request, body)

        return endpoint

    def admit(self, request: Request) -> None:
        """Raises Refused for a request that may not come in."""
        scheme, _, session = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in {"bearer", "oauth"}:
            raise Refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
        self._cloud.identity.check_session(session.strip())
        if "version" in request.path_params:
            check_version(request)
        if not self._cloud.allocations.remaining("DailyApiRequests"):
            raise Refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self._cloud.allocations.use("DailyApiRequests")

    def mark(self, response: Response) -> Response:
        """Add what every answer carries."""
        response.headers["Sforce-Limit-Info"] = self._cloud.allocations.in_header()
        return response

    def refusal(self, refused: Refused) -> Response:
        """The answer to a refused request."""
        error: dict[str, Any] = {"errorCode": refused.code, "message": refused.message}
        return JSONResponse([error | ({"fields": list(refused.fields)} if refused.fields else {})], refused.status)

    def _answer(self, handler: Handler, request: Request, body: bytes) -> Response:
        try:
            self.admit(request)
            return self.mark(handler(request, body))
        except SeveralError as several:
            return self.mark(JSONResponse(several.places, 300))
        except Refused as refused:
            return self.refusal(refused)


def check_version(request: Request) -> str:
    """The version in the address, such as "66.0". Raises Refused for one that there is not."""
    version = str(request.path_params["version"])
    found = re.fullmatch(r"(\d{1,3})\.0", version)
    if found is None or int(found.group(1)) not in VERSIONS:
        raise no_resource()
    return version


def read_json(body: bytes) -> Any:
    """The JSON of a request. Raises Refused."""
    try:
        return json.loads(body)
    except ValueError as error:
        raise Refused(400, "JSON_PARSER_ERROR", f"Unexpected character in the request body: {error}") from error


def data_routes(cloud: SalesforceCloud) -> list[Route]:
    """The routes of the data API; the operation id is the route's name."""
    door, data = Door(cloud), _Data(cloud)
    base = "/services/data/v{version}"
    rows = base + "/sobjects/{object}/{record}"
    by_key = base + "/sobjects/{object}/{field}/{key:path}"
    collection = base + "/composite/sobjects"

    def route(path: str, method: str, handler: Handler, name: str) -> Route:
        return AnyCase(path, door.checked(handler), method, name)

    return [
        AnyCase("/services/data", _versions, "GET", "GetVersions"),
        AnyCase("/services/data/", _versions, "GET", "GetVersions"),
        route(base, "GET", data.resources, "GetResources"),
        route(base + "/", "GET", data.resources, "GetResources"),
        route(base + "/limits", "GET", data.limits, "GetLimits"),
        route(base + "/limits/", "GET", data.limits, "GetLimits"),
        route(base + "/sobjects", "GET", data.objects, "DescribeGlobal"),
        route(base + "/sobjects/", "GET", data.objects, "DescribeGlobal"),
        route(base + "/sobjects/{object}/describe", "GET", data.describe, "DescribeSObject"),
        route(base + "/query", "GET", data.query, "Query"),
        route(base + "/query/", "GET", data.query, "Query"),
        route(base + "/query/{locator}", "GET", data.more, "QueryMore"),
        route(base + "/sobjects/{object}", "GET", data.basic, "GetSObject"),
        route(base + "/sobjects/{object}", "POST", data.create, "CreateRecord"),
        route(base + "/sobjects/{object}/", "POST", data.create, "CreateRecord"),
        route(rows, "GET", data.read, "GetRecord"),
        route(rows, "PATCH", data.update, "UpdateRecord"),
        route(rows, "DELETE", data.delete, "DeleteRecord"),
        route(by_key, "GET", data.read_by_key, "GetRecordByExternalId"),
        route(by_key, "PATCH", data.upsert, "UpsertRecord"),
        route(collection, "POST", data.create_collection, "CreateCollection"),
        route(collection, "PATCH", data.update_collection, "UpdateCollection"),
        route(collection, "DELETE", data.delete_collection, "DeleteCollection"),
        route(collection + "/{object}/{field}", "PATCH", data.upsert_collection, "UpsertCollection"),
    ]


class _Data:
    def __init__(self, cloud: SalesforceCloud) -> None:
        self._cloud, self._org = cloud, cloud.org
        self._cursors: dict[str, tuple[Query, int, int]] = {}
        self._numbers = itertools.count(1)

    def resources(self, request: Request, _: bytes) -> Response:
        base = f"/services/data/v{request.path_params['version']}"
        return JSONResponse({name: f"{base}/{path}" for name, path in (
            ("sobjects", "sobjects"), ("query", "query"), ("limits", "limits"), ("composite", "composite"), ("jobs", "jobs"),
        )} | {"identity": f"{self._cloud.identity.instance_url}/services/oauth2/userinfo"})  # fmt: skip

    def limits(self, _request: Request, _: bytes) -> Response:
        return JSONResponse(self._cloud.allocations.describe())

    def objects(self, request: Request, _: bytes) -> Response:
        shown = [one.summary() | {"urls": _urls(request, one)} for one in OBJECTS.values()]
        return JSONResponse({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": shown})

    def basic(self, request: Request, _: bytes) -> Response:
        return JSONResponse({"objectDescribe": _object(request).summary(), "recentItems": []})

    def describe(self, request: Request, _: bytes) -> Response:
        sobject = _object(request)
        return JSONResponse(sobject.describe() | {"urls": _urls(request, sobject)})

    def create(self, request: Request, body: bytes) -> Response:
        result = self._org.write("insert", _object(request), _record(body))
        return JSONResponse({"id": result.identity, "success": True, "errors": []}, 201)

    def read(self, request: Request, _: bytes) -> Response:
        sobject = _object(request)
        return JSONResponse(_chosen(request, _attributed(request, sobject, self._org.read(sobject, request.path_params["record"]))))

    def update(self, request: Request, body: bytes) -> Response:
        self._org.write("update", _object(request), _record(body), identity=request.path_params["record"])
        return Response(status_code=204)

    def delete(self, request: Request, _: bytes) -> Response:
        self._org.write("delete", _object(request), {}, identity=request.path_params["record"])
        return Response(status_code=204)

    def read_by_key(self, request: Request, _: bytes) -> Response:
        sobject, key = _keyed(request)
        found = self._org.read_by_key(sobject, key, request.path_params["version"])
        return JSONResponse(_chosen(request, _attributed(request, sobject, found)))

    def upsert(self, request: Request, body: bytes) -> Response:
        """201 for a new record, 200 for one that was there (204 before version 46)."""
        sobject, key = _keyed(request)
        record = _record(body)
        if any(name.lower() in {"id", sobject.external_id.name.lower()} for name in record):
            told = f"The {sobject.external_id.name} field should not be specified in the sobject data."
            raise Refused(400, "INVALID_FIELD", told, (sobject.external_id.name,))
        result = self._org.write("upsert", sobject, record, key=key)
        if not result.created and float(request.path_params["version"]) < 46:
            return Response(status_code=204)
        shown: dict[str, Any] = {"id": result.identity, "success": True, "errors": [], "created": result.created}
        return JSONResponse(shown, 201 if result.created else 200)

    def create_collection(self, _request: Request, body: bytes) -> Response:
        records, all_or_none = _collection(body)
        return _collected(self._org.write_collection("insert", records, all_or_none=all_or_none))

    def update_collection(self, _request: Request, body: bytes) -> Response:
        records, all_or_none = _collection(body)
        return _collected(self._org.write_collection("update", records, all_or_none=all_or_none))

    def upsert_collection(self, request: Request, body: bytes) -> Response:
        records, all_or_none = _collection(body)
        sobject = _object(request)
        if request.path_params["field"].lower() != sobject.external_id.name.lower():
            raise no_resource()
        results = self._org.write_collection("upsert", records, all_or_none=all_or_none, expected=sobject)
        return _collected(results, tells_created=True)

    def delete_collection(self, request: Request, _: bytes) -> Response:
        identities = [one for one in request.query_params.get("ids", "").split(",") if one]
        all_or_none = request.query_params.get("allOrNone", "false").lower() == "true"
        return _collected(self._org.delete_collection(identities, all_or_none=all_or_none))

    def query(self, request: Request, _: bytes) -> Response:
        return self._page(request, parse(request.query_params.get("q", "")), 0, 0)

    def more(self, request: Request, _: bytes) -> Response:
        cursor = self._cursors.get(request.path_params["locator"])
        if cursor is None:
            raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(request, *cursor)

    def _page(self, request: Request, query: Query, after: int, taken: int) -> Response:
        rows, total, more = self._org.query(query, after, taken)
        shown = [_attributed(request, query.sobject, self._org.shown(query.sobject, row, query.fields)) for row in rows]
        answer: dict[str, Any] = {"totalSize": total, "done": not more, "records": shown}
        if more:
            locator = f"01g{next(self._numbers):012d}-{taken + len(rows)}"
            self._cursors[locator] = (query, rows[-1]["number"], taken + len(rows))
            if len(self._cursors) > _CURSORS_KEPT:
                self._cursors.pop(next(iter(self._cursors)))
            answer["nextRecordsUrl"] = f"/services/data/v{request.path_params['version']}/query/{locator}"
        return JSONResponse(answer)


async def _versions(_: Request) -> Response:
    """Needs no session."""
    shown = [{"label": _LABELS.get(one, f"Version {one}"), "url": f"/services/data/v{one}.0", "version": f"{one}.0"} for one in VERSIONS]
    return JSONResponse(shown)


def _object(request: Request) -> SObject:
    found = OBJECTS.get(str(request.path_params["object"]).lower())
    if found is None:
        raise no_resource()
    return found


def _keyed(request: Request) -> tuple[SObject, str]:
    sobject = _object(request)
    if request.path_params["field"].lower() != sobject.external_id.name.lower():
        told = f"Provided external ID field does not exist or is not accessible: {request.path_params['field']}"
        raise Refused(404, "NOT_FOUND", told)
    return sobject, str(request.path_params["key"])


def _record(body: bytes) -> Mapping[str, Any]:
    record = read_json(body)
    if not isinstance(record, dict):
        raise Refused(400, "JSON_PARSER_ERROR", "The request body must be one JSON object.")
    return {name: value for name, value in cast("dict[str, Any]", record).items() if name != "attributes"}


def _collection(body: bytes) -> tuple[list[Mapping[str, Any]], bool]:
    asked = read_json(body)
    records: Any = cast("dict[str, Any]", asked).get("records") if isinstance(asked, dict) else None
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in cast("list[Any]", records)):
        raise Refused(400, "JSON_PARSER_ERROR", "The request body must be an object with a list of records.")
    return cast("list[Mapping[str, Any]]", records), bool(cast("dict[str, Any]", asked).get("allOrNone", False))


def _collected(results: list[RowResult], *, tells_created: bool = False) -> Response:
    def shown(result: RowResult) -> dict[str, Any]:
        if result.fault:
            return {"success": False, "errors": [result.fault.in_json()]}
        told: dict[str, Any] = {"id": result.identity, "success": True, "errors": []}
        return told | ({"created": result.created} if tells_created else {})

    return JSONResponse([shown(result) for result in results])


def _attributed(request: Request, sobject: SObject, record: dict[str, Any]) -> dict[str, Any]:
    attributes = {"type": sobject.name}
    if "Id" in record:
        attributes["url"] = f"/services/data/v{request.path_params['version']}/sobjects/{sobject.name}/{record['Id']}"
    return {"attributes": attributes} | record


def _chosen(request: Request, record: dict[str, Any]) -> dict[str, Any]:
    """`?fields=A,B` leaves out the other fields."""
    wanted = {name.strip().lower() for name in request.query_params.get("fields", "").split(",") if name.strip()}
    return {name: value for name, value in record.items() if not wanted or name.lower() in {*wanted, "attributes", "id"}}


def _urls(request: Request, sobject: SObject) -> dict[str, str]:
    base = f"/services/data/v{request.path_params['version']}/sobjects/{sobject.name}"
    return {"sobject": base, "describe": f"{base}/describe", "rowTemplate": f"{base}/{{ID}}"}
