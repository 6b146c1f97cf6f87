"""What is looked up in the lake once for everybody of one role, and kept for a moment: a page is drawn again with each click."""

import streamlit as st

from treadle.actions import files
from treadle.actions.files import PublishedProfile
from treadle.clients.onelake import LakeFile
from treadle.control.access import Principal
from treadle.errors import NotFound
from treadle.portal.looking import a_look
from treadle.portal.shared import services


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)
def listing(role: str, _who: Principal) -> list[LakeFile]:  # noqa: ARG001 - the key under which it is kept
    """The workbooks in the lake; the same for everybody of one role."""
    with a_look():
        return files.list_files(services(), _who)


@st.cache_data(ttl=30, max_entries=4, show_spinner=False)
def published(role: str, _who: Principal) -> PublishedProfile | None:  # noqa: ARG001 - as above
    """What the file behind `current/` holds. None: nothing is published yet."""
    try:
        with a_look():
            return files.published_profile(services(), _who)
    except NotFound:
        return None
