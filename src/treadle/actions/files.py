"""Workbooks in `Files/import/`: list, look at, bring, and say how their columns are to be read."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import UUID

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.clients.onelake import LakeFile
from treadle.control import runs
from treadle.control.access import Principal, Right, require
from treadle.control.jobs.job import Job
from treadle.control.jobs.states import JobState
from treadle.errors import Conflict, InvalidInput, NotFound, UnexpectedAnswer
from treadle.flows.sales import profiles
from treadle.flows.sales.column_mapping import ColumnMapping
from treadle.flows.sales.failing_rows import FailedCheck
from treadle.flows.sales.input_file import check_input_file
from treadle.flows.sales.input_files import Progress, list_input_files, staged_file, stored_mapping
from treadle.flows.sales.lakehouse import IMPORT, PROFILE, import_path, mapping_path
from treadle.flows.sales.manifest import MAX_RECORD_BYTES
from treadle.flows.sales.profiles import StoredProfile
from treadle.flows.sales.published import open_published, read_published_manifest


@dataclass(frozen=True, slots=True)
class PublishedProfile:
    """What the file behind `current/` was found to hold, in the form of `import_profile.json`, and the run that published it."""

    run_id: UUID
    published_at: datetime  # UTC
    profile: Mapping[str, Any]


def list_files(services: Services, who: Principal) -> list[LakeFile]:
    """The workbooks that a run can read, by name; right `files:read`."""
    require(who, Right.FILES_READ)
    return list_input_files(services.sales.lake)


def get_file(services: Services, who: Principal, name: str) -> LakeFile:
    """One workbook; right `files:read`. Raises NotFound, and InvalidInput for what cannot be a workbook's name."""
    require(who, Right.FILES_READ)
    path = import_path(check_input_file(name))
    try:
        return services.sales.lake.stat(path)
    except NotFound as error:
        raise NotFound(
            f"{name} is not in {IMPORT}/.", hint="See what is there with: treadle files ls", details={"input_file": name}
        ) from error


def get_mapping(services: Services, who: Principal, name: str) -> ColumnMapping:
    """How a workbook's columns are to be read; empty when nothing is stored; right `files:read`. Raises NotFound."""
    get_file(services, who, name)
    return stored_mapping(services.sales.lake, name)


def cached_profile(services: Services, who: Principal, name: str) -> StoredProfile | None:
    """What is known of a workbook as it is in the lake now; right `files:read`. None: nobody has looked into this version yet. Raises NotFound."""
    require(who, Right.FILES_READ)
    return profiles.cached_profile(services.sales, services.own, name)


def failing_rows(services: Services, who: Principal, name: str, etag: str) -> list[FailedCheck]:
    """The rows on which the checks of this version of a workbook failed, as far as they are kept; right `files:read`.

    Raises NotFound when the file, or how it is read, has changed since.
    """
    require(who, Right.FILES_READ)
    return profiles.failing_rows(services.sales, services.own, name, etag)


def get_profile(services: Services, who: Principal, name: str) -> StoredProfile:
    """What is in a workbook as it is in the lake now; right `files:read`.

    Raises:
        NotFound: there is no such file, or nobody has looked into this version yet, or somebody is about to.
        Conflict: `profile_failed`, nobody could look into it; says why, and by which job.
    """
    get_file(services, who, name)
    found = profiles.cached_profile(services.sales, services.own, name)
    if found is None:
        raise _no_profile(name, profiles.profile_job(services.sales, services.own, name))
    return found


def published_profile(services: Services, who: Principal) -> PublishedProfile:
    """What the file behind `current/` holds, verified against the manifest; right `files:read`.

    Raises:
        NotFound: nothing was ever published. ChecksumMismatch: the profile is damaged. UnexpectedAnswer: it is none.
    """
    require(who, Right.FILES_READ)
    lake = services.sales.lake
    manifest = read_published_manifest(lake)
    if manifest.entry(PROFILE).size_bytes > MAX_RECORD_BYTES:
        raise UnexpectedAnswer(f"{PROFILE} of run {manifest.run_id} is larger than any profile of ours.")
    with open_published(lake, manifest, PROFILE) as content:
        try:
            profile: Any = json.load(content)
        except ValueError as error:
            raise UnexpectedAnswer(f"{PROFILE} of run {manifest.run_id} is not JSON: {error}.") from error
    if not isinstance(profile, dict) or not all(member in profile for member in ("schema", "row_count", "file_name")):
        raise UnexpectedAnswer(f"{PROFILE} of run {manifest.run_id} is not a profile.")
    return PublishedProfile(manifest.run_id, manifest.published_at, cast("dict[str, Any]", profile))


def request_profile(services: Services, who: Principal, name: str, *, correlation_id: str | None = None) -> StoredProfile | Job:
    """The profile of a workbook, or the job that makes it, the same one however often it is asked for; right `files:read`. Raises NotFound."""
    get_file(services, who, name)
    if found := profiles.cached_profile(services.sales, services.own, name):
        return found
    with change(services, who, Right.FILES_READ, "file.profile", f"file:{name}") as entry:
        asked = profiles.request_profile(services.sales, services.own, name, who.name, correlation_id=correlation_id)
        if isinstance(asked, Job):
            entry.note(job_id=asked.job_id)
        return asked


