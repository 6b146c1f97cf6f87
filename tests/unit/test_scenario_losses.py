"""What a scenario's record has no more when another one took it over, and how that is shown. Pure."""

from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest

from treadle.errors import InvalidInput
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import Loss, ScenarioRecord, TableRecord, Thing, check_scenario_document, without
from treadle.looks import LOOKS
from treadle.portal.scenarios.listing import lines_of
from treadle.portal.scenarios.overview_panel import lost_told

RECORD = ScenarioRecord(
    name="one", display_name="One", description="", domain=None, use_cases=(), example_questions=(), graph_styles={},
    graph_connector="fabric-gql", workspace_id="W", workspace_name="ops", lakehouse_id="l", lakehouse_name="lakehouse", ontology_id="o",
    ontology_name="ontology", graph_model_id="g", eventhouse_id="e", kql_database_id="k", kql_database_name="telemetry",
    tables=(TableRecord("Shop", 1, "lakehouse"), TableRecord("Shop", 2, "kql")), updated_at=datetime(2026, 1, 1, tzinfo=UTC),
)  # fmt: skip


def thing(kind, name, item_id, workspace="w"):
    return Thing("one", workspace, kind, name, item_id)


@pytest.mark.parametrize(
    ("taken", "gone"),
    [
        (thing(Kind.ONTOLOGY, "ontology", "o"), {"ontology_id": None, "ontology_name": None}),
        (thing(Kind.GRAPH_MODEL, "g1", "g"), {"graph_model_id": None}),
        (thing(Kind.TABLE, "lakehouse/Shop", "l"), {"tables": (TableRecord("Shop", 2, "kql"),)}),
        (thing(Kind.KQL_TABLE, "telemetry/Shop", "k"), {"tables": (TableRecord("Shop", 1, "lakehouse"),)}),
    ],
)
def test_what_was_taken_over_is_no_longer_in_the_record(taken, gone):
    assert without(RECORD, taken) == replace(RECORD, **gone)


@pytest.mark.parametrize(
    "taken",
    [
        thing(Kind.ONTOLOGY, "ontology", "an older one"),
        thing(Kind.TABLE, "lakehouse/Other", "l"),
        thing(Kind.TABLE, "other/Shop", "l2"),
        thing(Kind.ONTOLOGY, "ontology", "o", workspace="elsewhere"),
        thing(Kind.GREMLIN_GRAPH, "one", "one"),
        thing(Kind.ONTOLOGY, "ontology", ""),
    ],
)
def test_what_the_record_does_not_name_is_no_loss(taken):
    assert without(RECORD, taken) is None


def test_a_scenario_that_lost_something_does_not_look_whole():
    lost = replace(RECORD, lost=(Loss(Kind.TABLE, "lakehouse/Shop", "two"), Loss(Kind.ONTOLOGY, "ontology", "two")))
    (line,) = lines_of([lost], [])
    assert (line.state, line.facts[1]) == ("INCOMPLETE", "2 things taken over by others")
    assert line.state in LOOKS
    assert [line.state for line in lines_of([RECORD], [])] == ["BUILT"]
    assert lost_told(lost).startswith("It is not whole any more. two took over: Table lakehouse/Shop, Ontology ontology.")


def test_a_document_whose_losses_cannot_be_read_is_refused():
    body = {**asdict(RECORD), "updated_at": RECORD.updated_at.isoformat(), "lost": [{"kind": "table", "name": "a/b", "taken_by": "two"}]}
    check_scenario_document("one", body)
    with pytest.raises(InvalidInput):
        check_scenario_document("one", {**body, "lost": [{"kind": "star", "name": "a/b", "taken_by": "two"}]})
