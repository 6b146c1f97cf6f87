"""What Fabric refuses, by the error codes of its public API (the lists in fabric-rest-api-specs and fabric-sdk-go, core/error_codes.go)."""

from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """A request that is answered with Fabric's error envelope."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, related: tuple[str, str] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.related = related

    def envelope(self, request_id: str) -> dict[str, Any]:
        """The body of the answer (ErrorResponse, common/definitions.json); `related` is (kind, id) of the entity that it is about."""
        body: dict[str, Any] = {"requestId": request_id, "errorCode": self.code, "message": self.message}
        if self.related is None:
            return body
        return body | {"relatedResource": {"resourceId": self.related[1], "resourceType": self.related[0]}}


def not_found(kind: str, identity: str) -> Refused:
    """404 for an entity that is not there, such as kind "Workspace" → WorkspaceNotFound."""
    return Refused(404, f"{kind}NotFound", f"The requested {kind.lower()} could not be found.", related=(kind, identity))


def invalid(message: str, code: str = "InvalidParameter", related: tuple[str, str] | None = None) -> Refused:
    """400 for a request that cannot be carried out as it stands."""
    return Refused(400, code, message, related=related)


def not_modelled(what: str) -> Refused:
    """501: real Fabric does this, the sandbox does not."""
    return Refused(501, "NotModelled", f"{what}: not modelled by the Treadle sandbox; see docs/sandbox-differences.md")
