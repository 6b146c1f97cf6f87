"""A start or restore with an id of the caller's is one run, however often it is asked for."""

import threading
from uuid import uuid4

import pytest

from tests.flows.conftest import all_jobs
from treadle.control import runs
from treadle.control.states import RunStatus
from treadle.errors import Conflict, InvalidInput, LockHeld
from treadle.flows.sales import flow
from treadle.flows.sales.flow import StartRequest
from treadle.flows.sales.lakehouse import import_path
from treadle.flows.sales.release import release_lock


@pytest.fixture
def placed(treadle, csv_file) -> str:
    """A file that is in the lake already."""
    treadle.lake.upload(import_path("sales.csv"), csv_file().read_bytes())
    return "sales.csv"


def at_once(count, work):
    """Let threads begin the same work together; what each returned or raised, in order."""
    gate, results = threading.Barrier(count), [None] * count

    def one(number: int) -> None:
        gate.wait()
        try:
            results[number] = work(number)
        except Exception as error:  # noqa: BLE001 - the test looks at what was raised
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def test_the_same_id_again_returns_the_same_run_and_starts_nothing(treadle, drive, placed):
    run_id, jobs = uuid4(), all_jobs(treadle)
    first = flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id)
    again = flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id)
    assert first.run_id == again.run_id == run_id
    ended = drive(first)
    assert flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id) == ended
    assert len(all_jobs(treadle) - jobs) == 1


def test_parallel_repeats_start_one_run_and_all_get_it(treadle, drive, placed):
    run_id, jobs = uuid4(), all_jobs(treadle)
    results = at_once(16, lambda _: flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id))
    assert [getattr(result, "run_id", result) for result in results] == [run_id] * 16
    drive(results[0])
    assert len(all_jobs(treadle) - jobs) == 1


def test_parallel_repeats_that_bring_the_file_start_one_run(treadle, drive, csv_file):
    run_id, request = uuid4(), StartRequest("brought.csv", "ana", local_file=csv_file("brought.csv"))
    results = at_once(4, lambda _: flow.start(treadle.sales, request, run_id=run_id))
    assert [getattr(result, "run_id", result) for result in results] == [run_id] * 4
    assert drive(results[0]).status is RunStatus.SUCCEEDED


def test_an_id_that_belongs_to_another_file_or_person_is_refused(treadle, drive, placed, csv_file):
    run_id = uuid4()
    drive(flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id))
    treadle.lake.upload(import_path("other.csv"), csv_file("other.csv").read_bytes())
    for request in (StartRequest("other.csv", "ana"), StartRequest(placed, "bob")):
        with pytest.raises(Conflict, match="another file or person"):
            flow.start(treadle.sales, request, run_id=run_id)


def test_who_finds_the_lock_held_may_try_the_same_id_again(treadle, drive, placed):
    running, run_id = flow.start(treadle.sales, StartRequest(placed, "bob")), uuid4()
    with pytest.raises(LockHeld):
        flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id)
    drive(running)
    assert drive(flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id)).status is RunStatus.SUCCEEDED


def test_a_run_that_failed_to_start_is_what_a_repeat_gets(treadle, environment, placed):
    run_id = uuid4()
    environment.cloud.faults.script("fabric.RunOnDemandItemJob", "status", status=400, code="InvalidRequest")
    with pytest.raises(InvalidInput):
        flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id)
    assert flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id).status is RunStatus.FAILED


def test_a_restore_with_the_same_id_is_one_restore(treadle, drive, placed):
    source = drive(flow.start(treadle.sales, StartRequest(placed, "ana")))
    run_id, jobs = uuid4(), all_jobs(treadle)
    results = at_once(8, lambda _: flow.restore(treadle.sales, source.run_id, "ana", run_id=run_id))
    assert [getattr(result, "run_id", result) for result in results] == [run_id] * 8
    assert drive(results[0]).status is RunStatus.SUCCEEDED
    assert len(all_jobs(treadle) - jobs) == 1
    with pytest.raises(Conflict):
        flow.restore(treadle.sales, source.run_id, "bob", run_id=run_id)


def test_a_repeat_after_the_starter_died_gets_the_run_that_the_worker_settles(treadle, drive, placed):
    run_id = uuid4()
    new = flow._new_run(treadle.sales, placed, "ana", run_id)
    runs.start_run(treadle.database, new, "ana started a run of sales.csv.")
    again = flow.start(treadle.sales, StartRequest(placed, "ana"), run_id=run_id)
    assert (again.run_id, again.status, again.fabric_job_id) == (run_id, RunStatus.SUBMITTED, None)
    assert drive(again).status is RunStatus.FAILED


def test_without_an_id_each_start_is_a_run_of_its_own(treadle, drive, placed):
    first = drive(flow.start(treadle.sales, StartRequest(placed, "ana")))
    second = flow.start(treadle.sales, StartRequest(placed, "ana"))
    assert first.run_id != second.run_id
    release_lock(treadle.sales, "ada", "done with it")
