"""Forms with files, however they are cut on their way, and what is refused of them."""

import asyncio
import hashlib
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from treadle.api.config import ApiSettings
from treadle.api.incoming import receiving
from treadle.api.metrics import Metrics
from treadle.api.multipart import Form, received
from treadle.api.problems import HttpProblem, TooManyRequests
from treadle.control.access import Role, local_principal
from treadle.errors import Conflict, InvalidInput, Unavailable

MIB = 1024**2
EDGE = "edge-of-a-part"
ADA, BEN = (local_principal(name, Role.OPERATOR) for name in ("ada", "ben"))
KIND = f"multipart/form-data; boundary={EDGE}"
FORM = Form({"scenario_name": 20, "overwrite": 5}, ("graph", "runbooks"), 3 * MIB, Path("/nowhere"))


def run_apart(work):
    """In a thread of its own: a browser that another test has open keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


def shared_of(settings: ApiSettings | None = None) -> Any:
    return SimpleNamespace(settings=settings or ApiSettings(), metrics=Metrics(), receiving=Counter())


def part(name: str, content: bytes | str, filename: str | None = None, *more: str) -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    headers = "\r\n".join([f'Content-Disposition: form-data; name="{name}"{file}', *more])
    return f"--{EDGE}\r\n{headers}\r\n\r\n".encode() + (content if isinstance(content, bytes) else content.encode()) + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{EDGE}--\r\n".encode()


def read(
    body: bytes | Iterable[bytes],
    scratch: Path,
    wanted: Form = FORM,
    *,
    kind: str = KIND,
    headers: Mapping[str, str] | None = None,
    settings: ApiSettings | None = None,
    then: Exception | None = None,
    between_seconds: float = 0,
) -> tuple[dict[str, str], dict[str, tuple[str, bytes, str]]]:
    """Texts, and of each file its name, bytes and SHA-256. then: instead of the end of the body, nothing comes (TimeoutError)."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

    async def receive() -> Mapping[str, Any]:
        await asyncio.sleep(between_seconds)
        if messages:
            return messages.pop(0)
        if then is not None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def read_all() -> tuple[dict[str, str], dict[str, tuple[str, bytes, str]]]:
        raw = [(b"content-type", kind.encode("latin-1")), *((key.encode(), value.encode()) for key, value in (headers or {}).items())]
        request = Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, receive)
        shared = shared_of(settings)
        try:
            async with received(request, shared, ADA, replace(wanted, scratch=scratch)) as came:
                assert shared.receiving.total() == 1
                return came.texts, {name: (file.filename, file.read(), file.sha256) for name, file in came.files.items()}
        finally:
            assert shared.receiving.total() == 0

    try:
        return run_apart(read_all())
    finally:
        assert list(scratch.iterdir()) == []


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


LARGE = bytes(range(256)) * 8192  # two megabytes: more than is kept in memory


def test_texts_and_files_come_as_they_were_sent(tmp_path):
    body = form(part("scenario_name", "Zürich"), part("graph", LARGE, "telco.tar.gz"), part("runbooks", b"", "empty.tar.gz"))
    texts, files = read(body, tmp_path)
    assert texts == {"scenario_name": "Zürich"}
    assert files == {"graph": ("telco.tar.gz", LARGE, sha256(LARGE)), "runbooks": ("empty.tar.gz", b"", sha256(b""))}


HOSTILE = b"\r\n--edge\r\n--edge-of-a-par\r\n--\r\nedge-of-a-part\r--edge-of-a-part--\r\n"


@given(st.binary(max_size=200).filter(lambda content: f"\r\n--{EDGE}".encode() not in b"\r\n" + content), st.data())
def test_however_it_is_cut_it_is_the_same_form(tmp_path_factory, content: bytes, data: st.DataObject):
    body = form(part("graph", HOSTILE + content, "a.tar.gz"), part("scenario_name", "telco"))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=12)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    texts, files = read(pieces, tmp_path_factory.mktemp("form"))
    assert (texts, files["graph"][1]) == ({"scenario_name": "telco"}, HOSTILE + content)


