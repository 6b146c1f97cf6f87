"""treadle up and treadle sandbox: the whole environment on this machine, with no cloud."""

import contextlib
import fcntl
import os
import secrets
import threading
import webbrowser
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import structlog
import typer

from treadle.actions import connections
from treadle.cli.options import Json
from treadle.cli.output import reported, say, show_json
from treadle.cli.sample_runs import SUPERSTORE_COLUMNS, ask_for_sample_weeks, run_sample, sample_files, wait_for_sample_weeks
from treadle.cli.stopping import stop_on_signal
from treadle.cli.supervised import free_port, supervised, wait_until_listening
from treadle.control import runs
from treadle.control.access import Role, local_principal
from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.errors import Conflict, InvalidInput
from treadle.flows.sales import deploy
from treadle.logs import configure_logs, hide_secrets
from treadle.settings import DEFAULT_STATE, STARTING_FILE_NAME, STATE_FILE_NAME, Settings
from treadle.wiring import wired

log = structlog.get_logger()

StateFolder = Annotated[Path, typer.Option("--state", envvar="TREADLE_STATE", help="Where everything of this environment is kept.")]
WORKSPACE = "Treadle"
API_HOST, API_PORT = "127.0.0.1", 8080  # if nobody else listens there


@dataclass(frozen=True, slots=True)
class LocalEnvironment:
    """A running local environment."""

    state: Path
    settings: Settings
    cloud: Any  # the Sandbox and the EmbeddedPostgres, for tests in the same process
    postgres: Any
    values: Mapping[str, str]  # the settings as they stand in the file


@reported
def up(
    state: StateFolder = DEFAULT_STATE,
    headless: Annotated[bool, typer.Option("--headless", help="Open no browser; only print where things are.")] = False,
    with_samples: Annotated[
        bool,
        typer.Option(
            "--with-samples",
            help="Run the two sample workbooks and two sample weeks first, if there is no run yet, so that no page is empty.",
        ),
    ] = False,
    json_output: Json = False,
) -> None:
    """Start sandbox, database, worker, portal and API, and keep them running until Ctrl-C.

    Other commands find the environment by the file treadle.env in the state directory, which is written when everything is ready.
    """
    stop = stop_on_signal()
    _require_folder(state)
    with _logs_in(state / "logs" / "up.jsonl"), local_environment(state, announced=False) as environment, contextlib.ExitStack() as running:
        url = _start_processes(environment, running, stop)
        _connect_workspace(environment)
        if with_samples:
            _run_samples(environment)
        _write_env(environment.state / STATE_FILE_NAME, {**environment.values, "TREADLE_PORTAL_URL": url, "TREADLE_API_URL": f"{url}/api"})
        places = {"state": str(environment.state), "settings": str(environment.state / STATE_FILE_NAME), "portal": url, "api": f"{url}/api"}
        facts = places | _endpoints(environment.settings)
        if json_output:
            show_json(facts)
        say(f"Treadle is up: {environment.settings.treadle_environment}, nothing here reaches a cloud.")
        for name, value in facts.items():
            say(f"  {name:10} {value}")
        if environment.settings.api_port != API_PORT:
            say(f"Somebody else listens on port {API_PORT}, so the portal and the API have another.")
        say(f"Open: {url}  (sign in as Ada, Olga or Vic: admin, operator, viewer)")
        say(f"Or:   treadle run start samples/superstore.xlsx --map Sales=revenue --wait --state {environment.state}\nStop: Ctrl-C")
        if not headless:
            webbrowser.open(url)
        stop.wait()
        say("Stopping.")


@reported
def sandbox(
    state: StateFolder = DEFAULT_STATE,
    faults: Annotated[
        Path | None, typer.Option("--faults", exists=True, dir_okay=False, help="A JSON script of faults to begin with.")
    ] = None,
) -> None:
    """Start only the local stand-ins of the clouds, without database and worker."""
    from treadle.sandbox.server import serve  # noqa: PLC0415 - production needs no sandbox, nor what it is built from

    _require_folder(state)
    with _sole_owner(state):
        serve(state, faults_file=faults)


