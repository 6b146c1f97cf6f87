"""Archive: every run there ever was, searched and paged by the database; how a figure went over them; and who brought which one back."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Final, cast
from uuid import UUID

import streamlit as st

from treadle.actions import runs
from treadle.control.restores import Restore
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.looks import LOOKS, look_of
from treadle.portal import components, run_detail, trend, words
from treadle.portal.frame import zone
from treadle.portal.restoring import restore_button, restore_dialog
from treadle.portal.shared import services
from treadle.portal.told import empty, told
from treadle.portal.visited import just_entered
from treadle.portal.who import current

PAGE_SIZE: Final = 50
LONGEST: Final = 200  # of a text to search for, in characters
SHORT_TABLE: Final = 15  # rows; a longer one scrolls, so that what stands below it stays in reach
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2100, 1, 1)
# Each filter's name in the address, and its value when it leaves nothing out. (No docstring: Streamlit prints a page's bare strings.)
FILTERS: Final[dict[str, Any]] = {"find": "", "status": [], "by": "", "from": None, "to": None, "restores": True}
TABS: Final = ("Runs", "Restores")
CURRENT: Final = "Current"  # the mark of the run whose results are published
KEPT: Final = "archive-kept"  # the filters as this session had them last
OPENED: Final = "archive-opened"  # the run that somebody has just asked to see
RESTORING: Final = "archive-restoring"  # the run that somebody has just asked, in the drawer, to restore


@dataclass(frozen=True, slots=True)
class Filters:
    """What the page asks the database for."""

    text: str
    status: tuple[RunStatus, ...]
    person: str
    first_day: date | None
    last_day: date | None
    restores: bool

    @property
    def any(self) -> bool:
        """Whether something is left out."""
        return self != Filters("", (), "", None, None, restores=True)

    def asked(self, zone_: tzinfo) -> dict[str, Any]:
        """The filters as `list_runs` takes them; days are those of the reader."""
        return {
            "text": self.text or None,
            "status": set(self.status),
            "triggered_by": self.person or None,
            "since": datetime.combine(self.first_day, time.min, zone_) if self.first_day else None,
            "until": datetime.combine(self.last_day + timedelta(days=1), time.min, zone_) if self.last_day else None,
            "include_restores": self.restores,
        }


def page() -> None:
    """Runs and restores, and the drawer where somebody has opened a run."""
    st.title("Archive")
    every_run, restores = st.tabs(TABS, key="view", on_change="rerun", bind="query-params")
    if every_run.open:
        with every_run:
            show_runs()
    if restores.open:
        with restores:
            show_restores()
    if opened := st.session_state.pop(OPENED, None):
        run_id = UUID(str(opened))
        title = f"Run {components.short_id(run_id)}"
        st.dialog(title, position="right", width="large", icon=":material/play_circle:")(drawer)(run_id)
    elif restoring := st.session_state.pop(RESTORING, None):
        with told():
            restore_dialog(runs.get_run(services(), current(), UUID(str(restoring))))


def show_runs() -> None:
    """Filters, one page of runs, and below it the trend."""
    bring_filters_back()
    wanted = filters()
    st.session_state[KEPT] = {name: st.session_state[name] for name in FILTERS}
    with told(again="archive"):
        if wanted.first_day and wanted.last_day and wanted.first_day > wanted.last_day:
            st.warning("The first day lies behind the last one, so no run can fit.", icon=":material/date_range:")
            return
        after = cursor("runs", astuple(wanted))  # a tuple: at each run of the page its classes are new ones, and equal to no older one
        found = runs.list_runs(services(), current(), limit=PAGE_SIZE, after=after, **wanted.asked(zone()))
        if not found.runs:
            nothing(wanted)
            return
        run_table(found.runs, wanted)
        pager("runs", len(found.runs), found.next)
    with told():
        trend.show()


def bring_filters_back() -> None:
    """Who comes back to the page finds it as it was left. A browser that goes back brings no filters: Streamlit clears the address on the way out."""
    kept = st.session_state.get(KEPT, FILTERS)
    if just_entered() and kept != FILTERS and not any(name in st.query_params for name in FILTERS):
        st.session_state.update(kept)
        st.rerun()  # in a run that a browser's way back has begun, an empty address counts for more than what is set here


def filters() -> Filters:
    """The line of filters; each stands in the address, so a search can be passed on."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="archive-filters"):
        text = st.text_input(
            "Search",
            key="find",
            type="search",
            live=True,
            bind="query-params",
            placeholder="File, person, error or run id",
            width=280,
        )
        person = st.text_input("Started by", key="by", bind="query-params", placeholder="Exact name", width=170)
        first = st.date_input(
            "From", value=None, key="from", bind="query-params", min_value=FIRST_DAY, max_value=LAST_DAY, format="YYYY-MM-DD", width=140
        )
        last = st.date_input(
            "To", value=None, key="to", bind="query-params", min_value=FIRST_DAY, max_value=LAST_DAY, format="YYYY-MM-DD", width=140
        )
        with_restores = st.toggle(
            "Restores", value=True, key="restores", bind="query-params", help="Whether runs that restored others are listed."
        )
    status = st.pills(
        "Status",
        [str(status) for status in RunStatus],
        selection_mode="multi",
        format_func=lambda status: look_of(status).word,
        key="status",
        bind="query-params",
        label_visibility="collapsed",
    )
    chosen = tuple(RunStatus(word) for word in cast("Sequence[str]", status) if word in set(RunStatus))
    wanted = Filters((text or "").strip()[:LONGEST], chosen, (person or "").strip()[:LONGEST], _day(first), _day(last), with_restores)
    if wanted.any:
        st.button("Clear the filters", icon=":material/filter_alt_off:", on_click=clear_filters, type="tertiary", key="clear-filters")
    return wanted


