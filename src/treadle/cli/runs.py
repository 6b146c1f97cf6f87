"""treadle run …: start, list, show, follow, cancel and compare runs."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import typer

from treadle.actions import runs
from treadle.cli.options import Json, RunArgument, State, User, acting, lake_name, local_file, looking, say_environment, session
from treadle.cli.output import reported, say, show_json, upload_progress
from treadle.cli.run_views import print_comparison, print_events, print_runs, run_details, show_run
from treadle.cli.waiting import MAX_TIMEOUT, finish_command, follow_events
from treadle.control.states import RunStatus
from treadle.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Start, follow, compare and cancel runs.")

LIST_LIMIT = 20


@app.command("start")
@reported
def start(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A workbook on this machine (it is uploaded first), or the name of one in Files/import/.")
    ],
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="A=b", help="Read column A as b; may be given several times. Stored beside the file."),
    ] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", help="The sheet to read (default: the first visible one with rows).")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Drive the run to its end and show its KPIs; exit code 7 if it fails.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0, max=MAX_TIMEOUT, help="Seconds to wait at most.")] = 3600,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Start one governed run of a workbook."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        local = local_file(file)
        name, columns = local.name if local else lake_name(file), parse_mapping(mapping) if mapping else None
        with upload_progress(name) as progress:
            run = runs.start(wiring.services, acting(wiring, user), name, columns=columns, sheet=sheet, local_file=local, progress=progress)
        finish_command(wiring, run, wait=wait, timeout=timeout, json_output=json_output)


@app.command("ls")
@reported
def ls(
    status: Annotated[
        list[RunStatus] | None, typer.Option("--status", help="Only runs in this status; may be given several times.")
    ] = None,
    file: Annotated[str | None, typer.Option("--file", help="Only runs whose input file contains this.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Only runs started by this person.")] = None,
    search: Annotated[str | None, typer.Option("--search", help="Text in file, person, error or run id.")] = None,
    since: Annotated[datetime | None, typer.Option("--since", help="Created at or after (local time).")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Created before (local time).")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="So many at most.")] = LIST_LIMIT,
    after: Annotated[str | None, typer.Option("--after", help="Continue after this cursor, as the previous page printed it.")] = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List runs, newest first."""
    with session(state) as wiring:
        page = runs.list_runs(
            wiring.services, looking(wiring), limit=limit, after=after, status=set(status) if status else None, input_file_contains=file,
            triggered_by=by, text=search, since=_utc(since), until=_utc(until),
        )  # fmt: skip
        if json_output:
            show_json({"runs": page.runs, "next": page.next})
            return
        print_runs(page.runs)
        if page.next:
            asked = {
                "--status": status, "--file": file, "--by": by, "--search": search, "--since": since, "--until": until,
                "--limit": None if limit == LIST_LIMIT else limit, "--state": state, "--after": page.next,
            }  # fmt: skip
            say(f"There are more: {_command_again('treadle run ls', asked)}")


@app.command("show")
@reported
def show(run: RunArgument, state: State = None, json_output: Json = False) -> None:
    """Show one run with its KPIs, artifacts and events."""
    with session(state) as wiring:
        found = runs.find_run(wiring.services, looking(wiring), run)
        if json_output:
            show_json(run_details(wiring, found))
        else:
            show_run(wiring, found)


@app.command("events")
@reported
def show_events(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Show what happened to a run, oldest first."""
    with session(state) as wiring:
        found = runs.find_run(wiring.services, looking(wiring), run)
        seen = runs.list_events(wiring.services, looking(wiring), found.run_id)
        if json_output and not follow:
            show_json(seen)
            return
        print_events(seen, json_output=json_output)
        if follow:
            follow_events(wiring, found, seen, json_output=json_output)


@app.command("cancel")
@reported
def cancel(run: RunArgument, user: User = None, state: State = None, json_output: Json = False) -> None:
    """Ask Fabric to stop a run's job."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        found = runs.find_run(wiring.services, looking(wiring), run)
        asked = runs.cancel(wiring.services, acting(wiring, user), found.run_id)
        if json_output:
            show_json(asked)
        say(f"Run {found.run_id} was asked to stop. It ends when Fabric confirms: treadle run events {str(found.run_id)[:8]} --follow")


@app.command("compare")
@reported
def compare_runs(
    a: Annotated[str, typer.Argument(metavar="A", help="The run to compare from.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The run to compare with.")],
    state: State = None,
    json_output: Json = False,
) -> None:
    """Compare the KPIs of two runs: absolute and relative change."""
    with session(state) as wiring:
        first, second = (runs.find_run(wiring.services, looking(wiring), run) for run in (a, b))
        found = runs.compare(wiring.services, looking(wiring), first.run_id, second.run_id)
        if json_output:
            show_json(found)
        else:
            print_comparison(found, first, second)


def parse_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Read `A=b` pairs. The last `=` separates, since a column's own name may contain one.

    Raises:
        InvalidInput: a pair has no `=`, an empty side, or names a source column twice.
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        source, equals, target = (part.strip() for part in pair.rpartition("="))
        if not (equals and source and target):
            raise InvalidInput(
                f"--map {pair!r} is not of the form SOURCE=name.", hint='Example: --map "Sales=revenue" --map "Order ID=order_id"'
            )
        if source in mapping:
            raise InvalidInput(f"--map names the column {source!r} twice.", hint="Give each source column once.")
        mapping[source] = target
    return mapping


def _command_again(command: str, options: Mapping[str, Any]) -> str:
    """The command with the options that were given, quoted for a shell, to be pasted."""
    words = [command]
    for name, given in options.items():
        for value in cast("list[Any]", given) if isinstance(given, list) else [] if given is None else [given]:
            words += [name, shlex.quote(value.isoformat() if isinstance(value, datetime) else str(value))]
    return " ".join(words)


def _utc(moment: datetime | None) -> datetime | None:
    try:
        return moment.astimezone(UTC) if moment else None
    except (OverflowError, ValueError) as error:
        raise InvalidInput(f"{moment} is no time that can be searched for.", hint="Give a date such as 2026-01-31.") from error
