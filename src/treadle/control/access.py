"""Who may do what: roles, rights and principals, and the one table that joins them. Pure.

    viewer   reads everything but the audit, and asks graphs
    operator also starts, cancels and restores runs, brings files, builds and destroys scenarios, manages jobs and connections, releases a dead lock
    admin    also releases the lock of a run that may still go on, writes documents, deploys items, manages tokens, reads the audit

A principal without a role may nothing. Scopes only ever take away: a token of an admin with the scope `runs:read` reads runs, no more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, cast

from treadle.errors import InvalidInput, PermissionDenied, Unauthenticated

Via = Literal["local", "token", "oidc"]

_NAME_CLAIMS: Final = (
    "preferred_username",
    "upn",
    "email",
    "name",
    "azp",
    "appid",
    "sub",
)  # the first that says something names the person
_SUBJECT: Final = "sub:"  # a key of the role map that names a person, not a value of the role claim
_MAX_SUBJECT: Final = 255  # OpenID Connect Core §2: `sub` has at most 255 ASCII characters
_MAX_NAME: Final = 500


class Role(StrEnum):
    """What somebody is here. Each role may do what the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Its place in the order, from 0."""
        return list(Role).index(self)

    def includes(self, other: "Role") -> bool:
        """Whether this role may do all that the other may."""
        return self.rank >= other.rank


class Right(StrEnum):
    """One kind of thing that one may or may not do; also the name of a token's scope."""

    RUNS_READ = "runs:read"
    RUNS_START = "runs:start"
    RUNS_CANCEL = "runs:cancel"
    RUNS_RESTORE = "runs:restore"
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    JOBS_READ = "jobs:read"
    JOBS_MANAGE = "jobs:manage"
    LOCK_READ = "lock:read"
    LOCK_RELEASE = "lock:release"
    LOCK_OVERRIDE = "lock:override"
    SCENARIOS_READ = "scenarios:read"
    SCENARIOS_BUILD = "scenarios:build"
    CONNECTIONS_MANAGE = "connections:manage"
    DOCUMENTS_WRITE = "documents:write"
    METRICS_READ = "metrics:read"
    ITEMS_DEPLOY = "items:deploy"
    TOKENS_MANAGE = "tokens:manage"
    AUDIT_READ = "audit:read"


RIGHTS: Final[Mapping[Right, Role]] = {
    Right.RUNS_READ: Role.VIEWER,
    Right.FILES_READ: Role.VIEWER,
    Right.JOBS_READ: Role.VIEWER,
    Right.LOCK_READ: Role.VIEWER,
    Right.SCENARIOS_READ: Role.VIEWER,
    Right.METRICS_READ: Role.VIEWER,
    Right.RUNS_START: Role.OPERATOR,
    Right.RUNS_CANCEL: Role.OPERATOR,
    Right.RUNS_RESTORE: Role.OPERATOR,
    Right.FILES_WRITE: Role.OPERATOR,
    Right.JOBS_MANAGE: Role.OPERATOR,
    Right.LOCK_RELEASE: Role.OPERATOR,
    Right.SCENARIOS_BUILD: Role.OPERATOR,
    Right.CONNECTIONS_MANAGE: Role.OPERATOR,
    Right.LOCK_OVERRIDE: Role.ADMIN,
    Right.DOCUMENTS_WRITE: Role.ADMIN,
    Right.ITEMS_DEPLOY: Role.ADMIN,
    Right.TOKENS_MANAGE: Role.ADMIN,
    Right.AUDIT_READ: Role.ADMIN,
}
"""The least role that has each right."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, as far as it was proven.

    subject: the same for the same one, and different for all others: `local:…`, `token:<id>` or `oidc:<issuer>|<sub>`.
    name: what is recorded and shown. role: None may nothing. scopes: None for all rights of the role.
    """

    subject: str
    name: str
    role: Role | None
    via: Via
    scopes: frozenset[Right] | None = None
    token_id: str | None = None

    @property
    def rights(self) -> frozenset[Right]:
        """Everything that this principal may do."""
        return frozenset(right for right in Right if allowed(self, right))


def local_principal(name: str, role: Role) -> Principal:
    """Who sits at this machine, with the database's password in the settings: who they say they are."""
    return Principal(f"local:{name}", name, role, "local")


