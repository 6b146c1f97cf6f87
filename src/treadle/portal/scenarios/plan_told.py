"""What a build or a removal would do, in words and rows, and what keeps it from being done. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.flows.scenario.asked import STAYS
from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.flow import DestroyPlan, DocumentCounts
from treadle.flows.scenario.plan import Action, Change, Existing, Kind, counts
from treadle.portal.scenarios.job_told import SLOTS
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


def plan_sentence(changes: Sequence[Change], documents: Mapping[str, DocumentCounts] | None = None) -> str:
    """The sums of a plan, in a sentence; what changes of documents is told in lines of its own."""
    counted = counts(changes)
    if not changes:
        changing = any(each.created or each.updated or each.removed for each in (documents or {}).values())
        return "Only documents change; no item of Fabric is touched." if changing else "Nothing would change."
    if counted["create"] + counted["update"] + counted["conflict"] == 0:
        return f"Nothing would change in Fabric: {_things(counted['unchanged'])} {'is' if counted['unchanged'] == 1 else 'are'} as the archives say."
    named = (("create", "to create"), ("update", "to update"), ("unchanged", "unchanged"), ("conflict", "in conflict"))
    return ", ".join(f"{counted[name]} {word}" for name, word in named if counted[name]) + "."


def documents_lines(documents: Mapping[str, DocumentCounts]) -> list[str]:
    """For each slot of documents that has an archive, what becomes of them."""
    return [
        f"{SLOTS.get(slot, slot)}: {_changed(each) or f'nothing changes, {each.unchanged} are there'}." for slot, each in documents.items()
    ]


def documents_question(documents: Mapping[str, DocumentCounts]) -> str | None:
    """What somebody has to agree to before documents go, or others come in their place; None where none does."""
    removed, updated = (sum(getattr(each, member) for each in documents.values()) for member in ("removed", "updated"))
    told = [f"remove {_documents(removed)}"] if removed else []
    told += [f"replace {_documents(updated)}"] if updated else []
    there = "is there" if removed + updated == 1 else "are there"
    return f"Yes, {' and '.join(told)} that {there}" if told else None


def _changed(each: DocumentCounts) -> str:
    named = (("created", each.created), ("updated", each.updated), ("removed", each.removed))
    told = [f"{count:,} {what}" for what, count in named if count]
    return ", ".join([*told, *([f"{each.unchanged:,} unchanged"] if told and each.unchanged else [])])


def _documents(count: int) -> str:
    return f"{count:,} {'document' if count == 1 else 'documents'}"


def split_notes(notes: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """What is worth knowing of the archives of documents, which belongs to the plan; that the scenario goes elsewhere; and everything else."""
    of_documents = [note for note in notes if note.partition(":")[0] in DOCUMENT_SLOTS]
    elsewhere = [note for note in notes if note not in of_documents and STAYS in note]
    return of_documents, elsewhere, [note for note in notes if note not in (*of_documents, *elsewhere)]


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
