"""What is different from the file behind `current/`."""

import streamlit as st

from treadle.flows.sales.drift import Change
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.importing.changes import change_rows, change_sentence
from treadle.portal.importing.looked_up import published
from treadle.portal.told import empty, told
from treadle.portal.who import current


def change_panel(changes: list[Change] | None) -> None:
    """What is different from the file behind `current/`."""
    shown = None
    with told():
        shown = published(str(current().role), current())
    if shown is None or changes is None:
        empty("Nothing to compare with", "No results are published yet; this file would be the first.", icon=":material/compare_arrows:")
        return
    look = change_sentence(changes)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(look.word, icon=look.icon, color=look.colour)
        st.markdown(words.plain(look.sentence), width="stretch")
    st.caption(
        f"Compared with {words.plain(shown.profile['file_name'])} as run {components.short_id(shown.run_id)} read it,"
        f" published {words.moment(shown.published_at, zone())}."
    )
    if changes:
        st.dataframe(
            words.visible_rows(change_rows(changes)),
            hide_index=True,
            key="changes",
            alt="Differences between this file and the published one",
            column_config={
                "Weight": st.column_config.TextColumn(width=80),
                "Column": st.column_config.TextColumn(width="small"),
                "What is different": st.column_config.TextColumn(width="medium"),
            },
        )
