"""Send one part of a plan to Salesforce, or find out what became of it. Whoever repeats any of this sends no row twice.

A part's rows are rows of the plan: `external_id`, `action` (create or update), and the fields to write, typed and named as in Salesforce.
What became of them is a frame too, as `row_outcomes` describes it.
"""

import itertools
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import polars as pl
import structlog

from treadle.clients.salesforce import COLLECTION_ROWS, IngestJob, ResultSet, SalesforceClient
from treadle.control.database import Database
from treadle.errors import Conflict, InvalidInput, NotFound, OutcomeUnknown, Unavailable
from treadle.flows.weekly.bulk_csv import write_bulk_csv
from treadle.flows.weekly.ledger import Part, PartChannel, drop_part, known_jobs, mark_sending, mark_sent, record_job
from treadle.flows.weekly.row_outcomes import OUTCOME_SCHEMA, correlate, outcome_of
from treadle.flows.weekly.sync_cost import BULK_FROM_ROWS
from treadle.flows.weekly.sync_fields import Describe, SyncMapping
from treadle.flows.weekly.sync_plan import clears

JOB_FAILED: Final = "JOB_FAILED"  # not Salesforce's, but ours, for rows of a job that will not do better
_PASSING_JOB_ERRORS: Final = ("TooManyLockFailure", "Timeout", "UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE")
_LOOK_UP_ROWS: Final = 50  # ids in one query
_LOOK_UP_BYTES: Final = 6_000  # of ids in its address, of which Salesforce takes 16 KB
_OPENING_SECONDS: Final = 60.0
_ORPHAN_SLACK: Final = timedelta(minutes=5)  # how far the org's clock may be behind that of the ledger

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often a job is looked at, and how waiting is done."""

    sleep: Callable[[float], None]
    now: Callable[[], float]
    first_seconds: float = 1.0
    most_seconds: float = 30.0
    deadline_seconds: float = 4 * 3600.0
    check: Callable[[], None] = lambda: None  # raises when the work is to stop


@dataclass(frozen=True, slots=True)
class Delivery:
    """The org, the ledger, and which object is written."""

    salesforce: SalesforceClient
    own: Database
    mapping: SyncMapping
    describe: Describe
    patience: Patience

    @property
    def folds_case(self) -> bool:
        """Whether Salesforce takes keys that differ in case for one record."""
        return self.describe.folds_case(self.external_id_field)

    @property
    def external_id_field(self) -> str:
        """The field that records are found by."""
        return self.mapping.external_id.target

    @property
    def fields(self) -> list[str]:
        """The fields that are written."""
        return list(self.mapping.fields)

    def says_nothing(self, field: str, value: Any) -> bool:
        """Whether a value is to be left out: a null of a field that nulls do not clear."""
        return value is None and field not in clears(self.mapping)


def send_part(delivery: Delivery, part: Part, rows: pl.DataFrame) -> pl.DataFrame | None:
    """Send a PLANNED part, and return what became of its rows; None: nothing of it counts, and the part is dropped.

    Raises:
        Conflict: another process is sending it.
        Throttled, Unavailable, PermissionDenied, …: Salesforce could not be asked; the part stays as the ledger has it, and is settled at the next try.
    """
    sending_at = mark_sending(delivery.own, part)
    begun = replace(part, state="SENDING", sending_at=sending_at)
    if part.channel == "collections":
        return _upsert(delivery, rows)
    job = _open_job(delivery, begun)
    if job is None:
        return None
    return _run_job(delivery, replace(begun, job_id=job.job_id), rows)


def settle_again(delivery: Delivery, part: Part, rows: pl.DataFrame) -> pl.DataFrame | None:
    """Find out what became of a part that a killed process left in SENDING or SENT. None: nothing of it counts, and the part is dropped."""
    if part.channel == "collections":
        return _look_up(delivery, rows)
    if part.job_id is None:
        with _opening(delivery):
            _abort_orphans(delivery, part)
        drop_part(delivery.own, part)
        return None
    try:
        job = delivery.salesforce.job(part.job_id)
        if job.state != "Open":
            return _finish_job(delivery, part, rows)
    except NotFound:  # Salesforce keeps jobs for seven days
        log.warning("salesforce.job_gone", job_id=part.job_id)
        return _look_up(delivery, rows)
    _abort(delivery, part)  # never told to begin; whether it has all its rows cannot be known
    return None


def _upsert(delivery: Delivery, rows: pl.DataFrame) -> pl.DataFrame:
    """Collections: one call. Where its answer is lost, the rows themselves tell."""
    records = [_record(delivery, row) for row in rows.iter_rows(named=True)]
    try:
        results = delivery.salesforce.upsert_collection(delivery.mapping.object_name, delivery.external_id_field, records)
    except OutcomeUnknown as error:
        log.warning("salesforce.answer_lost", rows=len(records), reason=error.message)
        return _look_up(delivery, rows)
    found = [
        (
            row["external_id"],
            result.salesforce_id,
            outcome_of(result.error.code) if result.error else "created" if result.created else "updated",
            result.error.code if result.error else None,
            result.error.message if result.error else None,
        )
        for row, result in zip(rows.iter_rows(named=True), results, strict=True)
    ]
    return pl.DataFrame(found, OUTCOME_SCHEMA, orient="row")


def _record(delivery: Delivery, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as Collections take it: null clears a field, and a field that is not named is left alone."""
    kept = {name: json_value(row[name]) for name in delivery.fields if not delivery.says_nothing(name, row[name])}
    return {delivery.external_id_field: row["external_id"], **kept}


