"""The second act of treadle demo: three weeks of events become customer metrics in Salesforce."""

from datetime import date
from typing import Any, Final

from treadle.actions import weekly
from treadle.cli.local import LocalEnvironment
from treadle.cli.output import say
from treadle.cli.tables import show_list, show_table
from treadle.control.access import Principal
from treadle.flows.weekly.flow import WeekOptions, WeekOutcome
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY
from treadle.flows.weekly.sync_outcome import counts_of
from treadle.flows.weekly.sync_plan import describe_changes
from treadle.flows.weekly.week import Week, week_of
from treadle.wiring import Wiring

FIRST: Final = week_of(date(2019, 12, 2))
_NEEDS_APPROVAL: Final = {"field": "Total_Spend_Week__c", "above": 2_000, "message": "Spend above 2,000 needs the approval of finance"}
_SHOWN: Final = 5


def tell_weekly(wiring: Wiring, environment: LocalEnvironment, who: Principal) -> dict[str, Any]:
    """Run three weeks, look at rejects, retry what Salesforce refused, plan and sync a week whose events have changed; returns what it found."""
    first = _run(wiring, who, FIRST, "the first week, all five stages")
    second = _run(wiring, who, FIRST.next, "the next week, where some events break the contract")
    _show_rejects(wiring, who, FIRST.next)
    environment.cloud.salesforce.options.validation_rules = (_NEEDS_APPROVAL,)
    third = _run(wiring, who, FIRST.next.next, "the third, while a rule in Salesforce refuses high spends")
    retried = _retry(wiring, environment, who, FIRST.next.next)
    environment.cloud.events.add_late_events(FIRST.start, changed_every=40)
    plan, synced = _sync_changed_week(wiring, who, FIRST)
    return {"weeks": [first, second, third], "retried": retried, "plan": plan, "synced": synced}


def _run(wiring: Wiring, who: Principal, week: Week, title: str) -> WeekOutcome:
    _step(f"Week {week}: {title}")
    outcome = weekly.run(wiring.services, who, week, WeekOptions(who.name))
    events = [("events", outcome.rows_fetched), ("valid", outcome.rows_valid), ("rejected", outcome.rows_rejected)]
    show_table(("", "rows"), [(name, f"{count:,}") for name, count in (*events, *counts_of(outcome).items())], empty="")
    return outcome


def _show_rejects(wiring: Wiring, who: Principal, week: Week) -> None:
    rows = [
        (each.rule, each.field or "", f"{each.rows:,}", each.sample_reason or "")
        for each in weekly.count_rejects(wiring.services, who, week)
    ]
    show_list(("rule", "field", "events", "such as"), rows, cut={"such as": 30}, empty="No event was rejected.")


def _retry(wiring: Wiring, environment: LocalEnvironment, who: Principal, week: Week) -> dict[str, int]:
    for row in weekly.list_refused(wiring.services, who, week)[:_SHOWN]:
        say(f"Refused: {row.external_id} – {row.message}")
    _step("Finance approves; the refused rows are sent again, those alone")
    environment.cloud.salesforce.options.validation_rules = ()
    counts = counts_of(weekly.retry_rejects(wiring.services, who, week))
    say(", ".join(f"{count:,} {name}" for name, count in counts.items() if count) + ".")
    return counts


def _sync_changed_week(wiring: Wiring, who: Principal, week: Week) -> tuple[dict[str, int], dict[str, int]]:
    """Prices of some events were corrected: see what that would change, then change only that."""
    _step(f"Week {week}: prices were corrected; the plan shows what that changes")
    options = WeekOptions(who.name, force=True, tag="demo-corrections")
    for stage in (Stage.EXTRACT, Stage.TRANSFORM, Stage.LOAD, Stage.QUALITY_GATE):
        weekly.run_stage(wiring.services, who, week, stage, options)
    _, planned = weekly.plan(wiring.services, who, week)
    changes, total = describe_changes(planned.plan.rows_path, CUSTOMER_WEEKLY, action="update", limit=_SHOWN)
    rows = [(row.external_id, change.field, change.old or "", change.new or "") for row in changes for change in row.changes]
    show_list(("record", "field", "old", "new"), rows, cut={"record": 30}, empty="Nothing would change.")
    say(f"{total:,} updates, {planned.unchanged:,} unchanged.")
    outcome = weekly.run_stage(wiring.services, who, week, Stage.SYNC, options)
    say("Synced: " + ", ".join(f"{count:,} {name}" for name, count in counts_of(outcome).items() if count) + ".")
    return counts_of(planned), counts_of(outcome)


def _step(title: str) -> None:
    say(f"\n── {title}")
