"""treadle api: everything that Treadle does, over HTTP."""

import socket
from typing import Annotated, Final

import structlog
import typer
from limits import parse

from treadle.api.app import create_app
from treadle.api.config import ApiSettings
from treadle.api.server import listen, serve
from treadle.cli.options import Json, State, session
from treadle.cli.output import reported, say, show_json
from treadle.cli.stopping import stop_on_signal, stop_with_parent
from treadle.clients.oidc import TokenVerifier
from treadle.control.migrate import require_migrated
from treadle.errors import InvalidInput
from treadle.settings import Settings, split_names

log = structlog.get_logger()

_DATABASE_WAIT_SECONDS: Final = 5  # a caller is better served by 503 and Retry-After than by silence


@reported
def api(
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on (default: API_HOST).", show_default=False)] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Its port; 0 takes any free one (default: API_PORT).", show_default=False)
    ] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input ends.")] = False,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Serve the HTTP API until Ctrl-C. Any number may run. Logs are JSON on standard error."""
    with session(state, for_people=False, database_wait_seconds=_DATABASE_WAIT_SECONDS) as wiring:
        require_migrated(wiring.own)
        app = create_app(wiring.services, api_settings(wiring.settings))
        listener, url = listening(host or wiring.settings.api_host, wiring.settings.api_port if port is None else port)
        stop = stop_on_signal()
        if with_parent:
            stop_with_parent(stop)
        if json_output:
            show_json({"url": url})
        say(f"The API is at {url}/api, its description at {url}/api/openapi.json. Stop: Ctrl-C")
        log.info("api.started", url=url)
        serve(app, listener, stop)


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


def listening(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket that listens, and the URL of what is served there.

    Raises:
        InvalidInput: the address is taken, or is none of this machine's.
    """
    try:
        listener = listen(host, port)
    except OSError as error:
        raise InvalidInput(
            f"{host}:{port} cannot be listened on: {error.strerror}.",
            hint="If `treadle up` runs here, it serves the API already, at the address it printed. Else give another with --host and --port.",
        ) from error
    name, number = listener.getsockname()[:2]
    return listener, f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"
