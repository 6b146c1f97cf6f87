"""The query service of an eventhouse: management commands and KQL queries on one database.

Source: https://learn.microsoft.com/kusto/api/rest/ (request, response v1 of commands and v2 of queries, errors).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from treadle.clients.answers import Answer, readable, unexpected
from treadle.clients.retry import BACKOFF_SECONDS, Safety
from treadle.clients.transport import TokenSource, Transport, https_origin
from treadle.errors import InvalidInput, OperationFailed

KUSTO_HOSTS: Final = ("*.kusto.fabric.microsoft.com",)
DEADLINE_SECONDS: Final = 300.0  # a query may take four minutes, an ingestion that is waited for as long
_WORDS_OF_A_COMMAND: Final = 4


class KustoClient:
    """One database of one eventhouse. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 - where, as whom, how patiently: each named
        self,
        query_uri: str,
        database: str,
        credential: TokenSource,
        ca_file: Path | None = None,
        *,
        hosts: Collection[str] = KUSTO_HOSTS,
        deadline_seconds: float = DEADLINE_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> None:
        """Nothing is contacted yet.

        query_uri: the property queryServiceUri of the KQL database. hosts: those that may get a token; `*.example.com` is any below it, and
        a port other than 443 must be named. The address comes from Fabric's answer, and a token must not travel wherever an answer points.

        Raises:
            InvalidInput: the address is none of these hosts.
        """
        place = _place(query_uri, hosts)
        self.database = database
        self._prefix = place.prefix
        self._deadline_seconds = deadline_seconds
        self._transport = Transport(
            place.origin,
            service="Kusto",
            credential=credential,
            scope=f"{place.origin}/.default",
            ca_file=ca_file,
            deadline_seconds=deadline_seconds,
            attempt_seconds=deadline_seconds,
            backoff_seconds=backoff_seconds,
        )

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def mgmt(self, csl: str, *, safety: Safety = "safe", deadline_seconds: float | None = None) -> list[dict[str, Any]]:
        """Carry out a management command and return the rows of its answer. safety: "unsafe" for one that must not be repeated.

        Raises:
            InvalidInput, NotFound, PermissionDenied …: the service refuses it, in its words.
            OperationFailed: it was begun and broke off.
            OutcomeUnknown: of an unsafe one alone.
        """
        answer = self._post("/v1/rest/mgmt", csl, f"carry out {_named(csl)}", safety, deadline_seconds)
        tables = answer.json_object().get("Tables")
        first = cast("list[Any]", tables)[0] if isinstance(tables, list) and tables else None
        if not isinstance(first, dict):
            raise unexpected(answer.exchange, "the answer has no table", field="Tables")
        return _rows(answer, cast("Mapping[str, Any]", first))

    def query(self, kql: str, *, deadline_seconds: float | None = None) -> list[dict[str, Any]]:
        """Ask the database and return the rows of the first result. Reads only, so it is safe to repeat.

        Raises:
            InvalidInput: the service refuses the query, in its words.
            OperationFailed: it was begun and broke off, for example because the answer is too large.
        """
        answer = self._post("/v2/rest/query", kql, "query", "safe", deadline_seconds)
        found = answer.json()
        if not isinstance(found, list):
            raise unexpected(answer.exchange, "the answer is no list of frames")
        frames = [cast("Mapping[str, Any]", frame) for frame in cast("list[Any]", found) if isinstance(frame, dict)]
        for frame in frames:
            if frame.get("FrameType") == "DataSetCompletion" and frame.get("HasErrors"):
                raise _broken_off(answer, frame)
        results = [frame for frame in frames if frame.get("FrameType") == "DataTable" and frame.get("TableKind") == "PrimaryResult"]
        if not results:
            raise unexpected(answer.exchange, "the answer has no result", field="PrimaryResult")
        return _rows(answer, results[0])

    def _post(self, path: str, csl: str, what: str, safety: Safety, deadline_seconds: float | None) -> Answer:
        return self._transport.request(
            "POST",
            self._prefix + path,
            what=f"{what} in database {self.database}",
            json={"db": self.database, "csl": csl},
            safety=safety,
            deadline_seconds=deadline_seconds,
            attempt_seconds=deadline_seconds,
        )