def allowed(principal: Principal, right: Right) -> bool:
    """Whether the principal's role has the right and, if there are scopes, one of them is it."""
    if principal.role is None or not principal.role.includes(RIGHTS[right]):
        return False
    return principal.scopes is None or right in principal.scopes


def require(principal: Principal, right: Right) -> None:
    """Let pass who has the right.

    Raises:
        PermissionDenied: names the right, the role it needs and the role that is there.
    """
    if allowed(principal, right):
        return
    needed = RIGHTS[right]
    has_role = principal.role is not None and principal.role.includes(needed)
    had = principal.role or "no role"
    raise PermissionDenied(
        f"{principal.name} may not do this: the right {right} is not among the token's scopes."
        if has_role
        else f"{principal.name} may not do this: the right {right} needs the role {needed}, and there is {had}.",
        hint=f"Use a token with the scope {right}." if has_role else f"Ask an admin for the role {needed}.",
        details={"right": str(right), "role_needed": str(needed), "role": principal.role and str(principal.role)},
    )


def rights_of(role: Role, scopes: Iterable[Right] | None = None) -> frozenset[Right]:
    """The rights of a role, cut to the scopes if there are any."""
    wanted = None if scopes is None else frozenset(scopes)
    return frozenset(right for right, least in RIGHTS.items() if role.includes(least) and (wanted is None or right in wanted))


def read_role(text: str) -> Role:
    """The role of this name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return Role(text.strip().lower())
    except ValueError as error:
        raise InvalidInput(f"{text!a} is not a role.", hint=f"Roles: {', '.join(Role)}.") from error


def read_right(text: str) -> Right:
    """The right of this name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return Right(text.strip().lower())
    except ValueError as error:
        raise InvalidInput(f"{text!a} is not a right.", hint=f"Rights: {', '.join(Right)}.") from error


def principal_from_claims(claims: Mapping[str, Any], role_claim: str = "roles", role_map: Mapping[str, str] | None = None) -> Principal:
    """Read a principal from the claims of a token that was verified.

    Args:
        claims: of the token; `iss` and `sub` are needed.
        role_claim: where the roles stand, a text or a list of texts; `a.b` also finds `b` inside `a` (Keycloak's `realm_access.roles`).
        role_map: value of that claim → role, or `sub:<subject>` → role for one person. None or empty: the values are the roles' own names.

    The highest role that is found counts. None found: the principal has no role, and so no right.

    Raises:
        Unauthenticated: the token does not say who it is about.
        InvalidInput: the map leads to a role that does not exist.
    """
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not (
        isinstance(issuer, str) and isinstance(subject, str) and subject.strip() and len(subject) <= _MAX_SUBJECT and subject.isprintable()
    ):
        raise Unauthenticated("The token does not say whom it is about.", hint="Sign in again.")
    return Principal(f"oidc:{issuer}|{subject}", _name_in(claims), _highest_role(claims, role_claim, role_map, subject), "oidc")


def _name_in(claims: Mapping[str, Any]) -> str:
    texts = (claims.get(claim) for claim in _NAME_CLAIMS)
    readable = ("".join(letter if letter.isprintable() else " " for letter in text).strip() for text in texts if isinstance(text, str))
    return next(name[:_MAX_NAME] for name in readable if name)


def _highest_role(claims: Mapping[str, Any], role_claim: str, role_map: Mapping[str, str] | None, subject: str) -> Role | None:
    values = _claim_values(claims, role_claim)
    if not role_map:
        found = [Role(value) for value in values if value in set(Role)]
    else:
        named = [value for value in values if not value.startswith(_SUBJECT)]
        found = [read_role(role_map[key]) for key in (*named, _SUBJECT + subject) if key in role_map]
    return max(found, key=lambda role: role.rank, default=None)


def _claim_values(claims: Mapping[str, Any], role_claim: str) -> list[str]:
    value: Any = claims.get(role_claim)
    if value is None:
        value = claims
        for part in role_claim.split("."):
            value = cast("Mapping[str, Any]", value).get(part) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return [value]
    return [item for item in cast("list[Any]", value) if isinstance(item, str)] if isinstance(value, list) else []
