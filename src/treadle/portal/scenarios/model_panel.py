"""The ontology of a scenario: drawn, and its entity types and relationship types in words."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from treadle.flows.scenario.records import ScenarioRecord
from treadle.portal import words
from treadle.portal.scenarios.drawing import entity_types, model_dot, properties_of, relationship_types, styles_of
from treadle.portal.told import empty


def show(record: ScenarioRecord) -> None:
    """The picture first; what it shows, in tables below it."""
    entities, relations = entity_types(record.model), relationship_types(record.model)
    if not entities:
        empty("No graph", "This scenario was built without a graph: bring its archive for the slot Graph.", icon=":material/hub:")
        return
    labels = [str(entity["label"]) for entity in entities]
    with st.container(horizontal_alignment="center"):
        st.graphviz_chart(
            model_dot(record.model, styles_of(record.graph_styles, labels)),
            width="content",
            alt=f"{len(entities)} entity types and the relationship types between them; the tables below say the same",
        )
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader("Entity types")
        st.dataframe(
            words.visible_rows(entity_rows(record.model)),
            hide_index=True,
            height="content" if len(entities) <= 12 else 460,
            key="scenario-entities",
            alt="Entity types with their keys and properties",
            column_config={"Properties": st.column_config.TextColumn(width="large")},
        )
    with right:
        st.subheader("Relationship types")
        if relations:
            st.dataframe(
                words.visible_rows(relationship_rows(record.model)),
                hide_index=True,
                height="content" if len(relations) <= 12 else 460,
                key="scenario-relations",
                alt="Relationship types with both their ends",
            )
        else:
            st.caption(words.plain("No entity type relates to another."))


def entity_rows(model: Mapping[str, Any]) -> list[dict[str, str]]:
    """Entity types as rows: the key, and each property with its type. Pure."""
    return [
        {
            "Entity type": str(entity["label"]),
            "Key": str(entity.get("key", "")),
            "Properties": ", ".join(f"{each['name']} ({each.get('type', '?')})" for each in properties_of(entity)),
        }
        for entity in entity_types(model)
    ]


def relationship_rows(model: Mapping[str, Any]) -> list[dict[str, str]]:
    """Relationship types as rows. Pure."""
    return [
        {"From": str(each["source"]), "Relationship": str(each["label"]), "To": str(each["target"])} for each in relationship_types(model)
    ]
