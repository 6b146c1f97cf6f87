"""The notebook's one call: a workbook in `Files/import/` becomes a finished, published run; or an earlier run is published again.

Runs inside Fabric on the lakehouse mount, and unchanged inside the sandbox. Nothing heavy is imported here: the work is done in a child process with
limits, so that a hostile workbook ends the child, and this process can still say why.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from treadle.errors import Conflict, InvalidInput, NotFound, OperationFailed, UnexpectedAnswer
from treadle.flows.sales.failure import failure_told
from treadle.flows.sales.files import entry_of, exclusively, remove_temporaries, require_inside, write_json
from treadle.flows.sales.input_file import check_input_file, check_run_id, restore_source
from treadle.flows.sales.isolation import Limits, run_isolated
from treadle.flows.sales.lakehouse import ATTEMPT_PREFIX, COPIES, DATA_FILES, FAILED, IMPORT, RUN_METADATA, STARTED, import_path, run_path
from treadle.flows.sales.manifest import FileEntry, Manifest, require_restorable
from treadle.flows.sales.publish import publish_current, read_manifest, read_run_record, repair_current, verify_run, write_run_metadata

FABRIC_MOUNT: Final = "/lakehouse/default"  # where Fabric mounts the notebook's default lakehouse
_BUILD_JOB: Final = "treadle.flows.sales.artifacts:build_artifacts"  # named, not imported: it brings Polars with it

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Run:
    """The run as the notebook's parameters give it."""

    lakehouse: Path
    run_id: UUID
    input_file: str
    requested_by: str
    pipeline_run_id: str  # empty: not started by a pipeline
    started_at: datetime

    def path(self, file_name: str = "") -> Path:
        """A file of the run's folder, or the folder itself."""
        return self.lakehouse / run_path(self.run_id, file_name)


def ingest(input_file: str, run_id: str, requested_by: str, pipeline_run_id: str = "", lakehouse: Path | str | None = None) -> Manifest:
    """Carry one run to its published end and return what is current now. Safe to repeat: a run that is finished is published again, not made again.

    lakehouse: the folder that holds `Files/`; None is TREADLE_LAKEHOUSE_ROOT, else Fabric's mount.

    Raises:
        TreadleError: why the run failed; `_failed.json` in its folder says the same, and `current/` is as it was.
    """
    run = _Run(_lakehouse_root(lakehouse), check_run_id(run_id), input_file, requested_by, pipeline_run_id, datetime.now(UTC))
    run.path().mkdir(parents=True, exist_ok=True)
    with structlog.contextvars.bound_contextvars(run_id=run_id), exclusively(run.path(), wait_seconds=0):
        if run.path(RUN_METADATA).exists():
            return _publish_again(run)
        with failure_told(run.path(FAILED)):
            _start(run)
            repair_current(run.lakehouse)
            source = restore_source(input_file)
            return _run_workbook(run) if source is None else _run_restore(run, source)


def _lakehouse_root(lakehouse: Path | str | None) -> Path:
    root = Path(lakehouse or os.environ.get("TREADLE_LAKEHOUSE_ROOT") or FABRIC_MOUNT)
    if not (root / "Files").is_dir():
        raise NotFound(
            f"There is no lakehouse at {root}: it has no folder Files.",
            hint="Attach a default lakehouse to the notebook, or set TREADLE_LAKEHOUSE_ROOT.",
            details={"lakehouse": str(root)},
        )
    return root.resolve()


def _publish_again(run: _Run) -> Manifest:
    """A second execution of a run that is finished: its folder stays, and `current/` is brought to it unless something newer was published since."""
    _remove_attempts(run)
    record = read_run_record(run.lakehouse, run.run_id)
    if record.input_file != run.input_file:
        raise Conflict(
            f"Run {run.run_id} is finished already, with another input: {record.input_file}.", hint="Start a new run with an id of its own."
        )
    published = _published(run.lakehouse)
    if published and published.published_by_run != run.run_id and published.published_at > record.finished_at:
        raise Conflict(
            f"Run {run.run_id} is finished already, and run {published.published_by_run} was published after it.",
            hint=f"To bring it back: treadle restore {run.run_id}",
            details={"run_id": str(run.run_id), "current": str(published.published_by_run)},
        )
    log.info("run.repeated")
    source = verify_run(run.lakehouse, record.source_run_id or run.run_id)
    return publish_current(run.lakehouse, source, published_by=run.run_id, now=datetime.now(UTC))


def _published(lakehouse: Path) -> Manifest | None:
    try:
        return read_manifest(lakehouse)
    except UnexpectedAnswer:
        return None  # damaged, so nothing is in the way of publishing, which mends it


def _start(run: _Run) -> None:
    """Give the first sign of life, and clear away what an earlier, unfinished execution of this run left."""
    _remove_attempts(run)
    for leftover in map(run.path, (*DATA_FILES, FAILED)):
        leftover.unlink(missing_ok=True)
    remove_temporaries(run.path())
    write_json(run.path(STARTED), {"run_id": run.run_id, "pipeline_run_id": run.pipeline_run_id, "started_at": run.started_at})
    if not run.requested_by.strip():
        raise InvalidInput("The run has no requested_by: it must say who asked for it.", hint="Give the parameter requested_by.")
    log.info("run.started", input_file=run.input_file, requested_by=run.requested_by, pipeline_run_id=run.pipeline_run_id)


