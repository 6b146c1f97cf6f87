"""The dialog that adds a scenario, or brings more of one: five slots, where it is built, what the check of the archives found, and the plan."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final, cast
from uuid import UUID, uuid4

import streamlit as st

from treadle.actions import scenarios
from treadle.errors import TreadleError
from treadle.flows.scenario.connections import Connection
from treadle.flows.scenario.flow import Asked, BuildPlan
from treadle.flows.scenario.plan import Action
from treadle.flows.scenario.records import ScenarioRecord
from treadle.flows.scenario.slots import Slot
from treadle.portal import words
from treadle.portal.scenarios.asking import ask
from treadle.portal.scenarios.backends import BACKENDS, backend_word
from treadle.portal.scenarios.job_told import SLOTS
from treadle.portal.scenarios.looking import looks
from treadle.portal.scenarios.plan_told import change_rows, documents_lines, documents_question, fault_rows, plan_sentence, split_notes
from treadle.portal.shared import portal, services
from treadle.portal.told import failed, told
from treadle.portal.upload_limits import limits_told
from treadle.portal.who import current

MEANT: Final[Mapping[str, str]] = {
    "graph": "scenario.yaml, graph_schema.yaml and the CSV files of nodes and edges",
    "telemetry": "scenario.yaml and the CSV files of measurements, for KQL tables",
    "runbooks": "Texts: what to do when something happens",
    "tickets": "Texts: what happened before",
    "prompts": "Texts: what agents are told",
}
FORMATS: Final = ["gz", "tgz"]
MEGABYTE: Final = 1024 * 1024
AS_BEFORE: Final = "As it was built last in this workspace, else {}"
SHORT: Final = 8  # rows; a longer table scrolls, so that the button below it stays in reach
_CHECKED: Final = "scenario-add-checked"  # the last check of this session, with what it was of
_JOB_ID: Final = "scenario-add-job"  # of this question: however often it is answered with yes, it is one job
_OVERWRITE: Final = "scenario-add-overwrite"
_DOCUMENTS: Final = "scenario-add-documents"
_REPLACE: Final = "scenario-add-replace"
_ROUND: Final = "scenario-add-round"  # how many scenarios this session has added: a new one begins with empty fields


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, or what was met instead, and of which archives and answers."""

    of: Any
    plan: BuildPlan | TreadleError


def begin(name: str = "") -> None:
    """Open the dialog. name: of a scenario that more is brought of; empty for a new one."""
    st.session_state[_JOB_ID] = str(uuid4())
    st.session_state[_ROUND] = int(st.session_state.get(_ROUND, 0)) + 1
    for key in (_CHECKED, _OVERWRITE, _REPLACE, _DOCUMENTS):
        st.session_state.pop(key, None)
    ask("add", name)


def add(name: str) -> None:
    """The dialog of a new scenario, or of one that more is brought of."""
    title, icon = (f"Update {words.plain(name)}", ":material/upload:") if name else ("Add a scenario", ":material/add_circle:")
    st.dialog(title, width="large", icon=icon, on_dismiss=ask)(_ask_for)(name)


def _ask_for(name: str) -> None:
    """Archives first, then where, then what would happen."""
    with told():
        known = looks().connections(current())
        before = looks().scenario(current(), name) if name else None
        archives = _slots()
        wanted = _where(name, before, known)
        if not known:
            st.info(
                "**No workspace is connected yet.** A scenario is built in a workspace of Fabric: connect one first.",
                icon=":material/cable:",
            )
            st.page_link("app_pages/connections.py", label="To the connections", icon=":material/cable:")
            return
        if not archives:
            st.caption(
                ":material/info: Drop at least one archive. It is checked here before anything is sent, and nothing is built before you say so."
            )
            return
        if wanted:
            _check_and_build(archives, wanted)


