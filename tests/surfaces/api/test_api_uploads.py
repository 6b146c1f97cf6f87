"""Resumable uploads: what arrives is kept, what is wrong is not placed, and only one sender at a time."""

import contextlib
import hashlib
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import psycopg
import pytest

from tests.surfaces.api.conftest import PLENTY, eventually, serving, working
from treadle.control.access import Role
from treadle.errors import NotFound
from treadle.flows.sales.resumable import PIECE_BYTES, clear_over

MIB = 1024**2
BYTES = "application/offset+octet-stream"
CONTENT = random.Random(7).randbytes(9 * MIB + 17)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def name() -> str:
    return f"upload-{uuid4().hex[:8]}.csv"


def begin(service, name: str, content: bytes = CONTENT, **options) -> str:
    answer = service.operator.post("/api/uploads", json={"file_name": name, "size_bytes": len(content), **options})
    assert answer.status_code == 201, answer.text
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("0", str(len(content)))
    return answer.headers["Location"]


def send(service, url: str, offset: int, content):
    return service.operator.patch(url, content=content, headers={"Upload-Offset": str(offset), "Content-Type": BYTES})


def offset_of(service, url: str) -> int:
    return int(service.operator.head(url).headers["Upload-Offset"])


def finalise(service, url: str, digest: str = DIGEST):
    return service.operator.post(f"{url}/finalise", json={"sha256": digest})


def stored(service, name: str) -> bytes:
    return service.wiring.lake.read_bytes(f"Files/import/{name}", max_bytes=64 * MIB)


def is_absent(service, name: str) -> bool:
    return not service.wiring.lake.exists(f"Files/import/{name}")


def cut_after(service, url: str, offset: int, content: bytes, declared: int) -> None:
    """Send some bytes of a longer body, and hang up."""
    place = urlsplit(service.url)
    token = service.operator.headers["Authorization"]
    head = f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nContent-Type: {BYTES}\r\nUpload-Offset: {offset}\r\nContent-Length: {declared}\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(head.encode() + content)


def test_a_file_sent_at_once_is_verified_and_placed(service, name):
    url = begin(service, name)
    assert is_absent(service, name)
    sent = send(service, url, 0, CONTENT)
    assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, str(len(CONTENT)))
    assert is_absent(service, name), "nobody sees it before it is verified"
    placed = finalise(service, url)
    assert (placed.status_code, placed.json()["size_bytes"]) == (200, len(CONTENT))
    assert stored(service, name) == CONTENT
    assert finalise(service, url).status_code == 200, "safe to repeat"
    assert service.operator.get(url).json()["state"] == "PLACED"
    assert service.viewer.get(f"/api/files/{name}").json()["size_bytes"] == len(CONTENT)


UNREAD = 128 * 1024  # what lay between the kernel and the route when the connection broke may be lost; its sender sends it again


@pytest.mark.parametrize("cut_at", [0, 1, 100_000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, len(CONTENT) - 1])
def test_a_connection_that_is_cut_keeps_what_came_and_goes_on_from_there(service, name, cut_at):
    url = begin(service, name)
    cut_after(service, url, 0, CONTENT[:cut_at], len(CONTENT))
    eventually(lambda: finalise(service, url).json()["code"] == "upload_incomplete", what="the end of the broken request")
    kept = offset_of(service, url)
    assert cut_at - UNREAD <= kept <= cut_at
    elsewhere = send(service, url, kept + 1, b"x")
    assert (elsewhere.status_code, elsewhere.json()["code"], elsewhere.json()["offset"]) == (409, "offset_mismatch", kept)
    assert send(service, url, kept, CONTENT[kept:]).status_code == 204
    assert finalise(service, url).status_code == 200
    assert stored(service, name) == CONTENT


def test_many_small_pieces_of_odd_sizes_make_the_same_file(service, name):
    content, chance, offset = CONTENT[:300_000], random.Random(3), 0
    url = begin(service, name, content)
    while offset < len(content):
        size = chance.choice((1, 7, 1024, 65_536))
        assert send(service, url, offset, content[offset : offset + size]).status_code == 204
        offset = min(len(content), offset + size)
    assert finalise(service, url, hashlib.sha256(content).hexdigest()).status_code == 200
    assert stored(service, name) == content


