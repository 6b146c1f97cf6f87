"""May the file be run? And why not, or what should be known before."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import streamlit as st

from treadle.actions import files
from treadle.control.access import Principal, Right, allowed
from treadle.flows.sales.drift import Change
from treadle.flows.sales.failing_rows import ROWS_A_CHECK
from treadle.flows.sales.profiles import StoredProfile
from treadle.portal import components, words
from treadle.portal.importing import sources
from treadle.portal.importing.changes import change_sentence
from treadle.portal.importing.checks import Check, checks, findings_csv, rows_told, verdict_told
from treadle.portal.importing.looks import NOTE
from treadle.portal.importing.mapping import save_mapping
from treadle.portal.importing.opened import Opened, name_of
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.who import current, needs_operator

CHECKS_AT_ONCE: Final = 6


def verdict_card(known: Opened, stored: StoredProfile, changes: list[Change] | None) -> None:
    """May it be run? And why not, or what should be known before."""
    profile, verdict = stored.profile, stored.verdict
    look, found = verdict_told(verdict, profile["validations"]), checks(profile["validations"])
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(look.word, icon=look.icon, color=look.colour)
            st.markdown(look.sentence, width="stretch")
            rows_button(known, [check for check in found if check.failing and check.look != NOTE])
            st.download_button(
                "Findings",
                lambda: findings_csv(profile, verdict),
                file_name=f"{name_of(known)}.findings.csv",
                mime="text/csv",
                icon=":material/download:",
                key="findings",
                on_click="ignore",
                help="All checks as CSV",
            )
        suggestion(known, sources.sources(profile))
        lacking = [check for check in found if not check.passed]
        for check in lacking[:CHECKS_AT_ONCE]:
            check_row(known, check)
        if lacking[CHECKS_AT_ONCE:]:
            with st.expander(f"{len(lacking) - CHECKS_AT_ONCE} more", icon=":material/more_horiz:", key="more-failed"):
                for check in lacking[CHECKS_AT_ONCE:]:
                    check_row(known, check)
        passed = [check for check in found if check.passed]
        if passed:
            with st.expander(
                f"{len(passed)} checks passed" if len(passed) > 1 else "1 check passed", icon=":material/check_circle:", key="passed"
            ):
                for check in passed:
                    check_row(known, check)
        if changes is not None:
            compared = change_sentence(changes)
            st.caption(f"{compared.icon} Against what is published: {words.plain(compared.sentence)}")
        st.caption(
            f":material/history: Inspected {words.ago(stored.computed_at, components.now())}; kept for everybody until the file changes."
        )


def check_row(known: Opened, check: Check) -> None:
    """One check: how it went, its name, what was found, and the rows on which it failed to take along."""
    told_as = f":{check.look.colour}-badge[{check.look.icon} {check.look.word}] **{words.plain(check.name)}** – {words.plain(check.detail)}"
    if not check.failing:
        st.markdown(told_as)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall"):
        st.markdown(told_as, width="stretch")
        st.download_button(
            rows_told(check).capitalize(),
            partial(rows_csv, current(), known, check.place),
            file_name=f"{name_of(known)}.{check.name.lower().replace(' ', '-')}.csv",
            mime="text/csv",
            icon=":material/download:",
            type="tertiary",
            key=f"rows-{check.place}",
            on_click="ignore",
            help=f"The rows {'that this note speaks of' if check.look == NOTE else 'on which this check fails'} as CSV, with what stands there and why",
        )


def rows_button(known: Opened, failing: Sequence[Check]) -> None:
    """All rows on which a check failed, with those of notes; nothing where no check failed on a row."""
    if not failing:
        return
    st.download_button(
        "Failing rows",
        partial(rows_csv, current(), known),
        file_name=f"{name_of(known)}.failing-rows.csv",
        mime="text/csv",
        icon=":material/download:",
        key="failing-rows",
        on_click="ignore",
        help=f"The rows on which checks fail, and those of notes, as CSV: up to {ROWS_A_CHECK:,} of each",
    )


def rows_csv(who: Principal, known: Opened, place: int | None = None) -> bytes:
    """The failing rows of the check in this place, or of all. Called by a click, where there is no page to ask who it is."""
    from treadle.portal.failing_csv import failing_rows_csv  # noqa: PLC0415 - brings Polars, which is only needed once somebody clicks

    stored = known["profile"]
    found = files.failing_rows(services(), who, name_of(known), stored.etag if stored else known["file"].etag)
    return failing_rows_csv(name_of(known), [one for one in found if place is None or one.place == place])


def suggestion(known: Opened, found: Sequence[sources.Source]) -> None:
    """When a required column is missing and another one looks like it: one click to read it so."""
    likely = sources.suggested(found)
    if not likely:
        return
    told_as = " and ".join(f"{source} as {sources.ROLES[role][0].lower()}" for role, source in likely.items())
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
