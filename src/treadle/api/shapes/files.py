"""The shapes of workbooks and uploads."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import Field

from treadle.api.shapes.base import Asked, Columns, FileName, Moment, Sha256, Shape


class FileShape(Shape):
    """A workbook in Files/import/."""

    name: str = Field(examples=["superstore.xlsx"])
    path: str
    size_bytes: int
    modified_at: Moment
    etag: str


class Files(Shape):
    """The workbooks, by name."""

    files: list[FileShape]


class MappingShape(Shape):
    """How the columns of a workbook are read."""

    columns: Mapping[str, str] = Field(examples=[{"Sales": "revenue"}])
    sheet: str | None = None


class PutMapping(Asked):
    """The mapping to store, in place of what was stored."""

    columns: Columns = Field(examples=[{"Sales": "revenue"}], max_length=500)
    sheet: str | None = Field(default=None, max_length=255)


class ProfileShape(Shape):
    """What a run would see in the file; `profile` is of the form of import_profile.json."""

    file_name: str
    etag: str
    computed_at: Moment
    profile: dict[str, Any]


class CreateUpload(Asked):
    """What is going to be sent."""

    file_name: FileName = Field(
        description="A plain name in Files/import/; or that of an archive of a scenario, which ends in .tar.gz or .tgz."
    )
    size_bytes: int = Field(ge=0, le=2**53, examples=[1048576])
    sha256: Sha256 | None = Field(default=None, description="If known now; else say it when finalising.")
    overwrite: bool = Field(default=True, description="Whether a file of that name may be replaced.")


class Finalise(Asked):
    """The SHA-256 of the whole file, as its sender has it."""

    sha256: Sha256 | None = None


class UploadShape(Shape):
    """An upload and how far it has come."""

    upload_id: UUID
    file_name: str
    size_bytes: int
    offset: int = Field(description="How much the lake has for good: where to go on.")
    state: str = Field(examples=["OPEN"])
    created_by: str
    created_at: Moment
    expires_at: Moment
    used_by: UUID | None = Field(
        default=None, description="The upload job that builds from it, if it is an archive; null: none has used it."
    )
    url: str
