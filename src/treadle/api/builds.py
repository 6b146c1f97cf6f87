"""What every route that brings archives has in common: the form, the wish that is made of it, and the job that it starts."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO, Final, cast
from uuid import UUID

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.actions import connections, scenarios
from treadle.actions.scenarios import Asked
from treadle.actions.services import Services
from treadle.api.guard import App
from treadle.api.hub import Welcome
from treadle.api.multipart import KIND, Form, Received, received
from treadle.api.once import REPLAYED, Asking
from treadle.api.shapes.scenarios import BuildForm, StartedUpload
from treadle.control.access import Principal
from treadle.control.jobs.job import Job
from treadle.errors import InvalidInput
from treadle.flows.scenario.asked import SLOTS
from treadle.flows.scenario.slots import Slot

_TEXT_CHARS: Final = 300
_FLAG_CHARS: Final = 10
Start = Callable[[Asked, Mapping[Slot, BinaryIO], UUID], Job]


class KeyedForm(BaseModel):
    """What tells a form from another one that is sent with the same key: its texts, and the SHA-256 of each file."""

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
        return Form(_texts_of(BuildForm), tuple(self._files), scenario.upload_limit_bytes, scenario.scratch, early)

    def _early_refusal(self, texts: Mapping[str, str]) -> None:
        if workspace_id := texts.get("workspace_id"):
            scenarios.require_free(self._services, self._who, workspace_id)

    def _start(self, came: Received) -> tuple[UUID, bool]:
        texts = _read_texts(came.texts)
        if not came.files:
            names = ", ".join(self._files)
            raise InvalidInput("The form brings no archive.", hint=f"Send at least one of: {names}.", details={"known": list(self._files)})
        asked = self._asked(texts)
        archives = {self._files[name]: cast("BinaryIO", file) for name, file in came.files.items()}

        def start(job_id: UUID) -> tuple[int, StartedUpload, dict[str, str]]:
            job = (scenarios.provision if self._alone else scenarios.build)(self._services, self._who, asked, archives, job_id=job_id)
            return 201, StartedUpload(job_id=job.job_id), {"Location": f"/api/upload-jobs/{job.job_id}"}

        content = KeyedForm(texts=texts, files={name: file.sha256 for name, file in came.files.items()})
        kept = Asking(self._services, self._who, self._request, self._key, content).carry_out(start)
        return UUID(kept.body["job_id"]), kept.replayed

    def _asked(self, form: BuildForm) -> Asked:
        workspace_id, workspace_name = form.workspace_id and str(form.workspace_id), form.workspace_name
        if workspace_id is None:
            active = connections.active(self._services, self._who)
            if active is None:
                raise InvalidInput(
                    "Nobody said in which workspace, and no connection is active.",
                    hint="Send workspace_id, or select a connection: POST /query/fabric/connections/{id}/select",
                    details={"field": "workspace_id"},
                )
            workspace_id, workspace_name = active.workspace_id, workspace_name or active.workspace_name
        names = form.model_dump(include={"scenario_name", "backend", "lakehouse_name", "ontology_name", "eventhouse_name", "overwrite"})
        return Asked(workspace_id=workspace_id, workspace_name=workspace_name or "", **names)


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
    if len(files) == 1:
        schema["required"] = [*schema.get("required", []), *files]
    encoding = {name: {"contentType": "application/gzip"} for name in files}
    return {"required": True, "content": {KIND: {"schema": schema, "encoding": encoding}}}


SLOT_FILES: Final = {name: Slot(name) for name in SLOTS}


def _texts_of(model: type[BaseModel]) -> dict[str, int]:
    return {name: _FLAG_CHARS if field.annotation is bool else _TEXT_CHARS for name, field in model.model_fields.items()}


def _read_texts(texts: Mapping[str, str]) -> BuildForm:
    try:
        return BuildForm.model_validate(dict(texts))
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in error.errors()]) from error
