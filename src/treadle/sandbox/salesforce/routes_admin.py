"""What the admin port can do with the org, for tests in another process.

GET /salesforce/writes[?external_id=…&object=…] → how often each external id was created, updated, deleted and edited.
GET, PATCH, DELETE /salesforce/records/{external_id}[?object=…]: read, change or delete a record as a person in Salesforce would.
GET /salesforce → options and the account; POST /salesforce takes {"options": {"daily": {"DailyBulkApiBatches": 3}, …}}; DELETE empties the org.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from treadle.sandbox.salesforce.cloud import SalesforceCloud
from treadle.sandbox.salesforce.org import SeveralError
from treadle.sandbox.salesforce.refusals import Refused
from treadle.sandbox.salesforce.schema import CUSTOMER_WEEKLY_METRIC
from treadle.sandbox.salesforce.workshop import Options

Handler = Callable[[Request], Awaitable[Response]]
ReadJson = Callable[[Request], Awaitable[Any]]


def salesforce_admin(cloud: SalesforceCloud, read_json: ReadJson) -> list[tuple[str, str, Handler]]:
    """Method, path and handler of each thing to do. read_json: how the admin port reads a body."""

    async def read(_: Request) -> Response:
        return JSONResponse({"options": asdict(cloud.options), "username": cloud.credentials.username})

    async def change(request: Request) -> Response:
        change_options(cloud.options, await read_json(request))
        return await read(request)

    async def empty(_: Request) -> Response:
        cloud.forget_everything()
        return Response(status_code=204)

    async def writes(request: Request) -> Response:
        return JSONResponse(cloud.writes(request.query_params.get("external_id"), _object(request)))

    async def record(request: Request) -> Response:
        return JSONResponse(cloud.record(request.path_params["external_id"], _object(request)))

    async def edit(request: Request) -> Response:
        return JSONResponse(cloud.edit(request.path_params["external_id"], await read_json(request), _object(request)))

    async def remove(request: Request) -> Response:
        cloud.remove(request.path_params["external_id"], _object(request))
        return Response(status_code=204)

    one = "/salesforce/records/{external_id:path}"
    return [
        ("GET", "/salesforce", read),
        ("POST", "/salesforce", change),
        ("DELETE", "/salesforce", empty),
        ("GET", "/salesforce/writes", _told(writes)),
        ("GET", one, _told(record)),
        ("PATCH", one, _told(edit)),
        ("DELETE", one, _told(remove)),
    ]


def change_options(options: Options, change: dict[str, Any]) -> None:
    """Set some options; allocations that are not named stay. Raises ValueError."""
    named = change.get("options")
    if set(change) != {"options"} or not isinstance(named, dict) or set(named) - set(Options.__dataclass_fields__):  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError(f"salesforce takes options: {', '.join(Options.__dataclass_fields__)}")
    values: dict[str, Any] = dict(named)  # pyright: ignore[reportUnknownArgumentType]
    options.daily.update(values.pop("daily", {}))
    for name, value in values.items():
        setattr(options, name, tuple(value) if name in {"audiences", "validation_rules"} else value)


def _object(request: Request) -> str:
    return request.query_params.get("object", CUSTOMER_WEEKLY_METRIC.name)


def _told(handler: Handler) -> Handler:
    """Say a refusal in Salesforce's words."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except (Refused, SeveralError) as refused:
            return JSONResponse({"error": str(refused)}, 404 if isinstance(refused, Refused) and refused.status == 404 else 400)

    return endpoint