def test_a_length_that_lies_is_found_out(service, name):
    url = begin(service, name, CONTENT[:1000])
    declared = send(service, url, 0, CONTENT[:1001])
    assert (declared.status_code, declared.json()["code"], declared.json()["offset"]) == (413, "too_large", 0)
    undeclared = send(service, url, 0, iter([CONTENT[:600], CONTENT[600:1200]]))
    assert (undeclared.status_code, undeclared.json()["code"]) == (413, "too_large")
    assert offset_of(service, url) == 1000, "what fits is kept"
    assert finalise(service, url, hashlib.sha256(CONTENT[:1000]).hexdigest()).status_code == 200


def test_a_file_that_is_not_complete_is_not_placed(service, name):
    url = begin(service, name)
    assert send(service, url, 0, CONTENT[:500]).status_code == 204
    early = finalise(service, url)
    assert (early.status_code, early.json()["code"], early.json()["offset"]) == (409, "upload_incomplete", 500)
    assert is_absent(service, name)


def test_a_file_with_another_sha256_is_not_placed(service, name):
    url = begin(service, name)
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    assert send(service, url, 0, wrong).status_code == 204
    refused = finalise(service, url)
    assert (refused.status_code, refused.json()["code"]) == (422, "sha256_mismatch")
    assert is_absent(service, name)
    assert finalise(service, url, hashlib.sha256(wrong).hexdigest()).status_code == 200, "another digest may be the right one"


def test_the_sha256_of_the_beginning_counts_at_the_end(service, name):
    url = begin(service, name, b"a,b\n", sha256=hashlib.sha256(b"a,b\n").hexdigest())
    send(service, url, 0, b"a,b\n")
    assert finalise(service, url, DIGEST).json()["code"] == "sha256_mismatch"
    assert service.operator.post(f"{url}/finalise", json={}).status_code == 200
    nothing_said = begin(service, "other-" + name, b"")
    assert service.operator.post(f"{nothing_said}/finalise", json={}).status_code == 422
    assert finalise(service, nothing_said, hashlib.sha256(b"").hexdigest()).status_code == 200, "an empty file is a file"


def test_a_file_over_the_limit_is_refused_before_it_is_sent(service, name):
    answer = service.operator.post("/api/uploads", json={"file_name": name, "size_bytes": 65 * MIB})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_while_one_request_sends_another_is_refused(service, name):
    url = begin(service, name)
    place = urlsplit(service.url)
    head = f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {service.operator.headers['Authorization']}\r\nContent-Type: {BYTES}\r\nUpload-Offset: 0\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=10) as first:
        first.sendall(head.encode() + CONTENT[:1000])
        eventually(lambda: service.app.state.treadle.receiving.total() == 1, what="the first request being received")
        first.settimeout(2)
        with pytest.raises(TimeoutError):
            first.recv(1)  # it holds the upload: nothing else could keep its answer back for so long
        first.settimeout(30)
        assert finalise(service, url).json()["code"] == "upload_busy"
        refused = send(service, url, 0, b"x")
        assert (refused.json()["code"], refused.headers["Retry-After"]) == ("upload_busy", "1")
        first.sendall(CONTENT[1000:])
        assert first.recv(1024).startswith(b"HTTP/1.1 204")
    eventually(lambda: finalise(service, url).status_code == 200)
    assert stored(service, name) == CONTENT


def test_of_many_senders_of_the_same_piece_one_succeeds(service, name):
    url = begin(service, name, CONTENT[:5000])
    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(lambda _: send(service, url, 0, CONTENT[:5000]).status_code, range(8)))
    assert codes == [204] + [409] * 7
    assert offset_of(service, url) == 5000


def rest_of(connection: socket.socket) -> bytes:
    """Head and body of an answer may come one after the other."""
    connection.settimeout(1)
    with contextlib.suppress(TimeoutError, ConnectionError):
        return connection.recv(4096)
    return b""


def dripped(connection: socket.socket) -> bytes:
    """What is answered to who sends one more byte whenever nothing is answered for a moment."""
    connection.settimeout(0.02)
    for _ in range(2_000):
        with contextlib.suppress(TimeoutError):
            return connection.recv(4096) + rest_of(connection)
        connection.sendall(b"x")
    pytest.fail("it is listened to without end")


