"""What a build or a removal would do, in words and rows, and what keeps it from being done. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.flow import DestroyPlan
from treadle.flows.scenario.plan import Action, Change, Existing, Kind, counts
from treadle.visible_text import visible

DOCUMENT_SLOTS: Final = frozenset({"runbooks", "tickets", "prompts"})
ACTIONS: Final[Mapping[Action, str]] = {
    Action.CREATE: "+ Create",
    Action.UPDATE: "↻ Update",
    Action.UNCHANGED: "○ Unchanged",
    Action.CONFLICT: "✕ Conflict",
}
KINDS: Final[Mapping[Kind, str]] = {
    Kind.LAKEHOUSE: "Lakehouse",
    Kind.TABLE: "Table",
    Kind.ONTOLOGY: "Ontology",
    Kind.GRAPH_MODEL: "Graph model",
    Kind.GREMLIN_GRAPH: "Gremlin graph",
    Kind.VERTICES: "Vertices",
    Kind.EDGES: "Edges",
    Kind.EVENTHOUSE: "Eventhouse",
    Kind.KQL_DATABASE: "KQL database",
    Kind.KQL_TABLE: "KQL table",
}


def kind_word(kind: object) -> str:
    """A kind of thing as people call it; one that is new here keeps its own word."""
    text = str(kind)
    return next((word for known, word in KINDS.items() if known == text), text.replace("_", " ").capitalize())


def change_rows(changes: Sequence[Change]) -> list[dict[str, str]]:
    """The plan as rows, in the order in which it would be carried out."""
    return [
        {
            "What happens": ACTIONS.get(change.action, str(change.action)),
            "Thing": kind_word(change.kind),
            "Name": visible(change.name),
            "Why": visible(change.reason),
        }
        for change in changes
    ]


def plan_sentence(changes: Sequence[Change]) -> str:
    """The sums of a plan, in a sentence."""
    counted = counts(changes)
    if not changes:
        return "Files are stored; no item of Fabric is touched."
    if counted["create"] + counted["update"] + counted["conflict"] == 0:
        return f"Nothing would change in Fabric: {_things(counted['unchanged'])} {'is' if counted['unchanged'] == 1 else 'are'} as the archives say."
    named = (("create", "to create"), ("update", "to update"), ("unchanged", "unchanged"), ("conflict", "in conflict"))
    return ", ".join(f"{counted[name]} {word}" for name, word in named if counted[name]) + "."


def split_notes(notes: Sequence[str]) -> tuple[list[str], list[str]]:
    """What would become of documents, which belongs to the plan; and everything else that is worth knowing."""
    of_documents = [note for note in notes if note.partition(":")[0] in DOCUMENT_SLOTS]
    return of_documents, [note for note in notes if note not in of_documents]


def fault_rows(faults: Sequence[Fault]) -> list[dict[str, str]]:
    """What must be mended, as rows: where, what is wrong, what to do. The texts name files of others."""
    return [{"Where": visible(fault.where), "What is wrong": visible(fault.message), "What to do": visible(fault.hint)} for fault in faults]


def removal_rows(existing: Sequence[Existing]) -> list[dict[str, Any]]:
    """What would be removed, in the order in which it goes."""
    return [{"Thing": kind_word(each.kind), "Name": visible(each.name), "Id": each.item_id} for each in existing]


def left_rows(plan: DestroyPlan) -> list[dict[str, str]]:
    """What a removal would leave, and why."""
    return [{"Thing": kind_word(each.thing.kind), "Name": visible(each.thing.name), "Why": visible(each.reason)} for each in plan.left]


def _things(count: int) -> str:
    return f"{count} {'thing' if count == 1 else 'things'}"
