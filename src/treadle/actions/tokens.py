"""API tokens: make, list, revoke. Nobody gives away more than they have."""

from collections.abc import Collection
from datetime import timedelta

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.control import tokens
from treadle.control.access import Principal, Right, Role, require, rights_of
from treadle.control.tokens import Token
from treadle.errors import InvalidInput, PermissionDenied


def create(  # noqa: PLR0913 - what a token is made of
    services: Services,
    who: Principal,
    name: str,
    role: Role,
    *,
    scopes: Collection[Right] | None = None,
    expires_in: timedelta = timedelta(days=90),
    token_id: str | None = None,
) -> tuple[Token, str]:
    """Make a token; right `tokens:manage`. Its secret is returned this once, and must not be stored: not in an idempotency answer either.

    token_id: 12 hexadecimal digits derived from a request that may be repeated; the repetition is a Conflict. None for any.

    Raises:
        PermissionDenied: the right is missing, or the token would have a right that its maker has not.
        InvalidInput: name, scopes or lifetime cannot be used. Conflict: as said of `token_id`.
    """
    wished = {"role": role, "scopes": None if scopes is None else sorted(scopes), "expires_in_seconds": expires_in.total_seconds()}
    with change(services, who, Right.TOKENS_MANAGE, "token.create", f"token:{name}", **wished) as entry:
        _require_own_rights(who, role, scopes)
        _require_lifetime(expires_in, services.limits.token_lifetime)
        made, secret = tokens.create_token(services.own, name, role, scopes, expires_in, created_by=who.name, token_id=token_id)
        entry.note(token_id=made.token_id)
        return made, secret


def list_tokens(services: Services, who: Principal, *, usable_only: bool = False) -> list[Token]:
    """All tokens, newest first, without secrets; right `tokens:manage`."""
    require(who, Right.TOKENS_MANAGE)
    return tokens.list_tokens(services.own, usable_only=usable_only)


def revoke(services: Services, who: Principal, token_id: str) -> Token:
    """Make a token worthless; right `tokens:manage`. Safe to repeat. Raises NotFound."""
    with change(services, who, Right.TOKENS_MANAGE, "token.revoke", f"token:{token_id}") as entry:
        revoked = tokens.revoke_token(services.own, token_id, who.name)
        entry.note(name=revoked.name)
        return revoked


def _require_own_rights(who: Principal, role: Role, scopes: Collection[Right] | None) -> None:
    """Otherwise a token with the one scope tokens:manage could make itself one with all of them."""
    beyond = sorted(rights_of(role, scopes) - who.rights)
    if beyond:
        raise PermissionDenied(
            f"{who.name} cannot give away rights that are not {who.name}'s: {', '.join(beyond)}.",
            hint="Give fewer scopes.",
            details={"right": beyond[0], "rights": beyond},
        )


def _require_lifetime(wished: timedelta, longest: timedelta) -> None:
    if wished > longest:
        raise InvalidInput(f"A token cannot live longer than {longest.days} days.", hint="Give a shorter lifetime, such as 90 days.")
