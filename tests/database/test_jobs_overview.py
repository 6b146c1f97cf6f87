"""Many jobs at a glance, and jobs that are put out of sight."""

import pytest
from job_trials import ask, assert_the_trail_has_no_gap, work_off

from treadle.control.jobs.overview import hide_job, newest_told, shown_job, shown_jobs, steps_of
from treadle.control.jobs.queue import get_job, list_job_events, request_cancel, retry_job
from treadle.control.jobs.run import JobContext
from treadle.errors import Conflict, InvalidInput, NotFound


def two_parts(context: JobContext) -> None:
    for part, pct in (("a", 10), ("b", 5), ("a", 60)):
        context.progress(f"{part} {pct}", data={"part": part, "pct": pct})
    context.step("first", lambda: {"large": "x" * 100})
    context.step("second", lambda: None)


def test_steps_and_the_newest_words_of_many_jobs_come_by_one_query_each(own):
    jobs = [ask(own), ask(own)]
    work_off(own, work=two_parts)
    ids = [job.job_id for job in jobs]
    assert {job_id: [(step.name, step.result) for step in found] for job_id, found in steps_of(own, ids).items()} == {
        key: [("first", None), ("second", None)] for key in ids
    }
    assert {
        job_id: [(event.data["part"], event.data["pct"]) for event in found] for job_id, found in newest_told(own, ids, "part").items()
    } == ({key: [("a", 60), ("b", 5)] for key in ids})
    assert (steps_of(own, []), newest_told(own, [], "part")) == ({}, {})


def test_a_job_that_ended_is_hidden_until_somebody_asks_for_it_again(own):
    job, other = ask(own, key="k"), ask(own, key="k")
    with pytest.raises(Conflict, match="has not ended"):
        hide_job(own, "work", job.job_id, "ada")
    request_cancel(own, job.job_id, "ada")
    hide_job(own, "work", job.job_id, "ada")
    assert [shown.job_id for shown in shown_jobs(own, "work", key="k").jobs] == [other.job_id]
    for look in (shown_job, lambda *asked: hide_job(*asked, "ada")):
        with pytest.raises(NotFound):
            look(own, "work", job.job_id)
    assert get_job(own, job.job_id).state == "CANCELLED"
    assert list_job_events(own, job.job_id)[-1].message == "ada deletes it from the list."
    retry_job(own, job.job_id, "ada")
    assert {shown.job_id for shown in shown_jobs(own, "work").jobs} == {job.job_id, other.job_id}
    assert_the_trail_has_no_gap(own)


def test_pages_follow_each_other_without_those_that_are_hidden(own):
    jobs = [ask(own) for _ in range(7)]
    for job in jobs[::2]:
        request_cancel(own, job.job_id, "ada")
        hide_job(own, "work", job.job_id, "ada")
    first = shown_jobs(own, "work", limit=2)
    second = shown_jobs(own, "work", limit=2, after=first.next)
    assert [job.job_id for job in (*first.jobs, *second.jobs)] == [job.job_id for job in reversed(jobs[1::2])]
    assert second.next is None
    with pytest.raises(InvalidInput):
        shown_jobs(own, "work", limit=501)


def test_jobs_of_another_kind_are_not_there(own):
    job = ask(own, "other")
    assert shown_jobs(own, "work").jobs == ()
    with pytest.raises(NotFound):
        shown_job(own, "work", job.job_id)
