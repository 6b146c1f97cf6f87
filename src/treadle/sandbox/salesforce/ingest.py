"""Ingest jobs of Bulk API 2.0: their states, uploads and results.

Source: Bulk guide – Create a Job, Upload Job Data, Upload Complete or Abort, Get Job Info, Get All Jobs, Delete a Job, Results; Errors.
"""

import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

from treadle.sandbox.salesforce.allocations import Allocations
from treadle.sandbox.salesforce.identity import USER_ID
from treadle.sandbox.salesforce.ids import id_of, number_of, salesforce_time
from treadle.sandbox.salesforce.ingest_csv import DELIMITERS, LINE_ENDINGS, lenient_rows, write_csv
from treadle.sandbox.salesforce.ingest_work import IngestWork, Job
from treadle.sandbox.salesforce.records import Row
from treadle.sandbox.salesforce.refusals import Refused, no_resource, not_modelled
from treadle.sandbox.salesforce.schema import OBJECTS, SObject
from treadle.sandbox.salesforce.workshop import BATCH_ROWS, Workshop

OPERATIONS: Final = ("insert", "update", "upsert", "delete", "hardDelete")
ENDED: Final = ("JobComplete", "Failed", "Aborted")
RESULTS: Final = {"successfulresults": ("sf__Id", "sf__Created"), "failedresults": ("sf__Id", "sf__Error"), "unprocessedrecords": ()}
_ASKED: Final = {"object", "operation", "externalIdFieldName", "contentType", "columnDelimiter", "lineEnding", "assignmentRuleId"}
_KEPT_DAYS: Final = 7
_BATCHES: Final = "DailyBulkApiBatches"


