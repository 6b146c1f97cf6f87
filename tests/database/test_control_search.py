from datetime import UTC, timedelta
from uuid import UUID, uuid4

import pytest
from control_trials import start, succeed
from hypothesis import given
from hypothesis import strategies as st

from treadle.control import runs
from treadle.control.compare import compare_runs
from treadle.control.cursor import decode_cursor, encode_cursor
from treadle.control.states import RunStatus
from treadle.errors import InvalidInput, NotFound, UnexpectedAnswer


@pytest.fixture
def insert(as_owner):
    """Put a run into the table as if it had been there for long; the number says how many minutes after midnight it was created."""

    def insert(minute: int, *, run_id: UUID | None = None, who="ana", file="orders.xlsx", status="FAILED", error=None, kpis=None) -> UUID:
        run_id = run_id or uuid4()
        as_owner(
            "INSERT INTO pipeline_runs (run_id, created_at, triggered_by, input_file, workspace_id, pipeline_item_id, status, error_message, kpis)"
            " VALUES (%s, timestamp '2026-01-01' + %s * interval '1 minute', %s, %s, 'w', 'p', %s, %s, %s)",
            run_id,
            minute,
            who,
            file,
            status,
            error,
            kpis,
        )
        return run_id

    return insert


def ids(page) -> list[UUID]:
    return [run.run_id for run in page.runs]


def all_pages(database, limit, **filters) -> list[UUID]:
    seen, after = [], None
    while True:
        page = runs.list_runs(database, limit=limit, after=after, **filters)
        seen += ids(page)
        after = page.next
        if after is None:
            return seen


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_of_any_size_show_every_run_once_newest_first(database, insert, limit):
    inserted = [insert(minute) for minute in range(7)]
    assert all_pages(database, limit) == inserted[::-1]


def test_runs_of_one_moment_are_told_apart_by_their_id(database, insert):
    inserted = sorted((insert(5) for _ in range(6)), reverse=True)
    assert all_pages(database, 2) == inserted


def test_a_run_that_starts_while_somebody_pages_neither_repeats_nor_hides_another(database, insert):
    inserted = [insert(minute) for minute in range(6)]
    first = runs.list_runs(database, limit=3)
    insert(100)
    second = runs.list_runs(database, limit=3, after=first.next)
    assert ids(first) + ids(second) == inserted[::-1]
    assert second.next is None


def test_filters_narrow_the_list_and_work_together(database, insert):
    old = insert(0, who="ana", file="Orders_2024.xlsx", status="SUCCEEDED")
    new = insert(10, who="bob", file="orders 2025.csv", status="FAILED", error="no column revenue")
    insert(20, who="bob", file=f"__restore__{old}", status="SUCCEEDED")
    moment = runs.get_run(database, new).created_at
    assert ids(runs.list_runs(database, status={RunStatus.FAILED})) == [new]
    assert len(ids(runs.list_runs(database, status={RunStatus.FAILED, RunStatus.SUCCEEDED}))) == 3
    assert len(ids(runs.list_runs(database, status=set()))) == 3
    assert ids(runs.list_runs(database, input_file_contains="ORDERS")) == [new, old]
    assert ids(runs.list_runs(database, triggered_by="bob", include_restores=False)) == [new]
    assert ids(runs.list_runs(database, since=moment, include_restores=False)) == [new]
    assert ids(runs.list_runs(database, until=moment)) == [old]
    assert ids(
        runs.list_runs(database, since=moment, until=moment + timedelta(microseconds=1), status={RunStatus.FAILED}, text="REVENUE")
    ) == [new]
    assert ids(runs.list_runs(database, text="nothing like it")) == []


def test_text_is_found_in_file_person_error_and_the_beginning_of_the_id(database, insert):
    by_id = insert(0, run_id=UUID("cafe1234-0000-4000-8000-000000000001"), who="x", file="x.csv")
    by_file = insert(1, file="cafe.csv")
    by_person = insert(2, who="mr CAFE")
    by_error = insert(3, error="the cafe is closed")
    insert(4, run_id=UUID("00000000-cafe-4000-8000-000000000001"))
    assert ids(runs.list_runs(database, text=" cafe ")) == [by_error, by_person, by_file, by_id]
    assert ids(runs.list_runs(database, text="CAFE1234-0000")) == [by_id]


@pytest.mark.parametrize("text", ["100%", "a_b", "back\\slash", "it's", "%(x)s", "; DROP TABLE run_lock; --", "{}", "\u00e9\u4e16"])
def test_text_is_taken_literally(database, insert, text):
    found = insert(0, file=f"before {text} after.csv")
    insert(1, file="100 axb backslash other.csv")
    assert ids(runs.list_runs(database, text=text)) == [found]
    assert ids(runs.list_runs(database, input_file_contains=text)) == [found]


