"""Documents: the containers that callers may use, by id, with etags."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Path, Query
from starlette.responses import Response

from treadle.actions import documents
from treadle.api.answers import Json, utc_text
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.problems import HttpProblem
from treadle.api.runs import After
from treadle.api.shapes.scenarios import DocumentShape, DocumentsPage
from treadle.control.access import Right
from treadle.errors import Conflict, InvalidInput
from treadle.stores.document_store import Document

router = APIRouter(route_class=GuardedRoute, tags=["documents"])

_ETAG: Final = re.compile(r'"([\x21\x23-\x7e]{1,200})"')
_TOLD: Final = ("_etag", "_updated_at")  # members of an answer that no document stores
_EXAMPLE: Final = {
    "id": "telco-noc",
    "name": "telco-noc",
    "display_name": "Network operations",
    "description": "Fibre cuts, and what they interrupt.",
    "domain": "telecommunications",
    "use_cases": ["Find what a cut interrupts"],
    "example_questions": ["Which services run over LINK-SYD-MEL-FIBRE-01?"],
    "graph_styles": {"CoreRouter": {"color": "#1f77b4", "size": 20, "icon": "router"}},
    "graph_connector": "fabric-gql",
    "workspace_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "workspace_name": "operations",
    "tables": [{"name": "DimCoreRouter", "rows": 3, "kind": "lakehouse"}],
    "updated_at": "2026-11-21T10:00:00+00:00",
}
_HEADERS: Final = {"ETag": {"description": "Another one after every write.", "schema": {"type": "string"}}}

Container = Annotated[str, Path(max_length=100, description="Which documents, such as upload-jobs or scenarios.", examples=["upload-jobs"])]
DocumentId = Annotated[str, Path(max_length=255, description="The document.", examples=["0d3c6c7e-5b1c-4c39-9d3e-0a8b8f6f2d11"])]
Writable = Annotated[str, Path(max_length=100, description="Which documents: those that callers may write.", examples=["scenarios"])]
WrittenId = Annotated[str, Path(max_length=255, description="The document; of a scenario, its name.", examples=["telco-noc"])]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=300, description='The ETag that the document must have, or * for any: `"…"`.')
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", max_length=300, description="* when the document must not be there yet.", examples=["*"])
]


@router.get("/query/docs/{container}", openapi_extra=needs(Right.SCENARIOS_READ), responses=answers(404), response_model=DocumentsPage)
def list_documents(  # noqa: PLR0913 - each is a filter of its own
    services: With,
    who: Who,
    container: Container,
    *,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 100,
    after: After = None,
    scenario: Annotated[str | None, Query(min_length=1, max_length=200, description="Only documents of this scenario.")] = None,
) -> Response:
    """List documents: upload jobs newest first, all others by their ids."""
    where = {"scenario": scenario} if scenario else None
    found = documents.list_container(services, who, container, where=where, limit=limit, after=after)
    return Json({"items": [_told(document) for document in found.documents], "next": found.after})


@router.get(
    "/query/docs/{container}/{document_id}",
    openapi_extra=needs(Right.SCENARIOS_READ),
    responses={**answers(404), 200: {"headers": _HEADERS}},
    response_model=DocumentShape,
)
def show_document(services: With, who: Who, container: Container, document_id: DocumentId) -> Response:
    """Show one document."""
    return _answer(documents.get(services, who, container, document_id))


@router.put(
    "/query/docs/{container}/{document_id}",
    openapi_extra=needs(Right.DOCUMENTS_WRITE, "document.put", "document:{container}/{document_id}"),
    responses={**answers(404, 409, 412, 415), 200: {"headers": _HEADERS}},
    response_model=DocumentShape,
)
def put_document(  # noqa: PLR0913 - which, what, over what
    services: With,
    who: Who,
    container: Writable,
    document_id: WrittenId,
    body: Annotated[
        dict[str, Any], Body(description="The document: a JSON object. Of a scenario, all that a GET tells.", examples=[_EXAMPLE])
    ],
    *,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Write one document whole. With `If-Match` only over the version that was read; with `If-None-Match: *` only if there is none."""
    if body.get("id", document_id) != document_id:
        raise InvalidInput("The document has another id than the address.", hint="Leave `id` out, or make them equal.")
    create_only = _create_only(if_none_match)
    content = {name: value for name, value in body.items() if name not in _TOLD} | {"id": document_id}
    try:
        wanted = _wanted_etag(services, who, container, document_id, if_match)
        stored = documents.put(services, who, container, document_id, content, if_match=wanted, create_only=create_only)
    except Conflict as error:
        raise _precondition(error, conditional=create_only or if_match is not None) from error
    return _answer(stored)


@router.delete(
    "/query/docs/{container}/{document_id}",
    openapi_extra=needs(Right.DOCUMENTS_WRITE, "document.delete", "document:{container}/{document_id}"),
    responses=answers(404, 409, 412),
    response_class=Response,
    status_code=204,
)
def delete_document(services: With, who: Who, container: Container, document_id: DocumentId, if_match: IfMatch = None) -> Response:
    """Delete one document. With `If-Match` only the version that was read."""
    try:
        wanted = _wanted_etag(services, who, container, document_id, if_match)
        documents.delete(services, who, container, document_id, if_match=wanted)
    except Conflict as error:
        raise _precondition(error, conditional=if_match is not None) from error
    return Response(status_code=204)


def _wanted_etag(services: With, who: Who, container: str, document_id: str, if_match: str | None) -> str | None:
    """`*` is any version, but one there must be. Raises NotFound, InvalidInput."""
    if if_match is None:
        return None
    if if_match.strip() == "*":
        return documents.get(services, who, container, document_id).etag
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise InvalidInput("If-Match is not one strong ETag.", hint='Send the ETag that a GET has answered, with its quotes: "…".')
    return found[1]


def _create_only(if_none_match: str | None) -> bool:
    if if_none_match is not None and if_none_match.strip() != "*":
        raise InvalidInput("If-None-Match can be * alone.", hint="Send If-None-Match: * to create a document.")
    return if_none_match is not None


def _precondition(error: Conflict, *, conditional: bool) -> Exception:
    """A condition of the caller's that does not hold is told as such."""
    if conditional and "id" in error.details:
        return HttpProblem(412, error.message, code="precondition_failed", hint=error.hint, details=error.details)
    return error


def _told(document: Document) -> dict[str, Any]:
    return {**document.body, "id": document.id, "_etag": document.etag, "_updated_at": utc_text(document.updated_at)}


def _answer(document: Document) -> Response:
    return Json(_told(document), headers={"ETag": f'"{document.etag}"'})
