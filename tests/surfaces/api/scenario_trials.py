"""What the tests of scenarios over HTTP do again and again."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx2

from tests.surfaces.api.conftest import Service, eventually, working

ARCHIVE = "application/gzip"
Files = dict[str, tuple[str, bytes, str]]


def archive(content: bytes, name: str = "shop.tar.gz") -> tuple[str, bytes, str]:
    """A file of a form."""
    return name, content, ARCHIVE


def new_workspace(service: Service) -> str:
    """A workspace of this test's own, so that nothing else holds it."""
    return service.wiring.fabric.create_workspace(f"ws-{uuid4().hex[:8]}").workspace_id


def ask_for_upload(service: Service, workspace: str, files: Files, **texts: str) -> dict[str, Any]:
    answer = service.operator.post("/api/upload-jobs", data={"workspace_id": workspace, **texts}, files=files)
    assert answer.status_code == 201, answer.text
    return answer.json()


def until_ended(service: Service, job_id: str, seconds: float = 120) -> dict[str, Any]:
    """The job once it has ended, with a worker at work."""
    address = f"/api/upload-jobs/{job_id}"
    ended: Callable[[], bool] = lambda: service.viewer.get(address).json()["status"] in {"done", "error", "cancelled"}  # noqa: E731
    with working(service.wiring):
        eventually(ended, seconds=seconds, what="the end of the build")
    return service.viewer.get(address).json()


@contextmanager
def streamed(
    client: httpx2.Client, method: str, address: str, **sent: Any
) -> Iterator[tuple[httpx2.Response, Iterator[tuple[str, str, Any]]]]:
    """An answer that streams, and its events: id, name and data."""
    with client.stream(method, address, timeout=120, **sent) as answer:
        yield answer, _events(answer)


def _events(answer: httpx2.Response) -> Iterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "data" in fields:
            yield fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])
            fields = {}
        elif not line:
            fields = {}
