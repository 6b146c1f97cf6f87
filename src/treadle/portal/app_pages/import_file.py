"""Import: bring a workbook, see what is in it before anything is spent on it, say how its columns are read, and run it."""

import streamlit as st

from treadle.portal.importing.browsing import browse
from treadle.portal.importing.inspecting import inspect
from treadle.portal.importing.opened import GOING, write_address


def page() -> None:
    """The files there are; or the one that the address names."""
    if GOING in st.session_state:
        write_address(st.session_state.pop(GOING))
    name = st.query_params.get("file")
    if name:
        inspect(name)
    else:
        browse()


page()
