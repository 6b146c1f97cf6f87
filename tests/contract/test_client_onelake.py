"""Our OneLake client against the sandbox: files stay whole whatever happens on the way."""

import contextlib
import io
import json
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fabric_trials import until

from treadle.clients.entra import credential
from treadle.clients.fabric import FabricClient
from treadle.clients.onelake import STAGING, OneLakeClient
from treadle.clients.quotas import Quotas
from treadle.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)

CHUNK = 1000
PATH = "Files/import/orders (Größe).csv"
OLD, NEW = b"old content", b"new content " * 400  # NEW takes several chunks


def sign_in(sandbox):
    mine = sandbox.credentials
    return credential(
        mine.tenant_id, mine.client_id, mine.client_secret, authority_url=sandbox.endpoints.entra_url, ca_file=sandbox.endpoints.ca_file
    )


@pytest.fixture(scope="module")
def ids(running_sandbox):
    fabric = FabricClient(
        running_sandbox.endpoints.fabric_url, sign_in(running_sandbox), running_sandbox.endpoints.ca_file, quotas=Quotas(10_000)
    )
    workspace = fabric.create_workspace(f"lake clients {uuid.uuid4()}").workspace_id
    yield workspace, fabric.create_item(workspace, name="lake", type="Lakehouse").item_id
    fabric.close()


def open_lake(sandbox, ids, **options):
    return OneLakeClient(
        sandbox.endpoints.dfs_url,
        *ids,
        sign_in(sandbox),
        sandbox.endpoints.ca_file,
        **{"deadline_seconds": 8, "chunk_bytes": CHUNK, "backoff_seconds": 0.02} | options,
    )


@pytest.fixture
def lake(sandbox, ids):
    client = open_lake(sandbox, ids)
    yield client
    sandbox.faults.clear()
    for folder in ("Files/import", "Files/made", STAGING):
        for file in client.list_files(folder):
            client.delete(file.path)
    client.close()


def content_of(lake, path=PATH):
    return lake.read_bytes(path, max_bytes=10**9)


def staged(lake):
    return lake.list_files(STAGING)


# What it does.


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
def test_a_file_comes_back_as_it_was_stored(lake, size):
    content = bytes(index % 251 for index in range(size))
    steps = []
    stored = lake.upload(PATH, content, progress=lambda done, total: steps.append((done, total)))
    assert (stored.path, stored.name, stored.size_bytes) == (PATH, "orders (Größe).csv", size)
    assert content_of(lake) == content
    assert [step[1] for step in steps] == [size] * -(-size // CHUNK)
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)
    target, seen = io.BytesIO(), []
    assert lake.download(PATH, target, progress=lambda done, total: seen.append((done, total))) == stored
    assert target.getvalue() == content
    assert seen[-1:] == ([(size, size)] if size else [])
    assert staged(lake) == []


def test_a_list_shows_files_only_and_agrees_with_stat(sandbox, lake, ids):
    lake.upload(PATH, OLD)
    lake.upload("Files/import/b.csv", b"")
    (sandbox.lake.path_of(*ids) / "Files/import/from_the_notebook.txt").write_bytes(b"direct")
    (sandbox.lake.path_of(*ids) / "Files/import/folder").mkdir(exist_ok=True)
    found = lake.list_files("Files/import")
    assert [(file.name, file.size_bytes) for file in found] == [("b.csv", 0), ("from_the_notebook.txt", 6), ("orders (Größe).csv", 11)]
    assert [lake.stat(file.path) for file in found] == found
    assert all(abs(datetime.now(UTC) - file.modified_at) < timedelta(minutes=5) for file in found)


def test_an_entity_tag_changes_with_each_write(lake):
    assert lake.upload(PATH, OLD).etag != lake.upload(PATH, OLD).etag


def test_ranges_end_with_the_file(lake):
    lake.upload(PATH, b"0123456789")
    assert lake.read_range(PATH, 2, 3) == b"234"
    assert lake.read_range(PATH, 8, 99) == b"89"
    assert lake.read_range(PATH, 10, 1) == b""
    assert lake.read_range(PATH, 99, 1) == b""


