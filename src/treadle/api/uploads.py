"""Resumable uploads in the manner of tus: create, PATCH by offset, HEAD to resume, finalise. Bytes go straight through to the lake."""

from datetime import UTC
from email.utils import format_datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Request
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.actions import uploads
from treadle.api.guard import BYTES, App, GuardedRoute, Shared, Who, With, answers, either, needs
from treadle.api.incoming import IncomingBody, receiving
from treadle.api.limits import declared_length
from treadle.api.once import Asking, IdempotencyKey
from treadle.api.problems import HttpProblem
from treadle.api.shapes.files import CreateUpload, FileShape, Finalise, UploadShape
from treadle.clients.onelake import LakeFile
from treadle.control.access import Right
from treadle.control.uploads import Upload
from treadle.flows.sales.resumable import PIECE_BYTES, Receiver

router = APIRouter(route_class=GuardedRoute, tags=["uploads"])

_RIGHT: Final = either(Right.FILES_WRITE, Right.SCENARIOS_BUILD)  # of a workbook; of an archive
_NUMBER: Final = {"schema": {"type": "integer"}}
_PROGRESS: Final[dict[str, Any]] = {
    "Upload-Offset": {"description": "Where to go on.", **_NUMBER},
    "Upload-Length": {"description": "How many bytes the file is to have.", **_NUMBER},
    "Upload-Expires": {"description": "When it is given up (HTTP date).", "schema": {"type": "string"}},
}
_BODY: Final = {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}, "required": True}

UploadId = Annotated[UUID, InPath(description="The upload, as the answer that began it named it.")]
Offset = Annotated[int, Header(alias="Upload-Offset", ge=0, le=2**53, description="Where these bytes belong: what the lake has so far.")]


@router.post(
    "/api/uploads",
    openapi_extra=needs(_RIGHT, "upload.begin", "file"),
    responses=answers(409, 415, 502),
    response_model=UploadShape,
    status_code=201,
)
def create_upload(request: Request, services: With, who: Who, body: CreateUpload, key: IdempotencyKey = None) -> Response:
    """Begin an upload: of a workbook into Files/import/, or of an archive of a scenario, when the name ends in .tar.gz or .tgz.

    A workbook needs the right `files:write`. An older one of that name stays readable until the new one is whole and verified. An archive needs
    `scenarios:build`, may have SCENARIO_UPLOAD_LIMIT_MB, is there for its sender alone, and waits, once it is finalised, for one build that names its
    `upload_id`, until `expires_at`.
    """

    def begin(upload_id: UUID) -> tuple[int, UploadShape, dict[str, str]]:
        upload = uploads.begin(
            services, who, upload_id, body.file_name, body.size_bytes, sha256=body.sha256, overwrite=body.overwrite
        )  # fmt: skip
        return 201, _shape(upload, 0), {"Location": f"/api/uploads/{upload_id}", **_headers(upload, 0)}

    return Asking(services, who, request, key, body).answer(begin)


@router.get(
    "/api/uploads/{upload_id}",
    openapi_extra=needs(_RIGHT),
    responses={**answers(404, 502), 200: {"headers": _PROGRESS}},
)
def show_upload(services: With, who: Who, response: Response, upload_id: UploadId) -> UploadShape:
    """Show how far an upload has come."""
    upload, offset = uploads.get_upload(services, who, upload_id)
    response.headers.update(_headers(upload, offset))
    return _shape(upload, offset)


@router.head(
    "/api/uploads/{upload_id}",
    openapi_extra=needs(_RIGHT),
    responses={**answers(404, 502), 200: {"headers": _PROGRESS}},
    response_class=Response,
)
def resume_upload(services: With, who: Who, upload_id: UploadId) -> Response:
    """Ask where to go on: Upload-Offset."""
    upload, offset = uploads.get_upload(services, who, upload_id)
    return Response(headers=_headers(upload, offset))


