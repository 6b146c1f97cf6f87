"""Bulk API 2.0 ingest on the wire. Source: Bulk guide, Bulk API 2.0 Ingest."""

import os
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, cast

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from treadle.sandbox.salesforce.cloud import SalesforceCloud
from treadle.sandbox.salesforce.refusals import Refused, not_modelled
from treadle.sandbox.salesforce.routes import AnyCase, Door, Handler, read_json

_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}


def ingest_routes(cloud: SalesforceCloud) -> list[Route]:
    """The routes of ingest jobs; the operation id is the route's name."""
    door = Door(cloud)
    ingest = _Ingest(cloud, door)
    base = "/services/data/v{version}/jobs/ingest"
    one = base + "/{job}"

    def route(path: str, method: str, handler: Handler, name: str) -> Route:
        return AnyCase(path, door.checked(handler), method, name)

    return [
        route(base, "POST", ingest.create, "CreateIngestJob"),
        route(base + "/", "POST", ingest.create, "CreateIngestJob"),
        route(base, "GET", ingest.page, "ListIngestJobs"),
        route(base + "/", "GET", ingest.page, "ListIngestJobs"),
        AnyCase(one + "/batches", ingest.upload, "PUT", "UploadJobData"),
        AnyCase(one + "/batches/", ingest.upload, "PUT", "UploadJobData"),
        route(one, "PATCH", ingest.move, "UpdateIngestJob"),
        route(one, "GET", ingest.info, "GetIngestJob"),
        route(one, "DELETE", ingest.delete, "DeleteIngestJob"),
        AnyCase(one + "/successfulResults", ingest.results_of("successfulresults"), "GET", "GetSuccessfulResults"),
        AnyCase(one + "/failedResults", ingest.results_of("failedresults"), "GET", "GetFailedResults"),
        AnyCase(one + "/unprocessedrecords", ingest.results_of("unprocessedrecords"), "GET", "GetUnprocessedRecords"),
        AnyCase(one + "/successfulResults/", ingest.results_of("successfulresults"), "GET", "GetSuccessfulResults"),
        AnyCase(one + "/failedResults/", ingest.results_of("failedresults"), "GET", "GetFailedResults"),
        AnyCase(one + "/unprocessedrecords/", ingest.results_of("unprocessedrecords"), "GET", "GetUnprocessedRecords"),
    ]


class _Ingest:
    def __init__(self, cloud: SalesforceCloud, door: Door) -> None:
        self._jobs, self._options, self._door = cloud.jobs, cloud.options, door

    def create(self, request: Request, body: bytes) -> Response:
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            raise not_modelled("a job with its data in one multipart request")
        return JSONResponse(self._jobs.create(_object(body), request.path_params["version"]))

    def page(self, request: Request, _: bytes) -> Response:
        return JSONResponse(self._jobs.page(request.query_params.get("queryLocator"), request.path_params["version"]))

    def info(self, request: Request, _: bytes) -> Response:
        return JSONResponse(self._jobs.info(request.path_params["job"]))

    def move(self, request: Request, body: bytes) -> Response:
        state, job = _object(body).get("state"), request.path_params["job"]
        if state == "UploadComplete":
            return JSONResponse(self._jobs.close(job))
        if state == "Aborted":
            return JSONResponse(self._jobs.abort(job))
        raise Refused(400, "INVALIDJOBSTATE", f"InvalidJobState : A job can be moved to UploadComplete or Aborted, not to {state}.")

    def delete(self, request: Request, _: bytes) -> Response:
        self._jobs.delete(request.path_params["job"])
        return Response(status_code=204)

    async def upload(self, request: Request) -> Response:
        """201 without a body. The bytes go straight to the disk, however large, with a length or in chunks."""
        job, place = request.path_params["job"], None
        try:
            await anyio.to_thread.run_sync(self._door.admit, request)
            _check_csv(request)
            place = await anyio.to_thread.run_sync(self._jobs.upload_place, job)
            await _receive(request, place, self._options.upload_bytes)
            await anyio.to_thread.run_sync(self._jobs.accept_upload, job, place)
        except Refused as refused:
            return self._door.refusal(refused)
        finally:
            if place:
                place.unlink(missing_ok=True)
        return self._door.mark(Response(status_code=201))

    def results_of(self, kind: str) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of one of the three result sets."""

        def start(request: Request) -> Response:
            self._door.admit(request)
            pieces = self._jobs.results(request.path_params["job"], kind)
            return self._door.mark(StreamingResponse(pieces, media_type="text/csv"))

        async def endpoint(request: Request) -> Response:
            try:
                return await anyio.to_thread.run_sync(start, request)
            except Refused as refused:
                return self._door.refusal(refused)

        return endpoint


def _check_csv(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/csv":
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", "The data of a job is text/csv.")


async def _receive(request: Request, place: Path, most: int) -> None:
    """Write a body to a file, safe from a power cut. Raises Refused for one that is too large."""
    received, unpack = 0, _unpacker(request)
    with place.open("wb") as file:
        async for packed in request.stream():
            piece = unpack(packed)
            received += len(piece)
            if received > most:
                raise Refused(413, "CONTENT_TOO_LARGE", f"The data of a job is at most {most} bytes.")
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _unpacker(request: Request) -> Callable[[bytes], bytes]:
    """Requests may be compressed (REST guide, Compression). What it returns raises Refused."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return bytes
    if encoding not in _WINDOW_BITS:
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", f"Content-Encoding is gzip or deflate, not {encoding}.")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])

    def unpack(piece: bytes) -> bytes:
        try:
            return inflater.decompress(piece)
        except zlib.error as error:
            raise Refused(400, "MALFORMED_DATA", f"The body is not what its Content-Encoding says: {error}.") from error

    return unpack


def _object(body: bytes) -> dict[str, Any]:
    value = read_json(body)
    if not isinstance(value, dict):
        raise Refused(400, "JSON_PARSER_ERROR", "The request body must be one JSON object.")
    return cast("dict[str, Any]", value)
