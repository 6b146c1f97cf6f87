"""Where the results that a page shows lie: in `current/`, or in the folder of the run that made them; and whether they are what was written."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import streamlit as st

from treadle.actions import results
from treadle.actions.results import Source
from treadle.control.access import Principal
from treadle.control.run import Run
from treadle.errors import Throttled, TreadleError, Unavailable
from treadle.flows.sales.lakehouse import CURRENT
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.looking import a_look
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.who import current

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


@st.cache_data(ttl=30, max_entries=64, show_spinner=False, hash_funcs={Principal: repr})
def looked(who: Principal, run_id: UUID | None, newest: UUID | None) -> Source | TreadleError:  # noqa: ARG001 - newest: a new publication, a new look
    """The run's own folder, or for None what is published; or why it cannot be told, which is kept as well: a lake that is down is slow to say so."""
    try:
        with a_look():
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
