"""Before something starts: the next week, any week, several weeks, refused rows once more. Each question says what will happen."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import streamlit as st

from treadle.actions import weekly
from treadle.errors import Conflict, NotFound
from treadle.flows.weekly.backfill import BackfillWeek
from treadle.flows.weekly.status import Standing
from treadle.flows.weekly.week import Week, week_of
from treadle.portal import components, words
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.weekly.asking import ask
from treadle.portal.weekly.job_told import job_title
from treadle.portal.weekly.looking import looks
from treadle.portal.weekly.weeks_told import week_label
from treadle.portal.who import current

WHAT: Final = {
    "run": "▷ Run",
    "resume": "◑ Go on",
    "again": "↻ Run again",
    "skip": "○ Leave alone",
    "wait": "◌ Wait",
}
FORCED: Final = (
    ":material/warning: **Forced**: events are fetched and judged anew, and what differs is sent, unless a guard keeps the plan back."
    " A newer success takes the place of the older one."
)
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2100, 1, 1)
SCROLLS: Final = 8  # more weeks than fit a dialog
_AFTERWARDS: Final = "You can follow it on this page, close the page, or cancel it."


def buttons(standing: Standing, chosen: Week, reason: str | None) -> None:
    """What can be started, and why not."""
    point = standing.checkpoint
    not_over = bool(point and not standing.next_is_over)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="weekly-actions"):
        st.button(
            "Run the next week" if point else "Run the first week",
            type="primary",
            icon=":material/play_arrow:",
            key="weekly-next",
            disabled=reason is not None or not_over,
            on_click=ask,
            args=("next", str(point.next.start)) if point else ("week", str(chosen.start)),
        )
        for label, icon, what in (("Run a week", ":material/event:", "week"), ("Backfill", ":material/date_range:", "backfill")):
            st.button(label, icon=icon, key=f"weekly-{what}", disabled=reason is not None, on_click=ask, args=(what, str(chosen.start)))
    if reason:
        st.caption(reason)
    elif point and not_over:
        st.caption(f":material/schedule: The next week is not over before {point.next.closes_at:%-d %b %Y}, 00:00 UTC.")


@st.dialog("Run the next week", icon=":material/play_arrow:", on_dismiss=ask)
def confirm_next(first_day: str) -> None:
    """The week of the checkpoint."""
    week = week_of(date.fromisoformat(first_day))
    components.facts([("Week", week_label(week)), ("Environment", services().environment), ("Recorded as", current().name)])
    st.write(
        "Its events are fetched, judged and published in the lake; then the customers' figures go to Salesforce, only what differs."
        f" When all is done, the checkpoint moves past the week. {_AFTERWARDS}"
    )
    if st.button(f"Run {week_label(week)}", type="primary", icon=":material/play_arrow:", key="weekly-next-really"):
        _request(week, force=False, local_only=False)


@st.dialog("Run a week", width="large", icon=":material/event:", on_dismiss=ask)
def confirm_week(first_day: str) -> None:
    """Any week, also one that is done."""
    day = _day("First day of the week", date.fromisoformat(first_day), "weekly-week-day")
    force = st.checkbox("Run it again also if it is done (force)", key="weekly-week-force")
    local_only = st.checkbox(
        "On this machine only", key="weekly-week-local", help="Neither the lake nor Salesforce gets anything; the checkpoint stays."
    )
    if force:
        st.markdown(FORCED)
    with told():
        [planned] = weekly.plan_backfill(services(), current(), day, day + timedelta(days=6), force=force)
        _preview([planned])
        idle = planned.action in {"wait", "skip"}
        if planned.action == "skip":
            st.caption("There is nothing to do. To run it once more all the same, tick force.")
        if st.button(
            f"Run {week_label(planned.week)}", type="primary", icon=":material/play_arrow:", key="weekly-week-really", disabled=idle
        ):
            _request(planned.week, force=force, local_only=local_only)


@st.dialog("Backfill", width="large", icon=":material/date_range:", on_dismiss=ask)
def confirm_backfill(first_day: str, last_day: str) -> None:
    """Several weeks, with what will happen to each."""
    with st.container(horizontal=True, gap="small"):
        first = _day("From (first day of a week)", date.fromisoformat(first_day), "weekly-backfill-from")
        last = _day("To (a day of the last week)", date.fromisoformat(last_day), "weekly-backfill-to")
    force = st.checkbox("Run also weeks that are done (force)", key="weekly-backfill-force")
    if force:
        st.markdown(FORCED)
    with told():
        planned = weekly.plan_backfill(services(), current(), first, last, force=force)
        _preview(planned)
        busy = [each for each in planned if each.action not in {"skip", "wait"}]
        st.caption(f"The weeks are run one after the other; the first that fails ends it, so that no gap is left. {_AFTERWARDS}")
        label = f"Run {len(busy)} {'week' if len(busy) == 1 else 'weeks'}" if busy else "Nothing to run"
        if st.button(label, type="primary", icon=":material/play_arrow:", key="weekly-backfill-really", disabled=not busy):
            _require_alone()
            weekly.request_backfill(services(), current(), first, last, force=force)
            _done()


@st.dialog("Retry refused rows", width="medium", icon=":material/replay:", on_dismiss=ask)
def confirm_retry(name: str) -> None:
    """What will be sent, and what not. name: of the week, as `span_name` gives it."""
    first, _, last = name.partition("/")
    week = Week(date.fromisoformat(first), date.fromisoformat(last)) if last else week_of(date.fromisoformat(first))
    with told():
        refused = weekly.list_refused(services(), current(), week)
        if not refused:
            raise NotFound(f"No row of {week_label(week)} is refused any more.", hint="Close this; the page shows how it stands.")
        count = f"{len(refused):,} {'row' if len(refused) == 1 else 'rows'}"
        components.facts(
            [("Week", week_label(week)), ("Rows", count), ("Environment", services().environment), ("Recorded as", current().name)]
        )
        st.markdown(
            f"**{count} that Salesforce refused** are sent once more, with the figures that the week has now. Those alone: whatever else may have"
            " changed stays as it is. What Salesforce refuses again stays in the list, with its new reason."
        )
        if st.button(f"Send {count}", type="primary", icon=":material/replay:", key="weekly-retry-really"):
            _require_alone()
            weekly.request_retry(services(), current(), week)
            _done()


def preview_rows(planned: Sequence[BackfillWeek]) -> list[dict[str, str]]:
    """What will happen to each week, as rows of a table that reads Markdown. Pure."""
    return [{"Week": week_label(each.week), "What happens": WHAT[each.action], "Why": words.plain(_why(each))} for each in planned]


def _why(planned: BackfillWeek) -> str:
    """Whole, with how many events its latest success had."""
    return planned.why if planned.rows_fetched is None else f"{planned.why}; {planned.rows_fetched:,} events"


def _preview(planned: Sequence[BackfillWeek]) -> None:
    """A table whose sentences take as many lines as the window needs; of many weeks it scrolls."""
    with st.container(height=380 if len(planned) > SCROLLS else "content", border=False, key="weekly-preview"):
        st.table(preview_rows(planned), border="horizontal", hide_index=True, alt="What will happen to each week")


def _day(label: str, default: date, key: str) -> date:
    default = min(max(default, FIRST_DAY), LAST_DAY)
    chosen = st.date_input(label, value=default, min_value=FIRST_DAY, max_value=LAST_DAY, format="YYYY-MM-DD", key=key)
    return chosen or default


def _request(week: Week, *, force: bool, local_only: bool) -> None:
    with told():
        _require_alone()
        weekly.request_run(services(), current(), week, force=force, local_only=local_only)
        _done()


def _require_alone() -> None:
    """A second click, or somebody who was faster, must not lead to a second job. Raises Conflict."""
    seen = looks().job(current(), fresh_seconds=0)
    if seen and not seen.job.state.ended:
        raise Conflict(
            f"{job_title(seen.job)} is under way, asked for by {seen.job.requested_by}.", hint="Nothing was started: wait for its end."
        )


def _done() -> None:
    """Close the question; the page then follows the job."""
    ask()
    st.rerun()