def json_value(value: Any) -> Any:
    """A typed value as Salesforce's JSON has it."""
    match value:
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
        case date():
            return value.isoformat()
        case _:
            return value


def _look_up(delivery: Delivery, rows: pl.DataFrame) -> pl.DataFrame:
    """Which rows are in Salesforce as they were to be: those were written; of the others nothing is known but that sending them again is safe."""
    found: list[tuple[Any, ...]] = []
    for block in _slices_by_address(rows):
        there = _Found(_records_of(delivery, block), delivery.external_id_field)
        for row in block.iter_rows(named=True):
            record = there.of(row["external_id"])
            written = record is not None and all(
                _same(row[name], record.get(name)) for name in delivery.fields if not delivery.says_nothing(name, row[name])
            )
            done = "created" if row["action"] == "create" else "updated"
            found.append((row["external_id"], record.get("Id") if record else None, done if written else "undecided", None, None))
    return pl.DataFrame(found, OUTCOME_SCHEMA, orient="row")


class _Found:
    """Records by their external id: as it is, or in any case where that is unambiguous."""

    def __init__(self, records: Iterable[Mapping[str, Any]], external_id_field: str) -> None:
        self._exact = {str(record.get(external_id_field) or ""): record for record in records}
        folded = [name.lower() for name in self._exact]
        self._folded = {name.lower(): record for name, record in self._exact.items() if folded.count(name.lower()) == 1}

    def of(self, external_id: str) -> Mapping[str, Any] | None:
        return self._exact.get(external_id) or self._folded.get(external_id.lower())


