"""Reading Fabric's answers: both shapes of a time, unknown words and fields, and errors that name what is missing."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.clients.answers import Exchange, RawAnswer, kind_of_refusal
from treadle.clients.fabric_records import (
    definition_of,
    parse_time,
    read_activity_run,
    read_definition,
    read_item,
    read_job_instance,
    read_workspace,
)
from treadle.clients.operations import POLL_SECONDS_MAX, POLL_SECONDS_MIN, poll_pause_seconds
from treadle.errors import Conflict, InvalidInput, NotFound, PermissionDenied, Throttled, Unauthenticated, Unavailable, UnexpectedAnswer

EXCHANGE = Exchange("Fabric", "read it", "GET", "/v1/x")
ID = "30000000-0000-4000-8000-000000000003"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-07-20T10:22:18.8512391", datetime(2026, 7, 20, 10, 22, 18, 851239, UTC)),
        ("2026-07-20T10:22:18.8512391Z", datetime(2026, 7, 20, 10, 22, 18, 851239, UTC)),
        ("2026-07-20T10:22:18.851239", datetime(2026, 7, 20, 10, 22, 18, 851239, UTC)),
        ("2026-07-20T10:22:18.5", datetime(2026, 7, 20, 10, 22, 18, 500000, UTC)),
        ("2026-07-20T10:22:18", datetime(2026, 7, 20, 10, 22, 18, 0, UTC)),
        ("2026-07-20T10:22:18Z", datetime(2026, 7, 20, 10, 22, 18, 0, UTC)),
        ("2026-07-20T12:22:18+02:00", datetime(2026, 7, 20, 10, 22, 18, 0, UTC)),
        ("2026-07-20 10:22:18.000z", datetime(2026, 7, 20, 10, 22, 18, 0, UTC)),
    ],
)
def test_times_are_utc_with_and_without_z(text, moment):
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9000, 1, 1)),  # noqa: DTZ001 - the zone is added by the test
    st.integers(0, 9),
    st.sampled_from(["", "Z", "+00:00"]),
)
def test_a_time_survives_being_written_with_up_to_nine_digits(moment, extra, zone):
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}{extra}{zone}"
    assert parse_time(text) == moment.replace(tzinfo=UTC)


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9000, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - the zone is added by the test
def test_an_offset_is_converted(moment, minutes):
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_time(local.isoformat()) == local


@given(st.text(max_size=40))
def test_what_is_no_time_is_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "2026-07-20", "2026-13-20T10:00:00", "2026-07-20T25:00:00", "0001-01-01T00:00:00+05:00", "20260720T101010Z"]
)
def test_nonsense_is_refused(text):
    with pytest.raises(ValueError):
        parse_time(text)


def test_a_job_instance_keeps_fabrics_own_status_word():
    job = read_job_instance(
        EXCHANGE, {"id": ID.upper(), "itemId": ID, "status": "OwnerUserMissing", "jobType": "Pipeline", "invokeType": "Manual"}, 3.0
    )
    assert (job.job_id, job.status, job.retry_after_seconds, job.started_at, job.failure_code) == (ID, "OwnerUserMissing", 3.0, None, None)


@pytest.mark.parametrize(
    ("reason", "code", "message"),
    [
        (None, None, None),
        ({"errorCode": "JobInstanceStatusFailed", "message": "no detail"}, "JobInstanceStatusFailed", "no detail"),
        ({"errorCode": "", "message": None}, None, None),
        ("the notebook gave up", None, "the notebook gave up"),
        (["strange"], None, None),
    ],
)
def test_a_failure_reason_comes_in_several_shapes(reason, code, message):
    job = read_job_instance(EXCHANGE, {"id": ID, "status": "Failed", "failureReason": reason})
    assert (job.failure_code, job.failure_message) == (code, message)


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({"status": "Failed"}, "id"),
        ({"id": "x", "status": "Failed"}, "id"),
        ({"id": ID}, "status"),
        ({"id": ID, "status": None}, "status"),
        ({"id": ID, "status": 4}, "status"),
        ({"id": ID, "status": "Failed", "startTimeUtc": "yesterday"}, "startTimeUtc"),
        ({"id": ID, "status": "Failed", "endTimeUtc": 17}, "endTimeUtc"),
    ],
)
def test_an_answer_outside_the_contract_names_the_field(answer, field):
    with pytest.raises(UnexpectedAnswer) as raised:
        read_job_instance(EXCHANGE, answer)
    assert raised.value.details["field"] == field


def test_an_activity_run_is_read_with_its_error_and_output():
    row = {
        "activityName": "Sales ingest",
        "activityType": "TridentNotebook",
        "status": "Failed",
        "activityRunStart": "2026-11-21T10:00:00.1234567Z",
        "durationInMs": 1500,
        "output": {"runId": "x"},
        "error": {"errorCode": "2011", "message": "boom"},
        "anything": ["new"],
    }
    run = read_activity_run(EXCHANGE, row)
    assert (run.name, run.type, run.status, run.duration_seconds) == ("Sales ingest", "TridentNotebook", "Failed", 1.5)
    assert (run.error_code, run.error_message, dict(run.output), run.ended_at) == ("2011", "boom", {"runId": "x"}, None)


def test_an_activity_that_went_well_has_no_error():
    run = read_activity_run(
        EXCHANGE, {"activityName": "a", "status": "Succeeded", "error": {"errorCode": "", "message": ""}, "output": None}
    )
    assert (run.error_code, run.error_message, dict(run.output)) == (None, None, {})


def test_items_and_workspaces_ignore_what_they_do_not_know():
    item = read_item(EXCHANGE, {"id": ID, "workspaceId": ID, "displayName": "n", "type": "Notebook", "tags": [], "folderId": None})
    assert (item.item_id, item.folder_id, item.description) == (ID, None, "")
    assert read_workspace(EXCHANGE, {"id": ID, "displayName": "w", "type": "Workspace"}).capacity_id is None


@given(st.dictionaries(st.text(min_size=1, max_size=30), st.binary(max_size=100), max_size=4))
def test_a_definition_survives_the_way_there_and_back(parts):
    assert read_definition(EXCHANGE, {"definition": definition_of(parts)}) == parts


@pytest.mark.parametrize(
    "answer", [{}, {"definition": None}, {"definition": {"parts": [{"path": "x", "payload": "%"}]}}, {"definition": {"parts": ["x"]}}]
)
def test_a_broken_definition_is_unexpected(answer):
    with pytest.raises(UnexpectedAnswer):
        read_definition(EXCHANGE, answer)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, None, InvalidInput),
        (400, "InvalidJobType", InvalidInput),
        (400, "PrincipalTypeNotSupported", PermissionDenied),
        (400, "ItemDisplayNameNotAvailableYet", Conflict),
        (400, "JobAlreadyCompleted", Conflict),
        (400, "PrincipalNotFound", NotFound),
        (400, "TooManyRequestsForJobs", Throttled),
        (401, "TokenExpired", Unauthenticated),
        (403, "InsufficientPrivileges", PermissionDenied),
        (404, "ItemNotFound", NotFound),
        (404, None, NotFound),
        (405, None, UnexpectedAnswer),
        (408, None, Unavailable),
        (409, "ItemDisplayNameAlreadyInUse", Conflict),
        (412, None, Conflict),
        (418, None, UnexpectedAnswer),
        (429, "RequestBlocked", Throttled),
        (430, None, Throttled),
        (500, None, Unavailable),
        (501, "NotModelled", UnexpectedAnswer),
        (503, None, Unavailable),
        (302, None, UnexpectedAnswer),
    ],
)
def test_errors_are_named_by_meaning(status, code, kind):
    assert kind_of_refusal(status, code) is kind


@pytest.mark.parametrize(
    ("content", "headers", "code", "message"),
    [
        (b'{"errorCode":"ItemNotFound","message":"gone."}', {}, "ItemNotFound", "gone"),
        (b'{"errorCode":"A","message":"m"}', {"x-ms-public-api-error-code": "B"}, "B", "m"),
        (b'{"error":{"code":"PathNotFound","message":"none\\nRequestId:1"}}', {}, "PathNotFound", "none RequestId:1"),
        (b"", {"x-ms-error-code": "BlobNotFound"}, "BlobNotFound", None),
        (b"<html><head><title>Bad\n Gateway</title></head><body>x</body></html>", {}, None, "Bad Gateway"),
        (b"plain text", {}, None, "plain text"),
        (b"\xff\xfe\x00\x1b[31m", {}, None, "\ufffd\ufffd [31m"),
        (b'{"errorCode": 7, "message": ["x"]}', {}, None, None),
        (b"[1]", {}, None, None),
        (b"[" * 100_000, {}, None, None),
    ],
)
def test_a_refusal_is_understood_in_every_envelope(content, headers, code, message):
    refusal = RawAnswer(400, headers, content).refusal()
    assert refusal.error_code == code
    if content[:2] != b"[[":
        assert refusal.message == message


@given(st.binary(max_size=300))
def test_no_body_breaks_the_reading_of_a_refusal(content):
    refusal = RawAnswer(500, {}, content).refusal()
    assert refusal.message is None or (refusal.message.isprintable() and len(refusal.message) <= 400)


@given(st.integers(0, 100), st.one_of(st.none(), st.floats(0, 1e9)))
def test_operations_are_polled_quickly_at_first_and_never_hectically(polls, asked):
    assert POLL_SECONDS_MIN <= poll_pause_seconds(polls, asked) <= POLL_SECONDS_MAX
    assert poll_pause_seconds(0, asked) == POLL_SECONDS_MIN
