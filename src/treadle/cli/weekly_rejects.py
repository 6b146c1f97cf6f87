"""treadle weekly rejects …: events that break the contract, and rows that Salesforce refused."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from treadle.actions import weekly
from treadle.cli.options import Json, State, User, acting, looking, say_environment, session
from treadle.cli.output import say, show_json, stdout
from treadle.cli.tables import show_list, show_table
from treadle.cli.weekly_options import WeekEnd, WeekStart, bars, plain_week, told
from treadle.flows.weekly.sync_outcome import counts_of, require_all_taken

app = typer.Typer(no_args_is_help=True, help="Events that break the contract, and rows that Salesforce refused.")


@app.command("ls")
@told
def ls(
    week_start: WeekStart = None,
    week_end: WeekEnd = None,
    rule: Annotated[str | None, typer.Option("--rule", help="List the rejects of this rule one by one.", show_default=False)] = None,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Leave out so many.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many at most.")] = 50,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Count the week's rejected events by rule, or list those of one rule; and list the rows that Salesforce refused."""
    with session(state) as wiring:
        services, who, week = wiring.services, looking(wiring), plain_week(wiring, week_start, week_end)
        if rule is not None:
            found = weekly.list_rejects(services, who, week, rule=rule, offset=offset, limit=limit)
            if json_output:
                show_json({"week": week, "rule": rule, "rejects": found})
                return
            rows = [(each.row_index, each.page, each.field or "", each.value or "", each.reason) for each in found]
            show_list(
                ("record", "page", "field", "value", "reason"), rows, cut={"value": 20, "reason": 20}, empty="No record broke this rule."
            )
            return
        counted, refused = weekly.count_rejects(services, who, week), weekly.list_refused(services, who, week)
        if json_output:
            show_json({"week": week, "rejects": counted, "refused": refused})
            return
        by_rule = [(each.rule, each.field or "", f"{each.rows:,}", each.sample_value or "", each.sample_reason or "") for each in counted]
        heads = ("rule", "field", "events", "sample value", "reason")
        show_list(heads, by_rule, cut={"sample value": 20, "reason": 20}, empty=f"No event of {week} was rejected.")
        if refused:
            say(f"Salesforce refused {len(refused)} rows; send them again with: treadle weekly rejects retry --week-start {week.start}")
            show_list(*_refused_table(refused[:limit]), cut={"message": 30}, empty="")


@app.command("show")
@told
def show(
    record: Annotated[int, typer.Argument(min=0, help="Its place in the whole extract, as ls shows it.")],
    week_start: WeekStart = None,
    week_end: WeekEnd = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Show one rejected event with every error, and as it came."""
    with session(state) as wiring:
        found = weekly.show_reject(wiring.services, looking(wiring), plain_week(wiring, week_start, week_end), record)
        if json_output:
            show_json(found)
            return
        rows = [(error.get("rule"), error.get("field"), error.get("value"), error.get("reason")) for error in found.errors]
        show_table(("rule", "field", "value", "reason"), rows, empty="")
        stdout().print(found.raw_record, markup=False, soft_wrap=True)


@app.command("export")
@told
def export(
    target: Annotated[Path, typer.Argument(help="A file that ends in .csv, .jsonl or .parquet.")],
    week_start: WeekStart = None,
    week_end: WeekEnd = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Only those of this rule.", show_default=False)] = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Write the week's rejected events to a file."""
    with session(state) as wiring:
        count = weekly.export_rejects(wiring.services, looking(wiring), plain_week(wiring, week_start, week_end), target, rule=rule)
        if json_output:
            show_json({"file": target, "rejects": count})
        say(f"{count:,} rejects are in {target}.")


@app.command("retry")
@told
def retry(
    week_start: WeekStart = None, week_end: WeekEnd = None, user: User = None, state: State = None, json_output: Json = False
) -> None:
    """Send the rows that Salesforce refused, or that are pending, again, those alone. Exit code 1 when some are left."""
    with session(state) as wiring, bars() as report:
        week = plain_week(wiring, week_start, week_end)
        say_environment(wiring.settings)
        counts = counts_of(weekly.retry_rejects(wiring.services, acting(wiring, user), week, report=report))
    if json_output:
        show_json({"week": week, **counts})
    say(f"{week}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()) + ".")
    require_all_taken(week, counts)


def _refused_table(refused: Sequence[Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    names = tuple(each.name for each in fields(refused[0]) if not each.name.startswith(("row_hash", "run_id")))
    return names, [tuple(getattr(row, name) for name in names) for row in refused]
