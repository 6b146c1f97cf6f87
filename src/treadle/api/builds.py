"""What every route that brings archives has in common: the form, the wish that is made of it, and the job that it starts."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from uuid import UUID

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.actions import scenarios
from treadle.actions.scenarios import Asked
from treadle.actions.services import Services
from treadle.api.guard import App
from treadle.api.hub import Welcome
from treadle.api.multipart import KIND, Form, Received, received
from treadle.api.once import REPLAYED, Asking
from treadle.api.shapes.scenarios import BuildForm, StartedUpload
from treadle.clients.locations import is_id
from treadle.control.access import Principal
from treadle.errors import InvalidInput
from treadle.flows.scenario.asked import SLOTS
from treadle.flows.scenario.slots import Slot

if TYPE_CHECKING:
    from treadle.flows.scenario.uploads import Archive

_TEXT_CHARS: Final = 300
_FLAG_CHARS: Final = 10
_ID_CHARS: Final = 36


class KeyedForm(BaseModel):
    """What tells a form from another one that is sent with the same key: its texts, and the SHA-256 of each file or the upload in its place."""

    texts: BuildForm
    files: dict[str, str]


class Building:
    """One request that brings archives and starts a build.

    files: field of the form → the slot that it fills. alone: whether the workspace must be free.
    """

    def __init__(  # noqa: PLR0913 - who sends what where
        self, request: Request, shared: App, who: Principal, key: str | None, files: Mapping[str, Slot], *, alone: bool
    ) -> None:
        self._request, self._shared, self._who, self._key, self._files, self._alone = request, shared, who, key, files, alone

    @property
    def _services(self) -> Services:
        return self._shared.services

    async def started(self) -> tuple[UUID, bool]:
        """Read the form and start the job; its id, and whether an earlier request with this key had started it."""
        form = await run_in_threadpool(self._form)
        async with received(self._request, self._shared, self._who, form) as came:
            return await run_in_threadpool(self._start, came)

    def _form(self) -> Form:
        scenario = self._services.scenarios()
        early = self._early_refusal if self._alone and self._key is None else None  # a repetition must not stand in its own way
        uploads = dict.fromkeys(map(upload_field, self._files), _ID_CHARS)
        return Form(_texts_of(BuildForm) | uploads, tuple(self._files), scenario.upload_limit_bytes, scenario.scratch, early)

    def _early_refusal(self, texts: Mapping[str, str]) -> None:
        if workspace_id := texts.get("workspace_id"):
            scenarios.require_free(self._services, self._who, workspace_id)

    def _start(self, came: Received) -> tuple[UUID, bool]:
        uploads = self._uploads(came)
        texts = _read_texts({name: text for name, text in came.texts.items() if name in BuildForm.model_fields})
        if not came.files and not uploads:
            names = ", ".join(self._files)
            raise InvalidInput(
                "The form brings no archive.",
                hint=f"Send at least one of: {names}. Or name an upload that is finished, as {upload_field(next(iter(self._files)))}.",
                details={"known": list(self._files)},
            )

        def start(job_id: UUID) -> tuple[int, StartedUpload, dict[str, str]]:
            asked, archives = self._asked(texts), self._archives(came, uploads, job_id)
            job = (scenarios.provision if self._alone else scenarios.build)(self._services, self._who, asked, archives, job_id=job_id)
            return 201, StartedUpload(job_id=job.job_id), {"Location": f"/api/upload-jobs/{job.job_id}"}

        named = {name: f"upload {upload_id}" for name, upload_id in uploads.items()}
        content = KeyedForm(texts=texts, files={name: file.sha256 for name, file in came.files.items()} | named)
        kept = Asking(self._services, self._who, self._request, self._key, content).carry_out(start)
        return UUID(kept.body["job_id"]), kept.replayed

    def _uploads(self, came: Received) -> dict[str, UUID]:
        """Field of a file → the upload that stands for it. Raises InvalidInput: it is no id, or the file came, too."""
        found = {name: _upload_id(field, came.texts[field]) for name in self._files if (field := upload_field(name)) in came.texts}
        if twice := [name for name in found if name in came.files]:
            raise InvalidInput(
                f"The archive {twice[0]} came twice: as a file, and as an upload.",
                hint=f"Send {twice[0]} or {upload_field(twice[0])}.",
                details={"field": upload_field(twice[0])},
            )
        return found

    def _archives(self, came: Received, uploads: Mapping[str, UUID], job_id: UUID) -> dict[Slot, "Archive"]:
        files: dict[Slot, Archive] = {self._files[name]: cast("BinaryIO", file) for name, file in came.files.items()}
        finished = {
            self._files[name]: scenarios.finished_upload(self._services, self._who, upload_id, job_id)
            for name, upload_id in uploads.items()
        }
        return files | finished

    def _asked(self, form: BuildForm) -> Asked:
        workspace_id = form.workspace_id and str(form.workspace_id)
        workspace = scenarios.find_workspace(self._services, self._who, workspace_id, form.workspace_name)
        names = form.model_dump(include={"scenario_name", "backend", "lakehouse_name", "ontology_name", "eventhouse_name", "overwrite"})
        return Asked(workspace_id=workspace.workspace_id, workspace_name=workspace.name, **names)


async def followed(shared: App, who: Principal, welcome: Welcome, started: tuple[UUID, bool], address: str) -> Response:
    """The stream of a provisioning from its beginning; `Location` says where to look for it when the stream is cut.

    started: the job, and whether an earlier request had started it. address: of such jobs.
    """
    job_id, replayed = started
    answer = await shared.hub.stream(("provisioning", job_id), None, who, welcome)
    answer.headers.update({"Location": f"{address}/{job_id}"} | ({REPLAYED: "true"} if replayed else {}))
    return answer


def form_body(files: Collection[str]) -> dict[str, Any]:
    """The body of such a route, for its OpenAPI."""
    schema = BuildForm.model_json_schema()
    archive = {"type": "string", "format": "binary", "description": "A .tar.gz archive."}
    schema["properties"] |= dict.fromkeys(files, archive)
    schema["properties"] |= {upload_field(name): _upload_schema(name) for name in files}
    schema["anyOf"] = [{"required": [each]} for name in files for each in (name, upload_field(name))]
    encoding = {name: {"contentType": "application/gzip"} for name in files}
    return {"required": True, "content": {KIND: {"schema": schema, "encoding": encoding}}}


def upload_field(name: str) -> str:
    """The field that names an upload in place of the file of this field. Pure."""
    return f"{name}_upload"


def _upload_schema(name: str) -> dict[str, Any]:
    told = f"In place of `{name}`: the id of an upload of your own that is finalised (POST /api/uploads). The job uses it up."
    return {"type": "string", "format": "uuid", "description": told}


def _upload_id(field: str, text: str) -> UUID:
    if not is_id(text):
        raise InvalidInput(
            f"{field} is not the id of an upload.", hint="Send the upload_id that POST /api/uploads has answered.", details={"field": field}
        )
    return UUID(text)


SLOT_FILES: Final = {name: Slot(name) for name in SLOTS}


def _texts_of(model: type[BaseModel]) -> dict[str, int]:
    return {name: _FLAG_CHARS if field.annotation is bool else _TEXT_CHARS for name, field in model.model_fields.items()}


def _read_texts(texts: Mapping[str, str]) -> BuildForm:
    try:
        return BuildForm.model_validate(dict(texts))
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in error.errors()]) from error
