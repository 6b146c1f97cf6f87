"""What Kusto refuses, in its error envelope.

Sources: "Query/management HTTP response" of the Kusto REST documentation (status codes); OneApiErrors in the recorded answers of
azure-kusto-python (tests/input); the ingestion error codes of the Azure Data Explorer documentation.
"""

import uuid
from datetime import datetime
from typing import Any, Final

_BAD_REQUEST: Final = "Kusto.Data.Exceptions.KustoBadRequestException"


class Refused(Exception):
    """A request that is answered with `{"error": {"code", "message", "@type", "@message", "@context", "@permanent"}}`."""

    def __init__(self, status: int, code: str, message: str, *, kind: str = _BAD_REQUEST, permanent: bool = True) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message, self.kind, self.permanent = status, code, message, kind, permanent

    def envelope(self, *, client_request_id: str, activity_id: str, now: datetime) -> dict[str, Any]:
        """The body of the answer."""
        return envelope(self, client_request_id=client_request_id, activity_id=activity_id, now=now)


def envelope(refused: Refused, *, client_request_id: str, activity_id: str, now: datetime) -> dict[str, Any]:
    """One OneApiError; `@message` is what the clients show."""
    short = "Request is invalid and cannot be executed." if refused.status < 500 else "The request cannot be carried out."
    return {
        "error": {
            "code": refused.code,
            "message": short,
            "@type": refused.kind,
            "@message": refused.message,
            "@context": {
                "timestamp": f"{now:%Y-%m-%dT%H:%M:%S.%f}0Z",
                "serviceAlias": "TREADLE-SANDBOX",
                "machineName": "SANDBOX",
                "processName": "Kusto.WinSvc.Svc",
                "processId": 1,
                "threadId": 1,
                "clientRequestId": client_request_id,
                "activityId": activity_id,
                "subActivityId": str(uuid.uuid4()),
                "activityType": "DN.FE.ExecuteQuery",
                "parentActivityId": activity_id,
                "activityStack": f"(Activity stack: CRID={client_request_id} ARID={activity_id})",
            },
            "@permanent": refused.permanent,
        }
    }


def syntax_error(message: str, position: int) -> Refused:
    """400 for a text that is no KQL; positions count from 0, as the service's do."""
    kind = "Kusto.Data.Exceptions.SyntaxException"
    return Refused(
        400,
        "BadRequest_SyntaxError",
        f"Syntax error: SYN0002: {message} [line:position=1:{position}]. Query could not be parsed.",
        kind=kind,
    )


def semantic_error(message: str) -> Refused:
    """400 for KQL that names what is not there, or joins what does not fit."""
    return Refused(400, "General_BadRequest", f"Semantic error: {message}", kind="Kusto.Data.Exceptions.SemanticException")


def bad_command(message: str, code: str = "General_BadRequest") -> Refused:
    """400 for a management command that cannot be carried out as it stands."""
    return Refused(400, code, message)


def entity_missing(kind: str, name: str) -> Refused:
    """400 for a database, table or mapping that is not there."""
    message = f"Entity ID '{name}' of kind '{kind}' was not found."
    return Refused(400, "BadRequest_EntityNotFound", message, kind="Kusto.Data.Exceptions.EntityNotFoundException")


def not_modelled(what: str) -> Refused:
    """501: real Kusto does this, the sandbox does not."""
    message = f"{what}: not modelled by the Treadle sandbox; see docs/sandbox-differences.md"
    return Refused(501, "NotModelled", message, kind="Treadle.Sandbox.NotModelled")
