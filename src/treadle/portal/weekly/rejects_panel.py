"""The events of a week that break the contract: how many by rule, which, one of them whole, and all of them as files."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import streamlit as st

from treadle.actions import weekly
from treadle.control.access import Principal
from treadle.errors import NotFound
from treadle.flows.weekly.rejects import RuleCount
from treadle.flows.weekly.week import Week
from treadle.portal import components, words
from treadle.portal.shared import services
from treadle.portal.told import empty, told
from treadle.portal.weekly.raw_text import cut_note, visible
from treadle.portal.weekly.weeks_told import week_label
from treadle.portal.who import current

PAGE_ROWS: Final = 50
FORMATS: Final = {
    "CSV": ("csv", "text/csv"),
    "JSONL": ("jsonl", "application/x-ndjson"),
    "Parquet": ("parquet", "application/vnd.apache.parquet"),
}


def show(week: Week) -> None:
    """Counts by rule; below them the records of one rule, and one record in full."""
    try:
        counted = weekly.count_rejects(services(), current(), week)
    except NotFound:
        empty(
            "No rejects of this week here",
            "The week was not transformed on this machine. What each run rejected stands with the run; the records are where it ran, and in the lake.",
            icon=":material/rule:",
        )
        return
    if not counted:
        with st.container(border=True, horizontal_alignment="center"):
            st.markdown("#### :green[:material/check_circle:] No event was rejected", text_alignment="center")
            st.caption(f"Every event of {week_label(week)} keeps the contract.", text_alignment="center")
        return
    _counts(counted)
    rule = _rule(week, counted)
    _downloads(week, rule)
    _records(week, rule, sum(each.rows for each in counted if rule in {None, each.rule}))
    _record(week)


def count_rows(counted: Sequence[RuleCount]) -> list[dict[str, Any]]:
    """The counts as rows of a table; what a narrow window shows first is the number and the reason. Pure."""
    return [
        {
            "Events": each.rows,
            "Why": each.sample_reason,
            "Rule": rule_word(each.rule),
            "Field": each.field or "the whole record",
            "Such as": None if each.sample_value is None else visible(each.sample_value),
        }
        for each in counted
    ]


def rule_word(rule: str) -> str:
    """A rule as people call it. Pure."""
    return rule.replace("_", " ").capitalize()


def _counts(counted: Sequence[RuleCount]) -> None:
    st.caption(f"{sum(each.rows for each in counted):,} events were rejected, each counted under the first rule that it breaks.")
    st.dataframe(
        count_rows(counted),
        hide_index=True,
        height="content" if len(counted) <= 12 else 425,
        placeholder=words.DASH,
        key="weekly-rules",
        alt="Rejected events by rule and field",
        column_config={
            "Events": st.column_config.NumberColumn(format="localized", width=70),
            "Why": st.column_config.TextColumn(width=380),
            "Rule": st.column_config.TextColumn(width=130),
            "Field": st.column_config.TextColumn(width=120),
            "Such as": st.column_config.TextColumn(width="medium"),
        },
    )


def _rule(week: Week, counted: Sequence[RuleCount]) -> str | None:
    """Which rule's records are listed; None: those of all."""
    rules = ["", *dict.fromkeys(each.rule for each in counted)]
    chosen = st.selectbox(
        "Records that break",
        rules,
        format_func=lambda rule: rule_word(rule) if rule else "Any rule",
        key=f"weekly-rule-{week.start}",
        width=320,
    )
    return chosen if chosen in rules and chosen else None


def _downloads(week: Week, rule: str | None) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for label, (suffix, mime) in FORMATS.items():
            st.download_button(
                label,
                data=partial(exported, current(), week, rule, suffix),
                file_name=f"rejects-{week.start}{f'-{rule}' if rule else ''}.{suffix}",
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"weekly-rejects-{suffix}",
                help="What a spreadsheet would take for a formula is quoted." if suffix == "csv" else None,
            )
        st.caption("All records of this choice, with their raw bytes; made when you click.", width="content")


def exported(who: Principal, week: Week, rule: str | None, suffix: str) -> bytes:
    """The rejects as a file of that form. who: named, since a download is made beside the page, where nobody is signed in."""
    with tempfile.TemporaryDirectory(prefix="treadle-rejects-") as folder:
        target = Path(folder) / f"rejects.{suffix}"
        weekly.export_rejects(services(), who, week, target, rule=rule)
        return target.read_bytes()


def _records(week: Week, rule: str | None, total: int) -> None:
    """One page of them. A row that is clicked is shown in full below."""
    page = 1
    if total > PAGE_ROWS:
        page = st.pagination(-(-total // PAGE_ROWS), key=f"weekly-rejects-page-{week.start}-{rule}")
    found = weekly.list_rejects(services(), current(), week, rule=rule, offset=(page - 1) * PAGE_ROWS, limit=PAGE_ROWS)
    rows = [
        {
            "Record": each.row_index,
            "Why": each.reason,
            "Rule": rule_word(each.rule),
            "Field": each.field,
            "Value": None if each.value is None else visible(each.value),
            "Page": each.page,
        }
        for each in found
    ]
    key = f"weekly-records-{week.start}-{rule}-{page}"
    state: Any = st.dataframe(
        rows,
        key=key,
        hide_index=True,
        height=min(38 + 35 * len(rows), 320),
        placeholder=words.DASH,
        on_select="rerun",
        selection_mode="single-row",
        alt="Rejected records",
        column_config={
            "Record": st.column_config.NumberColumn(width=70),
            "Why": st.column_config.TextColumn(width=380),
            "Rule": st.column_config.TextColumn(width=120),
            "Field": st.column_config.TextColumn(width=110),
            "Value": st.column_config.TextColumn(width="medium"),
            "Page": st.column_config.NumberColumn(width=50),
        },
    )
    picked: list[int] = state.selection.rows
    chosen = [found[row].row_index for row in picked if row < len(found)]
    if chosen and st.session_state.get("weekly-record-picked") != (key, chosen[0]):
        st.query_params["record"] = str(chosen[0])
    st.session_state["weekly-record-picked"] = (key, chosen[0]) if chosen else None


def _record(week: Week) -> None:
    """One record: every error, and what came, shown as text and as nothing else."""
    named = st.query_params.get("record", "")
    if not named.isdecimal():
        st.caption("Choose a row to see the whole record with every error.")
        return
    with told():
        whole = weekly.show_reject(services(), current(), week, int(named))
        st.subheader(f"Record {whole.reject.row_index}")
        components.facts([("Place", f"page {whole.reject.page} of the extract, record {whole.reject.row_index} of all, from 0")])
        st.dataframe(
            [
                {
                    "Why": error.get("reason"),
                    "Rule": rule_word(str(error.get("rule") or "")),
                    "Field": error.get("field") or "the whole record",
                    "Value": None if error.get("value") is None else visible(str(error["value"])),
                }
                for error in whole.errors
            ],
            hide_index=True,
            height="content",
            placeholder=words.DASH,
            key="weekly-record-errors",
            alt="Every error of the record",
        )
        st.caption("The record as it came; characters that cannot be seen are written out.")
        st.code(visible(whole.raw_record), language=None, wrap_lines=True)
        if note := cut_note(whole.raw_record):
            st.caption(note)