@contextlib.contextmanager
def local_environment(state: Path, *, announced: bool = True) -> Generator[LocalEnvironment]:
    """Start sandbox and database in this process, put notebook and pipeline in place, write `treadle.env`; stop all on leaving.

    announced: False leaves `treadle.env`, by which other commands find the environment, to the caller; our own processes have STARTING_FILE_NAME.

    Raises:
        Conflict: another process has this state directory up already.
    """
    from treadle.sandbox.postgres import EmbeddedPostgres  # noqa: PLC0415 - see `sandbox`
    from treadle.sandbox.server import Sandbox  # noqa: PLC0415

    state = state.absolute()
    _require_folder(state)
    with _sole_owner(state), _settings_files(state), EmbeddedPostgres(state / "postgres") as postgres, Sandbox(state) as cloud:
        values = _connection_values(cloud, postgres) | _weekly_folders(state)
        secret = values["FABRIC_CLIENT_SECRET"]
        hide_secrets([secret, values["API_KEY"], values["SALESFORCE_CLIENT_SECRET"]])
        items = _deploy(values)
        _migrate(postgres.conninfo)
        values |= items
        _write_env(state / (STATE_FILE_NAME if announced else STARTING_FILE_NAME), values)
        yield LocalEnvironment(state, _read(values), cloud, postgres, values)


def _migrate(conninfo: Mapping[str, Any]) -> None:
    """A local database is brought up to date without being asked; a real one waits for its owner."""
    with Database(conninfo) as own:
        migrate(own)


def _connection_values(cloud: Any, postgres: Any) -> dict[str, str]:
    """Everything but the items of the workspace, which do not exist yet."""
    database = postgres.conninfo
    return {
        "TREADLE_ENVIRONMENT": "SANDBOX",
        "FABRIC_TENANT_ID": cloud.credentials.tenant_id,
        "FABRIC_CLIENT_ID": cloud.credentials.client_id,
        "FABRIC_CLIENT_SECRET": cloud.credentials.client_secret,
        "OWNER_UPN": cloud.credentials.owner_upn,
        "OWNER_OBJECT_ID": cloud.credentials.owner_object_id,
        "ENTRA_AUTHORITY_URL": cloud.endpoints.entra_url,
        "FABRIC_API_URL": cloud.endpoints.fabric_url,
        "ONELAKE_URL": cloud.endpoints.dfs_url,
        "API_HOST": API_HOST,
        "API_PORT": str(free_port(API_HOST, API_PORT)),
        "ONELAKE_BLOB_URL": cloud.endpoints.blob_url,
        "OIDC_ISSUER": cloud.endpoints.oidc_url,
        "OIDC_AUDIENCE": "api://treadle",
        "OIDC_CLIENT_ID": cloud.oidc.client.client_id,
        "OIDC_CLIENT_SECRET": cloud.oidc.client.secret,
        "API_BASE_URL": cloud.endpoints.events_url,
        "API_KEY": cloud.events.api_key,
        "API_RATE_LIMIT_DELAY": "0",  # nobody else asks it
        "SALESFORCE_URL": cloud.endpoints.salesforce_url,
        "SALESFORCE_CLIENT_ID": cloud.salesforce.credentials.client_id,
        "SALESFORCE_CLIENT_SECRET": cloud.salesforce.credentials.client_secret,
        "KUSTO_HOSTS": _host_of(cloud.endpoints.kusto_url),
        "PORTAL_COOKIE_SECRET": secrets.token_urlsafe(32),
        "SANDBOX_ADMIN_URL": cloud.endpoints.admin_url,
        "SANDBOX_PROXY_URL": cloud.endpoints.proxy_url,
        "TREADLE_CA_FILE": str(cloud.endpoints.ca_file),
        "TREADLE_POLL_SECONDS": "1",
        "PG_HOST": str(database["host"]),
        "PG_PORT": str(database["port"]),
        "PG_DATABASE": str(database["dbname"]),
        "PG_USER": str(database["user"]),
        "PG_PASSWORD": "none-needed",  # the socket trusts its user; named, so that one from the environment is not sent to it
        "PG_SSLMODE": "disable",
    }


def _host_of(url: str) -> str:
    return urlsplit(url).netloc


def _weekly_folders(state: Path) -> dict[str, str]:
    """Where the weekly flow keeps its files: with everything else of this environment, wherever a command is called."""
    folder = state / "weekly"
    places = {"STATE_DIR": "state", "LOCAL_DATA_DIR": "data/raw_events", "LOCAL_REJECTS_DIR": "data/raw_events_rejects"}
    return {name: str(folder / place) for name, place in places.items()}


