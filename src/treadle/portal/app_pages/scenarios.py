"""Scenarios: every one that was built, is being built or failed, each with its state, where it is, and when that was."""

from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from treadle.control.jobs.job import Job
from treadle.errors import TreadleError
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.scenarios import adding
from treadle.portal.scenarios.asking import asked, forget_when_entered, why_not_build
from treadle.portal.scenarios.job_told import job_title, name_of
from treadle.portal.scenarios.listing import ScenarioLine, lines_of, of_text
from treadle.portal.scenarios.looking import looks
from treadle.portal.told import empty, failed
from treadle.portal.who import current

LIVE_SECONDS: Final = 2.0  # between two looks while a job goes on
CARDS: Final = 30  # more are found by the search


def page() -> None:
    """The head with what can be done, then one card for each scenario."""
    forget_when_entered()
    st.title("Scenarios")
    st.caption("A scenario is an archive that becomes tables, an ontology and a graph, with the documents that go with them.")
    reason = why_not_build(current())
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Add scenario", type="primary", icon=":material/add:", key="scenario-add", disabled=reason is not None, on_click=adding.begin
        )
        st.page_link("app_pages/connections.py", label="Connections", icon=":material/cable:")
        if reason:
            st.caption(reason, width="content")
    try:
        built, jobs = looks().scenarios(current(), fresh_seconds=0), looks().jobs(current(), fresh_seconds=0)
    except TreadleError as error:
        failed(error, again="scenarios")
        return
    lines = lines_of(built, jobs)
    if lines:
        search(lines)
    else:
        empty(
            "No scenario yet",
            "Add the first one: drop its archives, see what would be built, and let it go on by itself.",
            icon=":material/hub:",
        )
    unnamed = [job for job in jobs if not job.state.ended and name_of(job) is None]
    for job in unnamed:
        with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
            components.status_badge(job.state)
            st.markdown(f"**{words.plain(job_title(job))}**, asked for by {words.plain(job.requested_by)}", width="content")
    live = any(not job.state.ended for job in jobs)
    st.fragment(watch, run_every=LIVE_SECONDS if live else None, key="scenarios-watch")(drawn_from(jobs))
    match asked():
        case ("add", name):
            adding.add(name)
        case _:
            pass


def watch(drawn: Any) -> None:
    """Draw the page again when a job has gone on since; draws nothing itself."""
    try:
        now = drawn_from(looks().jobs(current()))
    except TreadleError:
        return  # the page says so with the next look
    if now != drawn and not asked():
        looks().look_again()
        st.rerun(scope="app")


def drawn_from(jobs: Sequence[Job]) -> Any:
    """What the cards depend on."""
    return tuple((job.job_id, str(job.state)) for job in jobs)


def search(lines: Sequence[ScenarioLine]) -> None:
    """The cards that a text leaves; the field is there when there are enough to search among."""
    text = ""
    if len(lines) > 6:
        text = (
            st.text_input(
                "Search", type="search", live=True, key="find", bind="query-params", placeholder="Name, domain or workspace", width=320
            )
            or ""
        )
    found = [line for line in lines if of_text(line, text)]
    if not found:
        empty("Nothing fits", "No scenario has this in its name, domain or workspace.", icon=":material/search_off:")
    with st.grid(min_column_width=340, gap="small"):
        for line in found[:CARDS]:
            card(line)
    if len(found) > CARDS:
        st.caption(f"The first {CARDS} of {len(found)}: search for the others.")


def card(line: ScenarioLine) -> None:
    """One scenario: what it is called, how it stands, where it is, what it has."""
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{words.plain(line.title)}**", width="stretch")
            components.status_badge(line.state)
        if line.summary:
            st.caption(words.plain(line.summary))
        st.caption(" · ".join(words.plain(fact) for fact in line.facts))
        at = f"{words.moment(line.at, zone())} ({words.ago(line.at, components.now())})" if line.at else words.DASH
        st.caption(f"{line.at_word} {at}")
        st.page_link(
            "app_pages/scenario.py",
            label=f"Open {words.plain(line.name)}",
            icon=":material/arrow_forward:",
            query_params={"scenario": line.name},
        )


page()
