"""Whether the databases are there and complete, told in time whatever they do."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from anyio import to_thread

from treadle.actions.services import Services
from treadle.control.lock import show_lock
from treadle.control.migrate import pending
from treadle.errors import TreadleError

log = structlog.get_logger()

_PATIENCE_SECONDS: Final = 2.5


class Readiness:
    """Each database is asked by one thread at a time, however many want to know: probes of a database that is away must not pile up."""

    def __init__(self, services: Services) -> None:
        self._checks: Mapping[str, Callable[[], str]] = {
            "database": lambda: _outcome(lambda: show_lock(services.database)),
            "own_tables": lambda: _outcome(lambda: pending(services.own)),
        }
        self._asked: dict[str, asyncio.Future[str]] = {}

    async def outcomes(self) -> dict[str, str]:
        """By name of the check: `ok`, or what is missing. On the event loop's thread."""
        asked = {name: self._ask(name) for name in self._checks}
        await asyncio.wait(asked.values(), timeout=_PATIENCE_SECONDS)
        return {name: answer.result() if answer.done() else "Unavailable" for name, answer in asked.items()}

    def _ask(self, name: str) -> "asyncio.Future[str]":
        asked = self._asked.get(name)
        if asked is None or asked.done():
            asked = asyncio.ensure_future(to_thread.run_sync(self._checks[name], abandon_on_cancel=True))
            self._asked[name] = asked
        return asked


def _outcome(look: Callable[[], object]) -> str:
    try:
        found = look()
    except TreadleError as error:
        log.warning("health.not_ready", error=error.message, kind=type(error).__name__)
        return type(error).__name__
    return "migration pending" if isinstance(found, list) and found else "ok"
