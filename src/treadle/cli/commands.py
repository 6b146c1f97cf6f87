"""All commands, under their names."""

import io
import sys
from typing import Annotated

import typer

from treadle import __version__
from treadle.cli import audit, deploy, doctor, files, jobs, local, lock, restores, runs, token
from treadle.cli.api import api
from treadle.cli.demo import demo
from treadle.cli.migrate import migrate
from treadle.cli.output import EXIT_MEANINGS
from treadle.cli.worker import worker
from treadle.logs import configure_logs

SUMMARY = "Run data operations on Microsoft Fabric safely, with a paper trail."
HELP = "\n".join([SUMMARY, "", "Exit codes:", "", *(f"{code:>3}  {meaning}" for code, meaning in EXIT_MEANINGS.items())])

app = typer.Typer(name="treadle", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command("up")(local.up)
app.command("demo")(demo)
app.add_typer(files.app, name="files")
app.add_typer(runs.app, name="run")
app.command("restore")(restores.restore)
app.command("restores")(restores.restore_history)
app.add_typer(lock.app, name="lock")
app.add_typer(jobs.app, name="jobs")
app.add_typer(token.app, name="token")
app.add_typer(audit.app, name="audit")
app.command("worker")(worker)
app.command("api")(api)
app.command("migrate")(migrate)
app.command("deploy")(deploy.deploy)
app.command("doctor")(doctor.doctor)
app.command("sandbox")(local.sandbox)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"treadle {__version__}")
        raise typer.Exit


@app.callback(help=HELP)
def treadle(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")] = False,
) -> None:
    """The options that stand before every command; the help is above."""


def run() -> None:
    """Run the command that was asked for."""
    configure_logs("WARNING", for_people=True)  # before anything can log: standard output is for data
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that the terminal's encoding lacks must not end a command
    app()
