"""What the layers below say to whoever sits at the command line, said to whoever calls over HTTP: routes for commands, members for options. Pure.

Commands that only the one who runs the server can give (`treadle migrate`, `treadle doctor`), and those of the weekly flow, which has no routes, are left as they are.
"""

import re
from typing import Final

from treadle.errors import TreadleError, Unavailable

_ID: Final = r"([0-9a-f-]{36})"
_INSTEAD: Final = tuple(
    (re.compile(command), route)
    for command, route in (
        (r"treadle run ls --status SUCCEEDED", "GET /api/runs?status=SUCCEEDED"),
        (r"treadle run ls", "GET /api/runs"),
        (rf"treadle run show {_ID}", r"GET /api/runs/\1"),
        (r"treadle run start FILE( --wait)?", "POST /api/runs"),
        (rf"treadle restore {_ID}", r"POST /api/runs/\1/restore"),
        (r"treadle restore RUN", "POST /api/runs/{run_id}/restore"),
        (r"treadle lock show", "GET /api/lock"),
        (r"treadle lock release --reason …", "POST /api/lock/release"),
        (r"treadle jobs ls", "GET /api/jobs"),
        (r"treadle token ls", "GET /api/tokens"),
        (r"treadle scenario ls", "GET /query/docs/scenarios"),
        (r"treadle scenario destroy (\{[^}]*\}|[\w-]+)", "POST /api/jobs/{job_id}/retry"),
        (r"with --overwrite\b", "with `overwrite`"),
        (r"treadle files ls", "GET /api/files"),
        (r"treadle files upload FILE", "POST /api/uploads"),
        (r"treadle audit verify", "GET /api/audit/verify"),
        (r'--map ("?)([^"=]+)=([\w…]+)\1', r'"columns": {"\2": "\3"}'),
        (r"with --map\b", "with `columns`"),
        (r"Set TREADLE_USER or give --user", "Sign in as somebody who has a name"),
        (r"Ask for its profile", "Ask for it with POST at this address"),
        (r"Follow the job until it has ended", "Follow it: GET /api/jobs/{job_id}/events"),
        (r"retry the job", "POST /api/jobs/{job_id}/retry"),
    )
)
_AWAY: Final = "The database cannot be reached"


def for_callers(text: str) -> str:
    """A message or hint in the words of the API."""
    for command, route in _INSTEAD:
        text = command.sub(route, text)
    return text


def told(error: TreadleError) -> tuple[str, str | None]:
    """Message and hint of an error. Where the database is, and what it is called, is for the log alone."""
    if isinstance(error, Unavailable) and error.message.startswith(_AWAY):
        return f"{_AWAY}.", "Try again in a moment. Whoever runs the service finds the reason in its log, by the correlation id."
    return for_callers(error.message), for_callers(error.hint) if error.hint else None
