"""Read what is published in `Files/results/current/` through OneLake, so that no reader ever mixes two runs."""

import hashlib
import tempfile
from typing import Any, BinaryIO, Final, cast

from treadle.clients.onelake import OneLakeClient
from treadle.errors import ChecksumMismatch, Conflict, NotFound
from treadle.flows.sales.lakehouse import MANIFEST, current_path, run_path
from treadle.flows.sales.manifest import MAX_RECORD_BYTES, FileEntry, Manifest, choose_source, parse_manifest

_MANIFEST_READS: Final = 5
_SPOOL_BYTES: Final = 8 * 1024 * 1024  # larger files go to disk while they are checked


def read_published_manifest(lake: OneLakeClient) -> Manifest:
    """Which run is current. A manifest that is replaced while it is read is read again.

    Raises:
        NotFound: nothing was ever published.
        Conflict: it was replaced each time it was read.
    """
    for attempt in range(1, _MANIFEST_READS + 1):
        try:
            return parse_manifest(lake.read_bytes(current_path(MANIFEST), max_bytes=MAX_RECORD_BYTES))
        except NotFound as error:
            raise NotFound("Nothing is published yet.", hint="Run a workbook: treadle run start FILE --wait") from error
        except Conflict:
            if attempt == _MANIFEST_READS:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def open_published(lake: OneLakeClient, manifest: Manifest, name: str) -> BinaryIO:
    """Open a verified copy of one published file, at its beginning; the caller closes it.

    Raises:
        ChecksumMismatch: neither `current/` nor the run's own folder has the file that the manifest lists.
    """
    for path in (current_path(name), run_path(manifest.run_id, name)):
        content, seen = _fetch(lake, path)
        if seen and choose_source(manifest, name, seen.size_bytes, seen.sha256) == current_path(name):
            return content
        content.close()
    raise ChecksumMismatch(
        f"{name} of run {manifest.run_id} is damaged: neither {current_path(name)} nor the run's own copy is the file that {MANIFEST} lists.",
        hint="Restore another run, or run the workbook again.",
        details={"file": name, "run_id": str(manifest.run_id)},
    )


def verify_current(lake: OneLakeClient) -> Manifest:
    """Check every published file against the manifest by size and SHA-256, and return the manifest.

    Raises:
        NotFound: nothing is published. ChecksumMismatch: a file is damaged.
    """
    manifest = read_published_manifest(lake)
    for entry in manifest.files:
        open_published(lake, manifest, entry.name).close()
    return manifest


def _fetch(lake: OneLakeClient, path: str) -> tuple[BinaryIO, FileEntry | None]:
    """A local copy at its beginning and what it is; None when the lake has no such file, or a publisher replaced it while it was read."""
    copy = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))  # noqa: SIM115 - the caller closes it
    try:
        lake.download(path, copy)
    except (NotFound, Conflict):
        return copy, None
    except BaseException:
        copy.close()
        raise
    size = copy.tell()
    copy.seek(0)
    digest = hashlib.file_digest(cast("Any", copy), "sha256").hexdigest()
    copy.seek(0)
    return copy, FileEntry(path.rpartition("/")[2], size, digest)