def _deploy(values: dict[str, str]) -> dict[str, str]:
    """Create workspace and lakehouse, and publish notebook and pipeline, through the same client and API as in production."""
    not_yet = dict.fromkeys(("FABRIC_WORKSPACE_ID", "FABRIC_LAKEHOUSE_ID", "FABRIC_PIPELINE_ID"), deploy.ZERO_GUID)
    with wired(_read(values | not_yet)) as wiring:
        place = deploy.deploy_all(wiring.fabric, workspace_name=WORKSPACE)
    return {"FABRIC_WORKSPACE_ID": place.workspace_id, "FABRIC_LAKEHOUSE_ID": place.lakehouse_id, "FABRIC_PIPELINE_ID": place.pipeline_id}


def _read(values: Mapping[str, str]) -> Settings:
    return Settings(**{name.lower(): value for name, value in values.items()})  # pyright: ignore[reportArgumentType] - parsed by pydantic


def _write_env(path: Path, values: Mapping[str, str]) -> None:
    """Write it in one step, readable by its owner alone: it holds the sandbox's client secret."""
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    temporary.replace(path)


@contextlib.contextmanager
def _settings_files(state: Path) -> Generator[None]:
    """There is a treadle.env only while everything is up; one that a killed `up` left behind would send others nowhere."""

    def remove() -> None:
        for name in (STATE_FILE_NAME, STARTING_FILE_NAME):
            (state / name).unlink(missing_ok=True)

    remove()
    try:
        yield
    finally:
        remove()


@contextlib.contextmanager
def _sole_owner(state: Path) -> Generator[None]:
    """Two environments in one directory would fight over ports and files."""
    with (state / "up.lock").open("w") as owner:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"{state} is up already, in another process.", hint="Use it, stop it, or give another directory with --state."
            ) from None
        yield


def _require_folder(state: Path) -> None:
    """Raises InvalidInput when the state directory cannot be made or written."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        (state / "up.lock").touch()
    except OSError as error:
        raise InvalidInput(f"{state} cannot hold an environment: {error.strerror}.", hint="Give another directory with --state.") from error


@contextlib.contextmanager
def _logs_in(file: Path) -> Generator[None]:
    """Keep the log of what runs in this process in a file: its terminal belongs to the person who started it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", buffering=1, encoding="utf-8") as stream:
        configure_logs("INFO", stream=stream)
        try:
            yield
        finally:
            configure_logs("WARNING", for_people=True)


def _start_processes(environment: LocalEnvironment, running: contextlib.ExitStack, stop: threading.Event) -> str:
    """Start the worker and the portal, with the API in it, as processes of their own; return the portal's URL once it answers."""
    running.enter_context(supervised("worker", [], environment.state, stop))
    running.enter_context(supervised("portal", [], environment.state, stop))
    host, port = environment.settings.api_host, environment.settings.api_port
    wait_until_listening(host, port, stop)
    return f"http://{host}:{port}"


def _connect_workspace(environment: LocalEnvironment) -> None:
    """The workspace of the sandbox, so that a scenario can be built from the portal at once."""
    who = local_principal("treadle", Role.ADMIN)
    with wired(environment.settings) as wiring:
        if not connections.list_connections(wiring.services, who):
            connections.add_connection(wiring.services, who, environment.settings.fabric_workspace_id)


def _run_samples(environment: LocalEnvironment) -> None:
    who = local_principal("demo", Role.ADMIN)
    with wired(environment.settings) as wiring:
        if runs.list_runs(wiring.database, limit=1).runs:
            return
        say("Running the two sample workbooks and two sample weeks, so that no page is empty.")
        weeks = ask_for_sample_weeks(wiring, who)
        superstore, orders = sample_files(environment.state)
        run_sample(wiring, who, superstore, SUPERSTORE_COLUMNS)
        run_sample(wiring, who, orders, None)
        wait_for_sample_weeks(wiring, who, weeks)


def _endpoints(settings: Settings) -> dict[str, str]:
    return {
        "entra": settings.entra_authority_url,
        "fabric": settings.fabric_api_url,
        "onelake": settings.onelake_url,
        "sign-in": settings.oidc_issuer or "",
        "ca file": str(settings.treadle_ca_file),
        "postgres": f"host={settings.pg_host} port={settings.pg_port} dbname={settings.pg_database} user={settings.pg_user}",
        "logs": "logs/ in the state directory",
    }
