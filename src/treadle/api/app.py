"""The application: the layers around it, the routes in it, and its OpenAPI."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio import to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from treadle.actions.services import Services
from treadle.api import artifacts, audit, events, files, health, jobs, kpis, lock, problems, runs, tokens, uploads
from treadle.api.config import ApiSettings
from treadle.api.correlation import HEADER, Correlated
from treadle.api.guard import App, shared_of
from treadle.api.limits import Bounded, HostAllowList
from treadle.api.once import REPLAYED
from treadle.api.problems import Problem

_DESCRIPTION: Final = """Everything that Treadle does, over HTTP.

Send `Authorization: Bearer …` with an API token (`treadle token create`) or a token of your organisation's sign-in service. Each route names its
right as `x-right`. Errors are `application/problem+json` (RFC 9457) with a stable `code`. POSTs that start something take an `Idempotency-Key`.
"""
_MODULES: Final = (runs, events, artifacts, kpis, files, uploads, lock, jobs, tokens, audit, health)
_THREADS: Final = 160  # most of them wait: a lake that is away holds a thread for half a minute, and 40 of those would hold up everybody
_EXPOSED: Final = (HEADER, REPLAYED, "Location", "Retry-After", "ETag", "Content-Range", "Upload-Offset", "Upload-Length", "Upload-Expires")


def create_app(services: Services, settings: ApiSettings | None = None) -> FastAPI:
    """Build the API. Nothing is contacted before the first request; `app.state.treadle` is what the routes share."""
    settings = settings or ApiSettings()
    shared = App(services, settings)
    app = FastAPI(
        title="Treadle",
        version=services.version,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.treadle = shared
    for module in _MODULES:
        app.include_router(module.router)
    problems.add_handlers(app)
    _add_layers(app, shared, settings)
    app.openapi = lambda: _openapi(app)
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
                "Upload-Offset",
                HEADER,
            ],
            expose_headers=list(_EXPOSED),
            max_age=600,
        )
    app.add_middleware(HostAllowList, allowed=settings.allowed_hosts)
    app.add_middleware(Correlated, metrics=shared.metrics)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with the problem's shape and the way to sign in; made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "description": "An API token, or a JWT."}}
        app.openapi_schema = document
    return app.openapi_schema


def routes_of(app: FastAPI) -> list[APIRoute]:
    """The routes behind the door."""
    return [route for route in app.routes if isinstance(route, APIRoute)]
