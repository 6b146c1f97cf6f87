"""A service's answer as a value, and what a failed one means."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from treadle.clients.retry import Answered, Ending, Garbled, NotSent
from treadle.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    TreadleError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from treadle.logs import redact

_MESSAGE_CHARS: Final = 400

# The code decides before the status: Fabric answers several of these with a plain 400.
# Source: error codes of fabric-rest-api-specs and fabric-sdk-go (core/error_codes.go).
_BY_CODE: Final[Mapping[str, type[TreadleError]]] = {
    "FeatureNotAvailable": PermissionDenied,
    "InsufficientPrivileges": PermissionDenied,
    "InsufficientScopes": PermissionDenied,
    "InsufficientWorkspaceRole": PermissionDenied,
    "MissingMinimalPermissions": PermissionDenied,
    "PrincipalTypeNotSupported": PermissionDenied,
    "ItemDisplayNameAlreadyInUse": Conflict,
    "ItemDisplayNameNotAvailableYet": Conflict,
    "JobAlreadyCompleted": Conflict,
    "TokenExpired": Unauthenticated,
    # of Salesforce: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
    "REQUEST_LIMIT_EXCEEDED": Throttled,
    "ExceededQuota": Throttled,
}
_BY_STATUS: Final[Mapping[int, type[TreadleError]]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    413: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
}
_HINTS: Final[Mapping[type[TreadleError], str]] = {
    Conflict: "Look at the present state, then decide.",
    InvalidInput: "Correct what the message names and try again.",
    NotFound: "Check the ids in the settings, and that the identity may see the workspace.",
    PermissionDenied: "Give the identity a role in the workspace (Contributor or higher), and allow service principals to use Fabric APIs.",
    Throttled: "Wait and try again.",
    Unauthenticated: "Check tenant, client id and client secret, and that the API accepts this identity.",
    Unavailable: "Try again later; `treadle doctor` tells what can be reached.",
    UnexpectedAnswer: "Check the configured address; report this if it is right.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a service says about why: both may be missing from an answer."""

    error_code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Which request it was, for errors and logs. Holds neither query nor token."""

    service: str
    what: str  # "read job instance 0f8f…"; follows "could not"
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer. Header names are in lower case."""

    exchange: Exchange
    status: int
    headers: Mapping[str, str]
    content: bytes
    retry_after_seconds: float | None = None
    attempts: int = 1

    def json(self) -> Any:
        """The body; raises UnexpectedAnswer if it is not JSON."""
        problem, value = read_json(self.content)
        if problem:
            raise unexpected(self.exchange, problem, status=self.status)
        return value

    def json_object(self) -> Mapping[str, Any]:
        """The body, which must be a JSON object."""
        value = self.json()
        if not isinstance(value, dict):
            raise unexpected(self.exchange, f"a JSON object was expected, {type(value).__name__} came", status=self.status)
        return cast("dict[str, Any]", value)


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One whole answer, good or bad, before it is judged."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes = b""
    retry_after_seconds: float | None = None

    def refusal(self) -> Refusal:
        """The error code from the header or the body, and the message in one of the envelopes that Microsoft's services use."""
        problem, body = read_json(self.content)
        if isinstance(body, list) and body:  # Salesforce lists its reasons
            body = cast("list[Any]", body)[0]
        told = cast("dict[str, Any]", body) if not problem and isinstance(body, dict) else {}
        inner = told.get("error")
        told = cast("dict[str, Any]", inner) if isinstance(inner, dict) else told
        oauth = inner if isinstance(inner, str) else None  # RFC 6749 §5.2
        in_body = told.get("errorCode") or told.get("code") or oauth
        code = self.headers.get("x-ms-public-api-error-code") or self.headers.get("x-ms-error-code") or in_body
        message = (
            told.get("@message")  # of Kusto, whose message is a platitude
            or told.get("message")
            or (told.get("error_description") if oauth else None)
            or (_snippet(self.content) if problem and self.content else None)
        )
        return Refusal(readable(code), readable(message))


def read_json(content: bytes) -> tuple[str | None, Any]:
    """Return (None, value), or what is wrong with the text and None."""
    try:
        return None, json.loads(content)
    except RecursionError:
        return "the answer is nested too deeply", None
    except ValueError:
        return f"the answer is not JSON: {_snippet(content)!r}" if content.strip() else "the answer is empty", None


