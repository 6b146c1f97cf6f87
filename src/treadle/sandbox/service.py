"""What a simulated cloud hands to the server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Scope

from treadle.sandbox.answers import ErrorAnswer

OperationOf = Callable[[Scope], str | None]
"""The operation id of a request, such as "onelake.Path.Create"; None for what is not modelled, which is then answered 501."""


@dataclass(frozen=True, slots=True)
class Service:
    """One API: its ASGI app, how a request's operation id is found, and its error envelope.

    expired_token: makes a token that this API would take if it had not expired, for the fault of that name; None where no token is asked for.
    """

    name: str
    app: ASGIApp
    operation_of: OperationOf
    error: ErrorAnswer
    expired_token: Callable[[], str] | None = None


def service_of_routes(name: str, routes: Sequence[Route], error: ErrorAnswer, *, expired_token: Callable[[], str] | None = None) -> Service:
    """A service whose operation ids are the names of its Starlette routes."""

    def operation_of(scope: Scope) -> str | None:
        return next((route.name for route in routes if route.matches(scope)[0] is Match.FULL), None)

    return Service(name, Router(list(routes), redirect_slashes=False), operation_of, error, expired_token)
