"""Errors as answers: RFC 9457 problem details with a stable code, a hint and the correlation id, and never a secret or a stack trace.

A script goes by `code` and by the status; `detail` and `hint` are for the person who reads its log. What the caller did wrong is 4xx, what this
service or a system behind it did is 5xx – also when that system calls it "not permitted": the caller's own rights are another matter.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from treadle import errors
from treadle.api.answers import Json, same_form
from treadle.api.words import told
from treadle.errors import TreadleError
from treadle.logs import redact_value

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5  # what a caller is asked to wait when nobody knows better

# By class, most specific first: code, status, title.
KINDS: Final[Mapping[type[TreadleError], tuple[str, int, str]]] = {
    errors.LockHeld: ("lock_held", 409, "Another run holds the lock"),
    errors.Conflict: ("conflict", 409, "The state of the thing does not allow this"),
    errors.MissingSettings: ("missing_settings", 500, "The service is not set up"),
    errors.InvalidInput: ("invalid_input", 422, "The input cannot be used"),
    errors.NotFound: ("not_found", 404, "There is no such thing"),
    errors.Unauthenticated: ("upstream_refused", 502, "A system behind this one did not let us in"),
    errors.PermissionDenied: ("upstream_refused", 502, "A system behind this one did not let us in"),
    errors.Throttled: ("upstream_throttled", 503, "A system behind this one asks us to wait"),
    errors.Unavailable: ("unavailable", 503, "A system behind this one cannot be reached"),
    errors.OutcomeUnknown: ("outcome_unknown", 502, "It may have happened"),
    errors.OperationFailed: ("operation_failed", 502, "A system behind this one did the work, and it failed"),
    errors.ChecksumMismatch: ("checksum_mismatch", 502, "Stored bytes are not those that were written"),
    errors.UnexpectedAnswer: ("unexpected_answer", 502, "A system behind this one broke its contract"),
}

_BY_STATUS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("malformed", "The request cannot be read"),
    404: ("not_found", "There is nothing at this address"),
    405: ("method_not_allowed", "The address does not take this method"),
    408: ("timed_out", "The request did not arrive in time"),
    412: ("precondition_failed", "The thing is not as the request expects it"),
    413: ("too_large", "The request is too large"),
    415: ("unsupported_media_type", "The body is of a kind that is not read here"),
    416: ("range_not_satisfiable", "The range lies outside the file"),
    421: ("host_not_allowed", "This is not a name of the service"),
    431: ("headers_too_large", "The headers are too large"),
    503: ("unavailable", "A system behind this one cannot be reached"),
    504: ("timed_out", "The answer did not come in time"),
}


class CallerUnauthenticated(errors.Unauthenticated):
    """The caller of this API is not signed in, or not any more. given: a token was sent, and it is not good."""

    def __init__(self, message: str, *, hint: str | None = None, given: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.given = given


class TooManyRequests(errors.Throttled):
    """The caller of this API asks more often than is allowed."""


class HttpProblem(HTTPException):
    """A refusal that HTTP itself has a status for, with words of ours."""

    def __init__(  # noqa: PLR0913 - the members of a problem, each named
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code, self.hint, self.details = code, hint, dict(details or {})


class Problem(BaseModel):
    """Why a request was not answered as asked."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="The code as a URN.", examples=["urn:treadle:problem:not_found"])
    title: str = Field(description="The kind of problem.", examples=["There is no such thing"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What is wrong, for people.", examples=["There is no run 0d3c6c7e-0000-4000-8000-000000000000."])
    code: str = Field(description="Stable; what a script goes by.", examples=["not_found"])
    hint: str | None = Field(default=None, description="What to do next.", examples=["List the runs with: GET /api/runs"])
    correlation_id: str = Field(description="Names this request in the logs.", examples=["7f0c9a2e51d74b7f8a3e5d2c1b0a9f8e"])


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem answers of a route, for its OpenAPI."""
    return {status: _documented(status) for status in sorted(statuses)}


def documented_by(example: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """One problem answer of a route, by an example of its own."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": dict(example)}}
    return {int(example["status"]): {"description": example["title"], "content": content}}


def add_handlers(app: FastAPI) -> None:
    """Answer every error that leaves a route as a problem."""
    app.add_exception_handler(TreadleError, _treadle_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)


def problem_of(error: TreadleError, request: Request) -> JSONResponse:
    """The answer for an error of ours."""
    code, status, title = _kind(error)
    headers = _headers(error, status)
    if status >= 500:
        log.warning("request.failed", code=code, error=error.message, kind=type(error).__name__, details=error.details)
    detail, hint = told(error)
    return problem(request.scope, status, code, detail, title=title, hint=hint, details=error.details, headers=headers)


