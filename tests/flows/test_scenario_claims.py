"""One job at a time on a scenario's name and in a workspace, whatever keys the jobs run under: who waits for whom, and what kills and retries make of it."""

import contextlib
import threading
import time
from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest

from tests.flows.conftest import eventually
from tests.flows.scenario_place import SMALL_TABLES, open_place, packed, place, small_graph
from treadle.control.database import Database
from treadle.control.jobs.claims import claim_job, rescue_one, settle_job
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.kinds import Kind as JobKind
from treadle.control.jobs.kinds import by_name
from treadle.control.jobs.overview import newest_told
from treadle.control.jobs.queue import enqueue, list_job_events, list_steps, retry_job
from treadle.control.jobs.run import Cancelled, Hold, JobContext
from treadle.control.jobs.states import Happening, Settlement, after_failure
from treadle.control.jobs.worker import JobWorker
from treadle.errors import InvalidInput, Unavailable
from treadle.flows.scenario.claims import claim, claim_for_build, claim_for_removal, holder_of, scenario, workspace
from treadle.flows.scenario.flow import BUILD, request_destroy, running_build
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.provision_item import ItemWish, item_kind, request_item
from treadle.flows.scenario.records import find_scenario, get_scenario, things_of
from treadle.flows.scenario.slots import Slot
from treadle.flows.scenario.upload_job import progress_of, upload_job
from treadle.sandbox.faults import FaultRule
from treadle.stores.postgres import PostgresDocuments

__all__ = ["open_place", "place"]  # fixtures

NAME, PLACE = scenario("telco-noc"), workspace("5D5C1E5A-0000-4000-8000-000000000001")
NOW = {"wait_seconds": 0.0}


def graph():
    return {Slot.GRAPH: small_graph()}


def widgets():
    """Another scenario, of one table, in the same lakehouse."""
    files = {
        "scenario.yaml": b"name: widgets\n",
        "graph_schema.yaml": b"vertices:\n  - {label: Widget, csv_file: DimWidget.csv, id_column: Name}\n",
        "data/entities/DimWidget.csv": b"Name\nSprocket\n",
    }
    return {Slot.GRAPH: packed(files)}


def elsewhere(place):
    """The same place, with another workspace."""
    made = place.services.fabric.create_workspace(f"{place.workspace_name} 2")
    return replace(place, workspace_id=made.workspace_id, workspace_name=made.name)


@contextlib.contextmanager
def at_work(worker):
    """A worker in threads of its own."""
    stop = threading.Event()
    running = threading.Thread(target=worker.run, args=(stop,))
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join()


def has_ended(place, job):
    return lambda: place.job(job).state.ended


def has_begun(place, job, step):
    return lambda: any(found.name == step for found in list_steps(place.wiring.own, job.job_id))


def waits(place, job):
    """What those are told who watch a job that waits."""
    told = filter(None, map(progress_of, list_job_events(place.wiring.own, job.job_id)))
    return [progress["detail"] for progress in told if progress["detail"].startswith("Waits for ")]


def changes_of(place, job):
    """When a job first did more than to read its archive."""
    return min(step.started_at for step in list_steps(place.wiring.own, job.job_id) if not step.name.endswith(".extract"))


def ended_well(place, *jobs):
    ended = [place.job(job) for job in jobs]
    assert [job.state for job in ended] == ["SUCCEEDED"] * len(jobs), [(job.error_message, job.error_details) for job in ended]
    return ended


# Whole jobs.


@pytest.mark.parametrize("named", ["telco-noc", None], ids=["named by who asks", "named in the archive"])
def test_of_two_builds_of_one_name_in_two_workspaces_the_second_waits_for_the_first(place, named):
    other = elsewhere(place)
    jobs = [there.request(graph(), scenario_name=named) for there in (place, other)]
    assert place.worker().run_until_idle(timeout_seconds=120)
    first, second = sorted(ended_well(place, *jobs), key=lambda job: job.finished_at)
    assert waits(place, first) == []
    assert waits(place, second) == [
        f"Waits for the build{' of telco-noc' if named else ''} that ada asked for ({first.job_id}), which has the scenario telco-noc."
    ]
    assert changes_of(place, second) >= first.finished_at
    assert second.attempt == 1
    assert place.delta_rows() == other.delta_rows() == SMALL_TABLES
    assert get_scenario(place.services.documents, "telco-noc").job_id == str(second.job_id)


