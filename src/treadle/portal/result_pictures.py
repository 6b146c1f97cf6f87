"""A run's figures in pictures: revenue over time, by what the rows name, and the funnel."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import streamlit as st

from treadle.actions import results
from treadle.actions.results import Source
from treadle.control.access import Principal
from treadle.errors import TreadleError
from treadle.flows.sales.kpis import MISSING
from treadle.portal import charts, words
from treadle.portal.published import Shown, source_of
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.vega import spec_of
from treadle.portal.who import current

FEW: Final = 4  # so many breakdowns are chosen by a click; more take a list


def pictures(shown: Shown, kpis: Mapping[str, Any]) -> None:
    """Revenue over time and by what the rows name, and the funnel when visitors were counted."""
    left, right = st.columns(2, gap="large")
    with left:
        st.fragment(over_time, key="results-time")(kpis)
    with right:
        st.fragment(breakdown, parallel=True, key="results-breakdown")(shown, kpis)
    if found := charts.funnel_of(kpis):
        funnel(found)


@st.cache_data(ttl=600, max_entries=64, show_spinner=False)
def bars_spec(bars: Sequence[charts.Bar], amount_title: str) -> dict[str, Any]:
    """The bars as Vega-Lite."""
    return spec_of(charts.bar_chart(bars, amount_title))


@st.cache_data(ttl=600, max_entries=16, show_spinner=False)
def time_spec(shown: charts.Series, period: charts.Period) -> dict[str, Any]:
    """Revenue over time as Vega-Lite."""
    return spec_of(charts.time_chart(shown, period))


def over_time(kpis: Mapping[str, Any]) -> None:
    """Revenue by month or by day."""
    st.subheader("Revenue over time")
    chosen = st.segmented_control(
        "Period", charts.PERIODS, default="Month", required=True, key="period", bind="query-params", label_visibility="collapsed"
    )
    period: charts.Period = "Day" if chosen == "Day" else "Month"
    shown = charts.series(kpis, period)
    if not shown.points:
        st.caption("No column of the file holds dates." if not kpis.get("date_column") else f"No revenue by {period.lower()}.")
    else:
        largest = max(shown.points, key=lambda point: point.revenue)
        told_as = f"Revenue by {period.lower()}, highest {words.number(largest.revenue)} in {largest.begins.isoformat()}"
        st.vega_lite_chart(spec=time_spec(shown, period), width="stretch", key="chart-time", alt=told_as)
    said = [f"Revenue by {period.lower()}, {charts.UNIT}, by {words.plain(kpis.get('date_column') or 'date')}."]
    if shown.undated:
        said.append(
            f"**No date:** {words.number(shown.undated[1])} orders with a revenue of {words.number(shown.undated[0], 2)}, not in the chart."
        )
    if shown.left_out:
        said.append(f"{words.number(shown.left_out)} earlier days are left out; see them by month.")
    st.caption(" ".join(said))


def breakdown(shown: Shown, kpis: Mapping[str, Any]) -> None:
    """Revenue by the values of one column."""
    found = charts.breakdowns(kpis)
    if not found:
        st.subheader("Revenue by category")
        st.caption("No column of the file has between 2 and 50 different texts, so there is nothing to break revenue down by.")
        return
    title = st.container()
    column = chosen_column(list(found))
    name = charts.column_words(column)
    title.subheader(f"Revenue by {words.plain(name)}")
    bars = charts.breakdown_bars(found[column], column)
    st.vega_lite_chart(
        spec=bars_spec(bars, "Revenue"), width="stretch", key="chart-breakdown", alt=charts.in_words(bars, f"Revenue by {name}")
    )
    with told():
        st.caption(" ".join([f"Revenue by {words.plain(name)}, {charts.UNIT}.", *remarks(shown, column, found[column], bars)]))


def chosen_column(columns: list[str]) -> str:
    """Which breakdown to show; it stands in the address."""
    if len(columns) <= FEW:
        return st.segmented_control(
            "Breakdown",
            columns,
            default=columns[0],
            required=True,
            format_func=lambda name: words.plain(charts.column_title(name)),
            key="breakdown",
            bind="query-params",
            label_visibility="collapsed",
        )
    chosen = st.selectbox(
        "Breakdown", columns, format_func=charts.column_title, key="breakdown", bind="query-params", label_visibility="collapsed"
    )
    return chosen if chosen in columns else columns[0]


def remarks(shown: Shown, column: str, parts: Mapping[str, float], bars: list[charts.Bar]) -> list[str]:
    """What the bars alone do not say: how many rows have no value, and what the others are."""
    said = list[str]()
    if any(bar.kind == "rest" for bar in bars):
        said.append(f"The {charts.TOP_VALUES} largest of {words.number(len(parts))} values.")
    if MISSING in parts:
        rows = missing_rows(current(), shown, column)
        many = f"{words.number(rows)} rows" if rows is not None else "some rows"
        said.append(f"**No {words.plain(charts.column_words(column))}:** {many} with a revenue of {words.number(parts[MISSING], 2)}.")
    return said


def missing_rows(who: Principal, shown: Shown, column: str) -> int | None:
    """How many rows lack a value. None: the profile cannot be read now, or does not say."""
    try:
        source = source_of(shown)
        return missing_counts(who, source.run_id, source).get(column)
    except TreadleError:
        return None  # the source line says why


@st.cache_data(ttl=600, max_entries=16, show_spinner=False, hash_funcs={Principal: repr})
def missing_counts(who: Principal, run_id: UUID, _source: Source) -> dict[str, int]:  # noqa: ARG001 - a run's files never change
    """By column, how many rows lack a value."""
    return results.missing_values(services(), who, _source)


def funnel(found: Mapping[str, Any]) -> None:
    """From visitors to orders, and the two ratios that are easily taken for each other."""
    st.subheader("From visitors to orders")
    bars = charts.funnel_bars(found)
    left, right = st.columns(2, gap="large")
    with left:
        st.vega_lite_chart(spec=bars_spec(bars, "Number"), width="stretch", key="chart-funnel", alt=charts.in_words(bars, "Funnel"))
        st.caption("Numbers of visitors and orders. One visitor can place several orders, so orders are no part of the visitors.")
    with right, st.grid(2, min_column_width=160, gap="small"):
        for label, value, said in charts.ratios(found):
            st.metric(label, value, help=words.plain(said), border=True, height="stretch", delta=None)