def test_a_folder_that_does_not_exist_has_no_files_but_a_lakehouse_that_does_not_exist_is_an_error(sandbox, lake, ids):
    assert lake.list_files("Files/none/at/all") == []
    for wrong in ((ids[0], str(uuid.uuid4())), (str(uuid.uuid4()), ids[1])):
        with contextlib.closing(open_lake(sandbox, wrong)) as stray:
            for call in (stray.list_files, stray.exists, lambda path, lake=stray: lake.upload(path, b"x")):
                with pytest.raises(NotFound):
                    call(PATH)


def test_existence_is_told_for_files_and_folders(lake):
    assert not lake.exists(PATH)
    lake.upload(PATH, b"")
    assert lake.exists(PATH)
    assert lake.exists("Files/import")


def test_a_missing_file_and_a_folder_are_not_found(lake):
    for path in ("Files/import/none", "Files"):
        with pytest.raises(NotFound):
            lake.stat(path)
    with pytest.raises(NotFound):
        lake.read_bytes("Files/import/none", max_bytes=1)
    with pytest.raises(NotFound):
        lake.delete("Files/import/none")
    with pytest.raises(NotFound):
        lake.rename("Files/import/none", "Files/made/x")


def test_a_file_is_moved_into_a_folder_that_is_made_for_it(lake):
    lake.upload(PATH, OLD)
    folder = f"Files/made/{uuid.uuid4()}/deeper"
    moved = lake.rename(PATH, f"{folder}/x")
    assert (moved.path, moved.size_bytes) == (f"{folder}/x", len(OLD))
    assert not lake.exists(PATH)
    lake.delete(moved.path)


def test_moving_onto_a_file_replaces_it_only_if_that_is_allowed(lake):
    lake.upload(PATH, OLD)
    lake.upload("Files/made/a", NEW)
    with pytest.raises(Conflict):
        lake.rename("Files/made/a", PATH, overwrite=False)
    assert content_of(lake) == OLD
    lake.rename("Files/made/a", PATH)
    assert content_of(lake) == NEW


@pytest.mark.parametrize("path", ["Files", "Tables", "Other/x"])
def test_managed_folders_are_protected(lake, path):
    with pytest.raises((InvalidInput, PermissionDenied, Conflict)):
        lake.upload(path, b"x")


# Whole or not at all.


class Breaks(io.RawIOBase):
    """A source that gives some bytes and then fails, as a disk or a browser does."""

    def __init__(self, first: bytes) -> None:
        self._pieces = [first]

    def read(self, size: int = -1) -> bytes:
        if self._pieces:
            return self._pieces.pop()[:size]
        raise OSError("the source broke")


def test_an_upload_that_breaks_off_leaves_the_older_version_and_nothing_else(lake):
    lake.upload(PATH, OLD)
    for path in (PATH, "Files/import/other"):
        with pytest.raises(OSError, match="the source broke"):
            lake.upload(path, Breaks(b"x" * CHUNK))
    assert content_of(lake) == OLD
    assert [file.path for file in lake.list_files("Files/import")] == [PATH]
    assert staged(lake) == []


KILLED = """
import json, sys
from pathlib import Path
from treadle.clients.entra import credential
from treadle.clients.onelake import OneLakeClient
given = json.load(sys.stdin)
ca_file = Path(given["ca_file"])
who = credential(*given["who"], authority_url=given["entra_url"], ca_file=ca_file)
lake = OneLakeClient(given["dfs_url"], *given["ids"], who, ca_file, chunk_bytes=1000)
def progress(done, total):
    print("half", flush=True)
    sys.stdin.close()
    __import__("threading").Event().wait()
lake.upload(given["path"], b"n" * 4000, progress=progress)
"""


@pytest.mark.kills
@pytest.mark.parametrize("before", [OLD, None])
def test_a_killed_upload_leaves_the_older_version_and_its_rest_can_be_cleared(sandbox, lake, ids, before):
    if before:
        lake.upload(PATH, before)
    mine, at = sandbox.credentials, sandbox.endpoints
    given = {
        "who": [mine.tenant_id, mine.client_id, mine.client_secret],
        "entra_url": at.entra_url,
        "dfs_url": at.dfs_url,
        "ca_file": str(at.ca_file),
        "ids": ids,
        "path": PATH,
    }
    child = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        child.stdin.write(json.dumps(given))
        child.stdin.close()
        assert any("half" in line for line in child.stdout)
        child.send_signal(signal.SIGKILL)
    assert (content_of(lake) if before else lake.exists(PATH)) == (before or False)
    assert len(staged(lake)) == 1
    now = datetime.now(UTC)
    assert lake.discard_abandoned_uploads(3600, now) == 0
    assert lake.discard_abandoned_uploads(3600, now + timedelta(hours=2)) == 1
    assert staged(lake) == []


