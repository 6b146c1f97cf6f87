"""What the trail says of a stage, in words for people."""

import pytest

from treadle.clients.fabric_records import ActivityRun
from treadle.flows.sales.outcome import progress_note


@pytest.mark.parametrize(("word", "told"), [("InProgress", "in progress"), ("Succeeded", "succeeded"), ("NotStarted", "not started")])
def test_a_stage_is_named_and_its_status_said_in_words(word, told):
    assert progress_note(ActivityRun("Sales ingest", "TridentNotebook", word)) == f"Stage 'Sales ingest': {told}."