def nothing(wanted: Filters) -> None:
    """There is no run at all, or none that fits; they are not the same."""
    if not wanted.any:
        empty("No run yet", "Bring a workbook on the page Import and run it; it stays here for good.", icon=":material/inventory_2:")
        st.page_link("app_pages/import_file.py", label="Go to Import", icon=":material/upload_file:")
        return
    empty("No run fits", "No run has all that the filters ask for. Take one away, or clear them all.", icon=":material/search_off:")


def clear_filters() -> None:
    """Put every filter to where it leaves nothing out."""
    for name, value in FILTERS.items():
        st.session_state[name] = value


def run_table(found: Sequence[Run], wanted: Filters) -> None:
    """One page of runs. The name of a run opens it in the drawer; the boxes at the left choose runs to compare."""
    key = f"archive-runs-{abs(hash((wanted, found[0].run_id)))}"  # another page is another table: what was chosen there is not chosen here
    ids, published = [str(run.run_id) for run in found], run_detail.published_run()
    state = st.dataframe(
        words.visible_rows(run_row(run, zone(), is_current=run.run_id == published) for run in found),
        key=key,
        hide_index=True,
        height="content" if len(found) <= SHORT_TABLE else 520,
        placeholder=words.DASH,
        on_select="rerun",
        selection_mode="multi-row",
        alt="Runs, newest first",
        column_config={
            "Status": status_column(),
            "Run": open_column(key, ids),
            "File": st.column_config.TextColumn(width=185),
            "Now": st.column_config.MultiselectColumn(
                width=76, options=[CURRENT], color=["green"], help="Whose results are published now."
            ),
            "Created": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm", width=150),
            "By": st.column_config.TextColumn(width=100),
            "Duration": st.column_config.TextColumn(alignment="right", width=80),
            "Revenue": st.column_config.NumberColumn(format="accounting", width=110),
            "Orders": st.column_config.NumberColumn(format="localized", width=70),
        },
    )
    chosen(found, [row for row in state.selection.rows if row < len(found)])


def chosen(found: Sequence[Run], rows: Sequence[int]) -> None:
    """What can be done with the runs that are ticked."""
    picked = [found[row] for row in rows]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if st.button("Open", icon=":material/right_panel_open:", disabled=len(picked) != 1, key="open-run"):
            st.session_state[OPENED] = str(picked[0].run_id)
        if st.button("Compare", icon=":material/compare_arrows:", disabled=len(picked) != 2, key="compare-runs"):
            older, newer = sorted(picked, key=lambda run: run.created_at)
            st.switch_page("app_pages/compare.py", query_params={"a": str(older.run_id), "b": str(newer.run_id)})
        st.caption(said_of_choice(len(picked)), width="content")


def said_of_choice(count: int) -> str:
    """What to do next, by how many runs are ticked."""
    if count == 0:
        return "Click the id of a run to open it; tick the boxes of two to compare them (by keys: the arrows, then Shift+Space)."
    if count == 1:
        return "1 run is ticked; tick another one to compare them."
    return "2 runs are ticked." if count == 2 else f"{count} runs are ticked; only two can be compared."


def open_column(table: str, ids: Sequence[str]) -> Any:
    """A column whose cells open the run that they name. ids: of the runs, row by row."""
    key = f"{table}-open"
    return st.column_config.ButtonColumn(width=100, type="tertiary", alignment="left", key=key, on_click=note_opened, args=(key, ids))


def note_opened(key: str, ids: Sequence[str]) -> None:
    """Note the run whose cell was clicked; the page opens it when it runs, which is next."""
    clicked: Any = st.session_state[key]
    if clicked is not None and clicked.row < len(ids):
        st.session_state[OPENED] = ids[clicked.row]


