"""What the page Weekly makes of weeks, runs, jobs, plans and hostile records, without a page."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from treadle.control.jobs.job import Job, JobEvent
from treadle.control.jobs.states import JobState
from treadle.errors import InvalidInput
from treadle.flows.weekly.backfill import BackfillWeek
from treadle.flows.weekly.record import Checkpoint, RunStatus, Stage, StageRecord, StageStatus, WeeklyEvent, WeeklyRun
from treadle.flows.weekly.status import Standing
from treadle.flows.weekly.sync_cost import ApiCost, Channel
from treadle.flows.weekly.sync_fields import FieldProblem
from treadle.flows.weekly.sync_plan import FieldChange, RowChange
from treadle.flows.weekly.week import Week, week_of
from treadle.looks import LOOKS
from treadle.portal.weekly.checkpoint import next_told, warnings
from treadle.portal.weekly.job_told import job_outcome, job_progress, job_title, run_of_job
from treadle.portal.weekly.looking import WeeklyLooks, chosen_job
from treadle.portal.weekly.plan_told import change_rows, cost_told
from treadle.portal.weekly.raw_text import LONGEST, cut_note, visible
from treadle.portal.weekly.run_told import event_facts, failure_told, stage_rows, stage_spec, sync_counts, trail_of, where_it_counts
from treadle.portal.weekly.spans import known_spans, named_span, near_runs, span_at, span_name
from treadle.portal.weekly.starting import preview_rows
from treadle.portal.weekly.weeks_told import WEEKS, calendar_spec, calendar_weeks, judge_week, legend, week_label

WEEK = week_of(date(2026, 11, 2))
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
POINT = Checkpoint(WEEK.next, WEEK, NOW - timedelta(days=2))
RUN = WeeklyRun(uuid4(), WEEK, RunStatus.SUCCESS, WEEK.closes_at + timedelta(hours=1), rows_fetched=6000, synced=True)
COUNTS = {"created": 3, "updated": 2, "unchanged": 1, "invalid": 0, "refused": 4, "pending": 0}


def job(**changes) -> Job:
    values = dict.fromkeys(Job.__dataclass_fields__)
    payload = {"week_start": "2026-11-02", "week_end": "2026-11-08", "force": False}
    values |= {"job_id": uuid4(), "kind": "weekly_run", "state": JobState.QUEUED, "payload": payload, "attempt": 0, "created_at": NOW}
    return Job(**(values | {"due_at": NOW, "requested_by": "olga", "last_seq": 1, "fence": 0} | changes))


def event(seq: int, stage: str | None, message: str, level: str = "INFO", data: dict | None = None) -> WeeklyEvent:
    return WeeklyEvent(RUN.run_id, seq, NOW, level, stage, message, data)


@pytest.mark.parametrize(
    ("week", "label"),
    [
        (week_of(date(2019, 12, 2)), "2 – 8 Dec 2019"),
        (week_of(date(2019, 11, 25)), "25 Nov – 1 Dec 2019"),
        (week_of(date(2019, 12, 30)), "30 Dec 2019 – 5 Jan 2020"),
    ],
)
def test_a_week_is_called_by_its_days(week, label):
    assert week_label(week) == label


@pytest.mark.parametrize(
    ("runs", "state"),
    [
        ([RUN], "SUCCESS"),
        ([replace(RUN, status=RunStatus.STARTED), RUN], "STARTED"),
        ([replace(RUN, status=RunStatus.FAILED), RUN], "FAILED"),  # the newest decides
        ([replace(RUN, synced=False), RUN], "INCOMPLETE"),
        ([RUN, replace(RUN, status=RunStatus.FAILED)], "SUCCESS"),
        ([replace(RUN, status=RunStatus.FAILED)], "FAILED"),
        ([replace(RUN, synced=False)], "INCOMPLETE"),
        ([], "NEVER_RUN"),
    ],
)
def test_a_week_stands_as_its_runs_say(runs, state):
    assert judge_week(WEEK, runs, POINT, NOW).state == state
    assert state in LOOKS


def test_a_week_without_a_run_is_due_or_not_over():
    assert judge_week(WEEK.next, [], POINT, NOW).state == "DUE"
    assert judge_week(week_of(date(2026, 11, 16)), [], POINT, NOW).state == "NOT_OVER"


def test_the_calendar_reaches_to_the_present_and_holds_the_chosen_week():
    weeks = calendar_weeks([RUN], POINT, NOW)
    assert len(weeks) == WEEKS
    assert weeks[-1].week.start == date(2026, 11, 16)
    old = week_of(date(2019, 12, 2))
    assert old in [one.week for one in calendar_weeks([RUN], POINT, NOW, old)]
    far = week_of(date(2027, 6, 7))
    assert calendar_weeks([RUN], POINT, NOW, far)[-1].week == far


def test_the_calendar_of_old_weeks_ends_where_they_do():
    old = week_of(date(2019, 12, 2))
    weeks = calendar_weeks([replace(RUN, week=old)], Checkpoint(old.next, old, NOW), NOW)
    assert weeks[-1].week == old.next


def test_weeks_are_counted_as_the_checkpoint_counts():
    sundays = known_spans([], Checkpoint(week_of(date(2026, 11, 8)), None, NOW))
    assert span_at(date(2026, 11, 11), sundays).start == date(2026, 11, 8)
    assert span_at(date(2026, 11, 23), sundays).start == date(2026, 11, 22)
    assert span_at(date(2026, 10, 30), sundays).start == date(2026, 10, 25)
    assert span_at(date(2026, 11, 11), []).start == date(2026, 11, 9)


def test_a_run_stands_under_its_own_dates_wherever_the_checkpoint_stands():
    short = Week(date(2019, 12, 2), date(2019, 12, 4))
    mondays = [week_of(date(2019, 12, 16)), week_of(date(2019, 12, 30))]
    runs = [replace(RUN, run_id=uuid4(), week=week) for week in [*reversed(mondays), short]]
    moved = Checkpoint(week_of(date(2019, 12, 5)), short, NOW)
    cells = calendar_weeks(runs, moved, datetime(2020, 1, 8, tzinfo=UTC))
    told = {week_label(one.week): one for one in cells}
    assert [run.week for run in runs if told[week_label(run.week)].run != run] == []
    assert told["5 – 11 Dec 2019"].state == "DUE", "the checkpoint's week is a cell of its own"
    assert told["12 – 15 Dec 2019"].run is None, "what is left of a gap"
    assert told["23 – 29 Dec 2019"].run is None
    assert "25 Nov – 1 Dec 2019" in told, "counted back from the first run"
    days = [day for one in cells for day in range(one.week.start.toordinal(), one.week.end.toordinal() + 1)]
    assert days == list(range(days[0], days[-1] + 1)), "each day has one place"


def test_spans_that_overlap_have_a_cell_each_and_an_address_each():
    short = Week(WEEK.start, WEEK.start + timedelta(days=2))
    runs = [replace(RUN, run_id=uuid4(), week=short, status=RunStatus.FAILED), RUN]
    cells = {cell["week"]: cell["word"] for cell in calendar_spec(calendar_weeks(runs, POINT, NOW), WEEK)["data"]["values"]}
    assert cells["2026-11-02"] == "Success"
    assert cells["2026-11-02/2026-11-04"] == "Failed"
    known = known_spans(runs, POINT)
    assert [named_span(span_name(each), known) for each in (WEEK, short)] == [WEEK, short]


def test_a_week_of_a_mistyped_year_does_not_shift_the_calendar():
    slip = replace(RUN, run_id=uuid4(), week=week_of(date(2999, 1, 1)), status=RunStatus.FAILED)
    assert calendar_weeks([slip, RUN], POINT, NOW) == calendar_weeks([RUN], POINT, NOW)
    assert near_runs([slip, RUN], POINT, NOW) == [RUN]
    seen = calendar_weeks([slip, RUN], POINT, NOW, slip.week)
    assert (seen[-1].week, seen[-1].state, len(seen)) == (slip.week, "FAILED", WEEKS), "who asks for it sees it"


@pytest.mark.parametrize(
    "name", ["9999-12-27", "9999-12-30", "9999-12-31", "0001-01-01", "0001-01-01/0001-01-03", "3000-01-01", "2019-13-01"]
)
def test_days_at_the_ends_of_the_calendar_are_refused_in_words(name):
    with pytest.raises(InvalidInput) as refused:
        named_span(name, known_spans([RUN], POINT))
    assert refused.value.hint


@pytest.mark.parametrize("day", [date(1971, 1, 1), date(2999, 12, 31)])
def test_the_first_and_the_last_week_that_are_shown_have_a_calendar(day):
    chosen = span_at(day, known_spans([RUN], POINT))
    assert chosen in [one.week for one in calendar_weeks([RUN], POINT, NOW, chosen)]


def test_a_failed_week_tells_in_its_tooltip_that_it_was_done_before():
    failed = replace(RUN, run_id=uuid4(), status=RunStatus.FAILED)
    weeks = calendar_weeks([failed, RUN], POINT, NOW)
    [cell] = [cell for cell in calendar_spec(weeks, WEEK)["data"]["values"] if cell["week"] == "2026-11-02"]
    assert (cell["word"], cell["before"]) == ("Failed", "Success of 9 Nov 2026")


def test_what_will_happen_to_a_week_is_told_whole():
    why = "its last run failed: " + "a long reason " * 20 + "[x](y)"
    [failed, done] = preview_rows([BackfillWeek(WEEK, "run", why), BackfillWeek(WEEK.next, "skip", "it is done since 2026-11-16", 6000)])
    assert failed["Why"].endswith("\\[x\\]\\(y\\)")
    assert done["Why"].endswith("; 6,000 events")


def test_a_state_is_told_by_sign_and_word_not_by_colour_alone():
    other = replace(RUN, week=WEEK.next, status=RunStatus.SUCCESS_WITH_REJECTS, started_at=WEEK.next.closes_at)
    weeks = calendar_weeks([RUN, other], POINT, NOW, WEEK)
    cells = {cell["week"]: cell for cell in calendar_spec(weeks, WEEK)["data"]["values"]}
    clean, rejects = cells["2026-11-02"], cells["2026-11-09"]
    assert clean["sign"] != rejects["sign"]
    assert clean["edge_width"] > rejects["edge_width"]
    assert "Success with rejects: 1" in legend(weeks)


def test_a_stale_checkpoint_and_what_waits_are_told_in_words():
    standing = Standing(POINT, stale=True, next_is_over=False, waiting=2, mirror=None, runs=())
    stale, waiting = warnings(standing, NOW, UTC)
    assert "has not moved since 19 Nov 2026" in stale
    assert "2 ends of runs wait for the database" in waiting
    assert next_told(standing) == "It is over on 16 Nov 2026, 00:00 UTC"
    assert warnings(replace(standing, stale=False, waiting=0), NOW, UTC) == []


def test_a_job_is_told_by_what_it_does_and_how_far_it_is():
    assert job_title(job(payload=job().payload | {"force": True})) == "Run of 2 – 8 Nov 2026, forced"
    assert job_title(job(kind="weekly_backfill", payload={"from": "2026-11-02", "to": "2026-11-15"})) == "Backfill of 2 – 15 Nov 2026"
    assert job_title(job(payload={"week_start": "<b>"})) == "Run of a week"
    assert job_progress(job(), [], NOW) == (None, "Waiting for its turn.", "")
    assert "treadle worker" in job_progress(job(), [], NOW + timedelta(seconds=20))[2]
    told = JobEvent(uuid4(), 3, NOW, "INFO", "run", 40.0, "EXTRACT: 400 of 1,000 events", None)
    assert job_progress(job(state=JobState.RUNNING, attempt=1), [told], NOW)[:2] == (0.4, told.message)


def test_what_came_of_a_job_is_told_with_its_run():
    run_id = UUID("aaaaaaaa-aaaa-4aaa-aaaa-aaaaaaaaaaaa")
    done = job(result={**COUNTS, "run_id": str(run_id)})
    assert job_outcome(done) == "Salesforce: 3 created, 2 updated, 1 unchanged, 4 refused."
    assert run_of_job(done) == run_id
    several = job(kind="weekly_backfill", result={"a": {"skipped": "done"}, "b": {"run_id": str(run_id)}})
    assert job_outcome(several) == "1 week was run, 1 was left alone."
    assert run_of_job(several) == run_id
    assert (job_outcome(job(result=None)), run_of_job(job(result=["?"]))) == ("Done.", None)


def test_the_job_that_runs_is_shown_before_those_that_wait():
    waiting, running, ended = job(), job(state=JobState.RUNNING), job(state=JobState.FAILED)
    assert chosen_job((ended, waiting, running)) is running
    first = job()
    assert chosen_job((waiting, first, ended)) is first
    assert chosen_job((ended,)) is ended


def test_stages_lie_on_the_time_line_in_their_order():
    begun = NOW - timedelta(minutes=2)
    stages = [
        StageRecord(Stage.EXTRACT, StageStatus.SUCCESS, begun, begun + timedelta(seconds=90), 10, None),
        StageRecord(Stage.TRANSFORM, StageStatus.STARTED, begun + timedelta(seconds=90), None, None, None),
    ]
    rows = stage_rows(stages, NOW, UTC)
    assert [(row["stage"], row["took"]) for row in rows] == [("Extract", "1 min 30 s"), ("Transform", "30 s")]
    assert stage_spec(rows)["encoding"]["y"]["sort"] == ["Extract", "Transform"]


def test_the_counts_of_a_run_are_those_of_the_end_of_its_sync():
    part = event(2, "SYNC", "Part 1", data={"job_id": None, "created": 200})
    assert sync_counts([event(1, None, "olga started …"), part]) is None
    assert sync_counts([part, event(3, "SYNC", "Sync: …", data=COUNTS), event(4, None, "The run ended as SUCCESS.", data=COUNTS)]) == COUNTS


def test_the_timeline_has_the_kinds_of_all_trails():
    trail = trail_of(
        [event(1, None, "begun"), event(2, "LOAD", "loaded"), event(3, "SYNC", "refused", "WARNING"), event(4, None, "broke", "ERROR")]
    )
    assert [one.event_type for one in trail] == ["STATUS_CHANGE", "LOG", "WARNING", "ERROR"]


def test_a_failure_says_where_why_and_what_to_do():
    failed = replace(RUN, status=RunStatus.FAILED, error_type="Unavailable", error_message="The events API did not answer.\nTraceback …")
    broke = StageRecord(Stage.EXTRACT, StageStatus.FAILED, NOW, NOW, None, "…")
    what, then = failure_told(failed, [broke])
    assert what == "The run failed in the stage Extract. The events API did not answer."
    assert "goes on where it stopped" in then
    assert "checkpoint has not moved" in failure_told(replace(failed, error_type="ValueError"), [])[1]


@pytest.mark.parametrize(
    ("kind", "stage", "rejected", "said", "unsaid"),
    [
        ("UnexpectedAnswer", Stage.EXTRACT, None, "fetches the events anew", "Rejects"),
        ("OperationFailed", Stage.QUALITY_GATE, 140, "See under Rejects", "Salesforce which rows"),
        ("OperationFailed", Stage.QUALITY_GATE, 0, "fetches the events anew", "Rejects"),
        ("OperationFailed", Stage.SYNC, 140, "See under Salesforce", "Rejects"),
        ("UnexpectedAnswer", Stage.SYNC, None, "not sent again", "events anew"),
        ("ChecksumMismatch", Stage.LOAD, None, "with force", "Rejects"),
        ("ValueError", Stage.SYNC, None, "correct the cause", "as it was"),
    ],
)
def test_the_advice_fits_the_failure(kind, stage, rejected, said, unsaid):
    failed = replace(RUN, status=RunStatus.FAILED, error_type=kind, error_message="…", rows_rejected=rejected)
    advice = failure_told(failed, [StageRecord(stage, StageStatus.FAILED, NOW, NOW, None, "…")])[1]
    assert said in advice
    assert unsaid not in advice


def test_a_run_that_does_not_count_for_the_week_says_so():
    assert where_it_counts(RUN) == ""
    assert "stayed on this machine" in where_it_counts(replace(RUN, synced=False))
    assert "before the week was over" in where_it_counts(replace(RUN, started_at=WEEK.opens_at))
    rates = replace(RUN, reject_rate_pct=Decimal("2.24"), reject_threshold_pct=Decimal("5.0000"))
    assert dict(event_facts(rates))["Reject rate"] == "2.24 % of 5 % allowed"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\x00b\x1b[31m", "a\\x00b\\x1b[31m"),
        ("invoice\u202excod.exe", "invoice\\u202excod.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("<img onerror=x> é 日本 😀", "<img onerror=x> é 日本 😀"),
    ],
)
def test_what_cannot_be_seen_is_written_out(hostile, shown):
    assert visible(hostile) == shown


def test_a_record_without_end_is_cut_and_says_so():
    assert len(visible("x" * (LONGEST + 5))) == LONGEST
    assert "20,005" in cut_note("x" * (LONGEST + 5))


def test_a_plan_has_a_line_for_each_field_and_each_problem():
    update = RowChange("update", "1", (FieldChange("Tier__c", None, "gold"), FieldChange("Spend__c", "1", None)), ())
    create = RowChange("create", "2", (FieldChange("Tier__c", None, "gold"),), ())
    blocked = RowChange("blocked", "3", (), (FieldProblem("too_long", "Tier__c", "x", "is too long"),))
    rows = change_rows([update, create, blocked, RowChange("update", "4", (), ())])
    assert [(row["Action"], row["Old"], row["New"], row["Reason"]) for row in rows] == [
        ("Update", "(empty)", "gold", ""),
        ("Update", "1", "(empty)", ""),
        ("Create", "", "gold", ""),
        ("Blocked", "", "x", "is too long"),
        ("Update", "", "", ""),
    ]


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        (ApiCost(Channel.NOTHING, 0, 0, 0, 0, affordable=True), "costs nothing"),
        (
            ApiCost(Channel.COLLECTIONS, 1, 0, 0, 2048, affordable=True),
            "1 API request (Collections), about 2.0 KB. Today's allowance is enough.",
        ),
        (ApiCost(Channel.BULK, 12, 1, 3, 10_000, affordable=None), "1 Bulk job, 3 batches"),
        (ApiCost(Channel.BULK, 12, 1, 3, 10_000, affordable=False, reason="few are left"), "not enough: few are left"),
    ],
)
def test_the_cost_is_told_in_salesforces_units(cost, told):
    assert told in cost_told(cost)


def test_weeks_of_any_length_are_named():
    assert (
        job_title(job(payload={"week_start": "2026-11-02", "week_end": "2026-11-04"}))
        == f"Run of {week_label(Week(date(2026, 11, 2), date(2026, 11, 4)))}"
    )


def test_one_look_serves_all_pages_until_it_is_too_old(monkeypatch):
    seconds, reads = [0.0], []
    monkeypatch.setattr("treadle.portal.weekly.looking.weekly.standing", lambda *_a, **_k: reads.append(1) or len(reads))
    monkeypatch.setattr("treadle.portal.weekly.looking.require", lambda *_a: None)
    looks = WeeklyLooks(None, clock=lambda: seconds[0])  # type: ignore[arg-type]
    assert [looks.standing(None), looks.standing(None)] == [1, 1]
    seconds[0] = 2.0
    assert [looks.standing(None), looks.standing(None, fresh_seconds=0)] == [2, 2]
    seconds[0] = 2.1
    assert looks.standing(None, fresh_seconds=0) == 3
