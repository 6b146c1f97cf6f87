"""What a person and a script see: data on standard output, messages on standard error, an exit code that says what to do."""

import functools
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec, TypeVar, cast
from uuid import UUID

import structlog
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from treadle import errors
from treadle.cli.exit_codes import DEFECT, EXIT_CODES
from treadle.logs import redact, redact_value
from treadle.looks import look_of

log = structlog.get_logger()
P = ParamSpec("P")
R = TypeVar("R")

_TERMINAL_COLOURS: Final[Mapping[str, str]] = {"gray": "cyan", "orange": "yellow"}  # those that a terminal calls, or shows, otherwise

PIPED_COLUMNS: Final = 10_000

stderr = Console(stderr=True, highlight=False)


def stdout() -> Console:
    """The console for data. Piped into another program it is as wide as the data, not 80 columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_COLUMNS)


@contextmanager
def waiting_for(what: str) -> Generator[None]:
    """Say what takes a while: while it does on a terminal, once elsewhere."""
    if not stderr.is_terminal:
        say(f"{what} …")
        yield
        return
    with stderr.status(f"{what} …"):
        yield


def say(message: str) -> None:
    """Tell the person at the terminal; never part of the data."""
    stderr.print(escape(redact(message)), soft_wrap=True)


def show_json(data: Any) -> None:
    """Print one JSON document."""
    write_out(json.dumps(as_json(data), ensure_ascii=False, indent=2, allow_nan=False))


def show_json_line(data: Any) -> None:
    """Print one JSON object on a line of its own, for a stream of them."""
    write_out(json.dumps(as_json(data), ensure_ascii=False, allow_nan=False))


def write_out(text: str) -> None:
    """Write data and a line's end.

    Raises:
        Unavailable: standard output takes nothing.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, AttributeError) as error:  # a full disk; or a standard output that is closed, which Python shows as None
        raise errors.Unavailable(
            f"Standard output cannot be written: {getattr(error, 'strerror', 'it is closed')}.", hint="The command itself was carried out."
        ) from error


@contextmanager
def upload_progress(name: str) -> Generator[Callable[[int, int], None]]:
    """Show how far an upload is, on a terminal; yields what to call with the bytes done and the bytes in all."""
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def counted(count: int, what: str) -> str:
    """So many of something. what: one of them."""
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def as_json(value: Any) -> Any:  # noqa: PLR0911 - one line a kind of value
    """Turn our values into what JSON has: times in ISO 8601 UTC, decimals as numbers, absent as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: as_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, UUID | date | Path):
        return str(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [as_json(item) for item in cast("Iterable[Any]", value)]
    return value


def status_cell(status: str) -> str:
    """A status with its sign and colour, as rich markup."""
    look = look_of(status)
    return f"[{_TERMINAL_COLOURS.get(look.colour, look.colour)}]{look.sign} {status}[/]"


def local_time(moment: datetime | None) -> str:
    """A moment in the time zone of this terminal; a dash when there is none."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "–"


def local_minute(moment: datetime | None) -> str:
    """As `local_time`, for lists: seconds are for the thing itself."""
    return local_time(moment)[:16]


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a command raises into a message and an exit code: the one place where the CLI catches."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except errors.TreadleError as error:
            _report(error, as_data=bool(kwargs.get("json_output")))
        except KeyboardInterrupt:
            say("Interrupted. What was started goes on; see it with: treadle run ls")
            raise typer.Exit(EXIT_CODES[KeyboardInterrupt]) from None
        except BrokenPipeError:  # the reader (head, less) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort):
                raise
            log.exception("cli.defect")
            say(f"Treadle has a defect: {type(error).__name__}: {str(error).rstrip('.')}. Report it with the lines above.")
            raise typer.Exit(DEFECT) from None

    return wrapper


def exit_code(error: BaseException) -> int:
    """The documented exit code of an error: that of the nearest class that has one."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), DEFECT)


def _report(error: errors.TreadleError, *, as_data: bool) -> NoReturn:
    if as_data:
        told = {"error": type(error).__name__, "message": error.message, "hint": error.hint, "details": error.details}
        sys.stderr.write(json.dumps(redact_value(as_json(told)), ensure_ascii=False) + "\n")
    else:
        stderr.print(f"[bold red]Error:[/] {escape(redact(error.message))}", soft_wrap=True)
        if error.hint:
            stderr.print(f"[bold]Next:[/]  {escape(redact(error.hint))}", soft_wrap=True)
    raise typer.Exit(exit_code(error))


class Markup(str):
    """Text that is rich markup already."""

    __slots__ = ()
