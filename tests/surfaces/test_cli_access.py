"""The command line: roles, tokens and the audit, as a person meets them."""

import getpass
import itertools
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests import canaries

TOKEN = re.compile(r"trdl_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("order_id,order_date,revenue\n1,2026-01-01,10\n2,2026-01-02,20\n")
    return path


def named(treadle, name: str, *options: str) -> list[dict]:
    return [token for token in treadle("token", "ls", "--json", *options).data if token["name"] == name]


def test_a_token_is_shown_once_and_never_again(treadle, environment):
    made = treadle("token", "create", "nightly", "--role", "operator", "--scope", "runs:read", "--scope", "runs:start", "--expires", "12h")
    assert made.code == 0, made.err
    secret = made.out.strip()
    assert TOKEN.fullmatch(secret)
    canaries.plant(secret)
    listed = named(treadle, "nightly")
    assert [(token["role"], token["scopes"], token["usable"]) for token in listed] == [("operator", ["runs:read", "runs:start"], True)]
    assert treadle("token", "ls").code == 0
    revoked = treadle("token", "revoke", listed[0]["token_id"])
    assert revoked.code == 0
    assert "was revoked by" in revoked.err
    assert named(treadle, "nightly") == []
    assert [token["usable"] for token in named(treadle, "nightly", "--all")] == [False]
    assert canaries.found_in_folder(environment.state) == []


def test_a_token_as_json_has_its_secret_and_its_facts(treadle):
    made = treadle("token", "create", "script", "--json").data
    canaries.plant(made["token"])
    assert TOKEN.fullmatch(made["token"])
    assert (made["role"], made["scopes"], made["revoked_at"]) == ("viewer", None, None)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("token", "create", "x", "--role", "root"), 2),
        (("token", "create", "x", "--scope", "moon:land"), 2),
        (("token", "create", "x", "--role", "viewer", "--scope", "runs:start"), 2),
        (("token", "create", "x", "--expires", "for ever"), 2),
        (("token", "create", "x", "--expires", "0d"), 2),
        (("token", "create", "x", "--expires", "4000d"), 2),
        (("token", "revoke", "0123456789ab"), 3),
        (("token", "revoke", "nonsense"), 3),
        (("audit", "verify", "--expect", "nonsense"), 2),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_exit_code(treadle, arguments, code):
    assert treadle(*arguments).code == code


def test_a_viewer_at_the_machine_may_look_and_nothing_else(treadle, workbook):
    for looks in (("run", "ls"), ("files", "ls"), ("lock", "show"), ("jobs", "ls"), ("restores",)):
        assert treadle(*looks, TREADLE_ROLE="viewer").code == 0
    for changes in (
        ("run", "start", str(workbook)),
        ("files", "upload", str(workbook)),
        ("lock", "release", "--reason", "x"),
        ("token", "create", "x"),
    ):
        refused = treadle(*changes, TREADLE_ROLE="viewer", TREADLE_USER="viewing-vera")
        assert refused.code == 5
        assert "viewing-vera may not do this" in refused.err
    assert treadle("audit", "ls", TREADLE_ROLE="operator").code == 5
    entries = treadle("audit", "ls", "--by", "viewing-vera", "--json").data["entries"]
    assert [(entry["action"], entry["outcome"]) for entry in entries] == [
        ("token.create", "refused"),
        ("lock.release", "refused"),
        ("file.upload", "refused"),
        ("run.start", "refused"),
    ]


def test_an_unknown_role_is_told(treadle):
    refused = treadle("run", "ls", TREADLE_ROLE="root", state=None)
    assert refused.code == 2


def test_a_run_is_in_the_audit_and_the_audit_verifies(treadle, workbook):
    started = treadle("run", "start", str(workbook), "--wait", "--user", "olga", "--json")
    assert started.code == 0, started.err
    run_id = started.data["run_id"]
    assert started.data["triggered_by"] == "olga"
    entries = treadle("audit", "ls", "--target", f"run:{run_id}", "--json").data["entries"]
    assert [(entry["action"], entry["outcome"], entry["name"], entry["via"]) for entry in entries] == [
        ("run.start", "done", "olga", "local"),
        ("run.start", "asked", "olga", "local"),
    ]
    verified = treadle("audit", "verify")
    assert verified.code == 0
    head = verified.out.strip()
    assert treadle("audit", "verify", "--expect", head).code == 0
    number, _, digest = head.partition(":")
    forged = f"{number}:{'0' * len(digest)}"
    damaged = treadle("audit", "verify", "--expect", forged)
    assert damaged.code == 1
    assert "damaged" in damaged.err
    assert treadle("audit", "verify", "--json").data["first_bad"] is None
    assert treadle("audit", "ls", "--unfinished", "--target", f"run:{run_id}", "--json").data["entries"] == []
    assert treadle("audit", "ls", "--limit", "2").code == 0


