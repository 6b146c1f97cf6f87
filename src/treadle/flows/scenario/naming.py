"""What the things of a build are called where nobody says so, and where a scenario is by now. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from treadle.clients.fabric import Item
from treadle.errors import InvalidInput
from treadle.flows.scenario.asked import DEFAULT_NAMES, STAYS, Asked, can_be_name
from treadle.flows.scenario.existing import ITEM_TYPES
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import ScenarioRecord

_KINDS: Final[Mapping[str, Kind]] = {
    "lakehouse_name": Kind.LAKEHOUSE,
    "ontology_name": Kind.ONTOLOGY,
    "eventhouse_name": Kind.EVENTHOUSE,
}
_NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "graph": frozenset({"lakehouse_name", "ontology_name"}),
    "telemetry": frozenset({"lakehouse_name", "eventhouse_name"}),
}


def settled(asked: Asked, before: ScenarioRecord | None, items: Iterable[Item]) -> Asked:
    """What was asked, with a name for each of lakehouse, ontology and eventhouse.

    A name that was given is taken as it is. One that was not is the one that the scenario has there, if it was built in this workspace last; else
    the default. What that means where things have changed since:

    - An item that was renamed in Fabric is meant by its new name. A second one under the old name, made without a word, would surprise more.
    - An item that was deleted is made again under its name.
    - What another scenario has taken over keeps its name, so that the plan tells a conflict.
    - A scenario that is built in another workspace than last gets the default names there: what is called how elsewhere says nothing about this one.

    before: None: no scenario of that name was built. items: those of the workspace.

    Raises:
        InvalidInput: the record, which others may write, has a name that cannot be used.
    """
    known = {member: name for member, name in names_known(asked.workspace_id, before, items).items() if member not in asked.given_names}
    for member, name in known.items():
        if before and name == _recorded(member, before) and not can_be_name(member, name):
            raise InvalidInput(
                f"The record of {before.name} has {name[:80]!a} as the name of its {_KINDS[member]}, which cannot be one.",
                hint=f"Say which {_KINDS[member]} is meant, or correct the record.",
            )
    return replace(asked, **{**DEFAULT_NAMES, **known, **asked.given_names})


def names_known(workspace_id: str, before: ScenarioRecord | None, items: Iterable[Item] = ()) -> dict[str, str]:
    """Member of `Asked` → name, of what the scenario has in the workspace, as its record and the workspace's items say."""
    if before is None or before.workspace_id.lower() != workspace_id.lower():
        return {}
    there = list(items)
    return {member: name for member in _KINDS if (name := _name_now(member, before, there))}


def about_names(
    asked: Asked, before: ScenarioRecord | None, items: Collection[Item], slots: Collection[str], *, fabric: bool
) -> Iterator[str]:
    """What is worth knowing of the names of a build: that they lead elsewhere than the last one did, or that something was renamed.

    slots: those that are built. fabric: whether the graph goes there.
    """
    known = names_known(asked.workspace_id, before, items)
    if before is None or not known:
        return
    slots = [slot for slot in slots if fabric or slot != "graph"]
    needed = frozenset[str]().union(*(_NEEDED.get(slot, frozenset()) for slot in slots))
    left = {member: known[member] for member in _KINDS if member in known and member in needed}
    left = {member: name for member, name in left.items() if asked.given_names.get(member, name) != name}
    if left:
        yield (
            f"{before.name} is built in {_listed(left)}. This build goes to {_listed({member: asked.given_names[member] for member in left})}; "
            f"{STAYS}. Leave the names out to stay where it is."
        )
    for member in _KINDS:
        old = _recorded(member, before)
        if member in needed and member not in left and old and member in known and known[member] != old:
            yield f"The {_KINDS[member]} {old} of {before.name} is called {known[member]} by now; the build goes on there."


def _name_now(member: str, before: ScenarioRecord, items: Iterable[Item]) -> str | None:
    item_type, item_id = ITEM_TYPES[_KINDS[member]], getattr(before, member.replace("_name", "_id"))
    found = next((item.name for item in items if item.type == item_type and item.item_id == item_id), None)
    return found or _recorded(member, before)


def _recorded(member: str, before: ScenarioRecord) -> str | None:
    """As the record has it, also of what others have taken over."""
    taken = (loss.name for loss in before.lost if loss.kind is _KINDS[member])
    return getattr(before, member) or next(taken, None)


def _listed(names: Mapping[str, str]) -> str:
    *others, last = [f"{_KINDS[member]} {name}" for member, name in names.items()]
    return f"{', '.join(others)} and {last}" if others else last