def test_fields_that_nobody_filled_in_are_left_out(tmp_path):
    assert read(form(part("scenario_name", ""), part("graph", b"", "")), tmp_path) == ({}, {})


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\telco.tar.gz", "telco.tar.gz"),
        ("a%22b%0D%0Ac.tar.gz", 'a"bc.tar.gz'),
        ("Zürich\x07.tar.gz", "Zürich.tar.gz"),
        ("x" * 400, "x" * 255),
    ],
)
def test_the_name_of_a_file_is_for_people_alone(tmp_path, sent: str, shown: str):
    assert read(form(part("graph", b"x", sent)), tmp_path)[1]["graph"][0] == shown


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([part("secret", "x")], "no field 'secret'"),
        ([part("gr\u0430ph", b"x", "a.tar.gz")], "no field"),  # a Cyrillic letter
        ([part("graph", b"x", "a"), part("graph", b"y", "b")], "came twice"),
        ([part("scenario_name", "a"), part("scenario_name", "")], "came twice"),
        ([part("graph", "text")], "graph is a file"),
        ([part("scenario_name", b"x", "a.tar.gz")], "scenario_name is text"),
        ([part("scenario_name", "x" * 21)], "longer than 20"),
        ([part("scenario_name", "x" * 100_000)], "longer than 20"),
        ([part("scenario_name", b"\xff\xfe")], "no UTF-8"),
        ([part("scenario_name", "a\x00b")], "cannot be printed"),
    ],
)
def test_what_was_not_asked_for_is_refused_by_its_name(tmp_path, parts: list[bytes], said: str):
    with pytest.raises(InvalidInput, match=said):
        read(form(*parts), tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        b"--another-edge\r\n\r\n\r\n--another-edge--\r\n",
        form(part("graph", b"x", "a"))[:-10],
        part("graph", b"x", "a"),
        f"--{EDGE}\r\nContent-Type: text/plain\r\n\r\nx\r\n--{EDGE}--\r\n".encode(),
        form(part("graph", b"x", "a", "Content-Transfer-Encoding: base64")),
        form(part("graph", b"x", "a", 'Content-Disposition: form-data; name="runbooks"; filename="b"')),
        form(part("graph", b"x", "a", "X-Long: " + "x" * 5_000)),
        form(part("graph", b"x", "a", *(f"X-{number}: y" for number in range(20)))),
        f'--{EDGE}\r\nContent-Disposition: attachment; name="graph"\r\n\r\nx\r\n--{EDGE}--\r\n'.encode(),
    ],
)
def test_what_is_no_form_is_malformed(tmp_path, body: bytes):
    with pytest.raises(HttpProblem) as refused:
        read(body, tmp_path)
    assert (refused.value.status_code, refused.value.code) == (400, "malformed")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 415),
        ("", 415),
        ("multipart/mixed; boundary=x", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=" + "x" * 71, 400),
        ('multipart/form-data; boundary=""', 400),
    ],
)
def test_a_body_of_another_kind_is_refused_unread(tmp_path, kind: str, status: int):
    with pytest.raises(HttpProblem) as refused:
        read(form(part("graph", b"x", "a")), tmp_path, kind=kind)
    assert refused.value.status_code == status


def test_a_file_is_refused_at_its_first_byte_too_many(tmp_path):
    fits = b"x" * (3 * MIB)
    assert read(form(part("graph", fits, "a")), tmp_path)[1]["graph"][2] == sha256(fits)
    with pytest.raises(HttpProblem) as refused:
        read([part("graph", fits + b"x", "a"), b"y" * MIB], tmp_path)
    assert (refused.value.status_code, refused.value.code, "graph" in str(refused.value.detail)) == (413, "too_large", True)


