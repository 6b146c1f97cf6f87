"""Resumable uploads: begin, ask how far, send, finalise, give up; all of it right `files:write`."""

from uuid import UUID

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.clients.onelake import LakeFile
from treadle.control import uploads
from treadle.control.access import Principal, Right, require
from treadle.control.uploads import NewUpload, Upload
from treadle.flows.sales import resumable
from treadle.flows.sales.input_file import check_input_file
from treadle.flows.sales.resumable import Receiver


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
    """Begin an upload. Safe to repeat with the same id. Raises PermissionDenied, and what `resumable.begin` raises."""
    name = check_input_file(file_name)
    details = {"size_bytes": size_bytes, "overwrite": overwrite}
    with change(services, who, Right.FILES_WRITE, "upload.begin", f"file:{name}", upload_id=upload_id, **details):
        new = NewUpload(upload_id, name, size_bytes, sha256, overwrite, resumable.new_staged_path(upload_id), who.name)
        return resumable.begin(services.sales, services.own, new, lifetime=services.limits.upload_lifetime)


def get_upload(services: Services, who: Principal, upload_id: UUID) -> tuple[Upload, int]:
    """An upload, and how much of it the lake has for good. Raises NotFound."""
    require(who, Right.FILES_WRITE)
    upload = uploads.get_upload(services.own, upload_id)
    return upload, resumable.offset_of(services.sales.lake, upload)


def receive(services: Services, who: Principal, upload_id: UUID, offset: int) -> Receiver:
    """Begin to take bytes from this offset; the caller closes what is returned. Raises as `resumable.receive`."""
    require(who, Right.FILES_WRITE)
    return resumable.receive(services.sales, services.own, upload_id, offset)


def finalise(services: Services, who: Principal, upload_id: UUID, sha256: str | None) -> LakeFile:
    """Verify what is stored and put it in its place. Safe to repeat. Raises as `resumable.finalise`."""
    require(who, Right.FILES_WRITE)
    upload = uploads.get_upload(services.own, upload_id)
    with change(services, who, Right.FILES_WRITE, "file.upload", f"file:{upload.file_name}", upload_id=upload_id) as entry:
        stored = resumable.finalise(services.sales, services.own, upload_id, sha256)
        entry.note(size_bytes=stored.size_bytes)
        return stored


def give_up(services: Services, who: Principal, upload_id: UUID) -> None:
    """Cancel an upload. Raises as `resumable.give_up`."""
    with change(services, who, Right.FILES_WRITE, "upload.cancel", f"upload:{upload_id}"):
        resumable.give_up(services.sales, services.own, upload_id)
