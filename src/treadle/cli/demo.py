"""treadle demo: the main job end to end, in a sandbox of its own."""

import contextlib
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from treadle import __version__
from treadle.actions import runs as actions
from treadle.cli import INTERRUPTED
from treadle.cli.demo_weekly import tell_weekly
from treadle.cli.local import local_environment
from treadle.cli.output import local_time, reported, say, show_json, stdout
from treadle.cli.run_views import input_label, print_comparison, show_kpis
from treadle.cli.sample_runs import SUPERSTORE_COLUMNS, require_success, run_sample, sample_files
from treadle.cli.tables import show_table
from treadle.cli.waiting import wait_for_end
from treadle.control import compare, events, lock, restores, runs
from treadle.control.access import Role, local_principal
from treadle.control.run import Run
from treadle.flows.sales import published
from treadle.wiring import Wiring, wired

WHO = local_principal("demo", Role.ADMIN)


@reported
def demo(
    state: Annotated[Path | None, typer.Option("--state", help="Keep everything in this directory (default: a temporary one).")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print a summary as JSON on standard output.")] = False,
) -> None:
    """Start everything, run two workbooks, compare and restore; then three weeks of events to Salesforce; show the trails, stop."""
    with _place(state) as place, _interruptible():
        say(f"Treadle {__version__} · demo in {place}")
        _step("Starting sandbox (Entra, Fabric, OneLake, events API, Salesforce) and PostgreSQL")
        with local_environment(place) as environment, wired(environment.settings) as wiring, _tables_beside(json_output):
            summary = _tell(wiring, place)
            weeks = tell_weekly(wiring, environment, WHO)
        if json_output:
            show_json(summary | {"weekly": weeks})
    say("\nDone. Everything was stopped.")


def _tell(wiring: Wiring, place: Path) -> dict[str, Any]:
    """The demo's story; returns what it found."""
    superstore, orders = sample_files(place)
    _step(f"Running {superstore.name}: real orders, whose column Sales is read as revenue")
    first = _run(wiring, superstore, SUPERSTORE_COLUMNS)
    _step(f"Running {orders.name}: 50,000 generated orders with a conversion funnel")
    second = _run(wiring, orders, None)
    _step("Comparing the two runs")
    print_comparison(compare.compare_runs(wiring.database, first.run_id, second.run_id), first, second)
    _step(f"Restoring the first run ({str(first.run_id)[:8]}) to Files/results/current/")
    restored = require_success(wait_for_end(wiring, actions.restore(wiring.services, WHO, first.run_id), 300))
    manifest = published.verify_current(wiring.lake)
    say(f"current/manifest.json names run {manifest.run_id}; its {len(manifest.files)} data files verify by size and SHA-256.")
    _step("The paper trail")
    _show_trail(wiring)
    return {"runs": [first, second], "restore": restored, "current": manifest, "lock": lock.show_lock(wiring.database)}


def _run(wiring: Wiring, file: Path, mapping: dict[str, str] | None) -> Run:
    run = run_sample(wiring, WHO, file, mapping)
    show_kpis(run.kpis or {})
    return run


def _show_trail(wiring: Wiring) -> None:
    for run in reversed(runs.list_runs(wiring.database, limit=20).runs):
        stdout().print(f"\nRun {run.run_id} · {input_label(run.input_file)} · {run.status}", markup=False, soft_wrap=True)
        rows = [
            (local_time(event.event_time), event.event_type, event.message) for event in events.list_events(wiring.database, run.run_id)
        ]
        show_table(("time", "type", "what happened"), rows, empty="No events.")
    history = [
        (item.restored_at, item.restored_by, str(item.source_run_id)[:8]) for item in restores.list_restores(wiring.database, limit=5)
    ]
    show_table(("restored", "by", "source run"), history, gap=True, title="Restores", empty="No restores.")


def _tables_beside(json_output: bool) -> contextlib.AbstractContextManager[object]:
    """Standard output is for the summary alone when that is to be read by a program."""
    return contextlib.redirect_stdout(sys.stderr) if json_output else contextlib.nullcontext()


@contextlib.contextmanager
def _place(state: Path | None) -> Generator[Path]:
    if state:
        state.mkdir(parents=True, exist_ok=True)
        yield state
        return
    with tempfile.TemporaryDirectory(prefix="treadle-demo-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _interruptible() -> Generator[None]:
    """Of a demo that is interrupted nothing goes on, other than of a run."""
    try:
        yield
    except KeyboardInterrupt:
        say("\nInterrupted. Everything was stopped.")
        raise typer.Exit(INTERRUPTED) from None


def _step(title: str) -> None:
    say(f"\n── {title}")
