"""One run in full: what the archive's drawer and the page of a run both show. The database first; the lake for what only it has."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast
from urllib.parse import quote
from uuid import UUID

import streamlit as st

from treadle.actions import files, runs
from treadle.control.access import Principal
from treadle.control.artifacts import Artifact
from treadle.control.compare import compare_kpis
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.control.states import RunStatus
from treadle.errors import ChecksumMismatch, NotFound, TreadleError, UnexpectedAnswer
from treadle.flows.sales.figures import figure_of, relative_written, written
from treadle.flows.sales.lakehouse import KPIS, PROFILE, RUN_METADATA, run_path
from treadle.flows.sales.manifest import FileEntry, parse_run_record
from treadle.portal import comparing, components, words
from treadle.portal.frame import zone
from treadle.portal.looking import a_look
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.who import current

LARGEST_DOWNLOAD: Final = 200 * 1000**2  # a larger file would have to lie in this process's memory; the API streams it
_MAX_RECORD: Final = 8 * 1024**2
_MAX_EVENTS: Final = 500


def made_by(run: Run) -> UUID | None:
    """The run whose folder has the files: the run itself, or the one that a restore brought back. None: a restore that names no run."""
    if not run.is_restore:
        return run.run_id
    try:
        return UUID(run.input_file.removeprefix(RESTORE_PREFIX))
    except ValueError:
        return None


@st.cache_data(ttl=600, max_entries=64, show_spinner=False)
def stored_record(run_id: str, name: str) -> dict[str, Any]:
    """A JSON record in a run's folder, which never changes once the run has ended. Ask only for somebody who may read the run.

    Raises:
        NotFound: the folder has no such file. UnexpectedAnswer: it is no JSON object.
    """
    with a_look():
        content = services().sales.lake.read_bytes(run_path(run_id, name), max_bytes=_MAX_RECORD)
    try:
        stored = json.loads(content)
    except ValueError as error:
        raise UnexpectedAnswer(f"{name} of run {run_id} is not valid JSON.", details={"run_id": run_id}) from error
    if not isinstance(stored, dict):
        raise UnexpectedAnswer(f"{name} of run {run_id} is not a JSON object.", details={"run_id": run_id})
    return cast("dict[str, Any]", stored)


def record_of(run: Run, name: str) -> dict[str, Any] | None:
    """A record of the run's files; None when the lake has none. What else goes wrong is raised."""
    source = made_by(run)
    if source is None or run.status is not RunStatus.SUCCEEDED:
        return None
    try:
        return stored_record(str(source), name)
    except NotFound:
        return None


def profile_of(run: Run) -> dict[str, Any] | None:
    """What was found in the run's input; None when the lake has no such record."""
    return record_of(run, PROFILE)


def kpis_of(run: Run) -> Mapping[str, Any]:
    """The run's figures: from its row, else from its file in the lake. Those of a restore are the figures that it brought back."""
    return run.kpis or record_of(run, KPIS) or {}


def previous_of(run: Run) -> Run | None:
    """The latest run before it that succeeded, restores aside. None: it is the first."""
    found = runs.list_runs(services(), current(), status={RunStatus.SUCCEEDED}, include_restores=False, until=run.created_at, limit=1).runs
    return found[0] if found else None


def published_run() -> UUID | None:
    """The run whose results were published last, as the database has it; of a restore the one that it brought back. None: there is none."""
    newest = runs.list_runs(services(), current(), status={RunStatus.SUCCEEDED}, limit=1).runs
    return made_by(newest[0]) if newest else None


def show(run: Run, before: Run | None, *, key: str) -> None:
    """All of a run. What only the lake has comes last into its place, so that a lake that is away keeps nobody waiting for the rest."""
    head(run)
    if run.status is RunStatus.FAILED:
        failure(run)
    figures_place = st.container()
    main, aside = st.columns([3, 2], gap="large")
    files_place = main.container()
    with main:
        events(run.run_id, key=key)
    with aside:
        st.subheader("Details")
        details(run)
        input_place = st.container()
    with figures_place, told():
        figures(run, before, key=key)
    with files_place, told():
        st.subheader("Files")
        artifacts(run, key=key)
    with input_place, told():
        input_file(run)


