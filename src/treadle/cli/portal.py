"""treadle portal: the pages for people and the HTTP API, on one port."""

import secrets
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp

from treadle.api.app import create_app
from treadle.api.server import serve
from treadle.cli.options import Json, State, acting
from treadle.cli.output import reported, say, show_json
from treadle.cli.serving import Host, Port, WithParent, api_settings, listening, ready_to_serve, told_to_stop
from treadle.errors import InvalidInput
from treadle.settings import split_names
from treadle.wiring import Wiring

log = structlog.get_logger()

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@reported
def portal(host: Host = None, port: Port = None, with_parent: WithParent = False, state: State = None, json_output: Json = False) -> None:
    """Serve the portal, and the API under /api, until Ctrl-C. Logs are JSON on standard error."""
    with ready_to_serve(state) as wiring:
        listener, url = listening(wiring.settings, host, port)
        api = create_app(wiring.services, api_settings(wiring.settings))
        app = _around(api, wiring, wiring.settings.portal_url or url, host or wiring.settings.api_host)
        stop = told_to_stop(with_parent=with_parent)
        if json_output:
            show_json({"url": url})
        say(f"The portal is at {url}, the API at {url}/api. Stop: Ctrl-C")
        log.info("portal.started", url=url)
        serve(api, listener, stop, app)


def _around(api: FastAPI, wiring: Wiring, url: str, host: str) -> ASGIApp:
    """Raises InvalidInput when everybody on the network could act without signing in."""
    from treadle.portal.server import SignInService, create_portal  # noqa: PLC0415 - commands should not wait for Streamlit
    from treadle.portal.shared import Portal  # noqa: PLC0415

    settings = wiring.settings
    sign_in = None
    if settings.oidc_client_id and settings.oidc_issuer:
        sign_in = SignInService(
            url.rstrip("/"),
            settings.oidc_issuer,
            settings.oidc_client_id,
            settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else "",
            settings.portal_cookie_secret.get_secret_value() if settings.portal_cookie_secret else secrets.token_urlsafe(32),
            settings.treadle_ca_file,
        )
    elif host not in _LOOPBACK or settings.portal_url or not set(split_names(settings.api_allowed_hosts)) <= {*_LOOPBACK}:
        raise InvalidInput(
            "Without sign-in everybody who reaches the portal would act as whoever runs it, and it is to be reached from elsewhere"
            f" (it listens on {host}; see also PORTAL_URL and API_ALLOWED_HOSTS).",
            hint="Set OIDC_ISSUER, OIDC_AUDIENCE, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET; or let it serve this machine alone.",
        )
    shared = Portal(
        wiring.services,
        None if sign_in else acting(wiring, None),
        min(settings.portal_upload_limit_mb * 1024**2, wiring.services.limits.upload_bytes),
        settings.oidc_role_claim,
        tuple(sorted(settings.role_map.items())),
        None if settings.treadle_environment == "SANDBOX" else settings.fabric_portal_url,
    )
    return create_portal(shared, api, sign_in=sign_in, allowed_hosts=tuple(split_names(settings.api_allowed_hosts)))
