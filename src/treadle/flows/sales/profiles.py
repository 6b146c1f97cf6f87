"""Profiles of the files in the lake: each version of a file is looked into once, by a durable job, and its profile kept under its ETag.

A profile belongs to the file's name, its ETag, and how it was read: mapping, sheet, and release of Treadle.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from treadle.clients.onelake import LakeFile
from treadle.control.database import Database
from treadle.control.jobs.job import Job, JsonValue, NewJob
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.queue import enqueue, get_job, list_jobs, retry_job
from treadle.control.jobs.run import JobContext
from treadle.control.jobs.states import FINAL_ERRORS, JobState
from treadle.control.statements import load_queries
from treadle.control.stored import json_text
from treadle.errors import Conflict, InvalidInput, NotFound
from treadle.flows.sales.failing_rows import FailedCheck, from_members, to_members
from treadle.flows.sales.input_file import check_input_file
from treadle.flows.sales.input_files import Wishes, stored_mapping
from treadle.flows.sales.inspect_file import Inspection, inspect_file
from treadle.flows.sales.lakehouse import import_path
from treadle.flows.sales.scratch import scratch_folder
from treadle.flows.sales.services import SalesServices
from treadle.flows.sales.verdict import Verdict, verdict

log = structlog.get_logger()

KIND: Final = "file_profile"
READS: Final = 4  # a file that is replaced as often while it is being read is left alone

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_FINAL_KINDS: Final = frozenset(kind.__name__ for kind in FINAL_ERRORS)


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """What one version of a file was found to hold. `profile` has the form of `import_profile.json`."""

    file_name: str
    etag: str
    profile: Mapping[str, Any]
    computed_at: datetime  # UTC

    @property
    def verdict(self) -> Verdict:
        """Whether a run of the file would succeed."""
        return verdict(self.profile["validations"])


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read."""

    columns: Mapping[str, str]
    sheet: str | None
    release: str  # another release may read the same bytes otherwise

    @property
    def sha256(self) -> str:
        """The same for the same mapping, in whatever order its columns are named."""
        members = {"columns": dict(self.columns), "sheet": self.sheet, "release": self.release}
        return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()


def cached_profile(services: SalesServices, own: Database, file_name: str, wishes: Wishes | None = None) -> StoredProfile | None:
    """The profile of the file as it is in the lake now. None: this version has not been looked into yet, or not in this way.

    wishes: how to read it, where that differs from what is stored beside the file.

    Raises:
        InvalidInput: the name, or the mapping stored beside the file, cannot be used.
        NotFound: there is no such file.
    """
    file, reading = _present(services, file_name, wishes)
    return find_profile(own, file.name, file.etag, reading)


def failing_rows(services: SalesServices, own: Database, file_name: str, etag: str) -> list[FailedCheck]:
    """Where the checks of this version of the file failed, read as it is read at present.

    Raises:
        InvalidInput: as `cached_profile`.
        NotFound: the file, or how it is read, has changed since, or was not looked into.
    """
    file, reading = _present(services, file_name, None)
    rows = own.read(_SQL["find_failing_rows"], {"file_name": file.name, "etag": etag, "wishes_sha256": reading.sha256})
    if not rows:
        raise NotFound(
            f"No failing rows are kept of this version of {file.name}: it was replaced, or is read in another way by now.",
            hint="Look into it again.",
            details={"file_name": file.name, "etag": etag},
        )
    return from_members(rows[0]["failing_rows"])


def request_profile(  # noqa: PLR0913 - of what, for whom and how: each named
    services: SalesServices,
    own: Database,
    file_name: str,
    requested_by: str,
    *,
    wishes: Wishes | None = None,
    correlation_id: str | None = None,
) -> StoredProfile | Job:
    """Return the profile of the file's present version, or the job that makes it: the same job however often it is asked for.

    A job that failed because of the file stays failed, and is returned so: the same bytes would fail again. One that was cancelled, gave up on
    a lake that was away, or was not done in time, begins again.

    Raises:
        InvalidInput, NotFound: as `cached_profile`.
    """
    file, reading = _present(services, file_name, wishes)
    once = _once(file, reading)
    payload = {"file_name": file.name, "etag": file.etag, "columns": dict(reading.columns), "sheet": reading.sheet}
    wanted = once
    while True:
        if found := find_profile(own, file.name, file.etag, reading):
            return found
        new = NewJob(KIND, payload, requested_by, key=f"file:{file.name}", once=wanted, correlation_id=correlation_id)
        job = enqueue(own, new)
        if job.state is not JobState.SUCCEEDED:
            return _begun_again(own, job, requested_by) if _worth_another_try(job) else job
        if not find_profile(own, file.name, file.etag, reading):
            wanted = f"{once}:after:{job.job_id}"  # its profile was cleared away, or is of a later version: the next job in line


def profile_job(services: SalesServices, own: Database, file_name: str) -> Job | None:
    """The newest job that was to look into the file's present version. None: none is kept. Raises as `cached_profile`."""
    file, reading = _present(services, file_name, None)
    once = _once(file, reading)
    found = list_jobs(own, kind=KIND, key=f"file:{file.name}").jobs
    return next((job for job in found if job.once == once or (job.once or "").startswith(f"{once}:after:")), None)


def profile_kind(services: SalesServices, own: Database) -> Kind:
    """The kind of job that looks into a file."""
    return Kind(KIND, partial(_profile_file, services, own), max_attempts=5, deadline_seconds=7200)


def find_profile(own: Database, file_name: str, etag: str, reading: Reading) -> StoredProfile | None:
    """The stored profile of these bytes, read in this way."""
    rows = own.read(_SQL["find_profile"], {"file_name": file_name, "etag": etag, "wishes_sha256": reading.sha256})
    return StoredProfile(**rows[0]) if rows else None


