"""The files in `Files/import/` as a person sees them: workbooks, each with its mapping beside it, and how a new one gets there."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from treadle.clients.onelake import LakeFile, OneLakeClient, StagedUpload
from treadle.errors import InvalidInput, NotFound
from treadle.flows.sales.column_mapping import ColumnMapping, parse_mapping_file
from treadle.flows.sales.lakehouse import IMPORT, import_path, mapping_path

log = structlog.get_logger()

MAX_MAPPING_BYTES: Final = 1024 * 1024
BESIDE: Final = (".mapping.json", ".funnel.json")  # what lies beside a workbook and belongs to it

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Wishes:
    """How somebody wants a workbook to be read. None: as it is stored beside the file."""

    columns: Mapping[str, str] | None = None  # source column → wanted name
    sheet: str | None = None

    def told(self) -> str:
        """What is wished, for the trail of a run; empty when nothing is."""
        columns = ", ".join(f"{source} → {name}" for source, name in (self.columns or {}).items())
        parts = [f"Columns are read as: {columns or 'they are named'}."] if self.columns is not None else []
        return " ".join([*parts, *([f"The sheet {self.sheet} is read."] if self.sheet else [])])


def list_input_files(lake: OneLakeClient) -> list[LakeFile]:
    """The workbooks that a run can read, by name."""
    return [file for file in lake.list_files(IMPORT) if not file.name.endswith(BESIDE)]


def require_input_file(lake: OneLakeClient, name: str) -> None:
    """Raises NotFound, with what is there instead."""
    if lake.exists(import_path(name)):
        return
    there = [file.name for file in list_input_files(lake)]
    raise NotFound(
        f"{name} is not in {IMPORT}/.",
        hint=("Files there: " + ", ".join(there[:20])) if there else "Upload it with: treadle files upload FILE",
        details={"input_file": name, "files": there},
    )


@contextmanager
def staged_file(lake: OneLakeClient, file: Path, *, limit_bytes: int, progress: Progress | None = None) -> Generator[StagedUpload]:
    """Bring a file's bytes to the lake under a name of their own; what is not put in place by the end is cleared away.

    Raises:
        InvalidInput: the file cannot be read, or is larger than the limit.
    """
    try:
        with file.open("rb") as source:
            size = file.stat().st_size
            if size > limit_bytes:
                raise InvalidInput(
                    f"{file.name} has {size:,} bytes; uploads end at {limit_bytes:,}.",
                    hint="Raise TREADLE_UPLOAD_LIMIT_MB, or split the file.",
                )
            staged = lake.stage_upload(source, progress=progress)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.", hint="Check its name and rights.") from error
    with staged:
        yield staged


def stored_mapping(lake: OneLakeClient, input_file: str) -> ColumnMapping:
    """What is stored beside a workbook in the lake; an empty mapping when nothing is.

    Raises:
        InvalidInput: it is not a mapping.
    """
    try:
        content = lake.read_bytes(mapping_path(input_file), max_bytes=MAX_MAPPING_BYTES)
    except NotFound:
        return ColumnMapping()
    return parse_mapping_file(content, mapping_path(input_file))


def store_wishes(lake: OneLakeClient, input_file: str, wishes: Wishes) -> None:
    """Store how the workbook is to be read, beside it; what is not wished for stays as it was stored."""
    if wishes.columns is None and wishes.sheet is None:
        return
    before = _readable_mapping(lake, input_file, needed=wishes.columns is None)
    wanted = ColumnMapping(before.columns if wishes.columns is None else wishes.columns, wishes.sheet or before.sheet)
    lake.upload(mapping_path(input_file), wanted.to_json())


def _readable_mapping(lake: OneLakeClient, input_file: str, *, needed: bool) -> ColumnMapping:
    """A stored mapping that cannot be read is in nobody's way when new columns are given."""
    try:
        return stored_mapping(lake, input_file)
    except InvalidInput as error:
        if needed:
            raise
        log.warning("mapping.replaced_unreadable", file=mapping_path(input_file), reason=error.message)
        return ColumnMapping()
