"""treadle weekly …: run weeks and single stages, plan, backfill, look at rejects, ask how things stand.

Its schedulers know three exit codes: 0, 1 for any error, 130 when somebody interrupted it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from treadle.actions import weekly
from treadle.cli.options import Json, State, User, acting, looking, say_environment, session
from treadle.cli.output import Markup, counted, say, show_json, status_cell, stderr
from treadle.cli.questions import agrees
from treadle.cli.tables import show_list, show_table
from treadle.cli.weekly_options import (
    AdvanceOnSkip,
    Engine,
    EngineName,
    Force,
    LocalOnly,
    OverrideGuards,
    PlannedAction,
    RunTag,
    StageName,
    UseCheckpoint,
    WeekEnd,
    WeeklyGroup,
    WeekStart,
    bars,
    chosen_week,
    number,
    told,
)
from treadle.cli.weekly_rejects import app as rejects_app
from treadle.cli.weekly_status import status
from treadle.errors import Conflict, InvalidInput
from treadle.flows.weekly.backfill import BackfillWeek
from treadle.flows.weekly.flow import WeekOptions, WeekOutcome, not_over
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.sync_outcome import counts_of
from treadle.flows.weekly.sync_plan import RowChange
from treadle.flows.weekly.week import Week
from treadle.wiring import Wiring

_HELP: Final = "The weekly flow: events API → lake → customer metrics → Salesforce, week by week."
_NO_ROW: Final[Mapping[PlannedAction | None, str]] = {
    None: "Nothing would change.",
    PlannedAction.CREATE: "No row would be created.",
    PlannedAction.UPDATE: "No row would be updated.",
    PlannedAction.BLOCKED: "No row is blocked.",
    PlannedAction.REFUSED: "No row waits since it was refused.",
}

app = typer.Typer(cls=WeeklyGroup, no_args_is_help=True, help=_HELP)
app.add_typer(rejects_app, name="rejects")


@app.command("run")
@told
def run(
    week_start: WeekStart = None,
    week_end: WeekEnd = None,
    use_checkpoint: UseCheckpoint = False,
    only: Annotated[StageName | None, typer.Option("--stage", help="Only this stage; see also: treadle weekly stage.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Extract, judge and check only; nothing is recorded, published or sent.")
    ] = False,
    force: Force = False,
    override_guards: OverrideGuards = False,
    local_only: LocalOnly = False,
    advance_on_skip: AdvanceOnSkip = False,
    engine: Engine = EngineName.EMBEDDED,
    run_tag: RunTag = None,
    check_api: Annotated[bool, typer.Option("--check-api", help="Only ask the events API whether it answers.")] = False,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Run a week from the events API to Salesforce. Safe to repeat: what is done stays done, what was begun is gone on with."""
    with session(state) as wiring:
        if check_api:
            _check_api(wiring, json_output=json_output)
            return
        options = _options(wiring, user, force=force, local_only=local_only, advance_on_skip=advance_on_skip, engine=engine, tag=run_tag)
        options = _with(options, dry_run=dry_run, override_guards=override_guards)
        if only and dry_run:
            raise InvalidInput(
                "A dry run goes through extract, transform and quality gate at once.", hint="Leave out --stage, or --dry-run."
            )
        _run(
            wiring,
            user,
            chosen_week(wiring, week_start, week_end, use_checkpoint, run_tag),
            only.stage if only else None,
            options,
            json_output=json_output,
        )