def put_mapping(services: Services, who: Principal, name: str, columns: Mapping[str, str], *, sheet: str | None = None) -> ColumnMapping:
    """Store how a workbook's columns are to be read, in place of what was stored; right `files:write`.

    Raises:
        PermissionDenied, NotFound, and Conflict when a run is reading the file.
    """
    details = {"columns": dict(columns), "sheet": sheet}
    with change(services, who, Right.FILES_WRITE, "file.map", f"file:{name}", **details):
        path = mapping_path(check_input_file(name))
        if not services.sales.lake.exists(import_path(name)):
            raise NotFound(f"{name} is not in {IMPORT}/.", hint="Upload it first.", details={"input_file": name})
        refuse_while_read(services, name)
        mapping = ColumnMapping(dict(columns), sheet)
        services.sales.lake.upload(path, mapping.to_json())
        return mapping


def upload(  # noqa: PLR0913 - who, what, under which name, and how
    services: Services, who: Principal, file: Path, *, name: str | None = None, overwrite: bool = True, progress: Progress | None = None
) -> LakeFile:
    """Bring a workbook of this machine to the lake; right `files:write`. An older one of its name stays readable until the new one is whole.

    Raises:
        PermissionDenied, InvalidInput, and Conflict when a run is reading the file or it is there and may not be replaced.
    """
    target = check_input_file(name or file.name)
    with change(services, who, Right.FILES_WRITE, "file.upload", f"file:{target}", overwrite=overwrite) as entry:
        refuse_while_read(services, target)
        with staged_file(services.sales.lake, file, limit_bytes=services.sales.upload_limit_bytes, progress=progress) as staged:
            stored = staged.put_in_place(import_path(target), overwrite=overwrite)
        entry.note(size_bytes=stored.size_bytes)
        return stored


def upload_stream(  # noqa: PLR0913 - who, what, under which name, and how
    services: Services, who: Principal, source: BinaryIO, name: str, *, overwrite: bool = False, progress: Progress | None = None
) -> LakeFile:
    """Bring a workbook that is open already, from where it stands to its end; right `files:write`. An older one stays readable as for `upload`.

    source: must be able to seek, so that its size is known before anything is sent.

    Raises:
        PermissionDenied, InvalidInput (`too_large` among them), and Conflict as `upload`; it is asked before the bytes are sent, and again at the end.
    """
    target = check_input_file(name)
    size = _bytes_left(source)
    with change(services, who, Right.FILES_WRITE, "file.upload", f"file:{target}", overwrite=overwrite, size_bytes=size) as entry:
        _require_size(services, target, size)
        refuse_while_read(services, target)
        lake = services.sales.lake
        if not overwrite and lake.exists(import_path(target)):
            raise Conflict(f"{target} exists already.", hint="Choose another name, or replace it.", details={"file_name": target})
        with lake.stage_upload(source, progress=progress) as staged:
            refuse_while_read(services, target)  # an upload may take long, and a run may have begun meanwhile
            stored = staged.put_in_place(import_path(target), overwrite=overwrite)
        entry.note(size_bytes=stored.size_bytes)
        return stored


def _bytes_left(source: BinaryIO) -> int:
    here = source.tell()
    end = source.seek(0, io.SEEK_END)
    source.seek(here)
    return end - here


def _require_size(services: Services, name: str, size: int) -> None:
    limit = services.sales.upload_limit_bytes
    if size > limit:
        raise InvalidInput(
            f"{name} has {size:,} bytes; uploads end at {limit:,}.",
            hint="Raise TREADLE_UPLOAD_LIMIT_MB, or split the file.",
            details={"code": "too_large", "limit_bytes": limit},
        )
    if not size:
        raise InvalidInput(f"{name} is empty.", hint="Choose a file that holds something.", details={"file_name": name})


def _no_profile(name: str, job: Job | None) -> NotFound | Conflict:
    if job is None or job.state in (JobState.CANCELLED, JobState.SUCCEEDED):
        return NotFound(f"{name} has not been looked into yet, as it is now.", hint="Ask for its profile.", details={"file_name": name})
    facts = {"file_name": name, "job_id": str(job.job_id), "state": str(job.state)}
    if job.state is not JobState.FAILED:
        return NotFound(f"{name} is being looked into, by job {job.job_id}.", hint="Follow the job until it has ended.", details=facts)
    return Conflict(
        f"{name} could not be looked into: {job.error_message or 'the reason is not known.'}",
        hint=f"{job.error_hint or 'Correct the file, or say how its columns are read.'} To try the same again, retry the job.",
        details={"code": "profile_failed", **facts},
    )


def refuse_while_read(services: Services, name: str) -> None:
    """Raises Conflict when an active run reads this file: what it reads must not be replaced under it."""
    reading = [run for run in runs.active_runs(services.database) if run.input_file == name]
    if reading:
        raise Conflict(
            f"Run {reading[0].run_id} is reading {name} at this moment.",
            hint="Wait for its end, or use another name.",
            details={"run_id": str(reading[0].run_id)},
        )
