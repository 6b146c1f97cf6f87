"""All commands, under their names. Each is loaded when it is called: most bring a cloud's client with them, and help should not wait for one."""

import io
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from treadle import __version__
from treadle.cli.exit_codes import EXIT_MEANINGS

SUMMARY: Final = "Run data operations on Microsoft Fabric safely, with a paper trail."
HELP: Final = "\n".join([SUMMARY, "", "Exit codes:", "", *(f"{code:>3}  {meaning}" for code, meaning in EXIT_MEANINGS.items())])

# name → where in treadle.cli it is, and the first paragraph of its help, which a test holds against the command's own
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "up": ("local:up", "Start sandbox, database, worker, portal and API, and keep them running until Ctrl-C."),
    "demo": (
        "demo:demo",
        "Start everything, run two workbooks, compare and restore; then three weeks of events to Salesforce; show the trails, stop.",
    ),
    "files": ("files:app", "Workbooks in Files/import/: list, upload, profile."),
    "run": ("runs:app", "Start, follow, compare and cancel runs."),
    "weekly": ("weekly:app", "The weekly flow: events API → lake → customer metrics → Salesforce, week by week."),
    "scenario": ("scenario:app", "Scenarios: an archive becomes tables, an ontology and a graph."),
    "restore": ("restores:restore", "Publish an earlier run's files to Files/results/current/ again."),
    "restores": ("restores:restore_history", "List who restored what, newest first."),
    "lock": ("lock:app", "The lock that lets one run at a time through."),
    "jobs": ("jobs:app", "Background jobs: what was asked for, what is done, and what came of it."),
    "token": ("token:app", "API tokens: for programs, and for people without a sign-in service."),
    "audit": ("audit:app", "The audit: every change, who asked for it, and what came of it."),
    "worker": (
        "worker:worker",
        "Drive every active run to its end and do the background jobs. Any number may run; each run and each job has one of them at a time.",
    ),
    "api": ("api:api", "Serve the HTTP API until Ctrl-C. Any number may run. Logs are JSON on standard error."),
    "portal": ("portal:portal", "Serve the portal, and the API under /api, until Ctrl-C. Logs are JSON on standard error."),
    "migrate": ("migrate:migrate", "Make or update the tables in the schema `treadle`. Safe to repeat; the five tables are never touched."),
    "deploy": (
        "deploy:deploy",
        "Put the sales lakehouse, notebook and pipeline into the workspace of the settings; repeating it changes nothing.",
    ),
    "doctor": (
        "doctor:doctor",
        "Check settings, sign-in, Fabric, OneLake, database and lock. Changes nothing; exit code 1 if something is wrong.",
    ),
    "sandbox": ("local:sandbox", "Start only the local stand-ins of the clouds, without database and worker."),
}


class Lazily(TyperGroup):
    """The group of all commands. What its help lists are names and summaries; the command itself comes when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of COMMANDS."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the help says of a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return self.commands.get(cmd_name) or TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called."""
        self.load(args[0])
        return super().resolve_command(ctx, args)

    def load(self, name: str) -> None:
        """Have the real command; a name that is none stays unknown."""
        if name in COMMANDS and name not in self.commands:
            self.commands = {**self.commands, name: _loaded(name)}

    def load_all(self) -> None:
        """Have every real command, for who writes about them."""
        for name in COMMANDS:
            self.load(name)


def _loaded(name: str) -> Any:
    configured = import_module("treadle.logs")
    configured.configure_logs("WARNING", for_people=True)  # before anything can log: standard output is for data
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"treadle.cli.{module}"), attribute)
    around = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    around.callback()(lambda: None)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    group: Any = get_command(around)
    return group.commands[name]


app = typer.Typer(
    name="treadle", cls=Lazily, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich"
)


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that the terminal's encoding lacks must not end a command
    app()
