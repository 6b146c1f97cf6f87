"""treadle token …: make, list and revoke API tokens."""

import re
from datetime import timedelta
from typing import Annotated, Final

import typer

from treadle.actions import tokens
from treadle.cli.options import Json, State, User, acting, say_environment, session
from treadle.cli.output import reported, say, show_json, stdout
from treadle.cli.tables import show_list
from treadle.control.access import Role, read_right
from treadle.control.tokens import Token
from treadle.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="API tokens: for programs, and for people without a sign-in service.")

_LIFETIME: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


@app.command("create")
@reported
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, or what it is for; recorded with every change made by it.")],
    role: Annotated[Role, typer.Option("--role", help="What it may do at most.")] = Role.VIEWER,
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="Only this right, for example runs:read; may be given several times (default: all of the role)."),
    ] = None,
    expires: Annotated[str, typer.Option("--expires", help="How long it lives: 30m, 12h, 90d.")] = "90d",
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Make a token and print it: this once, for it is kept as a hash alone."""
    lifetime = parse_lifetime(expires)
    rights = {read_right(scope) for scope in scopes} if scopes else None
    with session(state) as wiring:
        say_environment(wiring.settings)
        made, secret = tokens.create(wiring.services, acting(wiring, user), name, role, scopes=rights, expires_in=lifetime)
        if json_output:
            show_json({**_facts(made), "token": secret})
        else:
            stdout().print(secret, markup=False, soft_wrap=True)
        say(f"Token {made.token_id} ({made.role}) is valid until {made.expires_at:%Y-%m-%d %H:%M} UTC. Keep it now: it is not shown again.")


@app.command("ls")
@reported
def ls(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are revoked or expired.")] = False,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List tokens, newest first."""
    with session(state) as wiring:
        found = tokens.list_tokens(wiring.services, acting(wiring, user), usable_only=not everything)
        if json_output:
            show_json([_facts(token) for token in found])
            return
        rows = [
            (
                token.token_id,
                token.name,
                token.role,
                _scopes(token),
                token.created_by,
                token.expires_at,
                token.last_used_at,
                _standing(token),
            )
            for token in found
        ]
        heads = ("token", "name", "role", "scopes", "made by", "expires", "last used", "state")
        spare = ("made by", "scopes", "last used")
        show_list(heads, rows, spare=spare, cut={"name": 16}, empty="There are no tokens. Make one with: treadle token create NAME")


@app.command("revoke")
@reported
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The id of a token, as `treadle token ls` shows it.")],
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Make a token worthless. Safe to repeat; running servers notice within 5 seconds."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        revoked = tokens.revoke(wiring.services, acting(wiring, user), token)
        if json_output:
            show_json(_facts(revoked))
        say(f"Token {revoked.token_id} ({revoked.name}) was revoked by {revoked.revoked_by}.")


def parse_lifetime(text: str) -> timedelta:
    """Read `30m`, `12h` or `90d`.

    Raises:
        InvalidInput: it is anything else.
    """
    found = _LIFETIME.fullmatch(text.strip().lower())
    if not found:
        raise InvalidInput(f"--expires {text!r} is not a lifetime.", hint="Examples: 30m, 12h, 90d.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _facts(token: Token) -> dict[str, object]:
    return {**{name: getattr(token, name) for name in token.__dataclass_fields__}, "usable": token.usable}


def _scopes(token: Token) -> str:
    return "all of the role" if token.scopes is None else ", ".join(token.scopes)


def _standing(token: Token) -> str:
    if token.revoked_at:
        return f"revoked by {token.revoked_by}"
    return "expired" if token.expired else "valid"
