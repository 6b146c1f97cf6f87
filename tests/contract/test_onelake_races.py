"""OneLake under pressure: many writers at once, writers on the disk beside the API, broken uploads, kills, and large bodies."""

import asyncio
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.contract.onelake_place import error_code, open_place

from treadle.sandbox.clock import Clock
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.onelake.addresses import Address
from treadle.sandbox.onelake.conditions import ALWAYS, Conditions
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.index import Properties
from treadle.sandbox.onelake.routes import blob_app
from treadle.sandbox.onelake.store import LakeStore, create_check
from treadle.sandbox.onelake.uploads import Flush, append, flush, put_file

BLOCK_BLOB = {"x-ms-blob-type": "BlockBlob"}
WORKSPACE, LAKEHOUSE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def place(sandbox):
    with open_place(sandbox) as place:
        yield place


@pytest.fixture
def store(tmp_path):
    """A store without a server."""
    store = LakeStore(tmp_path, Clock())
    store.create_item_folder(WORKSPACE, LAKEHOUSE)
    yield store
    store.close()


def target(store, *names):
    return store.locate(Address(WORKSPACE, LAKEHOUSE, names))


def wait_until(true):
    """Return as soon as `true()` is; fail after five seconds."""
    deadline, pause = time.monotonic() + 5, threading.Event()
    while not true():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def at_once(threads, work):
    """Run `work(number)` in that many threads that start together; the results in order."""
    gate = threading.Barrier(threads)

    def start(number):
        gate.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(start, range(threads)))


def test_of_many_writers_that_want_to_be_first_exactly_one_wins(place):
    for attempt in range(4):
        path = f"Tables/t/_delta_log/{attempt:020}.json"
        answers = at_once(
            16, lambda number, path=path: place.blob("PUT", path, BLOCK_BLOB | {"if-none-match": "*"}, content=b"%d" % number)
        )
        winners = [number for number, answer in enumerate(answers) if answer.status_code == 201]
        assert len(winners) == 1
        assert {error_code(answer) for answer in answers if answer.status_code != 201} == {"BlobAlreadyExists"}
        assert place.read(path) == b"%d" % winners[0]


def test_of_many_creators_and_renamers_exactly_one_wins(place):
    item = f"/{place.workspace_id}/{place.lakehouse_id}"
    for number in range(16):
        place.write(f"Files/from/{number}", b"%d" % number)

    def commit(number):
        if number % 2:
            return place.dfs("PUT", "Files/target", {"if-none-match": "*"}, resource="file")
        return place.dfs("PUT", "Files/target", {"if-none-match": "*", "x-ms-rename-source": f"{item}/Files/from/{number}"}, mode="legacy")

    answers = at_once(16, commit)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15


def test_compare_and_swap_by_tag_loses_no_update(place):
    place.write("Files/counter", b"0")

    def count(_):
        done = 0
        while done < 5:
            got = place.blob("GET", "Files/counter")
            swapped = place.blob(
                "PUT", "Files/counter", BLOCK_BLOB | {"if-match": got.headers["etag"]}, content=b"%d" % (int(got.content) + 1)
            )
            assert swapped.status_code in {201, 412}
            done += swapped.status_code == 201

    at_once(8, count)
    assert place.read("Files/counter") == b"40"