def problem(  # noqa: PLR0913 - the members of a problem, each named
    scope: Mapping[str, Any],
    status: int,
    code: str,
    detail: str,
    *,
    title: str | None = None,
    hint: str | None = None,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer itself. Members of `details` stand beside the others; none of them replaces one that RFC 9457 or we define."""
    members = {
        "type": f"urn:treadle:problem:{code}",
        "title": title or _BY_STATUS.get(status, (code, HTTPStatus(status).phrase))[1],
        "status": status,
        "detail": detail,
        "code": code,
        "hint": hint,
        "correlation_id": correlation_id_of(scope),
    }
    beside = {name: value for name, value in (details or {}).items() if name not in members}
    content = redact_value(_plain(members | beside))
    return Json(content, status, dict(headers or {}), MEDIA_TYPE)


def correlation_id_of(scope: Mapping[str, Any]) -> str:
    """The name of this request in the logs; set by the outermost layer."""
    return str(scope.get("state", {}).get("correlation_id", ""))


async def _treadle_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TreadleError)
    return problem_of(error, request)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    """The values themselves are not repeated: one of them may be a secret in the wrong field."""
    assert isinstance(error, RequestValidationError)
    found = [{"at": ".".join(str(part) for part in item["loc"]), "problem": str(item["msg"])} for item in error.errors()[:20]]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return problem(request.scope, 400, "malformed", "The body is not JSON.", hint="Send one JSON object.", details={"errors": found})
    told = "; ".join(f"{item['at']}: {item['problem']}" for item in found[:3])
    hint = "Correct what is named in `errors`; the routes and their fields are in /api/openapi.json."
    return problem(
        request.scope,
        422,
        "invalid_input",
        f"The request cannot be used: {told}.",
        title="The input cannot be used",
        hint=hint,
        details={"errors": found},
    )


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, title = _BY_STATUS.get(error.status_code, ("refused", HTTPStatus(error.status_code).phrase))
    own = error if isinstance(error, HttpProblem) else None
    detail = (
        str(error.detail) if own or error.status_code not in (404, 405) else f"{request.method} {title.lower().removeprefix('there is ')}."
    )
    if not own and error.status_code == 404:
        detail = "There is nothing at this address."
    if not own and error.status_code == 405:
        detail = f"The address does not take {request.method}."
    return problem(
        request.scope,
        error.status_code,
        (own and own.code) or code,
        detail,
        title=title,
        hint=own.hint if own else "The routes are in /api/openapi.json.",
        details=own.details if own else None,
        headers=error.headers,
    )


def _kind(error: TreadleError) -> tuple[str, int, str]:
    if isinstance(error, CallerUnauthenticated):
        return "unauthenticated", 401, "Not signed in"
    if isinstance(error, TooManyRequests):
        return "throttled", 429, "Too many requests"
    if isinstance(error, errors.PermissionDenied) and "right" in error.details:  # the caller's own, refused by control.access
        return "permission_denied", 403, "You may not do this"
    code, status, title = next(
        (found for kind, found in KINDS.items() if isinstance(error, kind)), ("internal", 500, "A defect of the service")
    )
    named = str(error.details.get("code", code))
    return named, 413 if named == "too_large" else status, title


def _headers(error: TreadleError, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="treadle"' + (', error="invalid_token"' if getattr(error, "given", False) else "")
    waits = isinstance(error, errors.LockHeld) or status in (429, 503)
    asked = getattr(error, "retry_after_seconds", None) or error.details.get("retry_after_seconds")
    if waits or asked:
        headers["Retry-After"] = str(max(1, math.ceil(asked or RETRY_SECONDS)))
    return headers


def _documented(status: int) -> dict[str, Any]:
    code, title = _example_of(status)
    example = {
        "type": f"urn:treadle:problem:{code}",
        "title": title,
        "status": status,
        "detail": title + ".",
        "code": code,
        "hint": "What to do next.",
        "correlation_id": "7f0c9a2e51d74b7f8a3e5d2c1b0a9f8e",
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    return {"description": title, "content": content}


def _example_of(status: int) -> tuple[str, str]:
    own = {
        401: ("unauthenticated", "Not signed in"),
        403: ("permission_denied", "You may not do this"),
        429: ("throttled", "Too many requests"),
    }
    if found := own.get(status) or _BY_STATUS.get(status):
        return found
    if status == 500:
        return "internal", "A defect of the service"
    return next(((code, title) for code, of, title in reversed(KINDS.values()) if of == status), ("refused", HTTPStatus(status).phrase))


def _plain(value: Any) -> Any:
    """Details as JSON can carry them: what it does not know becomes text, and what is not a number null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON at the edge
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType] - the same
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | bool) or value is None else same_form(str(value))