def test_a_removal_that_reaches_into_a_second_workspace_waits_for_the_build_that_is_at_work_there(place):
    other = elsewhere(place)
    other.build(graph())
    place.build(graph())  # the removal has the key of this one
    build = other.request(widgets(), scenario_name=None, ontology_name="widgets")
    place.environment.cloud.faults.post([FaultRule("fabric.LoadTable", "slow", args={"seconds": 3})])
    with at_work(place.worker()):
        eventually(has_begun(place, build, "graph.tables:DimWidget"), what="the build")
        removal = request_destroy(place.services, "telco-noc", "olga")
        assert removal.key.endswith(place.workspace_id.lower())
        eventually(has_ended(place, removal), what="the end of the removal")
    build, removal = ended_well(place, build, removal)
    assert len(waits(place, removal)) == 1
    assert f"({build.job_id}), which has the workspace {other.workspace_id.lower()}" in waits(place, removal)[0]
    assert changes_of(place, removal) >= build.finished_at
    assert [(left["name"], left["reason"]) for left in removal.result["left"]] == [("lakehouse", "is used by widgets")]
    assert other.delta_rows() == {"DimWidget": 1}
    assert place.items() == {}


def test_a_build_waits_for_a_removal_that_reaches_into_its_workspace_and_who_looks_is_told_of_it(place):
    other = elsewhere(place)
    other.build(graph())
    place.build(graph())
    removal = request_destroy(place.services, "telco-noc", "olga")
    place.environment.cloud.faults.post([FaultRule("fabric.DeleteItem", "slow", args={"seconds": 3})])
    with at_work(place.worker()):
        eventually(has_begun(place, removal, "plan"), what="the removal")
        assert running_build(place.services, other.workspace_id).job_id == removal.job_id
        build = other.request(widgets(), scenario_name=None)
        eventually(has_ended(place, build), what="the end of the build")
    removal, build = ended_well(place, removal, build)
    assert waits(place, build) == [
        f"Waits for the removal of telco-noc that olga asked for ({removal.job_id}), which has the workspace {other.workspace_id.lower()}."
    ]
    assert changes_of(place, build) >= removal.finished_at
    assert removal.result["left"] == []
    assert other.delta_rows() == {"DimWidget": 1}
    assert running_build(place.services, other.workspace_id) is None


def test_a_build_that_is_asked_for_again_is_refused_when_a_removal_of_another_key_was_in_its_workspace(place):
    """It would write down that there is what the removal has removed."""
    other = elsewhere(place)
    place.build(graph())
    place.environment.cloud.faults.post([FaultRule("fabric.LoadTable", "operation_failed", after=1, args={"message": "No capacity."})])
    build = place.work(other.request(graph()))
    assert build.state == "FAILED"
    removal = place.work(request_destroy(place.services, "telco-noc", "olga"))
    assert (removal.state, removal.key != build.key, other.items()) == ("SUCCEEDED", True, {})
    retry_job(place.wiring.own, build.job_id, "ada")
    ended = place.work(build)
    assert (ended.state, ended.error_details["code"]) == ("FAILED", "scenario_outdated")
    assert ended.error_details["newer_job_id"] == str(removal.job_id)
    assert "A newer removal" in ended.error_message
    assert find_scenario(place.services.documents, "telco-noc") is None
    assert things_of(place.services.documents, other.workspace_id) == []


def test_a_job_that_waits_makes_room_for_the_one_it_waits_for(place):
    """With one slot, in which it waits, for a build whose worker died and whose turn it is again."""
    other = elsewhere(place)
    first = place.request(graph())
    dead = taken_up(place, first)
    claim_for_build(place.services, dead, place.workspace_id, "telco-noc")
    die(place, first, next_in="1 hour")
    second = other.request(graph())
    with at_work(place.worker(slots=1)):
        eventually(lambda: waits(place, second), what="the second to wait")
        due(place, first, "-1 hour")
        eventually(has_ended(place, second), what="the end of the second")
    first, second = ended_well(place, first, second)
    assert second.finished_at > first.finished_at
    assert (first.attempt, second.attempt) == (2, 2)


def test_an_item_by_itself_waits_for_a_removal_that_reaches_into_its_workspace(place):
    holder = holding(place, workspace(place.workspace_id))
    job = request_item(place.services, ItemWish(Kind.LAKEHOUSE, place.workspace_id, "", "shared"), "ada")
    items = JobWorker(place.wiring.own, by_name([item_kind(lambda: place.services)]), idle_seconds=0.05)
    with at_work(items):
        eventually(lambda: waits(place, job), what="the item to wait")
        assert place.items() == {}
        end(place, holder)
        eventually(has_ended(place, job), what="the item")
    ended_well(place, job)
    assert list(place.items()) == [("Lakehouse", "shared")]


# Claims by themselves, of jobs that a worker took up and does not go on with.


def taken_up(place, job, hold=None):
    """The job, as the worker has it that just took it up. hold: what its heartbeat has heard."""
    found = claim_job(place.wiring.own, [JobKind(BUILD, lambda _: None, deadline_seconds=600)], "test")
    assert found is not None
    assert found[0].job_id == job.job_id
    return JobContext(place.wiring.own, found[0], hold or Hold(time.monotonic() + 60))