def head(run: Run) -> None:
    """What it was, how it stands, who, when and for how long; and how to pass it on."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        components.status_badge(run.status)
        with suppress(TreadleError):  # a database that is away is told by the rest
            if run.run_id == published_run():
                st.badge("Current", icon=":material/verified:", color="green", help="Its results are those that are published now.")
        st.markdown(f"**{words.plain(components.run_name(run))}**", width="content")
    taken = components.elapsed(run, components.now())
    began = words.moment(run.created_at, zone())
    st.caption(f"started by {words.plain(run.triggered_by)} · {began} · {'took' if run.status.ended else 'for'} {words.duration(taken)}")
    st.caption("Link to this run")
    st.code(link_to(run.run_id), language=None)


def link_to(run_id: UUID) -> str:
    """The address of a run's page, as others can open it; without the host where the browser did not name it."""
    here = st.context.url or ""
    return f"{here.rpartition('/')[0] if here.count('/') > 2 else here}/run?run={run_id}"


def failure(run: Run) -> None:
    """Why it failed; the text as it was recorded behind it."""
    message = run.error_message or "The reason was not recorded."
    st.error(f"**The run failed.** {words.plain(message.partition(chr(10))[0])}", icon=":material/error:")
    if "\n" in message:
        with st.expander("As it was recorded", icon=":material/code:"):
            st.code(message, language=None, wrap_lines=True)


def figures(run: Run, before: Run | None, *, key: str) -> None:
    """The headline figures, each against the run before."""
    kpis = kpis_of(run)
    if not kpis:
        if run.status is RunStatus.SUCCEEDED:
            st.caption("Neither the database nor the lake has figures of this run.")
        return
    found = {row.name: row for row in compare_kpis((before.kpis if before else None) or {}, kpis).rows}
    with st.grid(len(comparing.HEADLINE), min_column_width=150, key=f"{key}-figures"):
        for name in comparing.HEADLINE:
            row = found.get(name)
            relative = row.relative_change if row else None
            st.metric(
                figure_of(name).label,
                written(name, row.b if row else None),
                relative_written(relative) if relative is not None else None,
                delta_color="off" if figure_of(name).better == "neither" or not relative else "normal",
                delta_arrow="off" if not relative else "auto",
                border=True,
                height="stretch",
            )
    where = "the database" if run.kpis else "the lake"
    against = f", change against run {components.short_id(before.run_id)}" if before else ""
    st.caption(f"From {where}{against}.")


@st.fragment
def events(run_id: UUID, *, key: str) -> None:
    """What happened, newest first. A fragment, so that choosing kinds of events asks for nothing else again."""
    st.subheader("Events")
    with told():
        components.event_table(runs.list_events(services(), current(), run_id, limit=_MAX_EVENTS), key=f"{key}-events")


def details(run: Run) -> None:
    """Its identity, its job, and when what happened."""
    components.facts(
        [
            ("Run", str(run.run_id)),
            ("Fabric job", run.fabric_job_id or "none"),
            ("Created", words.moment(run.created_at, zone())),
            ("Started", words.moment(run.started_at, zone())),
            ("Finished", words.moment(run.finished_at, zone())),
            ("Notebook", run.notebook_version or words.DASH),
            ("Treadle", run.app_version or words.DASH),
        ]
    )


def input_file(run: Run) -> None:
    """What it read, and whether that is still there as it was."""
    if run.is_restore:
        st.subheader("Brought back")
        source = made_by(run)
        components.facts([("Run", str(source or "unknown"))])
        if source:
            st.page_link("app_pages/run.py", label="Open that run", icon=":material/history:", query_params={"run": str(source)})
        return
    st.subheader("Input")
    profile = profile_of(run)
    facts = comparing.run_facts(run, profile, zone())
    shown = ("Input", "Sheet", "Size", "Rows", "Columns", "Columns mapped") if profile else ("Input",)
    components.facts([(name, facts[name]) for name in shown])
    try:
        with a_look():
            file = files.get_file(services(), current(), run.input_file)
    except NotFound:
        st.caption("The workbook is no longer in the lake; what was read of it is in the run's files.")
        return
    st.caption(f"The workbook is in the lake: {words.size(file.size_bytes)}, last changed {words.moment(file.modified_at, zone())}.")