def test_of_many_that_create_one_file_exactly_one_wins(lake):
    contents = [f"{index}".encode() * 2 * CHUNK for index in range(6)]
    start = threading.Barrier(len(contents))

    def create(content):
        start.wait()
        try:
            lake.upload(PATH, content, overwrite=False)
        except Conflict:
            return None
        return content

    with ThreadPoolExecutor(len(contents)) as pool:
        winners = [content for content in pool.map(create, contents) if content]
    assert len(winners) == 1
    assert content_of(lake) == winners[0]
    assert staged(lake) == []


def test_of_many_that_replace_one_file_one_is_there_whole(lake):
    contents = [f"{index}".encode() * 2 * CHUNK for index in range(6)]
    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(lambda content: lake.upload(PATH, content), contents))
    assert content_of(lake) in contents


def test_a_reader_never_gets_a_mixture_of_two_versions(sandbox, lake):
    lake.upload(PATH, b"a" * 3 * CHUNK)
    target = io.BytesIO()

    def replace_once(done, _total):
        if done == CHUNK:
            lake.upload(PATH, b"b" * 3 * CHUNK)

    with pytest.raises(Conflict):
        lake.download(PATH, target, progress=replace_once)
    assert content_of(lake) == b"b" * 3 * CHUNK


# Through every fault.

FAULTS = {
    "429": ("status", {"status": 429, "retry_after_seconds": 0}),
    "500": ("status", {"status": 500}),
    "503": ("status", {"status": 503}),
    "drop_before": ("drop_before", {}),
    "drop_after": ("drop_after", {}),
    "truncate": ("truncate", {}),
    "slow": ("slow", {"seconds": 0.2}),
    "token_expired": ("token_expired", {}),
    "html 502": ("wrong_content_type", {"status": 502}),
}
CALLS = {
    "onelake.Path.List": lambda lake: [file.path for file in lake.list_files("Files/import")] == [PATH],
    "onelake.Path.GetProperties": lambda lake: lake.stat(PATH).size_bytes == len(OLD),
    "onelake.Path.Read": lambda lake: content_of(lake) == OLD,
    "onelake.Path.Create": lambda lake: lake.upload(PATH, NEW) and content_of(lake) == NEW,
    "onelake.Path.Append": lambda lake: lake.upload(PATH, NEW) and content_of(lake) == NEW,
    "onelake.Path.Flush": lambda lake: lake.upload(PATH, NEW) and content_of(lake) == NEW,
    "onelake.Path.Rename": lambda lake: lake.upload(PATH, NEW) and content_of(lake) == NEW,
    "onelake.Path.Delete": lambda lake: lake.delete(PATH) is None and not lake.exists(PATH),
}
PIECEWISE = ("onelake.Path.Create", "onelake.Path.Append", "onelake.Path.Flush", "onelake.Path.GetProperties")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", CALLS)
def test_every_call_survives_every_fault_once(sandbox, lake, operation, fault):
    lake.upload(PATH, OLD)
    kind, args = FAULTS[fault]
    sandbox.faults.script(operation, kind, **args)
    assert CALLS[operation](lake)
    assert staged(lake) == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", PIECEWISE)
def test_a_file_made_piece_by_piece_survives_every_fault_once(sandbox, lake, operation, fault):
    kind, args = FAULTS[fault]
    sandbox.faults.script(operation, kind, **args)
    path = lake.begin_staged("piecewise")
    for offset in (0, 5):
        lake.append_at(path, b"12345", offset)
        lake.flush_at(path, offset + 5)
        assert lake.begin_staged("piecewise") == path, "what is there stays"
    file = lake.stat(path)
    assert b"".join(lake.read_chunks(file, 3, 4)) == b"4512"
    assert b"".join(lake.read_chunks(file)) == b"1234512345"
    lake.delete(path)


def test_bytes_that_were_appended_but_never_flushed_do_not_count_and_may_be_sent_again(lake):
    path = lake.begin_staged("unflushed")
    lake.append_at(path, b"lost in a crash", 0)
    assert lake.stat(path).size_bytes == 0
    lake.append_at(path, b"sent again", 0)
    lake.flush_at(path, 10)
    assert content_of(lake, path) == b"sent again"