def _slices_by_address(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows whose ids fit into the address of one query."""
    start, length = 0, 0
    for place, external_id in enumerate(rows["external_id"]):
        longer = len(quote(_quoted(external_id))) + 6
        if length and (length + longer > _LOOK_UP_BYTES or place - start == _LOOK_UP_ROWS):
            yield rows.slice(start, place - start)
            start, length = place, 0
        length += longer
    if start < rows.height:
        yield rows.slice(start)


def _records_of(delivery: Delivery, rows: pl.DataFrame) -> Iterable[Mapping[str, Any]]:
    wanted = ", ".join(["Id", delivery.external_id_field, *delivery.fields])
    ids = ", ".join(_quoted(value) for value in rows["external_id"])
    return delivery.salesforce.query(f"SELECT {wanted} FROM {delivery.mapping.object_name} WHERE {delivery.external_id_field} IN ({ids})")  # noqa: S608 - SOQL knows no parameters; each id is quoted


def _quoted(text: str) -> str:
    """A SOQL string literal. https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_quotedstringescapes.htm ."""
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\b": "\\b"}
    return "'" + "".join(escapes.get(sign, sign) for sign in text) + "'"


def _same(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None:
        return ours is None and theirs is None
    if isinstance(ours, datetime):
        return _moment(theirs) == ours.replace(microsecond=0)
    if isinstance(ours, int | Decimal) and not isinstance(ours, bool):
        return _number(theirs) == ours
    return str(theirs) == (ours.isoformat() if isinstance(ours, date) else str(ours))


def _moment(text: Any) -> datetime | None:
    """To the second: Salesforce keeps no more of a moment."""
    try:
        return datetime.fromisoformat(str(text)).replace(microsecond=0)
    except ValueError:
        return None


def _number(value: Any) -> Decimal | None:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None


def _open_job(delivery: Delivery, part: Part) -> IngestJob | None:
    """Open a job and write its id down. None: the answer was lost; a job that may lie about is aborted, and the part is dropped."""
    with _opening(delivery):
        return _open_job_alone(delivery, part)


@contextmanager
def _opening(delivery: Delivery) -> Generator[None]:
    """Nobody of ours opens a job of this object while another looks for jobs that nobody knows."""
    key = f"weekly-job:{delivery.salesforce.org}/{delivery.mapping.object_name}"
    deadline = delivery.patience.now() + _OPENING_SECONDS
    while True:
        with delivery.own.hold_advisory_lock(key) as lock:
            if lock.held:
                yield
                return
        if delivery.patience.now() > deadline:
            raise Unavailable("Another process has been opening a job in Salesforce for a minute.", hint="Run the week again.")
        delivery.patience.sleep(0.5)


def _open_job_alone(delivery: Delivery, part: Part) -> IngestJob | None:
    try:
        job = delivery.salesforce.create_job(delivery.mapping.object_name, delivery.external_id_field)
    except OutcomeUnknown as error:
        log.warning("salesforce.answer_lost", part=part.part, reason=error.message)
        _abort_orphans(delivery, part)
        drop_part(delivery.own, part)
        return None
    record_job(delivery.own, part, job.job_id)
    return job


def _run_job(delivery: Delivery, part: Part, rows: pl.DataFrame) -> pl.DataFrame | None:
    assert part.job_id
    try:
        delivery.salesforce.upload(part.job_id, _csv_of(delivery, rows))
    except OutcomeUnknown as error:  # the job may have all its rows or a part of them; as long as it is open, none counts
        log.warning("salesforce.answer_lost", job_id=part.job_id, reason=error.message)
        _abort(delivery, part)
        return None
    mark_sent(delivery.own, part)
    try:
        delivery.salesforce.set_state(part.job_id, "UploadComplete")
    except OutcomeUnknown as error:
        log.warning("salesforce.answer_lost", job_id=part.job_id, reason=error.message)
        if delivery.salesforce.job(part.job_id).state == "Open":
            _abort(delivery, part)
            return None
    return _finish_job(delivery, replace(part, state="SENT"), rows)


def _csv_of(delivery: Delivery, rows: pl.DataFrame) -> bytes:
    """The upload. `cut` has seen to it that the rows fit one."""
    with tempfile.TemporaryDirectory(prefix="treadle-bulk-") as folder:
        parts = write_bulk_csv(_as_sent(delivery.mapping, rows), Path(folder), clears=clears(delivery.mapping))
        if len(parts) != 1:
            raise InvalidInput(f"A part of {rows.height:,} rows does not fit one upload.", hint="Report this as a defect of Treadle.")
        return parts[0].path.read_bytes()


def _as_sent(mapping: SyncMapping, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col("external_id").alias(mapping.external_id.target), *mapping.fields)


def cut(mapping: SyncMapping, rows: pl.DataFrame) -> tuple[PartChannel, list[pl.DataFrame]]:
    """How the rows are sent, and which of them together: few by Collections, many by Bulk API 2.0, whose uploads have a greatest size."""
    if not rows.height:
        return "collections", []
    if rows.height < BULK_FROM_ROWS:
        return "collections", list(rows.iter_slices(COLLECTION_ROWS))
    with tempfile.TemporaryDirectory(prefix="treadle-bulk-") as folder:
        heights = [part.rows for part in write_bulk_csv(_as_sent(mapping, rows), Path(folder), clears=clears(mapping))]
    starts = itertools.accumulate(heights, initial=0)
    return "bulk", [rows.slice(start, height) for start, height in zip(starts, heights, strict=False)]


def _finish_job(delivery: Delivery, part: Part, rows: pl.DataFrame) -> pl.DataFrame:
    """Wait for the job's end and read all that it says of its rows, in whatever order."""
    assert part.job_id
    job = _wait(delivery, part.job_id)
    with tempfile.TemporaryDirectory(prefix="treadle-bulk-") as folder:
        sets = {name: _results(delivery, part.job_id, name, Path(folder) / f"{name}.csv") for name in _RESULT_SETS}
    outcomes = correlate(rows, sets["successfulResults"], sets["failedResults"], delivery.external_id_field)
    log.info("salesforce.job_ended", job_id=part.job_id, state=job.state, processed=job.processed, failed=job.failed, reason=job.error)
    return outcomes if job.state == "JobComplete" else _with_job_failure(outcomes, job)


def _with_job_failure(outcomes: pl.DataFrame, job: IngestJob) -> pl.DataFrame:
    """Say of the rows that were never tried why; JOB_FAILED where another try would end the same way."""
    reason = job.error or f"The job ended as {job.state}."
    passing = any(word in reason for word in _PASSING_JOB_ERRORS)
    untried = (pl.col("outcome") == "undecided") & pl.col("code").is_null()
    return outcomes.with_columns(
        code=pl.when(untried & (not passing)).then(pl.lit(JOB_FAILED)).otherwise("code"),
        message=pl.when(untried).then(pl.lit(reason)).otherwise("message"),
    )


_RESULT_SETS: Final[tuple[ResultSet, ...]] = ("successfulResults", "failedResults")  # what is in neither was never tried


def _wait(delivery: Delivery, job_id: str) -> IngestJob:
    patience, pause = delivery.patience, delivery.patience.first_seconds
    deadline = patience.now() + patience.deadline_seconds
    while True:
        job = delivery.salesforce.job(job_id)
        if job.ended:
            return job
        if patience.now() > deadline:
            raise Unavailable(
                f"Salesforce has not ended job {job_id} after {patience.deadline_seconds / 3600:g} hours.",
                hint="Run the week again later: it goes on with this job, and sends nothing twice.",
                details={"job_id": job_id, "state": job.state},
            )
        patience.check()
        patience.sleep(pause)
        pause = min(pause * 1.5, patience.most_seconds)


def _results(delivery: Delivery, job_id: str, name: ResultSet, path: Path) -> pl.DataFrame:
    """A result set, every field as text; only a header, or nothing at all, where there are no such rows."""
    delivery.salesforce.download_results(job_id, name, path)
    if path.stat().st_size == 0:
        return pl.DataFrame(schema={delivery.external_id_field: pl.String})
    return pl.read_csv(path, infer_schema=False)


def _abort(delivery: Delivery, part: Part) -> None:
    """End a job that was never told to begin, and drop the part."""
    assert part.job_id
    try:
        delivery.salesforce.set_state(part.job_id, "Aborted")
    except (Conflict, InvalidInput, OutcomeUnknown) as error:
        if delivery.salesforce.job(part.job_id).state not in {"Aborted", "Failed"}:
            raise Unavailable(
                f"Job {part.job_id} could not be aborted: {error.message}", hint="Run the week again: it goes on with this job."
            ) from error
    drop_part(delivery.own, part)


def _abort_orphans(delivery: Delivery, part: Part) -> None:
    """Abort jobs that we may have opened without hearing of it: open ones like ours, of our own user, since the ledger said so, that nobody knows.

    Where the org does not say who we are, they are left: an open job does nothing, and Salesforce clears it away.
    """
    ourselves = delivery.salesforce.user_id()
    since = part.sending_at - _ORPHAN_SLACK if part.sending_at else None
    likely = [
        job.job_id
        for job in delivery.salesforce.list_jobs()
        if job.state == "Open"
        and ourselves
        and (job.created_by or "")[:15] == ourselves[:15]  # the other three letters only say the case of these
        and job.operation == "upsert"
        and job.object_name == delivery.mapping.object_name
        and (since is None or job.created_at is None or job.created_at >= since)
    ]
    for job_id in set(likely) - known_jobs(delivery.own, likely):
        log.info("salesforce.orphan_aborted", job_id=job_id)
        delivery.salesforce.set_state(job_id, "Aborted")
