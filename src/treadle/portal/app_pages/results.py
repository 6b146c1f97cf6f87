"""Results: the figures of what is current, or of the run that the address names; where they come from; the data behind them.

Figures come from the database and are there at once; what has to be asked of the lake stands in fragments of its own, which may take their time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import polars as pl
import polars.selectors as cs
import streamlit as st

from treadle.actions import results, runs
from treadle.actions.results import Source
from treadle.control.access import Principal
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.control.states import RunStatus
from treadle.errors import NotFound, Throttled, TreadleError, Unavailable
from treadle.flows.sales.artifacts import CSV, PARQUET
from treadle.flows.sales.kpis import MISSING
from treadle.flows.sales.lakehouse import CURRENT, KPIS, PROFILE
from treadle.portal import charts, components, words
from treadle.portal.frame import zone
from treadle.portal.safe_csv import safe_csv_of_parquet
from treadle.portal.shared import services
from treadle.portal.told import empty, failed, told
from treadle.portal.who import current

FEW: Final = 4  # so many breakdowns are chosen by a click; more take a list
CARDS_A_ROW: Final = 6
STATES: Final = {"there": "As recorded", "missing": "Missing", "differs": "Another size"}


@dataclass(frozen=True, slots=True)
class Shown:
    """Whose figures the page shows. run is None when the database does not know it. named: the address asks for it; else it is what is current.

    newest: the run or restore that published last, as the database has it; a look at the lake is good until it changes.
    """

    run_id: UUID
    run: Run | None
    named: bool
    newest: UUID | None
    restored_by: Run | None = None


def page() -> None:
    """The title, and below it the results or why there are none."""
    st.title("Results")
    try:
        shown = choose()
    except TreadleError as error:
        failed(error)
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


@st.cache_data(ttl=30, max_entries=64, show_spinner=False, hash_funcs={Principal: repr})
def looked(who: Principal, run_id: UUID | None, newest: UUID | None) -> Source | TreadleError:  # noqa: ARG001 - newest: a new publication, a new look
    """The run's own folder, or for None what is published; or why it cannot be told, which is kept as well: a lake that is down is slow to say so."""
    try:
        return results.of_run(services(), who, run_id) if run_id else results.published(services(), who)
    except TreadleError as error:
        return error


def there(found: Source | TreadleError) -> Source:
    """What was found. Raises what was met instead."""
    if isinstance(found, TreadleError):
        raise found
    return found


def source_of(shown: Shown) -> Source:
    """Where the results that are shown are read: `current/` when it holds them, else the run's own folder."""
    published = looked(current(), None, shown.newest)
    if isinstance(published, Source) and published.run_id == shown.run_id:
        return published
    if isinstance(published, Unavailable | Throttled):
        raise published  # the other folder would not answer either
    return there(looked(current(), shown.run_id, shown.newest))


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


def source_line(shown: Shown) -> None:
    """Where the results lie, of which run they are, and whether the files are those that were written."""
    with told(), st.skeleton(height=40):
        source = source_of(shown)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            there_now = sum(1 for file in source.files if file.state == "there")
            st.badge(
                f"{there_now} of {len(source.files)} files as {source.record} says",
                icon=":material/verified:" if source.is_whole else ":material/error:",
                color="green" if source.is_whole else "red",
            )
            st.caption(f"Source: {words.plain(source.folder)}/ from run {source.run_id}", width="content")
            if source.published_at:
                ago = words.ago(source.published_at, components.now())
                st.caption(f"published {words.moment(source.published_at, zone())} ({ago})", width="content")
            st.page_link("app_pages/run.py", label="Open this run", icon=":material/play_circle:", query_params={"run": str(source.run_id)})
            files_of(source)
        if not source.is_current:
            not_current(shown)


def not_current(shown: Shown) -> None:
    """The results that are shown are not those that are published."""
    published = looked(current(), None, shown.newest)
    if isinstance(published, TreadleError):
        st.warning(f"What is published cannot be told now. {words.plain(published.message)}", icon=":material/help:")
        return
    said = f"{CURRENT}/ holds another run: {published.run_id}."
    if shown.named:
        st.caption(f":material/history: These are not the current results. {words.plain(said)}")
    else:
        st.warning(f"These are the figures of the last run that succeeded, but {words.plain(said)}", icon=":material/warning:")
    query = {"run": str(published.run_id)}
    st.page_link(
        "app_pages/results.py", label="See what is current", icon=":material/bar_chart:", query_params={} if shown.named else query
    )


def files_of(source: Source) -> None:
    """The files with what was recorded for them, and a check that reads every byte."""
    with st.popover("Files", icon=":material/folder_open:", type="tertiary"):
        rows = [
            {"File": file.name, "Size": words.size(file.size_bytes), "Now": STATES[file.state], "SHA-256": file.sha256 or words.DASH}
            for file in source.files
        ]
        st.dataframe(rows, hide_index=True, key="results-files", alt="The files of these results and how they are in the lake")
        st.caption("This looks at names and sizes. Reading every byte finds out whether the contents are still the same, too.")
        if any(file.size_bytes > results.DOWNLOAD_BYTES for file in source.files):
            st.caption("One of the files is too large to be read through here: treadle run verify does it.")
        elif st.button("Read every byte", icon=":material/fingerprint:", key="verify"):
            with told():
                checked = results.verify(services(), current(), source)
                st.success(f"All files are what was written: {words.size(checked)} read.", icon=":material/verified:")


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
    against = "vs previous" if previous else None
    shown_cards = charts.cards(kpis, previous.kpis if previous else None, history, against)
    with st.grid(max(1, min(len(shown_cards), CARDS_A_ROW)), min_column_width=160, gap="small"):
        for card in shown_cards:
            st.metric(
                card.label,
                card.value,
                delta=card.delta,
                delta_color=card.colour,
                delta_description=card.against,
                help=card.help,
                border=True,
                height="stretch",
                chart_data=list(card.trend) or None,
                chart_type="line",
            )
    if previous:
        query = {"a": str(previous.run_id), "b": str(shown.run_id)}
        st.page_link(
            "app_pages/compare.py",
            label=f"Compare with run {components.short_id(previous.run_id)}, the previous one",
            icon=":material/compare_arrows:",
            query_params=query,
        )
    else:
        st.caption("The first run that succeeded: there is nothing to compare with yet.")