@pytest.mark.parametrize("fault", FAULTS)
def test_creating_without_overwriting_survives_a_fault_at_its_last_step(sandbox, lake, fault):
    kind, args = FAULTS[fault]
    sandbox.faults.script("onelake.Path.Rename", kind, **args)
    lake.upload(PATH, NEW, overwrite=False)
    assert content_of(lake) == NEW
    with pytest.raises(Conflict):
        lake.upload(PATH, OLD, overwrite=False)


@pytest.mark.parametrize(
    ("operation", "kind", "args", "error"),
    [
        ("onelake.Path.List", "status", {"status": 403}, PermissionDenied),
        ("onelake.Path.List", "status", {"status": 429, "retry_after_seconds": 3600}, Throttled),
        ("onelake.Path.List", "status", {"status": 503}, Unavailable),
        ("onelake.Path.List", "wrong_content_type", {}, UnexpectedAnswer),
        ("onelake.Path.List", "token_expired", {}, Unauthenticated),
        ("onelake.Path.List", "drop_before", {}, Unavailable),
    ],
)
def test_a_lasting_failure_is_never_an_empty_folder(sandbox, lake, ids, operation, kind, args, error):
    hasty = open_lake(sandbox, ids, deadline_seconds=2)
    sandbox.faults.script(operation, kind, times=None, **args)
    with pytest.raises(error):
        hasty.list_files("Files/import")
    hasty.close()


@pytest.mark.parametrize("operation", ["onelake.Path.Create", "onelake.Path.Append", "onelake.Path.Flush"])
def test_an_upload_that_cannot_go_on_leaves_the_older_version(sandbox, lake, ids, operation):
    lake.upload(PATH, OLD)
    hasty = open_lake(sandbox, ids, deadline_seconds=1)
    sandbox.faults.script(operation, "status", status=503, times=None)
    with pytest.raises(Unavailable):
        hasty.upload(PATH, NEW)
    sandbox.faults.clear()
    assert content_of(lake) == OLD
    assert staged(lake) == []
    hasty.close()


def test_an_upload_whose_last_step_stays_in_doubt_says_so(sandbox, lake, ids):
    hasty = open_lake(sandbox, ids, deadline_seconds=1)
    sandbox.faults.script("onelake.Path.Rename", "drop_after", times=None)
    sandbox.faults.script("onelake.Path.GetProperties", "status", status=503, times=None)
    sandbox.faults.script("onelake.Path.Delete", "status", status=503, times=None)
    with pytest.raises(OutcomeUnknown):
        hasty.upload(PATH, NEW)
    sandbox.faults.clear()
    assert content_of(lake) == NEW
    hasty.close()


MEMORY = """
import json, resource, sys
from pathlib import Path
from treadle.clients.entra import credential
from treadle.clients.onelake import OneLakeClient
given = json.load(sys.stdin)
ca_file = Path(given["ca_file"])
who = credential(*given["who"], authority_url=given["entra_url"], ca_file=ca_file)
lake = OneLakeClient(given["dfs_url"], *given["ids"], who, ca_file)
class Zeros:
    left = given["size"]
    def read(self, size):
        size = min(size, self.left)
        self.left -= size
        return bytes(size)
class Nowhere:
    written = 0
    def write(self, chunk):
        self.written += len(chunk)
lake.upload("Files/made/small", b"x")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lake.upload("Files/made/big", Zeros())
nowhere = Nowhere()
lake.download("Files/made/big", nowhere)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"grown_kib": after - before, "written": nowhere.written}))
"""


def test_a_large_file_passes_in_bounded_memory(sandbox, lake, ids):
    size = 160 * 1024 * 1024
    mine, at = sandbox.credentials, sandbox.endpoints
    given = {
        "who": [mine.tenant_id, mine.client_id, mine.client_secret],
        "entra_url": at.entra_url,
        "dfs_url": at.dfs_url,
        "ca_file": str(at.ca_file),
        "ids": ids,
        "size": size,
    }
    ran = subprocess.run([sys.executable, "-c", MEMORY], input=json.dumps(given), capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["written"] == size
    assert told["grown_kib"] < 48 * 1024
    until(lambda: lake.stat("Files/made/big").size_bytes == size)