class IngestJobs:
    """The jobs of the org. What the routes call; `work` does the processing in threads of its own."""

    def __init__(self, workshop: Workshop, allocations: Allocations) -> None:
        self._uploads = workshop.folder / "uploads"
        self._uploads.mkdir(exist_ok=True)
        for broken_off in self._uploads.glob(".*"):
            broken_off.unlink()
        self._records, self._clock, self._faults, self._options = workshop.records, workshop.clock, workshop.faults, workshop.options
        self._allocations = allocations
        self.work = IngestWork(workshop, allocations, self._file)

    def create(self, wish: Mapping[str, Any], version: str, *, created_by: str = USER_ID) -> dict[str, Any]:
        """Create a job; its state is Open. Raises Refused."""
        kept = _checked(wish) | {"apiVersion": float(version), "createdById": created_by}
        if not self._allocations.remaining(_BATCHES):
            raise Refused(400, "EXCEEDEDQUOTA", "ExceededQuota : ApiBatchItems Limit exceeded.")
        job = self._records.rows("create_job", wish=json.dumps(kept), now=self._now())[0]
        return self._info(job) | {"contentUrl": f"services/data/v{version}/jobs/ingest/{_id(job)}/batches"}

    def info(self, identity: str) -> dict[str, Any]:
        """What is known of a job. Raises Refused."""
        job = self._find(identity)
        return self._info(job) | {
            "retries": 0,
            "totalProcessingTime": job["milliseconds"],
            "apiActiveProcessingTime": job["milliseconds"],
            "apexProcessingTime": 0,
            "numberRecordsProcessed": job["rows_processed"],
            "numberRecordsFailed": job["rows_failed"],
        } | ({"errorMessage": job["error"]} if job["error"] else {})  # fmt: skip

    def page(self, after: str | None, version: str) -> dict[str, Any]:
        """One page of all jobs, the oldest first."""
        self._forget_old()
        start = int(after) if after and after.isdecimal() else 0
        page = self._records.rows("list_jobs", after=start, limit=self._options.page_size + 1)
        shown, more = page[: self._options.page_size], len(page) > self._options.page_size
        following = f"/services/data/v{version}/jobs/ingest?queryLocator={shown[-1]['number']}" if more else None
        return {"done": not more, "records": [self._info(job) for job in shown], "nextRecordsUrl": following}

    def upload_place(self, identity: str) -> Path:
        """Where to put the bytes of an upload before `accept_upload`. Raises Refused when the job takes none."""
        job = self._find(identity)
        if job["state"] != "Open" or job["uploaded"]:
            raise _one_upload(job)
        return self._uploads / f".{job['number']}.{os.urandom(4).hex()}"

    def accept_upload(self, identity: str, file: Path) -> None:
        """Take the bytes as the job's data, in one step: of two uploads at once, one is refused."""
        job = self._find(identity)
        with self._records.transaction():
            if not self._records.rows("note_upload", number=job["number"], now=self._now()):
                raise _one_upload(self._find(identity))
            file.replace(self._file(job["number"]))

    def close(self, identity: str) -> dict[str, Any]:
        """UploadComplete: the work begins. Raises Refused."""
        job = self._find(identity)
        if job["state"] == "Open" and not job["uploaded"]:
            raise Refused(400, "INVALIDJOBSTATE", "InvalidJobState : There is no upload to complete.")
        script = json.dumps(self._script())
        moved = self._move(job, "UploadComplete", ("Open",), script=script)
        if moved is None:
            raise Refused(400, "INVALIDJOBSTATE", f"Closing already {_shown(self._find(identity))} Job not allowed")
        self.work.begin(job["number"])
        return self._info(moved)

    def abort(self, identity: str) -> dict[str, Any]:
        """Aborted: what is processed stays, the rest is never tried. Raises Refused."""
        job = self._find(identity)
        moved = self._move(job, "Aborted", ("Open", "UploadComplete", "InProgress"), ended=True)
        if moved is None:
            raise Refused(400, "INVALIDJOBSTATE", f"Aborting already {_shown(self._find(identity))} Job not allowed")
        self.work.join(job["number"])
        return self._info(moved)

    def delete(self, identity: str) -> None:
        """Forget a job that has ended. Raises Refused."""
        job = self._find(identity)
        if job["state"] not in ENDED:
            raise Refused(400, "INVALIDJOBSTATE", f"InvalidJobState : A job in the state {job['state']} cannot be deleted.")
        self._records.rows("forget_job", number=job["number"])
        self._file(job["number"]).unlink(missing_ok=True)

    def results(self, identity: str, kind: str) -> Generator[bytes]:
        """One of the three result sets as CSV, piece by piece. Raises Refused before the first piece."""
        job = self._find(identity)
        if kind not in RESULTS:
            raise no_resource()
        if job["state"] not in ENDED:
            told = f"The job is {job['state']}; its results can be read when it has ended."
            raise Refused(400, "INVALIDJOBSTATE", f"InvalidJobState : {told}")
        self.work.join(job["number"])
        return self._result_pieces(Job.read(self._find(identity)), kind)

    def wait(self, identity: str) -> dict[str, Any]:
        """For tests in the same process: the job once nothing works on it any more."""
        self.work.join(self._find(identity)["number"])
        return self.info(identity)

    def forget_everything(self) -> None:
        """For tests: end all work and empty the tables, the sessions apart."""
        for job in self._records.rows("unfinished_jobs"):
            self.abort(id_of("750", job["number"]))
        with self._records.transaction():
            for name in ("forget_all_results", "forget_all_jobs", "forget_all_records", "forget_all_usage"):
                self._records.rows(name)
        for upload in self._uploads.iterdir():
            upload.unlink()

    def _result_pieces(self, job: Job, kind: str) -> Generator[bytes]:
        rest: Iterator[list[str]] = (
            self._never_tried(job) if kind == "unprocessedrecords" and job.state in {"Failed", "Aborted"} else iter(())
        )
        yield write_csv([[*RESULTS[kind], *(job.header or self._submitted_header(job))]], job.dialect)
        after = 0
        while found := self._records.row("next_result", job=job.number, kind=kind, after=after):
            after = found["batch"]
            yield found["csv"]
        while piece := [row for row, _ in zip(rest, range(BATCH_ROWS), strict=False)]:
            yield write_csv(piece, job.dialect)

    def _submitted_header(self, job: Job) -> list[str]:
        """Of an upload that was never looked at."""
        return next(lenient_rows(self._file(job.number), job.dialect), list[str]())

    def _never_tried(self, job: Job) -> Iterator[list[str]]:
        for place, row in enumerate(lenient_rows(self._file(job.number), job.dialect)):
            if place > job.rows_done:  # place 0 is the header
                yield row

    def _script(self) -> dict[str, Any]:
        """What the fault script has in store for a job; kept with the job, as it may outlast this process."""
        script: dict[str, Any] = {}
        if fault := self._faults.take("salesforce_slow_job", "salesforce.IngestJob"):
            script["slow_until"] = (self._clock.now() + timedelta(seconds=float(fault.args.get("seconds", 60)))).isoformat()
            script["slow_after_rows"] = int(fault.args.get("after_rows", 0))
        if fault := self._faults.take("salesforce_job_failed", "salesforce.IngestJob"):
            script["failed_after_rows"] = int(fault.args.get("after_rows", 0))
            script["failed_message"] = str(fault.args.get("message", "InternalServerError : Scripted by the sandbox."))
        if fault := self._faults.take("salesforce_unprocessed", "salesforce.IngestJob"):
            script["unprocessed"] = dict(fault.args)
        return script

    def _find(self, identity: str) -> Row:
        self._forget_old()
        number = number_of("750", identity)
        job = self._records.row("find_job", number=number) if number else None
        if job is None:
            raise no_resource()
        return job

    def _move(self, job: Row, state: str, states: tuple[str, ...], *, ended: bool = False, script: str | None = None) -> Row | None:
        values = {"number": job["number"], "state": state, "states": json.dumps(states), "ended": ended, "error": None, "script": script}
        return self._records.row("move_job", now=self._now(), **values)

    def _forget_old(self) -> None:
        """Bulk guide: jobs are removed seven days after they ended."""
        before = salesforce_time(self._clock.now() - timedelta(days=_KEPT_DAYS))
        for gone in self._records.rows("forget_old_jobs", before=before):
            with suppress(FileNotFoundError):
                self._file(gone["number"]).unlink()

    def _info(self, job: Row) -> dict[str, Any]:
        wish = json.loads(job["wish"])
        return {
            "id": _id(job),
            "operation": wish["operation"],
            "object": wish["object"],
            "createdById": wish.get("createdById", USER_ID),
            "createdDate": job["created_at"],
            "systemModstamp": job["modified_at"],
            "state": job["state"],
            **({"externalIdFieldName": wish["externalIdFieldName"]} if wish["externalIdFieldName"] else {}),
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": wish["apiVersion"],
            "jobType": "V2Ingest",
            "lineEnding": wish["lineEnding"],
            "columnDelimiter": wish["columnDelimiter"],
        }

    def _file(self, number: int) -> Path:
        return self._uploads / f"{number}.csv"

    def _now(self) -> str:
        return salesforce_time(self._clock.now())


