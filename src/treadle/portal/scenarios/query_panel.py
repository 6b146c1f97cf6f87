"""The graph of a scenario, asked in GQL: a box with queries that fit the model beside it, the answer as a picture and as a table."""

import time
from dataclasses import dataclass
from typing import Final

import streamlit as st

from treadle.actions import scenarios
from treadle.clients.graph_answers import GraphAnswer
from treadle.errors import InvalidInput, TreadleError
from treadle.flows.scenario.records import ScenarioRecord
from treadle.portal import words
from treadle.portal.scenarios.answer_told import answer_rows, drawn_of, drawn_told
from treadle.portal.scenarios.drawing import MOST_NODES, answer_dot, entity_types, styles_of
from treadle.portal.scenarios.ready_queries import ReadyQuery, ready_queries
from treadle.portal.shared import services
from treadle.portal.told import empty, failed
from treadle.portal.who import current

LONGEST: Final = 20_000  # characters of a query
MOST_ROWS: Final = 1_000  # of an answer that a page shows
_BOX: Final = "gql"  # the address has it under this name, so that a query can be passed on
_ASKED: Final = "scenario-query-asked"  # a query that a click has just put into the box
_KEPT: Final = "scenario-query-kept"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was asked of which scenario, what came, and how long it took."""

    scenario: str
    gql: str
    answer: GraphAnswer | TreadleError
    seconds: float


def show(record: ScenarioRecord) -> None:
    """Box and queries, then what came."""
    if not record.graph_model_id:
        empty(
            "No graph to ask here",
            "Queries in GQL go to a graph model of Fabric. This scenario has none: it was built without a graph, or on Cosmos DB.",
            icon=":material/hub:",
        )
        return
    ready = ready_queries(record.model)
    if ready and _BOX not in st.session_state and not st.query_params.get(_BOX):
        st.session_state[_BOX] = ready[0].gql
    left, right = st.columns([3, 2], gap="large")
    with left:
        gql = st.text_area("Query (GQL)", height=150, key=_BOX, bind="query-params", max_chars=LONGEST)
        clicked = st.button(
            "Run the query", type="primary", icon=":material/play_arrow:", key="scenario-query-run", disabled=not (gql or "").strip()
        )
    with right:
        _beside(record, ready, answered=clicked or _ASKED in st.session_state or _kept_of(record) is not None)
    if clicked or st.session_state.pop(_ASKED, False):
        _ask(record.name, (gql or "").strip())
    if kept := _kept_of(record):
        _answered(record, kept)


def _beside(record: ScenarioRecord, ready: list[ReadyQuery], *, answered: bool) -> None:
    """Queries to run with a click, and the questions that the scenario was made for, folded away once there is an answer to look at."""
    if ready:
        st.caption("Queries that fit this model")
        for place, each in enumerate(ready):
            st.button(
                words.plain(each.title),
                icon=":material/bolt:",
                type="tertiary",
                key=f"scenario-ready-{place}",
                on_click=_take,
                args=(each.gql,),
            )
    if record.example_questions:
        with st.expander("Questions that this scenario was made for", icon=":material/help:", expanded=not answered):
            st.markdown("\n".join(f"- {words.plain(each)}" for each in record.example_questions))


def _kept_of(record: ScenarioRecord) -> Kept | None:
    kept: Kept | None = st.session_state.get(_KEPT)
    return kept if kept and kept.scenario == record.name else None


def _take(gql: str) -> None:
    st.session_state[_BOX] = gql
    st.session_state[_ASKED] = True


def _ask(name: str, gql: str) -> None:
    began = time.monotonic()
    with st.spinner("Asking the graph…"):
        try:
            answer: GraphAnswer | TreadleError = scenarios.query(services(), current(), name, gql)
        except TreadleError as error:
            answer = error
    st.session_state[_KEPT] = Kept(name, gql, answer, time.monotonic() - began)


def _answered(record: ScenarioRecord, kept: Kept) -> None:
    """The picture where there is one to draw, and every row."""
    answer = kept.answer
    if isinstance(answer, InvalidInput):
        st.error(f"**The graph does not take this query.** {words.plain(answer.message)}", icon=":material/error:")
        return
    if isinstance(answer, TreadleError):
        failed(answer)
        return
    count = len(answer.rows)
    st.caption(f"{count:,} {'row' if count == 1 else 'rows'} in {kept.seconds:.1f} s")
    if not answer.rows:
        empty("Nothing matches", "The query is right, and the graph has nothing that fits it.", icon=":material/search_off:")
        return
    _picture(record, answer)
    rows = answer_rows(answer, record.model, MOST_ROWS)
    st.dataframe(
        rows,
        hide_index=True,
        height="content" if len(rows) <= 10 else 400,
        placeholder=words.DASH,
        key="scenario-answer",
        alt="The rows of the answer",
    )
    if count > MOST_ROWS:
        st.caption(f"The first {MOST_ROWS:,} of {count:,} rows.")


def _picture(record: ScenarioRecord, answer: GraphAnswer) -> None:
    nodes, edges = drawn_of(answer, record.model)
    if not nodes:
        return
    labels = [str(entity["label"]) for entity in entity_types(record.model)]
    labels += [node.label for node in nodes if node.label not in labels]
    st.caption(words.plain(drawn_told(nodes, edges)))
    with st.container(border=True, horizontal_alignment="center"):
        st.graphviz_chart(
            answer_dot(nodes, edges, styles_of(record.graph_styles, labels)),
            width="content",
            alt=f"{len(nodes)} nodes and {len(edges)} edges of the answer; the table below has the rows",
        )
    if len(nodes) > MOST_NODES:
        st.caption(f"The first {MOST_NODES} of {len(nodes):,} nodes are drawn; a LIMIT in the query makes a smaller picture.")
