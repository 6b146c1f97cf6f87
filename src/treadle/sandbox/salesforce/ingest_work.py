"""Processes the uploads of ingest jobs: internal batches of 10,000 rows, each written and noted in one transaction.

A batch that is committed is never done again: a job that a killed sandbox left behind goes on behind it at the next start.
Source: Bulk guide, How Requests Are Processed.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

import structlog

from treadle.sandbox.faults import Fault, FaultScript
from treadle.sandbox.salesforce.allocations import Allocations
from treadle.sandbox.salesforce.ids import salesforce_time
from treadle.sandbox.salesforce.ingest_csv import Dialect, UnusableUpload, open_upload, row_reader, write_csv
from treadle.sandbox.salesforce.records import Row
from treadle.sandbox.salesforce.schema import OBJECTS, SObject
from treadle.sandbox.salesforce.values import external_key
from treadle.sandbox.salesforce.workshop import BATCH_ROWS, Workshop
from treadle.sandbox.salesforce.writing import Locked, RowResult, RowWish, Writer, write_rows

_log = structlog.get_logger()
_LOOK_SECONDS: Final = 0.02
_BATCHES: Final = "DailyBulkApiBatches"
_DELETES: Final = frozenset({"delete", "hardDelete"})

Reads = Callable[[Sequence[str]], RowWish]


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the work needs it."""

    number: int
    state: str
    sobject: SObject
    operation: str
    external_id: str | None
    dialect: Dialect
    script: Mapping[str, Any]
    header: list[str] | None
    rows_done: int

    @classmethod
    def read(cls, row: Row) -> Self:
        """From its row in the database."""
        wish = json.loads(row["wish"])
        dialect = Dialect(wish["columnDelimiter"], wish["lineEnding"])
        header = json.loads(row["header"]) if row["header"] else None
        sobject, script = OBJECTS[wish["object"].lower()], json.loads(row["script"])
        named = wish["externalIdFieldName"]
        return cls(row["number"], row["state"], sobject, wish["operation"], named, dialect, script, header, row["rows_done"])


