"""How each service says that something went wrong: envelope, headers and the usual code of a status.

Sources: Fabric REST ErrorResponse (common/definitions.json of the published specification, header x-ms-public-api-error-code);
Azure Storage status and error codes for DFS (JSON) and Blob (XML); Entra ID error response and AADSTS code reference.
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from xml.sax.saxutils import escape

from starlette.responses import JSONResponse, Response

ErrorAnswer = Callable[[int, str | None, str, datetime], Response]
"""(status, code or None for the usual code of that status, message, now) → the answer in the service's own envelope."""

_FABRIC_CODES: Final[Mapping[int, str]] = {
    400: "InvalidRequest", 401: "Unauthorized", 403: "InsufficientPrivileges", 404: "EntityNotFound", 408: "RequestTimeout",
    409: "Conflict", 411: "LengthRequired", 429: "RequestBlocked", 430: "TooManyRequestsForCapacity", 500: "UnknownError", 501: "NotModelled",
    502: "BadGateway", 503: "ServiceUnavailable", 504: "GatewayTimeout",
}  # fmt: skip
_STORAGE_CODES: Final[Mapping[int, str]] = {
    400: "BadRequest", 401: "InvalidAuthenticationInfo", 403: "AuthorizationFailure", 404: "PathNotFound", 408: "OperationTimedOut",
    409: "PathAlreadyExists", 411: "MissingContentLengthHeader", 412: "ConditionNotMet", 416: "InvalidRange", 429: "TooManyRequests",
    500: "InternalError", 501: "NotModelled", 503: "ServerBusy",
}  # fmt: skip
_BLOB_CODES: Final[Mapping[int, str]] = {**_STORAGE_CODES, 404: "BlobNotFound", 409: "BlobAlreadyExists"}
_RETRIABLE: Final = frozenset({408, 429, 430, 500, 502, 503, 504})


def fabric_error(status: int, code: str | None, message: str, now: datetime, *, details: Mapping[str, Any] | None = None) -> Response:
    """`{requestId, errorCode, message, isRetriable}` with the code repeated in the header that clients read; `details` adds fields."""
    _ = now
    request_id = str(uuid.uuid4())
    error_code = code or _FABRIC_CODES.get(status, "UnknownError")
    body = {"requestId": request_id, "errorCode": error_code, "message": message, "isRetriable": status in _RETRIABLE}
    headers = {"x-ms-public-api-error-code": error_code, "RequestId": request_id}
    return JSONResponse(body | dict(details or {}), status, headers)


def dfs_error(status: int, code: str | None, message: str, now: datetime) -> Response:
    """`{"error": {"code", "message"}}` with x-ms-error-code; the message ends with request id and time, as storage's does."""
    error_code, request_id = code or _STORAGE_CODES.get(status, "InternalError"), str(uuid.uuid4())
    body = {"error": {"code": error_code, "message": _storage_message(message, request_id, now)}}
    return JSONResponse(body, status, {"x-ms-error-code": error_code, "x-ms-request-id": request_id})


def blob_error(status: int, code: str | None, message: str, now: datetime) -> Response:
    """`<Error><Code/><Message/></Error>` with x-ms-error-code."""
    error_code, request_id = code or _BLOB_CODES.get(status, "InternalError"), str(uuid.uuid4())
    text = escape(_storage_message(message, request_id, now))
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{escape(error_code)}</Code><Message>{text}</Message></Error>'
    headers = {"x-ms-error-code": error_code, "x-ms-request-id": request_id}
    return Response(body, status, headers, media_type="application/xml")


def entra_error(status: int, code: str | None, message: str, now: datetime) -> Response:
    """An AADSTS answer that is no case of the token endpoint's own table: a fault, or something that is not modelled."""
    digits = (code or "").removeprefix("AADSTS")
    number = int(digits) if digits.isdecimal() else {429: 90055, 501: 90009}.get(status, 90033)
    return aadsts_error(status, number, "temporarily_unavailable" if status in _RETRIABLE else "invalid_request", message, now)


def aadsts_error(status: int, number: int, error: str, message: str, now: datetime) -> Response:
    """Entra's error envelope: `error`, a description with trace id, correlation id and time, and the code once more as a number."""
    trace_id, correlation_id, timestamp = str(uuid.uuid4()), str(uuid.uuid4()), f"{now:%Y-%m-%d %H:%M:%SZ}"
    description = f"AADSTS{number}: {message} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}"
    body = {
        "error": error,
        "error_description": description,
        "error_codes": [number],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"https://login.microsoftonline.com/error?code={number}",
    }
    return JSONResponse(body, status, {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache", "x-ms-request-id": trace_id})


def _storage_message(message: str, request_id: str, now: datetime) -> str:
    return f"{message}\nRequestId:{request_id}\nTime:{now:%Y-%m-%dT%H:%M:%S.%f}0Z"
