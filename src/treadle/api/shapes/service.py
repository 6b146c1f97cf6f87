"""The shapes of tokens, the audit, and the service itself."""

from typing import Any

from pydantic import Field

from treadle.api.shapes.base import Asked, Moment, Shape
from treadle.control.access import Right, Role


class TokenShape(Shape):
    """What is known of an API token; never its secret."""

    token_id: str = Field(examples=["0123456789ab"])
    name: str
    role: Role
    scopes: list[Right] | None
    created_at: Moment
    created_by: str
    expires_at: Moment
    revoked_at: Moment | None
    revoked_by: str | None
    last_used_at: Moment | None
    usable: bool


class TokensList(Shape):
    """All tokens, newest first."""

    tokens: list[TokenShape]


class CreateToken(Asked):
    """Whom the token is for, and what it may do."""

    name: str = Field(min_length=1, max_length=100, examples=["nightly-import"])
    role: Role
    scopes: list[Right] | None = Field(default=None, description="Only these rights of the role; null for all.", max_length=50)
    expires_in_days: float = Field(default=90, gt=0, le=3660)


class NewToken(TokenShape):
    """The token with its secret: this answer is the only place where it is ever shown."""

    secret: str


class AuditEntryShape(Shape):
    """One line of the audit."""

    number: int
    at: Moment
    subject: str
    name: str
    role: str | None
    via: str
    action: str = Field(examples=["run.start"])
    target: str
    outcome: str = Field(examples=["done"])
    details: dict[str, Any]
    correlation_id: str | None
    asked: int | None


class AuditPageShape(Shape):
    """One page, newest first."""

    entries: list[AuditEntryShape]
    next: int | None = Field(description="Give it as `before` for the next page; null on the last.")


class Me(Shape):
    """Who calls, and what they may do."""

    subject: str
    name: str
    role: Role | None
    via: str
    rights: list[Right]
    environment: str


class Health(Shape):
    """Whether the service is well. Says what, not where."""

    status: str = Field(examples=["ok"])
    checks: dict[str, str] = Field(default_factory=dict, examples=[{"database": "ok", "own_tables": "ok"}])


class BreakShape(Shape):
    """Where the audit breaks first, and how."""

    number: int
    reason: str


class AuditReportShape(Shape):
    """What recomputing the audit's chain has found. `first_bad` null: nobody has altered it."""

    entries: int = Field(description="How many hold together from the beginning.")
    head: str = Field(description="`number:hash` of the last of them. Keep it elsewhere, and ask with `expect_head` later.")
    first_bad: BreakShape | None


class HealthPlaces(Shape):
    """Where to ask whether the service is well."""

    live: str = "/api/health/live"
    ready: str = "/api/health/ready"


class Index(Shape):
    """What this service is, and where to go on."""

    name: str = "Treadle"
    version: str
    openapi: str = "/api/openapi.json"
    me: str = "/api/me"
    health: HealthPlaces = HealthPlaces()
