"""treadle run … and treadle restore: start, list, show, follow, cancel and compare runs."""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from treadle.cli.options import Json, State, User, acting_user, lake_name, local_file, say_environment, session
from treadle.cli.output import (
    Markup,
    reported,
    say,
    show_json,
    show_table,
    status_cell,
    stderr,
    stdout,
    upload_progress,
)
from treadle.cli.run_views import print_comparison, print_events, run_details, run_row, show_run
from treadle.control import compare, events, restores, runs
from treadle.control.events import Event
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.errors import InvalidInput, TreadleError, Unavailable
from treadle.flows.sales import flow
from treadle.flows.sales.flow import StartRequest
from treadle.flows.sales.input_files import Wishes
from treadle.wiring import Wiring

app = typer.Typer(no_args_is_help=True, help="Start, follow, compare and cancel runs.")

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or its first 8 characters or more.")]
RUN_FAILED = 7  # --wait: the run ended as FAILED
MAX_TIMEOUT = 7 * 24 * 3600


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
        request = StartRequest(
            input_file=local.name if local else lake_name(file),
            requested_by=acting_user(wiring, user),
            local_file=local,
            wishes=Wishes(parse_mapping(mapping) if mapping else None, sheet),
        )
        with upload_progress(request.input_file) as progress:
            run = flow.start(wiring.sales, request, progress=progress)
        finish_command(wiring, run, wait=wait, timeout=timeout, json_output=json_output)


@reported
def restore(
    run: RunArgument,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the files are published.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", min=0, max=MAX_TIMEOUT, help="Seconds to wait at most.")] = 3600,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Publish an earlier run's files to Files/results/current/ again."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        source = runs.find_run(wiring.database, run)
        started = flow.restore(wiring.sales, source.run_id, acting_user(wiring, user))
        finish_command(wiring, started, wait=wait, timeout=timeout, json_output=json_output)


@reported
def restore_history(
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 20,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List who restored what, newest first."""
    with session(state) as wiring:
        found = restores.list_restores(wiring.database, limit=limit)
        if json_output:
            show_json(found)
            return
        rows = [
            (
                item.restored_at,
                item.restored_by,
                str(item.source_run_id)[:8],
                str(item.target_run_id)[:8],
                Markup(status_cell(item.target_status or "–")),
            )
            for item in found
        ]
        show_table(("restored", "by", "source run", "restore run", "status"), rows, empty="Nothing has been restored yet.")


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
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 20,
    after: Annotated[str | None, typer.Option("--after", help="Continue after this cursor, as the previous page printed it.")] = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List runs, newest first."""
    with session(state) as wiring:
        page = runs.list_runs(
            wiring.database, limit=limit, after=after, status=set(status) if status else None, input_file_contains=file,
            triggered_by=by, text=search, since=_utc(since), until=_utc(until),
        )  # fmt: skip
        if json_output:
            show_json({"runs": page.runs, "next": page.next})
            return
        show_table(("run", "status", "created", "by", "file", "revenue", "orders"), map(run_row, page.runs), empty="No run matches.")
        if page.next:
            say(f"There are more: treadle run ls --after {page.next}")


@app.command("show")
@reported
def show(run: RunArgument, state: State = None, json_output: Json = False) -> None:
    """Show one run with its KPIs, artifacts and events."""
    with session(state) as wiring:
        found = runs.find_run(wiring.database, run)
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
        found = runs.find_run(wiring.database, run)
        seen = events.list_events(wiring.database, found.run_id)
        if json_output and not follow:
            show_json(seen)
            return
        print_events(seen, json_output=json_output)
        if follow:
            _follow_events(wiring, found, seen, json_output=json_output)


@app.command("cancel")
@reported
def cancel(run: RunArgument, user: User = None, state: State = None, json_output: Json = False) -> None:
    """Ask Fabric to stop a run's job."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        found = runs.find_run(wiring.database, run)
        asked = flow.cancel(wiring.sales, found.run_id, acting_user(wiring, user))
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
        first, second = (runs.find_run(wiring.database, run) for run in (a, b))
        found = compare.compare_runs(wiring.database, first.run_id, second.run_id)
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


def finish_command(wiring: Wiring, run: Run, *, wait: bool, timeout: float, json_output: bool) -> None:
    """Show the run that was started; with `wait`, drive it to its end first and leave with exit code 7 if it failed."""
    if wait:
        run = wait_for_end(wiring, run, timeout)
    if json_output:
        show_json(run_details(wiring, run))
    elif wait:
        show_run(wiring, run)
    else:
        say(f"Run {run.run_id} is {run.status}. Follow it with: treadle run events {str(run.run_id)[:8]} --follow")
        stdout().print(str(run.run_id))
    if wait and run.status is not RunStatus.SUCCEEDED:
        raise typer.Exit(RUN_FAILED)


def wait_for_end(wiring: Wiring, run: Run, timeout: float) -> Run:
    """Wait until the run has ended, working on it ourselves whenever no other worker does.

    Raises:
        Unavailable: it has not ended in time; it goes on.
    """
    deadline = time.monotonic() + timeout
    worker, pause, shown = wiring.worker(), threading.Event(), ""
    with stderr.status(f"Run {str(run.run_id)[:8]}: {run.status}") as progress:
        try:
            while not run.status.ended:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Run {run.run_id} has not ended within {timeout:g} s; it is {run.status} and goes on.",
                        hint=f"treadle run events {str(run.run_id)[:8]} --follow",
                    )
                _work(worker)
                run = runs.get_run(wiring.database, run.run_id)
                if run.status != shown:
                    shown = run.status
                    progress.update(f"Run {str(run.run_id)[:8]}: {status_cell(run.status)}")
                pause.wait(0.2)
        finally:
            worker.close()
    return run


def _work(worker: Any) -> None:
    try:
        worker.step(ignore_schedule=False)
    except TreadleError as error:
        say(f"Waiting: {error.message}")


def _utc(moment: datetime | None) -> datetime | None:
    try:
        return moment.astimezone(UTC) if moment else None
    except (OverflowError, ValueError) as error:
        raise InvalidInput(f"{moment} is no time that can be searched for.", hint="Give a date such as 2026-01-31.") from error


def _follow_events(wiring: Wiring, run: Run, seen: Sequence[Event], *, json_output: bool) -> None:
    pause, known = threading.Event(), {event.id for event in seen}
    while True:
        ended = runs.get_run(wiring.database, run.run_id).status.ended
        fresh = [event for event in events.list_events(wiring.database, run.run_id) if event.id not in known]
        print_events(fresh, json_output=json_output)
        known.update(event.id for event in fresh)
        if ended:
            return
        pause.wait(1)
