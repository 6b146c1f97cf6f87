"""What an archive is, told from what is in it: a scenario's graph, its telemetry, or both. For who was handed a file and no word about it."""

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, TypeVar

from treadle.flows.scenario.archive import Contents, read_archive
from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.gunzip import Limits
from treadle.flows.scenario.schema_files import GRAPH_SCHEMA, MANIFEST, read_graph_schema, read_manifest

T = TypeVar("T")
Part = Literal["graph", "telemetry"]


def parts_of(source: BinaryIO, scratch: Path, *, limits: Limits | None = None) -> tuple[Part, ...]:
    """Which parts of a scenario an archive holds; none, if it holds no scenario.

    The archive is read once, to its end; its tables are not kept. One that cannot be read to its end counts as a graph: whoever checks it as
    such tells all that is wrong with it. scratch: an empty folder that the caller removes.
    """
    contents = read_archive(source, scratch, limits=limits, keep=_is_document)
    if not contents.complete:
        return ("graph",)
    manifest = _read(contents, MANIFEST, read_manifest)
    telemetry = manifest is not None and _any_of(contents, [table.csv_file for table in manifest.telemetry])
    graph = _has_graph(contents, manifest.schema_file if manifest else GRAPH_SCHEMA, alone=not telemetry)
    if MANIFEST in contents.files and not graph and not telemetry:
        return (
            ("telemetry",) if manifest is None else ("graph",)
        )  # the manifest cannot be read, or the schema is missing: the check says so
    found: dict[Part, bool] = {"graph": graph, "telemetry": telemetry}
    return tuple(part for part, there in found.items() if there)


def _is_document(name: str) -> bool:
    """A YAML file at the root, or in the one folder there."""
    path = PurePosixPath(name)
    return path.suffix.lower() in {".yaml", ".yml"} and len(path.parts) <= 2


def _read(contents: Contents, name: str, read: Callable[[bytes, str], T | tuple[Fault, ...]]) -> T | None:
    """None: there is none that can be read. What is wrong with it is the check's to tell."""
    file = contents.files.get(name)
    if file is None or file.path is None or file.size_bytes > Limits().document_bytes:
        return None
    found = read(file.path.read_bytes(), name)
    return None if isinstance(found, tuple) else found


def _has_graph(contents: Contents, schema_file: str, *, alone: bool) -> bool:
    """Whether there is a schema, and one of its tables. alone: nothing else is there, so that a schema is enough; its check names the tables."""
    if schema_file not in contents.files:
        return False
    schema = _read(contents, schema_file, read_graph_schema)
    return alone or schema is None or _any_of(contents, schema.csv_files)


def _any_of(contents: Contents, csv_files: Iterable[str]) -> bool:
    """Whether one of these tables is there, in whatever folder: in the wrong one, the check says so."""
    wanted = set(csv_files)
    return any(PurePosixPath(name).name in wanted for name in contents.files)
