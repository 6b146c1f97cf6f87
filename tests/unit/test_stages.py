"""What the trail says of a stage, in words for people, and what a reader makes of it."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from treadle.clients.fabric_records import ActivityRun
from treadle.control.events import Event
from treadle.flows.sales.stages import Stage, output_note, progress_note, read_stages

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(seconds: int, message: str | None) -> Event:
    return Event(uuid4(), uuid4(), START + timedelta(seconds=seconds), "LOG", message)


def note(word: str, name: str = "Sales ingest") -> str:
    return progress_note(ActivityRun(name, "TridentNotebook", word))


@pytest.mark.parametrize(("word", "told"), [("InProgress", "in progress"), ("Succeeded", "succeeded"), ("NotStarted", "not started")])
def test_a_stage_is_named_and_its_status_said_in_words(word, told):
    assert note(word) == f"Stage 'Sales ingest': {told}."


def test_stages_are_read_back_with_their_times_and_links():
    link = "https://fabric.example/monitor/1"
    trail = [
        at(0, "ada started a run of orders.csv."),
        at(1, note("InProgress")),
        at(2, None),
        at(5, note("Succeeded")),
        at(5, output_note("Sales ingest", link)),
        at(6, note("Queued", "It's over: 'done'.")),
    ]
    assert read_stages(trail) == [
        Stage("Sales ingest", "succeeded", START + timedelta(seconds=1), START + timedelta(seconds=5), link),
        Stage("It's over: 'done'.", "queued", None),
    ]


def test_a_stage_that_was_met_at_its_end_alone_began_no_later():
    assert read_stages([at(3, note("Failed"))]) == [
        Stage("Sales ingest", "failed", START + timedelta(seconds=3), START + timedelta(seconds=3))
    ]
