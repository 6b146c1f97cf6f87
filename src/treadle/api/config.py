"""How the API is set up: who may call it from where, how often, how large and how long. Built by wiring, from settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class TokenVerifier(Protocol):
    """Proves a bearer JWT; `clients.oidc.TokenVerifier` does."""

    def verify(self, token: str) -> Mapping[str, Any]:
        """Return the token's claims, or raise Unauthenticated."""
        ...


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """All that is not a service. Immutable, so that a test makes its own with `replace`."""

    allowed_hosts: tuple[str, ...] = LOOPBACK  # names in the Host header; `*.example.com` for all below it, `*` for any
    cors_origins: tuple[str, ...] = ()  # browsers' pages from there may call; none by default
    rate_limit: str = "600/minute"  # of one principal on one route
    refused_limit: str = "60/minute"  # of sign-ins that fail, from one address
    body_limit_bytes: int = 256 * 1024  # of everything but the bytes of an upload
    header_limit_bytes: int = 32 * 1024  # of all headers together
    request_seconds: float = 60  # for an answer to begin; uploads and event streams have rules of their own
    stall_seconds: float = 30  # an upload that brings nothing, or a listener that takes nothing, for so long is let go
    streams_per_principal: int = 20
    uploads_at_once: int = 8  # bodies that this process takes at once; each holds a piece of a few megabytes
    uploads_per_principal: int = 4  # of these, so that nobody takes all
    slowest_bytes_per_second: int = 16 * 1024  # over `stall_seconds` of waiting; a turn is for who sends
    poll_seconds: float = 0.1  # between two looks for new events, while anybody listens
    ping_seconds: float = 15
    verifier: TokenVerifier | None = None  # None: API tokens only
    role_claim: str = "roles"
    role_map: Mapping[str, str] = field(default_factory=dict[str, str])
