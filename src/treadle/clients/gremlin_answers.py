"""What a refused Gremlin statement means: the server's status and attributes as an error by meaning, and whether a second try can help. Pure.

Sources: Apache TinkerPop, provider documentation, "Graph Driver Provider Requirements", the status codes of responses; Azure Cosmos DB for Gremlin,
"Server response headers": behind a general 500 the attribute `x-ms-status-code` tells what happened, and `x-ms-retry-after-ms` how long to wait.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.clients.answers import readable
from treadle.clients.retry import Answered, Ending
from treadle.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OperationFailed,
    PermissionDenied,
    Throttled,
    TreadleError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)

SERVICE: Final = "The Gremlin server"
_STATUS: Final = "x-ms-status-code"
_RETRY_AFTER: Final = "x-ms-retry-after-ms"
_ACTIVITY: Final = "x-ms-activity-id"
_TIME_SPAN: Final = re.compile(r"(?:(\d{1,3})\.)?(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d{1,7})?)")  # .NET's TimeSpan: [d.]hh:mm:ss[.fffffff]

# Of Cosmos DB: two writers met (404, 409, 412, 449), the connection is going away (1007, 1008), time was over (408, 1009), an inner fault (500, 503);
# of TinkerPop: temporary (596), time was over (598). Statements are safe to repeat, so all of these are.
_PASSING_OF_COSMOS: Final = frozenset({404, 408, 409, 410, 412, 449, 500, 503, 1007, 1008, 1009})
_PASSING: Final = frozenset({408, 502, 503, 504, 596, 598})
_THROTTLED: Final = 429
_KINDS: Final[Mapping[int, type[TreadleError]]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    407: Unauthenticated,
    408: Unavailable,
    409: Conflict,
    410: Unavailable,
    412: Conflict,
    413: InvalidInput,
    429: Throttled,
    449: Conflict,
    498: InvalidInput,
    499: InvalidInput,
    500: OperationFailed,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    595: OperationFailed,
    596: Unavailable,
    597: OperationFailed,
    598: Unavailable,
    599: OperationFailed,
    1000: OperationFailed,
    1001: OperationFailed,
    1003: OperationFailed,
    1004: InvalidInput,
    1007: Unavailable,
    1008: Unavailable,
    1009: Unavailable,
}
_HINTS: Final[Mapping[type[TreadleError], str]] = {
    Conflict: "Somebody else writes the same part of the graph: let them finish, then try again.",
    InvalidInput: "The server does not take the statement; report this if the scenario is an ordinary one.",
    NotFound: "Check GREMLIN_DATABASE and GREMLIN_GRAPH.",
    OperationFailed: "The message has the server's words; nothing is lost, and the work may be started again.",
    PermissionDenied: "Let this key write to the graph, and this machine's address through the account's firewall.",
    Throttled: "Wait and try again, or give the graph more request units.",
    Unauthenticated: "Check GREMLIN_KEY, and that it belongs to the account in GREMLIN_URL.",
    Unavailable: "Try again later; `treadle doctor` tells what can be reached.",
    UnexpectedAnswer: "Check GREMLIN_URL; report this if it is right.",
}


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a statement was refused. status: Cosmos DB's own if it tells one, else the protocol's. passing: a second try may help."""

    status: int
    message: str | None
    passing: bool
    retry_after_seconds: float | None = None
    activity_id: str | None = None

    @property
    def ending(self) -> Ending:
        """In the words of the table that decides about repeating."""
        if self.status == _THROTTLED:
            return Answered(_THROTTLED, None, self.retry_after_seconds)
        return Answered(503 if self.passing else 400, None, self.retry_after_seconds)


def refusal_of(code: int, message: str | None, attributes: Mapping[str, Any]) -> Refused | None:
    """What a final answer says is wrong. None: nothing; it was done.

    code: of the protocol. attributes: of its status. An answer may have code 200 and be throttled all the same.
    """
    inner = _as_status(attributes.get(_STATUS))
    status = inner if inner is not None and (inner >= 400 or code >= 400) else code
    if "RequestRateTooLarge" in (message or ""):
        status = _THROTTLED
    if 200 <= status < 300:
        return None
    wrong_place = status == 404 and "owner resource" in (message or "").lower()
    passing = (status in (_PASSING if inner is None else _PASSING_OF_COSMOS) or status == _THROTTLED) and not wrong_place
    return Refused(status, readable(message), passing, read_time_span(attributes.get(_RETRY_AFTER)), readable(attributes.get(_ACTIVITY)))


def error_of(refused: Refused, what: str, *, attempts: int) -> TreadleError:
    """The error that says by its type what the caller can do. what: the statement in words, to follow "could not"."""
    kind = _KINDS.get(refused.status, UnexpectedAnswer)
    said = f" ({refused.message})" if refused.message else ""
    message = f"{SERVICE} could not {what}: {refused.status}{said}."
    known = {"service": SERVICE, "operation": what, "status": refused.status, "activity_id": refused.activity_id, "attempts": attempts}
    details = {name: value for name, value in known.items() if value is not None}
    if kind is Throttled:
        return Throttled(message, retry_after_seconds=refused.retry_after_seconds, hint=_HINTS[Throttled], details=details)
    return kind(message, hint=_HINTS[kind], details=details)


def unreached(what: str, reason: str, *, lasting: bool, attempts: int) -> Unavailable:
    """The error for a statement that got no answer."""
    hint = "Set TREADLE_CA_FILE to the authority of this server's certificate, or check whose server this is." if lasting else None
    details = {"service": SERVICE, "operation": what, "reason": reason, "attempts": attempts}
    return Unavailable(f"{SERVICE} could not be reached to {what}: {reason}.", hint=hint or _HINTS[Unavailable], details=details)


def read_time_span(value: object) -> float | None:
    """Seconds of `x-ms-retry-after-ms`: a TimeSpan as text, in spite of its name; a plain number is taken for milliseconds. None: nonsense."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return max(0.0, value / 1000)
    if not isinstance(value, str):
        return None
    if found := _TIME_SPAN.fullmatch(value.strip()):
        days, hours, minutes, seconds = found.groups()
        return int(days or 0) * 86_400 + int(hours) * 3_600 + int(minutes) * 60 + float(seconds)
    return int(value) / 1000 if value.strip().isdecimal() and len(value) < 12 else None


def _as_status(value: object) -> int | None:
    text = str(value).strip()
    return int(text) if text.isdecimal() and len(text) <= 5 else None
