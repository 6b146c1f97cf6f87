"""Which column of a file is which."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from treadle.actions import files
from treadle.control.access import Right, allowed
from treadle.portal import words
from treadle.portal.importing import sources
from treadle.portal.importing.opened import OPENED, Opened, name_of
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.who import current, needs_operator


def mapping_editor(known: Opened) -> None:
    """Which column of the file is which; stored beside the file, for this run and later ones."""
    profile = known["profile"].profile if known["profile"] else None
    details = known["job"].error_details if known["job"] else None
    found = sources.sources(profile) if profile else sources.sources_of_failure(details)
    applied = dict(profile["mapping"]) if profile else dict(known["mapping"].columns)
    may = allowed(current(), Right.FILES_WRITE)
    version = f"{known['file'].etag}-{hash((tuple(sorted(known['mapping'].columns.items())), known['mapping'].sheet))}"
    with st.form(f"mapping-{version}", border=True):
        st.caption("Say which column is which. It is stored beside the file, holds for later runs too, and leads to a new inspection.")
        sheet = sheet_choice(known, sources.sheets(profile, details), version)
        picks = role_choices(found, applied, version)
        others = other_choices(found, sources.other_names(applied), version)
        saved = st.form_submit_button("Save and inspect again", icon=":material/save:", disabled=not may, key=f"save-{version}")
    if not may:
        st.caption(f":material/lock: {needs_operator('To change the mapping', current())}")
    if not saved:
        return
    wanted, problems = sources.new_mapping(found, applied, picks, others)
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


def role_choices(found: Sequence[sources.Source], applied: dict[str, str], version: str) -> dict[str, str | None]:
    """For each name that a run looks for, the column that is read by it; what looks likely is chosen already where one is missing."""
    if not found:
        st.caption("The columns of the file are not known; name them below.")
        return {}
    now, likely = sources.picked(found), sources.suggested(found)
    names = list(dict.fromkeys(source.name for source in found))
    choices: dict[str, str | None] = {}
    with st.grid(min_column_width=240, gap="small"):
        for role, (label, purpose) in sources.ROLES.items():
            by_itself = role in now and now[role] not in applied
            options = names if by_itself else [words.DASH, *names]
            start = now.get(role) or likely.get(role) or options[0]
            hint = " (suggested)" if role in likely else " (needed)" if role in sources.REQUIRED and role not in now else ""
            chosen = st.selectbox(f"{label}{hint}", options, index=options.index(start), key=f"role-{version}-{role}", help=purpose)
            choices[role] = None if chosen == words.DASH else chosen
    return choices


def other_choices(found: Sequence[sources.Source], given: Sequence[tuple[str, str]], version: str) -> list[tuple[str, str]]:
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
