"""Salesforce: what an object looks like, what the org allows, rows by Collections, and many rows by Bulk API 2.0.

Sources: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/ (Bulk API 2.0 ingest)
and …/api_rest.meta/api_rest/ (describe, limits, query, sObject Collections).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from treadle.clients.answers import Answer, unexpected
from treadle.clients.salesforce_sign_in import SalesforceCredential
from treadle.clients.transport import Content, Transport
from treadle.errors import InvalidInput, PermissionDenied, Throttled, TreadleError, Unauthenticated, Unavailable

COLLECTION_ROWS: Final = 200  # the most rows of one Collections call
JobState = Literal["Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted"]
ENDED: Final = frozenset({"JobComplete", "Failed", "Aborted"})
ResultSet = Literal["successfulResults", "failedResults", "unprocessedrecords"]
_UPLOAD_SECONDS: Final = 600.0
_JSON: Final = msgspec.json.Encoder(decimal_format="number")  # an amount as text would be refused, and as a float it might change
_HINTS: Final[Mapping[type[TreadleError], str]] = {
    InvalidInput: "Compare the message with the object's fields in Salesforce: treadle weekly plan shows what is checked beforehand.",
    PermissionDenied: "Give the integration user the right to the object and all mapped fields, and API Enabled.",
    Throttled: "The org's daily allowance is used up, or too much was asked at once: wait, or raise the allowance.",
    Unauthenticated: "Check SALESFORCE_CLIENT_ID and its secret or key, and that the app may use this flow.",
    Unavailable: "Try again later: what was acknowledged so far is kept. https://status.salesforce.com tells of outages.",
}


@dataclass(frozen=True, slots=True)
class IngestJob:
    """A Bulk API 2.0 job. `processed` counts failed rows too."""

    job_id: str
    state: JobState
    object_name: str
    operation: str
    created_by: str | None
    created_at: datetime | None
    processed: int
    failed: int
    error: str | None

    @property
    def ended(self) -> bool:
        """Whether its results are final."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class RowError:
    """Why Salesforce refused a row."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one row of a Collections call; `created`: not there before."""

    salesforce_id: str | None
    created: bool
    error: RowError | None


