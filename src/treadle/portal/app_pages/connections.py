"""Connections: the workspaces of Fabric in which scenarios are built, and which of them is the active one."""

from collections.abc import Sequence

import streamlit as st

from treadle.actions import connections
from treadle.control.access import Right, allowed
from treadle.errors import TreadleError
from treadle.flows.scenario.connections import Connection
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.scenarios.asking import ask, asked, forget_when_entered
from treadle.portal.scenarios.looking import looks
from treadle.portal.scenarios.workspace_text import workspace_id_of
from treadle.portal.shared import services
from treadle.portal.told import empty, failed, told
from treadle.portal.who import current, needs_operator


def page() -> None:
    """The connections there are, and the field for a new one."""
    forget_when_entered()
    st.title("Connections")
    st.caption("A scenario is built in a workspace of Fabric. The active connection is the one that is offered first.")
    may = allowed(current(), Right.CONNECTIONS_MANAGE)
    try:
        known = looks().connections(current(), fresh_seconds=0)
    except TreadleError as error:
        failed(error, again="connections")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        show_connections(known, may=may)
    with right:
        new_connection(known, may=may)
    match asked():
        case ("disconnect", workspace_id) if any(each.workspace_id == workspace_id for each in known):
            confirm_delete(next(each for each in known if each.workspace_id == workspace_id))
        case ("disconnect", _):
            ask()
        case _:
            pass


def show_connections(known: Sequence[Connection], *, may: bool) -> None:
    """One card each, the active one first."""
    if not known:
        empty("No connection yet", "Add the workspace in which scenarios are to be built.", icon=":material/cable:")
    for each in sorted(known, key=lambda one: (not one.active, one.workspace_name.casefold())):
        with st.container(border=True, key=f"connection-{each.workspace_id}"):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.markdown(f"**{words.plain(each.workspace_name)}**", width="content")
                if each.active:
                    st.badge("Active", icon=":material/check_circle:", color="green")
                st.space("stretch")
                if not each.active:
                    st.button(
                        "Make active",
                        icon=":material/check:",
                        disabled=not may,
                        key=f"connection-select-{each.workspace_id}",
                        on_click=select,
                        args=(each.workspace_id,),
                    )
                st.button(
                    "Delete",
                    icon=":material/delete:",
                    type="tertiary",
                    disabled=not may,
                    key=f"connection-delete-{each.workspace_id}",
                    on_click=ask,
                    args=("disconnect", each.workspace_id),
                )
            st.caption(connection_line(each))
    if said := st.session_state.pop("connection-said", None):
        st.error(words.plain(said), icon=":material/error:")


def connection_line(each: Connection) -> str:
    """Which workspace it is, since when, and when it was used last; as Markdown."""
    used = f"used {words.ago(each.last_used, components.now())}" if each.last_used else "never used"
    return f"Workspace {words.plain(each.workspace_id)} · added {words.moment(each.created_at, zone())} · {used}"


def new_connection(known: Sequence[Connection], *, may: bool) -> None:
    """A field for a workspace, which is asked for before it is kept; at first that of the settings stands in it."""
    st.subheader("Add a connection", anchor=False)
    with st.form("connection-new", border=True):
        text = st.text_input(
            "Workspace",
            value="" if known else services().sales.workspace,
            key=f"connection-workspace-{len(known)}",
            placeholder="Its id, or its address in Fabric",
            help="Open the workspace in Fabric and copy the address; the id is in it.",
            max_chars=2000,
            disabled=not may,
        )
        asked_for = st.form_submit_button("Add", type="primary", icon=":material/add:", disabled=not may, key="connection-add")
    if not may:
        st.caption(f":material/lock: {needs_operator('To add connections', current())}")
    if asked_for:
        with told(), st.spinner("Asking Fabric for the workspace…"):
            added = connections.add_connection(services(), current(), workspace_id_of(text or ""))
            looks().look_again()
            st.toast(f"{words.plain(added.workspace_name)} is connected.", icon=":material/cable:")
            st.rerun()


def select(workspace_id: str) -> None:
    """Make it the active one."""
    try:
        connections.select_connection(services(), current(), workspace_id)
    except TreadleError as error:
        st.session_state["connection-said"] = error.message
    looks().look_again()


@st.dialog("Delete the connection", icon=":material/delete:", on_dismiss=ask)
def confirm_delete(each: Connection) -> None:
    """What goes, and what stays."""
    components.facts([("Workspace", each.workspace_name), ("Id", each.workspace_id)])
    st.write("Treadle forgets the connection. The workspace stays as it is, and so do the scenarios that were built in it.")
    if st.button("Delete this connection", type="primary", icon=":material/delete:", key="connection-delete-really"):
        with told():
            connections.delete_connection(services(), current(), each.workspace_id)
            looks().look_again()
            ask()
            st.rerun()


page()
