"""Documents in Azure Cosmos DB (NoSQL): one container, in which each of our containers is a partition, so that every question stays within one.

Its client library waits where Cosmos throttles (429), for as long as `x-ms-retry-after-ms` says. The library is loaded at the first use.
Source: learn.microsoft.com/rest/api/cosmos-db/common-cosmosdb-rest-request-headers and …/http-status-codes-for-cosmosdb.
"""

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from treadle.errors import (
    InvalidInput,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    TreadleError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from treadle.stores.document_store import (
    Document,
    DocumentPage,
    changed_meanwhile,
    checked_body,
    checked_container,
    checked_key,
    checked_limit,
    checked_where,
    exists_already,
    no_document,
    search_roots,
    searched,
)

CONTAINER: Final = "documents"
DEADLINE_SECONDS: Final = 30
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 20
_THROTTLED_TIMES: Final = 50  # the deadline ends the waiting, not the count
_RANKED: Final = 500  # matches that are compared with each other; Cosmos itself does not rank
_HEADING_WEIGHT: Final = 10
_OWNER_MISSING: Final = 1003  # sub-status of a 404: not the item is missing, but its container
_MEMBERS: Final = "c.id, c.container, c.body, c._etag, c._ts"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CosmosPlace:
    """Where the documents are, and how to get there. key: of the account, never shown. ca_file: whom to trust; None: whom the system trusts.

    endpoint_discovery: whether the account tells which regions to ask. Off for an emulator that knows only itself.
    """

    url: str
    key: str
    database: str
    ca_file: Path | None = None
    endpoint_discovery: bool = True
    deadline_seconds: float = DEADLINE_SECONDS

    def __repr__(self) -> str:
        return f"CosmosPlace({self.url!r}, database={self.database!r})"


class CosmosDocuments:
    """The documents in a Cosmos account. Nothing is contacted before the first use; safe to share between threads. A DocumentStore.

    The database and the container are made if they are not there.
    """

    def __init__(self, place: CosmosPlace) -> None:
        """Raises InvalidInput for an address that is not https."""
        if urlsplit(place.url).scheme != "https":
            raise InvalidInput(f"COSMOS_URL must begin with https://, not {place.url[:80]!a}.", hint="Copy the URI of the account.")
        self._place = place
        self._opening = threading.Lock()
        self._client: Any = None
        self._items: Any = None

    def get(self, container: str, id: str) -> Document:  # noqa: A002, D102 - as the protocol says
        found = self.find(container, id)
        if found is None:
            raise no_document(container, id)
        return found

    def find(self, container: str, id: str) -> Document | None:  # noqa: A002, D102 - as the protocol says
        container, id = checked_key(container, id)  # noqa: A001
        items = self._container()
        try:
            return _document(_asked(lambda: items.read_item(item=id, partition_key=container)))
        except _Missing:
            return None
        except Unavailable as error:
            # vercel/cosmosdb-server answers 500 where nothing is. A query tells the two apart, and does no harm where something is wrong.
            if error.details.get("status") == 500 and not self._is_listed(container, id):
                return None
            raise

    def list(  # noqa: D102 - as the protocol says
        self, container: str, *, where: Mapping[str, str] | None = None, limit: int = 100, after: str | None = None
    ) -> DocumentPage:
        most = checked_limit(limit)
        conditions, values = _conditions(container, where)
        if after is not None:
            conditions.append("c.id > @after")
            values["after"] = after
        found = self._query(conditions, values, most + 1)
        documents = tuple(map(_document, found[:most]))
        return DocumentPage(documents, documents[-1].id if len(found) > most else None)

    def put(  # noqa: D102 - as the protocol says
        self,
        container: str,
        id: str,  # noqa: A002
        body: Mapping[str, Any],
        *,
        if_match: str | None = None,
        create_only: bool = False,
    ) -> Document:
        container, id = checked_key(container, id)  # noqa: A001
        _, kept = checked_body(body)
        words = searched(kept)
        item = {"id": id, "container": container, "body": kept, "heading": f" {words.heading}", "text": f" {words.text}"}
        items = self._container()
        try:
            if create_only:
                return _document(_asked(lambda: items.create_item(body=item), writes=True))
            if if_match is None:
                return _document(_asked(lambda: items.upsert_item(body=item), writes=True))
            return _document(_asked(lambda: items.replace_item(item=id, body=item, **_unless_changed(if_match)), writes=True))
        except _Taken as taken:
            raise exists_already(container, id) from taken.__cause__
        except (_Changed, _Missing) as changed:
            raise changed_meanwhile(container, id) from changed.__cause__

    def delete(self, container: str, id: str, *, if_match: str | None = None) -> None:  # noqa: A002, D102 - as the protocol says
        container, id = checked_key(container, id)  # noqa: A001
        items, condition = self._container(), _unless_changed(if_match) if if_match is not None else {}
        try:
            _asked(lambda: items.delete_item(item=id, partition_key=container, **condition), writes=True)
        except _Missing as missing:
            raise no_document(container, id) from missing.__cause__
        except _Changed as changed:
            raise changed_meanwhile(container, id) from changed.__cause__

    def search(  # noqa: D102 - as the protocol says
        self, container: str, text: str, *, where: Mapping[str, str] | None = None, limit: int = 50
    ) -> tuple[Document, ...]:
        roots, most = search_roots(text), checked_limit(limit)
        conditions, values = _conditions(container, where)
        for place, root in enumerate(roots):
            conditions.append(f"CONTAINS(c.text, @root{place})")
            values[f"root{place}"] = f" {root}"  # each word has a blank before it, so this is the beginning of one
        found = self._query(conditions, values, _RANKED, f"{_MEMBERS}, c.heading, c.text")
        ranked = sorted(found, key=lambda item: (-_rank(item, roots), item["id"]))
        return tuple(map(_document, ranked[:most]))

    def close(self) -> None:
        """Close all connections."""
        with self._opening:
            client, self._client, self._items = self._client, None, None
        if client is not None:
            client.close()

    def _container(self) -> Any:
        if self._items is None:
            with self._opening:
                if self._items is None:
                    self._client, self._items = _opened_once(self._place)
        return self._items

    def _is_listed(self, container: str, id: str) -> bool:  # noqa: A002
        return bool(self._query(["c.container = @container", "c.id = @id"], {"container": container, "id": id}, 1))

    def _query(
        self, conditions: Iterable[str], values: Mapping[str, Any], most: int, members: str = _MEMBERS
    ) -> tuple[Mapping[str, Any], ...]:
        """Items of one container in the order of their ids. Values are parameters; what is text here was written here, or checked."""
        sql = f"SELECT {members} FROM c WHERE {' AND '.join(conditions)} ORDER BY c.id"  # noqa: S608
        parameters = [{"name": f"@{name}", "value": value} for name, value in values.items()]
        items = self._container()

        def ask() -> tuple[Mapping[str, Any], ...]:
            answer = items.query_items(query=sql, parameters=parameters, partition_key=values["container"], max_item_count=min(most, 1000))
            return tuple(islice(answer, most))

        return _asked(ask)


class _Missing(UnexpectedAnswer):
    """404: there is no such item."""


class _Taken(UnexpectedAnswer):
    """409: an item of this id is there."""


class _Changed(UnexpectedAnswer):
    """412: the item has another etag."""


_CONDITIONS: Final = {404: _Missing, 409: _Taken, 412: _Changed}


def _opened_once(place: CosmosPlace) -> tuple[Any, Any]:
    try:
        return _asked(lambda: _opened(place))
    except _Taken:  # another process made database or container at the same moment
        return _asked(lambda: _opened(place))


def _opened(place: CosmosPlace) -> tuple[Any, Any]:
    """The client and the container of items."""
    try:
        from azure.cosmos import CosmosClient, PartitionKey, SSLConfiguration  # noqa: PLC0415 - only where Cosmos is used
    except ImportError as error:
        raise InvalidInput(
            "Documents are to be in Cosmos DB, and its client is not installed.", hint="pip install treadle[cosmos]"
        ) from error

    client = CosmosClient(
        place.url,
        place.key,
        enable_endpoint_discovery=place.endpoint_discovery,
        ssl_config=SSLConfiguration(),  # without it the library trusts anybody at localhost
        connection_verify=str(place.ca_file) if place.ca_file else True,
        connection_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retry_throttle_total=_THROTTLED_TIMES,
        retry_throttle_backoff_max=place.deadline_seconds,
    )
    database = client.create_database_if_not_exists(place.database)
    unindexed = {"includedPaths": [{"path": "/*"}], "excludedPaths": [{"path": "/text/?"}, {"path": "/heading/?"}, {"path": '/"_etag"/?'}]}
    items = database.create_container_if_not_exists(CONTAINER, partition_key=PartitionKey(path="/container"), indexing_policy=unindexed)
    return client, items


def _conditions(container: str, where: Mapping[str, str] | None) -> tuple[list[str], dict[str, Any]]:
    """What every question asks, and its values. The names of members are checked; Cosmos has no parameters for names."""
    conditions, values = ["c.container = @container"], {"container": checked_container(container)}
    for place, (name, wanted) in enumerate(checked_where(where).items()):
        conditions.append(f'c.body["{name}"] = @where{place}')
        values[f"where{place}"] = wanted
    return conditions, values


def _unless_changed(etag: str) -> dict[str, Any]:
    from azure.core import MatchConditions  # noqa: PLC0415 - only where Cosmos is used

    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _document(item: Mapping[str, Any]) -> Document:
    try:
        return Document(item["container"], item["id"], item["body"], item["_etag"], datetime.fromtimestamp(item["_ts"], UTC))
    except (KeyError, TypeError) as error:
        raise UnexpectedAnswer(f"Cosmos DB sent an item that is no document: {error}.", details={"id": item.get("id")}) from error


def _rank(item: Mapping[str, Any], roots: Iterable[str]) -> float:
    """How well an item answers: how often the words occur, those of its heading counted more, long texts less."""
    hits = sum(item["text"].count(f" {root}") + _HEADING_WEIGHT * item["heading"].count(f" {root}") for root in roots)
    return hits / (1 + math.log(1 + len(item["text"])))


def _asked(ask: "Callable[[], _T]", *, writes: bool = False) -> "_T":
    """What Cosmos answers, or its refusal by what the caller can do about it."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415 - only where Cosmos is used

    try:
        return ask()
    except AzureError as error:
        raise _translated(error, writes=writes) from error


def _translated(error: Exception, *, writes: bool) -> TreadleError:
    from azure.core.exceptions import ServiceRequestError  # noqa: PLC0415 - only where Cosmos is used

    status = cast("int | None", getattr(error, "status_code", None))
    if status is not None:
        return _refused(error, status, writes=writes)
    if writes and not isinstance(error, ServiceRequestError):
        return OutcomeUnknown(
            "The answer of Cosmos DB to a change was lost: it may or may not be there.", hint="Look before you repeat it."
        )
    return Unavailable(f"Cosmos DB does not answer: {_in_one_line(error)}.", hint="Check COSMOS_URL, and that the account can be reached.")


def _refused(error: Exception, status: int, *, writes: bool) -> TreadleError:
    text, details = _in_one_line(error), {"status": status}
    match status:
        case 401:
            told = Unauthenticated("Cosmos DB does not accept the key.", hint="Check COSMOS_KEY.", details=details)
        case 403:
            hint = "Check the account's firewall, and that the key may write."
            told = PermissionDenied(f"Cosmos DB refuses: {text}.", hint=hint, details=details)
        case 400 | 413:
            told = InvalidInput(f"Cosmos DB refuses a document or a question: {text}.", details=details)
        case 404 if getattr(error, "sub_status", None) == _OWNER_MISSING:
            told = Unavailable("The container of documents in Cosmos DB is gone.", hint="Start again: it is made anew.", details=details)
        case 404 | 409 | 412:
            told = _CONDITIONS[status](f"Cosmos DB answered {status}: {text}.", details=details)
        case 429:
            wait_ms = float(getattr(error, "headers", {}).get("x-ms-retry-after-ms", 0))
            told = Throttled("Cosmos DB allows no more requests for now.", retry_after_seconds=wait_ms / 1000, hint="Raise its throughput.")
        case 408 | 500 if writes:
            hint = "Look before you repeat it."
            told = OutcomeUnknown(f"Cosmos DB failed at a change, which may be there: {text}.", hint=hint, details=details)
        case _ if status >= 500 or status in {408, 410, 449}:
            told = Unavailable(f"Cosmos DB cannot do this now: {text}.", hint="Try again later.", details=details)
        case _:
            told = UnexpectedAnswer(f"Cosmos DB answered {status}: {text}.", details=details)
    return told


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