@pytest.mark.parametrize("text", ["\0", "\ud800", "", "   "])
def test_text_that_cannot_be_searched_for_is_no_error(database, insert, text):
    insert(0)
    runs.list_runs(database, text=text, input_file_contains=text or None, triggered_by=text or None)


def test_a_listed_run_has_its_plain_figures_and_a_shown_one_has_all(database, insert):
    kpis = '{"total_revenue": 5.5, "orders": 2, "revenue_by_region": {"West": 5.5}, "time_series_daily": [{"day": "2026-01-01"}]}'
    run_id = insert(0, status="SUCCEEDED", kpis=kpis)
    odd = insert(1, kpis="[1]")
    listed = runs.list_runs(database).runs
    assert [run.kpis for run in listed] == [None, {"total_revenue": 5.5, "orders": 2}]
    assert runs.get_run(database, run_id).kpis["revenue_by_region"] == {"West": 5.5}
    assert runs.get_run(database, odd).run_id == odd


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_page_of_no_sensible_size_is_refused(database, limit):
    with pytest.raises(InvalidInput):
        runs.list_runs(database, limit=limit)


def test_a_cursor_that_was_changed_anywhere_is_refused(database, insert):
    for minute in range(3):
        insert(minute)
    cursor = runs.list_runs(database, limit=1).next
    changed = [cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :] for i in range(len(cursor))]
    for bad in [*changed, cursor[:-1], cursor + "A", "", "x", "\u00e9", cursor + "\n", "a" * 10_000]:
        if bad:
            with pytest.raises(InvalidInput, match="cursor"):
                runs.list_runs(database, after=bad)


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_reads_back_as_it_was_written(moment, row_id):
    found = decode_cursor("runs", encode_cursor("runs", moment, row_id))
    assert (found.moment, found.row_id) == (moment, row_id)


def test_a_run_is_found_by_its_id_or_a_beginning_that_names_only_it(database, insert):
    first = insert(0, run_id=UUID("abcdef12-3000-4000-8000-000000000001"))
    second = insert(1, run_id=UUID("abcdef12-3111-4000-8000-000000000001"))
    assert runs.find_run(database, str(first)).run_id == first
    assert runs.find_run(database, "ABCDEF12-3111").run_id == second
    assert runs.find_run(database, first.hex).run_id == first
    with pytest.raises(InvalidInput, match="More than one") as caught:
        runs.find_run(database, "abcdef12")
    assert caught.value.details["run_ids"] == [str(first), str(second)]
    with pytest.raises(NotFound):
        runs.find_run(database, "abcdef13")
    for bad in ("abcdef1", "", "not-a-run-id", "abcdef1\0", "g" * 8, str(first) + "0"):
        with pytest.raises(InvalidInput):
            runs.find_run(database, bad)


def test_active_runs_are_all_that_have_not_ended_oldest_first(database, insert):
    active = [insert(minute, status=status) for minute, status in enumerate(["SUBMITTED", "QUEUED", "RUNNING"])]
    insert(9, status="SUCCEEDED")
    assert [run.run_id for run in runs.active_runs(database)] == active


def test_the_latest_success_is_never_a_restore(database, insert):
    assert runs.latest_succeeded(database) is None
    first = insert(0, status="SUCCEEDED")
    second = insert(1, status="SUCCEEDED")
    insert(2, status="SUCCEEDED", file=f"__restore__{first}")
    insert(3, status="FAILED")
    latest = runs.latest_succeeded(database)
    assert latest.run_id == second
    assert runs.previous_run(database, latest).run_id == first
    assert runs.previous_run(database, runs.get_run(database, first)) is None


def test_comparing_two_stored_runs_shows_their_change(database, started):
    succeed(database, started, {"total_revenue": 10.1, "revenue_by_region": {"West": 10.1}})
    second = succeed(database, start(database), {"total_revenue": 10.4})
    found = compare_runs(database, started.run_id, second.run_id)
    assert [(row.name, str(row.change)) for row in found.rows] == [("total_revenue", "0.3")]
    assert found.breakdowns[0].b is None
    with pytest.raises(NotFound):
        compare_runs(database, started.run_id, uuid4())


def test_a_status_that_others_invented_is_named_in_the_error(database, insert, as_owner):
    as_owner("ALTER TABLE pipeline_runs DROP CONSTRAINT pipeline_runs_status_check")
    run_id = insert(0, status="PAUSED")
    with pytest.raises(UnexpectedAnswer, match="PAUSED"):
        runs.get_run(database, run_id)
