"""What building a scenario would change, as small values: wanted against existing. Pure; shown first, then carried out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The things that a scenario is made of, in the order in which they are built."""

    LAKEHOUSE = "lakehouse"
    TABLE = "table"
    ONTOLOGY = "ontology"
    GRAPH_MODEL = "graph_model"
    GREMLIN_GRAPH = "gremlin_graph"  # what one scenario has in Azure Cosmos DB; the next two are its parts
    VERTICES = "vertices"
    EDGES = "edges"
    EVENTHOUSE = "eventhouse"
    KQL_DATABASE = "kql_database"
    KQL_TABLE = "kql_table"


class Action(StrEnum):
    """What is done about a thing."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A thing that must be there. fingerprint: of its content; None where being there is enough (a lakehouse). shared: others may use it, too."""

    kind: Kind
    name: str
    fingerprint: str | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Existing:
    """A thing that is there. fingerprint: None if unknown. made_by: the scenario that made it, None if nobody knows. is_empty: it holds nothing."""

    kind: Kind
    name: str
    item_id: str
    fingerprint: str | None = None
    made_by: str | None = None
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan. item_id: of what exists. reason: in words, for a person."""

    action: Action
    kind: Kind
    name: str
    item_id: str | None
    reason: str


def plan_scenario(scenario: str, wanted: Iterable[Wanted], existing: Sequence[Existing], *, overwrite: bool = False) -> tuple[Change, ...]:
    """One change per wanted thing, in the order in which they are built.

    overwrite: take over what another scenario made, or nobody knows who; without it that is a conflict, and nothing may be carried out.
    """
    order = {kind: place for place, kind in enumerate(Kind)}
    return tuple(_change(scenario, item, existing, overwrite=overwrite) for item in sorted(wanted, key=lambda item: order[item.kind]))


def plan_removal(scenario: str, existing: Iterable[Existing]) -> tuple[Existing, ...]:
    """What this scenario made, in the order in which it is removed: last built, first gone."""
    order = {kind: place for place, kind in enumerate(Kind)}
    return tuple(sorted((item for item in existing if item.made_by == scenario), key=lambda item: (-order[item.kind], item.name)))


def counts(changes: Iterable[Change]) -> Mapping[str, int]:
    """How many of each action; every action is there."""
    counted = Counter(change.action for change in changes)
    return {action.value: counted[action] for action in Action}


def _change(scenario: str, wanted: Wanted, existing: Sequence[Existing], *, overwrite: bool) -> Change:
    found = [item for item in existing if item.kind is wanted.kind and item.name == wanted.name]
    if not found:
        return _new(wanted, existing)
    if len(found) > 1:
        return Change(Action.CONFLICT, wanted.kind, wanted.name, None, f"{len(found)} things of this name exist: which one is meant?")
    there = found[0]
    action, reason = _compared(scenario, wanted, there, overwrite=overwrite)
    return Change(action, wanted.kind, wanted.name, there.item_id, reason)


def _new(wanted: Wanted, existing: Iterable[Existing]) -> Change:
    """Names that differ in case alone are one for Fabric."""
    alike = next((item for item in existing if item.kind is wanted.kind and item.name.casefold() == wanted.name.casefold()), None)
    if alike:
        return Change(Action.CONFLICT, wanted.kind, wanted.name, alike.item_id, f"{alike.name} is there: it differs in case alone")
    return Change(Action.CREATE, wanted.kind, wanted.name, None, "is not there yet")


def _compared(scenario: str, wanted: Wanted, there: Existing, *, overwrite: bool) -> tuple[Action, str]:
    if wanted.shared or wanted.fingerprint is None:
        return Action.UNCHANGED, "is there"
    if there.made_by == scenario or overwrite:
        if there.made_by == scenario and there.fingerprint == wanted.fingerprint:
            return Action.UNCHANGED, "has this content"
        return Action.UPDATE, "has other content" if there.made_by == scenario else _taken_over(there)
    if there.is_empty and not there.made_by:
        return Action.UPDATE, "is there, and empty"
    return Action.CONFLICT, f"was made by {there.made_by}" if there.made_by else "was not made by Treadle"


def _taken_over(there: Existing) -> str:
    if there.made_by:
        return f"is taken over from {there.made_by}"
    return "is taken over from somebody else" + ("; its rows stay beside ours" if there.kind is Kind.KQL_TABLE else "")