def begun(place, hold=None, **fields):
    """A build that has begun, of no workspace in particular."""
    return taken_up(place, enqueue(place.wiring.own, NewJob(BUILD, {"scenario_name": "telco-noc"}, "ada", **fields)), hold)


def holding(place, *claims):
    context = begun(place)
    claim(place.services, context, claims, **NOW)
    return context


def end(place, context, error=None):
    """The attempt is over: done, or failed for good."""
    settled = Settlement(Happening.SUCCEED, "Done.") if error is None else None
    assert settle_job(place.wiring.own, context.job, lambda progress: settled or after_failure(progress, error)).state.ended


def die(place, job, next_in="0 s"):
    """The worker was killed, and its lease is over."""
    with psycopg.connect(place.environment.postgres.admin_dsn) as connection:
        connection.execute("UPDATE treadle.jobs SET lease_until = clock_timestamp() - interval '1 s' WHERE job_id = %s", [job.job_id])
    assert rescue_one(place.wiring.own).job_id == job.job_id
    due(place, job, next_in)


def due(place, job, interval):
    with psycopg.connect(place.environment.postgres.admin_dsn) as connection:
        connection.execute("UPDATE treadle.jobs SET due_at = clock_timestamp() + %s::interval WHERE job_id = %s", [interval, job.job_id])


class Interleaved(PostgresDocuments):
    """Documents of which somebody else writes one right before our first write."""

    def __init__(self, own, others):
        super().__init__(own)
        self._others = [others]

    def put(self, *args, **options):
        while self._others:
            self._others.pop()()
        return super().put(*args, **options)


def who_holds(place, claimed):
    holder = holder_of(place.services, claimed)
    return holder and holder.job_id


def test_a_claim_that_another_job_has_is_refused_with_who_it_is_and_what_to_do(place):
    holder, other = holding(place, NAME), begun(place)
    with pytest.raises(Unavailable) as refused:
        claim(place.services, other, [NAME], **NOW)
    assert refused.value.message == (
        f"The scenario telco-noc is held by the build of telco-noc that ada asked for ({holder.job.job_id}), which has not ended."
    )
    assert refused.value.hint == "Wait for its end, or cancel it. If this one has given up by then, retry the job."
    assert refused.value.details["held_by"] == str(holder.job.job_id)
    claim(place.services, holder, [NAME, PLACE], **NOW)
    assert {who_holds(place, NAME), who_holds(place, PLACE)} == {holder.job.job_id}


@pytest.mark.parametrize("error", [None, InvalidInput("No.")], ids=["that succeeded", "that failed"])
def test_the_claim_of_a_job_that_ended_is_anybodys(place, error):
    holder, other = holding(place, NAME), begun(place)
    end(place, holder, error)
    assert who_holds(place, NAME) is None
    claim(place.services, other, [NAME], **NOW)
    assert who_holds(place, NAME) == other.job.job_id


def test_the_claim_of_a_job_that_is_kept_no_more_is_anybodys(place):
    holder, other = holding(place, NAME), begun(place)
    with psycopg.connect(place.environment.postgres.admin_dsn) as connection:
        connection.execute("DELETE FROM treadle.jobs WHERE job_id = %s", [holder.job.job_id])
    claim(place.services, other, [NAME], **NOW)
    assert who_holds(place, NAME) == other.job.job_id


def test_a_job_whose_worker_was_killed_keeps_its_claims_until_its_next_attempt_and_has_them_then(place):
    holder, other = holding(place, NAME, PLACE), begun(place)
    die(place, holder.job)
    with pytest.raises(Unavailable):
        claim(place.services, other, [NAME], **NOW)
    again = taken_up(place, holder.job)
    assert again.job.fence > holder.job.fence
    claim(place.services, again, [NAME, PLACE], **NOW)
    assert {who_holds(place, NAME), who_holds(place, PLACE)} == {holder.job.job_id}


def test_a_job_that_is_asked_for_again_has_no_claim_before_it_takes_it_again(place):
    """Else it would have a name before the workspaces of its new attempt, and two jobs could wait for each other."""
    failed, other = holding(place, NAME), begun(place)
    end(place, failed, InvalidInput("No."))
    retry_job(place.wiring.own, failed.job.job_id, "ada")
    assert who_holds(place, NAME) is None
    claim(place.services, other, [NAME], **NOW)
    again = taken_up(place, failed.job)
    with pytest.raises(Unavailable):
        claim(place.services, again, [NAME], **NOW)
    end(place, other)
    claim(place.services, again, [NAME], **NOW)
    assert who_holds(place, NAME) == failed.job.job_id


