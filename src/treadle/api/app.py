"""The application: the layers around it, the routes in it, and its OpenAPI."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from anyio import to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from treadle.actions.services import Services
from treadle.api import (
    artifacts,
    audit,
    document,
    documents,
    events,
    fabric_connections,
    files,
    graph_queries,
    health,
    jobs,
    kpis,
    lock,
    problems,
    provisioning,
    runs,
    tokens,
    upload_jobs,
    uploads,
)
from treadle.api.answers import Json
from treadle.api.config import ApiSettings
from treadle.api.correlation import HEADER, Correlated
from treadle.api.guard import App, shared_of
from treadle.api.limits import Bounded, HostAllowList
from treadle.api.once import REPLAYED

_MODULES: Final = (
    *(runs, events, artifacts, kpis, files, uploads, lock, jobs),
    *(upload_jobs, provisioning, fabric_connections, documents, graph_queries),
    *(tokens, audit, health),
)
_THREADS: Final = 160  # most of them wait: a lake that is away holds a thread for half a minute, and 40 of those would hold up everybody
_EXPOSED: Final = (HEADER, REPLAYED, "Location", "Retry-After", "ETag", "Content-Range", "Upload-Offset", "Upload-Length", "Upload-Expires")


def create_app(services: Services, settings: ApiSettings | None = None) -> FastAPI:
    """Build the API. Nothing is contacted before the first request; `app.state.treadle` is what the routes share."""
    settings = settings or ApiSettings()
    shared = App(services, settings)
    app = FastAPI(
        title="Treadle",
        version=services.version,
        description=document.DESCRIPTION,
        lifespan=_lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.treadle = shared
    for module in _MODULES:
        app.include_router(module.router)
    problems.add_handlers(app)
    _add_layers(app, shared, settings)
    app.openapi = lambda: document.openapi(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    shared = shared_of(app)
    to_thread.current_default_thread_limiter().total_tokens = _THREADS
    shared.hub.open()
    try:
        yield
    finally:
        shared.hub.end_streams()
        shared.hub.close()


def _add_layers(app: FastAPI, shared: App, settings: ApiSettings) -> None:
    """The last one added is the outermost."""
    app.add_middleware(Bounded, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "Last-Event-ID",
                "Range",
                "If-Range",
                "If-Match",
                "If-None-Match",
                "Upload-Offset",
                HEADER,
            ],
            expose_headers=list(_EXPOSED),
            max_age=600,
        )
    app.add_middleware(HostAllowList, allowed=settings.allowed_hosts)
    app.add_middleware(Correlated, metrics=shared.metrics)


def routes_of(app: FastAPI) -> list[APIRoute]:
    """The routes behind the door."""
    return [route for route in app.routes if isinstance(route, APIRoute)]
