"""treadle migrate: bring the tables of our own up to this version."""

from typing import Annotated

import typer

from treadle.cli.options import Json, State, say_environment, session
from treadle.cli.output import reported, say, show_json
from treadle.control import migrate as migrations


@reported
def migrate(
    print_sql: Annotated[
        bool, typer.Option("--print", help="Print the SQL instead of running it, for an owner of the database to run with psql.")
    ] = False,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Make or update the tables in the schema `treadle`. Safe to repeat; the five tables are never touched."""
    with session(state) as wiring:
        if print_sql:
            sql = migrations.plan_sql(wiring.own)
            typer.echo(sql, nl=False)
            if not sql:
                say("Nothing to print: all migrations are applied.")
            return
        say_environment(wiring.settings)
        applied = migrations.migrate(wiring.own)
        if json_output:
            show_json({"applied": applied})
        say(f"Applied: {', '.join(applied)}." if applied else "Nothing to do: all migrations are applied.")