def test_who_looked_before_another_took_the_claim_does_not_get_it(place):
    end(place, holding(place, NAME))
    late, winner = begun(place), begun(place)
    documents = Interleaved(place.wiring.own, lambda: claim(place.services, winner, [NAME], **NOW))
    with pytest.raises(Unavailable):
        claim(replace(place.services, documents=documents), late, [NAME], **NOW)
    assert who_holds(place, NAME) == winner.job.job_id


@pytest.mark.parametrize("stale", [False, True], ids=["new", "of a job that ended"])
def test_of_many_that_come_at_once_exactly_one_has_the_claim(place, stale):
    if stale:
        end(place, holding(place, NAME))
    contexts = [begun(place) for _ in range(6)]
    gate, won = threading.Barrier(len(contexts)), []

    def come(context):
        gate.wait()
        with contextlib.suppress(Unavailable):
            claim(place.services, context, [NAME], **NOW)
            won.append(context.job.job_id)

    threads = [threading.Thread(target=come, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [who_holds(place, NAME)]


def test_who_does_not_get_all_gives_back_what_it_took_and_keeps_what_it_had(place):
    other_place = workspace(str(uuid4()))
    holding(place, NAME)
    waiting = holding(place, other_place)
    with pytest.raises(Unavailable):
        claim(place.services, waiting, [NAME, other_place, PLACE], **NOW)
    assert who_holds(place, PLACE) is None
    assert who_holds(place, other_place) == waiting.job.job_id
    claim(place.services, begun(place), [PLACE], **NOW)


def test_an_attempt_that_was_overtaken_gives_back_nothing_of_the_newer_one(place):
    """It looked before the newer one came, and writes afterwards."""
    holding(place, NAME)
    old = begun(place)

    def overtake():
        die(place, old.job)
        claim(place.services, taken_up(place, old.job), [PLACE], **NOW)

    with pytest.raises(Unavailable, match="scenario telco-noc is held"):
        claim(replace(place.services, documents=Interleaved(place.wiring.own, overtake)), old, [PLACE, NAME], **NOW)
    assert who_holds(place, PLACE) == old.job.job_id


def test_a_removal_whose_scenario_comes_to_one_more_workspace_while_it_waits_claims_that_too_and_in_order(place):
    """The further workspace is another job's, and comes before the name; so the name is free until it is had."""
    places = [f"{number}0000000-0000-4000-8000-000000000000" for number in (1, 2)]
    looks = iter([places[1:], places, places, places])
    blocker, removal = holding(place, workspace(places[0])), begun(place)
    claiming = threading.Thread(target=claim_for_removal, args=(place.services, removal, "telco-noc", lambda: next(looks)))
    claiming.start()
    eventually(lambda: waits(place, removal.job), what="the removal to wait")
    assert who_holds(place, NAME) is None
    end(place, blocker)
    claiming.join()
    assert {who_holds(place, each) for each in (NAME, *map(workspace, places))} == {removal.job.job_id}


def test_a_build_that_waits_says_so_at_its_first_slot(place):
    holder = holding(place, workspace(place.workspace_id))
    build = place.request(graph())
    with at_work(place.worker()):
        eventually(lambda: waits(place, build), what="the build to wait")
        told = newest_told(place.wiring.own, [build.job_id], "slot")[build.job_id]
        (slot,) = upload_job(place.job(build), [], told).steps
        assert (slot.name, slot.status, [slot.detail]) == ("graph", "running", waits(place, build))
        end(place, holder)
        eventually(has_ended(place, build), what="the build")
    ended_well(place, build)


def test_who_waits_hears_that_it_is_cancelled(place):
    holding(place, NAME)
    hold = Hold(time.monotonic() + 60)
    waiting = begun(place, hold)

    def cancel():
        eventually(lambda: waits(place, waiting.job), what="the job to wait")
        hold.cancelled_by = "olga"

    cancelling = threading.Thread(target=cancel)
    cancelling.start()
    with pytest.raises(Cancelled):
        claim(place.services, waiting, [NAME], wait_seconds=60)
    cancelling.join()


def test_who_waits_says_for_whom_before_its_own_deadline(place):
    holding(place, NAME)
    with pytest.raises(Unavailable, match="is held by the build of telco-noc"):
        claim(place.services, begun(place, deadline_seconds=4), [NAME])


def test_a_store_that_is_away_is_an_error_that_may_pass(place):
    context = begun(place)
    away = Database("host=127.0.0.1 port=1 dbname=none", wait_seconds=0.2)
    with contextlib.closing(away), pytest.raises(Unavailable):
        claim(replace(place.services, documents=PostgresDocuments(away)), context, [NAME], **NOW)
    claim(place.services, context, [NAME], **NOW)
    assert who_holds(place, NAME) == context.job.job_id
