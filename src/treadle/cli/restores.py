"""treadle restore and treadle restores: publish an earlier run again, and who did that."""

from typing import Annotated

import typer

from treadle.actions import runs
from treadle.cli.options import Json, RunArgument, State, User, acting, looking, say_environment, session
from treadle.cli.output import Markup, reported, show_json, status_cell
from treadle.cli.tables import show_table
from treadle.cli.waiting import MAX_TIMEOUT, finish_command


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
        source = runs.find_run(wiring.services, looking(wiring), run)
        started = runs.restore(wiring.services, acting(wiring, user), source.run_id)
        finish_command(wiring, started, wait=wait, timeout=timeout, json_output=json_output)


@reported
def restore_history(
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="So many at most.")] = 20,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List who restored what, newest first."""
    with session(state) as wiring:
        found = runs.list_restores(wiring.services, looking(wiring), limit=limit)
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
        show_table(
            ("restored", "by", "source run", "restore run", "status"),
            rows,
            whole=("restored", "source run", "restore run", "status"),
            empty="Nothing has been restored yet.",
        )