@pytest.fixture
def unmigrated(environment, tmp_path: Path):
    """The same environment, with a database of our own tables that nobody has migrated."""
    name = conninfo_to_dict(environment.postgres.create_database("bare"))["dbname"]
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "treadle.env").write_text((environment.state / "treadle.env").read_text() + f"TREADLE_PG_DATABASE={name}\n")
    return folder


def test_without_our_own_tables_one_may_look_and_is_told_how_to_change(treadle, unmigrated, workbook):
    for looks in (("run", "ls"), ("files", "ls"), ("lock", "show"), ("restores",)):
        assert treadle(*looks, state=unmigrated).code == 0
    for changes in (
        ("run", "start", str(workbook)),
        ("files", "upload", str(workbook)),
        ("token", "create", "x"),
        ("token", "ls"),
        ("audit", "ls"),
    ):
        refused = treadle(*changes, state=unmigrated)
        assert refused.code == 2
        assert "treadle migrate" in refused.err
    assert treadle("migrate", state=unmigrated).code == 0
    assert treadle("files", "upload", str(workbook), state=unmigrated).code == 0


def test_who_acts_is_the_systems_user_unless_said_otherwise(treadle, workbook):
    treadle("files", "upload", str(workbook))
    assert treadle("audit", "ls", "--limit", "1", "--json").data["entries"][0]["name"] == getpass.getuser()


def test_a_user_without_a_name_must_say_who_they_are():
    code = "import getpass, os\nfrom types import SimpleNamespace as N\nfrom treadle.cli.options import acting\nfrom treadle.errors import InvalidInput\n"
    code += "try:\n    acting(N(settings=N(treadle_user=None, treadle_role='admin')), None)\nexcept InvalidInput as error:\n    print(error.hint)\n"
    bare = {name: value for name, value in os.environ.items() if name not in {"LOGNAME", "USER", "LNAME", "USERNAME"}}
    nameless = "import os, pwd, runpy\nos.getuid = lambda: 4_000_000_001\n" + code
    told = subprocess.run([sys.executable, "-c", nameless], env=bare, capture_output=True, text=True, check=True, timeout=60)
    assert "--user" in told.stdout


@pytest.fixture
def api(environment, tmp_path: Path) -> Iterator[str]:
    """`treadle api` as a process; yields its address."""
    command = [sys.executable, "-m", "treadle", "api", "--port", "0", "--json", "--with-parent", "--state", str(environment.state)]
    with (tmp_path / "api.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path)
        try:
            lines = itertools.takewhile(lambda line: line.strip() != "}", process.stdout)
            yield json.loads("".join(lines) + "}")["url"]
        finally:
            process.communicate(timeout=30)
    assert canaries.found_in_text((tmp_path / "api.log").read_text()) == []


def test_the_local_users_sign_in_to_the_api_and_have_their_roles(api, environment):
    trusted = ssl.create_default_context(cafile=str(environment.cloud.endpoints.ca_file))
    with httpx2.Client(verify=trusted, trust_env=False, timeout=20) as client:
        for user, role, status in (("ada", "admin", 200), ("olga", "operator", 403), ("vic", "viewer", 403)):
            form = {"grant_type": "password", "client_id": "treadle-cli", "username": user, "password": user}
            bearer = client.post(f"{environment.settings.oidc_issuer}/token", data=form).json()["access_token"]
            headers = {"Authorization": f"Bearer {bearer}"}
            me = client.get(f"{api}/api/me", headers=headers)
            assert me.status_code == 200, me.text
            assert (me.json()["name"], me.json()["role"]) == (user, role)
            assert client.get(f"{api}/api/tokens", headers=headers).status_code == status
        forged = bearer[:-6] + "AAAAAA"
        assert client.get(f"{api}/api/me", headers={"Authorization": f"Bearer {forged}"}).status_code == 401
