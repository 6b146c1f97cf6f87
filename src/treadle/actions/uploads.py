"""Resumable uploads: begin, ask how far, send, finalise, give up. Workbooks are right `files:write`; archives of scenarios are right `scenarios:build`,
and there for who began them alone.
"""

from dataclasses import replace
from uuid import UUID

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.clients.onelake import LakeFile
from treadle.control import uploads
from treadle.control.access import Principal, Right, allowed, require
from treadle.control.uploads import NewUpload, Upload
from treadle.flows.sales import resumable
from treadle.flows.sales.input_file import check_input_file
from treadle.flows.sales.resumable import MostBytes, Receiver


def begin(  # noqa: PLR0913 - what is going to come, each by name
    services: Services,
    who: Principal,
    upload_id: UUID,
    file_name: str,
    size_bytes: int,
    *,
    sha256: str | None = None,
    overwrite: bool = True,
) -> Upload:
    """Begin an upload: of an archive when the name ends in .tar.gz or .tgz, else of a workbook. Safe to repeat with the same id.

    Raises PermissionDenied, and what `resumable.begin` raises.
    """
    right, place, most = _kept_where(services, upload_id, file_name)
    details = {"size_bytes": size_bytes, "overwrite": overwrite}
    with change(services, who, right, "upload.begin", f"file:{file_name}", upload_id=upload_id, **details):
        new = NewUpload(
            upload_id, file_name, size_bytes, sha256, overwrite, resumable.new_staged_path(upload_id), who.name, who.subject, place
        )
        upload = resumable.begin(services.sales, services.own, new, lifetime=services.limits.upload_lifetime, most=most)
        uploads.require_owner(upload, who.subject)
        return upload


def get_upload(services: Services, who: Principal, upload_id: UUID) -> tuple[Upload, int]:
    """An upload, and how much of it the lake has for good. Raises NotFound."""
    upload, right = _found(services, who, upload_id)
    require(who, right)
    return upload, resumable.offset_of(services.sales.lake, upload)


def receive(services: Services, who: Principal, upload_id: UUID, offset: int) -> Receiver:
    """Begin to take bytes from this offset; the caller closes what is returned. Raises as `resumable.receive`."""
    _, right = _found(services, who, upload_id)
    require(who, right)
    return resumable.receive(services.sales, services.own, upload_id, offset)


def finalise(services: Services, who: Principal, upload_id: UUID, sha256: str | None) -> LakeFile:
    """Verify what is stored and put it in its place. Safe to repeat. Raises as `resumable.finalise`."""
    upload, right = _found(services, who, upload_id)
    with change(services, who, right, "file.upload", f"file:{upload.file_name}", upload_id=upload_id) as entry:
        stored = resumable.finalise(services.sales, services.own, upload_id, sha256)
        entry.note(size_bytes=stored.size_bytes)
        return replace(stored, name=upload.file_name)


def give_up(services: Services, who: Principal, upload_id: UUID) -> None:
    """Cancel an upload, or an archive that nothing has used yet. Raises as `resumable.give_up`."""
    _, right = _found(services, who, upload_id)
    with change(services, who, right, "upload.cancel", f"upload:{upload_id}"):
        resumable.give_up(services.sales, services.own, upload_id)


def _kept_where(services: Services, upload_id: UUID, file_name: str) -> tuple[Right, str | None, MostBytes | None]:
    """The right that an upload of this name needs, where an archive goes, and how large it may be. Raises InvalidInput for a name of no kind."""
    from treadle.flows.scenario.uploads import is_archive, place_of_upload  # noqa: PLC0415 - needed by those alone who bring an archive

    if not is_archive(file_name):
        check_input_file(file_name)
        return Right.FILES_WRITE, None, None
    most = MostBytes(services.scenarios().upload_limit_bytes, "Raise SCENARIO_UPLOAD_LIMIT_MB, or leave out what is not needed.")
    return Right.SCENARIOS_BUILD, place_of_upload(upload_id, file_name), most


def _found(services: Services, who: Principal, upload_id: UUID) -> tuple[Upload, Right]:
    """The upload, and the right that it needs. Who may bring nothing at all is not told what there is."""
    if not allowed(who, Right.SCENARIOS_BUILD):
        require(who, Right.FILES_WRITE)
    upload = uploads.get_upload(services.own, upload_id)
    uploads.require_owner(upload, who.subject)
    return upload, Right.FILES_WRITE if upload.archive_path is None else Right.SCENARIOS_BUILD
