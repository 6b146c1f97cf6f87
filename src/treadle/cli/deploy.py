"""treadle deploy: put notebook and pipeline into the workspace."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.actions import deploy as actions
from treadle.cli.options import Json, State, User, acting, looking, say_environment, session
from treadle.cli.output import reported, say, show_json
from treadle.cli.tables import show_table
from treadle.flows.sales import deploy as sales_deploy


@reported
def deploy(
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would change.")] = False,
    notebooks: Annotated[
        Path, typer.Option("--notebooks", help="The folder of items in git format.", show_default=False)
    ] = sales_deploy.NOTEBOOKS,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Put the sales lakehouse, notebook and pipeline into the workspace of the settings; repeating it changes nothing."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        known = {"Lakehouse": wiring.settings.fabric_lakehouse_id, "DataPipeline": wiring.settings.fabric_pipeline_id}
        if plan:
            changes = actions.plan(wiring.services, looking(wiring), known=known, folder=notebooks)
        else:
            changes = actions.carry_out(wiring.services, acting(wiring, user), known=known, folder=notebooks)
        if json_output:
            show_json(changes)
            return
        show_table(
            ("action", "type", "name", "id"),
            [(change.action, change.type, change.name, change.item_id) for change in changes],
            empty="Nothing to deploy.",
        )
        if plan:
            say("Nothing was changed. Carry it out with: treadle deploy")
        for change in changes:
            if change.item_id and change.item_id != known.get(change.type, change.item_id):
                say(
                    f"The {change.type} {change.name} is not the one of your settings: set FABRIC_{change.type.removeprefix('Data').upper()}_ID={change.item_id}"
                )
