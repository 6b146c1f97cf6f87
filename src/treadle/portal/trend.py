"""How one figure went over the newest runs that succeeded."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import streamlit as st

from treadle.actions import runs
from treadle.actions.runs import TrendPoint
from treadle.flows.sales.figures import figure_of, written
from treadle.portal import comparing, components
from treadle.portal.frame import zone
from treadle.portal.shared import services
from treadle.portal.vega import spec_of
from treadle.portal.who import current

TREND_RUNS: Final = 50


def show() -> None:
    """One figure over the newest runs that succeeded."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader("Trend", width="content")
        st.space("stretch")
        kpi = st.selectbox(
            "Figure",
            comparing.HEADLINE,
            format_func=lambda name: figure_of(name).label,
            key="trend",
            bind="query-params",
            label_visibility="collapsed",
            width=220,
        )
    points = trend_points(kpi)
    if len(points) < 2:
        st.caption("A trend takes two runs that succeeded.")
        return
    label = figure_of(kpi).label
    rows = [
        {
            "when": point.created_at.astimezone(zone()).strftime("%d %b, %H:%M"),
            "value": point.value,
            "run": components.short_id(point.run_id),
            "told": written(kpi, point.value),
        }
        for point in points
    ]
    st.vega_lite_chart(
        spec=trend_spec(rows, label), width="stretch", key="trend-chart", alt=f"{label} of the last {len(points)} runs that succeeded"
    )
    st.caption(f"{label} of the last {len(points)} runs that succeeded, restores aside, whatever the filters say.")


@st.cache_data(ttl=600, max_entries=64, show_spinner=False)
def trend_spec(rows: Sequence[Mapping[str, object]], label: str) -> dict[str, Any]:
    """The course of a figure as Vega-Lite."""
    return spec_of(comparing.trend_chart(rows, label))


@st.cache_data(ttl=10, max_entries=8, show_spinner=False)
def trend_points(kpi: str) -> list[TrendPoint]:
    """The points, the same for everybody who may see them; kept for a moment, for a search runs this page at every key."""
    return runs.trend(services(), current(), kpi, limit=TREND_RUNS)
