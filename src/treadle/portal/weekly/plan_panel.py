"""What a sync of the week would change in Salesforce, worked out when somebody asks, and kept in the session."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import streamlit as st

from treadle.actions import weekly
from treadle.errors import Conflict
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY
from treadle.flows.weekly.sync_plan import SyncPlan, describe_changes
from treadle.flows.weekly.week import Week
from treadle.portal import words
from treadle.portal.components import now
from treadle.portal.frame import zone
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.weekly.plan_told import ACTIONS, blocked_told, change_rows, cost_told, plan_figures
from treadle.portal.weekly.weeks_told import week_label
from treadle.portal.who import current

KEPT: Final = "weekly-plan"
PAGE_ROWS: Final = 50
_LONGEST: Final = 200  # of a text to search for, in characters


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan as it was worked out, of which week and when. written_ns: the time of its file, by which it is seen whether it still is that one."""

    week: str
    plan: SyncPlan
    at: datetime
    written_ns: int


def show(week: Week, missing: str | None) -> None:
    """The button, and the plan that the session has."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        clicked = st.button("Work out the plan", icon=":material/difference:", key="weekly-plan-make", disabled=missing is not None)
        st.caption(
            missing
            or f"What a sync of {week_label(week)} would change in Salesforce. It asks Salesforce for its fields and limits, and changes nothing.",
            width="stretch",
        )
    if clicked:
        with told(), st.spinner("Comparing the week's figures with what Salesforce has acknowledged…"):
            _make(week)
    kept: KeptPlan | None = st.session_state.get(KEPT)
    if kept is None or kept.week != str(week):
        return
    if not is_current(kept):
        st.warning(
            "**This plan is no longer what would be done.** The week was run, or planned anew, since. Work it out again.",
            icon=":material/sync_problem:",
        )
        return
    _sums(kept)
    _rows(kept.plan)


def is_current(kept: KeptPlan) -> bool:
    """Whether the plan's rows are still those that were worked out."""
    try:
        return kept.plan.rows_path.stat().st_mtime_ns == kept.written_ns
    except OSError:
        return False


def _make(week: Week) -> None:
    """Raises Conflict when the week was not transformed on this machine, or a run of it is under way."""
    _, outcome = weekly.plan(services(), current(), week)
    plan = outcome.plan
    if not isinstance(plan, SyncPlan):
        raise Conflict("The plan of the week cannot be shown.", hint="See it with: treadle weekly plan")
    st.session_state[KEPT] = KeptPlan(str(week), plan, now(), plan.rows_path.stat().st_mtime_ns)


def _sums(kept: KeptPlan) -> None:
    plan = kept.plan
    with st.grid(min_column_width=120, gap="small"):
        for name, count in plan_figures(plan):
            st.metric(name, words.number(count), border=True)
    st.caption(
        f"Worked out at {words.since(kept.at, now(), zone())} for {words.number(plan.input_rows)} customers, object {words.plain(plan.object_name)}."
        f" {words.plain(cost_told(plan.cost))}"
    )
    for trip in plan.trips:
        st.warning(
            f"**A guard keeps this plan back** ({words.plain(trip.guard)}): {words.plain(trip.reason)}.  \n"
            "A run stops here and the checkpoint stays. If the change is meant, carry it out on the command line: `treadle weekly stage salesforce-sync`"
            " with the week's dates, `--force` and `--override-guards`.",
            icon=":material/front_hand:",
        )
    if told_blocked := blocked_told(plan):
        st.info(f"Blocked rows are not sent: {words.plain(told_blocked)}.", icon=":material/block:")


def _rows(plan: SyncPlan) -> None:
    """The rows that the filters leave, a page at a time."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        action = st.selectbox(
            "Action", ["", *ACTIONS], format_func=lambda name: ACTIONS.get(name, "All"), key="weekly-plan-action", width=150
        )
        fields = ["", *CUSTOMER_WEEKLY.fields]
        field = st.selectbox("Field", fields, format_func=lambda name: name or "All", key="weekly-plan-field", width=240,
                             help="Updates that change it, and rows that are blocked for it.")  # fmt: skip
        search = st.text_input(
            "Record", type="search", live=True, key="weekly-plan-search", placeholder="Part of its external id", width=240
        )
    text = (search or "").strip()[:_LONGEST]
    place = st.container()
    key = f"weekly-plan-page-{plan.digest[:12]}-{action}-{field}-{text}"
    page = int(st.session_state.get(key) or 1)
    changes, total = describe_changes(
        plan.rows_path,
        CUSTOMER_WEEKLY,
        action=action or None,
        field_name=field or None,
        search=text,
        offset=(page - 1) * PAGE_ROWS,
        limit=PAGE_ROWS,
    )
    with place:
        if not total:
            filtered = action or field or text
            st.caption("No row fits the filters." if filtered else "Salesforce has everything as it is: nothing would be sent.")
            return
        st.caption(f"{total:,} records, one line for each field that changes.")
        rows = words.visible_rows(change_rows(changes))
        st.dataframe(
            rows,
            hide_index=True,
            height=min(38 + 35 * len(rows), 520),
            key="weekly-plan-rows",
            alt="What would change, field by field",
            column_order=[name for name in rows[0] if name in {"Action", "Record", "Field"} or any(row[name] for row in rows)],
            column_config={
                "Action": st.column_config.TextColumn(width=80),
                "Record": st.column_config.TextColumn(width=220),
                "Field": st.column_config.TextColumn(width=200),
            },
        )
    if total > PAGE_ROWS:
        st.pagination(-(-total // PAGE_ROWS), key=key)