@app.command("stage")
@told
def stage(
    name: Annotated[StageName, typer.Argument(help="Which.")],
    week_start: WeekStart = None,
    week_end: WeekEnd = None,
    use_checkpoint: UseCheckpoint = False,
    force: Force = False,
    override_guards: OverrideGuards = False,
    local_only: LocalOnly = False,
    advance_on_skip: AdvanceOnSkip = False,
    engine: Engine = EngineName.EMBEDDED,
    run_tag: RunTag = None,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Do one stage of a week; the last one ends the run and moves the checkpoint. Each needs the one before it."""
    with session(state) as wiring:
        options = _options(wiring, user, force=force, local_only=local_only, advance_on_skip=advance_on_skip, engine=engine, tag=run_tag)
        options = _with(options, override_guards=override_guards)
        _run(wiring, user, chosen_week(wiring, week_start, week_end, use_checkpoint, run_tag), name.stage, options, json_output=json_output)


@app.command("plan")
@told
def plan(
    week_start: WeekStart = None,
    week_end: WeekEnd = None,
    use_checkpoint: UseCheckpoint = False,
    action: Annotated[
        PlannedAction | None,
        typer.Option(
            "--action",
            help="List only rows that would be created or updated, that are blocked, or that wait since they were refused.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=1000, help="List so many rows at most.")] = 20,
    engine: Engine = EngineName.EMBEDDED,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Show what a sync of the week would change in Salesforce, old → new, without changing it. The week must have been transformed here."""
    with session(state) as wiring, bars() as report:
        services, who = wiring.services, looking(wiring)
        week, _ = chosen_week(wiring, week_start, week_end, use_checkpoint, None)
        metrics, outcome = weekly.plan(services, who, week, engine=_engine(engine), report=report)
        rows, total = weekly.plan_changes(services, who, outcome.plan, action=action and action.value, limit=limit)
    counts, facts = counts_of(outcome), outcome.plan.as_json()
    if json_output:
        show_json({"week": week, "rows": metrics.rows, **counts, "plan": facts, "changes": rows, "changes_in_all": total})
        return
    told_first = [("week", str(week)), ("customers", f"{metrics.rows:,}"), *((name, f"{count:,}") for name, count in counts.items())]
    show_table(("", ""), told_first, empty="")
    if kept := outcome.plan.kept:
        those = "record is" if kept == 1 else "records are"
        say(
            f"{kept:,} {those} in Salesforce that this week's customers no longer have: they stay as they are, since nothing is ever deleted there."
        )
    cost = facts["cost"]
    say(f"It would take {counted(cost['requests'], 'request')} by {cost['channel']}.")
    if cost["affordable"] is False:
        say(f"Warning: today's allowance of Salesforce is not enough: {cost['reason']}.")
    for trip in facts["trips"]:
        say(f"Warning: the guard {trip['guard']} objects: {trip['reason']}.")
    if facts["trips"]:
        days = f"--week-start {week.start} --week-end {week.end}"
        say(f"If the plan is right, carry it out all the same with: treadle weekly stage salesforce-sync {days} --force --override-guards")
    if limit:
        listed = [(row.action, row.external_id, _changes_of(row)) for row in rows]
        show_list(("action", "record", "fields"), listed, cut={"fields": 40}, empty=_NO_ROW[action])
        if total > len(rows):
            say(f"{counted(total - len(rows), 'row')} more; see them with --limit, or choose with --action.")


app.command("status")(status)


@app.command("backfill")
@told
def backfill(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day of the first week.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="A day of the last week.")],
    force: Force = False,
    override_guards: OverrideGuards = False,
    local_only: LocalOnly = False,
    engine: Engine = EngineName.EMBEDDED,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would happen to each week.")] = False,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Run several weeks, one after the other; shows first what will happen to each, and asks. The first that fails ends it."""
    with session(state) as wiring:
        weeks = weekly.plan_backfill(wiring.services, looking(wiring), first.date(), last.date(), force=force)
        if preview and json_output:
            show_json({"weeks": weeks})
            return
        _show_backfill(weeks, on_stderr=json_output)
        if preview:
            return
        if not _agreed(weeks, yes=yes):
            if json_output:
                show_json({"weeks": ()})
            return
        options = _options(wiring, user, force=force, local_only=local_only, advance_on_skip=True, engine=engine, tag=None)
        options = _with(options, override_guards=override_guards)
        say_environment(wiring.settings)
        with bars() as report:
            outcomes = weekly.backfill(
                wiring.services, acting(wiring, user), weeks, options, on_week=lambda outcome: say(_line(outcome)), report=report
            )
        if json_output:
            show_json({"weeks": outcomes})


@app.command("check-api")
@told
def check_api(state: State = None, json_output: Json = False) -> None:
    """Ask the events API whether it answers and takes the key."""
    with session(state) as wiring:
        _check_api(wiring, json_output=json_output)


def _run(
    wiring: Wiring, user: str | None, chosen: tuple[Week, bool], stage: Stage | None, options: WeekOptions, *, json_output: bool
) -> None:
    week, over = chosen
    if not over:
        outcome = not_over(week)
    else:
        say_environment(wiring.settings)
        with bars() as report:
            services, who = wiring.services, acting(wiring, user)
            if stage is None:
                outcome = weekly.run(services, who, week, options, report=report)
            else:
                outcome = weekly.run_stage(services, who, week, stage, options, report=report)
    if json_output:
        show_json(outcome)
    else:
        _show_outcome(outcome)
    if outcome.warning:
        say(_warned(outcome.warning))
    if options.dry_run:
        say("This was a dry run: nothing was recorded, published or sent.")