def test_a_large_file_is_never_whole_in_memory(tmp_path):
    megabyte = bytes(MIB)

    async def read_it() -> int:
        pieces = iter([part("graph", b"", "a")[:-2], *[megabyte] * 96, f"\r\n--{EDGE}--\r\n".encode(), b""])

        async def receive() -> Mapping[str, Any]:
            piece = next(pieces)
            return {"type": "http.request", "body": piece, "more_body": bool(piece)}

        request = Request({"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", KIND.encode())]}, receive)
        async with received(request, shared_of(), ADA, replace(FORM, file_bytes=100 * MIB, scratch=tmp_path)) as came:
            return came.files["graph"].size_bytes

    tracemalloc.start()
    try:
        assert run_apart(read_it()) == 96 * MIB
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_a_body_that_is_longer_than_all_its_parts_may_be_is_refused_before_and_while_it_comes(tmp_path):
    with pytest.raises(HttpProblem) as refused:
        read(b"", tmp_path, headers={"content-length": str(FORM.most_bytes + 1)})
    assert refused.value.status_code == 413
    epilogue = [form(part("graph", b"x", "a")), *[b"z" * MIB] * 7]
    with pytest.raises(HttpProblem) as refused:
        read(epilogue, tmp_path)
    assert refused.value.status_code == 413


def test_a_sender_that_falls_silent_is_let_go(tmp_path):
    with pytest.raises(HttpProblem) as refused:
        read(part("graph", b"x", "a"), tmp_path, settings=ApiSettings(stall_seconds=0.05), then=TimeoutError())
    assert refused.value.status_code == 408


def test_a_sender_of_drops_is_let_go_and_nothing_of_its_files_is_kept(tmp_path):
    """`read` looks whether a file is left, and whether the turn is free. Each drop comes long before the deadline for silence."""
    drops = [part("graph", LARGE, "a")[:-2], *[b"x"] * 5_000]
    with pytest.raises(HttpProblem, match="Fewer than 16,384 bytes a second came; nothing was kept") as refused:
        read(drops, tmp_path, settings=ApiSettings(stall_seconds=0.5), between_seconds=0.005)
    assert (refused.value.status_code, refused.value.hint is not None) == (408, True)


def test_who_sends_little_at_a_time_but_steadily_is_read_to_the_end(tmp_path):
    pieces = [LARGE[start : start + 4096] for start in range(0, 100 * 4096, 4096)]
    body = [part("graph", b"", "a")[:-2], *pieces, f"\r\n--{EDGE}--\r\n".encode()]
    _, files = read(body, tmp_path, settings=ApiSettings(stall_seconds=0.2), between_seconds=0.005)
    assert files["graph"][1] == b"".join(pieces)


def test_nobody_takes_all_turns():
    shared = shared_of(ApiSettings(uploads_at_once=3, uploads_per_principal=2))
    with receiving(shared, ADA), receiving(shared, ADA):
        with pytest.raises(TooManyRequests, match="ada is sending 2 uploads"), receiving(shared, ADA):
            pytest.fail("she has a third turn")
        with receiving(shared, BEN), pytest.raises(Unavailable, match="3 uploads"), receiving(shared, BEN):
            pytest.fail("there was a fourth turn")
    assert not shared.receiving


def test_who_comes_when_all_turns_are_taken_is_asked_to_wait(tmp_path):
    with pytest.raises(Unavailable, match="at this moment"):
        read(form(), tmp_path, settings=ApiSettings(uploads_at_once=0))


def test_a_refusal_that_needs_no_file_comes_before_it(tmp_path):
    def busy(texts: Mapping[str, str]) -> None:
        raise Conflict(f"{texts['scenario_name']} is being built.")

    wanted = replace(FORM, before_files=busy)
    with pytest.raises(Conflict, match="telco is being built"):
        read([part("scenario_name", "telco") + part("graph", b"", "a")[:-2], b"never read" * 1000], tmp_path, wanted)
