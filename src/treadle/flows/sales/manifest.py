"""The two records that make results trustworthy: a run's `run_metadata.json` and `current/manifest.json`. Pure.

Both are written last into their folder. A file counts only when its size and SHA-256 are those recorded for it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast
from uuid import UUID

from treadle.errors import Conflict, NotFound, UnexpectedAnswer
from treadle.flows.sales.lakehouse import DATA_FILES, MANIFEST, RUN_METADATA, current_path, run_path

Kind = Literal["run", "restore"]
MAX_RECORD_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as it was written."""

    name: str
    size_bytes: int
    sha256: str  # hexadecimal, lower case

    def as_json(self) -> dict[str, Any]:
        """The entry as both records list it."""
        return {"name": self.name, "size_bytes": self.size_bytes, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What publishing and restoring need of a `run_metadata.json`."""

    run_id: UUID
    kind: Kind
    input_file: str
    finished_at: datetime  # UTC
    files: tuple[FileEntry, ...]  # empty for a restore
    source_run_id: UUID | None  # None for a run


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which run `current/` came from, and what its files must be."""

    run_id: UUID  # the run that made the files
    published_by_run: UUID  # the same, or the restore that brought them back
    published_at: datetime  # UTC
    sequence: int  # grows by one with each publication
    files: tuple[FileEntry, ...]

    def entry(self, name: str) -> FileEntry:
        """The named file. Raises NotFound when the manifest does not list it."""
        for file in self.files:
            if file.name == name:
                return file
        raise NotFound(f"{MANIFEST} lists no file {name}.", hint=f"It lists: {', '.join(file.name for file in self.files)}.")

    def as_json(self) -> dict[str, Any]:
        """The content of `manifest.json`."""
        return {
            "run_id": str(self.run_id),
            "published_by_run": str(self.published_by_run),
            "published_at": self.published_at.isoformat(),
            "sequence": self.sequence,
            "files": [file.as_json() for file in self.files],
        }


def choose_source(manifest: Manifest, name: str, size_bytes: int | None, sha256: str | None = None) -> str:
    """Decide from where a file of the current result is read: `current/` when its facts are the manifest's, else the run's own folder.

    So a reader who takes the manifest once gets exactly one run, whatever a publisher is doing at that moment.

    size_bytes: of the file seen in `current/`; None when it is not there. sha256: None while only the size is known, which can decide against
    `current/` before anything is downloaded.
    """
    entry = manifest.entry(name)
    agrees = size_bytes == entry.size_bytes and sha256 in (None, entry.sha256)
    return current_path(name) if agrees else run_path(manifest.run_id, name)


def parse_manifest(content: bytes) -> Manifest:
    """Read `current/manifest.json`; members that are not known here are ignored.

    Raises:
        UnexpectedAnswer: it is no manifest, or lacks one of the data files.
    """
    stored = _parse(content, MANIFEST)
    try:
        manifest = Manifest(
            run_id=UUID(stored["run_id"]),
            published_by_run=UUID(stored["published_by_run"]),
            published_at=datetime.fromisoformat(stored["published_at"]),
            sequence=int(stored["sequence"]),
            files=_files(stored),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(MANIFEST, error) from error
    _require_data_files(manifest.files, MANIFEST)
    return manifest


def parse_run_record(content: bytes, run_id: UUID) -> RunRecord:
    """Read the `run_metadata.json` in the folder of `run_id`.

    Raises:
        UnexpectedAnswer: it is of another run, no metadata at all, or lacks one of the data files.
    """
    stored = _parse(content, RUN_METADATA)
    try:
        record = _run_record(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(RUN_METADATA, error) from error
    if record.run_id != run_id:
        raise UnexpectedAnswer(
            f"The {RUN_METADATA} in the folder of run {run_id} is of run {record.run_id}.", details={"run_id": str(run_id)}
        )
    if record.kind == "run":
        _require_data_files(record.files, RUN_METADATA)
    return record


def require_restorable(record: RunRecord) -> None:
    """Only a run with files of its own can be restored. Raises Conflict for a restore."""
    if record.kind == "restore":
        raise Conflict(
            f"Run {record.run_id} is itself a restore and has no files of its own.",
            hint=f"Restore the run that it brought back: {record.source_run_id}",
            details={"run_id": str(record.run_id), "source_run_id": str(record.source_run_id)},
        )


def _run_record(stored: Mapping[str, Any]) -> RunRecord:
    kind = stored["kind"]
    if kind not in ("run", "restore"):
        raise ValueError(f"its kind is {kind!r}")
    return RunRecord(
        run_id=UUID(stored["run_id"]),
        kind=kind,
        input_file=str(stored["input_file"]),
        finished_at=datetime.fromisoformat(stored["finished_at"]),
        files=_files(stored),
        source_run_id=UUID(stored["source_run_id"]) if kind == "restore" else None,
    )


def _files(stored: Mapping[str, Any]) -> tuple[FileEntry, ...]:
    return tuple(FileEntry(str(file["name"]), int(file["size_bytes"]), str(file["sha256"])) for file in stored["files"])


def _require_data_files(files: tuple[FileEntry, ...], record: str) -> None:
    """Exactly the data files, each once: a name that leads elsewhere must never be followed."""
    if sorted(file.name for file in files) != sorted(DATA_FILES):
        raise UnexpectedAnswer(
            f"{record} does not list the files {', '.join(DATA_FILES)}, each once.", details={"listed": [f.name for f in files]}
        )


def _parse(content: bytes, record: str) -> dict[str, Any]:
    try:
        stored = json.loads(content)
    except ValueError as error:
        raise _malformed(record, error) from error
    if not isinstance(stored, dict):
        raise UnexpectedAnswer(f"{record} is not a JSON object.")
    return cast("dict[str, Any]", stored)


def _malformed(record: str, error: Exception) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"{record} cannot be read: {type(error).__name__}: {error}.", hint="Restore a run whose files verify: treadle restore RUN"
    )
