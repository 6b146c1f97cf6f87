"""Which files a run left behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries
from treadle.control.stored import checked_name
from treadle.errors import InvalidInput

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
ARTIFACT_TYPES: Final = frozenset({"parquet", "csv", "json", "profile", "metadata"})


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """A file to be recorded. `path` is relative to the lakehouse; `size_bytes` is None when it is not known."""

    type: str
    path: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A recorded file of a run. `file_size` in bytes."""

    id: UUID
    run_id: UUID
    artifact_type: str | None
    file_path: str
    file_size: int | None
    created_at: datetime | None


def list_artifacts(database: Database, run_id: UUID) -> list[Artifact]:
    """Return a run's files by path; none when there is no such run."""
    return [Artifact(**row) for row in database.read(_SQL["list_artifacts"], {"run_id": run_id})]


def insert_artifacts(connection: Connection, run_id: UUID, artifacts: Sequence[NewArtifact]) -> None:
    """Record files inside the caller's transaction. Safe to repeat.

    Raises:
        InvalidInput: a type is not one of ARTIFACT_TYPES, or a path cannot be stored.
    """
    for artifact in artifacts:
        checked_name("the path of an artifact", artifact.path)
        if artifact.type not in ARTIFACT_TYPES:
            raise InvalidInput(f"{artifact.type!r} is not a type of artifact.", hint=f"Use one of: {', '.join(sorted(ARTIFACT_TYPES))}.")
    values = {
        "run_id": run_id,
        "ids": [uuid5(NAMESPACE_URL, f"treadle:artifact:{run_id}:{artifact.type}:{artifact.path}") for artifact in artifacts],
        "types": [artifact.type for artifact in artifacts],
        "paths": [artifact.path for artifact in artifacts],
        "sizes": [artifact.size_bytes for artifact in artifacts],
    }
    connection.execute(_SQL["add_artifacts"], values)