def _slots() -> dict[str, Any]:
    """The five fields; what somebody dropped into them."""
    limit, round_ = portal().upload_bytes, st.session_state.get(_ROUND, 0)
    found: dict[str, Any] = {}
    with st.grid(2, min_column_width=300, gap="small"):
        for slot, word in SLOTS.items():
            uploaded = st.file_uploader(
                word,
                type=FORMATS,
                max_upload_size=max(1, limit // MEGABYTE),
                key=f"scenario-slot-{slot}-{round_}",
                help=MEANT[slot],
            )
            if uploaded is not None:
                found[slot] = uploaded
        most = services().scenarios().upload_limit_bytes
        st.caption(f"Each an archive that ends in .tar.gz. {limits_told(limit, most, 'treadle scenario apply FILE')}")
    return found


def _where(name: str, before: ScenarioRecord | None, known: tuple[Connection, ...]) -> Asked | None:
    """Where it is built, and as what. before: the scenario as it is, which is offered first. None: there is no workspace to choose."""
    if not known:
        return None
    by_id = {each.workspace_id: each for each in known}
    first = next((place for place, each in enumerate(known) if each.active), 0)
    first = next((place for place, each in enumerate(known) if before and each.workspace_id == before.workspace_id.lower()), first)
    round_ = st.session_state.get(_ROUND, 0)
    with st.grid(2, min_column_width=300, gap="small"):
        workspace: str = st.selectbox(
            "Workspace",
            list(by_id),
            index=first,
            format_func=lambda workspace_id: by_id[workspace_id].workspace_name if workspace_id in by_id else "",
            key="scenario-add-workspace",
        )
        backend: str = st.selectbox("Graph backend", list(BACKENDS), format_func=backend_word, key="scenario-add-backend")
        lakehouse = st.text_input(
            "Lakehouse",
            value=(before and before.lakehouse_name) or "",
            placeholder=AS_BEFORE.format("lakehouse"),
            key=f"scenario-add-lakehouse-{round_}",
            max_chars=256,
        )
        ontology = st.text_input(
            "Ontology",
            value=(before and before.ontology_name) or "",
            placeholder=AS_BEFORE.format("ontology"),
            key=f"scenario-add-ontology-{round_}",
            max_chars=256,
        )
    scenario = st.text_input(
        "Name of the scenario",
        value=name,
        placeholder="As the archive's scenario.yaml says",
        key=f"scenario-add-name-{round_}",
        max_chars=100,
        help="Needed only where no archive has a scenario.yaml, as for runbooks alone.",
    )
    asked = Asked(
        scenario_name=(scenario or "").strip() or None,
        backend=backend or None,
        workspace_id=workspace,
        workspace_name=by_id[workspace].workspace_name,
        lakehouse_name=(lakehouse or "").strip() or None,
        ontology_name=(ontology or "").strip() or None,
    )
    return without_what_is_so(asked, before)


def without_what_is_so(asked: Asked, before: ScenarioRecord | None) -> Asked:
    """Names that were offered, and that nobody has changed, are none that somebody gave: where the scenario is, they are found by themselves. Pure."""
    if before is None or asked.scenario_name != before.name or asked.workspace_id.lower() != before.workspace_id.lower():
        return asked
    lakehouse = None if asked.lakehouse_name == before.lakehouse_name else asked.lakehouse_name
    ontology = None if asked.ontology_name == before.ontology_name else asked.ontology_name
    return replace(asked, lakehouse_name=lakehouse, ontology_name=ontology)


def _check_and_build(archives: Mapping[str, Any], wanted: Asked) -> None:
    """The check of these archives, its plan, and what it takes to go on."""
    over = bool(st.session_state.get(_OVERWRITE))
    plan = checked(archives, replace(wanted, overwrite=over))
    if isinstance(plan, TreadleError):
        failed(plan)
        return
    if plan.faults:
        _faults(plan)
        return
    _planned(plan)
    conflicts = sum(change.action is Action.CONFLICT for change in plan.changes)
    if conflicts or over:
        st.checkbox(
            "Take over what is there already (overwrite)",
            key=_OVERWRITE,
            help="What another scenario or somebody else made under these names gets this scenario's content. That cannot be undone.",
        )
    replaced = sum(change.action is Action.UPDATE for change in plan.changes)
    agreed = not replaced or st.checkbox(
        f"Yes, replace the content of {replaced} {'thing' if replaced == 1 else 'things'} that {'is' if replaced == 1 else 'are'} there",
        key=_REPLACE,
    )
    lost = documents_question(plan.documents)
    agreed_too = lost is None or st.checkbox(lost, key=_DOCUMENTS)
    label = f"Update {plan.scenario_name}" if replaced or lost else f"Build {plan.scenario_name}"
    if st.button(
        words.plain(label),
        type="primary",
        icon=":material/play_arrow:",
        key="scenario-add-really",
        disabled=bool(conflicts) or not agreed or not agreed_too,
    ):
        _build(archives, replace(wanted, overwrite=over, scenario_name=plan.scenario_name), plan)
    st.caption("The job goes on without you: this closes, and the line above every page tells how far it is.")


def checked(archives: Mapping[str, Any], asked: Asked) -> BuildPlan | TreadleError:
    """The plan of these archives: worked out once for the same ones and the same answers."""
    of = ({slot: file.file_id for slot, file in archives.items()}, asked)
    kept: Checked | None = st.session_state.get(_CHECKED)
    if kept is None or kept.of != of:
        with st.spinner("Checking the archives, and looking at what is there…"):
            kept = Checked(of, _plan(archives, asked))
        st.session_state[_CHECKED] = kept
    return kept.plan


def _plan(archives: Mapping[str, Any], asked: Asked) -> BuildPlan | TreadleError:
    try:
        return scenarios.plan(services(), current(), asked, _rewound(archives))
    except TreadleError as error:
        return error


def _rewound(archives: Mapping[str, Any]) -> dict[Slot, BinaryIO]:
    for file in archives.values():
        file.seek(0)
    return {Slot(slot): cast("BinaryIO", file) for slot, file in archives.items()}


def _faults(plan: BuildPlan) -> None:
    count = len(plan.faults)
    st.error(
        f"**{count} {'thing has' if count == 1 else 'things have'} to be mended first.** Nothing was sent. Mend the archive, and drop it again.",
        icon=":material/rule:",
    )
    st.dataframe(
        fault_rows(plan.faults),
        hide_index=True,
        height=min(38 + 70 * count, 380),
        row_height=70,
        key="scenario-add-faults",
        alt="What has to be mended",
        column_config={
            "Where": st.column_config.TextColumn(width=170),
            "What is wrong": st.column_config.TextColumn(width="large"),
            "What to do": st.column_config.TextColumn(width="large"),
        },
    )


def _planned(plan: BuildPlan) -> None:
    look = ":material/block:" if any(change.action is Action.CONFLICT for change in plan.changes) else ":material/check_circle:"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        blocked = look == ":material/block:"
        st.badge("In conflict" if blocked else "Checked", icon=look, color="orange" if blocked else "green")
        st.markdown(
            f"**{words.plain(plan.scenario_name)}** on {words.plain(backend_word(plan.backend))}: {plan_sentence(plan.changes, plan.documents)}",
            width="stretch",
        )
    if plan.changes:
        nothing = all(change.action is Action.UNCHANGED for change in plan.changes)
        with st.expander("What would be done, in this order", icon=":material/checklist:", expanded=not nothing):
            _changes(plan)
    of_documents, elsewhere, others = split_notes(plan.notes)
    for note in elsewhere:
        st.warning(words.plain(note), icon=":material/alt_route:")
    for line in documents_lines(plan.documents):
        st.caption(f":material/description: {words.plain(line)}")
    for note in of_documents:
        st.caption(f":material/description: {words.plain(note[:1].upper() + note[1:])}")
    if others:
        with st.expander(f"{len(others)} {'note' if len(others) == 1 else 'notes'}", icon=":material/info:"):
            for note in others:
                st.markdown(f"- {words.plain(note)}")


def _changes(plan: BuildPlan) -> None:
    st.dataframe(
        change_rows(plan.changes),
        hide_index=True,
        height="content" if len(plan.changes) <= SHORT else 260,
        key="scenario-add-plan",
        alt="What would be done, in this order",
        column_config={
            "What happens": st.column_config.TextColumn(width=110),
            "Thing": st.column_config.TextColumn(width=100),
            "Name": st.column_config.TextColumn(width=220),
            "Why": st.column_config.TextColumn(width="large"),
        },
    )


def _build(archives: Mapping[str, Any], asked: Asked, plan: BuildPlan) -> None:
    """Hand the archives over, ask for the job, close, and go where it can be followed."""
    with told(), ExitStack() as stack:
        stack.enter_context(st.spinner("Handing the archives over…"))
        job_id = UUID(str(st.session_state.get(_JOB_ID) or uuid4()))
        scenarios.build(services(), current(), asked, _rewound(archives), job_id=job_id)
        looks().look_again()
        st.session_state.pop(_CHECKED, None)
        ask()
        stack.close()
        st.switch_page("app_pages/scenario.py", query_params={"scenario": plan.scenario_name})
