"""Results: the figures of what is current, or of the run that the address names; where they come from; the data behind them.

Figures come from the database and are there at once; what has to be asked of the lake stands in fragments of its own, which may take their time.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import streamlit as st

from treadle.actions import results, runs
from treadle.control.access import Principal
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.control.states import RunStatus
from treadle.errors import NotFound, TreadleError
from treadle.portal import charts, components, words
from treadle.portal.frame import zone
from treadle.portal.published import Shown, looked, source_line, there
from treadle.portal.result_pictures import pictures
from treadle.portal.result_table import table
from treadle.portal.shared import services
from treadle.portal.told import empty, failed, told
from treadle.portal.who import current

CARDS_A_ROW: Final = 6


def page() -> None:
    """The title, and below it the results or why there are none."""
    st.title("Results")
    try:
        shown = choose()
    except TreadleError as error:
        failed(error, again="results")
        st.page_link("app_pages/archive.py", label="Look in the archive", icon=":material/inventory_2:")
        return
    if shown is None:
        empty("Nothing published yet", "The first run that succeeds puts its results here.", icon=":material/bar_chart:")
        st.page_link("app_pages/import_file.py", label="Go to Import", icon=":material/upload_file:")
        return
    if shown.run and shown.run.status is not RunStatus.SUCCEEDED:
        without_results(shown.run)
        return
    head(shown)
    st.fragment(source_line, parallel=True, key="results-source")(shown)
    with told():
        kpis = figures(shown)
        cards(shown, kpis)
        pictures(shown, kpis)
        st.fragment(table, parallel=True, key="results-table")(shown, charts.figure(kpis, "row_count"))


def choose() -> Shown | None:
    """Which run's results to show; a restore shows those of the run that it brought back. None: nothing was ever published."""
    who, named = current(), st.query_params.get("run")
    succeeded = runs.list_runs(services(), who, status={RunStatus.SUCCEEDED}, limit=1).runs
    newest = succeeded[0].run_id if succeeded else None
    if not named and newest is None:
        return published_by_others()
    run = runs.find_run(services(), who, named) if named else runs.get_run(services(), who, succeeded[0].run_id)
    if not run.is_restore or run.status is not RunStatus.SUCCEEDED:
        return Shown(run.run_id, run, bool(named), newest)
    source_id = UUID(run.input_file.removeprefix(RESTORE_PREFIX))
    try:
        source = runs.get_run(services(), who, source_id)
    except NotFound:
        source = None
    return Shown(source_id, source, bool(named), newest, restored_by=run)


def published_by_others() -> Shown | None:
    """What the lake has although the database knows of no run: it is new, or another installation published."""
    found = looked(current(), None, None)
    if isinstance(found, NotFound):
        return None
    source = there(found)
    return Shown(source.run_id, None, named=False, newest=None)


def figures(shown: Shown) -> Mapping[str, Any]:
    """The database first, the lake second."""
    return (shown.run.kpis if shown.run else None) or lake_figures(current(), shown.run_id)


@st.cache_data(ttl=600, max_entries=8, show_spinner="Reading kpis.json …", hash_funcs={Principal: repr})
def lake_figures(who: Principal, run_id: UUID) -> dict[str, Any]:
    """The figures of a run that the database has none of."""
    return dict(results.kpis(services(), who, run_id))


def without_results(run: Run) -> None:
    """A run that has none, and where to look instead."""
    components.status_badge(run.status)
    if run.status.ended:
        empty("This run has no results", "It did not succeed. What was published before is still current.", icon=":material/block:")
    else:
        empty("No results yet", "The run is still going on.", icon=":material/progress_activity:")
        st.page_link("app_pages/monitor.py", label="Follow it", icon=":material/monitor_heart:", query_params={"run": str(run.run_id)})
    st.page_link("app_pages/run.py", label="Open this run", icon=":material/play_circle:", query_params={"run": str(run.run_id)})
    st.page_link("app_pages/results.py", label="See what is current", icon=":material/bar_chart:")


def head(shown: Shown) -> None:
    """Which file, which run, by whom, when."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if shown.run is None:
            st.caption(f"Run {shown.run_id}, which the database does not know")
            return
        st.markdown(f"**{words.plain(shown.run.input_file)}**", width="content")
        at = words.moment(shown.run.finished_at, zone())
        st.caption(f"run by {words.plain(shown.run.triggered_by)}, finished {at}", width="content")
        if shown.restored_by:
            restored = words.moment(shown.restored_by.finished_at, zone())
            st.caption(f"brought back by {words.plain(shown.restored_by.triggered_by)}, {restored}", width="content")


def cards(shown: Shown, kpis: Mapping[str, Any]) -> None:
    """The headline figures, against the run before, with those of the last runs."""
    history, previous = [kpis], None
    if shown.run:
        until = shown.run.created_at
        page_before = runs.list_runs(
            services(), current(), status={RunStatus.SUCCEEDED}, include_restores=False, until=until, limit=charts.TREND_RUNS - 1
        )
        history = [*(run.kpis or {} for run in reversed(page_before.runs)), kpis]
        previous = runs.get_run(services(), current(), page_before.runs[0].run_id) if page_before.runs else None
    shown_cards = charts.cards(kpis, previous.kpis if previous else None, history)
    with st.grid(max(1, min(len(shown_cards), CARDS_A_ROW)), min_column_width=160, gap="small"):
        for card in shown_cards:
            st.metric(
                card.label,
                card.value,
                delta=card.delta,
                delta_color=card.colour,
                help=card.help,
                border=True,
                height="stretch",
                chart_data=list(card.trend) or None,
                chart_type="line",
            )
    if previous:
        before = f"run {components.short_id(previous.run_id)} of {words.plain(previous.input_file)}"
        st.caption(f"Changes and lines: against the run before, {before}, and over the last {charts.TREND_RUNS} at most.")
        st.page_link(
            "app_pages/compare.py",
            label="Compare with that run",
            icon=":material/compare_arrows:",
            query_params={"a": str(previous.run_id), "b": str(shown.run_id)},
        )
    else:
        st.caption("No run succeeded before this one, so there is nothing to compare it with.")


page()
