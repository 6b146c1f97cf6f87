"""What the check of an archive says to a plan and to a build: all faults of one archive, and nothing of what another slot of the same build does."""

import io

import pytest

from tests.flows.scenario_place import open_place, place
from tests.unit.scenario_archives import SCHEMA, SMALL, small, telco
from treadle.control.jobs.queue import list_steps
from treadle.flows.scenario.slots import Slot

__all__ = ["open_place", "place"]  # fixtures

PASSED_OVER = "which the slot telemetry builds"


@pytest.mark.parametrize(("slots", "count"), [([Slot.GRAPH], 1), ([Slot.GRAPH, Slot.TELEMETRY], 0)])
def test_a_plan_and_a_build_say_that_telemetry_is_passed_over_only_if_they_do_not_build_it(place, slots, count):
    def archives():
        return {slot: io.BytesIO(telco("entities", "telemetry")) for slot in slots}

    plan = place.plan(archives())
    assert (plan.faults, sum(PASSED_OVER in note for note in plan.notes)) == ((), count)
    built = place.build(archives())
    [extract] = [step for step in list_steps(place.wiring.own, built.job_id) if step.name == "graph.extract"]
    assert sum(PASSED_OVER in note for note in extract.result["notes"]) == count


def test_a_plan_and_a_build_tell_faults_of_the_schema_and_of_the_tables_together(place):
    schema = SCHEMA.replace("label: Shop,", "label: Shp,")
    archive = small(scenario_yaml="name: a shop\n", graph_schema_yaml=schema, Shop_csv=SMALL["data/entities/Shop.csv"] + "S1,again\n")
    told = {"schema_invalid", "id_twice"}
    plan = place.plan({Slot.GRAPH: io.BytesIO(archive)}, scenario_name="shop")
    assert ({fault.code for fault in plan.faults}, plan.changes) == (told, ())
    ended = place.work(place.request({Slot.GRAPH: io.BytesIO(archive)}, scenario_name="shop"))
    assert (ended.state, {fault["code"] for fault in ended.error_details["faults"]}) == ("FAILED", told)
