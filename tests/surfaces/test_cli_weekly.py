"""treadle weekly, as an operator, Airflow and a script use it."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import psycopg
import pytest

from tests.flows.weekly_place import begin_empty

WEEK = ("--week-start", "2019-12-02", "--week-end", "2019-12-08")
FAST = {"API_RATE_LIMIT_DELAY": "0"}
COUNTS = ("created", "updated", "unchanged", "invalid", "refused", "pending")


@pytest.fixture
def weekly(treadle):
    """`treadle weekly …` without pauses between pages."""
    return lambda *arguments, **environ: treadle("weekly", *arguments, **(FAST | environ))


@pytest.fixture(autouse=True)
def _no_earlier_weeks(environment):
    """Nor their files: the command finds its folders in the settings, which all tests of this environment share."""
    begin_empty(environment)
    for folder in (environment.settings.state_dir, environment.settings.local_data_dir, environment.settings.local_rejects_dir):
        shutil.rmtree(folder, ignore_errors=True)


def test_a_week_runs_whole_and_forced_again_sends_nothing(weekly):
    first = weekly("run", *WEEK, "--json")
    assert first.code == 0, first.err
    assert first.data["status"] == "SUCCESS"
    assert first.data["week"] == {"start": "2019-12-02", "end": "2019-12-08"}
    assert first.data["rows_fetched"] == first.data["rows_valid"] + first.data["rows_rejected"] > 0
    assert sum(first.data[name] for name in COUNTS) > 0
    again = weekly("run", *WEEK, "--force", "--json")
    assert again.code == 0, again.err
    assert (again.data["created"], again.data["updated"], again.data["refused"]) == (0, 0, 0)
    assert again.data["unchanged"] == sum(first.data[name] for name in COUNTS)
    assert again.data["run_id"] != first.data["run_id"]
    assert "nanobind" not in again.err
    skipped = weekly("run", *WEEK)
    assert (skipped.code, "done already" in skipped.err) == (0, True)


def test_stages_follow_each_other_as_a_scheduler_calls_them(weekly):
    tag = ("--run-tag", "scheduled__2019-12-09T14:00:00+00:00")
    for name in ("extract", "transform", "load", "quality-gate", "salesforce-sync"):
        done = weekly("stage", name, *WEEK, *tag, "--json")
        assert done.code == 0, done.err
    assert (done.data["status"], done.data["checkpoint_moved"], done.data["next_week"]["start"]) == ("SUCCESS", True, "2019-12-09")
    late = weekly("stage", "salesforce-sync", "--use-checkpoint", *tag, "--json")
    assert (late.code, late.data["week"]["start"], bool(late.data["skipped"])) == (0, "2019-12-02", True)
    status = weekly("status", "--json").data
    assert (status["checkpoint"]["next"]["start"], len(status["runs"])) == ("2019-12-09", 1)
    shown = weekly("status", "--run", status["runs"][0]["run_id"][:8])
    assert "QUALITY_GATE" in shown.out
    assert "The checkpoint is past" in shown.out


def test_the_next_week_comes_from_the_checkpoint(weekly):
    none = weekly("run", "--use-checkpoint")
    assert (none.code, "no checkpoint yet" in none.err) == (1, True)
    assert weekly("run", *WEEK).code == 0
    following = weekly("run", "--use-checkpoint", "--json")
    assert following.code == 0, following.err
    assert (following.code, following.data["week"]["start"], following.data["status"]) == (0, "2019-12-09", "SUCCESS_WITH_REJECTS")
    counted = weekly("rejects", "ls", "--json").data
    assert sum(rule["rows"] for rule in counted["rejects"]) == following.data["rows_rejected"]


def test_a_week_that_is_not_over_is_left_for_later(weekly, environment):
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute(
            "INSERT INTO treadle.pipeline_checkpoint (pipeline_name, next_week_start, next_week_end, updated_at_utc)"
            " VALUES ('reverse_etl_customer_weekly', '2095-01-03', '2095-01-09', now() - interval '20 days')"
        )
    left = weekly("run", "--use-checkpoint", "--json")
    assert (left.code, left.data["status"], "is not over" in left.data["skipped"]) == (0, None, True)
    assert "checkpoint stale" in left.err.lower()
    assert "14 days" in weekly("status").err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run",), "Which week?"),
        (("run", "--use-checkpoint", "--week-start", "2019-12-02"), "named twice"),
        (("run", "--week-start", "2019-12-08", "--week-end", "2019-12-02"), "ends"),
        (("stage", "load", "--week-start", "2019-11-11"), "was not done"),
        (("run", "--stage", "extract", "--dry-run", *WEEK), "dry run"),
        (("backfill", "--from", "2019-12-16", "--to", "2019-12-22"), "--yes"),
        (("status", "--run", "ffffffff"), "names no weekly run"),
        (("backfill", "--from", "2019-12-16", "--to", "2019-12-22"), "1 week would be run"),
        (("rejects", "ls", "--week-start", "2031-01-06"), "no rejects"),
        (("rejects", "ls", "--week-end", "2019-12-08"), "Which week?"),
        (("rejects", "retry", "--week-end", "2019-12-08"), "Which week?"),
        (("rejects", "ls", "--rule", "nosuch"), "Choose one of: control_character, empty, missing,"),
        (("run", "--week-start", "2019-13-01"), "does not match"),
        (("plan", "--action", "nosuch"), "is not one of"),
        (("nosuch",), "No such command"),
        (("rejects", "nosuch"), "No such command"),
        (("--nosuch",), "No such option"),
    ],
)
def test_every_error_is_exit_code_1_with_advice(weekly, arguments, told):
    answer = weekly(*arguments)
    assert (answer.code, told in answer.err) == (1, True), answer.err
    assert "Traceback" not in answer.err


def test_what_is_missing_is_named_at_once(treadle, environment, tmp_path):
    kept = {"API_BASE_URL", "API_KEY", "SALESFORCE_URL", "SALESFORCE_CLIENT_ID", "SALESFORCE_CLIENT_SECRET"}
    bare = tmp_path / "bare"
    bare.mkdir()
    lines = [f"{name}={value}\n" for name, value in environment.values.items() if name not in kept]
    (bare / "treadle.env").write_text("".join(lines))
    try:
        answer = treadle("weekly", "run", *WEEK, "--json", state=bare, **FAST)
        assert (answer.code, answer.out) == (1, "")
        assert set(json.loads(answer.err.splitlines()[-1])["details"]["missing"]) >= {"API_BASE_URL", "API_KEY", "SALESFORCE_URL"}
    finally:
        (bare / "treadle.env").unlink()


def test_a_failed_gate_says_why_and_where_to_look(weekly):
    failed = weekly("run", "--week-start", "2020-01-13")
    assert (failed.code, "the batch is refused" in failed.err) == (1, True)
    listed = weekly("rejects", "ls", "--week-start", "2020-01-13")
    assert "rule" in listed.out
    rule = weekly("rejects", "ls", "--week-start", "2020-01-13", "--json").data["rejects"][0]["rule"]
    one = weekly("rejects", "ls", "--week-start", "2020-01-13", "--rule", rule, "--limit", "1", "--json").data["rejects"][0]
    shown = weekly("rejects", "show", str(one["row_index"]), "--week-start", "2020-01-13")
    assert rule in shown.out
    status = weekly("status", "--json").data
    assert (status["runs"][0]["status"], status["checkpoint"]) == ("FAILED", None)


def test_rejects_are_exported(weekly, tmp_path):
    assert weekly("run", "--week-start", "2019-12-09", "--local-only").code == 0
    target = tmp_path / "rejects.csv"
    exported = weekly("rejects", "export", str(target), "--json")
    assert exported.data["rejects"] > 0
    assert target.read_text().startswith("row_index,")


def test_a_backfill_previews_asks_and_runs(weekly):
    span = ("--from", "2019-12-16", "--to", "2019-12-29")
    preview = weekly("backfill", *span, "--preview", "--json").data["weeks"]
    assert [(each["week"]["start"], each["action"]) for each in preview] == [("2019-12-16", "run"), ("2019-12-23", "run")]
    done = weekly("backfill", *span, "--yes", "--json")
    assert done.code == 0, done.err
    assert [each["status"] for each in done.data["weeks"]] == ["SUCCESS", "SUCCESS"]
    nothing = weekly("backfill", *span, "--yes", "--json")
    assert (nothing.code, nothing.data, "nothing to do" in nothing.err) == (0, {"weeks": []}, True)


@pytest.mark.timeout(90)
def test_ctrl_c_at_the_question_is_exit_code_130(environment, tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "treadle", "weekly", "backfill", "--from", "2019-12-16", "--to", "2019-12-22"]
    environ = os.environ | FAST | {"TREADLE_STATE": str(environment.state), "TERM": "dumb", "COLUMNS": "100"}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as asking:
        os.close(theirs)
        shown = b""
        while b"Run 1 week? [y/N]" not in shown:
            shown += os.read(ours, 4096)
        for _ in range(60):  # one that comes just before the question is read is noticed only with the next, as at any prompt of Python's
            asking.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                asking.wait(timeout=1)
                break
        assert asking.returncode == 130
        assert b"Interrupted." in os.read(ours, 4096).replace(b"\r\n", b"")
    os.close(ours)


def test_a_dry_run_and_a_plan_change_nothing(weekly):
    dry = weekly("run", *WEEK, "--dry-run", "--json")
    assert (dry.code, dry.data["dry_run"], dry.data["run_id"]) == (0, True, None)
    assert "nothing was recorded, published or sent" in dry.err
    assert weekly("run", *WEEK, "--local-only").code == 0
    plan = weekly("plan", *WEEK, "--json")
    assert plan.code == 0, plan.err
    assert plan.data["rows"] == sum(plan.data[name] for name in COUNTS)
    assert plan.data["plan"]["digest"]
    shown = weekly("plan", *WEEK, "--limit", "2")
    assert (shown.code, "requests by" in shown.err) == (0, True), shown.err
    updates = weekly("plan", *WEEK, "--action", "update")
    assert ("No row would be updated." in updates.err, "Nothing would change" in updates.err) == (True, False), updates.err
    assert weekly("status", "--json").data["checkpoint"] is None


def test_a_plan_says_that_a_guard_objects_and_that_the_allowance_is_not_enough(weekly, environment):
    begin_empty(environment)
    first = weekly("run", *WEEK, "--json")
    assert first.code == 0, first.err
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute(
            """UPDATE treadle.weekly_acknowledged SET row_hash_hi = row_hash_hi + 1, fields = fields || '{"Total_Spend_Week__c": "77777.00"}'"""
        )
        connection.execute(
            """INSERT INTO treadle.weekly_acknowledged
            SELECT target, 'gone', week_start, week_end, hash_scheme, row_hash_hi, row_hash_lo, fields, 'gone', created_by_us, acknowledged_at, sync_id
              FROM treadle.weekly_acknowledged LIMIT 1"""
        )
    enough = weekly("plan", *WEEK)
    assert "1 record is in Salesforce that this week's customers no longer have" in " ".join(enough.err.split())
    assert (enough.code, "the guard max_update_pct objects" in enough.err, "allowance" in enough.err) == (0, True, False), enough.err
    assert "treadle weekly stage salesforce-sync --week-start 2019-12-02 --week-end 2019-12-08 --force --override-guards" in enough.err
    daily, used = environment.cloud.salesforce.options.daily, environment.cloud.salesforce.allocations.used()
    kept = dict(daily)
    daily["DailyApiRequests"] = used["DailyApiRequests"] + 5
    try:
        short = weekly("plan", *WEEK)
    finally:
        daily.update(kept)
    assert short.code == 0, short.err
    assert "Warning: today's allowance of Salesforce is not enough: 4 API requests are needed" in short.err
    held = weekly("stage", "salesforce-sync", *WEEK, "--force")
    assert (held.code, "max_update_pct" in held.err) == (1, True), held.err
    sent = weekly("stage", "salesforce-sync", *WEEK, "--force", "--override-guards", "--json")
    assert (sent.code, sent.data["updated"]) == (0, sum(first.data[name] for name in COUNTS)), sent.err


def test_refused_rows_that_are_refused_again_are_exit_code_1(weekly, environment):
    begin_empty(environment)
    options = environment.cloud.salesforce.options
    options.validation_rules = ({"field": "Total_Spend_Week__c", "above": 900, "message": "Too much for a week."},)
    try:
        refused = weekly("run", *WEEK, "--json").data["refused"]
        assert refused > 0
        again = weekly("rejects", "retry", *WEEK)
        assert (again.code, f"{refused} were refused again, and 0 are pending" in again.err) == (1, True), again.err
        told = weekly("rejects", "retry", *WEEK, "--json")
        assert (told.code, told.data["refused"]) == (1, refused)
        wide = weekly("rejects", "ls", *WEEK, "--limit", "1")
        assert re.search(r"^record +code +message +attempts +last seen +fields$", wide.out, re.MULTILINE)
    finally:
        options.validation_rules = ()
    mended = weekly("rejects", "retry", *WEEK, "--json")
    assert (mended.code, mended.data["created"], mended.data["refused"]) == (0, refused, 0), mended.err


def test_what_would_undo_a_whole_week_is_refused(weekly):
    assert weekly("run", *WEEK).code == 0
    local = weekly("run", *WEEK, "--local-only", "--force")
    assert (local.code, "would take its place" in local.err) == (1, True), local.err
    part = weekly("run", "--week-start", "2019-12-02", "--week-end", "2019-12-04")
    assert (part.code, "shares days with 2019-12-02…2019-12-08" in part.err) == (1, True), part.err


def test_the_api_is_checked(weekly, treadle):
    assert weekly("check-api", "--json").data["size_bytes"] > 0
    assert "answers, and takes the key" in weekly("run", "--check-api").err


def test_the_hint_for_refused_rows_names_the_whole_span(weekly, environment):
    begin_empty(environment)
    options = environment.cloud.salesforce.options
    options.validation_rules = ({"field": "Total_Spend_Week__c", "above": 900, "message": "Too much for a few days."},)
    span = ("--week-start", "2019-12-02", "--week-end", "2019-12-04")
    try:
        refused = weekly("run", *span, "--json").data["refused"]
        assert refused > 0
    finally:
        options.validation_rules = ()
    hint = weekly("rejects", "ls", *span).err.split("send ")[1].split("with: treadle weekly ")[1].split()
    assert hint == ["rejects", "retry", *span]
    assert weekly(*hint, "--json").data["created"] == refused


def test_what_a_terminal_would_obey_is_written_out(weekly, environment):
    assert weekly("run", "--week-start", "2019-12-09", "--local-only").code == 0
    (path,) = environment.settings.local_rejects_dir.rglob("*.parquet")
    work = [found for found in environment.settings.state_dir.rglob(path.name) if found != path]
    rows = pl.read_parquet(path)
    place = int(rows["row_index"][0])
    evil = "\x1b[31mred\u202edlrow\t"
    changed = rows.head(1).with_columns(
        pl.lit(evil).alias("value"), pl.lit(f'{{"brand": "{evil}"}}'.encode(), dtype=pl.Binary).alias("raw_record")
    )
    for each in (path, *work):
        changed.write_parquet(each)
    rule = str(changed["rule"][0])
    week = ("--week-start", "2019-12-09")
    for arguments in (("ls", *week), ("ls", *week, "--rule", rule), ("show", str(place), *week)):
        shown = weekly("rejects", *arguments)
        assert (shown.code, r"\x1b[31mred\u202edlrow\x09" in shown.out) == (0, True), shown.out + shown.err
        assert not set(shown.out) & {"\x1b", "\u202e", "\t"}


def test_a_table_on_a_full_disk_is_told_as_json_on_one_is(weekly, environment, tmp_path):
    assert weekly("run", "--week-start", "2019-12-09", "--local-only").code == 0
    environ = os.environ | {"TREADLE_STATE": str(environment.state), "PYTHONUNBUFFERED": "1"}
    with Path("/dev/full").open("w") as full:
        for more in ((), ("--json",)):
            command = [sys.executable, "-m", "treadle", "weekly", "status", *more]
            ended = subprocess.run(command, cwd=tmp_path, env=environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert (ended.returncode, "Traceback" in ended.stderr) == (1, False), ended.stderr
            assert "Standard output cannot be written: No space left on device." in ended.stderr