def test_being_first_holds_against_writers_on_the_disk(store):
    for attempt in range(20):
        path = target(store, "Files", f"{attempt}")

        def first(number, path=path):
            try:
                if number % 2:
                    os.close(os.open(store.root.joinpath(*path.key), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                else:
                    put_file(store, path, store.staging.receive().finish(), Properties(), create_check(Conditions(if_none_match="*")))
            except (FileExistsError, StorageError):
                return False
            return True

        assert sum(at_once(8, first)) == 1


def test_readers_see_whole_files_while_writers_replace_them(place):
    contents = {bytes([number]) * 300_000 for number in range(4)}
    place.write("Files/one.bin", b"\0" * 300_000)
    stop = threading.Event()

    def work(number):
        if number < 2:
            for turn in range(12):
                place.write("Files/one.bin", bytes([turn % 4]) * 300_000)
            stop.set()
            return True
        seen = []
        while not stop.is_set():
            seen.append(place.dfs("GET", "Files/one.bin").content in contents)
            seen.append((place.folder / "Files/one.bin").read_bytes() in contents)
        return all(seen)

    assert all(at_once(4, work))


def test_parallel_appends_and_flushes_keep_every_byte(place):
    place.dfs("PUT", "Files/one.bin", resource="file")
    pieces = [bytes([number]) * 10_000 for number in range(32)]

    def append(number):
        query = {"action": "append", "position": str(number * 10_000)}
        return place.dfs("PATCH", "Files/one.bin", content=pieces[number], **query).status_code

    assert set(at_once(32, append)) == {202}
    flushes = at_once(
        4, lambda _: place.dfs("PATCH", "Files/one.bin", {"content-length": "0"}, action="flush", position="320000").status_code
    )
    assert set(flushes) == {200}
    assert place.read("Files/one.bin") == b"".join(pieces)


def test_more_pieces_than_a_process_may_open_are_joined(store):
    path = target(store, "Files", "many.bin")
    put_file(store, path, store.staging.receive().finish(), Properties(), create_check(ALWAYS))
    for number in range(1500):
        incoming = store.staging.receive()
        incoming.write(b"%04d" % number)
        append(store, path, number * 4, incoming.finish())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        flush(store, path, Flush(6000, lambda stored: stored, ALWAYS))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.root.joinpath(*path.key).read_bytes() == b"".join(b"%04d" % number for number in range(1500))


def test_a_file_written_on_the_disk_has_its_own_tag_and_time(place):
    first = place.write("Files/one.csv", b"abc", {"content-type": "text/csv", "x-ms-meta-k": "v"}).headers["etag"]
    file = place.folder / "Files/one.csv"
    file.write_bytes(b"abd")
    os.utime(file, ns=(10**18, 10**18))
    head = place.blob("HEAD", "Files/one.csv")
    assert head.headers["etag"] != first
    assert head.headers["last-modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert (head.headers["content-type"], "x-ms-meta-k" in head.headers) == ("application/octet-stream", False)
    assert place.blob("HEAD", "Files/one.csv").headers["etag"] == head.headers["etag"]
    refused = place.blob("PUT", "Files/one.csv", BLOCK_BLOB | {"if-match": first}, content=b"mine")
    assert refused.status_code == 412
    assert place.blob("PUT", "Files/one.csv", BLOCK_BLOB | {"if-match": head.headers["etag"]}, content=b"mine").status_code == 201


def test_files_and_folders_made_and_removed_on_the_disk_are_seen_at_once(place):
    (place.folder / "Tables/t/part=1").mkdir(parents=True)
    (place.folder / "Tables/t/part=1/x.parquet").write_bytes(b"123")
    assert place.listed("Tables") == ["Tables/t", "Tables/t/part=1", "Tables/t/part=1/x.parquet"]
    assert place.read("Tables/t/part%3D1/x.parquet") == b"123"
    (place.folder / "Tables/t/part=1/x.parquet").unlink()
    assert place.dfs("HEAD", "Tables/t/part%3D1/x.parquet").status_code == 404


def test_what_the_api_stored_outlasts_a_restart_and_what_was_not_committed_does_not(tmp_path):
    first = LakeStore(tmp_path, Clock())
    first.create_item_folder(WORKSPACE, LAKEHOUSE)
    stored = Properties(content_type="text/csv", metadata={"k": "v"})
    entry = put_file(first, target(first, "Files", "a"), first.staging.receive().finish(), stored, create_check(ALWAYS))
    first.staging.add_block(target(first, "Files", "b").key, "QQ==", first.staging.receive().finish())
    first.close()
    second = LakeStore(tmp_path, Clock())
    again = second.entry(target(second, "Files", "a"))
    assert (again.etag, again.properties.content_type, again.properties.metadata) == (entry.etag, "text/csv", {"k": "v"})
    assert list((tmp_path / "sandbox/onelake-staging").iterdir()) == []
    second.close()


def test_an_upload_that_breaks_off_leaves_nothing(place):
    url = urlsplit(place.sandbox.endpoints.blob_url)
    staging = place.sandbox.state_dir / "sandbox/onelake-staging"
    before = set(staging.iterdir())
    head = (
        f"PUT /{place.workspace_id}/{place.lakehouse_id}/Files/broken.bin HTTP/1.1\r\nHost: {url.netloc}\r\nx-ms-blob-type: BlockBlob\r\n"
        f"Authorization: Bearer {place.token}\r\nContent-Length: 3000000\r\n\r\n"
    )
    context = ssl.create_default_context(cafile=str(place.sandbox.endpoints.ca_file))
    with (
        socket.create_connection((url.hostname, url.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wire,
    ):
        wire.sendall(head.encode() + b"x" * 1_500_000)
        wait_until(lambda: set(staging.iterdir()) != before)
    wait_until(lambda: set(staging.iterdir()) == before)
    assert place.blob("HEAD", "Files/broken.bin").status_code == 404


KILLED = """
    import sys
    from pathlib import Path
    from treadle.sandbox.clock import Clock
    from treadle.sandbox.onelake.addresses import Address
    from treadle.sandbox.onelake.conditions import ALWAYS, Conditions
    from treadle.sandbox.onelake.index import Properties
    from treadle.sandbox.onelake.store import LakeStore, create_check
    from treadle.sandbox.onelake.uploads import Flush, append, flush, put_file

    store = LakeStore(Path(sys.argv[1]), Clock())
    target = store.locate(Address(sys.argv[2], sys.argv[3], ("Files", "one.bin")))
    turn = 0
    while True:
        turn += 1
        incoming = store.staging.receive()
        for _ in range(20):
            incoming.write(bytes([turn % 251]) * 20_000)
        put_file(store, target, incoming.finish(), Properties(metadata={"turn": str(turn % 251)}), create_check(ALWAYS))
        print(turn, flush=True)
"""


@pytest.mark.kills
def test_a_kill_at_any_moment_leaves_a_whole_file_with_its_own_properties(tmp_path):
    for kill in range(4):
        store = LakeStore(tmp_path, Clock())
        store.create_item_folder(WORKSPACE, LAKEHOUSE)
        store.close()
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), WORKSPACE, LAKEHOUSE], stdout=subprocess.PIPE, text=True
        )
        with child:
            for _ in range(7 + 5 * kill):
                assert child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        store = LakeStore(tmp_path, Clock())
        path = target(store, "Files", "one.bin")
        content = store.root.joinpath(*path.key).read_bytes()
        assert (len(content), len(set(content))) == (400_000, 1)
        assert store.entry(path).properties.metadata == {"turn": str(content[0])}
        assert list((tmp_path / "sandbox/onelake-staging").iterdir()) == []
        store.close()


def answer_of(app, method, path, chunks=(), headers=()):
    """Call an ASGI app with a body that is made as it is asked for; status, and how many bytes came back."""
    body, seen = iter(chunks), {"status": 0, "bytes": 0}

    async def receive():
        chunk = next(body, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message):
        seen["status"] = message.get("status", seen["status"])
        seen["bytes"] += len(message.get("body", b""))

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "server": ("localhost", 1),
    }
    asyncio.run(app(scope, receive, send))
    return seen["status"], seen["bytes"]


def test_large_bodies_pass_in_constant_memory(store):
    app = blob_app(store, store.clock, FaultScript(), lambda headers, audience: (headers, audience))
    path, chunk, count = f"/{WORKSPACE}/{LAKEHOUSE}/Files/large.bin", bytes(65_536), 1024
    tracemalloc.start()
    try:
        put = answer_of(app, "PUT", path, (chunk for _ in range(count)), [("x-ms-blob-type", "BlockBlob")])
        got = answer_of(app, "GET", path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (put[0], got) == (201, (200, count * 65_536))
    assert peak < 12 * 1024 * 1024


def test_a_reader_keeps_the_file_that_it_began(store):
    app = blob_app(store, store.clock, FaultScript(), lambda headers, audience: (headers, audience))
    path = f"/{WORKSPACE}/{LAKEHOUSE}/Files/one.bin"
    answer_of(app, "PUT", path, [b"a" * 100_000] * 20, [("x-ms-blob-type", "BlockBlob")])
    with store.reading(target(store, "Files", "one.bin")) as (descriptor, entry):
        answer_of(app, "PUT", path, [b"b"], [("x-ms-blob-type", "BlockBlob")])
        assert os.pread(descriptor, 3_000_000, 0) == b"a" * entry.size_bytes
    assert answer_of(app, "GET", path) == (200, 1)


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


def test_a_refused_request_does_not_keep_the_file_open(place):
    place.write("Files/one.bin", b"abc")
    before = open_files()
    for _ in range(50):
        assert place.blob("GET", "Files/one.bin", {"range": "bytes=9-"}).status_code == 416
        assert place.blob("GET", "Files/one.bin", {"if-none-match": "*"}).status_code == 304
        assert place.blob("HEAD", "Files/one.bin").status_code == 200
    wait_until(lambda: open_files() <= before + 5)


@pytest.mark.parametrize("kind", ["drop_after", "truncate"])
def test_a_download_that_is_cut_off_is_seen_as_broken(place, kind):
    place.write("Files/one.bin", b"a" * 100_000)
    place.sandbox.faults.script("onelake.Blob.Get", kind)
    with pytest.raises(httpx2.TransportError):
        place.blob("GET", "Files/one.bin")
    assert len(place.blob("GET", "Files/one.bin").content) == 100_000


def test_records_of_deleted_files_do_not_pile_up(store):
    for number in range(20):
        path = target(store, "Files", "folder", f"{number}")
        put_file(store, path, store.staging.receive().finish(), Properties(metadata={"n": json.dumps(number)}), create_check(ALWAYS))
    store.delete(target(store, "Files", "folder"), ALWAYS, recursive=True)
    assert store.index._database.execute("SELECT count(*) FROM properties").fetchone() == (0,)
