"""treadle weekly status: the checkpoint, the newest runs and what waits; or one run with all that happened."""

from datetime import datetime
from typing import Annotated

import typer

from treadle.actions import weekly
from treadle.cli.options import Json, State, looking, session
from treadle.cli.output import Markup, local_time, say, show_json, status_cell, write_out
from treadle.cli.tables import show_list
from treadle.cli.weekly_options import number, told
from treadle.errors import InvalidInput
from treadle.visible_text import visible
from treadle.wiring import Wiring


@told
def status(
    run_id: Annotated[
        str | None, typer.Option("--run", help="Show one run with its stages and timeline: its id, or the beginning of it.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="So many runs at most.")] = 10,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Show checkpoint, newest runs and what waits; or one run with its stages and all that happened."""
    with session(state) as wiring:
        if run_id is not None:
            _show_run(wiring, run_id, json_output=json_output)
            return
        found = weekly.standing(wiring.services, looking(wiring), limit=limit)
        if json_output:
            show_json(found)
            return
        point = found.checkpoint
        say(
            "There is no checkpoint yet."
            if point is None
            else f"Next is {point.next}{'' if found.next_is_over else ', which is not over'}."
        )
        if point and found.stale:
            say(f"Warning: the checkpoint has not moved since {local_time(point.updated_at)}, for more than 14 days.")
        if found.waiting:
            ends = "the end of 1 run waits" if found.waiting == 1 else f"the ends of {found.waiting:,} runs wait"
            say(f"Warning: {ends} for the database; the next run records what waits.")
        rows = [
            (
                str(each.run_id)[:8], str(each.week), Markup(status_cell(each.status)), each.started_at, number(each.rows_fetched),
                number(each.rows_rejected), "yes" if each.synced else "no", each.error_message or "",
            )
            for each in found.runs
        ]  # fmt: skip
        heads = ("run", "week", "status", "started", "events", "rejected", "synced", "error")
        show_list(heads, rows, spare=("synced", "started"), cut={"error": 16}, empty="No week was run yet.")


def _show_run(wiring: Wiring, text: str, *, json_output: bool) -> None:
    services, who = wiring.services, looking(wiring)
    known = weekly.standing(services, who, limit=500).runs
    found = [run.run_id for run in known if str(run.run_id).startswith(text.lower())]
    if len(found) != 1:
        raise InvalidInput(
            f"{text!a} names {'no' if not found else 'more than one'} weekly run.", hint="See them with: treadle weekly status"
        )
    details = weekly.run_details(services, who, found[0])
    if json_output:
        show_json(details)
        return
    rows = [
        (stage.stage, Markup(status_cell(stage.status)), stage.started_at, _seconds(stage.started_at, stage.ended_at), number(stage.row_count), stage.error_message or "")
        for stage in details.stages
    ]  # fmt: skip
    say(f"Run {details.run.run_id} of {details.run.week}: {details.run.status}")
    show_list(("stage", "status", "started", "seconds", "rows", "error"), rows, cut={"error": 20}, empty="No stage was begun.")
    for event in details.events:
        message = visible(event.message, kept="\n\t")
        write_out(f"{local_time(event.at)}  {event.level:<7} {message}")


def _seconds(start: datetime, end: datetime | None) -> str | None:
    return f"{(end - start).total_seconds():,.1f}" if end else None
