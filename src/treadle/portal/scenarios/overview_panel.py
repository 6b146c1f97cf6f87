"""What a scenario is: its story, where it was built, and its tables with their rows."""

from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from treadle.flows.scenario.records import ScenarioRecord, TableRecord
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.scenarios.backends import backend_word
from treadle.portal.scenarios.plan_told import kind_word

_LOST: Final = 8  # that are named
TABLE_KINDS: Final = {"lakehouse": "Lakehouse", "kql": "KQL database"}


def show(record: ScenarioRecord) -> None:
    """Story and tables on the one side, where everything is on the other."""
    if record.lost:
        st.warning(lost_told(record), icon=":material/incomplete_circle:")
    main, aside = st.columns([3, 2], gap="large")
    with main:
        if record.description:
            st.markdown(words.plain(record.description))
        if record.use_cases:
            st.subheader("Use cases")
            st.markdown("\n".join(f"- {words.plain(each)}" for each in record.use_cases))
        tables(record.tables)
    with aside:
        st.subheader("Where it is")
        components.facts(places(record))
        built = f"{words.moment(record.updated_at, zone())} ({words.ago(record.updated_at, components.now())})"
        components.facts([("Built last", built)])


def lost_told(record: ScenarioRecord) -> str:
    """What others have taken over of it, and what to do about it. Pure."""
    named = [f"{kind_word(loss.kind)} {words.plain(loss.name)}" for loss in record.lost[:_LOST]]
    more = f" and {len(record.lost) - _LOST} more" if len(record.lost) > _LOST else ""
    takers = ", ".join(words.plain(name) for name in sorted({loss.taken_by for loss in record.lost}))
    return f"It is not whole any more. {takers} took over: {', '.join(named)}{more}. Build it again, with names of its own."


def tables(found: Sequence[TableRecord]) -> None:
    """Every table with its rows."""
    st.subheader("Tables")
    if not found:
        st.caption("This scenario has no tables.")
        return
    total = sum(table.rows or 0 for table in found)
    st.caption(f"{len(found)} {'table' if len(found) == 1 else 'tables'}, {words.number(total)} rows")
    st.dataframe(
        words.visible_rows(table_rows(found)),
        hide_index=True,
        height="content" if len(found) <= 15 else 540,
        key="scenario-tables",
        alt="The tables of the scenario, with their rows",
        column_config={
            "Table": st.column_config.TextColumn(width="medium"),
            "Rows": st.column_config.NumberColumn(format="localized", width=100),
            "In": st.column_config.TextColumn(width=120),
        },
    )


def table_rows(found: Sequence[TableRecord]) -> list[dict[str, Any]]:
    """Tables as rows, those of the lakehouse first. Pure."""
    ordered = sorted(found, key=lambda table: (table.kind != "lakehouse", table.name))
    return [{"Table": table.name, "Rows": table.rows, "In": TABLE_KINDS.get(table.kind, table.kind)} for table in ordered]


def places(record: ScenarioRecord) -> list[tuple[str, str]]:
    """Where the parts of the scenario are, by name where there is one; only those that it has. Pure."""
    named = [
        ("Workspace", record.workspace_name or record.workspace_id),
        ("Graph backend", backend_word(record.graph_connector)),
        ("Domain", record.domain),
        ("Lakehouse", record.lakehouse_name or record.lakehouse_id),
        ("Ontology", record.ontology_name or record.ontology_id),
        ("Graph model", record.graph_model_id),
        ("Eventhouse", record.eventhouse_name or record.eventhouse_id),
        ("KQL database", record.kql_database_name or record.kql_database_id),
    ]
    return [(name, str(value)) for name, value in named if value]
