"""Documents: those of the containers that callers may use, and the runbooks, tickets and prompts of a scenario."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from treadle.actions import scenarios
from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.control.access import Principal, Right, require
from treadle.control.stored import storable
from treadle.errors import Conflict, InvalidInput, NotFound
from treadle.flows.scenario.upload_job import UploadJob
from treadle.logs import redact
from treadle.stores import containers
from treadle.stores.document_store import Document, DocumentPage

if TYPE_CHECKING:  # what only some callers need is loaded by those
    from treadle.flows.scenario.slots import Slot

_PLACE_CHARS: Final = 200  # of where in a document something is
_LIKE_A_SECRET: Final = "what looks like a password, a token or a key"  # noqa: S105 - words about one


def list_container(  # noqa: PLR0913 - which, and which of them
    services: Services,
    who: Principal,
    container: str,
    *,
    where: Mapping[str, str] | None = None,
    limit: int = 100,
    after: str | None = None,
) -> DocumentPage:
    """One page of a container; right `scenarios:read`. The upload jobs come newest first, all others by id.

    where: members at the top of a document → the text they must have; not for upload jobs. Raises NotFound for a container that callers may not read.
    """
    require(who, Right.SCENARIOS_READ)
    containers.open_container(container)
    if container == containers.UPLOAD_JOBS:
        _require_no_filter(where)
        page = scenarios.upload_jobs(services, who, limit=limit, after=after)
        return DocumentPage(tuple(_as_document(job) for job in page.jobs), page.next)
    return services.scenarios().documents.list(container, where=where, limit=limit, after=after)


def get(services: Services, who: Principal, container: str, document_id: str) -> Document:
    """One document; right `scenarios:read`. Raises NotFound."""
    require(who, Right.SCENARIOS_READ)
    containers.open_container(container)
    if container == containers.UPLOAD_JOBS:
        return _as_document(scenarios.get_upload_job(services, who, _job_id(document_id)))
    return services.scenarios().documents.get(container, document_id)


def put(  # noqa: PLR0913 - which, what, over what
    services: Services,
    who: Principal,
    container: str,
    document_id: str,
    body: Mapping[str, Any],
    *,
    if_match: str | None = None,
    create_only: bool = False,
) -> Document:
    """Write one document; right `documents:write`.

    Raises:
        NotFound: there is no such container for callers.
        Conflict: they may not write it, `if_match` is not the document's etag any more, or it is there and `create_only`.
        InvalidInput: the id cannot be used, the document is too large, has a value that cannot be kept as it is or looks like a secret, or
            belongs to the scenarios and is none.
    """
    target = f"document:{container}/{document_id}"
    with change(services, who, Right.DOCUMENTS_WRITE, "document.put", target, if_match=if_match, create_only=create_only) as entry:
        _require_writable(container)
        _require_kept_as_sent(document_id, body)
        if container == containers.SCENARIOS:
            _require_scenario(document_id, body)
        stored = services.scenarios().documents.put(container, document_id, body, if_match=if_match, create_only=create_only)
        entry.note(etag=stored.etag)
        return stored


def delete(services: Services, who: Principal, container: str, document_id: str, *, if_match: str | None = None) -> None:
    """Delete one document; right `documents:write`. Raises NotFound, Conflict as `put`."""
    with change(services, who, Right.DOCUMENTS_WRITE, "document.delete", f"document:{container}/{document_id}", if_match=if_match):
        _require_writable(container)
        services.scenarios().documents.delete(container, document_id, if_match=if_match)


def list_documents(services: Services, who: Principal, scenario: str, slot: "Slot | None" = None) -> Sequence[Document]:
    """What a scenario has in a slot, or in all of them; right `scenarios:read`."""
    from treadle.flows.scenario.slots import list_documents  # noqa: PLC0415 - see above

    require(who, Right.SCENARIOS_READ)
    return list_documents(services.scenarios().documents, scenario, slot)


def search(services: Services, who: Principal, scenario: str, text: str) -> Sequence[Document]:
    """Those whose text has these words, best first; right `scenarios:read`."""
    from treadle.flows.scenario.slots import search_documents  # noqa: PLC0415 - see above

    require(who, Right.SCENARIOS_READ)
    return search_documents(services.scenarios().documents, scenario, text)


def read(services: Services, who: Principal, scenario: str, document_id: str) -> str:
    """The text of one of them, as it is in the lakehouse; right `scenarios:read`. Raises NotFound."""
    from treadle.flows.scenario.slots import read_document  # noqa: PLC0415 - see above

    require(who, Right.SCENARIOS_READ)
    opened = services.scenarios()
    return read_document(opened.lake, opened.documents, scenario, document_id)


def _require_writable(container: str) -> None:
    if not containers.open_container(container).writable:
        writable = ", ".join(each.name for each in containers.CONTAINERS.values() if each.readable and each.writable)
        raise Conflict(
            f"The documents in {container} are written by Treadle alone.",
            hint=f"Callers may write: {writable}.",
            details={"container": container},
        )


def _require_scenario(document_id: str, body: Mapping[str, Any]) -> None:
    from treadle.flows.scenario.records import check_scenario_document  # noqa: PLC0415 - see above

    check_scenario_document(document_id, body)


def _require_kept_as_sent(document_id: str, body: Mapping[str, Any]) -> None:
    """Values that a store would have to change: numbers that JSON does not have, characters that PostgreSQL refuses, and secrets."""
    waiting: list[tuple[str, Any]] = [("id", document_id), ("", body)]  # no recursion: how deep it may be is for the store to say
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise _cannot_be_kept(place, "a number that JSON does not have, or that is too large")
        if isinstance(value, str):
            _require_text(place, "a text with", value)
        elif isinstance(value, Mapping):
            members = cast("Mapping[str, Any]", value)
            for name in members:
                _require_text(place, "a member whose name has", name)
            waiting += [(f"{place[:_PLACE_CHARS]}.{name}", item) for name, item in members.items()]
        elif isinstance(value, list):
            waiting += [(f"{place[:_PLACE_CHARS]}[{at}]", item) for at, item in enumerate(cast("list[Any]", value))]


def _require_text(place: str, what: str, text: str) -> None:
    if storable(text) != text:
        raise _cannot_be_kept(place, f"{what} NUL or half a character")
    if redact(text) != text:
        raise _cannot_be_kept(place, f"{what} {_LIKE_A_SECRET}", hint="Leave it out; Treadle stores no secret.")


def _cannot_be_kept(place: str, what: str, *, hint: str = "Send null, or what is meant.") -> InvalidInput:
    field = place.removeprefix(".")[:_PLACE_CHARS] or "the document"
    return InvalidInput(f"{field!a} cannot be kept as it is: {what}.", hint=hint, details={"field": field})


def _require_no_filter(where: Mapping[str, str] | None) -> None:
    if where:
        raise InvalidInput("Upload jobs are not filtered by their members.", hint="List them with GET /api/upload-jobs?workspace_id=…")


def _job_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no upload job {text!a}.", hint="List them with: GET /api/upload-jobs") from error


def _as_document(job: UploadJob) -> Document:
    return Document(containers.UPLOAD_JOBS, str(job.job_id), job.as_document(), job.version, job.updated_at)