def _checked(wish: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job to create, with their defaults. Raises Refused."""
    if unknown := set(wish) - _ASKED:
        raise Refused(400, "JSON_PARSER_ERROR", f'Unrecognized field "{min(unknown)}"')
    if wish.get("assignmentRuleId"):
        raise not_modelled("assignmentRuleId")
    sobject = OBJECTS.get(str(wish.get("object", "")).lower())
    if sobject is None:
        raise Refused(400, "INVALIDJOB", f"InvalidJob : Unable to find object: {wish.get('object')}")
    choices = {
        "operation": (wish.get("operation"), OPERATIONS),
        "contentType": (wish.get("contentType", "CSV"), ("CSV",)),
        "columnDelimiter": (wish.get("columnDelimiter", "COMMA"), tuple(DELIMITERS)),
        "lineEnding": (wish.get("lineEnding", "LF"), tuple(LINE_ENDINGS)),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise Refused(400, "INVALIDJOB", f"InvalidJob : {name} must be one of {', '.join(known)}, not {value}")
    chosen: dict[str, Any] = {name: value for name, (value, _) in choices.items()}
    return chosen | {"object": sobject.name, "externalIdFieldName": _external_id(sobject, wish)}


def _external_id(sobject: SObject, wish: Mapping[str, Any]) -> str | None:
    named = cast("str | None", wish.get("externalIdFieldName"))
    if wish["operation"] != "upsert":
        return None
    if not named:
        raise Refused(400, "INVALIDJOB", "InvalidJob : External ID field name is required for upsert")
    field = sobject.find(str(named))
    if field is not None and field.type == "id":
        raise not_modelled("an upsert by Id")
    if field is None or not field.external_id:
        told = f"Field name provided, {named} does not match an External ID, Salesforce Id, or indexed field for {sobject.name}"
        raise Refused(400, "INVALIDJOB", f"InvalidJob : {told}")
    return field.name


def _one_upload(job: Row) -> Refused:
    told = f"The job is {job['state']}" if job["state"] != "Open" else "The job has its upload, and takes one"
    return Refused(400, "INVALIDJOBSTATE", f"InvalidJobState : {told}.")


def _id(job: Row) -> str:
    return id_of("750", job["number"])


def _shown(job: Row) -> str:
    return {"JobComplete": "Completed", "UploadComplete": "Closed"}.get(job["state"], str(job["state"]))
