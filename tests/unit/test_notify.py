"""What a channel is told, and that nothing in a name or message can become a mention, a link or markup there."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.notify import (
    MESSAGES,
    Notice,
    NoticeType,
    job_notice,
    release_notice,
    run_notice,
    slack_message,
    teams_message,
    webhook_message,
)
from treadle.settings import NOTIFY_EVENTS

RUN = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
NOW = datetime(2026, 11, 21, 10, 0, 12, tzinfo=UTC)


def run_row(**changed) -> dict:
    row = {
        "run_id": RUN,
        "status": "SUCCEEDED",
        "input_file": "superstore.xlsx",
        "triggered_by": "ada",
        "error_message": None,
        "created_at": NOW - timedelta(seconds=14),
        "started_at": NOW - timedelta(seconds=12),
        "finished_at": NOW,
        "total_revenue": 2_297_200.86,
        "orders": 5009,
        "aov": None,
    }
    return row | changed


def failed(**changed) -> Notice:
    return run_notice(run_row(status="FAILED", error_message="Column revenue is missing.", **changed), "SANDBOX")


def released(message: str = "The lock was released by olga: job 7f is dead") -> Notice:
    row = {"id": RUN, "event_time": NOW, "message": message, "run_id": RUN, "input_file": "a.csv", "triggered_by": "ada"}
    return release_notice(row, "SANDBOX")


def failed_job(**changed) -> Notice:
    row = {
        "job_id": RUN,
        "kind": "clean_up",
        "key": None,
        "requested_by": "treadle",
        "error_message": "The lake is away.",
        "error_hint": None,
    }
    return job_notice(row | {"finished_at": NOW} | changed, "SANDBOX")


def texts_of(message: object) -> list[str]:
    """Every piece of text in a message, however deep."""
    if isinstance(message, str):
        return [message]
    inner = message.values() if isinstance(message, dict) else message if isinstance(message, list) else []
    return [text for each in inner for text in texts_of(each)]


def all_text(message: dict) -> str:
    return "\n".join(texts_of(message))


def test_settings_know_exactly_the_types_that_are_sent():
    assert set(NOTIFY_EVENTS) == {str(each) for each in NoticeType}


def test_a_run_that_succeeded_is_told_with_its_file_person_time_and_figures():
    notice = run_notice(run_row(), "SANDBOX")
    assert notice.type is NoticeType.RUN_SUCCEEDED
    for name in ("slack", "teams"):
        told = all_text(MESSAGES[name](notice))
        for part in ("Run succeeded", "superstore.xlsx", "ada", "12 s", "2,297,200.86", "5,009", "SANDBOX", str(RUN)):
            assert part in told, f"{part} is missing in {name}"


def test_a_run_that_failed_is_told_with_its_reason():
    for name in ("slack", "teams"):
        assert "Column revenue is missing." in all_text(MESSAGES[name](failed()))


def test_a_restore_is_called_one_and_names_the_run_it_restores():
    told = all_text(slack_message(run_notice(run_row(input_file=f"__restore__{RUN}"), "production")))
    assert "Restore succeeded" in told
    assert f"run {RUN}" in told
    assert "__restore__" not in told


def test_a_run_that_ended_before_its_work_began_took_the_time_since_it_was_asked_for():
    assert run_notice(run_row(started_at=None), "SANDBOX").facts["seconds"] == 14


def test_a_release_says_who_and_why_and_a_job_that_failed_says_what():
    assert "olga: job 7f is dead" in all_text(teams_message(released()))
    assert {"Job failed for good", "clean_up", "The lake is away."} <= set(texts_of(teams_message(failed_job())))
    assert "None" not in all_text(teams_message(failed_job())), "what is not known is left out"


def test_a_program_gets_type_time_and_facts():
    message = webhook_message(failed())
    assert message["type"] == "run.failed"
    assert datetime.fromisoformat(message["timestamp"]) == NOW
    assert message["data"]["run_id"] == str(RUN)
    assert message["data"]["error"] == "Column revenue is missing."


def test_the_id_of_a_message_follows_from_what_it_is_about_and_differs_per_channel():
    assert failed().message_id("slack") == failed().message_id("slack")
    assert len({failed().message_id("slack"), failed().message_id("teams"), run_notice(run_row(), "x").message_id("slack")}) == 3


def test_a_job_that_fails_again_after_a_retry_by_hand_is_told_again():
    assert failed_job().message_id("slack") != failed_job(finished_at=NOW + timedelta(hours=1)).message_id("slack")


@pytest.mark.parametrize(
    "hostile", ["<!channel>.csv", "<@U123>.csv", "<https://evil.example|click>.csv", "a & <b>.csv", "x\u202egpj.csv", "a\n*b*\x00.csv"]
)
def test_in_slack_a_name_cannot_mention_or_link(hostile):
    message = slack_message(failed(input_file=hostile))
    for text in texts_of(message):
        assert "<" not in text
        assert ">" not in text
        assert "\u202e" not in text
        assert "\x00" not in text
    objects = [part for block in message["blocks"] for part in [block.get("text"), *block.get("fields", [])] if part]
    assert all(part["verbatim"] for part in objects if part["type"] == "mrkdwn")


def test_in_slacks_summary_which_has_no_switch_an_address_or_channel_is_parted():
    summary = slack_message(failed(input_file="see http://evil.example @here #general.csv"))["text"]
    for linked in ("http://", "evil.example", "@here", "#general"):
        assert linked not in summary
    assert summary.replace("\N{WORD JOINER}", "") == "Run failed: see http://evil.example @here #general.csv"


@pytest.mark.parametrize("hostile", ["[click](https://evil.example).csv", "<at>everyone</at>.csv", "**bold**.csv", "# a.csv"])
def test_in_teams_text_from_outside_stands_in_text_runs_alone_which_read_no_markdown(hostile):
    message = teams_message(failed(input_file=hostile))
    card = message["attachments"][0]["content"]
    markdown = [block["text"] for block in card["body"] if block["type"] == "TextBlock"]
    assert markdown == ["Run failed"]
    assert {block["type"] for block in card["body"]} == {"TextBlock", "RichTextBlock"}
    assert {run["type"] for block in card["body"] for run in block.get("inlines", [])} == {"TextRun"}
    assert "msteams" not in card, "without an entity there is no mention"
    assert hostile in texts_of(message)


@given(st.text(min_size=1), st.text(), st.text(min_size=1))
def test_whatever_is_said_the_messages_keep_to_what_the_services_take(name, error, who):
    """Slack: a field has 2,000 characters, a section 3,000, a header 150. Teams: 28 KB in all."""
    for notice in (
        failed(input_file=name * 40, triggered_by=who * 40) if not error else released(error * 50),
        failed_job(error_message=error * 50),
    ):
        slack = slack_message(notice)
        for block in slack["blocks"]:
            assert len(block.get("text", {}).get("text", "x")) in range(1, 3001)
            assert len(block.get("fields", [])) <= 10
            assert all(len(each["text"]) <= 2000 for each in block.get("fields", []))
        assert len(slack["text"]) <= 3000
        assert len(json.dumps(teams_message(notice))) < 28_000
        assert not set("<>") & set(all_text(slack))
