"""`treadle scenario plan`, `apply` and `destroy`, as a person and a script use them, and what is seen of a scenario between them."""

import os
import signal
import subprocess
import sys
import uuid

import psycopg
import pytest

from tests.unit.scenario_archives import small, tar_gz, telco
from treadle.cli.exit_codes import EXIT_CODES
from treadle.errors import Conflict, InvalidInput, NotFound, OperationFailed
from treadle.wiring import wired

CONFLICT, INVALID, NOT_FOUND, FAILED = (EXIT_CODES[kind] for kind in (Conflict, InvalidInput, NotFound, OperationFailed))
RUNBOOKS = {"runbooks/fibre-cut.md": "# Fibre cut\n\nCall the field team.\n", "runbooks/bgp.md": "# BGP session down\n\nCheck the peer.\n"}
ROUTERS = "MATCH (l:TransportLink)-[:connects_to]->(r:CoreRouter) RETURN r.RouterId AS router, count(*) AS links"


@pytest.fixture
def workspace(environment):
    """A workspace of its own, by name."""
    name = f"cli-{uuid.uuid4().hex[:8]}"
    with wired(environment.settings) as wiring:
        wiring.fabric.create_workspace(name)
    return name


@pytest.fixture
def archive(tmp_path):
    """A file with these bytes."""

    def write(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


@pytest.fixture
def scenario(treadle):
    """`treadle scenario …`."""
    return lambda *arguments: treadle("scenario", *arguments)


def shop(name: str, **changed: str) -> bytes:
    """The small scenario under a name of its own: tests share what is known of scenarios."""
    return small(scenario_yaml=f"name: {name}\ndisplay_name: A shop\n", **changed)


def jobs_of(environment, workspace: str) -> int:
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        found = connection.execute("SELECT count(*) FROM treadle.jobs WHERE payload->>'workspace_name' = %s", [workspace]).fetchone()
    return found[0]


def counts(data) -> tuple[int, ...]:
    assert data["counts"] == {name: data[name] for name in ("create", "update", "unchanged", "conflict")}
    return tuple(data["counts"].values())


@pytest.mark.timeout(600)  # some thirty commands, each a process of its own
def test_the_real_scenario_is_built_asked_and_built_again_without_a_change(scenario, archive, workspace, tmp_path):
    packed = tmp_path / "telco-noc.tar.gz"
    packed.write_bytes(telco("entities", "telemetry"))
    where = ("--workspace", workspace)
    planned = scenario("plan", str(packed), *where, "--json")
    assert planned.code == 0, planned.err
    create, *others = counts(planned.data)
    assert (create > 14, others, planned.data["scenario_name"], planned.data["workspace_name"]) == (True, [0, 0, 0], "telco-noc", workspace)
    assert {change["kind"] for change in planned.data["changes"]} >= {"lakehouse", "table", "ontology", "eventhouse", "kql_table"}

    built = scenario("apply", str(packed), *where, "--runbooks", archive("texts.tar.gz", tar_gz(RUNBOOKS)), "--yes", "--json")
    assert built.code == 0, built.err
    assert (built.data["state"], built.data["create"], built.data["result"]["scenario_name"]) == ("SUCCEEDED", create, "telco-noc")
    assert "No worker has taken the job up, so this process does it." in built.err
    assert "CoreRouter" in built.err  # what happens is told on the way

    again = scenario("plan", str(packed), *where, "--json").data
    assert (again["create"], again["update"], again["conflict"], again["unchanged"] >= create) == (0, 0, 0, True)
    repeated = scenario("apply", str(packed), *where, "--json")  # nothing would change, so nobody is asked
    assert (repeated.code, repeated.data["state"], repeated.data["create"] + repeated.data["update"]) == (0, "SUCCEEDED", 0)

    asked = scenario("query", "telco-noc", ROUTERS, "--json")
    assert asked.code == 0, asked.err
    assert sum(row["links"] for row in asked.data["rows"]) > 0
    assert [column["name"] for column in asked.data["columns"]] == ["router", "links"]
    as_table = scenario("query", "telco-noc", ROUTERS)
    assert {"router", "links"} <= set(as_table.out.splitlines()[0].split())
    assert all(str(row["router"]) in as_table.out for row in asked.data["rows"])
    refused = scenario("query", "telco-noc", "MATCH (")
    assert (refused.code, "refuses the query" in refused.err) == (INVALID, True)

    shown = scenario("show", "telco-noc")
    assert shown.code == 0, shown.err
    assert all(words in shown.out for words in ("Australian Telco NOC", "CoreRouter", "connects_to", "LinkTelemetry", workspace))
    listed = scenario("ls", "--json").data["scenarios"]
    assert [each["workspace_name"] for each in listed if each["name"] == "telco-noc"] == [workspace]
    builds = scenario("jobs", "--json").data["jobs"]
    assert [job["status"] for job in builds if job["scenario_name"] == "telco-noc"][:2] == ["done", "done"]

    documents = scenario("docs", "telco-noc", "--json").data["documents"]
    assert [each["title"] for each in documents] == ["BGP session down", "Fibre cut"]
    found = scenario("docs", "telco-noc", "--search", "field teams", "--json").data["documents"]
    assert [each["path"] for each in found] == ["fibre-cut.md"]
    assert scenario("docs", "telco-noc", "--read", found[0]["id"]).out == "# Fibre cut\n\nCall the field team.\n"
    assert "No document has these words" in scenario("docs", "telco-noc", "--search", "helicopter").err

    preview = scenario("destroy", "telco-noc", "--preview", "--json")
    assert preview.code == 0, preview.err
    assert len(preview.data["removed"]) >= create
    assert scenario("destroy", "telco-noc").code == CONFLICT  # nobody is there to agree
    gone = scenario("destroy", "telco-noc", "--yes", "--json")
    assert (gone.code, gone.data["state"]) == (0, "SUCCEEDED"), gone.err
    assert scenario("show", "telco-noc").code == NOT_FOUND
    assert scenario("destroy", "telco-noc", "--yes").code == NOT_FOUND
    assert counts(scenario("plan", str(packed), *where, "--json").data)[0] > 0


def test_faults_are_told_and_nothing_is_sent(scenario, archive, workspace, environment):
    bad = archive("bad.tar.gz", shop("faulty", Order_csv="OrderId,ShopId\nO1,S1\nO1,S9\n"))
    for command in (("plan",), ("apply", "--yes")):
        answer = scenario(*command, bad, "--workspace", workspace, "--json")
        assert answer.code == INVALID
        assert {fault["code"] for fault in answer.data["faults"]} >= {"id_twice", "column_missing"}
        assert (answer.data["can_be_applied"], answer.data["create"]) == (False, 0)
    as_text = scenario("plan", bad, "--workspace", workspace)
    assert "id_twice" in as_text.out
    assert "cannot be built" in as_text.err
    assert jobs_of(environment, workspace) == 0


def test_what_somebody_else_has_made_is_a_conflict_until_it_may_be_taken_over(scenario, archive, workspace, environment):
    first, second = archive("first.tar.gz", shop("first")), archive("second.tar.gz", shop("second"))
    assert scenario("apply", first, "--workspace", workspace, "--yes").code == 0
    before = jobs_of(environment, workspace)
    refused = scenario("apply", second, "--workspace", workspace, "--yes", "--json")
    assert (refused.code, refused.data["conflict"] > 0, refused.data["can_be_applied"]) == (CONFLICT, True, False)
    assert "--overwrite" in refused.err
    assert "was made by first" in scenario("plan", second, "--workspace", workspace).out
    assert jobs_of(environment, workspace) == before
    taken = scenario("apply", second, "--workspace", workspace, "--yes", "--overwrite", "--json")
    assert (taken.code, taken.data["conflict"], taken.data["state"]) == (0, 0, "SUCCEEDED"), taken.err


def test_a_changed_table_is_the_only_table_that_is_updated(scenario, archive, workspace):
    assert scenario("apply", archive("v1.tar.gz", shop("changing")), "--workspace", workspace, "--yes").code == 0
    changed = archive("v2.tar.gz", shop("changing", Shop_csv="ShopId,City\nS1,Sydney\nS2,Hobart\n"))
    planned = scenario("plan", changed, "--workspace", workspace, "--json").data
    assert [change["name"].rpartition("/")[2] for change in planned["changes"] if change["action"] == "update"][:1] == ["Shop"]
    assert planned["create"] == planned["conflict"] == 0
    assert scenario("apply", changed, "--workspace", workspace, "--yes").code == 0
    rows = scenario("query", "changing", "MATCH (s:Shop) RETURN s.City AS city", "--json").data["rows"]
    assert sorted(row["city"] for row in rows) == ["Hobart", "Sydney"]


def test_what_nobody_names_stays_where_it_was_built(scenario, archive, workspace):
    file, where = archive("a.tar.gz", shop("harbour")), ("--workspace", workspace)
    assert scenario("apply", file, *where, "--lakehouse", "hafen_lh", "--ontology", "hafen_onto", "--yes").code == 0
    again = scenario("plan", file, *where, "--json").data
    assert (again["create"], again["conflict"], {each["name"] for each in again["changes"]} > {"hafen_lh", "hafen_onto"}) == (0, 0, True)
    elsewhere = scenario("plan", file, *where, "--lakehouse", "lakehouse", "--ontology", "ontology")
    assert "harbour is built in lakehouse hafen_lh and ontology hafen_onto." in elsewhere.out
    for command in ("plan", "apply"):
        told = " ".join(scenario(command, "--help").out.replace("│", " ").split())
        assert "default: that of the scenario's last build in this workspace, else lakehouse" in told


def test_changes_of_documents_are_part_of_the_plan_and_of_the_end(scenario, archive, workspace):
    name = ("--name", "papers", "--workspace", workspace)
    first = archive("first.tar.gz", tar_gz({"runbooks/a.md": "# A", "runbooks/b.md": "# B", "runbooks/manual.pdf": "%PDF"}))
    planned = scenario("plan", "--runbooks", first, *name, "--json").data
    assert planned["documents"] == {"runbooks": {"created": 2, "updated": 0, "removed": 0, "unchanged": 0}}
    assert counts(planned) == (0, 0, 0, 0)
    assert "manual.pdf" in planned["notes"][0]
    built = scenario("apply", "--runbooks", first, *name, "--yes")
    assert (built.code, "1 file is passed over: manual.pdf" in built.err) == (0, True), built.err
    second = archive("second.tar.gz", tar_gz({"runbooks/a.md": "# A"}))
    as_text = scenario("plan", "--runbooks", second, *name).out
    assert "runbooks: 0 created, 0 updated, 1 removed, 1 unchanged" in as_text
    assert "b.md is no longer in the archive, and is removed" in as_text
    unsaid = scenario("apply", "--runbooks", second, *name)
    assert (unsaid.code, "Carry out: runbooks (1 removed): nobody is there to agree" in unsaid.err) == (CONFLICT, True), unsaid.err
    assert scenario("apply", "--runbooks", first, *name).code == 0, "nothing changes, so nobody is asked"

    preview = scenario("destroy", "papers", "--preview")
    assert (preview.code, "2 runbooks" in preview.out, "nothing" in preview.out + preview.err) == (0, True, False)
    assert scenario("destroy", "papers", "--preview", "--json").data["documents"] == {"runbooks": 2}
    assert "Remove the scenario papers, 0 things in Fabric, 2 runbooks: nobody" in scenario("destroy", "papers").err
    assert "papers is removed: 0 things, 2 runbooks." in scenario("destroy", "papers", "--yes").err


def test_without_yes_and_without_a_terminal_nothing_is_sent(scenario, archive, workspace, environment):
    answer = scenario("apply", archive("a.tar.gz", shop("asking")), "--workspace", workspace)
    assert (answer.code, "nobody is there to agree" in answer.err) == (CONFLICT, True)
    assert jobs_of(environment, workspace) == 0


def test_a_job_can_be_left_to_a_worker(scenario, archive, workspace, treadle):
    asked = scenario("apply", archive("a.tar.gz", shop("later")), "--workspace", workspace, "--yes", "--no-wait", "--json")
    assert (asked.code, asked.data["state"], asked.data["result"]) == (0, "QUEUED", None), asked.err
    assert [job["id"] for job in scenario("jobs", "--json").data["jobs"] if job["status"] == "pending"] == [asked.data["job_id"]]
    assert treadle("worker", "--until-idle").code == 0
    assert "later" in [each["name"] for each in scenario("ls", "--json").data["scenarios"]]


def test_a_build_that_fails_says_why_and_leaves_with_an_exit_code_of_its_own(scenario, archive, workspace, environment, treadle):
    environment.cloud.faults.script(
        "fabric.RunOnDemandItemJob", "job_failed", times=None, code="DataSourceSchemaFetchFailed", message="planted"
    )
    try:
        failed = scenario("apply", archive("a.tar.gz", shop("failing")), "--workspace", workspace, "--yes", "--json")
    finally:
        environment.cloud.faults.clear()
    assert (failed.code, failed.data["state"]) == (FAILED, "FAILED"), failed.err
    assert failed.data["error"]
    assert treadle("jobs", "retry", failed.data["job_id"]).code == 0
    assert treadle("worker", "--until-idle").code == 0
    assert scenario("query", "failing", "MATCH (s:Shop) RETURN count(s) AS n", "--json").data["rows"] == [{"n": 2}]


def test_an_interrupted_apply_says_so_and_a_worker_goes_on(environment, archive, workspace, treadle, scenario):
    command = [
        sys.executable,
        "-m",
        "treadle",
        "scenario",
        "apply",
        archive("a.tar.gz", shop("interrupted")),
        "--workspace",
        workspace,
        "--yes",
    ]
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "TREADLE_STATE": str(environment.state), "COLUMNS": "200"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as applying:
        assert applying.stderr
        told = [next(line for line in applying.stderr if "this process does it" in line)]
        applying.send_signal(signal.SIGINT)
        told += applying.stderr.readlines()
    assert applying.returncode == EXIT_CODES[KeyboardInterrupt], told
    assert "The job goes on as soon as a worker has it" in "".join(told)
    assert treadle("worker", "--until-idle").code == 0
    assert scenario("query", "interrupted", "MATCH (s:Shop) RETURN count(s) AS n", "--json").data["rows"] == [{"n": 2}]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "nothing to build"),
        (("texts.tar.gz",), "holds no scenario"),
        (("a.tar.gz", "--graph", "a.tar.gz"), "two archives for graph"),
        (("--runbooks", "texts.tar.gz"), "Whose files are these?"),
        (("a.tar.gz", "--lakehouse", "my lakehouse"), "cannot be the name of a lakehouse"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_advice(scenario, archive, arguments, told):
    archive("a.tar.gz", shop("refused"))
    archive("texts.tar.gz", tar_gz(RUNBOOKS))
    answer = scenario("plan", *arguments)
    assert (answer.code, told in answer.err, "Next:" in answer.err) == (INVALID, True, True), answer.err


def test_a_workspace_that_is_not_there_is_not_found(scenario, archive):
    file = archive("a.tar.gz", shop("nowhere"))
    for name in ("no such workspace", str(uuid.uuid4())):
        assert scenario("plan", file, "--workspace", name).code == NOT_FOUND


def test_ctrl_c_at_the_question_ends_quietly_and_nothing_is_sent(archive, workspace, environment, answers_at_a_terminal):
    command = ("scenario", "apply", archive("a.tar.gz", shop("unanswered")), "--workspace", workspace)
    with answers_at_a_terminal(*command) as (asking, said_until):
        said_until(b"? [y/N]")
        asking.send_signal(signal.SIGINT)
        said = said_until(b"Interrupted.")
        assert asking.wait(timeout=60) == EXIT_CODES[KeyboardInterrupt]
    assert (b"Traceback" in said, b"Aborted" in said, jobs_of(environment, workspace)) == (False, False, 0)


def test_unknown_scenarios_are_not_found(scenario):
    for command in (("show", "none"), ("query", "none", "MATCH (n) RETURN n"), ("docs", "none"), ("destroy", "none", "--yes")):
        answer = scenario(*command)
        assert answer.code == NOT_FOUND, (command, answer.err)


def test_lists_fit_a_terminal_and_cannot_steer_it(scenario, archive, workspace, screen):
    hostile = "ShopId,City\nS1,\x1b]0;owned\x07\x1b[31mSydney [bold]\nS2,Perth\n"
    assert scenario("apply", archive("a.tar.gz", shop("on-screen", Shop_csv=hostile)), "--workspace", workspace, "--yes").code == 0
    cities = scenario("query", "on-screen", "MATCH (s:Shop) RETURN s.City AS city").out
    assert ("\x1b" in cities, "\x07" in cities, "\\x1b]0;owned\\x07\\x1b[31mSydney [bold]" in cities) == (False, False, True)
    for command in (("ls",), ("jobs",), ("show", "on-screen"), ("query", "on-screen", "MATCH (s:Shop) RETURN s")):
        lines = screen("scenario", *command)
        assert lines, command
        assert max(map(len, lines)) <= 80, (command, lines)
