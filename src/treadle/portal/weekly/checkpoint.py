"""The head of the page Weekly: which week was done last, which comes next, and what somebody should look at."""

from datetime import datetime, tzinfo

import streamlit as st

from treadle.flows.weekly.record import Checkpoint
from treadle.flows.weekly.status import Standing
from treadle.portal import words
from treadle.portal.components import now
from treadle.portal.frame import zone
from treadle.portal.weekly.weeks_told import week_label


def show(standing: Standing) -> None:
    """The checkpoint as three facts, and warnings below them."""
    point = standing.checkpoint
    with st.grid(3, min_column_width=220, gap="small"):
        st.metric("Done last", week_label(point.last) if point and point.last else words.DASH, border=True, height="stretch")
        st.metric("Comes next", week_label(point.next) if point else words.DASH, border=True, height="stretch", delta_arrow="off", delta_color="off",
                  delta=next_told(standing))  # fmt: skip
        st.metric("Checkpoint moved", words.ago(point.updated_at, now()) if point else "Never", border=True, height="stretch", delta_arrow="off",
                  delta_color="off", delta=words.moment(point.updated_at, zone()) if point else None)  # fmt: skip
    for told in warnings(standing, now(), zone()):
        st.warning(told, icon=":material/warning:")


def next_told(standing: Standing) -> str:
    """Whether the week that comes next can be run. Pure."""
    if standing.checkpoint is None:
        return "No week was done yet"
    if standing.next_is_over:
        return "It is over and can be run"
    return f"It is over on {standing.checkpoint.next.closes_at:%-d %b %Y}, 00:00 UTC"


def warnings(standing: Standing, at: datetime, zone_: tzinfo) -> list[str]:
    """What somebody should look at, as Markdown. Pure."""
    told: list[str] = []
    if standing.checkpoint and standing.stale:
        told.append(f"**The checkpoint is stale.** {_stale(standing.checkpoint, at, zone_)}")
    if standing.waiting:
        several = standing.waiting != 1
        told.append(
            f"**{standing.waiting} {'ends of runs wait' if several else 'end of a run waits'} for the database.** "
            "It was away when the work was done. The next run records what waits, before it begins."
        )
    return told


def _stale(point: Checkpoint, at: datetime, zone_: tzinfo) -> str:
    return (
        f"It has not moved since {words.moment(point.updated_at, zone_)}, {words.ago(point.updated_at, at)}; a week should be done every week. "
        "See whether the last run failed, or whether the schedule is off."
    )
