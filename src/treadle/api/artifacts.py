"""The files of a run: listed, and their bytes, whole or in ranges. Read through the lake, a chunk at a time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import format_datetime
from itertools import chain
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Header, Request
from fastapi import Path as InPath
from starlette.responses import Response, StreamingResponse

from treadle.actions import runs
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.problems import HttpProblem
from treadle.api.runs import RunId
from treadle.api.shapes.runs import Artifacts, ArtifactShape
from treadle.clients.onelake import LakeFile, OneLakeClient
from treadle.control.access import Right
from treadle.control.artifacts import Artifact

router = APIRouter(route_class=GuardedRoute, tags=["artifacts"])

_MEDIA_TYPES: Final = {".json": "application/json", ".csv": "text/csv; charset=utf-8", ".parquet": "application/vnd.apache.parquet"}
_ONE_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BYTES: Final[dict[str, Any]] = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("application/octet-stream", "text/csv", "application/vnd.apache.parquet")
} | {"application/json": {"schema": {}}}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    **answers(404, 416, 502),
    200: {"description": "The whole file", "content": _BYTES},
    206: {"description": "The range that was asked for", "content": _BYTES},
    304: {"description": "The file is the one you have"},
}
Name = Annotated[str, InPath(max_length=255, description="A name as listed.", examples=["kpis.json"])]
Range = Annotated[str | None, Header(description="One range of bytes.", examples=["bytes=0-1023"])]
IfRange = Annotated[
    str | None, Header(alias="If-Range", description="The ETag that the range belongs to; if it is another now, the whole file comes.")
]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", description="The ETag that you have; 304 if the file is still that one.")]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a file, from `start`, `length` of them; `whole` when nobody asked for less."""

    start: int
    length: int
    whole: bool


@router.get("/api/runs/{run_id}/artifacts", openapi_extra=needs(Right.RUNS_READ), responses=answers(404))
def list_artifacts(services: With, who: Who, run_id: RunId) -> Artifacts:
    """List the files that a run has left."""
    return Artifacts(artifacts=[_shape(item) for item in runs.list_artifacts(services, who, run_id)])


@router.get("/api/runs/{run_id}/artifacts/{name}", openapi_extra=needs(Right.RUNS_READ), responses=_ANSWERS, response_class=Response)
def get_artifact(  # noqa: PLR0913 - the headers that decide what is sent
    request: Request,
    services: With,
    who: Who,
    run_id: RunId,
    name: Name,
    *,
    range_: Annotated[str | None, Header(alias="Range", description="One range of bytes.", examples=["bytes=0-1023"])] = None,
    if_range: IfRange = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download a file of a run, or a range of it."""
    artifact = runs.get_artifact(services, who, run_id, name)
    file = services.sales.lake.stat(artifact.file_path)
    headers = _headers(file)
    if if_none_match and (
        if_none_match.strip() == "*" or headers["ETag"] in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    ):
        return Response(status_code=304, headers={name: headers[name] for name in ("ETag", "Last-Modified", "Cache-Control")})
    asked = range_ if if_range is None or if_range.strip() == headers["ETag"] else None
    stretch = read_range(asked, file.size_bytes)
    headers["Content-Length"] = str(stretch.length)
    if not stretch.whole:
        headers["Content-Range"] = f"bytes {stretch.start}-{stretch.start + stretch.length - 1}/{file.size_bytes}"
    status = 200 if stretch.whole else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    chunks = _chunks(services.sales.lake, file, stretch)
    first = next(chunks, b"")  # a lake that fails at once is told as what it is: once the answer has begun it could only be broken off
    return StreamingResponse(chain([first], chunks), status, headers)


router.add_api_route(
    "/api/runs/{run_id}/artifacts/{name}",
    get_artifact,
    methods=["HEAD"],
    openapi_extra=needs(Right.RUNS_READ),
    responses={status: {"description": shown["description"]} for status, shown in _ANSWERS.items()},
    response_class=Response,
    summary="Ask for size and ETag",
    operation_id="head_artifact",
)


def read_range(header: str | None, size: int) -> Stretch:
    """The stretch that a Range header asks for. Several ranges, or another unit, are answered by the whole file, as RFC 9110 allows. Pure.

    Raises:
        HttpProblem: 416, the range begins behind the end.
    """
    whole = Stretch(0, size, whole=True)
    found = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if not found or found.groups() == ("", ""):
        return whole
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return whole  # not a valid range: to be ignored
    if start >= size or (not first and int(last) == 0):
        raise HttpProblem(
            416, f"The file has {size:,} bytes.", hint="Ask for a range inside it.", headers={"Content-Range": f"bytes */{size}"}
        )
    return Stretch(start, end - start, whole=False)


def _chunks(lake: OneLakeClient, file: LakeFile, stretch: Stretch) -> Iterator[bytes]:
    yield from lake.read_chunks(file, stretch.start, stretch.length)


def _headers(file: LakeFile) -> dict[str, str]:
    suffix = file.name[file.name.rfind(".") :] if "." in file.name else ""
    return {
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.etag}"',
        "Last-Modified": format_datetime(file.modified_at, usegmt=True),
        "Content-Type": _MEDIA_TYPES.get(suffix, "application/octet-stream"),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "Cache-Control": "private, no-cache",
    }


def _shape(item: Artifact) -> ArtifactShape:
    name = item.file_path.rpartition("/")[2]
    return ArtifactShape(
        name=name,
        artifact_type=item.artifact_type,
        size_bytes=item.file_size,
        created_at=item.created_at,
        url=f"/api/runs/{item.run_id}/artifacts/{quote(name, safe='')}",
    )
