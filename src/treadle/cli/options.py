"""The options that many commands share, and the session that they open."""

import getpass
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.output import say
from treadle.control.access import Principal, Role, local_principal
from treadle.errors import InvalidInput, NotFound
from treadle.logs import configure_logs
from treadle.settings import Settings, load_settings, state_dir
from treadle.wiring import Wiring, wired

MAX_SHOWN_PATH = 1000

State = Annotated[
    Path | None,
    typer.Option("--state", help="State directory of a local environment (default: TREADLE_STATE, else ./.treadle).", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the data as JSON on standard output.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or its first 8 characters or more.")]
User = Annotated[str | None, typer.Option("--user", help="Who acts (default: TREADLE_USER, else the system's user).", show_default=False)]


def settings_of(state: Path | None, *, for_people: bool = True) -> Settings:
    """Load settings and set up logs; commands for people log warnings and worse only, unless LOG_LEVEL asks for another level than INFO."""
    settings = load_settings(state_dir(state))
    configure_logs(
        "WARNING" if for_people and settings.log_level == "INFO" else settings.log_level, secrets=settings.secrets, for_people=for_people
    )
    return settings


@contextmanager
def session(state: Path | None, *, for_people: bool = True, database_wait_seconds: float = 30) -> Generator[Wiring]:
    """Everything a command works with, for as long as it runs. database_wait_seconds: as for `wired`."""
    settings = settings_of(state, for_people=for_people)
    with wired(settings, database_wait_seconds=database_wait_seconds) as wiring:
        yield wiring


def acting_user(wiring: Wiring, explicit: str | None) -> str:
    """The name that is recorded with every change.

    Raises:
        InvalidInput: nothing says who it is.
    """
    if named := explicit or wiring.settings.treadle_user:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container whose user has no name
        raise InvalidInput("Nothing says who acts: this machine's user has no name.", hint="Set TREADLE_USER or give --user.") from error


def acting(wiring: Wiring, explicit: str | None) -> Principal:
    """Who acts at this machine, with the role of TREADLE_ROLE. Whoever has the database's password is trusted to say who they are."""
    return local_principal(acting_user(wiring, explicit), Role(wiring.settings.treadle_role))


def looking(wiring: Wiring) -> Principal:
    """Who only looks, and so need not be named."""
    return local_principal(wiring.settings.treadle_user or "who sits at this machine", Role(wiring.settings.treadle_role))


def say_environment(settings: Settings) -> None:
    """Name the environment before something is changed in it."""
    say(f"Environment: {settings.treadle_environment}")


def local_file(text: str) -> Path | None:
    """The file on this machine that the argument names. None: it names one in the lake, or nothing that could be a path here."""
    try:
        return Path(text) if Path(text).is_file() else None
    except (OSError, ValueError):  # too long, or with a NUL: no path of this machine; the lake's own rules will say so
        return None


def lake_name(text: str) -> str:
    """The argument as a name in the lake; a path that leads to nothing here is told as what it is, a mistyped path.

    Raises:
        NotFound: it is a path, and no file is there.
    """
    if "/" in text and not text.startswith("..") and len(text) < MAX_SHOWN_PATH:
        raise NotFound(f"{text} is no file on this machine.", hint="Check the path, or give the plain name of a file in Files/import/.")
    return text