def artifacts(run: Run, *, key: str) -> None:
    """The files that the run has left, each with size, checksum and download."""
    if run.is_restore:
        st.caption("A restore publishes the files of another run again, and leaves none of its own.")
        return
    found = runs.list_artifacts(services(), current(), run.run_id)
    if not found:
        st.caption("A run leaves files once it has succeeded." if run.status is not RunStatus.SUCCEEDED else "No files are recorded.")
        return
    sums: dict[str, FileEntry] = {}
    with told():
        sums = checksums(run)
    for number, artifact in enumerate(found):
        with st.container(border=True, gap="xsmall"):
            _artifact(artifact, sums.get(_name(artifact)), key=f"{key}-file-{number}")
    if sums:
        st.caption(f"The checksums are SHA-256, as {RUN_METADATA} records them; a download is checked against them.".replace("_", "\\_"))


def checksums(run: Run) -> dict[str, FileEntry]:
    """Name → size and SHA-256, as the run's own record has them; empty when it has no record."""
    record = record_of(run, RUN_METADATA)
    return {entry.name: entry for entry in parse_run_record(json.dumps(record).encode(), run.run_id).files} if record else {}


def _artifact(artifact: Artifact, entry: FileEntry | None, *, key: str) -> None:
    name, size = _name(artifact), artifact.file_size if artifact.file_size is not None else (entry.size_bytes if entry else None)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.text(name, width="stretch")
        st.caption(words.size(size), width="content")
        if size is None or size < LARGEST_DOWNLOAD:
            st.download_button(
                "Download",
                data=_contents(current(), artifact, entry),
                file_name=name,
                icon=":material/download:",
                on_click="ignore",
                type="tertiary",
                key=f"{key}-download",
                help=words.plain(artifact.file_path),
            )
    if entry:
        st.caption(words.plain(entry.sha256))
    if size is not None and size >= LARGEST_DOWNLOAD:
        st.caption("Too large to go through this page; the API streams it:")
        st.code(f"/api/runs/{artifact.run_id}/artifacts/{quote(name, safe='')}", language=None)


def _contents(who: Principal, artifact: Artifact, entry: FileEntry | None) -> Callable[[], io.BytesIO]:
    return partial(read_artifact, who, artifact.run_id, _name(artifact), entry.sha256 if entry else None)


def read_artifact(who: Principal, run_id: UUID, name: str, sha256: str | None) -> io.BytesIO:
    """The bytes of a file, when somebody has asked for them; the right is decided again. Raises ChecksumMismatch when they are not those recorded."""
    artifact = runs.get_artifact(services(), who, run_id, name)
    copy = io.BytesIO()
    services().sales.lake.download(artifact.file_path, copy)
    if sha256 and hashlib.sha256(copy.getbuffer()).hexdigest() != sha256:
        raise ChecksumMismatch(
            f"{name} of run {run_id} is damaged: its bytes are not those that the run recorded.",
            hint="Run the workbook again, or restore another run.",
            details={"run_id": str(run_id), "file": name},
        )
    copy.seek(0)
    return copy


def links(run: Run, before: Run | None) -> None:
    """Where to go on from here; to be drawn into a line of links."""
    run_id = str(run.run_id)
    if before and run.status is RunStatus.SUCCEEDED and not run.is_restore:
        st.page_link(
            "app_pages/compare.py",
            label="Compare with the previous run",
            icon=":material/compare_arrows:",
            query_params={"a": str(before.run_id), "b": run_id},
        )
    if run.status is RunStatus.SUCCEEDED:
        st.page_link(
            "app_pages/results.py", label="Results", icon=":material/bar_chart:", query_params={"run": str(made_by(run) or run_id)}
        )
    st.page_link("app_pages/monitor.py", label="Monitor", icon=":material/monitor_heart:", query_params={"run": run_id})


def _name(artifact: Artifact) -> str:
    return artifact.file_path.rpartition("/")[2]
