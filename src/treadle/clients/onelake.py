"""Files of one lakehouse in OneLake, or of one container of ADLS Gen2: found, read, and stored whole or not at all."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Self, TypeVar
from uuid import uuid4

import structlog

from treadle.clients.answers import Exchange, outcome_unknown, unexpected
from treadle.clients.lake_path import lake_path
from treadle.clients.lake_requests import ABSENT_CODES, LakeFile, LakeFolder, LakePlace, LakeRequests, in_container, in_lakehouse
from treadle.clients.retry import BACKOFF_SECONDS
from treadle.clients.transport import DEADLINE_SECONDS, TokenSource
from treadle.errors import ChecksumMismatch, Conflict, InvalidInput, NotFound, Throttled, TreadleError, Unavailable

__all__ = ["AdlsClient", "LakeClient", "LakeFile", "LakeFolder", "OneLakeClient", "Progress", "StagedUpload", "lake_path", "staged_path"]

T = TypeVar("T")
Progress = Callable[[int, int], None]  # bytes done, bytes in all (as far as known)

CHUNK_BYTES: Final = 4 * 1024 * 1024
STAGING: Final = "Files/.treadle/uploads"  # Spark passes over names that start with a dot
MAX_LISTED_PAGES: Final = 10_000

_log = structlog.get_logger()


@dataclass(slots=True)
class StagedUpload:
    """Bytes under a name of their own in STAGING. Leaving it as a context manager clears away what was not put in place."""

    path: str
    size_bytes: int
    _place: Callable[[str, str, int, bool], LakeFile]  # staged path, path, size, overwrite
    _discard: Callable[[str], None]
    _in_place: bool = False

    def put_in_place(self, path: str, *, overwrite: bool = True) -> LakeFile:
        """The second half of `upload`: one atomic rename. Raises Conflict if the file exists and overwrite is False."""
        file = self._place(self.path, lake_path(path), self.size_bytes, overwrite)
        self._in_place = True
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._in_place:
            self._discard(self.path)


class LakeClient:
    """The files of one place. Paths are relative to it. Safe to share between threads.

    Every request is within `deadline_seconds`, retries included; a transfer of many chunks has no deadline of its own, only each chunk has.
    """

    def __init__(  # noqa: PLR0913 - where, as whom, how patiently: each named
        self,
        place: LakePlace,
        credential: TokenSource,
        ca_file: Path | None = None,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Nothing is contacted yet."""
        self.place = place
        self._chunk_bytes = chunk_bytes
        self._requests = LakeRequests(
            place, credential, ca_file=ca_file, deadline_seconds=deadline_seconds, backoff_seconds=backoff_seconds
        )

    def close(self) -> None:
        """Close all connections."""
        self._requests.close()

    def list_files(self, folder: str) -> list[LakeFile]:
        """The files directly in a folder, by name. A folder that does not exist has none; any other failure is raised as such."""
        try:
            return sorted(self._listed(lake_path(folder)), key=lambda file: file.name)
        except NotFound as error:
            if error.details.get("error_code") in ABSENT_CODES:
                return []
            raise

    def list_folders(self, folder: str) -> list[LakeFolder]:
        """The folders directly in a folder, by name. A folder that does not exist has none; any other failure is raised as such."""
        try:
            return sorted(self._listed_folders(lake_path(folder)), key=lambda found: found.name)
        except NotFound as error:
            if error.details.get("error_code") in ABSENT_CODES:
                return []
            raise

    def stat(self, path: str) -> LakeFile:
        """Size, time and entity tag of a file; raises NotFound, also for a folder."""
        file = self._requests.properties(lake_path(path))
        if file is None:
            raise NotFound(f"{path} is a folder, not a file.", hint="Name a file.", details={"path": path, "error_code": "PathIsDirectory"})
        return file

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder. Any failure to find out is raised, never taken for "no"."""
        try:
            self._requests.properties(lake_path(path))
        except NotFound as error:
            if error.details.get("error_code") in ABSENT_CODES:
                return False
            raise
        return True

    def read_bytes(self, path: str, *, max_bytes: int) -> bytes:
        """A whole file in memory; raises InvalidInput if it has more than `max_bytes`."""
        file = self.stat(path)
        if file.size_bytes > max_bytes:
            raise InvalidInput(
                f"{file.path} has {file.size_bytes} bytes, more than the {max_bytes} that are read here.",
                hint="Download it instead.",
                details={"path": file.path, "size_bytes": file.size_bytes, "max_bytes": max_bytes},
            )
        return b"".join(self._chunks(file, 0, file.size_bytes))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer at the end of the file, none behind it."""
        file = self.stat(path)
        return b"".join(self._chunks(file, offset, min(length, file.size_bytes - offset)))

    def download(self, path: str, target: BinaryIO, progress: Progress | None = None) -> LakeFile:
        """Write a file to `target` chunk by chunk. Raises Conflict if somebody replaces it meanwhile; `target` then holds a part."""
        file, done = self.stat(path), 0
        for chunk in self._chunks(file, 0, file.size_bytes):
            target.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, file.size_bytes)
        return file

    def read_chunks(self, file: LakeFile, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """A stretch of a file, piece by piece; every piece is of the version that `file` describes. None: to its end.

        Raises Conflict when somebody replaces the file meanwhile.
        """
        return self._chunks(file, offset, file.size_bytes - offset if length is None else length)

    def begin_staged(self, name: str) -> str:
        """Make an empty file of this name in STAGING unless there is one, and return its path. Safe to repeat: what it holds stays."""
        path = lake_path(self.place.staging, name)
        self._requests.create_new(path)
        return path

    def append_at(self, path: str, chunk: bytes, offset: int) -> None:
        """Bring bytes that nobody sees, and that do not count, before `flush_at`. Safe to repeat."""
        self._requests.append(lake_path(path), chunk, offset)

    def flush_at(self, path: str, size_bytes: int) -> None:
        """Make the file consist of all that was appended, up to this size; more may follow. Safe to repeat."""
        self._requests.flush(lake_path(path), size_bytes, close=False)

    def upload(self, path: str, source: bytes | BinaryIO, *, overwrite: bool = True, progress: Progress | None = None) -> LakeFile:
        """Store a file whole or not at all. Safe to repeat with overwrite.

        Creating a path truncates what was there, and each flush shows what has come so far. So the bytes go to a name of their own in
        STAGING, and one rename, which is atomic, puts them in place: whoever dies on the way leaves the older version as it was, and a
        rest that `discard_abandoned_uploads` clears away.
        Raises Conflict if the file exists and overwrite is False – also when somebody else created it during the upload.
        """
        path = lake_path(path)
        if not overwrite and self.exists(path):
            raise _exists(path)
        with self.stage_upload(source, progress=progress) as staged:
            return staged.put_in_place(path, overwrite=overwrite)

    def stage_upload(self, source: bytes | BinaryIO, *, progress: Progress | None = None) -> StagedUpload:
        """The first half of `upload`: the bytes are in the lake, and nobody sees them yet. Use it as a context manager."""
        path = f"{self.place.staging}/{uuid4()}"
        try:
            size_bytes = self._stage(path, source, progress)
        except BaseException:
            self._discard(path)
            raise
        return StagedUpload(path, size_bytes, self._place_staged, self._discard)

    def rename(self, old: str, new: str, *, overwrite: bool = True) -> LakeFile:
        """Move a file in one atomic step; the folder of the new name is made if need be."""
        new, file = lake_path(new), self.stat(old)
        if not overwrite and self.exists(new):
            raise _exists(new)
        self._put_in_place(file.path, new, overwrite=overwrite)
        return self._confirmed(new, file.size_bytes)

    def delete(self, path: str) -> None:
        """Delete a file; raises NotFound if it was not there before. Safe to repeat."""
        self._requests.delete(lake_path(path))

    def delete_folder(self, folder: str) -> None:
        """Delete a folder and all that is in it; one that is not there is what is wanted. Safe to repeat."""
        self._requests.delete_folder(lake_path(folder))

    def discard_abandoned_uploads(self, older_than_seconds: float, now: datetime) -> int:
        """Delete what uploads that were killed have left in STAGING; returns how many. now: aware."""
        abandoned = [file for file in self.list_files(self.place.staging) if (now - file.modified_at).total_seconds() > older_than_seconds]
        for file in abandoned:
            self._discard(file.path)
        return len(abandoned)

    def _listed(self, folder: str) -> Iterator[LakeFile]:
        return self._all_pages(folder, self._requests.list_page)

    def _listed_folders(self, folder: str) -> Iterator[LakeFolder]:
        return self._all_pages(folder, self._requests.list_folders_page)

    def _all_pages(self, folder: str, list_page: Callable[[str, str | None], tuple[list[T], str | None]]) -> Iterator[T]:
        token, seen = None, set[str]()
        while len(seen) < MAX_LISTED_PAGES:
            found, token = list_page(folder, token)
            yield from found
            if token is None:
                return
            if token in seen:
                break
            seen.add(token)
        raise unexpected(Exchange(self.place.service, f"list {folder}", "GET", folder), "the list does not come to an end")

    def _chunks(self, file: LakeFile, offset: int, length: int) -> Iterator[bytes]:
        end = offset + length
        for start in range(offset, end, self._chunk_bytes):
            yield self._requests.read(file, start, min(self._chunk_bytes, end - start))

    def _stage(self, staged: str, source: bytes | BinaryIO, progress: Progress | None) -> int:
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        total, done = _bytes_left(stream), 0
        self._requests.create(staged)
        while chunk := _whole_chunk(stream, self._chunk_bytes):
            self._requests.append(staged, chunk, done)
            done += len(chunk)
            if progress:
                progress(done, max(total, done))
        if done:
            self._requests.flush(staged, done)
        return done

    def _place_staged(self, staged: str, path: str, size_bytes: int, overwrite: bool) -> LakeFile:  # noqa: FBT001 - the shape of StagedUpload
        self._put_in_place(staged, path, overwrite=overwrite)
        return self._confirmed(path, size_bytes)

    def _put_in_place(self, staged: str, path: str, *, overwrite: bool) -> None:
        """Rename, make the folder first if it is missing, and find out what happened where an answer was lost on the way."""
        try:
            self._rename(staged, path, overwrite=overwrite)
        except _FolderMissing:
            self._requests.make_folder(path.rpartition("/")[0])
            self._rename(staged, path, overwrite=overwrite)

    def _rename(self, staged: str, path: str, *, overwrite: bool) -> None:
        try:
            self._requests.rename(staged, path, overwrite=overwrite)
        except (NotFound, Conflict, Unavailable) as error:
            if self._still_there(staged, path):
                raise _refused_rename(error, path, overwrite=overwrite) from error.__cause__
            if isinstance(error, NotFound) and error.details.get("attempts") == 1:
                raise  # somebody else has taken it away; else an earlier attempt of ours has put it in place

    def _still_there(self, staged: str, path: str) -> bool:
        try:
            return self.exists(staged)
        except (Unavailable, Throttled) as error:
            raise self._in_doubt(path, "the connection was lost at the last step") from error

    def _confirmed(self, path: str, size_bytes: int) -> LakeFile:
        try:
            file = self.stat(path)
        except (Unavailable, Throttled) as error:
            raise self._in_doubt(path, "it could not be confirmed") from error
        if file.size_bytes != size_bytes:
            raise ChecksumMismatch(
                f"{path} has {file.size_bytes} bytes in {self.place.service}, but {size_bytes} were sent.",
                hint="Somebody else may have written the file at the same moment; look, then upload it again.",
                details={"path": path, "stored_bytes": file.size_bytes, "sent_bytes": size_bytes},
            )
        return file

    def _in_doubt(self, path: str, reason: str) -> TreadleError:
        return outcome_unknown(Exchange(self.place.service, f"put {path} in place", "PUT", path), reason)

    def _discard(self, staged: str) -> None:
        try:
            self._requests.delete(staged)
        except NotFound:
            return
        except TreadleError as error:
            _log.warning("lake.staged_upload_left", path=staged, reason=error.message)


class OneLakeClient(LakeClient):
    """The files of one lakehouse. Paths start with `Files/` or `Tables/`."""

    def __init__(  # noqa: PLR0913 - where, which, as whom, how patiently: each named
        self,
        account_url: str,
        workspace_id: str,
        lakehouse_id: str,
        credential: TokenSource,
        ca_file: Path | None = None,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Nothing is contacted yet. account_url: https://onelake.dfs.fabric.microsoft.com in production."""
        place = in_lakehouse(account_url, workspace_id, lakehouse_id)
        super().__init__(
            place, credential, ca_file, deadline_seconds=deadline_seconds, backoff_seconds=backoff_seconds, chunk_bytes=chunk_bytes
        )


class AdlsClient(LakeClient):
    """The files of one container of ADLS Gen2. Paths are those in the container."""

    def __init__(  # noqa: PLR0913 - where, which, as whom, how patiently: each named
        self,
        account: str,
        container: str,
        credential: TokenSource,
        ca_file: Path | None = None,
        *,
        writable_folder: str = "",
        deadline_seconds: float = DEADLINE_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> None:
        """Nothing is contacted yet. account, writable_folder: as for `in_container`."""
        place = in_container(account, container, writable_folder)
        super().__init__(place, credential, ca_file, deadline_seconds=deadline_seconds, backoff_seconds=backoff_seconds)


def staged_path(name: str) -> str:
    """Where bytes lie that are on their way to a place of their own. Pure."""
    return lake_path(STAGING, name)


def _bytes_left(stream: BinaryIO) -> int:
    """How much there is to read; 0 if the stream cannot say."""
    try:
        here = stream.tell()
        end = stream.seek(0, io.SEEK_END)
        stream.seek(here)
    except (OSError, ValueError, AttributeError):
        return 0
    return end - here


def _whole_chunk(stream: BinaryIO, size: int) -> bytes:
    """Read until the chunk is full or the stream ends; a pipe or socket gives less at a time."""
    pieces, length = list[bytes](), 0
    while length < size and (piece := stream.read(size - length)):
        pieces.append(piece)
        length += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _exists(path: str) -> Conflict:
    return Conflict(f"{path} exists already.", hint="Choose another name, or allow it to be replaced.", details={"path": path})


class _FolderMissing(NotFound):
    """The folder of a new name does not exist."""


def _refused_rename(error: TreadleError, path: str, *, overwrite: bool) -> TreadleError:
    """What the refusal of a rename means, its source being still there."""
    if isinstance(error, NotFound):
        return _FolderMissing(f"The folder of {path} does not exist.", hint="Name another folder.", details=error.details)
    return _exists(path) if isinstance(error, Conflict) and not overwrite else error
