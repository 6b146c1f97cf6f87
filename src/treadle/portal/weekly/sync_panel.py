"""What Salesforce took of a week: by run, and the rows that it refused, with its reasons."""

from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from treadle.actions import weekly
from treadle.flows.weekly.acknowledged import RefusedRow
from treadle.flows.weekly.record import WeeklyRun
from treadle.flows.weekly.week import Week
from treadle.looks import look_of
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.weekly.asking import ask
from treadle.portal.weekly.looking import looks
from treadle.portal.weekly.raw_text import visible
from treadle.portal.weekly.run_told import COUNTS, sync_counts
from treadle.portal.weekly.spans import span_name
from treadle.portal.who import current

RUNS: Final = 5  # newest ones of the week, whose results are shown
SHOWN: Final = 500  # refused rows; the command line lists all
MEANT: Final = {
    "created": "Records that Salesforce did not have",
    "updated": "Records of which something differed",
    "unchanged": "Records that Salesforce has as they are; nothing was sent",
    "invalid": "Rows that break a rule of the object, and were not sent",
    "refused": "Rows that Salesforce did not take",
    "pending": "Rows whose fate is open: locked, or never tried",
}


def show(week: Week, runs: Sequence[WeeklyRun], reason: str | None) -> None:
    """The results by run, then what is refused."""
    _results(runs)
    with told():
        _refused(week, reason)


def _results(runs: Sequence[WeeklyRun]) -> None:
    counted = [(run, sync_counts(looks().details(current(), run.run_id).events)) for run in runs[:RUNS]]
    synced = [(run, counts) for run, counts in counted if counts]
    if not synced:
        st.caption("No run of this week has come to the end of its stage Sync." if runs else "No run of this week yet.")
        return
    run, counts = synced[0]
    with st.grid(min_column_width=120, gap="small"):
        for name in COUNTS:
            st.metric(name.capitalize(), words.number(counts[name]), border=True, help=MEANT[name])
    st.caption(
        f"By run {components.short_id(run.run_id)}, {words.moment(run.started_at, zone())}; rows that were sent again since are not counted here."
    )
    if len(synced) > 1:
        st.dataframe(
            [_row(run, counts) for run, counts in synced], hide_index=True, height="content", key="weekly-results", alt="Results by run"
        )


def _row(run: WeeklyRun, counts: dict[str, int]) -> dict[str, Any]:
    look = look_of(run.status)
    named = {name.capitalize(): counts[name] for name in COUNTS}
    return {
        "Run": components.short_id(run.run_id),
        "Started": words.moment(run.started_at, zone()),
        "State": f"{look.sign} {look.word}",
        **named,
    }


def _refused(week: Week, reason: str | None) -> None:
    st.subheader("Refused rows")
    refused: list[RefusedRow] = weekly.list_refused(services(), current(), week)
    if not refused:
        st.caption(":green[:material/check_circle:] No row of this week is refused.")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Retry refused rows",
            icon=":material/replay:",
            key="weekly-retry",
            disabled=reason is not None,
            on_click=ask,
            args=("retry", span_name(week)),
        )
        st.caption(reason or f"{len(refused):,} rows wait. They are sent again only if they change, or if you retry them.", width="content")
    st.dataframe(
        refused_rows(refused[:SHOWN]),
        hide_index=True,
        height=min(38 + 35 * len(refused), 420),
        placeholder=words.DASH,
        key="weekly-refused",
        alt="Rows that Salesforce refused",
        column_config={
            "Record": st.column_config.TextColumn(width=130),
            "Reason": st.column_config.TextColumn(width="large"),
            "Tries": st.column_config.NumberColumn(width=60),
            "First": st.column_config.DatetimeColumn(format="D MMM, HH:mm", width=110),
            "Last": st.column_config.DatetimeColumn(format="D MMM, HH:mm", width=110),
        },
    )
    if len(refused) > SHOWN:
        st.caption(f"The first {SHOWN:,} of {len(refused):,}. All of them: treadle weekly rejects ls --week-start {week.start} --json")


def refused_rows(refused: Sequence[RefusedRow]) -> list[dict[str, Any]]:
    """Refused rows for a table: Salesforce's words, then what was sent."""
    return [
        {
            "Record": visible(row.external_id),
            "Reason": visible(row.message),
            "Code": row.code,
            "Tries": row.attempts,
            "First": row.first_seen.astimezone(zone()).replace(tzinfo=None),
            "Last": row.last_seen.astimezone(zone()).replace(tzinfo=None),
            **{name: None if value is None else visible(value) for name, value in row.fields.items()},
        }
        for row in refused
    ]
