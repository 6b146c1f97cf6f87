"""treadle worker: drive every active run to its end."""

from typing import Annotated

import typer

from treadle.cli.options import State, session
from treadle.cli.output import reported, say
from treadle.cli.stopping import stop_on_signal, stop_with_parent


@reported
def worker(
    once: Annotated[bool, typer.Option("--once", help="Look once at each active run, then stop: the single-step mode for tests.")] = False,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop when no run is active any more.")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input ends.")] = False,
    state: State = None,
) -> None:
    """Drive every active run to its end. Any number may run; each run has one of them at a time. Logs are JSON on standard error."""
    with session(state, for_people=False) as wiring:
        drives = wiring.worker()
        if once:
            looked = drives.step()
            drives.close()
            say(f"Looked at {looked} active run{'' if looked == 1 else 's'}.")
        elif until_idle:
            drives.run_until_idle(timeout_seconds=24 * 3600)
            drives.close()
        else:
            stop = stop_on_signal()
            if with_parent:
                stop_with_parent(stop)
            drives.run(stop)
