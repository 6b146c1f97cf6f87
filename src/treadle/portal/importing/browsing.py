"""The files there are, and the way to one of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import streamlit as st

from treadle.actions import lock
from treadle.clients.onelake import LakeFile
from treadle.errors import TreadleError
from treadle.portal import components, words
from treadle.portal.frame import holder
from treadle.portal.importing.looked_up import listing, published
from treadle.portal.importing.opened import open_file
from treadle.portal.importing.uploading import upload
from treadle.portal.shared import services
from treadle.portal.told import empty, told
from treadle.portal.who import current

FILES_A_PAGE: Final = 10
ORDERS: Final[Mapping[str, Callable[[LakeFile], Any]]] = {
    "Newest first": lambda file: -file.modified_at.timestamp(),
    "By name": lambda file: file.name.casefold(),
    "Largest first": lambda file: -file.size_bytes,
}


def browse() -> None:
    """All files on the one side, a new one on the other."""
    st.title("Import")
    st.caption("Choose a workbook to see what is in it, or bring a new one. Nothing runs before you say so.")
    with told(again="import-lock"):
        held = lock.show(services(), current())
        if held.run_id:
            st.caption(f":material/lock: A run is active: {holder(held)}. Files can be brought and inspected meanwhile.")
    with told(again="import"):
        found = listing(str(current().role), current())
        there, new = st.columns([3, 2], gap="large")
        with there:
            st.fragment(file_list, key="import-files")(found)
        with new:
            upload(found)


def file_list(found: Sequence[LakeFile]) -> None:
    """The files with a search; a click on one opens it."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        sought = st.text_input(
            "Search files",
            type="search",
            live=True,
            key="import-search",
            placeholder="Search by name",
            label_visibility="collapsed",
            width="stretch",
        )
        order = st.selectbox("Order", list(ORDERS), key="import-order", label_visibility="collapsed", width=150)
        if st.button("Refresh", icon=":material/refresh:", key="import-refresh", help="Look into the lake again"):
            listing.clear()
            st.rerun()
    if not found:
        empty(
            "No file yet",
            "Bring the first workbook with the field beside this; then it can be inspected and run.",
            icon=":material/upload_file:",
        )
        return
    wanted = [file for file in found if (sought or "").strip().casefold() in file.name.casefold()]
    if not wanted:
        empty(
            "No file of this name",
            f"None of the {len(found)} files fits the search. Clear it to see them all.",
            icon=":material/search_off:",
        )
        return
    wanted.sort(key=ORDERS[order])
    pages = -(-len(wanted) // FILES_A_PAGE)
    rows = st.container(gap="xsmall", key="import-rows")
    at = st.pagination(pages, key="import-page") if pages > 1 else 1
    live_file = _published_name()
    with rows:
        for file in wanted[(at - 1) * FILES_A_PAGE : at * FILES_A_PAGE]:
            file_row(file, is_current=file.name == live_file)
    if pages == 1:
        st.caption(f"{len(wanted)} of {len(found)} files" if sought else ("1 file" if len(found) == 1 else f"{len(found)} files"))


def _published_name() -> str | None:
    """The name of the file behind `current/`; a list of files is worth showing without it."""
    try:
        shown = published(str(current().role), current())
    except TreadleError:
        return None
    return str(shown.profile["file_name"]) if shown else None


def file_row(file: LakeFile, *, is_current: bool) -> None:
    """One file: its name opens it."""
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
        if st.button(words.plain(file.name), key=f"open-{file.name}", type="tertiary", icon=":material/table_chart:"):
            open_file(file.name)
        if is_current:
            st.badge("Current", icon=":material/verified:", color="green", help="The published results were made of a file of this name.")
        st.space("stretch")
        st.caption(f"{words.size(file.size_bytes)} · {words.ago(file.modified_at, components.now())}", width="content")