def pictures(shown: Shown, kpis: Mapping[str, Any]) -> None:
    """Revenue over time and by what the rows name, and the funnel when visitors were counted."""
    left, right = st.columns(2, gap="large")
    with left:
        st.fragment(over_time, key="results-time")(kpis)
    with right:
        st.fragment(breakdown, parallel=True, key="results-breakdown")(shown, kpis)
    if found := charts.funnel_of(kpis):
        funnel(found)


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
        alt = f"Revenue by {period.lower()}, highest {words.number(largest.revenue)} in {largest.begins.isoformat()}"
        st.altair_chart(charts.time_chart(shown, period), width="stretch", key="chart-time", alt=alt)
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
    st.altair_chart(
        charts.bar_chart(bars, "Revenue"), width="stretch", key="chart-breakdown", alt=charts.in_words(bars, f"Revenue by {name}")
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
        st.altair_chart(charts.bar_chart(bars, "Number"), width="stretch", key="chart-funnel", alt=charts.in_words(bars, "Funnel"))
        st.caption("Numbers of visitors and orders. One visitor can place several orders, so orders are no part of the visitors.")
    with right, st.grid(2, min_column_width=160, gap="small"):
        for label, value, said in charts.ratios(found):
            st.metric(label, value, help=words.plain(said), border=True, height="stretch", delta=None)


def table(shown: Shown, row_count: float | None) -> None:
    """The first rows of the cleaned table, and the files to take away."""
    st.subheader("Cleaned data")
    with told(), st.skeleton(height=320):
        try:
            source = source_of(shown)
        except TreadleError:
            st.caption("The table and the files cannot be read now; the line at the top says why.")
            return
        size = source.file(PARQUET).size_bytes
        if size > results.PREVIEW_BYTES:
            st.caption(f"The table is too large to be opened here ({words.size(size)}); download it to look into it.")
        else:
            frame = first_rows(current(), source.run_id, source)
            st.dataframe(
                frame,
                key="results-rows",
                hide_index=True,
                height=320,
                column_config=column_formats(frame),
                alt="The first rows of the cleaned table",
            )
            st.caption(f"The first {words.number(frame.height)} of {words.number(row_count)} rows, {words.number(frame.width)} columns.")
        downloads(source)


@st.cache_data(ttl=600, max_entries=8, show_spinner=False, hash_funcs={Principal: repr})
def first_rows(who: Principal, run_id: UUID, _source: Source) -> pl.DataFrame:  # noqa: ARG001 - a run's files never change
    """The first rows; exact amounts as numbers that a table can show, and days without the midnight that Parquet gives them."""
    frame = results.preview(services(), who, _source).with_columns(cs.decimal().cast(pl.Float64))
    days = [name for name in frame.select(cs.datetime()).columns if (frame[name].dt.truncate("1d") == frame[name]).all()]
    return frame.with_columns(pl.col(days).cast(pl.Date)) if days else frame


def column_formats(frame: pl.DataFrame) -> dict[str, Any]:
    """Amounts with separators, days without a time; all else as it is."""
    amounts = {name: st.column_config.NumberColumn(format="%,.2f") for name in frame.select(cs.float()).columns}
    return amounts | {name: st.column_config.DateColumn(format="YYYY-MM-DD") for name in frame.select(cs.date()).columns}


def downloads(source: Source) -> None:
    """The files, made or fetched when somebody clicks."""
    short = components.short_id(source.run_id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="downloads"):
        for name, label, kind, made in (
            (CSV, "CSV for spreadsheets", "text/csv", spreadsheet),
            (PARQUET, "Parquet", "application/vnd.apache.parquet", as_it_is),
            (KPIS, "Figures, JSON", "application/json", as_it_is),
            (PROFILE, "Profile, JSON", "application/json", as_it_is),
        ):
            bytes_ = source.file(name).size_bytes
            if bytes_ > results.DOWNLOAD_BYTES:
                st.caption(
                    f"{label} ({words.size(bytes_)}) is too large for a page; with an API token: `GET {results.api_path(source, name)}`"
                )
                continue
            stem, _, suffix = name.rpartition(".")
            st.download_button(
                f"{label} ({words.size(bytes_)})",
                data=partial(made, current(), source, name),
                file_name=f"{stem}-{short}.{suffix}",
                mime=kind,
                key=f"download-{name}",
                on_click="ignore",
                icon=":material/download:",
            )
    st.caption(
        "In the CSV, text that a spreadsheet would take for a formula has an apostrophe in front, so that it is shown and not run."
        " Parquet has every text as it is, and exact amounts."
    )


def spreadsheet(who: Principal, source: Source, name: str) -> bytes:  # noqa: ARG001 - one shape for all downloads
    """The table as CSV that is safe to open."""
    with results.open_file(services(), who, source, PARQUET) as parquet:
        return safe_csv_of_parquet(parquet)


def as_it_is(who: Principal, source: Source, name: str) -> bytes:
    """A file as it was written."""
    with results.open_file(services(), who, source, name) as file:
        return file.read()


page()
