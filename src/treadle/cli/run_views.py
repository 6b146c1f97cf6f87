"""How runs are shown to a person: one run, a list's row, a comparison, the trail."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.cli.output import Markup, local_time, say, show_json_line, show_table, status_cell, stdout
from treadle.control import artifacts, compare, events
from treadle.control.events import Event
from treadle.control.run import Run
from treadle.wiring import Wiring

BREAKDOWN_ROWS: Final = 12
SHOWN_BREAKDOWNS: Final = ("revenue_by_region", "revenue_by_channel", "revenue_by_product_category")


def print_comparison(found: compare.Comparison, first: Run, second: Run) -> None:
    """Print the comparison of two runs as tables."""
    title = f"A {str(first.run_id)[:8]} · {first.input_file} · {local_time(first.created_at)}\nB {str(second.run_id)[:8]} · {second.input_file} · {local_time(second.created_at)}"
    rows = [(row.name, _figure(row.a), _figure(row.b), _figure(row.change), _percent(row.relative_change)) for row in found.rows]
    show_table(("KPI", "A figure", "B figure", "change", "%"), rows, title=title, empty="Neither run has KPIs.")
    parts = [
        (
            row.breakdown.removeprefix("revenue_by_"),
            row.value,
            _figure(row.a),
            _figure(row.b),
            _figure(row.change),
            _percent(row.relative_change),
        )
        for row in found.breakdowns
        if row.breakdown in SHOWN_BREAKDOWNS
    ]
    if parts:
        show_table(("revenue by", "value", "A figure", "B figure", "change", "%"), parts, gap=True, empty="")


def _percent(fraction: Any) -> str:
    return "–" if fraction is None else f"{float(fraction) * 100:+.1f} %"


def run_row(run: Run) -> tuple[Any, ...]:
    """One line of a list of runs."""
    kpis: Mapping[str, Any] = run.kpis or {}
    revenue, orders = kpis.get("total_revenue"), kpis.get("orders")
    return (
        str(run.run_id)[:8], Markup(status_cell(run.status)), run.created_at, run.triggered_by, run.input_file,
        f"{revenue:,.2f}" if revenue is not None else "", f"{orders:,}" if orders is not None else "",
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
        ("Run", str(run.run_id)), ("Status", Markup(status_cell(run.status))), ("File", run.input_file), ("Started by", run.triggered_by),
        ("Created", run.created_at), ("Finished", run.finished_at), ("Fabric job", run.fabric_job_id),
    ]  # fmt: skip
    if run.error_message:
        lines.append(("Error", run.error_message))
    show_table(("", ""), lines, empty="")
    if run.kpis:
        show_kpis(run.kpis)
    found = artifacts.list_artifacts(wiring.database, run.run_id)
    if found:
        show_table(
            ("type", "size", "path"),
            [(item.artifact_type, f"{item.file_size:,}" if item.file_size is not None else "–", item.file_path) for item in found],
            title="\nArtifacts",
            empty="",
        )
    stdout().print("\nEvents")
    print_events(events.list_events(wiring.database, run.run_id), json_output=False)


def show_kpis(kpis: Mapping[str, Any]) -> None:
    """Print the figures of a run: totals and funnel first, then each of the three standing breakdowns, largest first."""
    rows = [("Revenue", _money(kpis["total_revenue"])), ("Orders", f"{kpis['orders']:,}"), ("Average order value", _money(kpis.get("aov")))]
    rows += _funnel_rows(kpis.get("funnel") or {})
    show_table(("KPI", "figure"), rows, gap=True, empty="")
    for name in ("region", "channel", "product_category"):
        if by_value := kpis.get(f"revenue_by_{name}"):
            largest = sorted(by_value.items(), key=lambda item: (-item[1], item[0]))
            shown = [(value, _money(revenue)) for value, revenue in largest[:BREAKDOWN_ROWS]]
            show_table((name.replace("_", " "), "revenue"), shown, gap=True, empty="")
            if len(largest) > BREAKDOWN_ROWS:
                say(f"and {len(largest) - BREAKDOWN_ROWS} more: treadle run show RUN --json")


def _funnel_rows(funnel: Mapping[str, Any]) -> list[tuple[str, str]]:
    labels = {
        "total_visitors": ("Visitors", "{:,}"),
        "converting_visitors": ("Converting visitors", "{:,}"),
        "conversion_rate_pct": ("Converting / visitors", "{:.2f} %"),
        "orders_per_visitor_pct": ("Orders / visitors", "{:.2f} %"),
    }
    return [(label, form.format(funnel[name])) for name, (label, form) in labels.items() if funnel.get(name) is not None]


def _figure(value: Any) -> str:
    """A number as short as it is exact: integers without places, others with two."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _money(value: Any) -> str:
    return "–" if value is None else f"{value:,.2f}"


def print_events(found: Sequence[Event], *, json_output: bool) -> None:
    """Print the trail, a line an event."""
    colours = {"ERROR": "red", "WARNING": "yellow", "STATUS_CHANGE": "bold"}
    for event in found:
        if json_output:
            show_json_line(event)
        else:
            colour = colours.get(event.event_type or "", "")
            stdout().print(
                f"  {local_time(event.event_time)}  {event.event_type or '':13}  ",
                event.message or "",
                style=colour or None,
                sep="",
                markup=False,
                soft_wrap=True,
            )
