"""Scenarios over HTTP: archives become upload jobs and provisionings, which go on whoever listens."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.surfaces.api.conftest import PLENTY, eventually, serving, working
from tests.surfaces.api.scenario_trials import archive, ask_for_upload, new_workspace, streamed, until_ended
from tests.unit.scenario_archives import small, tar_gz
from treadle.control.access import Role
from treadle.control.jobs.queue import list_jobs
from treadle.flows.scenario.flow import workspace_key
from treadle.flows.scenario.upload_job import STAGES
from treadle.flows.scenario.uploads import UPLOADS

GOOD = small()
BAD = small(Shop_csv="ShopId,City\nS1,Sydney\nS1,Perth\n")
QUERY = "MATCH (o:`Order`)-[:placed_at]->(s:Shop) RETURN s.City AS city, count(*) AS orders"


@pytest.fixture
def workspace(service) -> str:
    return new_workspace(service)


def name_of(service, workspace: str) -> str:
    return service.wiring.fabric.get_workspace(workspace).name


def staged_folders(service) -> set[str]:
    return {folder.name for folder in service.wiring.lake.list_folders(UPLOADS)}


def test_a_scenario_is_built_in_the_background_and_its_graph_is_asked(service, workspace):
    job_id = ask_for_upload(service, workspace, {"graph": archive(GOOD)}, scenario_name="shop")["job_id"]
    waiting = service.viewer.get(f"/api/upload-jobs/{job_id}").json()
    assert (waiting["status"], waiting["overall_pct"], [step["status"] for step in waiting["steps"]]) == ("pending", 0, ["pending"])
    done = until_ended(service, job_id)
    assert (done["status"], done["overall_pct"], done["error"]) == ("done", 100, None), done
    assert {"extract", "lakehouse", "ontology", "graph_model"} <= done["steps"][0]["results"].keys()
    named = service.viewer.post("/query/graph", json={"scenario_name": "shop", "query": QUERY})
    assert named.status_code == 200, named.text
    assert [column["name"] for column in named.json()["columns"]] == ["city", "orders"]
    assert {row["city"]: row["orders"] for row in named.json()["rows"]} == {"Sydney": 1, "Perth": 1}
    drawn = service.viewer.post(
        "/query/graph",
        json={
            "workspace_id": workspace,
            "graph_model_id": done["result"]["graph_model_id"],
            "query": "MATCH (o:`Order`)-[p:placed_at]->(s:Shop) RETURN o, p, s",
        },
    )
    assert drawn.status_code == 200, drawn.text
    assert (len(drawn.json()["nodes"]), len(drawn.json()["edges"])) == (4, 2)
    ends = {node["id"] for node in drawn.json()["nodes"]}
    assert all({edge["source"], edge["target"]} <= ends for edge in drawn.json()["edges"])
    record = service.viewer.get("/query/docs/scenarios/shop").json()
    assert (record["workspace_id"], record["graph_connector"], record["job_id"]) == (workspace, "fabric-gql", job_id)


def test_a_provisioning_tells_each_step_and_what_it_made(service, workspace):
    sent = {"data": {"workspace_id": workspace, "workspace_name": name_of(service, workspace)}, "files": {"file": archive(GOOD)}}
    with working(service.wiring), streamed(service.operator, "POST", "/api/fabric/provision/graph", **sent) as (answer, events):
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        heard = list(events)
    ids, names, data = zip(*heard, strict=True)
    assert set(names[:-1]) == {"progress"}
    assert names[-1] == "complete", data[-1]
    steps = [told["step"] for told in data[:-1] if told["step"] in STAGES]
    assert (steps[0], set(steps)) == ("extract", set(STAGES)), data
    shares = [told["pct"] for told in data[:-1]]
    assert (shares[0], shares[-1]) == (1, 100)
    assert [int(number) for number in ids[:-1]] == sorted({int(number) for number in ids[:-1]})
    made = data[-1]
    assert {table["name"] for table in made["tables"]} == {"Shop", "Order"}
    assert all(made[name] for name in ("lakehouse_id", "ontology_id", "graph_model_id", "message"))
    assert service.viewer.get(answer.headers["location"]).json()["status"] == "done"


def test_a_stream_that_is_cut_leaves_the_job_at_work_and_is_taken_up_behind_the_last_event(service, workspace):
    sent = {"data": {"workspace_id": workspace}, "files": {"file": archive(GOOD)}}
    with streamed(service.operator, "POST", "/api/fabric/provision/graph", **sent) as (answer, _):
        address = answer.headers["location"]
    assert until_ended(service, address.rpartition("/")[2])["status"] == "done"
    with streamed(service.viewer, "GET", f"{address}/events") as (_, events):
        whole = list(events)
    middle = len(whole) // 2
    with streamed(service.viewer, "GET", f"{address}/events", headers={"Last-Event-ID": whole[middle][0]}) as (_, events):
        assert list(events) == whole[middle + 1 :]
    with streamed(service.viewer, "GET", f"{address}/events", headers={"Last-Event-ID": whole[-2][0]}) as (_, events):
        assert [name for _, name, _ in events] == ["complete"]


def test_a_build_outlives_the_server_that_took_it(service, workspace):
    sent = {"data": {"workspace_id": workspace}, "files": {"file": archive(GOOD)}}
    with serving(service.wiring, service.environment) as first, contextlib.ExitStack() as open_stream:
        client = first.client(Role.OPERATOR)
        answer, events = open_stream.enter_context(streamed(client, "POST", "/api/fabric/provision/graph", **sent))
        address = answer.headers["location"]
        with working(service.wiring):
            heard = [next(events)]
            first.app.state.treadle.hub.end_streams()
            heard += list(events)
            eventually(lambda: service.viewer.get(address).json()["status"] == "done", seconds=120, what="the end of the build")
    assert {name for _, name, _ in heard} == {"progress"}
    with streamed(service.viewer, "GET", f"{address}/events", headers={"Last-Event-ID": heard[-1][0]}) as (_, events):
        rest = list(events)
    assert rest[-1][1] == "complete"
    assert int(rest[0][0]) > int(heard[-1][0])


def test_a_workspace_is_found_by_its_name_and_recorded_under_it(service, workspace):
    name = name_of(service, workspace)
    service.operator.post("/query/fabric/connections", json={"workspace_id": new_workspace(service)}).raise_for_status()
    texts = {"workspace_name": name, "scenario_name": "by-name"}
    asked = service.operator.post("/api/upload-jobs", data=texts, files={"graph": archive(GOOD)})
    assert asked.status_code == 201, asked.text
    job_id = asked.json()["job_id"]
    waiting = service.viewer.get(f"/api/upload-jobs/{job_id}").json()
    assert (waiting["workspace_id"], waiting["workspace_name"]) == (workspace, name)
    assert until_ended(service, job_id)["status"] == "done"
    record = service.viewer.get("/query/docs/scenarios/by-name").json()
    assert (record["workspace_id"], record["workspace_name"]) == (workspace, name)


def test_a_workspace_that_is_named_twice_must_be_one(service, workspace):
    name = name_of(service, workspace)
    for address in ("/api/upload-jobs", "/api/fabric/provision", "/api/fabric/provision/graph", "/query/upload/graph"):
        files = {"file" if "/graph" in address else "graph": archive(GOOD)}
        absent = service.operator.post(address, data={"workspace_name": "no such workspace"}, files=files)
        assert (absent.status_code, absent.json()["workspace_name"]) == (404, "no such workspace"), address
        assert "connections" in absent.json()["hint"]
        wrong = service.operator.post(address, data={"workspace_id": workspace, "workspace_name": "another"}, files=files)
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_input"), address
        assert all(word in wrong.json()["detail"] for word in (workspace, name, "another"))
    for kind in ("lakehouse", "eventhouse", "ontology"):
        address = f"/api/fabric/provision/{kind}"
        assert service.operator.post(address, json={"workspace_name": "no such workspace"}).status_code == 404
        assert service.operator.post(address, json={"workspace_id": workspace, "workspace_name": "another"}).status_code == 422
    assert service.viewer.get("/api/upload-jobs", params={"workspace_id": workspace}).json()["jobs"] == []


def test_a_single_thing_is_made_in_the_workspace_that_is_named(service, workspace):
    body = {"workspace_name": name_of(service, workspace), "lakehouse_name": "named"}
    with working(service.wiring), streamed(service.operator, "POST", "/api/fabric/provision/lakehouse", json=body) as (answer, events):
        assert [name for _, name, _ in events][-1] == "complete"
    job = service.viewer.get(answer.headers["location"]).json()
    assert [item.name for item in service.wiring.fabric.list_items(workspace, "Lakehouse")] == ["named"], job


def test_each_event_says_step_and_share_also_when_an_attempt_fails_or_its_worker_is_lost(service, workspace):
    """The trail is written as the worker writes it; what listeners get of it is what counts."""
    job_id = ask_for_upload(service, workspace, {"graph": archive(BAD)}, scenario_name="shop")["job_id"]
    address = f"/api/upload-jobs/{job_id}"
    with psycopg.connect(**service.wiring.settings.own_conninfo) as connection:
        told = ("WARNING", "early", None), ("INFO", "A: 12 rows", {"slot": "graph", "step": "tables", "detail": "A: 12 rows", "pct": 41.5}), ("WARNING", "The worker was lost.", {"state": "QUEUED"})  # fmt: skip
        for level, message, data in told:
            connection.execute(
                "WITH job AS (UPDATE treadle.jobs SET last_seq = last_seq + 1 WHERE job_id = %s RETURNING job_id, last_seq) "
                "INSERT INTO treadle.job_events (job_id, seq, at, level, message, data) "
                "SELECT job_id, last_seq, clock_timestamp(), %s, %s, %s FROM job",
                (job_id, level, message, Jsonb(data)),
            )
    service.operator.post(f"{address}/cancel").raise_for_status()
    with streamed(service.viewer, "GET", f"{address}/events") as (_, events):
        whole = list(events)
    said = [(data["step"], data["detail"], data["pct"]) for _, name, data in whole if name == "progress"]
    assert said == [
        ("extract", "early", 0),
        ("tables", "A: 12 rows", 41.5),
        ("tables", "The worker was lost.", 41.5),
        ("tables", "Cancelled by test-operator.", 41.5),
    ]
    with streamed(service.viewer, "GET", f"{address}/events", headers={"Last-Event-ID": whole[1][0]}) as (_, events):
        assert list(events) == whole[2:], "the same to who comes back"
    assert (whole[-1][1], whole[-1][2]["step"], whole[-1][2]["pct"]) == ("error", "extract", -1)


def test_one_provisioning_of_a_workspace_at_a_time_and_the_holder_is_named(service, workspace):
    held = ask_for_upload(service, workspace, {"graph": archive(GOOD)}, scenario_name="shop")["job_id"]
    sent = {"data": {"workspace_id": workspace.upper()}, "files": {"file": archive(GOOD)}}
    for address in ("/api/fabric/provision/graph", "/query/upload/graph"):
        refused = service.operator.post(address, **sent)
        assert (refused.status_code, refused.json()["code"], refused.json()["job_id"]) == (409, "provisioning_running", held)
        assert (refused.json()["requested_by"], refused.json()["holder"]) == ("test-operator", "shop")
        assert int(refused.headers["Retry-After"]) >= 1
    body = {"workspace_id": workspace, "lakehouse_name": "lakehouse"}
    assert service.operator.post("/api/fabric/provision/lakehouse", json=body).json()["code"] == "provisioning_running"
    assert service.viewer.get("/api/fabric/status", params={"workspace_id": workspace}).json()["running_job_id"] is None, "not connected"
    service.operator.post("/query/fabric/connections", json={"workspace_id": workspace}).raise_for_status()
    status = service.viewer.get("/api/fabric/status", params={"workspace_id": workspace}).json()
    assert (status["running_job_id"], status["reachable"], status["connection"]["workspace_id"]) == (held, True, workspace)
    later = ask_for_upload(service, workspace, {"graph": archive(GOOD)}, scenario_name="shop")["job_id"]
    assert later != held, "upload jobs wait for their turn"
    for job_id in (later, held):
        assert service.operator.post(f"/api/upload-jobs/{job_id}/cancel").json()["status"] == "cancelled"


def test_of_two_that_provision_at_once_one_is_refused_and_leaves_nothing_to_do(service, workspace):
    begin = threading.Barrier(2)

    def provision(_: int) -> int:
        begin.wait(10)
        sent = {"data": {"workspace_id": workspace}, "files": {"file": archive(GOOD)}}
        with streamed(service.operator, "POST", "/api/fabric/provision/graph", **sent) as (answer, _):
            return answer.status_code

    with ThreadPoolExecutor(2) as both:
        assert sorted(both.map(provision, range(2))) == [200, 409]
    (left,) = service.viewer.get("/api/upload-jobs", params={"workspace_id": workspace}).json()["jobs"]
    assert left["status"] == "pending"
    assert [job.job_id for job in list_jobs(service.wiring.own, key=workspace_key(workspace)).jobs] == [UUID(left["id"])], (
        "hidden ones included"
    )
    assert staged_folders(service) >= {left["id"]}
    service.operator.post(f"/api/upload-jobs/{left['id']}/cancel").raise_for_status()


def test_a_workspace_that_is_busy_is_told_before_the_archive_is_sent(service, workspace):
    held = ask_for_upload(service, workspace, {"graph": archive(GOOD)})["job_id"]
    edge = "e" * 20
    text = f'--{edge}\r\nContent-Disposition: form-data; name="workspace_id"\r\n\r\n{workspace}\r\n'
    file = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="a.tar.gz"\r\n\r\n'
    refused = service.operator.post(
        "/api/fabric/provision/graph",
        content=f"{text}{file}only the beginning",
        headers={"Content-Type": f"multipart/form-data; boundary={edge}"},
    )
    assert (refused.status_code, refused.json()["job_id"]) == (409, held)
    service.operator.post(f"/api/upload-jobs/{held}/cancel").raise_for_status()


def test_an_archive_with_faults_ends_in_an_error_that_has_all_of_them(service, workspace):
    sent = {"data": {"workspace_id": workspace}, "files": {"file": archive(BAD)}}
    with working(service.wiring), streamed(service.operator, "POST", "/api/fabric/provision/graph", **sent) as (answer, events):
        *_, (_, name, data) = events
    assert (name, data["step"], data["pct"], data["status"]) == ("error", "extract", -1, "error")
    assert data["faults"][0]["where"].startswith("data/entities/Shop.csv") or "Shop" in data["detail"]
    found = service.viewer.get(answer.headers["location"]).json()
    assert (found["status"], found["steps"][0]["status"], found["error"]) == ("error", "error", data["detail"])
    assert found["error_details"]["faults"] == data["faults"]


def test_the_same_key_starts_one_build_and_another_archive_needs_another_key(service, workspace):
    key = {"Idempotency-Key": str(uuid4())}
    sent = {"data": {"workspace_id": workspace, "scenario_name": "shop"}, "headers": key}
    first = service.operator.post("/api/upload-jobs", files={"graph": archive(GOOD)}, **sent)
    again = service.operator.post("/api/upload-jobs", files={"graph": archive(GOOD, "renamed.tar.gz")}, **sent)
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    assert (first.headers["location"], again.headers["idempotency-replayed"]) == (f"/api/upload-jobs/{first.json()['job_id']}", "true")
    other = service.operator.post("/api/upload-jobs", files={"graph": archive(BAD)}, **sent)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    found = service.viewer.get("/api/upload-jobs", params={"workspace_id": workspace}).json()["jobs"]
    assert [job["id"] for job in found] == [first.json()["job_id"]]
    service.operator.post(f"/api/upload-jobs/{first.json()['job_id']}/cancel").raise_for_status()


def test_a_provisioning_that_is_asked_for_again_with_its_key_is_not_in_its_own_way(service, workspace):
    sent = {"data": {"workspace_id": workspace}, "headers": {"Idempotency-Key": str(uuid4())}}
    places, replayed = [], []
    for _ in range(2):
        with streamed(service.operator, "POST", "/api/fabric/provision/graph", files={"file": archive(GOOD)}, **sent) as (answer, _):
            assert answer.status_code == 200
            places.append(answer.headers["location"])
            replayed.append("idempotency-replayed" in answer.headers)
    assert (places[0], replayed) == (places[1], [False, True])
    service.operator.post(f"{places[0]}/cancel").raise_for_status()


def test_a_job_is_cancelled_asked_for_again_and_taken_out_of_the_list(service, workspace):
    job_id = ask_for_upload(service, workspace, {"graph": archive(GOOD)}, scenario_name="shop")["job_id"]
    address = f"/api/upload-jobs/{job_id}"
    assert service.operator.delete(address).status_code == 409
    assert service.operator.post(f"{address}/retry").status_code == 409
    assert service.operator.post(f"{address}/cancel").json()["status"] == "cancelled"
    with streamed(service.viewer, "GET", f"{address}/events") as (_, events):
        assert [(name, data["detail"]) for _, name, data in events][-1] == ("error", "Cancelled by test-operator.")
    assert service.operator.post(f"{address}/retry").json()["status"] == "pending"
    assert until_ended(service, job_id)["status"] == "done"
    assert service.operator.post(f"{address}/cancel").status_code == 409
    assert service.operator.delete(address).status_code == 204
    assert job_id not in staged_folders(service)
    assert (service.viewer.get(address).status_code, service.viewer.get(f"{address}/events").status_code) == (404, 404)
    assert service.viewer.get("/api/upload-jobs", params={"workspace_id": workspace}).json()["jobs"] == []
    assert service.viewer.get(f"/api/jobs/{job_id}").json()["state"] == "SUCCEEDED"
    audited = service.admin.get("/api/audit", params={"target": f"job:{job_id}"}).json()["entries"]
    assert {entry["action"] for entry in audited} == {"scenario.cancel", "scenario.retry", "scenario.delete_job"}


def test_single_things_are_found_or_created(service, workspace):
    for kind, more in (
        ("lakehouse", {}),
        ("eventhouse", {"eventhouse_name": "house"}),
        ("ontology", {"workspace_name": name_of(service, workspace)}),
    ):
        found = []
        for _ in range(2):
            body = {"workspace_id": workspace, **more}
            with (
                working(service.wiring),
                streamed(service.operator, "POST", f"/api/fabric/provision/{kind}", json=body) as (answer, events),
            ):
                assert answer.status_code == 200
                heard = list(events)
            assert [name for _, name, _ in heard] == ["progress"] * (len(heard) - 1) + ["complete"], heard
            found.append(heard[-1][2][f"{kind}_id"])
            result = service.viewer.get(answer.headers["location"]).json()["result"]
            assert result["created"] == (len(found) == 1)
        assert found[0] == found[1], kind
    refused = service.operator.post("/api/fabric/provision/lakehouse", json={"workspace_id": workspace, "lakehouse_name": "no lakehouse!"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    unknown = service.operator.post("/api/fabric/provision/ontology", json={"workspace_id": str(uuid4())})
    assert unknown.status_code == 404


def test_the_slots_of_documents_are_brought_one_by_one(service, workspace):
    runbooks = tar_gz({"fibre.md": "# Fibre cut\nCall the crew."})
    sent = {"data": {"workspace_id": workspace, "scenario_name": "shop"}, "files": {"file": archive(runbooks)}}
    with working(service.wiring), streamed(service.operator, "POST", "/query/upload/runbooks", **sent) as (_, events):
        assert [name for _, name, _ in events][-1] == "complete"
    found = service.viewer.get("/query/docs/scenario-documents", params={"scenario": "shop"}).json()["items"]
    assert [(item["scenario"], item["slot"]) for item in found] == [("shop", "runbooks")]
    assert service.operator.post("/query/upload/pictures", **sent).status_code == 422


@pytest.mark.parametrize(
    ("texts", "files", "said"),
    [
        ({"workspace_id": "not-an-id"}, {"graph": archive(GOOD)}, "workspace_id"),
        ({"backend": "neo4j"}, {"graph": archive(GOOD)}, "backend"),
        ({"scenario_name": "../x"}, {"graph": archive(GOOD)}, "cannot be the name"),
        ({"secret": "x"}, {"graph": archive(GOOD)}, "no field 'secret'"),
        ({}, {"photos": archive(GOOD)}, "no field 'photos'"),
        ({}, {"graph": archive(b"PK\x03\x04 no gzip")}, "no gzip"),
        ({}, {"graph": archive(b"")}, "empty"),
        ({}, {"prompts": archive(GOOD)}, "Whose files"),
    ],
)
def test_what_cannot_be_built_is_refused_at_once(service, workspace, texts, files, said):
    answer = service.operator.post("/api/upload-jobs", data={"workspace_id": workspace, **texts}, files=files)
    assert (answer.status_code, said in answer.text) == (422, True), answer.text
    assert service.viewer.get("/api/upload-jobs", params={"workspace_id": workspace}).json()["jobs"] == []


def test_a_form_that_a_browser_sends_with_nothing_chosen_brings_no_archive(service, workspace):
    text = f'--edge\r\nContent-Disposition: form-data; name="workspace_id"\r\n\r\n{workspace}\r\n'
    file = '--edge\r\nContent-Disposition: form-data; name="graph"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n'
    sent = {"content": f"{text}{file}--edge--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=edge"}}
    answer = service.operator.post("/api/upload-jobs", **sent)
    assert (answer.status_code, "no archive" in answer.json()["detail"]) == (422, True), answer.text


def test_a_workspace_that_is_not_there_is_told_at_once(service):
    unknown = service.operator.post("/api/upload-jobs", data={"workspace_id": str(uuid4())}, files={"graph": archive(GOOD)})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_an_archive_that_is_too_large_is_refused_and_nothing_of_it_is_kept(service, workspace, tmp_path):
    scenarios = replace(service.wiring.scenarios(), upload_limit_bytes=1024**2, scratch=tmp_path)
    with serving(service.wiring, service.environment, PLENTY, scenarios=lambda: scenarios) as other:
        client = other.client(Role.OPERATOR)
        large = archive(GOOD + bytes(1024**2))
        answer = client.post("/api/upload-jobs", data={"workspace_id": workspace}, files={"graph": large})
        assert (answer.status_code, answer.json()["code"], answer.json()["limit_bytes"]) == (413, "too_large", 1024**2)
        assert client.get("/api/me").status_code == 200
        eventually(lambda: other.app.state.treadle.receiving.total() == 0, what="the end of the upload")
    assert list(tmp_path.iterdir()) == []


def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(service, workspace, tmp_path):
    scenarios = replace(service.wiring.scenarios(), scratch=tmp_path)
    with serving(service.wiring, service.environment, PLENTY, scenarios=lambda: scenarios) as other:
        edge, place = "e" * 20, urlsplit(other.url)
        head = f"POST /api/upload-jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.token(Role.OPERATOR)}\r\n"
        kind = f"Content-Type: multipart/form-data; boundary={edge}\r\nContent-Length: 9000000\r\n\r\n"
        file = f'--{edge}\r\nContent-Disposition: form-data; name="graph"; filename="a.tar.gz"\r\n\r\n'
        with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
            connection.sendall(f"{head}{kind}{file}".encode() + GOOD + bytes(3 * 1024**2))
            eventually(lambda: other.app.state.treadle.metrics.upload_bytes._value.get() > 1024**2, what="the first bytes")
        eventually(lambda: other.app.state.treadle.receiving.total() == 0, what="the end of the upload")
    assert list(tmp_path.iterdir()) == []
    assert service.viewer.get("/api/upload-jobs", params={"workspace_id": workspace}).json()["jobs"] == []


def test_who_may_only_look_brings_nothing(service, workspace):
    for address in ("/api/upload-jobs", "/api/fabric/provision", "/api/fabric/provision/graph", "/query/upload/graph"):
        refused = service.viewer.post(address, data={"workspace_id": workspace}, files={"graph": archive(GOOD)})
        assert (refused.status_code, refused.json()["right"]) == (403, "scenarios:build"), address


@pytest.mark.parametrize("query", ["MATCH (n", "RETURN", "MATCH (n:Nobody) RETURN n.nothing"])
def test_a_graph_refuses_a_query_in_the_engines_words(service, workspace, query):
    job_id = ask_for_upload(service, workspace, {"graph": archive(GOOD)}, scenario_name=f"shop-{workspace[:8]}")["job_id"]
    assert until_ended(service, job_id)["status"] == "done"
    refused = service.viewer.post("/query/graph", json={"scenario_name": f"shop-{workspace[:8]}", "query": query})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input"), refused.text


def test_a_query_names_one_graph(service):
    ids = {"workspace_id": str(uuid4()), "graph_model_id": str(uuid4())}
    for wrong in ({}, {"workspace_id": ids["workspace_id"]}, {"scenario_name": "shop", **ids}):
        assert service.viewer.post("/query/graph", json={"query": QUERY, **wrong}).status_code == 422
    for absent in ({"scenario_name": "nobody-built-this"}, ids):
        assert service.viewer.post("/query/graph", json={"query": QUERY, **absent}).status_code == 404
