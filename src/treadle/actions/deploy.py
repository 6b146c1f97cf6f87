"""The items of the workspace: what `deploy` would change, and changing it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.control.access import Principal, Right, require
from treadle.flows.sales import deploy
from treadle.flows.sales.deploy import Change


def plan(services: Services, who: Principal, *, known: Mapping[str, str], folder: Path) -> Sequence[Change]:
    """What `carry_out` would change; right `items:deploy`. known: type of item → the id that the settings name."""
    require(who, Right.ITEMS_DEPLOY)
    return deploy.plan_items(services.sales.fabric, services.sales.workspace, known=known, folder=folder)


def carry_out(services: Services, who: Principal, *, known: Mapping[str, str], folder: Path) -> Sequence[Change]:
    """Put lakehouse, notebook and pipeline into the workspace, and return what was done; right `items:deploy`."""
    with change(services, who, Right.ITEMS_DEPLOY, "items.deploy", f"workspace:{services.sales.workspace}") as entry:
        changes = deploy.deploy_items(services.sales.fabric, services.sales.workspace, known=known, folder=folder).changes
        entry.note(changes=[f"{item.action} {item.type} {item.name}" for item in changes])
        return changes
