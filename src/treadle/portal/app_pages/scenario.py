"""One scenario: what it is and where, its job as it goes on, its tables, its model and graph drawn, its documents, and its end."""

from typing import Final
from uuid import UUID

import streamlit as st

from treadle.errors import TreadleError
from treadle.flows.scenario.records import ScenarioRecord
from treadle.portal import words
from treadle.portal.scenarios import adding, destroying, documents_panel, job_panel, model_panel, overview_panel, query_panel
from treadle.portal.scenarios.asking import ask, asked, forget_when_entered, why_not_now
from treadle.portal.scenarios.backends import backend_word
from treadle.portal.scenarios.looking import looks
from treadle.portal.told import empty, failed, told
from treadle.portal.visited import forget_of_others
from treadle.portal.who import current

VIEWS: Final = ("About", "Model", "Graph", "Documents", "Jobs")
PARAMETERS: Final = ("scenario", "view", "gql", "doc")  # of the address, which mean something here


def page() -> None:
    """The scenario that the address names."""
    forget_when_entered()
    forget_of_others("view")
    tidy_address()
    name = st.query_params.get("scenario") or ""
    try:
        record = looks().scenario(current(), name, fresh_seconds=0) if name else None
        of_scenario = job_panel.jobs_of(name, looks().jobs(current(), fresh_seconds=0))
    except TreadleError as error:
        st.title("Scenario")
        failed(error, again="scenario")
        return
    st.title(words.plain((record.display_name if record else "") or name or "Scenario"))
    if record is None and job_panel.is_over(of_scenario):
        nothing(name)
        return
    head(name, record)
    active = job_panel.active_of(of_scenario)
    reason = why_not_now(current(), active)
    buttons(name, record, reason)
    job_panel.show(name, of_scenario)
    if record:
        views(record)
    elif active is None:
        st.caption("It was not built to its end. Retry its job, or add it again.")
        job_panel.history(of_scenario)
    question(name, active.job_id if active else None, is_built=record is not None)


def tidy_address() -> None:
    """An address that was put together by hand, or for another page, keeps only what means something here. A view that is none the buttons take out."""
    for stray in set(st.query_params) - set(PARAMETERS):
        del st.query_params[stray]


def nothing(name: str) -> None:
    """The address names a scenario that is not there, or none."""
    sentence = f"{words.plain(name)} was never built, or it was removed." if name else "The address names no scenario."
    empty("No such scenario", sentence, icon=":material/search_off:")
    st.page_link("app_pages/scenarios.py", label="All scenarios", icon=":material/hub:")


def head(name: str, record: ScenarioRecord | None) -> None:
    """Its short name, and what it is built on."""
    if record:
        parts = [name, backend_word(record.graph_connector), record.workspace_name or record.workspace_id]
        st.caption(" · ".join(words.plain(part) for part in parts if part))


def buttons(name: str, record: ScenarioRecord | None, reason: str | None) -> None:
    """What can be done about it, and why not."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.page_link("app_pages/scenarios.py", label="All scenarios", icon=":material/arrow_back:")
        st.button(
            "Update",
            icon=":material/upload:",
            key="scenario-update",
            disabled=reason is not None,
            on_click=adding.begin,
            args=(name,),
            help="Bring newer archives, or those of slots that are still empty.",
        )
        if record:
            st.button(
                "Remove",
                icon=":material/delete_forever:",
                type="tertiary",
                key="scenario-destroy",
                disabled=reason is not None,
                on_click=ask,
                args=("destroy", name),
            )
        if reason:
            st.caption(reason, width="content")


def views(record: ScenarioRecord) -> None:
    """One of the views of a scenario; only that one is worked out."""
    view = st.segmented_control(
        "View", VIEWS, default="About", required=True, key="view", bind="query-params", label_visibility="collapsed"
    )
    with told():
        if view == "Model":
            model_panel.show(record)
        elif view == "Graph":
            query_panel.show(record)
        elif view == "Documents":
            documents_panel.show(record)
        elif view == "Jobs":
            job_panel.history(job_panel.jobs_of(record.name, looks().jobs(current())))
        else:
            overview_panel.show(record)


def question(name: str, active: UUID | None, *, is_built: bool) -> None:
    """The dialog that is open, drawn by the page itself: one that a ticking part draws dies."""
    match asked():
        case ("add", _):
            adding.add(name)
        case ("cancel", job_id) if active and str(active) == job_id:
            job_panel.confirm_cancel(active)
        case ("destroy", about) if about == name and is_built and active is None:
            destroying.confirm_destroy(name)
        case None:
            pass
        case _:
            ask()


page()