@router.patch(
    "/api/uploads/{upload_id}",
    openapi_extra={**needs(_RIGHT, "upload.send", "upload:{upload_id}"), "requestBody": _BODY},
    responses={**answers(404, 408, 409, 415, 502), 204: {"headers": _PROGRESS}},
    response_class=Response,
    status_code=204,
)
async def send_piece(request: Request, shared: Shared, who: Who, upload_id: UploadId, upload_offset: Offset) -> Response:
    """Send bytes, any number, from where the upload is. What arrives before a connection is cut is kept: ask for the offset and go on."""
    _require_bytes(request)
    with receiving(shared, who):
        receiver = await run_in_threadpool(uploads.receive, shared.services, who, upload_id, upload_offset)
        try:
            return await _receive(request, shared, receiver)
        finally:
            await run_in_threadpool(receiver.close)


@router.post(
    "/api/uploads/{upload_id}/finalise",
    openapi_extra=needs(_RIGHT, "file.upload", "upload:{upload_id}"),
    responses=answers(404, 409, 415, 502),
    response_model=FileShape,
)
def finalise_upload(services: With, who: Who, upload_id: UploadId, body: Finalise) -> LakeFile:
    """Verify the stored bytes by their SHA-256, and put the file in its place in one step. Safe to repeat.

    An archive must be a gzip file. Then `POST /api/upload-jobs` takes its `upload_id`, as `graph_upload` for example.
    """
    return uploads.finalise(services, who, upload_id, body.sha256)


@router.delete(
    "/api/uploads/{upload_id}",
    openapi_extra=needs(_RIGHT, "upload.cancel", "upload:{upload_id}"),
    responses=answers(404, 409, 502),
    response_class=Response,
    status_code=204,
)
def cancel_upload(services: With, who: Who, upload_id: UploadId) -> Response:
    """Give an upload up and clear its bytes away; of an archive also when it is finalised, as long as no build has used it."""
    uploads.give_up(services, who, upload_id)
    return Response(status_code=204)


async def _receive(request: Request, shared: App, receiver: Receiver) -> Response:
    """Bring the body to the lake, piece by piece; flush what came, however it ended."""
    room = receiver.upload.size_bytes - receiver.offset
    _require_room(request, room, receiver)
    body = IncomingBody(request, room, shared.settings, PIECE_BYTES)
    try:
        async for piece in body.pieces():
            await run_in_threadpool(receiver.append, piece)
            shared.metrics.upload_bytes.inc(len(piece))
    finally:
        offset = await run_in_threadpool(receiver.flush)
    headers = _headers(receiver.upload, offset)
    if body.too_long:
        text = "More bytes came than the upload was said to have; what fits is kept."
        raise HttpProblem(413, text, code="too_large", hint="Check the size of the file.", headers=headers, details={"offset": offset})
    if body.cut:
        raise HttpProblem(
            408,
            f"{body.cut}; {offset:,} bytes are kept.",
            hint="Go on from `offset`.",
            headers=headers,
            details={"offset": offset},
        )
    return Response(status_code=204, headers=headers)


def _require_bytes(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != BYTES:
        raise HttpProblem(415, f"The body is {kind or 'of no named kind'}; {BYTES} is read here.", hint=f"Send Content-Type: {BYTES}.")


def _require_room(request: Request, room: int, receiver: Receiver) -> None:
    declared = declared_length(request.headers)
    if declared > room:
        raise HttpProblem(
            413,
            f"The body has {declared:,} bytes, and {room:,} are left of what the upload was said to have.",
            hint="Check the size of the file.",
            headers=_headers(receiver.upload, receiver.offset),
            details={"offset": receiver.offset},
        )


def _headers(upload: Upload, offset: int) -> dict[str, str]:
    expires = format_datetime(upload.expires_at.astimezone(UTC), usegmt=True)
    return {"Upload-Offset": str(offset), "Upload-Length": str(upload.size_bytes), "Upload-Expires": expires}


def _shape(upload: Upload, offset: int) -> UploadShape:
    members = {
        name: getattr(upload, name)
        for name in ("upload_id", "file_name", "size_bytes", "state", "created_by", "created_at", "expires_at", "used_by")
    }
    return UploadShape(**members, offset=offset, url=f"/api/uploads/{upload.upload_id}")