def quoted_name(name: str) -> str:
    """A table, column or mapping as KQL names it whatever it is called: `['site id']`. Pure.

    Source: https://learn.microsoft.com/kusto/query/schema-entities/entity-names (identifier quoting).
    """
    return f"[{quoted_text(name)}]"


def quoted_text(text: str) -> str:
    """A string literal of KQL: backslashes, quotes and line ends escaped. Pure. Source: …/query/scalar-data-types/string."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f"'{escaped}'"


def is_kusto_host(netloc: str, hosts: Collection[str]) -> bool:
    """Whether a host, with its port unless that is 443, is one of these. Pure. `*.a.b` is any host below a.b, never a.b itself."""
    name = netloc.lower().removesuffix(":443")
    return any(
        (name.endswith(allowed[1:]) and len(name) > len(allowed) - 1) if allowed.startswith("*.") else name == allowed
        for allowed in (host.lower() for host in hosts)
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a query service is."""

    origin: str
    prefix: str  # before /v1/rest; empty in production


def _place(query_uri: str, hosts: Collection[str]) -> _Place:
    parts = urlsplit(query_uri.rstrip("/"))
    origin = https_origin(f"{parts.scheme}://{parts.netloc}")
    segments = parts.path.split("/")[1:]
    plain = all(segment and segment not in {".", ".."} and segment.replace("-", "").isalnum() for segment in segments)
    if parts.query or parts.fragment or not plain or not is_kusto_host(parts.netloc, hosts):
        raise InvalidInput(
            f"{parts.netloc} is not a host that Treadle takes for the query service of an eventhouse, so it gets no token.",
            hint="If it is one, name it in KUSTO_HOSTS.",
            details={"host": parts.netloc, "allowed": sorted(hosts)},
        )
    return _Place(origin, parts.path)


def _named(csl: str) -> str:
    """The first words of a command: its verb and object, and none of its data."""
    return " ".join(csl.split(None, _WORDS_OF_A_COMMAND)[:_WORDS_OF_A_COMMAND])[:80]


def _rows(answer: Answer, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    columns, rows = table.get("Columns"), table.get("Rows")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise unexpected(answer.exchange, "a table of the answer has no columns or rows", field="Columns")
    names = [str(cast("Mapping[str, Any]", column).get("ColumnName")) for column in cast("list[Any]", columns) if isinstance(column, dict)]
    found: list[dict[str, Any]] = []
    for row in cast("list[Any]", rows):
        if isinstance(row, dict):  # an error in the middle of the rows: the answer's status was long sent
            raise _broken_off(answer, cast("Mapping[str, Any]", row))
        if not isinstance(row, list) or len(cast("list[Any]", row)) != len(names):
            raise unexpected(answer.exchange, "a row of the answer has not as many values as there are columns", field="Rows")
        found.append(dict(zip(names, cast("list[Any]", row), strict=True)))
    return found


def _broken_off(answer: Answer, told: Mapping[str, Any]) -> OperationFailed:
    reason = _reason(told) or "it gives no reason"
    return OperationFailed(
        f"Kusto could not {answer.exchange.what} to the end: {reason}.",
        hint="Correct what the message names, or ask for less.",
        details={"service": "Kusto", "operation": answer.exchange.what, "reason": reason},
    )


def _reason(told: Mapping[str, Any]) -> str | None:
    """Exceptions: texts (v1). OneApiErrors: objects with error.@message (v2, and v1 since)."""
    for name in ("OneApiErrors", "Exceptions"):
        errors = told.get(name)
        for error in cast("list[Any]", errors) if isinstance(errors, list) else []:
            if isinstance(error, str):
                return readable(error)
            inner = cast("Mapping[str, Any]", error).get("error") if isinstance(error, dict) else None
            if isinstance(inner, dict):
                told_by = cast("Mapping[str, Any]", inner)
                return readable(told_by.get("@message") or told_by.get("message"))
    return None