def run_row(run: Run, zone_: tzinfo, *, is_current: bool) -> dict[str, object]:
    """One run as a row of the table."""
    kpis = run.kpis or {}
    return {
        "Status": [status_word(run.status)],
        "Run": components.short_id(run.run_id),
        "File": components.run_name(run),
        "Now": [CURRENT] if is_current else [],
        "Created": run.created_at.astimezone(zone_).replace(tzinfo=None),
        "By": run.triggered_by,
        "Duration": words.duration(run.finished_at - run.created_at if run.finished_at else None),
        "Revenue": kpis.get("total_revenue"),
        "Orders": kpis.get("orders"),
    }


def status_word(status: str) -> str:
    """A status with its sign, where an icon cannot be drawn."""
    look = look_of(status)
    return f"{look.sign} {look.word}"


def status_column() -> Any:
    """The column of statuses: sign, word and colour."""
    return st.column_config.MultiselectColumn(
        width=125, options=[status_word(state) for state in LOOKS], color=[look.colour for look in LOOKS.values()]
    )


def cursor(name: str, asked: object) -> str | None:
    """Where the page begins that somebody has paged to; other filters begin at the first page again."""
    if turned(name)[0] != asked:
        st.session_state[f"archive-{name}-paging"] = (asked, ())
    cursors = turned(name)[1]
    return cursors[-1] if cursors else None


def turned(name: str) -> tuple[object, tuple[str, ...]]:
    """For which filters somebody has turned pages, and the cursors of those that they turned to."""
    return cast("tuple[object, tuple[str, ...]]", st.session_state.get(f"archive-{name}-paging", (None, ())))


def pager(name: str, count: int, behind: str | None) -> None:
    """Newer, older, and which rows these are. behind: the cursor of the next page; None on the last one."""
    passed = len(turned(name)[1])
    if not passed and not behind:
        st.caption(f"{count} in all.")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Newer", icon=":material/chevron_left:", disabled=not passed, on_click=turn, args=(name, None), key=f"{name}-newer")
        st.button(
            "Older",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=behind is None,
            on_click=turn,
            args=(name, behind),
            key=f"{name}-older",
        )
        st.caption(f"{passed * PAGE_SIZE + 1}–{passed * PAGE_SIZE + count}, newest first", width="content")


def turn(name: str, behind: str | None) -> None:
    """Go to the page behind this cursor; None goes back to the page before."""
    asked, cursors = turned(name)
    st.session_state[f"archive-{name}-paging"] = (asked, (*cursors, behind) if behind else cursors[:-1])


def show_restores() -> None:
    """Who brought which run back, newest first."""
    with told():
        after = cursor("restores", "all")
        found = runs.list_restores(services(), current(), after=after, limit=PAGE_SIZE + 1)
        shown = found[:PAGE_SIZE]
        if not shown:
            empty("Nothing was restored yet", "Open a run that succeeded to make its files current again.", icon=":material/history:")
            return
        key = f"archive-restores-{shown[0].id}"
        ids = [str(item.target_run_id or item.source_run_id) for item in shown]
        st.dataframe(
            words.visible_rows(restore_row(item, zone()) for item in shown),
            key=key,
            hide_index=True,
            placeholder=words.DASH,
            alt="Restores, newest first",
            column_config={
                "Status": status_column(),
                "Restored": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm", width=150),
                "Run": open_column(key, ids),
            },
        )
        st.caption("Click the id of a run to open it: it is the one that carried the restore out.")
        pager("restores", len(shown), shown[-1].cursor if len(found) > PAGE_SIZE else None)


def restore_row(item: Restore, zone_: tzinfo) -> dict[str, object]:
    """One restore as a row of the table."""
    return {
        "Status": [status_word(item.target_status)] if item.target_status else [],
        "Run": components.short_id(item.target_run_id or item.source_run_id),
        "Restored": item.restored_at.astimezone(zone_).replace(tzinfo=None),
        "By": item.restored_by,
        "Brought back": components.short_id(item.source_run_id),
        "File": item.source_input_file,
    }


def drawer(run_id: UUID) -> None:
    """One run, without leaving the list."""
    with told():
        run = runs.get_run(services(), current(), run_id)
        before = run_detail.previous_of(run)
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.page_link("app_pages/run.py", label="Open as a page", icon=":material/open_in_full:", query_params={"run": str(run_id)})
            run_detail.links(run, before)
            reason = restore_button(run, key="restore-opened", ask=close_and_ask)
        if reason:
            st.caption(reason)
        run_detail.show(run, before, key="drawer")


def close_and_ask(run: Run) -> None:
    """Ask in place of the drawer: there can be one dialog at a time."""
    st.session_state[RESTORING] = str(run.run_id)
    st.rerun()


def _day(value: object) -> date | None:
    return value if isinstance(value, date) else None


page()
