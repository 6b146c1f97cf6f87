"""Run: everything about one run, under an address that can be passed on."""

import streamlit as st

from treadle.actions import runs
from treadle.errors import InvalidInput, NotFound, TreadleError
from treadle.portal import components, run_detail
from treadle.portal.restoring import restore_button
from treadle.portal.shared import services
from treadle.portal.told import empty, failed, told
from treadle.portal.who import current


def page() -> None:
    """The run that the address names; what is wrong with the address where it names none."""
    named = st.query_params.get("run", "")
    st.title(f"Run {components.short_id(named)}" if named.replace("-", "").isalnum() else "Run")
    if not named.strip():
        empty("No run chosen", "Choose one in the archive, or open a link to one.", icon=":material/play_circle:")
        _to_archive()
        return
    try:
        run = runs.find_run(services(), current(), named)
    except (NotFound, InvalidInput) as error:
        failed(error)
        _to_archive()
        return
    except TreadleError as error:
        failed(error, again="run")
        return
    st.set_page_config(page_title=f"Run {components.short_id(run.run_id)} · Treadle")
    before = None
    with told():
        before = run_detail.previous_of(run)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        run_detail.links(run, before)
        st.space("stretch")
        reason = restore_button(run, key="restore")
    if reason:
        st.caption(reason)
    run_detail.show(run, before, key="run")


def _to_archive() -> None:
    st.page_link("app_pages/archive.py", label="Look in the archive", icon=":material/inventory_2:")


page()
