"""How long a run usually takes: what people compare a run with, and what they are told before they start one."""

from datetime import timedelta

import streamlit as st

from treadle.actions import runs
from treadle.control.access import Principal
from treadle.control.states import RunStatus
from treadle.portal import components
from treadle.portal.shared import services
from treadle.portal.who import current

RUNS = 20  # of which the middle one counts


def usual_duration() -> timedelta | None:
    """How long the last runs that succeeded took, restores left out, in the middle of them. None: there are none. Looked up once a minute for all.

    Raises:
        PermissionDenied, and what was met when the database was asked.
    """
    who = current()
    return _usual(str(who.role), who)


@st.cache_data(ttl=60, max_entries=4, show_spinner=False)
def _usual(role: str, _who: Principal) -> timedelta | None:  # noqa: ARG001 - the key under which it is kept: who may not see runs gets no cached answer
    found = runs.list_runs(services(), _who, status={RunStatus.SUCCEEDED}, include_restores=False, limit=RUNS)
    return components.usual_duration(found.runs)
