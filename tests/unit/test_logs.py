"""Logs: one JSON object a line, with the run's id, and no secret in any form."""

import io
import json
import logging

import pytest
import structlog

from treadle.logs import configure_logs, redact, redact_value

SECRET = "canary-3c9d-s3cr3t"


@pytest.fixture
def lines():
    stream = io.StringIO()
    configure_logs("INFO", stream=stream, secrets=[SECRET])
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


def test_each_line_is_a_json_object_with_time_level_event_and_run(lines):
    with structlog.contextvars.bound_contextvars(run_id="r-1"):
        structlog.get_logger().info("run.started", input_file="a.xlsx")
    (line,) = lines()
    assert (line["event"], line["level"], line["run_id"], line["input_file"]) == ("run.started", "info", "r-1", "a.xlsx")
    assert line["timestamp"].endswith("Z")


def test_a_known_secret_is_hidden_wherever_it_stands(lines):
    structlog.get_logger().info("x", plain=SECRET, nested={"a": [f"before {SECRET} after"]}, error=ValueError(SECRET))
    assert SECRET not in json.dumps(lines())


def test_a_secret_in_a_traceback_is_hidden(lines):
    try:
        int(f"cannot sign in with {SECRET}")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert SECRET not in json.dumps(lines())
    assert "ValueError" in json.dumps(lines())


def test_warnings_of_libraries_take_the_same_way(lines):
    logging.getLogger("some.library").warning("failed with client_secret=%s", "abcdef")
    (line,) = lines()
    assert (line["event"], line["logger"]) == ("library.log", "some.library")
    assert "abcdef" not in json.dumps(line)


def test_what_a_driver_ignores_beside_an_exception_is_not_told_twice(lines):
    logging.getLogger("psycopg.pool").warning("error ignored in %s: %s", "rollback", "the connection is closed")
    logging.getLogger("psycopg.pool").warning("discarding closed connection")
    assert [line["message"] for line in lines()] == ["discarding closed connection"]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefgh12345678",
        "token eyJhbGciOiJub25lIn0.eyJzdWIiOiIx.c2lnbmF0dXJl end",
        "client_secret=hunter2hunter2&x=1",
        '{"password": "hunter2hunter2"}',
        "postgresql://user:hunter2hunter2@host/db",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str):
    hidden = redact(text)
    assert "[hidden]" in hidden
    for secret in ("abcdefgh12345678", "eyJzdWIiOiIx", "hunter2"):
        assert secret not in hidden


def test_ordinary_text_is_left_alone():
    text = "Run 7 of sales.xlsx: password column dropped, 3 rows"
    assert redact(text) == text
    assert redact_value({"rows": 3, "ok": True, "none": None}) == {"rows": 3, "ok": True, "none": None}


def test_for_people_a_warning_is_one_readable_line_and_a_traceback_follows_its_own():
    stream = io.StringIO()
    configure_logs("WARNING", stream=stream, secrets=[SECRET], for_people=True)
    try:
        structlog.get_logger().warning("run.look_failed", error=f"Fabric is away ({SECRET}).", details={"a": 1}, run_id="r-1")
        try:
            int("x")
        except ValueError:
            structlog.get_logger().exception("cli.defect")
    finally:
        structlog.reset_defaults()
    first, second, *traceback = stream.getvalue().splitlines()
    assert first == "Warning: run look failed: Fabric is away ([hidden]). (run_id=r-1)"
    assert (second, traceback[0]) == ("Error: cli defect", "Traceback (most recent call last):")
