"""What `treadle api` and `treadle portal` share: their options, the socket they listen on, and how the API is set up."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from limits import parse

from treadle.api.config import ApiSettings
from treadle.api.server import listen
from treadle.cli.options import session
from treadle.cli.stopping import stop_on_signal, stop_with_parent
from treadle.clients.oidc import TokenVerifier
from treadle.control.migrate import require_migrated
from treadle.errors import InvalidInput
from treadle.settings import Settings, split_names
from treadle.wiring import Wiring

_DATABASE_WAIT_SECONDS: Final = 5  # a caller is better served by 503 and Retry-After than by silence

Host = Annotated[str | None, typer.Option("--host", help="The address to listen on (default: API_HOST).", show_default=False)]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Its port; 0 takes any free one (default: API_PORT).", show_default=False)
]
WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input ends.")]


@contextmanager
def ready_to_serve(state: Path | None) -> Generator[Wiring]:
    """As `session`, for a command that stands and answers. Raises InvalidInput when Treadle's own tables are not there."""
    with session(state, for_people=False, database_wait_seconds=_DATABASE_WAIT_SECONDS) as wiring:
        require_migrated(wiring.own)
        yield wiring


def told_to_stop(*, with_parent: bool) -> threading.Event:
    """An event that is set when the command is to stop: by a signal, and on demand when whoever started it is gone."""
    stop = stop_on_signal()
    if with_parent:
        stop_with_parent(stop)
    return stop


def api_settings(settings: Settings) -> ApiSettings:
    """How the API is set up.

    Raises:
        InvalidInput: API_RATE_LIMIT is no rate.
    """
    try:
        parse(settings.api_rate_limit)
    except ValueError as error:
        raise InvalidInput(f"API_RATE_LIMIT is {settings.api_rate_limit!r}.", hint="Write it as 600/minute.") from error
    return ApiSettings(
        allowed_hosts=tuple(split_names(settings.api_allowed_hosts)),
        cors_origins=tuple(split_names(settings.api_cors_origins)),
        rate_limit=settings.api_rate_limit,
        body_limit_bytes=settings.api_body_limit_kb * 1024,
        verifier=_verifier(settings),
        role_claim=settings.oidc_role_claim,
        role_map=settings.role_map,
    )


def _verifier(settings: Settings) -> TokenVerifier | None:
    """What proves the bearer tokens of the sign-in service. None: none is set, and API tokens are the only way in."""
    if not (settings.oidc_issuer and settings.oidc_audience):
        return None
    return TokenVerifier(settings.oidc_issuer, settings.oidc_audience, jwks_url=settings.oidc_jwks_url, ca_file=settings.treadle_ca_file)


def listening(settings: Settings, host: str | None, port: int | None) -> tuple[socket.socket, str]:
    """A socket that listens, and the URL of what is served there. host, port: as the options say; None: as the settings do.

    Raises:
        InvalidInput: the address is taken, or is none of this machine's.
    """
    address, number = host or settings.api_host, settings.api_port if port is None else port
    try:
        listener = listen(address, number)
    except OSError as error:
        raise InvalidInput(
            f"{address}:{number} cannot be listened on: {error.strerror}.",
            hint="If `treadle up` runs here, it serves the API already, at the address it printed. Else give another with --host and --port.",
        ) from error
    name, taken = listener.getsockname()[:2]
    return listener, f"http://[{name}]:{taken}" if ":" in name else f"http://{name}:{taken}"
