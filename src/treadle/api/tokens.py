"""API tokens: list, make, revoke. A secret is shown once, in the answer that makes it, and nowhere else."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath

from treadle.actions import tokens
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.once import IdempotencyKey
from treadle.api.shapes.service import CreateToken, NewToken, TokenShape, TokensList
from treadle.control.access import Right
from treadle.control.idempotency import started_id
from treadle.control.tokens import Token

router = APIRouter(route_class=GuardedRoute, tags=["tokens"])

TokenId = Annotated[str, InPath(description="The part of a token that is no secret.", pattern=r"^[0-9a-f]{12}$", examples=["0123456789ab"])]


@router.get("/api/tokens", openapi_extra=needs(Right.TOKENS_MANAGE), responses=answers())
def list_tokens(
    services: With, who: Who, *, usable_only: Annotated[bool, Query(description="Without those that are revoked or expired.")] = False
) -> TokensList:
    """List the tokens, newest first."""
    found = tokens.list_tokens(services, who, usable_only=usable_only)
    return TokensList(tokens=[TokenShape.model_validate(token) for token in found])


@router.post("/api/tokens", openapi_extra=needs(Right.TOKENS_MANAGE, "token.create", "token"), responses=answers(409, 415), status_code=201)
def create_token(request: Request, services: With, who: Who, body: CreateToken, key: IdempotencyKey = None) -> NewToken:
    """Make a token. Its secret is in this answer alone: the same Idempotency-Key again is 409, since nothing could show it a second time."""
    token_id = started_id(who.subject, request.url.path, key).hex[:12] if key else None
    lifetime = timedelta(days=body.expires_in_days)
    made, secret = tokens.create(services, who, body.name, body.role, scopes=body.scopes, expires_in=lifetime, token_id=token_id)
    return NewToken(**TokenShape.model_validate(made).model_dump(), secret=secret)


@router.delete(
    "/api/tokens/{token_id}",
    openapi_extra=needs(Right.TOKENS_MANAGE, "token.revoke", "token:{token_id}"),
    responses=answers(404),
    response_model=TokenShape,
)
def revoke_token(services: With, who: Who, token_id: TokenId) -> Token:
    """Make a token worthless. Safe to repeat."""
    return tokens.revoke(services, who, token_id)
