"""Which page this session is on, and whether it has just come to it."""

from typing import Final

import streamlit as st

_AT: Final = "visited-at"
_ENTERED: Final = "visited-entered"


def visit(address: str) -> None:
    """Note that the page of this address is about to be drawn."""
    st.session_state[_ENTERED] = st.session_state.get(_AT) != address
    st.session_state[_AT] = address


def just_entered() -> bool:
    """Whether the run before this one drew another page, or none."""
    return bool(st.session_state.get(_ENTERED))


def forget_of_others(*keys: str) -> None:
    """On the way to a page: what was chosen on another one under the same name, as which the address has it, is not chosen here."""
    if just_entered():
        for key in keys:
            st.session_state.pop(key, None)
