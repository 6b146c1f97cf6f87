"""POSTs that start something have one effect, however often they are sent with the same Idempotency-Key."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Header, Request
from pydantic import BaseModel

from treadle.actions.services import Services
from treadle.api.answers import Json
from treadle.control.access import Principal
from treadle.control.idempotency import KeptAnswer, KeyedRequest, Patience, once

REPLAYED: str = "Idempotency-Replayed"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="A new UUID for each new request; the same one to repeat a request whose answer was lost. Kept for a day.",
        examples=["9e107d9d-3720-4a3b-8d2f-2b1f3a4c5d6e"],
    ),
]


class Asking:
    """A request that may be sent again: who sends what where, with which key."""

    def __init__(self, services: Services, who: Principal, request: Request, key: str | None, body: BaseModel | None = None) -> None:
        self._services, self._key = services, key
        content = body.model_dump_json().encode() if body else b""
        self._request = KeyedRequest(who.subject, key, f"{request.method} {request.url.path}", content) if key else None

    def answer(self, effect: Callable[[UUID], tuple[int, BaseModel, Mapping[str, str]]]) -> Json:
        """Carry out the effect, which gets the id of what it starts, unless that was done before; give its status, body and headers.

        Raises:
            InvalidInput, Conflict: as `idempotency.once`; and what the effect raises.
        """
        return _response(self.carry_out(effect))

    def carry_out(self, effect: Callable[[UUID], tuple[int, BaseModel, Mapping[str, str]]]) -> KeptAnswer:
        """As `answer`, for a route whose own answer is made of it: a stream cannot be kept."""
        if self._request is None:
            return _kept(*effect(uuid4()))
        lifetime = self._services.limits.idempotency_lifetime
        return once(self._services.own, self._request, lambda given: _kept(*effect(given)), Patience(lifetime=lifetime))


def _kept(status: int, body: BaseModel, headers: Mapping[str, str]) -> KeptAnswer:
    return KeptAnswer(status, json.loads(body.model_dump_json()), dict(headers))


def _response(answer: KeptAnswer) -> Json:
    body: Any = answer.body
    return Json(body, answer.status, {**answer.headers, **({REPLAYED: "true"} if answer.replayed else {})})
