"""The command line of Treadle."""

import io
import sys
from typing import Annotated

import typer

from treadle import __version__
from treadle.cli import deploy, doctor, files, local, lock, runs
from treadle.cli.demo import demo
from treadle.cli.worker import worker
from treadle.logs import configure_logs

app = typer.Typer(name="treadle", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command("up")(local.up)
app.command("demo")(demo)
app.add_typer(files.app, name="files")
app.add_typer(runs.app, name="run")
app.command("restore")(runs.restore)
app.command("restores")(runs.restore_history)
app.add_typer(lock.app, name="lock")
app.command("worker")(worker)
app.command("deploy")(deploy.deploy)
app.command("doctor")(doctor.doctor)
app.command("sandbox")(local.sandbox)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"treadle {__version__}")
        raise typer.Exit


@app.callback()
def treadle(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")] = False,
) -> None:
    """Run data operations on Microsoft Fabric safely, with a paper trail.

    Exit codes: 0 done · 1 defect or a failed check · 2 unusable input · 3 not found · 4 conflict, such as a held lock ·
    5 not signed in or not permitted · 6 not reachable, try again · 7 the run or operation failed · 130 interrupted.
    """


def main() -> None:
    """Run the command line."""
    configure_logs("WARNING")  # before anything can log: standard output is for data
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that the terminal's encoding lacks must not end a command
    app()
