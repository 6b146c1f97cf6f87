"""How runs are shown to a person: one run, a list's row, a comparison, the trail."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.cli.output import Markup, local_time, say, show_json_line, status_cell, stdout
from treadle.cli.tables import show_list, show_table
from treadle.control import artifacts, compare, events
from treadle.control.compare import BreakdownChange, KpiChange
from treadle.control.events import Event, EventType
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.flows.sales.figures import BREAKDOWNS, HEADLINE, change_written, in_order, label_of, relative_written, written
from treadle.flows.sales.lakehouse import run_path
from treadle.wiring import Wiring

BREAKDOWN_ROWS: Final = 12
REVENUE: Final = "total_revenue"
RUN_COLUMNS: Final = ("run", "status", "created", "by", "file", "revenue", "orders")


def input_label(input_file: str) -> str:
    """A run's input for people: its file, or `restore of 426bd9ab`. JSON keeps the stored value."""
    source = input_file.removeprefix(RESTORE_PREFIX)
    return input_file if source == input_file else f"restore of {source[:8]}"


def print_runs(found: Sequence[Run]) -> None:
    """Print a list of runs, a line each. A narrow terminal shows fewer columns instead of broken ones, and says which are missing."""
    show_list(RUN_COLUMNS, [_run_row(run) for run in found], spare=("orders", "by", "revenue"), cut={"file": 22}, empty="No run matches.")


def _run_row(run: Run) -> tuple[Any, ...]:
    kpis: Mapping[str, Any] = run.kpis or {}
    revenue, orders = kpis.get("total_revenue"), kpis.get("orders")
    return (
        str(run.run_id)[:8], Markup(status_cell(run.status)), run.created_at, run.triggered_by, input_label(run.input_file),
        "" if revenue is None else written("total_revenue", revenue), "" if orders is None else written("orders", orders),
    )  # fmt: skip


def run_details(wiring: Wiring, run: Run) -> dict[str, Any]:
    """A run with its artifacts and events, for JSON."""
    return {
        **{name: getattr(run, name) for name in run.__dataclass_fields__},
        "artifacts": artifacts.list_artifacts(wiring.database, run.run_id),
        "events": events.list_events(wiring.database, run.run_id),
    }


def show_run(wiring: Wiring, run: Run) -> None:
    """Print one run whole."""
    lines = [
        ("Run", str(run.run_id)), ("Status", Markup(status_cell(run.status))), ("File", input_label(run.input_file)),
        ("Started by", run.triggered_by), ("Created", local_time(run.created_at)), ("Finished", local_time(run.finished_at)), ("Fabric job", run.fabric_job_id),
    ]  # fmt: skip
    if run.error_message:
        lines.append(("Error", run.error_message))
    show_table(("", ""), lines, empty="")
    if run.kpis:
        show_kpis(run.kpis)
    _show_artifacts(wiring, run)
    stdout().print("\nEvents")
    print_events(events.list_events(wiring.database, run.run_id), json_output=False, told_above=run.error_message)


def _show_artifacts(wiring: Wiring, run: Run) -> None:
    """The folder once, then the files by what is theirs alone."""
    folder = f"{run_path(run.run_id)}/"
    rows = [
        (item.artifact_type, "–" if item.file_size is None else f"{item.file_size:,}", item.file_path.removeprefix(folder))
        for item in artifacts.list_artifacts(wiring.database, run.run_id)
    ]
    if rows:
        stdout().print(f"\nArtifacts in {folder}", soft_wrap=True)
        show_table(("type", "size", "file"), rows, empty="")


def show_kpis(kpis: Mapping[str, Any]) -> None:
    """Print the figures of a run: totals and funnel first, then each of the three standing breakdowns, largest first."""
    found = compare.compare_kpis(kpis, {})
    figures = {row.name: row.a for row in found.rows}
    rows = [(label_of(name), written(name, figures.get(name))) for name in in_order([*HEADLINE, *figures])]
    show_table(("KPI", "figure"), rows, gap=True, empty="")
    for name, label in BREAKDOWNS.items():
        parts = [(part.value, written(REVENUE, part.a)) for part in found.breakdowns if part.breakdown == name]
        _show_breakdown((label, "revenue"), parts, "run show RUN")


def print_comparison(found: compare.Comparison, first: Run, second: Run) -> None:
    """Print the comparison of two runs as tables: the same figures under the same names as those of one run."""
    for side, run in (("A", first), ("B", second)):
        named = f"{side} {str(run.run_id)[:8]} · {input_label(run.input_file)} · {local_time(run.created_at)}"
        stdout().print(named, markup=False, soft_wrap=True)
    changes = {row.name: row for row in found.rows}
    rows = [(label_of(name), *_change_cells(name, changes.get(name))) for name in in_order([*HEADLINE, *changes]) if changes]
    show_table(("KPI", "A figure", "B figure", "change", "%"), rows, gap=True, empty="Neither run has KPIs.")
    for name, label in BREAKDOWNS.items():
        parts = [(part.value, *_change_cells(REVENUE, part)) for part in found.breakdowns if part.breakdown == name]
        _show_breakdown((label, "A revenue", "B revenue", "change", "%"), parts, "run compare A B")


def _change_cells(name: str, row: KpiChange | BreakdownChange | None) -> tuple[str, str, str, str]:
    if row is None:
        return ("–", "–", "–", "–")
    return written(name, row.a), written(name, row.b), change_written(name, row.change), relative_written(row.relative_change)


def _show_breakdown(columns: Sequence[str], rows: Sequence[Sequence[str]], command: str) -> None:
    if rows:
        show_table(columns, rows[:BREAKDOWN_ROWS], whole=columns[1:], gap=True, empty="")
    if len(rows) > BREAKDOWN_ROWS:
        say(f"and {len(rows) - BREAKDOWN_ROWS} more: treadle {command} --json")


def print_events(found: Sequence[Event], *, json_output: bool, told_above: str | None = None) -> None:
    """Print the trail, a line an event. told_above: an error's text that the reader has just seen, and need not see twice."""
    for event in found:
        if json_output:
            show_json_line(event)
        else:
            repeated = event.event_type == EventType.ERROR and told_above and event.message == told_above
            _print_event(event, "The error that stands above." if repeated else event.message or "")


def _print_event(event: Event, message: str) -> None:
    colours = {"ERROR": "red", "WARNING": "yellow", "STATUS_CHANGE": "bold"}
    stdout().print(
        f"  {local_time(event.event_time)}  {event.event_type or '':13}  ",
        message,
        style=colours.get(event.event_type or ""),
        sep="",
        markup=False,
        soft_wrap=True,
    )
