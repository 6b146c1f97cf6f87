import re
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from control_trials import at_once, start, succeed

import treadle.control
from treadle.control import events
from treadle.control.cursor import encode_cursor
from treadle.errors import InvalidInput, NotFound


def test_events_of_one_call_keep_their_order(database, started):
    many = [events.log(f"step {number}") for number in range(50)]
    with database.transaction() as connection:
        assert events.insert_events(connection, started.run_id, many) == 50
    trail = events.list_events(database, started.run_id)
    assert [event.message for event in trail[1:]] == [event.message for event in many]
    assert len({event.event_time for event in trail}) == 51


def test_the_trail_is_paged_from_the_oldest_without_gap_or_repetition(database, started):
    for number in range(7):
        events.append_event(database, started.run_id, events.log(f"{number}"))
    seen, after = [], None
    while page := events.list_events(database, started.run_id, after=after, limit=3):
        seen += page
        after = page[-1].cursor
    assert seen == events.list_events(database, started.run_id)
    assert [event.message for event in seen[1:]] == list("0123456")


def test_each_kind_of_event_is_stored_as_such(database, started):
    for event in (events.status_change("a"), events.log("b"), events.warning("c"), events.error("d")):
        events.append_event(database, started.run_id, event)
    assert [event.event_type for event in events.list_events(database, started.run_id)[1:]] == ["STATUS_CHANGE", "LOG", "WARNING", "ERROR"]


def test_an_event_of_an_unknown_run_is_not_found(database):
    with pytest.raises(NotFound):
        events.append_event(database, uuid4(), events.log("x"))
    assert events.list_events(database, uuid4()) == []


def test_once_is_once_even_for_many_at_once(database, started):
    results = at_once(8, lambda _: events.append_once(database, started.run_id, events.warning("odd word")))
    assert results.count(True) == 1
    assert not events.append_once(database, started.run_id, events.warning("odd word"))
    assert events.append_once(database, started.run_id, events.log("odd word"))
    second = succeed(database, started) and start(database)
    assert events.append_once(database, second.run_id, events.warning("odd word"))


def test_a_cursor_of_another_list_is_refused(database, started):
    with pytest.raises(InvalidInput, match="cursor"):
        events.list_events(database, started.run_id, after=encode_cursor("runs", started.created_at, started.run_id))


def test_rows_that_others_wrote_without_type_or_message_are_listed(database, started, as_owner):
    as_owner("INSERT INTO run_events (id, run_id, event_time) VALUES (%s, %s, now() + interval '1 day')", uuid4(), started.run_id)
    last = events.list_events(database, started.run_id)[-1]
    assert (last.event_type, last.message) == (None, None)


def test_no_statement_of_ours_deletes_from_the_five_tables_defines_them_or_changes_their_events():
    """Nor does one that deletes or defines anything name one of them."""
    five = re.compile(r"\b(PIPELINE_RUNS|RUN_LOCK|RUN_EVENTS|RUN_ARTIFACTS|RUN_RESTORES)\b")
    forbidden = re.compile(r"\b(DELETE|CREATE|ALTER|DROP|TRUNCATE)\b|\bUPDATE\s+(RUN_EVENTS|RUN_RESTORES|RUN_ARTIFACTS)\b")
    files = list(Path(treadle.control.__file__).parent.rglob("*.sql"))
    assert {"lock_row.sql", "migrate.sql", "0001_jobs.sql"} <= {path.name for path in files}
    for path in files:
        for statement in re.sub(r"--.*", "", path.read_text(encoding="utf-8")).upper().split(";"):
            assert not (five.search(statement) and forbidden.search(statement)), f"{path.name}: {statement}"


def test_the_application_user_cannot_alter_tables_at_all(conninfo):
    with psycopg.connect(conninfo) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("ALTER TABLE run_events ADD COLUMN x int")
