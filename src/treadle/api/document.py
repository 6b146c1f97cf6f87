"""The OpenAPI document: FastAPI's, with the problem's shape, the way to sign in, and words where FastAPI has none of its own."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from treadle.api.field_words import FIELD_WORDS
from treadle.api.problems import Problem

DESCRIPTION: Final = """Runs, files, results, scenarios, jobs, the lock, tokens and the audit of Treadle, over HTTP.

Send `Authorization: Bearer …` with an API token (`treadle token create`) or a token of your organisation's sign-in service. Each route names its
right as `x-right` – where there are two, what is asked for says which –, and what changes something names its entry in the audit as `x-audit`.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. A method that an address does not take is answered by 405 with `Allow`, a
query parameter that a route does not know by 422, and both are true of all routes. POSTs that start something take an `Idempotency-Key`.

What belongs to whoever runs the server is no part of it: `treadle deploy`, `treadle migrate`, `treadle doctor`, `treadle worker`.
"""
TAGS: Final = (
    {"name": "runs", "description": "Start, follow, cancel, compare and restore runs."},
    {"name": "events", "description": "What happened to runs and jobs, as a list or as server-sent events."},
    {"name": "artifacts", "description": "The files that a run has left, whole or in ranges."},
    {"name": "kpis", "description": "The figures of the latest run, and over time."},
    {"name": "files", "description": "The workbooks in Files/import/: what is in them, and how their columns are read."},
    {"name": "uploads", "description": "Bring a workbook, or an archive of a scenario, in pieces, and go on where it broke off."},
    {"name": "lock", "description": "The lock that lets one run at a time through."},
    {"name": "jobs", "description": "Background jobs: look, cancel, try again."},
    {"name": "scenarios", "description": "Bring archives, and have lakehouse tables, an ontology and a graph made of them."},
    {"name": "connections", "description": "The workspaces of Fabric that scenarios can be built in."},
    {"name": "documents", "description": "What is kept of scenarios, as documents with etags."},
    {"name": "graph", "description": "Ask a scenario's graph."},
    {"name": "tokens", "description": "API tokens: list, make, revoke."},
    {"name": "audit", "description": "Who asked for which change, what came of it, and whether anybody has altered that."},
    {"name": "service", "description": "Where to begin, health, numbers, and who the caller is."},
)
_UNTOLD: Final = "Successful Response"


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document; made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=[dict(tag) for tag in TAGS],
            servers=[{"url": "/", "description": "This service"}],
        )
        _complete(document.setdefault("components", {}))
        _tell_what_comes(document)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(components: dict[str, Any]) -> None:
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for schema in schemas.values():
        for name, shown in schema.get("properties", {}).items():
            if "$ref" not in shown and name in FIELD_WORDS:
                shown.setdefault("description", FIELD_WORDS[name])
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "description": "An API token, or a JWT."}}


def _tell_what_comes(document: Mapping[str, Any]) -> None:
    """What a route answers when all is well is said by the shape of it."""
    schemas = document["components"]["schemas"]
    for item in document["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                if answer.get("description") == _UNTOLD:
                    answer["description"] = _description(answer, schemas)


def _description(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    shown = answer.get("content", {}).get("application/json", {}).get("schema", {})
    name = str(shown.get("$ref", "")).rpartition("/")[2]
    return str(schemas.get(name, {}).get("description", "Done; the headers say how far it is" if "headers" in answer else "Done"))
