"""Runbooks, tickets and prompts of a scenario: listed, searched, and one of them read. A document is shown as text alone."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, cast

import streamlit as st

from treadle.actions import documents
from treadle.flows.scenario.records import ScenarioRecord
from treadle.flows.scenario.slot_files import passed_over_in
from treadle.flows.scenario.slots import Slot
from treadle.portal import words
from treadle.portal.scenarios.job_told import SLOTS
from treadle.portal.shared import services
from treadle.portal.told import empty, told
from treadle.portal.who import current
from treadle.stores.document_store import Document
from treadle.visible_text import visible

KINDS: Final = (Slot.RUNBOOKS, Slot.TICKETS, Slot.PROMPTS)
LONGEST_SEARCH: Final = 200  # characters
LONGEST_TEXT: Final = 200_000  # characters of a document that a page shows
LANGUAGES: Final = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}
SHORT: Final = 12  # rows; a longer list scrolls
_PICKED: Final = "scenario-document-picked"


def show(record: ScenarioRecord) -> None:
    """The list on the one side, the one that was chosen on the other."""
    for line in not_stored(record):
        st.caption(f":material/info: {words.plain(line)}")
    left, right = st.columns(2, gap="large")
    with left, told():
        _list(record.name)
    with right, told():
        _document(record.name)


def not_stored(record: ScenarioRecord) -> list[str]:
    """What the last archives of documents brought that was not stored. Pure; the record may have been written by others."""
    results = {str(slot): record.upload_results.get(str(slot)) for slot in KINDS}
    lines = [passed_over_in(slot, cast("Mapping[str, Any]", result)) for slot, result in results.items() if isinstance(result, Mapping)]
    return [f"Of the last archive of {line}" for line in lines if line]


def _list(scenario: str) -> None:
    """What fits kind and search, best or first first; a click on a row opens it."""
    text = st.text_input("Search", type="search", live=True, key="scenario-find", placeholder="Words of the text", max_chars=LONGEST_SEARCH)
    kind = st.pills(
        "Kind",
        [str(each) for each in KINDS],
        format_func=lambda each: SLOTS.get(each, each),
        key="scenario-document-kind",
        label_visibility="collapsed",
    )
    found = _found(scenario, (text or "").strip(), kind)
    if not found:
        if text or kind:
            st.caption("No document fits.")
        else:
            empty("No documents", "Bring runbooks, tickets or prompts with Update.", icon=":material/description:")
        return
    rows = document_rows(found)
    st.caption(f"{len(rows):,} {'document' if len(rows) == 1 else 'documents'}")
    key = f"scenario-documents-{hash((scenario, text, kind))}"
    state: Any = st.dataframe(
        rows,
        hide_index=True,
        height="content" if len(rows) <= SHORT else 520,
        key=key,
        on_select="rerun",
        selection_mode="single-row",
        alt="Documents of the scenario; a click on a row opens one",
        column_config={
            "Document": st.column_config.TextColumn(width=190),
            "Kind": st.column_config.TextColumn(width=80),
            "Text": st.column_config.TextColumn(width="large"),
        },
    )
    rows_picked: list[int] = state.selection.rows
    picked = [found[row].id for row in rows_picked if row < len(found)]
    if picked and st.session_state.get(_PICKED) != (key, picked[0]):
        st.query_params["doc"] = picked[0]
    st.session_state[_PICKED] = (key, picked[0]) if picked else None


def _found(scenario: str, text: str, kind: str | None) -> Sequence[Document]:
    kinds = [Slot(kind)] if kind else list(KINDS)
    if text:
        wanted = {str(each) for each in kinds}
        return [each for each in documents.search(services(), current(), scenario, text) if str(each.body.get("slot")) in wanted]
    return [each for slot in kinds for each in documents.list_documents(services(), current(), scenario, slot)]


def document_rows(found: Sequence[Document]) -> list[dict[str, str]]:
    """Documents as rows of a table. Pure."""
    return [
        {
            "Document": visible(title_of(each)),
            "Kind": SLOTS.get(str(each.body.get("slot")), str(each.body.get("slot", ""))),
            "Text": visible(about(each)),
        }
        for each in found
    ]


def about(document: Document) -> str:
    """The place that a search has found, else how the text begins."""
    pieces: Any = document.body.get("pieces")
    told = "".join(str(piece.get("text", "")) for piece in pieces) if pieces else str(document.body.get("excerpt") or "")
    return " ".join(told.split())


def title_of(document: Document) -> str:
    """What a document is called: its title, else the name of its file."""
    return str(document.body.get("title") or document.body.get("name") or document.body.get("path") or document.id)


def _document(scenario: str) -> None:
    """The one that the address names, as text."""
    named = st.query_params.get("doc")
    if not named:
        st.caption("Choose a document to read it.")
        return
    text = documents.read(services(), current(), scenario, named)
    st.code(readable(text), language=LANGUAGES.get(PurePosixPath(named).suffix.lower()), wrap_lines=True, height=560)
    if len(text) > LONGEST_TEXT:
        st.caption(f"The first {LONGEST_TEXT:,} of {len(text):,} characters.")


def readable(text: str) -> str:
    """The text with its lines; what could not be seen, or would turn a line around, is written out. Pure."""
    lines = text[:LONGEST_TEXT].replace("\r\n", "\n").expandtabs(4).split("\n")
    return "\n".join(visible(line) for line in lines)
