"""treadle weekly rejects …: events that break the contract, and rows that Salesforce refused."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from treadle.actions import weekly
from treadle.cli.options import Json, State, User, acting, looking, say_environment, session
from treadle.cli.output import counted, say, show_json, write_out
from treadle.cli.tables import show_list, show_table
from treadle.cli.weekly_options import WeekEnd, WeekStart, bars, dates_of, plain_week, told
from treadle.errors import InvalidInput
from treadle.flows.weekly.contract import REASONS
from treadle.flows.weekly.sync_outcome import counts_of, require_all_taken
from treadle.visible_text import visible

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
    _require_rule(rule)
    with session(state) as wiring:
        services, who, week = wiring.services, looking(wiring), plain_week(wiring, week_start, week_end)
        if rule is not None:
            found = weekly.list_rejects(services, who, week, rule=rule, offset=offset, limit=limit)
            if json_output:
                show_json({"week": week, "rule": rule, "rejects": found})
                return
            rows = [(each.row_index, each.page, _shown(each.field), _shown(each.value), each.reason) for each in found]
            show_list(
                ("record", "page", "field", "value", "reason"), rows, cut={"value": 20, "reason": 20}, empty="No record broke this rule."
            )
            return
        rules, refused = weekly.count_rejects(services, who, week), weekly.list_refused(services, who, week)
        if json_output:
            show_json({"week": week, "rejects": rules, "refused": refused})
            return
        by_rule = [(each.rule, _shown(each.field), f"{each.rows:,}", _shown(each.sample_value), each.sample_reason or "") for each in rules]
        heads = ("rule", "field", "events", "sample value", "reason")
        show_list(heads, by_rule, cut={"sample value": 20, "reason": 20}, empty=f"No event of {week} was rejected.")
        if refused:
            again = f"send {'it' if len(refused) == 1 else 'them'} again with: treadle weekly rejects retry {dates_of(week)}"
            say(f"Salesforce refused {counted(len(refused), 'row')}; {again}")
            _show_refused(refused[:limit])


@app.command("show")
@told
def show(
    record: Annotated[int, typer.Argument(min=0, help="Its place in the whole extract, as ls shows it.")],
    week_start: WeekStart = None,
    week_end: WeekEnd = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Show one rejected event with every error, and as it came; what a terminal would not show, or would obey, is written out."""
    with session(state) as wiring:
        found = weekly.show_reject(wiring.services, looking(wiring), plain_week(wiring, week_start, week_end), record)
        if json_output:
            show_json(found)
            return
        rows = [(error.get("rule"), error.get("field"), _written_out(error.get("value")), error.get("reason")) for error in found.errors]
        show_table(("rule", "field", "value", "reason"), rows, empty="")
        write_out(visible(found.raw_record))


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
    _require_rule(rule)
    with session(state) as wiring:
        count = weekly.export_rejects(wiring.services, looking(wiring), plain_week(wiring, week_start, week_end), target, rule=rule)
        if json_output:
            show_json({"file": target, "rejects": count})
        say(f"{counted(count, 'reject')} {'is' if count == 1 else 'are'} in {target}.")


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


def _require_rule(rule: str | None) -> None:
    if rule is not None and rule not in REASONS:
        raise InvalidInput(f"The contract has no rule {rule!a}.", hint=f"Choose one of: {', '.join(sorted(REASONS))}.")


def _show_refused(refused: Sequence[Any]) -> None:
    """Which rows and why, first; what was sent, last, where there is room for it."""
    rows = [
        (row.external_id, row.code, row.message, str(row.attempts), row.last_seen, _in_one_line(row.fields))
        for row in refused
    ]  # fmt: skip
    heads = ("record", "code", "message", "attempts", "last seen", "fields")
    show_list(heads, rows, cut={"message": 40, "code": 12, "fields": 20}, spare=("fields", "last seen", "attempts"), empty="")


def _in_one_line(sent: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name}: {_shown(value)}" for name, value in sent.items())


def _shown(value: str | None) -> str:
    """A value of an event, in which a tab or a line break is what somebody looks for."""
    return visible(value or "")


def _written_out(value: Any) -> str | None:
    return None if value is None else visible(str(value))