def test_a_sender_that_falls_silent_or_sends_drops_is_let_go_with_what_it_brought(service, name):
    with serving(service.wiring, service.environment, replace(PLENTY, stall_seconds=0.3, uploads_at_once=1)) as other:
        url = begin(other, name)
        place = urlsplit(other.url)
        head = f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {other.operator.headers['Authorization']}\r\nContent-Type: {BYTES}\r\nUpload-Offset: 0\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
        with socket.create_connection((place.hostname, place.port), timeout=10) as silent:
            silent.sendall(head.encode() + CONTENT[:1234])
            answer = silent.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408")
        assert offset_of(other, url) == 1234
        with socket.create_connection((place.hostname, place.port), timeout=10) as slow:
            rest = head.replace("Offset: 0", "Offset: 1234").replace(f"Length: {len(CONTENT)}", f"Length: {len(CONTENT) - 1234}")
            slow.sendall(rest.encode() + CONTENT[1234:2000])
            answer = dripped(slow)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"Fewer than 16,384 bytes a second came" in answer
        offset = offset_of(other, url)
        assert offset >= 2000
        assert send(other, url, offset, CONTENT[offset:]).status_code == 204, "the one turn is free again"


def test_a_file_is_not_replaced_while_a_run_reads_it(service, put_file):
    name = put_file()
    before = stored(service, name)
    url = begin(service, name, b"a,b\n")
    send(service, url, 0, b"a,b\n")
    assert service.operator.post("/api/runs", json={"input_file": name}).status_code == 202
    refused = finalise(service, url, hashlib.sha256(b"a,b\n").hexdigest())
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert stored(service, name) == before
    assert service.operator.post("/api/uploads", json={"file_name": name, "size_bytes": 1}).status_code == 409
    with working(service.wiring):
        eventually(lambda: service.viewer.get("/api/lock").json()["run_id"] is None, seconds=60)
    assert finalise(service, url, hashlib.sha256(b"a,b\n").hexdigest()).status_code == 200


def test_a_file_that_may_not_be_replaced_stays(service, put_file):
    name = put_file()
    assert service.operator.post("/api/uploads", json={"file_name": name, "size_bytes": 1, "overwrite": False}).status_code == 409
    other = f"new-{name}"
    url = begin(service, other, b"x", overwrite=False)
    send(service, url, 0, b"x")
    service.wiring.lake.upload(f"Files/import/{other}", b"somebody was quicker")
    refused = finalise(service, url, hashlib.sha256(b"x").hexdigest())
    assert (refused.status_code, stored(service, other)) == (409, b"somebody was quicker")


def test_the_same_key_begins_one_upload_and_what_was_sent_stays(service, name):
    key = {"Idempotency-Key": str(uuid4())}
    body = {"file_name": name, "size_bytes": 10}
    first = service.operator.post("/api/uploads", json=body, headers=key)
    send(service, first.headers["Location"], 0, b"12345")
    again = service.operator.post("/api/uploads", json=body, headers=key)
    assert (again.status_code, again.headers["Location"]) == (201, first.headers["Location"])
    assert offset_of(service, first.headers["Location"]) == 5


def test_an_upload_that_is_given_up_is_gone_with_its_bytes(service, name):
    url = begin(service, name)
    send(service, url, 0, CONTENT[:100])
    staged = f"Files/.treadle/uploads/{url.rpartition('/')[2]}"
    assert service.wiring.lake.exists(staged)
    assert service.operator.delete(url).status_code == 204
    assert not service.wiring.lake.exists(staged)
    assert [service.operator.request(method, url).status_code for method in ("GET", "HEAD", "DELETE")] == [404] * 3
    assert send(service, url, 100, b"x").status_code == 404


def test_an_upload_that_has_expired_is_gone_and_cleared_away(service, name):
    url = begin(service, name)
    send(service, url, 0, CONTENT[:100])
    upload_id = url.rpartition("/")[2]
    with psycopg.connect(**service.wiring.settings.own_conninfo) as connection:
        connection.execute("UPDATE treadle.uploads SET expires_at = clock_timestamp() WHERE upload_id = %s", (upload_id,))
    assert service.operator.get(url).json()["detail"] == f"The upload {upload_id} has expired."
    assert finalise(service, url).status_code == 404
    assert clear_over(service.wiring.sales, service.wiring.own) >= 1
    with pytest.raises(NotFound):
        service.wiring.lake.stat(f"Files/.treadle/uploads/{upload_id}")


def test_a_finalisation_that_broke_off_after_the_rename_is_found_done(service, name):
    url = begin(service, name, b"a,b\n")
    send(service, url, 0, b"a,b\n")
    upload_id, digest = url.rpartition("/")[2], hashlib.sha256(b"a,b\n").hexdigest()
    with psycopg.connect(**service.wiring.settings.own_conninfo) as connection:
        connection.execute("UPDATE treadle.uploads SET state = 'PLACING', sha256 = %s WHERE upload_id = %s", (digest, upload_id))
    service.wiring.lake.rename(f"Files/.treadle/uploads/{upload_id}", f"Files/import/{name}")
    assert finalise(service, url, digest).status_code == 200
    assert service.operator.get(url).json()["state"] == "PLACED"


