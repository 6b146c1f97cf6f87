"""Removing a scenario: what goes, what stays, and the one button that does it."""

import streamlit as st

from treadle.actions import scenarios
from treadle.flows.scenario.flow import DestroyPlan
from treadle.flows.scenario.slot_files import documents_told
from treadle.portal import components, words
from treadle.portal.scenarios.asking import ask
from treadle.portal.scenarios.looking import looks
from treadle.portal.scenarios.plan_told import left_rows, removal_rows
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.who import current


@st.dialog("Remove the scenario", width="medium", icon=":material/delete_forever:", on_dismiss=ask)
def confirm_destroy(name: str) -> None:
    """The plan, then the scenario's name once more, then the button."""
    with told():
        plan = scenarios.survey_destroy(services(), current(), name)
        components.facts([("Scenario", name), ("Environment", services().environment), ("Recorded as", current().name)])
        _removed(plan)
        if plan.left:
            st.markdown("**This stays**, or is out of reach:")
            st.dataframe(left_rows(plan), hide_index=True, height="content", key="scenario-destroy-left", alt="What stays, and why")
        st.caption("This cannot be undone; the archives can be uploaded again.")
        typed = st.text_input(f"Type {words.plain(name)} to go on", key="scenario-destroy-name", autocomplete="off")
        if st.button(
            "Remove it",
            type="primary",
            icon=":material/delete_forever:",
            key="scenario-destroy-really",
            disabled=(typed or "").strip() != name,
        ):
            scenarios.destroy(services(), current(), name)
            looks().look_again()
            ask()
            st.rerun()


def _removed(plan: DestroyPlan) -> None:
    documents = documents_told(plan.documents)
    if not plan.removed:
        what = f"**{documents}** and its record are removed" if documents else "only its record is removed"
        st.markdown(f"It made nothing in Fabric that is still known; {what}.")
        return
    count = len(plan.removed)
    things = f"**{count} {'thing' if count == 1 else 'things'} that it made** will be removed, in this order"
    st.markdown(f"{things}, and **{documents}** with them:" if documents else f"{things}:")
    st.dataframe(
        removal_rows(plan.removed),
        hide_index=True,
        height=min(38 + 35 * count, 320),
        key="scenario-destroy-plan",
        alt="What will be removed, in this order",
        column_config={"Thing": st.column_config.TextColumn(width=120), "Name": st.column_config.TextColumn(width=220)},
    )