class SalesforceClient:
    """One org. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 - what a test replaces is named
        self,
        url: str,
        *,
        credential: SalesforceCredential,
        api_version: str = "66.0",
        ca_file: Path | None = None,
        deadline_seconds: float = 60,
        backoff_seconds: float = 0.5,
    ) -> None:
        """Nothing is contacted yet. url: https address of the org (My Domain)."""
        self.credential = credential
        self._transport = Transport(
            url,
            service="Salesforce",
            credential=credential,
            ca_file=ca_file,
            deadline_seconds=deadline_seconds,
            backoff_seconds=backoff_seconds,
        )
        self.org = self._transport.base_url
        self._base = f"/services/data/v{api_version}"

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()
        self.credential.close()

    def user_id(self) -> str | None:
        """Who acts, as records and jobs name it. None: the org does not say."""
        return self.credential.get_token().user_id

    def describe(self, object_name: str) -> Mapping[str, Any]:
        """The object as Salesforce describes it: `fields` with name, type, length, precision, scale, createable, updateable and picklistValues, among others."""
        return self._call("GET", f"/sobjects/{_segment(object_name)}/describe", what=f"describe {object_name}").json_object()

    def limits(self) -> Mapping[str, Any]:
        """What is left of the org's allowances: `DailyApiRequests`, `DailyBulkApiBatches` and others, each with Max and Remaining."""
        return self._call("GET", "/limits", what="read the org's limits").json_object()

    def query(self, soql: str) -> Iterator[Mapping[str, Any]]:
        """Yield the records that a query finds, page after page."""
        answer = self._call("GET", "/query", what="query", params={"q": soql})
        seen: set[str] = set()
        while True:
            page = answer.json_object()
            records = page.get("records")
            if not isinstance(records, list):
                raise unexpected(answer.exchange, "the answer to a query has no records")
            yield from cast("list[Mapping[str, Any]]", records)
            following = page.get("nextRecordsUrl")
            if page.get("done") is not False or not isinstance(following, str):
                return
            if following in seen:
                raise unexpected(answer.exchange, "the pages of a query go round in a circle")
            seen.add(following)
            parts = urlsplit(following)  # of an address that a server gives, only its last part is used, on our own host
            answer = self._call(
                "GET", f"/query/{_segment(parts.path.rsplit('/', 1)[-1])}", what="query", params=dict(parse_qsl(parts.query))
            )

    def upsert_collection(self, object_name: str, external_id_field: str, records: Sequence[Mapping[str, Any]]) -> list[RowResult]:
        """Upsert up to COLLECTION_ROWS records by their external id, each by itself; the results are in their order. Decimals arrive digit by digit.

        Raises OutcomeUnknown when the answer was lost: look at the rows before sending them again.
        """
        body = {"allOrNone": False, "records": [{"attributes": {"type": object_name}, **record} for record in records]}
        answer = self._call(
            "PATCH",
            f"/composite/sobjects/{_segment(object_name)}/{_segment(external_id_field)}",
            what=f"upsert {len(records)} rows of {object_name}",
            content=Content(_JSON.encode(body), "application/json"),
            safety="unsafe",
        )
        results = answer.json()
        if not isinstance(results, list) or len(cast("list[Any]", results)) != len(records):
            raise unexpected(answer.exchange, f"{len(records)} results were expected")
        return [_row_result(answer, result) for result in cast("list[Any]", results)]

    def create_job(self, object_name: str, external_id_field: str) -> IngestJob:
        """Open an upsert job. Raises OutcomeUnknown when the answer was lost: an empty job may lie about, which does nothing."""
        body = {
            "object": object_name,
            "operation": "upsert",
            "externalIdFieldName": external_id_field,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        }
        answer = self._call("POST", "/jobs/ingest", what=f"open a job for {object_name}", json=body, safety="unsafe")
        return _job(answer, answer.json_object())

    def upload(self, job_id: str, csv: bytes) -> None:
        """Give a job its rows, once: UTF-8, a header of field names, LF. Raises OutcomeUnknown when the answer was lost; abort the job then."""
        self._call(
            "PUT",
            f"/jobs/ingest/{_segment(job_id)}/batches",
            what=f"upload {len(csv):,} bytes to job {job_id}",
            content=Content(csv, "text/csv; charset=UTF-8"),
            safety="unsafe",
            wants_json=False,
            deadline_seconds=_UPLOAD_SECONDS,
        )

    def set_state(self, job_id: str, state: Literal["UploadComplete", "Aborted"]) -> None:
        """Let a job begin, or end it. Raises OutcomeUnknown when the answer was lost: `job` tells."""
        self._call("PATCH", f"/jobs/ingest/{_segment(job_id)}", what=f"set job {job_id} to {state}", json={"state": state}, safety="unsafe")

    def job(self, job_id: str) -> IngestJob:
        """How a job stands."""
        answer = self._call("GET", f"/jobs/ingest/{_segment(job_id)}", what=f"read job {job_id}")
        return _job(answer, answer.json_object())

    def list_jobs(self) -> Iterator[IngestJob]:
        """Every ingest job that Salesforce still keeps."""
        params = {"jobType": "V2Ingest"}
        seen: set[str] = set()
        while True:
            answer = self._call("GET", "/jobs/ingest", what="list jobs", params=params)
            page = answer.json_object()
            records = page.get("records")
            if not isinstance(records, list):
                raise unexpected(answer.exchange, "the list of jobs has no records")
            yield from (_job(answer, record) for record in cast("list[Any]", records))
            following = page.get("nextRecordsUrl")
            if page.get("done") is not False or not isinstance(following, str) or following in seen:
                return
            seen.add(following)
            params = {"jobType": "V2Ingest", **dict(parse_qsl(urlsplit(following).query))}

    def download_results(self, job_id: str, results: ResultSet, into: Path) -> None:
        """Write one of the three result sets of a job that has ended to a file, as CSV."""
        self._call(
            "GET",
            f"/jobs/ingest/{_segment(job_id)}/{results}",
            what=f"read {results} of job {job_id}",
            wants_json=False,
            into=into,
            deadline_seconds=_UPLOAD_SECONDS,
        )

    def _call(self, method: str, path: str, *, what: str, **how: Any) -> Answer:
        try:
            return self._transport.request(method, self._base + path, what=what, **how)
        except TreadleError as error:
            error.hint = _HINTS.get(type(error), error.hint)
            raise


def _segment(name: str) -> str:
    return quote(name, safe="")


def _row_result(answer: Answer, told: Any) -> RowResult:
    if not isinstance(told, dict) or not isinstance(cast("dict[str, Any]", told).get("success"), bool):
        raise unexpected(answer.exchange, "a result does not say whether it succeeded")
    result = cast("dict[str, Any]", told)
    salesforce_id = result.get("id") if isinstance(result.get("id"), str) else None
    if result["success"]:
        return RowResult(salesforce_id, created=result.get("created") is True, error=None)
    errors = cast("list[Any]", result["errors"]) if isinstance(result.get("errors"), list) else []
    first = cast("dict[str, Any]", errors[0]) if errors and isinstance(errors[0], dict) else dict[str, Any]()
    code = first.get("statusCode") or first.get("errorCode") or "UNKNOWN"
    return RowResult(salesforce_id, created=False, error=RowError(str(code), str(first.get("message") or "Salesforce gave no reason.")))


def _job(answer: Answer, told: Any) -> IngestJob:
    facts: Mapping[str, Any] = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    job_id, state = facts.get("id"), facts.get("state")
    if not isinstance(job_id, str) or state not in {"Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted"}:
        raise unexpected(answer.exchange, f"a job has no id, or the state {state!r}, which is none that is known")
    return IngestJob(
        job_id=job_id,
        state=state,
        object_name=str(facts.get("object") or ""),
        operation=str(facts.get("operation") or ""),
        created_by=facts.get("createdById"),
        created_at=_moment(facts.get("createdDate")),
        processed=_count(facts.get("numberRecordsProcessed")),
        failed=_count(facts.get("numberRecordsFailed")),
        error=str(facts["errorMessage"]) if facts.get("errorMessage") else None,
    )


def _moment(text: Any) -> datetime | None:
    """Salesforce writes 2026-01-31T12:00:00.000+0000."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0
