"""Import: bring a workbook, see what is in it before anything is spent on it, say how its columns are read, and run it."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypedDict, cast
from uuid import UUID, uuid4

import streamlit as st

from treadle.actions import files, jobs, lock, runs
from treadle.actions.files import PublishedProfile
from treadle.clients.onelake import LakeFile
from treadle.control.access import Principal, Right, allowed
from treadle.control.jobs.job import Job
from treadle.control.jobs.states import FINAL_ERRORS, JobState
from treadle.control.lock import LockState
from treadle.control.states import RunStatus
from treadle.errors import InvalidInput, LockHeld, NotFound, OutcomeUnknown, TreadleError, Unavailable
from treadle.flows.sales.column_mapping import ColumnMapping
from treadle.flows.sales.drift import Change, compare_profiles
from treadle.flows.sales.input_file import EXTENSIONS, check_input_file
from treadle.flows.sales.profiles import StoredProfile
from treadle.flows.sales.verdict import Verdict
from treadle.portal import components, words
from treadle.portal import profile_view as view
from treadle.portal.frame import holder, zone
from treadle.portal.shared import portal, services
from treadle.portal.told import empty, failed, told
from treadle.portal.who import current

FILES_A_PAGE: Final = 10
CARDS_A_PAGE: Final = 12
CHECKS_AT_ONCE: Final = 6
FRESH_SECONDS: Final = 20.0  # what was read of a file is taken for true so long: a page is drawn again with each click
INSPECTION_SECONDS: Final = 1.0  # between two looks at an inspection that goes on
LOCK_SECONDS: Final = 5.0  # between two looks at the lock, while somebody could start a run
OPENED: Final = "import-opened"
RUN_ID: Final = "import-run-id"
GOING: Final = "import-going"  # the file to go to, or None for all of them
ASKING: Final = "import-asking"  # the file of which somebody is being asked whether to run it
UPLOADS: Final = "import-uploads"  # how many uploads this session has done: a new one begins with an empty field
TAB: Final = "tab"
TABS: Final = ("Columns", "Mapping", "Changes", "Sample")
MEGABYTE: Final = 1024 * 1024
ORDERS: Final[Mapping[str, Callable[[LakeFile], Any]]] = {
    "Newest first": lambda file: -file.modified_at.timestamp(),
    "By name": lambda file: file.name.casefold(),
    "Largest first": lambda file: -file.size_bytes,
}


class Opened(TypedDict):
    """What this session has read of the file that it looks at. profile: None while there is none; job: what makes it, or failed to."""

    file: LakeFile
    mapping: ColumnMapping
    mapping_fault: TreadleError | None
    profile: StoredProfile | None
    job: Job | None
    read_at: float


def page() -> None:
    """The files there are; or the one that the address names."""
    if GOING in st.session_state:
        write_address(st.session_state.pop(GOING))
    name = st.query_params.get("file")
    if name:
        inspect(name)
    else:
        browse()


# --- The files there are ---


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)
def listing(role: str, _who: Principal) -> list[LakeFile]:  # noqa: ARG001 - the key under which it is kept
    """The workbooks in the lake; the same for everybody of one role."""
    return files.list_files(services(), _who)


@st.cache_data(ttl=30, max_entries=4, show_spinner=False)
def published(role: str, _who: Principal) -> PublishedProfile | None:  # noqa: ARG001 - as above
    """What the file behind `current/` holds. None: nothing is published yet."""
    try:
        return files.published_profile(services(), _who)
    except NotFound:
        return None


@st.cache_data(ttl=60, max_entries=1, show_spinner=False)
def usual(_who: Principal) -> timedelta | None:
    """How long a run usually takes."""
    return components.usual_duration(runs.list_runs(services(), _who, status={RunStatus.SUCCEEDED}, include_restores=False, limit=20).runs)


def browse() -> None:
    """All files on the one side, a new one on the other."""
    st.title("Import")
    st.caption("Choose a workbook to see what is in it, or bring a new one. Nothing runs before you say so.")
    with told():
        held = lock.show(services(), current())
        if held.run_id:
            st.caption(f":material/lock: A run is active: {holder(held)}. Files can be brought and inspected meanwhile.")
    with told():
        found = listing(str(current().role), current())
        there, new = st.columns([3, 2], gap="large")
        with there:
            st.fragment(file_list, key="import-files")(found)
        with new:
            upload(found)


def file_list(found: Sequence[LakeFile]) -> None:
    """The files with a search; a click on one opens it."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        sought = st.text_input(
            "Search files",
            type="search",
            live=True,
            key="import-search",
            placeholder="Search by name",
            label_visibility="collapsed",
            width="stretch",
        )
        order = st.selectbox("Order", list(ORDERS), key="import-order", label_visibility="collapsed", width=150)
        if st.button("Refresh", icon=":material/refresh:", key="import-refresh", help="Look into the lake again"):
            listing.clear()
            st.rerun()
    if not found:
        empty(
            "No file yet",
            "Bring the first workbook with the field beside this; then it can be inspected and run.",
            icon=":material/upload_file:",
        )
        return
    wanted = [file for file in found if (sought or "").strip().casefold() in file.name.casefold()]
    if not wanted:
        empty(
            "No file of this name",
            f"None of the {len(found)} files fits the search. Clear it to see them all.",
            icon=":material/search_off:",
        )
        return
    wanted.sort(key=ORDERS[order])
    pages = -(-len(wanted) // FILES_A_PAGE)
    rows = st.container(gap="xsmall", key="import-rows")
    at = st.pagination(pages, key="import-page") if pages > 1 else 1
    live_file = _published_name()
    with rows:
        for file in wanted[(at - 1) * FILES_A_PAGE : at * FILES_A_PAGE]:
            file_row(file, is_current=file.name == live_file)
    if pages == 1:
        st.caption(f"{len(wanted)} of {len(found)} files" if sought else ("1 file" if len(found) == 1 else f"{len(found)} files"))


def _published_name() -> str | None:
    """The name of the file behind `current/`; a list of files is worth showing without it."""
    try:
        shown = published(str(current().role), current())
    except TreadleError:
        return None
    return str(shown.profile["file_name"]) if shown else None


def file_row(file: LakeFile, *, is_current: bool) -> None:
    """One file: its name opens it."""
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
        if st.button(words.plain(file.name), key=f"open-{file.name}", type="tertiary", icon=":material/table_chart:"):
            open_file(file.name)
        if is_current:
            st.badge("Current", icon=":material/verified:", color="green", help="The published results were made of a file of this name.")
        st.space("stretch")
        st.caption(f"{words.size(file.size_bytes)} · {words.ago(file.modified_at, components.now())}", width="content")


def open_file(name: str | None) -> None:
    """Go to one file, or back to all. The address is written by the run that follows: what is sent before a rerun may never arrive."""
    not_asking()
    st.session_state.pop(OPENED, None)
    st.session_state[GOING] = name
    st.rerun(scope="app")


def write_address(name: str | None) -> None:
    """Let the address name the file that is shown, so that it can be reloaded and sent to others."""
    for parameter in ("file", TAB):
        st.query_params.pop(parameter, None)
    if name:
        st.query_params["file"] = name


def upload(found: Sequence[LakeFile]) -> None:
    """A field for a new file, and what will happen to it."""
    st.subheader("Bring a file", anchor=False)
    who, limit = current(), portal().upload_bytes
    may = allowed(who, Right.FILES_WRITE)
    done = int(st.session_state.get(UPLOADS, 0))
    chosen = st.file_uploader(
        f"A workbook of up to {words.size(limit)}",
        type=[extension.removeprefix(".") for extension in EXTENSIONS],
        max_upload_size=max(1, limit // MEGABYTE),
        key=f"upload-{done}",
        disabled=not may,
    )
    if not may:
        st.caption(f":material/lock: {needs_operator('To bring files', who)}")
    elif limit < services().sales.upload_limit_bytes:
        st.caption(f"Larger ones, up to {words.size(services().sales.upload_limit_bytes)}, go by `treadle files upload FILE` or the API.")
    if chosen is None or not may:
        return
    name = str(st.text_input("Name in the lake", value=chosen.name, key=f"upload-name-{chosen.file_id}", max_chars=255)).strip()
    try:
        check_input_file(name)
    except InvalidInput as error:
        failed(error)
        return
    older = next((file for file in found if file.name == name), None)
    if older:
        changed = words.ago(older.modified_at, components.now())
        st.warning(
            f"**{words.plain(name)} is there already** ({words.size(older.size_bytes)}, changed {changed}). It is replaced as soon as the new one is"
            " whole; results that were made of the old one stay as they are.",
            icon=":material/file_copy:",
        )
    label, icon = ("Replace the file", ":material/sync:") if older else ("Upload", ":material/upload:")
    if st.button(label, icon=icon, type="primary", key="upload-start"):
        with told():
            send(cast("Any", chosen), name, overwrite=older is not None)


def send(source: Any, name: str, *, overwrite: bool) -> None:
    """Bring the bytes to the lake, saying how far they are, and open the file."""
    bar, began = st.progress(0.0, text="Sending…"), time.monotonic()

    def tell(done: int, total: int) -> None:
        speed = done / max(time.monotonic() - began, 0.001)
        bar.progress(
            min(done / max(total, 1), 1.0), text=f"{words.size(done)} of {words.size(total)} · {words.size(round(speed))} a second"
        )

    source.seek(0)
    try:
        files.upload_stream(services(), current(), source, name, overwrite=overwrite, progress=tell)
    except TreadleError:
        bar.empty()
        raise
    listing.clear()
    st.session_state[UPLOADS] = int(st.session_state.get(UPLOADS, 0)) + 1
    st.toast(f"{words.plain(name)} is in the lake.", icon=":material/cloud_done:")
    open_file(name)


def needs_operator(what: str, who: Principal) -> str:
    """Why somebody may not."""
    return f"{what} takes the role operator; yours is {who.role or 'none'}. Ask an admin."


# --- One file ---


def inspect(name: str) -> None:
    """What is in a file, and what can be done with it."""
    if st.button("All files", icon=":material/arrow_back:", type="tertiary", key="back"):
        open_file(None)
    try:
        known = opened(name)
    except NotFound:
        st.title(words.plain(name), anchor=False)
        empty(
            "Not in the lake",
            "No file of this name is there; it may have been renamed or removed. Go back to all files.",
            icon=":material/search_off:",
        )
        return
    except TreadleError as error:
        st.title(words.plain(name), anchor=False)
        failed(error)
        if st.button("Try again", icon=":material/refresh:", key="try-again"):
            st.rerun()
        return
    head(known)
    if known["mapping_fault"]:
        failed(known["mapping_fault"])
        mapping_editor(known)
    elif known["profile"]:
        contents(known, known["profile"])
    elif known["job"] and not known["job"].state.ended:
        st.fragment(watch, run_every=INSPECTION_SECONDS, key="import-inspection")(known["job"].job_id)
    elif known["job"]:
        failure(known, known["job"])


def opened(name: str) -> Opened:
    """The file with its profile, or with the job that makes it; asked for when nobody has yet. What was read a moment ago is not read again."""
    known: Opened | None = st.session_state.get(OPENED)
    if known and known["file"].name == name and time.monotonic() - known["read_at"] < FRESH_SECONDS:
        if known["job"] and not known["job"].state.ended:
            known["job"] = jobs.get_job(services(), current(), known["job"].job_id)
        if known["job"] is None or known["job"].state is not JobState.SUCCEEDED:
            return known
    before = known if known and known["file"].name == name else None
    st.session_state[OPENED] = known = read_again(name, before)
    return known


def read_again(name: str, before: Opened | None) -> Opened:
    """Look at the file as it is now. An inspection that failed is not begun again by looking: the same bytes would fail again."""
    who = current()
    file = files.get_file(services(), who, name)
    known = Opened(file=file, mapping=ColumnMapping(), mapping_fault=None, profile=None, job=None, read_at=time.monotonic())
    try:
        known["mapping"] = files.get_mapping(services(), who, name)
    except InvalidInput as fault:
        known["mapping_fault"] = fault
        return known
    job = before["job"] if before and (before["file"].etag, before["mapping"]) == (file.etag, known["mapping"]) else None
    if job and job.state in (JobState.FAILED, JobState.CANCELLED):
        known["job"] = job
        return known
    asked = files.request_profile(services(), who, name)
    if isinstance(asked, StoredProfile):
        known["profile"] = asked
    else:
        known["job"] = asked
    return known


def head(known: Opened) -> None:
    """Which file, and the one thing to do with it."""
    file = known["file"]
    left, right = st.columns([3, 2], vertical_alignment="center", gap="large")
    with left:
        st.title(words.plain(file.name), anchor=False)
        profile: Mapping[str, Any] = known["profile"].profile if known["profile"] else {}
        facts = [words.size(file.size_bytes), f"changed {words.moment(file.modified_at, zone())}"]
        facts += [f"sheet {words.plain(profile['sheet'])}"] if profile.get("sheet") else []
        facts += [f"dates from {view.period(profile)}"] if profile and view.period(profile) else []
        st.caption(" · ".join(facts))
    with right, st.container(horizontal_alignment="right", gap="xsmall"):
        run_action(known)


# --- The inspection ---


def watch(job_id: UUID) -> None:
    """How far the inspection is. The page begins anew when it has ended."""
    with told():
        job = jobs.get_job(services(), current(), job_id)
        known: Opened | None = st.session_state.get(OPENED)
        if job.state.ended:
            if known:
                known["job"] = job
            st.rerun(scope="app")
        trail = jobs.list_events(services(), current(), job_id, after_seq=max(0, job.last_seq - 10))
        part, doing, advice = view.inspection_told(job, trail, components.now())
        with st.container(border=True):
            st.markdown("**:material/search: Being inspected** – a worker reads the file as a run would; nothing is changed by it.")
            st.progress(part, text=f"{words.plain(doing)} · {words.duration(components.now() - job.created_at)}")
            st.caption("It goes on when you leave this page, and is there at once for the next person who looks.")
            if advice:
                st.warning(words.plain(advice), icon=":material/hourglass_disabled:")


def failure(known: Opened, job: Job) -> None:
    """Why the file could not be inspected, and the two things that may help: reading it otherwise, and trying again."""
    with st.container(border=True):
        if job.state is JobState.CANCELLED:
            st.warning(
                f"**The inspection was cancelled** by {words.plain(job.cancel_requested_by or 'somebody')}.", icon=":material/block:"
            )
        else:
            message, hint = job.error_message or "The reason was not recorded.", view.without_commands(job.error_hint or "")
            st.error(
                f"**{words.plain(name_of(known))} could not be inspected.** {words.plain(message)}  \n{words.plain(hint)}",
                icon=":material/error:",
            )
            if job.error_details:
                with st.expander("Details", icon=":material/code:"):
                    st.json({key: str(value) for key, value in job.error_details.items()})
        final = is_final(job)
        if final and not allowed(current(), Right.JOBS_MANAGE):
            st.caption(f":material/lock: {needs_operator('To try the same file again', current())}")
        elif st.button("Inspect again", icon=":material/refresh:", key="inspect-again"):
            with told():
                if final:
                    jobs.retry(services(), current(), job.job_id)
                st.session_state.pop(OPENED, None)
                st.rerun()
    st.subheader("Read it otherwise", anchor=False)
    mapping_editor(known)


def is_final(job: Job) -> bool:
    """Whether the same bytes would fail again."""
    return job.state is JobState.FAILED and (job.error_details or {}).get("kind") in {kind.__name__ for kind in FINAL_ERRORS}


def name_of(known: Opened) -> str:
    """The name of the file that is shown."""
    return known["file"].name


# --- What is in it ---


def contents(known: Opened, stored: StoredProfile) -> None:
    """The verdict with its checks, and the details by tabs, of which only the open one is made."""
    profile = stored.profile
    changes = None
    with told():
        shown = published(str(current().role), current())
        changes = compare_profiles(shown.profile, profile) if shown else None
    verdict_card(known, stored, changes)
    with st.grid(4, min_column_width=150, gap="small"):
        for label, value in view.headline(profile):
            st.metric(label, value, border=True)
    columns, mapping, different, sample = st.tabs(TABS, key=f"import-tabs-{name_of(known)}", default=tab_of_address(), on_change="rerun")
    keep_tab_in_address([columns.open, mapping.open, different.open, sample.open])
    if columns.open:
        with columns:
            st.fragment(column_panel, key="import-columns")(profile)
    if mapping.open:
        with mapping:
            mapping_editor(known)
    if different.open:
        with different:
            change_panel(changes)
    if sample.open:
        with sample:
            sample_panel(profile)


def tab_of_address() -> str:
    """The tab that the address names; the first when it names none."""
    named = st.query_params.get(TAB, TABS[0])
    return named if named in TABS else TABS[0]


def keep_tab_in_address(opened_tabs: Sequence[bool | None]) -> None:
    """By hand: an address that is bound to the tabs could not be left, as Streamlit lets no page be switched while it is."""
    now = next((tab for tab, is_open in zip(TABS, opened_tabs, strict=True) if is_open), TABS[0])
    if now != tab_of_address():
        st.query_params[TAB] = now


def verdict_card(known: Opened, stored: StoredProfile, changes: list[Change] | None) -> None:
    """May it be run? And why not, or what should be known before."""
    profile, verdict = stored.profile, stored.verdict
    look = view.verdict_told(verdict, profile["validations"])
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(look.word, icon=look.icon, color=look.colour)
            st.markdown(look.sentence, width="stretch")
            st.download_button(
                "Findings",
                lambda: view.findings_csv(profile, verdict),
                file_name=f"{name_of(known)}.findings.csv",
                mime="text/csv",
                icon=":material/download:",
                key="findings",
                on_click="ignore",
                help="All checks as CSV",
            )
        suggestion(known, view.sources(profile))
        found = view.checks(profile["validations"])
        lacking = [check for check in found if not check.passed]
        for check in lacking[:CHECKS_AT_ONCE]:
            check_row(check)
        if lacking[CHECKS_AT_ONCE:]:
            with st.expander(f"{len(lacking) - CHECKS_AT_ONCE} more that failed", icon=":material/warning:", key="more-failed"):
                for check in lacking[CHECKS_AT_ONCE:]:
                    check_row(check)
        passed = [check for check in found if check.passed]
        if passed:
            with st.expander(
                f"{len(passed)} checks passed" if len(passed) > 1 else "1 check passed", icon=":material/check_circle:", key="passed"
            ):
                for check in passed:
                    check_row(check)
        if changes is not None:
            compared = view.change_sentence(changes)
            st.caption(f"{compared.icon} Against what is published: {words.plain(compared.sentence)}")
        st.caption(
            f":material/history: Inspected {words.ago(stored.computed_at, components.now())}; kept for everybody until the file changes."
        )


def check_row(check: view.Check) -> None:
    """One check: how it went, its name, what was found."""
    st.markdown(
        f":{check.look.colour}-badge[{check.look.icon} {check.look.word}] **{words.plain(check.name)}** – {words.plain(check.detail)}"
    )


def suggestion(known: Opened, found: Sequence[view.Source]) -> None:
    """When a required column is missing and another one looks like it: one click to read it so."""
    likely = view.suggested(found)
    if not likely:
        return
    told_as = " and ".join(f"{source} as {view.ROLES[role][0].lower()}" for role, source in likely.items())
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f":material/lightbulb: Should Treadle read **{words.plain(told_as)}**?", width="content")
        may = allowed(current(), Right.FILES_WRITE)
        if st.button("Use this mapping", icon=":material/check:", type="primary", key="use-suggestion", disabled=not may):
            with told():
                save_mapping(
                    known, {**known["mapping"].columns, **{source: role for role, source in likely.items()}}, known["mapping"].sheet
                )
    if not may:
        st.caption(f":material/lock: {needs_operator('To change the mapping', current())}")


def column_panel(profile: Mapping[str, Any]) -> None:
    """Every column as a card, with a search, an order, and only those with alerts if wanted."""
    cards = view.column_cards(profile)
    alerted = sum(bool(card.alerts) for card in cards)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        sought = st.text_input(
            "Search columns",
            type="search",
            live=True,
            key="column-search",
            placeholder="Search columns",
            label_visibility="collapsed",
            width=240,
        )
        order = st.selectbox("Order of columns", list(view.Order), key="column-order", label_visibility="collapsed", width=170)
        only = st.toggle(f"Only columns with alerts ({alerted})", key="column-alerts", disabled=not alerted)
    wanted = view.chosen_cards(cards, sought or "", order, only_alerts=only and bool(alerted))
    if not wanted:
        empty("No such column", f"None of the {len(cards)} columns fits the search and the filter.", icon=":material/search_off:")
        return
    pages = -(-len(wanted) // CARDS_A_PAGE)
    place = st.container(key="import-cards")
    at = st.pagination(pages, key="column-page") if pages > 1 else 1
    with place, st.grid(min_column_width=280, gap="small"):
        for card in wanted[(at - 1) * CARDS_A_PAGE : at * CARDS_A_PAGE]:
            column_card(card)


def column_card(card: view.ColumnCard) -> None:
    """One column: what it holds, how it spreads, what to know about it."""
    with st.container(border=True, height="stretch", gap="xsmall"):
        st.markdown(f"{card.icon} **{words.plain(card.name)}**")
        st.caption(f"{card.kind} · from {words.plain(card.source)}" if card.source else card.kind)
        if card.chart:
            # The specification itself, not an Altair object: checking a dozen of those against the schema costs more than the rest of the page.
            st.vega_lite_chart(dict(card.chart), width="stretch", key=f"chart-{card.position}", alt=f"How the values of {card.name} spread")
        else:
            with st.container(height=view.CHART_HEIGHT, vertical_alignment="center", border=False):
                st.text(card.instead)
        st.caption(f"{card.missing_told} missing · {card.distinct_told} distinct  \n{words.plain(card.span)}")
        if card.alerts:
            with st.container(horizontal=True, gap="xsmall"):
                for alert in card.alerts:
                    st.badge(alert.word, icon=alert.icon, color=alert.colour, help=alert.sentence)


def change_panel(changes: list[Change] | None) -> None:
    """What is different from the file behind `current/`."""
    shown = None
    with told():
        shown = published(str(current().role), current())
    if shown is None or changes is None:
        empty("Nothing to compare with", "No results are published yet; this file would be the first.", icon=":material/compare_arrows:")
        return
    look = view.change_sentence(changes)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(look.word, icon=look.icon, color=look.colour)
        st.markdown(words.plain(look.sentence), width="stretch")
    st.caption(
        f"Compared with {words.plain(shown.profile['file_name'])} as run {components.short_id(shown.run_id)} read it,"
        f" published {words.moment(shown.published_at, zone())}."
    )
    if changes:
        st.dataframe(
            view.change_rows(changes),
            hide_index=True,
            key="changes",
            alt="Differences between this file and the published one",
            column_config={
                "Weight": st.column_config.TextColumn(width=80),
                "Column": st.column_config.TextColumn(width="small"),
                "What is different": st.column_config.TextColumn(width="medium"),
            },
        )


def sample_panel(profile: Mapping[str, Any]) -> None:
    """The first rows as a run would read them."""
    rows = profile["sample_rows"]
    if not rows:
        empty("No rows", "The file has a header, but no row under it.", icon=":material/table_rows:")
        return
    st.caption(f"The first {len(rows):,} of {profile['row_count']:,} rows, cleaned as a run would clean them.")
    order = [str(entry["column"]) for entry in profile["schema"]]  # JSON that went through the database has lost it
    st.dataframe(rows, hide_index=True, column_order=order, placeholder=words.DASH, key="sample", alt="The first rows of the file")


# --- How its columns are read ---


def mapping_editor(known: Opened) -> None:
    """Which column of the file is which; stored beside the file, for this run and later ones."""
    profile = known["profile"].profile if known["profile"] else None
    details = known["job"].error_details if known["job"] else None
    found = view.sources(profile) if profile else view.sources_of_failure(details)
    applied = dict(profile["mapping"]) if profile else dict(known["mapping"].columns)
    may = allowed(current(), Right.FILES_WRITE)
    version = f"{known['file'].etag}-{hash((tuple(sorted(known['mapping'].columns.items())), known['mapping'].sheet))}"
    with st.form(f"mapping-{version}", border=True):
        st.caption("Say which column is which. It is stored beside the file, holds for later runs too, and leads to a new inspection.")
        sheet = sheet_choice(known, view.sheets(profile, details), version)
        picks = role_choices(found, applied, version)
        others = other_choices(found, view.other_names(applied), version)
        saved = st.form_submit_button("Save and inspect again", icon=":material/save:", disabled=not may, key=f"save-{version}")
    if not may:
        st.caption(f":material/lock: {needs_operator('To change the mapping', current())}")
    if not saved:
        return
    wanted, problems = view.new_mapping(found, applied, picks, others)
    if problems:
        st.error("**This cannot be saved.** " + words.plain(" ".join(problems)), icon=":material/error:")
    elif (wanted, sheet) == (dict(known["mapping"].columns), known["mapping"].sheet) and not known["mapping_fault"]:
        st.info("This is how the file is read already.", icon=":material/info:")
    else:
        with told():
            save_mapping(known, wanted, sheet)


def save_mapping(known: Opened, columns: dict[str, str], sheet: str | None) -> None:
    """Store the mapping, and look at the file anew."""
    files.put_mapping(services(), current(), name_of(known), columns, sheet=sheet)
    st.session_state.pop(OPENED, None)
    st.toast("The mapping is stored; the file is inspected again.", icon=":material/save:")
    st.rerun()


def sheet_choice(known: Opened, sheets: Sequence[str], version: str) -> str | None:
    """Which sheet is read. None: the first visible one that holds anything."""
    stored = known["mapping"].sheet
    if not sheets and stored is None:
        return None
    read = known["profile"].profile.get("sheet") if known["profile"] else stored
    options: list[str] = list(dict.fromkeys([*sheets, *([stored] if stored else [])]))
    at = options.index(str(read)) if read in options else None
    chosen = st.selectbox(
        "Sheet",
        options,
        index=at,
        key=f"sheet-{version}",
        accept_new_options=True,
        placeholder="The first visible one that holds anything",
        width=320,
    )
    return None if chosen == read and stored is None else chosen


def role_choices(found: Sequence[view.Source], applied: dict[str, str], version: str) -> dict[str, str | None]:
    """For each name that a run looks for, the column that is read by it; what looks likely is chosen already where one is missing."""
    if not found:
        st.caption("The columns of the file are not known; name them below.")
        return {}
    now, likely = view.picked(found), view.suggested(found)
    names = list(dict.fromkeys(source.name for source in found))
    choices: dict[str, str | None] = {}
    with st.grid(min_column_width=240, gap="small"):
        for role, (label, purpose) in view.ROLES.items():
            by_itself = role in now and now[role] not in applied
            options = names if by_itself else [view.DASH, *names]
            start = now.get(role) or likely.get(role) or options[0]
            hint = " (suggested)" if role in likely else " (needed)" if role in view.REQUIRED and role not in now else ""
            chosen = st.selectbox(f"{label}{hint}", options, index=options.index(start), key=f"role-{version}-{role}", help=purpose)
            choices[role] = None if chosen == view.DASH else chosen
    return choices


def other_choices(found: Sequence[view.Source], given: Sequence[tuple[str, str]], version: str) -> list[tuple[str, str]]:
    """Names of people's own for further columns."""
    source, name = "Column in the file", "Read as"
    rows: list[dict[str, str | None]] = [{source: column, name: wanted} for column, wanted in given] or [{source: None, name: None}]
    names = list(dict.fromkeys(column.name for column in found))
    config = {
        source: st.column_config.SelectboxColumn(options=names) if names else st.column_config.TextColumn(),
        name: st.column_config.TextColumn(max_chars=100),
    }
    with st.expander("Other names", icon=":material/edit:", expanded=bool(given) or not found):
        edited: Any = st.data_editor(
            rows, num_rows="dynamic", hide_index=True, key=f"others-{version}", column_config=config, alt="Further columns and their names"
        )
    return [(str(row.get(source) or ""), str(row.get(name) or "")) for row in edited]


# --- Running it ---


def run_action(known: Opened) -> None:
    """The button that leads to a run, or why there is none at the moment."""
    held, reason = why_not(known)
    if st.button("Run pipeline", type="primary", icon=":material/play_arrow:", key="run", disabled=reason is not None):
        st.session_state[RUN_ID] = str(uuid4())  # of this question: however often it is answered with yes, it is one run
        st.session_state[ASKING] = name_of(known)  # kept, so that the question stays when the page is drawn again
    if st.session_state.get(ASKING) == name_of(known):
        confirm_run(known)
    if reason:
        st.caption(reason, text_alignment="right")
    if held and held.run_id:
        st.page_link(
            "app_pages/monitor.py", label="Watch that run", icon=":material/monitor_heart:", query_params={"run": str(held.run_id)}
        )
    if allowed(current(), Right.RUNS_START) and ASKING not in st.session_state:  # a rerun of its own accord may kill an open dialog
        st.fragment(lock_watch, run_every=LOCK_SECONDS, key="import-lock")(held.run_id if held else None)


def why_not(known: Opened) -> tuple[LockState | None, str | None]:
    """Who holds the lock, and why no run can be started now; None when one can."""
    who = current()
    if not allowed(who, Right.RUNS_START):
        return None, f":material/lock: {needs_operator('To start a run', who)}"
    try:
        held = lock.show(services(), who)
    except TreadleError as error:
        return None, f":material/help: Whether a run is active is not known: {words.plain(error.message)}"
    if held.run_id:
        return held, f":material/lock: A run is active: {holder(held)}."
    if known["profile"] and known["profile"].verdict is Verdict.BLOCKED:
        return held, ":material/block: A run would fail; mend the errors first."
    if known["mapping_fault"] or (known["job"] and is_final(known["job"])):
        return held, ":material/block: A run could not read the file either."
    return held, None


def lock_watch(drawn: UUID | None) -> None:
    """Draw the page again when the lock has been taken or freed since; draws nothing itself."""
    try:
        held = lock.show(services(), current())
    except TreadleError:
        return  # the frame says so already
    if held.run_id != drawn:
        st.rerun(scope="app")


def not_asking() -> None:
    """The question was put away."""
    st.session_state.pop(ASKING, None)


@st.dialog("Run pipeline", width="medium", icon=":material/play_arrow:", on_dismiss=not_asking)
def confirm_run(known: Opened) -> None:
    """What a run of this file will do, who is recorded for it, and the one button that starts it."""
    who, name, stored = current(), name_of(known), known["profile"]
    if stored:
        look = view.verdict_told(stored.verdict, stored.profile["validations"])
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(look.word, icon=look.icon, color=look.colour)
            st.caption(look.sentence, width="stretch")
    else:
        st.warning(
            "The file has not been inspected yet; the run may find what an inspection would have told.", icon=":material/hourglass_top:"
        )
    sheet = known["mapping"].sheet or (stored.profile.get("sheet") if stored else None)
    columns = ", ".join(f"{source} → {wanted}" for source, wanted in known["mapping"].columns.items())
    components.facts(
        [
            ("File", f"{name} ({words.size(known['file'].size_bytes)})"),
            ("Columns", columns or "as they are named in the file"),
            *([("Sheet", str(sheet))] if sheet else []),
            ("Environment", services().environment),
            ("Takes usually", words.duration(usual(who)) if usual(who) else "not known yet"),
            ("Recorded as", who.name),
        ]
    )
    st.markdown(becomes_current())
    st.caption("No other run can start meanwhile. The run can be cancelled on the page Monitor.")
    if st.button("Start the run", type="primary", icon=":material/play_arrow:", key="run-really"):
        begin_run(known)


def becomes_current() -> str:
    """What is published now, and what becomes of it."""
    try:
        shown = published(str(current().role), current())
    except TreadleError:
        return "If it succeeds, its results become the **current** ones; those before it stay in the archive."
    if shown is None:
        return "If it succeeds, its results become **current**. They will be the first."
    return (
        f"If it succeeds, its results become **current** in place of those of {words.plain(shown.profile['file_name'])}"
        f" (run {components.short_id(shown.run_id)}, {words.ago(shown.published_at, components.now())}), which stay in the archive and can be restored."
        " If it fails, nothing changes."
    )


def begin_run(known: Opened) -> None:
    """Start it, once however often the button is pressed, and go where it can be followed."""
    name = name_of(known)
    try:
        if files.get_file(services(), current(), name).etag != known["file"].etag:
            st.warning(
                "**The file was changed since you looked at it.** Nothing was started: close this, and look at it again.",
                icon=":material/sync_problem:",
            )
            st.session_state.pop(OPENED, None)
            return
        with st.spinner("Starting…"):
            run = runs.start(services(), current(), name, run_id=UUID(st.session_state[RUN_ID]))
    except LockHeld as taken:
        by, since = taken.details.get("locked_by") or "Somebody", words.plain(taken.message)
        st.warning(f"**{words.plain(by)} was faster.** {since} Nothing was started; wait for its end.", icon=":material/lock:")
    except TreadleError as error:
        failed(error)
        if not isinstance(error, OutcomeUnknown | Unavailable):
            st.session_state[RUN_ID] = str(uuid4())  # it is known how this one ended: the next click means a new one
    else:
        if run.status is RunStatus.FAILED:  # that of an earlier click, whose answer was lost
            st.session_state[RUN_ID] = str(uuid4())
            st.error(f"**The start failed.** {words.plain(run.error_message or '')} Press once more to try again.", icon=":material/error:")
            return
        not_asking()
        st.switch_page("app_pages/monitor.py", query_params={"run": str(run.run_id)})


page()