def _options(
    wiring: Wiring, user: str | None, *, force: bool, local_only: bool, advance_on_skip: bool, engine: EngineName, tag: str | None
) -> WeekOptions:
    who = acting(wiring, user)
    return WeekOptions(who.name, force=force, local_only=local_only, advance_on_skip=advance_on_skip, engine=_engine(engine), tag=tag)


def _with(options: WeekOptions, **changes: Any) -> WeekOptions:
    return WeekOptions(**{each.name: changes.get(each.name, getattr(options, each.name)) for each in fields(options)})


def _engine(engine: EngineName) -> Any:
    return engine.value


def _show_outcome(outcome: WeekOutcome) -> None:
    if outcome.skipped:
        say(outcome.skipped)
        return
    share = "" if outcome.reject_rate_pct is None else f" ({outcome.reject_rate_pct:.2f} %)"
    facts: dict[str, Any] = {
        "week": str(outcome.week),
        "status": Markup(status_cell(outcome.status or "")),
        "run": outcome.run_id,
        "stages": ", ".join(stage.lower().replace("_", " ") for stage in outcome.stages),
        "events": number(outcome.rows_fetched),
        "valid": number(outcome.rows_valid),
        "rejected": None if outcome.rows_rejected is None else f"{outcome.rows_rejected:,}{share}",
    }
    if Stage.SYNC in outcome.stages:
        facts |= {name: f"{count:,}" for name, count in counts_of(outcome).items()}
    facts |= {"published": outcome.output_path, "next week": outcome.next_week and str(outcome.next_week)}
    show_table(
        ("", ""),
        [(name, str(value) if not isinstance(value, Markup) else value) for name, value in facts.items() if value is not None],
        empty="",
    )
    if outcome.queued:
        say("Warning: the database was away at the end. What came of the run waits on this machine and is recorded at the next start.")


def _line(outcome: WeekOutcome) -> str:
    if outcome.skipped:
        return outcome.skipped
    counts = ", ".join(f"{count:,} {name}" for name, count in counts_of(outcome).items() if count)
    line = f"{outcome.week}: {outcome.status}, {number(outcome.rows_fetched)} events" + (f"; Salesforce: {counts}" if counts else "")
    return f"{line}\n{_warned(outcome.warning)}" if outcome.warning else line


def _warned(warning: str) -> str:
    """Each line of a warning, as one."""
    return "\n".join(f"Warning: {line}" for line in warning.splitlines())


def _show_backfill(weeks: Sequence[BackfillWeek], *, on_stderr: bool) -> None:
    if on_stderr:
        for each in weeks:
            say(f"{each.week}: {each.action}, {each.why}")
        return
    rows = [(str(each.week), each.action, each.why, number(each.rows_fetched)) for each in weeks]
    show_list(("week", "what", "why", "events"), rows, cut={"why": 30}, empty="")


def _agreed(weeks: Sequence[BackfillWeek], *, yes: bool) -> bool:
    due = [each for each in weeks if each.action not in {"wait", "skip"}]
    if not due:
        say("There is nothing to do.")
        return False
    if yes:
        return True
    if not stderr.is_terminal:
        raise Conflict(
            f"{counted(len(due), 'week')} would be run, and nobody is there to ask.", hint="Agree with --yes, or look with --preview."
        )
    return agrees(f"Run {counted(len(due), 'week')}?")


def _check_api(wiring: Wiring, *, json_output: bool) -> None:
    found = weekly.check_api(wiring.services, looking(wiring))
    if json_output:
        show_json(found)
    say(f"{found.url} answers, and takes the key: {found.size_bytes:,} bytes in {found.answered_in_ms:,.0f} ms.")


def _changes_of(row: RowChange) -> str:
    """A row's fields in one line, old → new, or what blocks it."""
    if row.problems:
        return "; ".join(f"{problem.field}: {problem.reason}" for problem in row.problems)
    return ", ".join(
        f"{change.field}: {change.old} → {change.new}" if row.action == "update" else f"{change.field}: {change.new}"
        for change in row.changes
    )