def store_profile(own: Database, file: LakeFile, reading: Reading, found: Inspection) -> None:
    """Keep a profile, and where its checks failed, under the ETag of the bytes it was made of. Safe to repeat."""
    values = {
        "file_name": file.name,
        "etag": file.etag,
        "wishes_sha256": reading.sha256,
        "profile": json_text(found.profile),
        "failing_rows": json_text(to_members(found.failed)),
    }
    with own.transaction() as connection:
        connection.execute(_SQL["store_profile"], values)


def delete_old_profiles(own: Database, older_than: timedelta) -> int:
    """Delete profiles made longer ago than this, and those of versions that have been replaced; return how many."""
    with own.transaction() as connection:
        return connection.execute(_SQL["delete_old_profiles"], {"older_than": older_than}).rowcount


def _present(services: SalesServices, file_name: str, wishes: Wishes | None) -> tuple[LakeFile, Reading]:
    """The file as it is now, and how it is to be read: as wished, else as stored beside it."""
    file = services.lake.stat(import_path(check_input_file(file_name)))
    wished = wishes or Wishes()
    columns, sheet = wished.columns, wished.sheet
    if columns is None or sheet is None:
        stored = stored_mapping(services.lake, file_name)
        columns, sheet = stored.columns if columns is None else columns, sheet or stored.sheet
    return file, Reading(columns, sheet, services.app_version)


def _once(file: LakeFile, reading: Reading) -> str:
    """What is asked for once: these bytes, read in this way."""
    return f"profile:{file.name}:{file.etag}:{reading.sha256}"


def _worth_another_try(job: Job) -> bool:
    """Whether it ended for a reason that is not the file's: by request, by its deadline, with its workers, or with its attempts used up."""
    refused = job.state is JobState.FAILED and (job.error_details or {}).get("kind") in _FINAL_KINDS
    return job.state.ended and not refused


def _begun_again(own: Database, job: Job, requested_by: str) -> Job:
    try:
        return retry_job(own, job.job_id, requested_by)
    except Conflict:  # somebody else has just asked for it again
        return get_job(own, job.job_id)


def _profile_file(services: SalesServices, own: Database, context: JobContext) -> JsonValue:
    """Look, read, store. The profile is kept under the ETag of the very bytes that were read, whatever has become of the file meanwhile."""
    name = str(context.payload["file_name"])
    reading = Reading(context.payload["columns"], context.payload["sheet"], services.app_version)
    context.step("look", lambda: _look(services, name))
    return context.step("profile", lambda: _profile_latest(services, own, context, name, reading))


def _look(services: SalesServices, name: str) -> JsonValue:
    file = services.lake.stat(import_path(name))
    if file.size_bytes > services.upload_limit_bytes:
        raise InvalidInput(
            f"{name} has {file.size_bytes:,} bytes; files of more than {services.upload_limit_bytes:,} are not looked into.",
            hint="Raise TREADLE_UPLOAD_LIMIT_MB, or split the file.",
            details={"file_name": name, "size_bytes": file.size_bytes},
        )
    return {"etag": file.etag, "size_bytes": file.size_bytes, "modified_at": file.modified_at.isoformat()}


def _profile_latest(services: SalesServices, own: Database, context: JobContext, name: str, reading: Reading) -> JsonValue:
    """Read the file until it is the same before and after."""
    for _ in range(READS):
        found = _read_once(services, context, name, reading)
        if found is not None:
            file, inspection = found
            store_profile(own, file, reading, inspection)
            context.progress(f"{name}: the profile is stored.", pct=100)
            if services.lake.stat(file.path).etag == file.etag:
                return _summary(file, inspection.profile)
        context.progress(f"{name} was replaced while it was being read; it is read again.", level="WARNING")
    raise Conflict(
        f"{name} was replaced {READS} times while it was being read.", hint="Ask again when it is complete.", details={"file_name": name}
    )


def _read_once(services: SalesServices, context: JobContext, name: str, reading: Reading) -> tuple[LakeFile, Inspection] | None:
    """Read one version of the file. None: it was replaced on the way, or what could not be read is no longer what is there."""
    with scratch_folder() as folder:
        copy = folder / name
        try:
            with copy.open("wb") as content:
                file = services.lake.download(import_path(name), content, progress=_telling(context, name))
        except Conflict:  # each chunk is read on condition that the ETag is still the same
            return None
        os.utime(
            copy, times=(file.modified_at.timestamp(), file.modified_at.timestamp())
        )  # the profile says when the file was modified, not when it was copied
        context.progress(f"{name} is here and is read now.", pct=10)
        context.check()
        try:
            inspection = inspect_file(copy, mapping=reading.columns, sheet=reading.sheet, scratch=folder)
        except InvalidInput:
            if services.lake.stat(file.path).etag == file.etag:
                raise
            return None
    context.progress(f"{name} is read.", pct=90)
    return file, inspection


def _telling(context: JobContext, name: str) -> Callable[[int, int], None]:
    """Tell each tenth of a download that takes more than one request, and stop it when the job is to stop."""
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        context.check()
        tenths = 10 * done // max(total, 1)
        if told < tenths < 10:
            told = tenths
            context.progress(f"{name}: {done:,} of {total:,} bytes are here.", pct=float(tenths), step="profile")

    return tell


def _summary(file: LakeFile, profile: Mapping[str, Any]) -> JsonValue:
    return {
        "file_name": file.name,
        "etag": file.etag,
        "row_count": profile["row_count"],
        "column_count": profile["column_count"],
        "verdict": str(verdict(profile["validations"])),
        "profiled_at": datetime.now(UTC).isoformat(),
    }
