"""treadle lock …: who holds the lock, and freeing a dead one."""

import contextlib
from typing import Annotated

import typer

from treadle.actions import lock
from treadle.cli.options import Json, State, User, acting, looking, say_environment, session
from treadle.cli.output import local_time, reported, say, show_json, waiting_for
from treadle.cli.run_views import input_label
from treadle.control import runs

app = typer.Typer(no_args_is_help=True, help="The lock that lets one run at a time through.")


@app.command("show")
@reported
def show(state: State = None, json_output: Json = False) -> None:
    """Show whether the lock is free, and if not, who holds it since when."""
    with session(state) as wiring:
        held = lock.show(wiring.services, looking(wiring))
        if json_output:
            show_json(held)
        elif held.run_id is None:
            typer.echo("free")
        else:
            what = f" · {input_label(held.run.input_file)} · {held.run.status}" if held.run else " · a run that is not recorded"
            typer.echo(f"held by {held.locked_by} · run {held.run_id}{what} · since {local_time(held.locked_at)}")


@app.command("release")
@reported
def release(
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded with your name.")],
    even_if_running: Annotated[
        bool,
        typer.Option(
            "--even-if-running", help="Release although the Fabric job may still run. What it publishes later is mixed with the next run's."
        ),
    ] = False,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Free a lock that nobody will free any more. The run's Fabric job is cancelled first and seen to its end."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        with contextlib.nullcontext() if even_if_running else waiting_for("Asking Fabric whether its job still runs"):
            held = lock.release(wiring.services, acting(wiring, user), reason, even_if_running=even_if_running)
        if json_output:
            show_json(held)
        ended = runs.get_run(wiring.database, held.run.run_id) if held.run else None
        say(
            f"The lock is free. It was held by {held.locked_by} for run {held.run_id}"
            + (f", which is {ended.status}." if ended else ", which is not recorded.")
        )
