from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control import states
from treadle.control.states import ACTIVE, TRANSITIONS, JobStatus, RunStatus, job_status, next_status

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("NotStarted", RunStatus.QUEUED),
        ("InProgress", RunStatus.RUNNING),
        ("Completed", RunStatus.SUCCEEDED),
        ("Failed", RunStatus.FAILED),
        ("Cancelled", RunStatus.FAILED),
        ("Deduped", RunStatus.FAILED),
    ],
)
def test_each_word_of_fabric_leads_a_submitted_run_where_the_contract_says(word, expected):
    assert next_status(RunStatus.SUBMITTED, word) is expected


@pytest.mark.parametrize(("before", "word"), list(product(RunStatus, JobStatus)))
def test_a_run_never_goes_back_and_never_leaves_its_end(before, word):
    after = next_status(before, word)
    assert after.rank >= before.rank
    assert after is before or not before.ended


@given(st.lists(st.sampled_from(list(JobStatus)) | st.text(max_size=20)))
def test_any_sequence_of_answers_moves_a_run_forward_only_and_ends_it_once(words):
    status, path = RunStatus.SUBMITTED, [RunStatus.SUBMITTED]
    for word in words:
        status = next_status(status, word)
        path.append(status)
    assert [step.rank for step in path] == sorted(step.rank for step in path)
    assert len({step for step in path if step.ended}) <= 1


@pytest.mark.parametrize("word", ["", "Paused", "Undefined", "OwnerUserMissing", "completed!"])
@pytest.mark.parametrize("status", RunStatus)
def test_a_word_that_is_not_known_keeps_the_status(status, word):
    assert job_status(word) is None
    assert next_status(status, word) is status


def test_a_known_word_is_known_in_any_case():
    assert job_status("inprogress") is JobStatus.IN_PROGRESS
    assert job_status(" COMPLETED ") is JobStatus.COMPLETED


def test_every_active_status_is_told_where_each_new_word_leads():
    later = {(before, word) for before, word in product(ACTIVE, JobStatus) if word.ended}
    assert later <= TRANSITIONS.keys()


def test_the_drawing_in_the_docs_is_the_one_that_the_table_makes():
    assert (ROOT / "docs" / "states.md").read_text(encoding="utf-8") == states.as_markdown(), (
        "run: python -m treadle.control.states > docs/states.md"
    )


def test_statements_that_name_the_active_states_name_exactly_those():
    written = "status IN (" + ", ".join(f"'{status}'" for status in ACTIVE) + ")"
    folder = ROOT / "src" / "treadle"
    for name in ("control/runs.sql", "control/run_search.sql", "sandbox/tables.sql"):
        text = (folder / name).read_text(encoding="utf-8")
        assert written in text, name
