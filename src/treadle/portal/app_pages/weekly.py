"""Weekly: the checkpoint, half a year of weeks, and of one week its runs, its rejects, its plan, and what Salesforce took."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import streamlit as st

from treadle.control.jobs.job import Job
from treadle.errors import InvalidInput, TreadleError
from treadle.flows.weekly.record import WeeklyRun
from treadle.flows.weekly.status import Standing
from treadle.flows.weekly.week import Week
from treadle.portal import words
from treadle.portal.components import now
from treadle.portal.told import empty, failed, told
from treadle.portal.visited import forget_of_others
from treadle.portal.weekly import checkpoint, job_panel, plan_panel, rejects_panel, run_panel, starting, sync_panel
from treadle.portal.weekly.asking import asked, missing_settings, why_not
from treadle.portal.weekly.looking import looks
from treadle.portal.weekly.spans import known_spans, named_span, near_runs, span_at, span_name
from treadle.portal.weekly.weeks_told import CalendarWeek, calendar_spec, calendar_weeks, legend, runs_of, week_line
from treadle.portal.who import current

VIEWS: Final = ("Runs", "Rejects", "Plan", "Salesforce")
BACKFILL_WEEKS: Final = 4  # that the question begins with


def page() -> None:
    """The flow as it stands, then one week of it."""
    forget_of_others("view")
    st.title("Weekly")
    try:
        standing, seen = looks().standing(current(), fresh_seconds=0), looks().job(current(), fresh_seconds=0)
        chosen, named, weeks = shown(standing)
    except InvalidInput as error:
        failed(error)
        st.page_link("app_pages/weekly.py", label="To the week that is current", icon=":material/calendar_month:", query_params={})
        return
    except TreadleError as error:
        failed(error, again="weekly")
        return
    missing = missing_settings()
    reason = why_not(current(), seen.job if seen else None, missing)
    starting.buttons(standing, chosen, reason)
    if missing:
        st.info(
            f"**The weekly flow is not set up here.** {words.plain(missing)}  \n"
            "What was done before is still shown. An admin sets what is missing; the page Settings of the manual says what each is.",
            icon=":material/settings:",
        )
    job_panel.show(standing, seen)
    checkpoint.show(standing)
    if not standing.runs and not standing.checkpoint:
        empty(
            "No week was run yet", "Run the first week; each week stands here then, with all that happened to it.", icon=":material/event:"
        )
    else:
        calendar(weeks, chosen)
        one_week(standing, chosen, named, missing, reason)
    question(standing, chosen, seen.job if seen else None)


def chosen_week(standing: Standing) -> tuple[Week, UUID | None]:
    """The week that the address names, or that of the run that it names; else that of the newest run, else the one that comes next.

    Raises:
        InvalidInput: the address names no day or no run, or a day for which no week is shown. NotFound: there is no such run.
    """
    known = known_spans(standing.runs, standing.checkpoint)
    if named := st.query_params.get("run"):
        run = find_run(named, standing.runs)
        return run.week, run.run_id
    if name := st.query_params.get("week"):
        return named_span(name, known), None
    if near := near_runs(standing.runs, standing.checkpoint, now()):
        return near[0].week, None
    return standing.checkpoint.next if standing.checkpoint else span_at(now().date() - timedelta(days=7), known), None


def shown(standing: Standing) -> tuple[Week, UUID | None, list[CalendarWeek]]:
    """The chosen week, the run that the address names, and the calendar around them. Raises as `chosen_week`."""
    try:
        chosen, named = chosen_week(standing)
        return chosen, named, calendar_weeks(standing.runs, standing.checkpoint, now(), chosen)
    except OverflowError:
        raise InvalidInput("The week lies at the end of all days.", hint="Name the first day of a week, such as 2019-12-02.") from None


def find_run(named: str, runs: Sequence[WeeklyRun]) -> WeeklyRun:
    """A run by its id, or by the beginning of it. Raises InvalidInput, NotFound."""
    known = [run for run in runs if str(run.run_id).startswith(named.lower())]
    if len(known) == 1:
        return known[0]
    try:
        return looks().details(current(), UUID(named)).run
    except ValueError:
        raise InvalidInput(f"{named!a} names no weekly run.", hint="Choose a week in the calendar, and a run of it.") from None


def calendar(weeks: Sequence[CalendarWeek], chosen: Week) -> None:
    """Half a year at a glance; a click, or the list below it, chooses a week."""
    st.subheader("Weeks")
    key = f"weekly-calendar-{chosen}"  # what was clicked for another week is not clicked now
    st.vega_lite_chart(
        spec=calendar_spec(weeks, chosen),
        width="stretch",
        key=key,
        on_select=_clicked(key),
        selection_mode="pick",
        alt="Calendar of weeks; the list below chooses one as well",
    )
    st.caption(words.plain(legend(weeks)))
    lines = {one.week: week_line(one) for one in reversed(weeks)}
    listed = f"weekly-week-{chosen}-{hash(tuple(lines.values()))}"  # a box knows its choice by its label, and a state changes that
    newest_first = list(lines)
    st.selectbox(
        "Week",
        newest_first,
        index=newest_first.index(chosen),
        format_func=lambda week: lines.get(week, str(week)),
        key=listed,
        on_change=_listed,
        args=(listed,),
        width=420,
    )


def _clicked(key: str) -> Any:
    def choose() -> None:
        picked: list[dict[str, Any]] = st.session_state[key].selection.get("pick") or []
        if picked:
            choose_week(str(picked[0]["week"]))

    return choose


def _listed(key: str) -> None:
    choose_week(span_name(st.session_state[key]))


def choose_week(name: str) -> None:
    """Show another week; what was chosen in the one before does not hold for it."""
    for other in ("run", "record"):
        st.query_params.pop(other, None)
    st.query_params["week"] = name


def one_week(standing: Standing, chosen: Week, named: UUID | None, missing: str | None, reason: str | None) -> None:
    """One of the views of a week; only that one is worked out."""
    view = st.segmented_control("View", VIEWS, default="Runs", required=True, key="view", bind="query-params", label_visibility="collapsed")
    runs = runs_of(chosen, standing.runs)
    with told():
        if view == "Rejects":
            rejects_panel.show(chosen)
        elif view == "Plan":
            plan_panel.show(chosen, missing)
        elif view == "Salesforce":
            sync_panel.show(chosen, runs, reason)
        else:
            run_panel.show(runs, named)


def question(standing: Standing, chosen: Week, job: Job | None) -> None:
    """The dialog that is open, drawn by the page itself: one that a ticking part draws dies."""
    match asked():
        case ("next", day):
            starting.confirm_next(day)
        case ("week", day):
            starting.confirm_week(day)
        case ("backfill", _):
            first = standing.checkpoint.next.start if standing.checkpoint else chosen.start
            last = min(first + timedelta(weeks=BACKFILL_WEEKS), max(first + timedelta(weeks=1), now().date())) - timedelta(days=1)
            starting.confirm_backfill(str(first), str(last))
        case ("retry", day):
            starting.confirm_retry(day)
        case ("cancel", job_id) if job and str(job.job_id) == job_id and not job.state.ended:
            job_panel.confirm_cancel(job.job_id)
        case _:
            starting.ask()


page()
