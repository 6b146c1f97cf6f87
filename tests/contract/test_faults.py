"""Scripted faults, each seen as a plain HTTP client sees it; and the rule that none may be left unused."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
import pytest

from treadle.sandbox.entra.store import STORAGE_AUDIENCE
from treadle.sandbox.faults import FaultRule, FaultScript

KEYS = "entra.Keys"
pytest_plugins = ["pytester"]


@pytest.fixture
def keys(sandbox, https):
    """Ask for the signing keys: a request whose good answer is known."""
    url = f"{sandbox.endpoints.entra_url}/common/discovery/v2.0/keys"
    return lambda: https.get(url)


def fabric(sandbox, https, method, path, **arguments):
    headers = {"Authorization": f"Bearer {sandbox.entra.issue_token().access_token}"}
    return https.request(method, f"{sandbox.endpoints.fabric_url}{path}", headers=headers, **arguments)


def create_workspace(sandbox, https, name):
    """A request with an effect that can be looked up afterwards."""
    return fabric(sandbox, https, "POST", "/v1/workspaces", json={"displayName": name})


def workspaces_named(sandbox, https, name):
    return [row for row in fabric(sandbox, https, "GET", "/v1/workspaces").json()["value"] if row["displayName"] == name]


def statuses(request, count):
    return [request().status_code for _ in range(count)]


def test_a_status_fires_the_scripted_number_of_times_after_the_scripted_number_of_requests(sandbox, keys):
    sandbox.faults.script("entra.K*", "status", status=503, after=1, times=2)
    assert statuses(keys, 5) == [200, 503, 503, 200, 200]


def test_a_status_comes_in_the_services_envelope_with_retry_after_in_seconds(sandbox, keys):
    sandbox.faults.script(KEYS, "status", status=429, retry_after_seconds=7)
    answer = keys()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error_codes"] == [90055]


def test_retry_after_may_be_an_http_date(sandbox, keys):
    sandbox.clock.advance(-86_400)
    sandbox.faults.script(KEYS, "status", status=503, retry_after_date_seconds=30)
    ahead = parsedate_to_datetime(keys().headers["retry-after"]).timestamp() - time.time()
    assert 25 < ahead <= 30


def test_fabric_faults_come_in_fabrics_envelope_and_header(sandbox, https):
    sandbox.faults.script("fabric.*", "status", status=429, retry_after_seconds=57)
    answer = https.get(f"{sandbox.endpoints.fabric_url}/v1/workspaces")
    assert answer.status_code == 429
    assert answer.headers["x-ms-public-api-error-code"] == answer.json()["errorCode"] == "RequestBlocked"
    assert set(answer.json()) >= {"requestId", "errorCode", "message", "isRetriable"}
    assert answer.json()["isRetriable"] is True


def test_a_token_that_expires_in_mid_run_is_refused_once_in_the_words_of_the_api(sandbox, https):
    sandbox.faults.script("fabric.*", "token_expired")
    answer = fabric(sandbox, https, "GET", "/v1/workspaces")
    assert (answer.status_code, answer.headers["x-ms-public-api-error-code"]) == (401, "TokenExpired")
    assert fabric(sandbox, https, "GET", "/v1/workspaces").status_code == 200
    sandbox.faults.script("onelake.*", "token_expired")
    stored = {"Authorization": f"Bearer {sandbox.entra.issue_token(audience=STORAGE_AUDIENCE).access_token}"}
    lake = f"{sandbox.endpoints.dfs_url}/?resource=account"
    refused = https.get(lake, headers=stored)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer ")
    assert https.get(lake, headers=stored).status_code == 200


def test_dfs_faults_come_in_storages_json_and_blob_faults_in_its_xml(sandbox, https):
    sandbox.faults.script("onelake.*", "status", status=503, times=2)
    dfs = https.get(f"{sandbox.endpoints.dfs_url}/w", params={"resource": "filesystem", "recursive": "true"})
    assert (dfs.status_code, dfs.headers["x-ms-error-code"], dfs.json()["error"]["code"]) == (503, "ServerBusy", "ServerBusy")
    blob = https.get(f"{sandbox.endpoints.blob_url}/w/i/Files/x")
    assert (blob.status_code, blob.headers["x-ms-error-code"]) == (503, "ServerBusy")
    assert "<Code>ServerBusy</Code>" in blob.text


def test_a_connection_dropped_before_the_effect_has_none(sandbox, https):
    sandbox.faults.script("fabric.CreateWorkspace", "drop_before")
    with pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError)):
        create_workspace(sandbox, https, "dropped before")
    assert sandbox.requests[-1].status == 0
    assert workspaces_named(sandbox, https, "dropped before") == []


def test_a_connection_dropped_after_the_effect_has_it_and_no_answer(sandbox, https):
    sandbox.faults.script("fabric.CreateWorkspace", "drop_after")
    with pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError)):
        create_workspace(sandbox, https, "dropped after")
    assert sandbox.requests[-1].status == 0
    assert len(workspaces_named(sandbox, https, "dropped after")) == 1


@pytest.mark.parametrize("kind", ["status", "wrong_content_type"])
@pytest.mark.parametrize("after_effect", [False, True])
def test_an_error_comes_before_the_effect_or_after_it_as_scripted(sandbox, https, kind, after_effect):
    sandbox.faults.script("fabric.CreateWorkspace", kind, status=502, after_effect=after_effect)
    name = f"{kind} {after_effect}"
    assert create_workspace(sandbox, https, name).status_code == 502
    assert len(workspaces_named(sandbox, https, name)) == int(after_effect)


def test_a_truncated_answer_promises_more_than_it_sends(sandbox, keys):
    whole = len(keys().content)
    sandbox.faults.script(KEYS, "truncate")
    with pytest.raises(httpx2.RemoteProtocolError, match=f"received {whole // 2} bytes, expected {whole + 64}"):
        keys()


def test_a_slow_answer_is_whole_and_takes_its_time(sandbox, keys):
    expected = keys().json()
    sandbox.faults.script(KEYS, "slow", seconds=0.5)
    began = time.monotonic()
    assert keys().json() == expected
    assert time.monotonic() - began >= 0.5


def test_a_gateway_may_answer_html(sandbox, keys):
    sandbox.faults.script(KEYS, "wrong_content_type")
    answer = keys()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!doctype html>")


def test_a_location_may_be_lost_or_lead_to_another_host(sandbox, https):
    own = create_workspace(sandbox, https, "whole").headers["location"]
    sandbox.faults.script("fabric.CreateWorkspace", "lost_location")
    lost = create_workspace(sandbox, https, "lost")
    assert (lost.status_code, "location" in lost.headers) == (201, False)
    sandbox.faults.script("fabric.CreateWorkspace", "foreign_location", base="https://evil.example:444")
    foreign = create_workspace(sandbox, https, "foreign")
    path = httpx2.URL(own).path.rpartition("/")[0]
    assert foreign.headers["location"] == f"https://evil.example:444{path}/{foreign.json()['id']}"


def test_an_early_not_found_lasts_for_one_request(sandbox, keys):
    sandbox.faults.script(KEYS, "not_found_once")
    assert statuses(keys, 2) == [404, 200]


def test_rules_fire_in_the_order_in_which_they_were_posted(sandbox, keys):
    sandbox.faults.post([{"operation": "*", "kind": "status", "args": {"status": code}} for code in (500, 502, 504)])
    assert statuses(keys, 4) == [500, 502, 504, 200]


def test_rules_by_chance_repeat_with_their_seed(sandbox, keys):
    rule = FaultRule("*", "status", times=None, probability=0.5, seed=11)
    sandbox.faults.post([rule])
    first = statuses(keys, 20)
    sandbox.faults.clear()
    sandbox.faults.post([rule])
    assert statuses(keys, 20) == first
    assert {200, 500} == set(first)


def test_the_log_of_what_fired_can_be_replayed(sandbox, keys):
    sandbox.faults.script("entra.*", "status", times=None, status=503, after=1)
    statuses(keys, 2)
    sandbox.faults.clear()
    sandbox.faults.post([FaultRule("entra.*", "status", times=None, probability=0.4, seed=3, args={"status": 503})])
    seen = statuses(keys, 12)
    log = sandbox.faults.log
    assert len(log) == seen.count(503) > 1
    sandbox.faults.clear()
    sandbox.faults.post(json.loads(line) for line in log)
    assert statuses(keys, 12) == seen


def test_a_semantic_fault_waits_until_its_route_takes_it():
    faults = FaultScript()
    faults.script("fabric.Get*", "unknown_status", status="Paused", after=1)
    assert faults.take("unknown_status", "fabric.GetItemJobInstance") is None
    assert faults.take("deduped", "fabric.GetItemJobInstance") is None
    fault = faults.take("unknown_status", "fabric.GetItemJobInstance")
    assert fault is not None
    assert fault.args == {"status": "Paused"}
    assert faults.take("unknown_status", "fabric.GetItemJobInstance") is None
    assert faults.unused() == []


def test_a_fault_fires_as_often_as_scripted_however_many_ask_at_once():
    faults = FaultScript()
    faults.script("fabric.*", "deduped", times=5, after=3)
    with ThreadPoolExecutor(16) as threads:
        taken = list(threads.map(lambda _: faults.take("deduped", "fabric.RunOnDemandItemJob"), range(200)))
    assert sum(fault is not None for fault in taken) == len(faults.log) == 5


@pytest.mark.parametrize(
    "rule",
    [
        {"operation": "*", "kind": "explode"},
        {"kind": "status"},
        {"operation": "*", "kind": "status", "times": 0},
        {"operation": "*", "kind": "status", "after": -1},
        {"operation": "*", "kind": "status", "probability": 1.5},
        {"operation": "*", "kind": "status", "tmies": 2},
        {"operation": "*", "kind": "status", "times": "2"},
        {"operation": "*", "kind": "status", "args": {"status": "teapot"}},
        {"operation": "*", "kind": "status", "args": [500]},
        "status",
    ],
)
def test_a_wrong_rule_is_refused_whole(rule):
    faults = FaultScript()
    with pytest.raises(ValueError, match="fault"):
        faults.post_json([{"operation": "*", "kind": "status"}, rule])
    assert faults.rules() == []


def test_a_script_may_be_loaded_from_a_file(tmp_path):
    file = tmp_path / "script.json"
    file.write_text(json.dumps({"rules": [{"operation": "entra.*", "kind": "drop_after", "times": 3}]}))
    faults = FaultScript()
    faults.load(file)
    assert faults.unused() == [{"operation": "entra.*", "kind": "drop_after", "times": 3, "after": 0, "fired": 0}]


def test_the_admin_port_takes_shows_and_clears_a_script(sandbox, keys):
    url = f"{sandbox.endpoints.admin_url}/faults"
    posted = httpx2.post(url, json={"operation": KEYS, "kind": "status", "args": {"status": 503}}, trust_env=False)
    assert posted.status_code == 201
    assert [rule["fired"] for rule in httpx2.get(url, trust_env=False).json()["unused"]] == [0]
    assert keys().status_code == 503
    shown = httpx2.get(url, trust_env=False).json()
    assert (shown["unused"], len(shown["log"])) == ([], 1)
    assert httpx2.post(url, json=[{"operation": "*", "kind": "explode"}], trust_env=False).status_code == 400
    assert httpx2.delete(url, trust_env=False).status_code == 204
    assert httpx2.get(url, trust_env=False).json() == {"rules": [], "unused": [], "log": []}


def test_a_test_that_leaves_a_scripted_fault_unused_fails(pytester):
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyfile(
        """
        def test_forgets(sandbox):
            sandbox.faults.script("fabric.*", "drop_after")

        def test_uses_half(sandbox):
            sandbox.faults.script("x", "deduped", times=2)
            assert sandbox.faults.take("deduped", "x")

        def test_uses_all(sandbox):
            assert sandbox.faults.unused() == []
            sandbox.faults.script("x", "deduped")
            assert sandbox.faults.take("deduped", "x")
        """
    )
    outcome = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    outcome.assert_outcomes(failed=2, passed=1)
    outcome.stdout.fnmatch_lines(["*scripted faults were never used:*fabric.*drop_after*"])