def _remove_attempts(run: _Run) -> None:
    """What an execution that was killed had not brought to its place."""
    for leftover in run.path().glob(f"{ATTEMPT_PREFIX}*"):
        shutil.rmtree(leftover)


def _run_workbook(run: _Run) -> Manifest:
    """Read the workbook in a child process, move what it made into the run's folder, seal the folder, and publish."""
    path = _find_input(run)
    attempt = run.path(f"{ATTEMPT_PREFIX}{uuid4().hex[:12]}")
    attempt.mkdir()
    try:
        built, source = _build(run, path, attempt)
        files = _move_into_place(attempt, run.path(), built)
        record = write_run_metadata(run.lakehouse, run.run_id, _workbook_metadata(run, built, source, files))
        log.info("run.sealed", row_count=built["row_count"], warnings=len(built["warnings"]))
        copies = {copy.name: copy for copy in (attempt / COPIES).iterdir()}
        return publish_current(run.lakehouse, record, published_by=run.run_id, now=datetime.now(UTC), copies=copies)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def _find_input(run: _Run) -> Path:
    path = run.lakehouse / import_path(check_input_file(run.input_file))
    if not path.is_file():
        there = sorted(file.name for file in (run.lakehouse / IMPORT).glob("*") if file.is_file())
        raise NotFound(
            f"{run.input_file} is not in {IMPORT}/.",
            hint=f"Files there: {', '.join(there[:20])}" if there else "The folder is empty: upload the file first.",
            details={"input_file": run.input_file, "files": there[:200]},
        )
    return require_inside(run.lakehouse, path)


def _build(run: _Run, path: Path, attempt: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the child tells of the table, and the facts of the input file, which nobody may change meanwhile."""
    before = path.stat()
    modified_at = datetime.fromtimestamp(before.st_mtime, UTC)
    arguments = {
        "input_path": str(path),
        "lakehouse": str(run.lakehouse),
        "input_file": run.input_file,
        "folder": str(attempt),
        "run_id": str(run.run_id),
        "modified_at": modified_at.isoformat(),
        "today": run.started_at.date().isoformat(),
    }
    with ThreadPoolExecutor(1, "hash") as threads:
        entry = threads.submit(entry_of, path)
        built = run_isolated(_BUILD_JOB, arguments, limits=_limits())
        source = entry.result()
    after = path.stat()
    if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, source.size_bytes):
        raise Conflict(f"{run.input_file} was changed while it was being read.", hint="Start the run again when the upload has ended.")
    return built, {"input_size_bytes": source.size_bytes, "input_sha256": source.sha256, "input_modified_at": modified_at}


def _limits() -> Limits:
    """The child's limits, which TREADLE_READ_SECONDS and TREADLE_READ_MEMORY_MB change."""
    standard = Limits()
    return Limits(
        address_space_mb=int(_positive("TREADLE_READ_MEMORY_MB", standard.address_space_mb)),
        seconds=_positive("TREADLE_READ_SECONDS", standard.seconds),
    )


def _positive(name: str, standard: float) -> float:
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else standard
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InvalidInput(f"{name} is not a number above 0.", hint=f"Leave it out for the standard: {standard:g}.")
    return value


def _move_into_place(attempt: Path, folder: Path, built: dict[str, Any]) -> list[FileEntry]:
    """Take the child's files over, and return what it says they are: it has compared them with the copies that are to be published."""
    files = {str(file["name"]): FileEntry(file["name"], file["size_bytes"], file["sha256"]) for file in built["files"]}
    missing = [name for name in DATA_FILES if name not in files or not (attempt / name).is_file()]
    if missing:
        raise OperationFailed(f"The reader ended well but did not write {', '.join(missing)}.", hint="Report this as a defect of Treadle.")
    for name in DATA_FILES:
        (attempt / name).replace(folder / name)
    return [files[name] for name in DATA_FILES]


def _workbook_metadata(run: _Run, built: dict[str, Any], source: dict[str, Any], files: list[FileEntry]) -> dict[str, Any]:
    return {
        **_heading(run, "run"),
        **source,
        "sheet": built["sheet"],
        "mapping": built["mapping"],
        "row_count": built["row_count"],
        "column_count": built["column_count"],
        "columns": built["columns"],
        "warnings": built["warnings"],
        "formats": built["formats"],
        "files": [entry.as_json() for entry in files],
    }


def _run_restore(run: _Run, source_run_id: UUID) -> Manifest:
    """Check the earlier run, seal this one as its restore, and publish the files of the earlier one."""
    require_restorable(read_run_record(run.lakehouse, source_run_id))
    source = verify_run(run.lakehouse, source_run_id)
    metadata: dict[str, Any] = {**_heading(run, "restore"), "source_run_id": source_run_id, "warnings": [], "files": []}
    write_run_metadata(run.lakehouse, run.run_id, metadata)
    log.info("run.sealed", source_run_id=str(source_run_id))
    return publish_current(run.lakehouse, source, published_by=run.run_id, now=datetime.now(UTC))


def _heading(run: _Run, kind: str) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "kind": kind,
        "input_file": run.input_file,
        "requested_by": run.requested_by,
        "pipeline_run_id": run.pipeline_run_id or None,
        "started_at": run.started_at,
        "finished_at": datetime.now(UTC),
        "treadle_version": _version(),
    }


def _version() -> str | None:
    """None when Treadle runs from files that were never installed as a package."""
    try:
        return version("treadle")
    except PackageNotFoundError:
        return None