@pytest.mark.parametrize(
    "headers", [{"Content-Type": BYTES}, {"Content-Type": BYTES, "Upload-Offset": "-1"}, {"Content-Type": BYTES, "Upload-Offset": "x"}]
)
def test_a_piece_without_a_place_is_refused(service, name, headers):
    assert service.operator.patch(begin(service, name), content=b"x", headers=headers).status_code == 422


def test_another_servers_turn_goes_on_where_the_first_has_stopped(service, name):
    url = begin(service, name)
    send(service, url, 0, CONTENT[:PIECE_BYTES])
    with serving(service.wiring, service.environment) as other:
        assert offset_of(other, url) == PIECE_BYTES
        assert send(other, url, PIECE_BYTES, CONTENT[PIECE_BYTES:]).status_code == 204
        assert other.client(Role.OPERATOR).post(f"{url}/finalise", json={"sha256": DIGEST}).status_code == 200


@pytest.mark.kills
def test_a_server_that_is_killed_in_the_middle_loses_only_what_was_not_flushed(service, environment, name):
    """What was flushed counts, and the upload is free for the next server at once."""
    content = CONTENT * 5  # past the first flush, which comes with 32 MiB
    url = begin(service, name, content)
    with api_process(environment) as (process, killed_url):
        place = urlsplit(killed_url)
        head = f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {service.operator.headers['Authorization']}\r\nContent-Type: {BYTES}\r\nUpload-Offset: 0\r\nContent-Length: {len(content)}\r\n\r\n"
        with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
            connection.sendall(head.encode() + content[: 34 * MIB])
            eventually(lambda: offset_of(service, url) >= 32 * MIB, what="the first flush")
            process.kill()
            process.wait()
    eventually(lambda: finalise(service, url).json()["code"] == "upload_incomplete")
    kept = offset_of(service, url)
    assert 32 * MIB <= kept <= 34 * MIB
    assert send(service, url, kept, content[kept:]).status_code == 204
    assert finalise(service, url, hashlib.sha256(content).hexdigest()).status_code == 200
    assert stored(service, name) == content


@contextlib.contextmanager
def api_process(environment) -> Iterator[tuple[subprocess.Popen, str]]:
    """`treadle api` as a process of its own."""
    command = [sys.executable, "-m", "treadle", "api", "--port", "0", "--json", "--with-parent", "--state", str(environment.state)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        shown = ""
        while "}" not in shown:
            line = process.stdout.readline()
            assert line, "the server ended before it said where it is"
            shown += line
        yield process, json.loads(shown)["url"]
    finally:
        process.stdin.close()
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=30)


def test_the_command_serves_says_where_and_stops_when_it_is_told(service, environment):
    with api_process(environment) as (process, url):
        assert httpx2.get(f"{url}/api/health/ready", trust_env=False).json()["status"] == "ok"
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_a_profile_is_asked_for_once_and_then_there(service, put_file):
    name = put_file()
    missing = service.viewer.get(f"/api/files/{name}/profile")
    assert (missing.status_code, "POST" in missing.json()["hint"]) == (404, True)
    asked = [service.viewer.post(f"/api/files/{name}/profile") for _ in range(2)]
    assert [answer.status_code for answer in asked] == [202, 202]
    assert asked[0].json()["job_id"] == asked[1].json()["job_id"]
    with working(service.wiring):
        eventually(lambda: service.viewer.get(asked[0].headers["Location"]).json()["finished_at"], seconds=60)
    job = service.viewer.get(asked[0].headers["Location"]).json()
    assert job["state"] == "SUCCEEDED", job
    profile = service.viewer.get(f"/api/files/{name}/profile").json()
    assert [column["column"] for column in profile["profile"]["schema"]] == ["order_id", "order_date", "revenue", "region"]
    assert service.viewer.post(f"/api/files/{name}/profile").status_code == 200


def test_how_columns_are_read_is_stored_beside_the_file(service, put_file):
    name = put_file()
    assert service.viewer.get(f"/api/files/{name}/mapping").json() == {"columns": {}, "sheet": None}
    put = service.operator.put(f"/api/files/{name}/mapping", json={"columns": {"Sales": "revenue"}})
    assert put.json() == service.viewer.get(f"/api/files/{name}/mapping").json() == {"columns": {"Sales": "revenue"}, "sheet": None}
    assert name in [file["name"] for file in service.viewer.get("/api/files").json()["files"]]
