"""What the commands of treadle weekly share: their options, their exit codes, which week is meant, and the bars."""

import functools
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, NoReturn, ParamSpec, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from typer.core import TyperGroup
from typer.exceptions import TyperException

from treadle.actions import weekly
from treadle.cli.exit_codes import EXIT_CODES, WEEKLY_FAILED
from treadle.cli.options import looking
from treadle.cli.output import reported, say, stderr
from treadle.errors import InvalidInput
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.services import Progress, Report
from treadle.flows.weekly.week import Week, week_of
from treadle.wiring import Wiring

P = ParamSpec("P")
R = TypeVar("R")

_INTERRUPTED: Final = EXIT_CODES[KeyboardInterrupt]


class StageName(StrEnum):
    """The stages as the command line calls them."""

    EXTRACT = "extract"
    TRANSFORM = "transform"
    LOAD = "load"
    QUALITY_GATE = "quality-gate"
    SALESFORCE_SYNC = "salesforce-sync"

    @property
    def stage(self) -> Stage:
        """The stage of this name."""
        return Stage.SYNC if self is StageName.SALESFORCE_SYNC else Stage(self.name)


class PlannedAction(StrEnum):
    """What a plan does with a row."""

    CREATE = "create"
    UPDATE = "update"
    BLOCKED = "blocked"
    REFUSED = "refused"


class EngineName(StrEnum):
    """What does the tables' work."""

    EMBEDDED = "embedded"
    SPARK = "spark"


WeekStart = Annotated[
    datetime | None, typer.Option("--week-start", formats=["%Y-%m-%d"], help="The week's first day (UTC).", show_default=False)
]
WeekEnd = Annotated[
    datetime | None,
    typer.Option("--week-end", formats=["%Y-%m-%d"], help="Its last day, included (default: six days later).", show_default=False),
]
UseCheckpoint = Annotated[bool, typer.Option("--use-checkpoint", help="The week that comes next by the checkpoint.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again, also if it is done; a newer success takes the place of the older one.")]
OverrideGuards = Annotated[
    bool, typer.Option("--override-guards", help="Carry the plan for Salesforce out although a guard objects, as to too many updates.")
]
LocalOnly = Annotated[bool, typer.Option("--local-only", help="Neither lake nor Salesforce; the checkpoint stays.")]
AdvanceOnSkip = Annotated[bool, typer.Option("--advance-on-skip", help="Move the checkpoint also past a week that is found done.")]
Engine = Annotated[EngineName, typer.Option("--engine", help="What does the tables' work.")]
RunTag = Annotated[
    str | None,
    typer.Option(
        "--run-tag", help="The run that this is part of, as an orchestrator calls it; its stages find each other by it.", show_default=False
    ),
]


class WeeklyGroup(TyperGroup):
    """The commands of treadle weekly; a bad option, date or name is exit code 1 as every other error of theirs."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """As of any group, with that exit code."""
        with _exit_code_of_weekly():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """As of any group, with that exit code; the subcommand's options are read here."""
        with _exit_code_of_weekly():
            return super().invoke(ctx)


def told(command: Callable[P, R]) -> Callable[P, R]:
    """As `reported`, with the three exit codes of this command. SIGTERM counts as an interruption: what was begun is recorded."""

    @functools.wraps(command)
    def interruptible(*args: P.args, **kwargs: P.kwargs) -> R:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            say("Interrupted. Started again, it goes on where it stopped.")
            raise typer.Exit(_INTERRUPTED) from None

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return reported(interruptible)(*args, **kwargs)
        except typer.Exit as end:
            raise typer.Exit(end.exit_code if end.exit_code in {0, _INTERRUPTED} else WEEKLY_FAILED) from None

    return wrapper


def chosen_week(wiring: Wiring, start: datetime | None, end: datetime | None, use_checkpoint: bool, tag: str | None) -> tuple[Week, bool]:
    """The week that the options name, and whether it may be run; a week named by its dates may, also before it is over."""
    if use_checkpoint and (start or end):
        raise InvalidInput("The week is named twice.", hint="Give either --use-checkpoint or --week-start.")
    if use_checkpoint:
        return weekly.week_due(wiring.services, looking(wiring), tag=tag)
    if start is None:
        raise InvalidInput("Which week?", hint="Give --week-start (and --week-end), or --use-checkpoint.")
    return Week(start.date(), end.date()) if end else week_of(start.date()), True


def plain_week(wiring: Wiring, start: datetime | None, end: datetime | None) -> Week:
    """As `chosen_week`; without dates, the week of the newest run."""
    if start is not None:
        return chosen_week(wiring, start, end, False, None)[0]
    if end is not None:
        raise InvalidInput("Which week?", hint="Give --week-start as well, or neither for the week of the newest run.")
    newest = weekly.standing(wiring.services, looking(wiring), limit=1).runs
    if not newest:
        raise InvalidInput("Which week?", hint="No week was run yet; give --week-start.")
    return newest[0].week


def dates_of(week: Week) -> str:
    """The options that name the week, for a hint that can be pasted."""
    return f"--week-start {week.start}" + ("" if week == week_of(week.start) else f" --week-end {week.end}")


def number(count: int | None) -> str | None:
    """A count with its thousands set apart; None where there is none."""
    return None if count is None else f"{count:,}"


@contextmanager
def bars() -> Generator[Report]:
    """One bar a stage, on a terminal; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"), TimeElapsedColumn())
    with Bars(*columns, console=stderr, disable=not stderr.is_terminal) as shown:
        tasks: dict[Stage, TaskID] = {}

        def report(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = shown.add_task(progress.stage.lower().replace("_", " "), total=None, unit=progress.unit)
            unit = f"{progress.unit} – {progress.note}" if progress.note else progress.unit
            shown.update(tasks[progress.stage], completed=progress.done, total=progress.total, unit=unit)

        yield report


@contextmanager
def _exit_code_of_weekly() -> Generator[None]:
    try:
        yield
    except TyperException as error:
        error.exit_code = WEEKLY_FAILED
        raise


def _interrupt(_number: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt
