"""What happened, as a list or as a stream of server-sent events: of runs and of jobs."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from treadle.actions import jobs, runs
from treadle.api.guard import GuardedRoute, Shared, StillWelcome, Who, With, answers, needs
from treadle.api.jobs import JobId
from treadle.api.runs import RunId
from treadle.api.shapes.jobs import JobEvents, JobEventShape
from treadle.api.shapes.runs import RunEvents, RunEventShape
from treadle.control import feed
from treadle.control.access import Principal, Right
from treadle.control.jobs.queue import EVENTS_AT_ONCE

router = APIRouter(route_class=GuardedRoute, tags=["events"])


def _stream(example: str) -> dict[str, Any]:
    return {
        "description": "Each event with its number as `id`; at the end one named `done`. Asked for by `Accept: text/event-stream`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": example}},
    }


_RUN_STREAM: Final = _stream(
    'id: 1\nevent: STATUS_CHANGE\ndata: {"seq":1,"event_time":"2026-11-21T10:00:00Z","event_type":"STATUS_CHANGE","message":"SUBMITTED"}\n\n'
    'event: done\ndata: {"run_id":"6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11","status":"SUCCEEDED"}\n\n'
)
_JOB_STREAM: Final = _stream(
    'id: 1\nevent: progress\ndata: {"seq":1,"at":"2026-11-21T10:00:00Z","level":"INFO","step":"profile","pct":10.0,'
    '"message":"superstore.xlsx is here and is read now.","data":null}\n\n'
    'event: done\ndata: {"job_id":"0d3c6c7e-5b1c-4c39-9d3e-0a8b8f6f2d11","state":"SUCCEEDED"}\n\n'
)
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=40, description="The `id` of the last event that was received; the stream goes on behind it."),
]
AfterSeq = Annotated[int, Query(ge=0, le=2**53, description="Only events with a higher number.")]


@router.get(
    "/api/runs/{run_id}/events",
    openapi_extra=needs(Right.RUNS_READ),
    responses={**answers(404), 200: _RUN_STREAM},
    response_model=RunEvents,
)
async def run_events(  # noqa: PLR0913 - what decides the form of the answer
    request: Request,
    shared: Shared,
    who: Who,
    welcome: StillWelcome,
    run_id: RunId,
    *,
    after: AfterSeq = 0,
    last_event_id: LastEventId = None,
) -> Any:
    """List the trail of a run, oldest first – or, asked for `text/event-stream`, follow it until the run has ended."""
    if _wants_stream(request):
        return await shared.hub.stream(("run", run_id), last_event_id, who, welcome)
    return await run_in_threadpool(_run_events, shared.services, who, run_id, after)


@router.get(
    "/api/runs/{run_id}/events/stream",
    openapi_extra=needs(Right.RUNS_READ),
    responses={**answers(404), 200: _RUN_STREAM},
    response_class=Response,
)
async def follow_run(shared: Shared, who: Who, welcome: StillWelcome, run_id: RunId, last_event_id: LastEventId = None) -> Response:
    """Follow the trail of a run until it has ended."""
    return await shared.hub.stream(("run", run_id), last_event_id, who, welcome)


@router.get(
    "/api/jobs/{job_id}/events",
    openapi_extra=needs(Right.JOBS_READ),
    responses={**answers(404), 200: _JOB_STREAM},
    response_model=JobEvents,
)
async def job_events(  # noqa: PLR0913 - the same
    request: Request,
    shared: Shared,
    who: Who,
    welcome: StillWelcome,
    job_id: JobId,
    *,
    after: AfterSeq = 0,
    last_event_id: LastEventId = None,
) -> Any:
    """List what happened to a job, at most 500 at once – or, asked for `text/event-stream`, follow it until the job has ended."""
    if _wants_stream(request):
        return await shared.hub.stream(("job", job_id), last_event_id, who, welcome)
    return await run_in_threadpool(_job_events, shared.services, who, job_id, after)


@router.get(
    "/api/jobs/{job_id}/events/stream",
    openapi_extra=needs(Right.JOBS_READ),
    responses={**answers(404), 200: _JOB_STREAM},
    response_class=Response,
)
async def follow_job(shared: Shared, who: Who, welcome: StillWelcome, job_id: JobId, last_event_id: LastEventId = None) -> Response:
    """Follow a job until it has ended."""
    return await shared.hub.stream(("job", job_id), last_event_id, who, welcome)


def _run_events(services: With, who: Principal, run_id: UUID, after: int) -> RunEvents:
    runs.get_run(services, who, run_id)
    trail = feed.numbered_trail(services.database, services.own, run_id)
    return RunEvents(
        events=[
            RunEventShape(seq=item.seq, event_time=item.event.event_time, event_type=item.event.event_type, message=item.event.message)
            for item in trail
            if item.seq > after
        ]
    )


def _job_events(services: With, who: Principal, job_id: UUID, after: int) -> JobEvents:
    found = jobs.list_events(services, who, job_id, after_seq=after, limit=EVENTS_AT_ONCE)
    return JobEvents(events=[JobEventShape.model_validate(event) for event in found])


def _wants_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "").lower()
