"""What building a scenario would change, told before it is changed."""

import pytest

from treadle.flows.scenario.plan import Action, Existing, Kind, Wanted, counts, plan_removal, plan_scenario

WANTED = (
    Wanted(Kind.ONTOLOGY, "telco", "o1"),
    Wanted(Kind.TABLE, "DimRouter", "t1"),
    Wanted(Kind.LAKEHOUSE, "lakehouse", shared=True),
    Wanted(Kind.GRAPH_MODEL, "telco_graph", "g1"),
)
BUILT = (
    Existing(Kind.LAKEHOUSE, "lakehouse", "1", made_by="telco"),
    Existing(Kind.TABLE, "DimRouter", "2", "t1", "telco"),
    Existing(Kind.ONTOLOGY, "telco", "3", "o1", "telco"),
    Existing(Kind.GRAPH_MODEL, "telco_graph", "4", "g1", "telco"),
)


def actions(existing, **options):
    return [(change.kind.value, change.action.value) for change in plan_scenario("telco", WANTED, existing, **options)]


def test_nothing_there_means_create_all_in_the_order_of_building():
    assert actions(()) == [("lakehouse", "create"), ("table", "create"), ("ontology", "create"), ("graph_model", "create")]


def test_a_second_time_changes_nothing():
    changes = plan_scenario("telco", WANTED, BUILT)
    assert counts(changes) == {"create": 0, "update": 0, "unchanged": 4, "conflict": 0}
    assert [change.item_id for change in changes] == ["1", "2", "3", "4"]


def test_other_content_of_our_own_is_updated_and_unknown_content_too():
    changed = [
        *BUILT[:1],
        Existing(Kind.TABLE, "DimRouter", "2", "other", "telco"),
        Existing(Kind.ONTOLOGY, "telco", "3", None, "telco"),
        BUILT[3],
    ]
    assert [action for _, action in actions(changed)] == ["unchanged", "update", "update", "unchanged"]


@pytest.mark.parametrize("made_by", [None, "another"])
def test_what_somebody_else_made_is_a_conflict_unless_it_may_be_overwritten(made_by):
    theirs = [*BUILT[:2], Existing(Kind.ONTOLOGY, "telco", "3", "o1", made_by), BUILT[3]]
    [conflict] = [change for change in plan_scenario("telco", WANTED, theirs) if change.action is Action.CONFLICT]
    assert (conflict.kind, conflict.item_id) == (Kind.ONTOLOGY, "3")
    assert (made_by or "not made by Treadle") in conflict.reason
    assert dict(actions(theirs, overwrite=True))["ontology"] == "update"


def test_a_lakehouse_may_be_anybodys():
    assert dict(actions([Existing(Kind.LAKEHOUSE, "lakehouse", "1")]))["lakehouse"] == "unchanged"


def test_two_things_of_a_name_and_a_name_that_differs_in_case_are_conflicts_that_no_overwriting_solves():
    twice = [
        Existing(Kind.LAKEHOUSE, "lakehouse", "1"),
        Existing(Kind.LAKEHOUSE, "lakehouse", "2"),
        Existing(Kind.ONTOLOGY, "Telco", "3", None, "telco"),
    ]
    found = dict(actions(twice, overwrite=True))
    assert (found["lakehouse"], found["ontology"]) == ("conflict", "conflict")


def test_a_thing_of_another_kind_is_in_nobodys_way():
    assert dict(actions([Existing(Kind.TABLE, "telco", "9")]))["ontology"] == "create"


def test_removal_takes_what_the_scenario_made_and_in_reverse():
    others = [Existing(Kind.TABLE, "Theirs", "7", made_by="another"), Existing(Kind.TABLE, "Unknown", "8")]
    assert [item.item_id for item in plan_removal("telco", [*BUILT, *others])] == ["4", "3", "2", "1"]