class IngestWork:
    """The threads that process uploads, one for each job."""

    def __init__(self, workshop: Workshop, allocations: Allocations, file_of: Callable[[int], Path]) -> None:
        self._records, self._clock, self._faults, self._options = workshop.records, workshop.clock, workshop.faults, workshop.options
        self._allocations = allocations
        self._file_of = file_of
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: dict[int, threading.Thread] = {}

    def resume(self) -> None:
        """Go on with what an earlier process left unfinished."""
        for job in self._records.rows("unfinished_jobs"):
            self.begin(job["number"])

    def begin(self, number: int) -> None:
        """Process a job in a thread of its own."""
        thread = threading.Thread(target=self._run, args=(number,), name=f"salesforce-ingest-{number}", daemon=True)
        with self._lock:
            self._threads[number] = thread
        thread.start()

    def join(self, number: int) -> None:
        """Return when nothing works on this job."""
        with self._lock:
            thread = self._threads.get(number)
        if thread:
            thread.join()

    def stop(self) -> None:
        """End after the batches that are being written; the rest is done at the next start."""
        self._stopping.set()
        for number in list(self._threads):
            self.join(number)

    def _run(self, number: int) -> None:
        try:
            self._process(number)
        except Exception:  # noqa: BLE001 - the job must not hang because of a fault of ours
            _log.exception("sandbox.salesforce.job_crashed", job=number)
            self._end(number, "Failed", "InternalServerError : The sandbox failed; its log says why.")
        finally:
            with self._lock:
                self._threads.pop(number, None)

    def _process(self, number: int) -> None:
        self._move(number, "InProgress", ("UploadComplete",))
        job = self._job(number)
        try:
            done = self._process_rows(job)
        except UnusableUpload as unusable:
            self._end(number, "Failed", str(unusable))
        else:
            if done:
                self._end(number, "JobComplete")

    def _process_rows(self, job: Job) -> bool:
        """True when all rows are done; False when the job was aborted or the sandbox stops. Raises UnusableUpload."""
        with open_upload(self._file_of(job.number), job.dialect) as (header, rows):
            self._records.rows("note_header", number=job.number, header=json.dumps(header))
            read, done = self._reader(job, header), job.rows_done
            left = islice(rows, done, None)
            while self._may_go_on(job, done):
                cells = list(islice(left, _next_cut(job.script, done) - done))
                if not cells:
                    return True
                if not self._process_batch(job, read, cells):
                    return False
                done += len(cells)
        return False

    def _reader(self, job: Job, header: list[str]) -> Reads:
        if job.operation in _DELETES and [name.strip().lower() for name in header] != ["id"]:
            raise UnusableUpload("InvalidBatch : A deletion takes one column, Id.")
        return row_reader(job.sobject, header, key_field=job.external_id)

    def _may_go_on(self, job: Job, done: int) -> bool:
        """Wait where the script says so, and fail where it says so. False when the job is not to go on."""
        if "slow_until" in job.script and done >= job.script["slow_after_rows"]:
            until = datetime.fromisoformat(job.script["slow_until"])
            while self._clock.now() < until and self._in_progress(job.number) and not self._stopping.is_set():
                self._stopping.wait(_LOOK_SECONDS)
        if self._stopping.is_set() or not self._in_progress(job.number):
            return False
        if "failed_after_rows" in job.script and done >= job.script["failed_after_rows"]:
            raise UnusableUpload(job.script["failed_message"])
        return True

    def _process_batch(self, job: Job, read: Reads, cells: list[list[str]]) -> bool:
        """Write one batch with its results and the job's counts, all or none. False when the job was aborted meanwhile."""
        if not self._allocations.remaining(_BATCHES):
            raise UnusableUpload("ExceededQuota : ApiBatchItems Limit exceeded.")
        began = time.monotonic()
        locked = _locked_by(self._faults.take("salesforce_row_lock", "salesforce.IngestBatch"))
        wishes = [read(row) for row in cells]
        tried = _tried(job.script, wishes)
        with self._records.transaction():
            if not self._in_progress(job.number):
                return False
            self._allocations.use(_BATCHES)
            rules = self._options.validation_rules
            writer = Writer(self._records, job.sobject, job.operation, self._clock.now(), locked=locked, parallel=True, rules=rules)
            results = write_rows(writer, [wish for wish, one in zip(wishes, tried, strict=True) if one])
            failed = self._keep_results(job, cells, tried, results)
            milliseconds = round((time.monotonic() - began) * 1000)
            counts = {"rows": len(cells), "processed": len(results), "failed": failed, "milliseconds": milliseconds}
            self._records.rows("note_batch", number=job.number, now=salesforce_time(self._clock.now()), **counts)
        return True

    def _keep_results(self, job: Job, cells: list[list[str]], tried: list[bool], results: list[RowResult]) -> int:
        """Store the three result sets of a batch, each in an order of its own; returns how many rows failed."""
        left = iter(results)
        sets: dict[str, list[list[str]]] = {"successfulresults": [], "failedresults": [], "unprocessedrecords": []}
        for row, one in zip(cells, tried, strict=True):
            if not one:
                sets["unprocessedrecords"].append(row)
            elif (result := next(left)).fault:
                sets["failedresults"].append([result.identity, result.fault.in_csv(), *row])
            else:
                sets["successfulresults"].append([result.identity, "true" if result.created else "false", *row])
        order = random.Random(f"{self._options.result_seed} {job.number} {job.rows_done}")  # noqa: S311 - a repeatable order, not a secret one
        for kind, rows in sets.items():
            if rows:
                order.shuffle(rows)  # Bulk guide: the order of results is not that of the upload
                self._records.rows("keep_result", job=job.number, kind=kind, csv=write_csv(rows, job.dialect))
        return len(sets["failedresults"])

    def _in_progress(self, number: int) -> bool:
        job = self._records.row("find_job", number=number)
        return job is not None and job["state"] == "InProgress"

    def _job(self, number: int) -> Job:
        return Job.read(self._records.rows("find_job", number=number)[0])

    def _end(self, number: int, state: str, error: str | None = None) -> None:
        self._move(number, state, ("UploadComplete", "InProgress"), ended=True, error=error)

    def _move(self, number: int, state: str, states: tuple[str, ...], *, ended: bool = False, error: str | None = None) -> None:
        values = {"number": number, "state": state, "states": json.dumps(states), "ended": ended, "error": error, "script": None}
        self._records.rows("move_job", now=salesforce_time(self._clock.now()), **values)


def locked_by_fault(faults: FaultScript, operation: str) -> Locked:
    """The records that the fault script has locked for this request."""
    return _locked_by(faults.take("salesforce_row_lock", operation))


def _locked_by(fault: Fault | None) -> Locked:
    """args.keys: these external ids or ids; args.share: by a draw for each, the same one whenever it is asked; neither: all."""
    if fault is None:
        return lambda _: False
    if "keys" in fault.args:
        keys = {external_key(str(key)) for key in fault.args["keys"]} | set(fault.args["keys"])
        return lambda key: key in keys
    share, seed = float(fault.args.get("share", 1.0)), fault.args.get("seed", 1)
    return lambda key: random.Random(f"{seed} {key}").random() < share  # noqa: S311 - as above


def _next_cut(script: Mapping[str, Any], done: int) -> int:
    """Where the next batch ends: at a multiple of 10,000 rows, or where the script has something happen."""
    cuts = [script[name] for name in ("slow_after_rows", "failed_after_rows") if script.get(name, 0) > done]
    return min([(done // BATCH_ROWS + 1) * BATCH_ROWS, *cuts])


def _tried(script: Mapping[str, Any], wishes: Sequence[RowWish]) -> list[bool]:
    """Which rows are tried at all: the fault `salesforce_unprocessed` leaves out args.keys, or by a draw args.share of them."""
    args = script.get("unprocessed")
    if args is None:
        return [True] * len(wishes)
    left_out = _locked_by(Fault("salesforce_unprocessed", "salesforce.IngestJob", args))
    return [not left_out(wish.key or wish.identity or "") for wish in wishes]
