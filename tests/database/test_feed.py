"""Events of a run get their numbers once, whoever reads first, and however late they are committed."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from control_trials import new_run

from treadle.control import events, feed, runs
from treadle.control.migrate import migrate


@pytest.fixture
def run_id(database):
    migrate(database)
    return runs.start_run(database, new_run(), "Ana started a run.").run_id


def say(database, run_id, *texts):
    for text in texts:
        events.append_event(database, run_id, events.log(text))


def test_a_trail_is_numbered_in_order_and_again_the_same(database, run_id):
    say(database, run_id, "a", "b")
    first = feed.numbered_trail(database, database, run_id)
    assert [(item.seq, item.event.message) for item in first] == [(1, "Ana started a run."), (2, "a"), (3, "b")]
    say(database, run_id, "c")
    assert feed.numbered_trail(database, database, run_id)[:3] == first
    assert [item.seq for item in feed.numbered_trail(database, database, run_id)] == [1, 2, 3, 4]


def test_an_event_that_appears_late_gets_a_later_number(database, run_id, conninfo):
    with psycopg.connect(conninfo) as slow:
        slow.execute(
            "INSERT INTO run_events (id, run_id, event_time, event_type, message) VALUES (%s, %s, clock_timestamp() AT TIME ZONE 'UTC', 'LOG', 'early')",
            (uuid4(), run_id),
        )
        say(database, run_id, "late")
        assert [item.event.message for item in feed.numbered_trail(database, database, run_id)][1:] == ["late"]
    assert [(item.seq, item.event.message) for item in feed.numbered_trail(database, database, run_id)][1:] == [(2, "late"), (3, "early")]


def test_many_readers_at_once_agree(database, run_id):
    def read(number):
        say(database, run_id, f"event {number}")
        return [(item.seq, item.event.id) for item in feed.numbered_trail(database, database, run_id)]

    with ThreadPoolExecutor(6) as pool:
        trails = list(pool.map(read, range(24)))
    last = feed.numbered_trail(database, database, run_id)
    final = {item.seq: item.event.id for item in last}
    assert sorted(final) == list(range(1, 26))
    assert all(final[seq] == event_id for trail in trails for seq, event_id in trail)


def test_what_follows_a_number_whose_event_was_not_seen_yet_waits(database, run_id):
    say(database, run_id, "a", "b")
    found = events.list_events(database, run_id)
    numbers = feed.number_events(database, run_id, found)
    assert [item.seq for item in feed.in_order(numbers, [found[0], found[2]], after_seq=0)] == [1]
    assert [item.seq for item in feed.in_order(numbers, found, after_seq=1)] == [2, 3]


def test_many_runs_are_looked_at_together(database, run_id):
    other = uuid4()
    assert feed.states_of(database, [run_id, other]) == {run_id: "SUBMITTED"}
    found = feed.latest_events(database, {run_id: None, other: None})
    assert ([event.message for event in found[run_id]], found[other]) == (["Ana started a run."], [])
