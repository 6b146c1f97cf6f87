"""treadle api: everything that Treadle does, over HTTP."""

import structlog

from treadle.api.app import create_app
from treadle.api.server import serve
from treadle.cli.options import Json, State
from treadle.cli.output import reported, say, show_json
from treadle.cli.serving import Host, Port, WithParent, api_settings, listening, ready_to_serve, told_to_stop

log = structlog.get_logger()


@reported
def api(host: Host = None, port: Port = None, with_parent: WithParent = False, state: State = None, json_output: Json = False) -> None:
    """Serve the HTTP API until Ctrl-C. Any number may run. Logs are JSON on standard error."""
    with ready_to_serve(state) as wiring:
        app = create_app(wiring.services, api_settings(wiring.settings))
        listener, url = listening(wiring.settings, host, port)
        stop = told_to_stop(with_parent=with_parent)
        if json_output:
            show_json({"url": url})
        say(f"The API is at {url}/api, its description at {url}/api/openapi.json. Stop: Ctrl-C")
        log.info("api.started", url=url)
        serve(app, listener, stop)