def error_for(exchange: Exchange, answer: RawAnswer, *, attempts: int) -> TreadleError:
    """The error that says by its type what the caller can do about a refused request."""
    refusal = answer.refusal()
    kind = kind_of_refusal(answer.status, refusal.error_code)
    said = f" ({refusal.message})" if refusal.message else ""
    code = f" {refusal.error_code}" if refusal.error_code else ""
    message = f"{exchange.service} could not {exchange.what}: {answer.status}{code}{said}."
    details = details_of(
        exchange, attempts=attempts, status=answer.status, error_code=refusal.error_code, request_id=request_id_of(answer.headers)
    )
    if kind is Throttled:
        return Throttled(message, retry_after_seconds=answer.retry_after_seconds, hint=_HINTS[Throttled], details=details)
    return kind(message, hint=_HINTS.get(kind), details=details)


def kind_of_refusal(status: int, error_code: str | None) -> type[TreadleError]:
    """The type of error for a status and a code; UnexpectedAnswer for what no contract names."""
    if status in (429, 430) or (error_code or "").startswith("TooManyRequests"):
        return Throttled
    if error_code in _BY_CODE:
        return _BY_CODE[error_code]
    if status == 400 and (error_code or "").endswith("NotFound"):
        return NotFound
    if status >= 500 and status != 501:
        return Unavailable
    return _BY_STATUS.get(status, UnexpectedAnswer)


def failure_of(exchange: Exchange, ending: Ending, answer: RawAnswer | None, *, attempts: int) -> TreadleError:
    """The error for a call that ended so, and had no effect."""
    if isinstance(ending, Garbled):
        return unexpected(exchange, ending.reason, status=ending.status, attempts=attempts)
    if isinstance(ending, Answered) and answer is not None:
        return error_for(exchange, answer, attempts=attempts)
    lasting = isinstance(ending, NotSent) and ending.lasting
    hint = (
        "Set TREADLE_CA_FILE to the certificate authority of this server, or check whose server this is."
        if lasting
        else _HINTS[Unavailable]
    )
    message = f"{exchange.service} could not be reached to {exchange.what}: {told(ending)}."
    return Unavailable(message, hint=hint, details=details_of(exchange, attempts=attempts, reason=told(ending)))


def told(ending: Ending) -> str:
    """An ending in words."""
    return f"the answer was {ending.status}" if isinstance(ending, Answered) else ending.reason


def outcome_unknown(exchange: Exchange, reason: str, **facts: Any) -> OutcomeUnknown:
    """The call may have had its effect; nobody can tell from here."""
    return OutcomeUnknown(
        f"{exchange.service} may or may not have carried this out: {exchange.what}. The reason: {reason}.",
        hint="Look whether it happened before you try again.",
        details=details_of(exchange, reason=reason, **facts),
    )


def unexpected(exchange: Exchange, problem: str, **facts: Any) -> UnexpectedAnswer:
    """The other side broke its contract; `problem` says how."""
    return UnexpectedAnswer(
        f"{exchange.service} answered outside its contract when asked to {exchange.what}: {problem}.",
        hint=_HINTS[UnexpectedAnswer],
        details=details_of(exchange, problem=problem, **facts),
    )


def details_of(exchange: Exchange, **facts: Any) -> dict[str, Any]:
    """The facts of an exchange for an error; those that are not known are left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    return {"service": exchange.service, "operation": exchange.what, "method": exchange.method, "path": exchange.path} | known


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The id under which the service's support finds the request."""
    return headers.get("requestid") or headers.get("x-ms-request-id")


def _snippet(content: bytes) -> str:
    text = content[:4096].decode("utf-8", errors="replace")
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
    return readable(title[1] if title else re.sub(r"<[^>]*>", " ", text)) or ""


def readable(value: object) -> str | None:
    """Text from outside, fit for a message: one line, printable, of bounded length."""
    if not isinstance(value, str):
        return None
    line = redact(" ".join("".join(sign if sign.isprintable() else " " for sign in value[: 4 * _MESSAGE_CHARS]).split()))
    return (line[:_MESSAGE_CHARS].rstrip(". ") or None) if line else None
