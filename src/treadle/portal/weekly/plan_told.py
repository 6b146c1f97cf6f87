"""A plan in words and rows: what would change in Salesforce, what keeps it back, what it costs. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from treadle.flows.weekly.sync_cost import ApiCost, Channel
from treadle.flows.weekly.sync_plan import RowChange, SyncPlan
from treadle.portal.words import size

ACTIONS: Final = {"create": "Create", "update": "Update", "blocked": "Blocked", "refused": "Refused before"}
_NULL: Final = "(empty)"


def plan_figures(plan: SyncPlan) -> list[tuple[str, int]]:
    """The sums of a plan; what waits and what is gone only where there is any."""
    figures = [("Create", plan.create), ("Update", plan.update), ("Unchanged", plan.unchanged), ("Blocked", plan.blocked)]
    return figures + [(name, count) for name, count in (("Refused before", plan.refused), ("Gone, but kept", plan.kept)) if count]


def change_rows(changes: Sequence[RowChange]) -> list[dict[str, Any]]:
    """One row for each field that changes, or for each reason that blocks."""
    rows: list[dict[str, Any]] = []
    for one in changes:
        head = {"Action": ACTIONS.get(one.action, one.action), "Record": one.external_id}
        for change in one.changes:
            old = "" if one.action == "create" else _NULL if change.old is None else change.old
            rows.append({**head, "Field": change.field, "Old": old, "New": _NULL if change.new is None else change.new, "Reason": ""})
        for problem in one.problems:
            value = "" if problem.value is None else problem.value
            rows.append({**head, "Field": problem.field or "", "Old": "", "New": value, "Reason": problem.reason})
        if not one.changes and not one.problems:
            rows.append({**head, "Field": "", "Old": "", "New": "", "Reason": ""})
    return rows


def cost_told(cost: ApiCost) -> str:
    """What carrying the plan out takes of Salesforce's allowances, in a sentence."""
    if cost.channel is Channel.NOTHING:
        return "Nothing would be sent, so it costs nothing."
    upload = size(cost.upload_bytes)
    if cost.channel is Channel.BULK:
        spent = f"{_many(cost.jobs, 'Bulk job')}, {_many(cost.batches, 'batch', 'batches')}, about {_many(cost.requests, 'API request')}, {upload}"
    else:
        spent = f"{_many(cost.requests, 'API request')} (Collections), about {upload}"
    if cost.affordable is None:
        return f"It takes {spent}. Salesforce did not say what is left of today's allowance."
    return f"It takes {spent}. " + (
        "Today's allowance is enough." if cost.affordable else f"Today's allowance is not enough: {cost.reason}."
    )


def blocked_told(plan: SyncPlan) -> str:
    """Which rules block how many rows; empty when none does."""
    return ", ".join(f"{rule.replace('_', ' ')}: {count:,}" for rule, count in plan.blocked_by_rule.items())


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"
