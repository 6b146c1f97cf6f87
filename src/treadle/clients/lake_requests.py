"""The single requests that OneLake's client is made of: each idempotent, attempted until it is settled, its errors by meaning.

Source: https://learn.microsoft.com/fabric/onelake/onelake-access-api and the Path operations of Azure Data Lake Storage Gen2.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.storage.filedatalake import DataLakeServiceClient, FileProperties

from treadle.clients.answers import Exchange, failure_of, unexpected
from treadle.clients.deadline import within
from treadle.clients.entra import STORAGE_SCOPE
from treadle.clients.locations import checked_id
from treadle.clients.retry import BACKOFF_SECONDS, Pace, Step, attempt_until_settled
from treadle.clients.transport import ATTEMPT_SECONDS, DEADLINE_SECONDS, TokenSource, https_origin
from treadle.clients.vendor import ConfinedTransport, attempt_call
from treadle.errors import ChecksumMismatch, Conflict, InvalidInput, NotFound

T = TypeVar("T")

# The codes by which OneLake says that a path is not there, as against a lakehouse or workspace that is not there.
ABSENT_CODES: Final = frozenset({"PathNotFound", "BlobNotFound"})

_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER: Final = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class LakeFile:
    """A file of the lakehouse."""

    path: str  # relative to the lakehouse: Files/import/orders.xlsx
    name: str
    size_bytes: int
    modified_at: datetime  # UTC
    etag: str  # changes with every write; without quotes


@dataclass(frozen=True, slots=True)
class LakeFolder:
    """A folder of the lakehouse."""

    path: str
    name: str
    modified_at: datetime  # UTC


@dataclass(frozen=True, slots=True)
class LakePlace:
    """Which files these are. `in_lakehouse` and `in_container` make one."""

    service: str  # OneLake or ADLS, for messages
    account_url: str
    file_system: str  # a workspace of OneLake, a container of ADLS Gen2
    root: str  # the folder there below which everything is; empty: the whole file system
    name: str  # as messages call it
    staging: str  # where bytes lie that are on their way; Spark passes over names that start with a dot

    def full(self, path: str) -> str:
        """A path of this place as the file system has it."""
        return f"{self.root}/{path}" if self.root else path


def in_lakehouse(account_url: str, workspace_id: str, lakehouse_id: str) -> LakePlace:
    """The files of one lakehouse of OneLake. Raises InvalidInput when something is no id."""
    workspace, lakehouse = checked_id(workspace_id, "workspace"), checked_id(lakehouse_id, "lakehouse")
    return LakePlace("OneLake", https_origin(account_url), workspace, lakehouse, "the lakehouse", "Files/.treadle/uploads")


def in_container(account: str, container: str, writable_folder: str = "") -> LakePlace:
    """The files of one container of ADLS Gen2.

    account: its name, or the https address of its DFS endpoint, as clouds other than the public one have them. writable_folder: below which
    uploads lie while they are on their way, since we may have no right to write elsewhere; empty: the container itself.

    Raises:
        InvalidInput: account or container cannot be what it is said to be.
    """
    if not account.startswith("https://") and not _ACCOUNT.fullmatch(account):
        raise InvalidInput(f"'{account[:80]}' is not the name of a storage account.", hint="Names have 3 to 24 small letters and digits.")
    if not _CONTAINER.fullmatch(container):
        raise InvalidInput(
            f"'{container[:80]}' is not the name of a container.", hint="Names have 3 to 63 small letters, digits and dashes."
        )
    url = account if account.startswith("https://") else f"https://{account}.dfs.core.windows.net"
    staging = f"{writable_folder}/.treadle/uploads" if writable_folder else ".treadle/uploads"
    return LakePlace("ADLS", https_origin(url), container, "", "the container", staging)


class LakeRequests:
    """Requests to one place. Paths are relative to it and have been checked by `lake_path`. Safe to share between threads."""

    def __init__(
        self,
        place: LakePlace,
        credential: TokenSource,
        *,
        ca_file: Path | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> None:
        """Nothing is contacted yet. deadline_seconds: of each request, retries included."""
        self._place = place
        self._credential = _PinnedCredential(credential)
        self._deadline_seconds, self._backoff_seconds = deadline_seconds, backoff_seconds
        self._service = DataLakeServiceClient(
            place.account_url,
            credential=cast("Any", self._credential),
            transport=ConfinedTransport(place.service, _faces_of(place.account_url), ca_file=ca_file),
            retry_total=0,
            permit_redirects=False,
        )
        self._paths = self._service.get_file_system_client(place.file_system)

    def close(self) -> None:
        """Close all connections."""
        self._service.close()

    def list_page(self, folder: str, token: str | None) -> tuple[list[LakeFile], str | None]:
        """Path - List: the files of one page, folders left out, and the token of the next page or None."""
        entries, following = self._entries_page(folder, token)
        return [self._listed(entry) for entry in entries if not entry.is_directory], following

    def list_folders_page(self, folder: str, token: str | None) -> tuple[list[LakeFolder], str | None]:
        """As `list_page`, the folders instead of the files."""
        entries, following = self._entries_page(folder, token)
        return [self._listed_folder(entry) for entry in entries if entry.is_directory], following

    def properties(self, path: str) -> LakeFile | None:
        """Path - Get Properties. None: the path is a folder."""

        def properties() -> tuple[str | None, FileProperties]:
            kinds: list[str | None] = []

            def note_kind(answer: Any) -> None:  # the library's own value does not tell a folder from a file
                kinds.append(answer.http_response.headers.get("x-ms-resource-type"))

            found = self._client(path).get_file_properties(raw_response_hook=note_kind)
            return kinds[-1], found

        kind, found = self._call(f"read the properties of {path}", "HEAD", path, properties)
        return None if kind == "directory" else _lake_file(path, found.size, found.last_modified, found.etag)

    def read(self, file: LakeFile, start: int, length: int) -> bytes:
        """Path - Read: exactly these bytes of exactly this version; raises Conflict if the file has been replaced."""

        def chunk() -> bytes:
            unchanged: dict[str, Any] = {"etag": f'"{file.etag}"', "match_condition": MatchConditions.IfNotModified}
            return self._client(file.path).download_file(offset=start, length=length, **unchanged).readall()

        content = self._call(f"read {file.path}", "GET", file.path, chunk)
        if len(content) != length:
            message = f"{file.path} gave {len(content)} bytes where {length} were asked for."
            raise ChecksumMismatch(message, hint="Try again.", details={"path": file.path, "offset": start})
        return content

    def create(self, path: str) -> None:
        """Path - Create: an empty file, in place of any that was there; its folders are made on the way."""
        self._call(f"begin {path}", "PUT", path, lambda: self._client(path).create_file())

    def create_new(self, path: str) -> bool:
        """Path - Create, If-None-Match: *. False: there is a file already, and it stays as it is."""
        missing: dict[str, Any] = {"match_condition": MatchConditions.IfMissing}
        try:
            self._call(f"begin {path}", "PUT", path, lambda: self._client(path).create_file(**missing))
        except Conflict:
            return False
        return True

    def append(self, path: str, chunk: bytes, offset: int) -> None:
        """Path - Update, append: bytes that nobody sees before `flush`."""
        self._call(f"write {path}", "PATCH", path, lambda: self._client(path).append_data(chunk, offset, length=len(chunk)))

    def flush(self, path: str, size_bytes: int, *, close: bool = True) -> None:
        """Path - Update, flush: the file has this size from now on. close: False when more is going to come."""
        self._call(f"complete {path}", "PATCH", path, lambda: self._client(path).flush_data(size_bytes, close=close))

    def rename(self, old: str, new: str, *, overwrite: bool) -> None:
        """Path - Create with a rename source: atomic; raises NotFound also for a missing folder of `new`."""
        target = f"{self._paths.file_system_name}/{self._place.full(new)}"
        condition: dict[str, Any] = {} if overwrite else {"match_condition": MatchConditions.IfMissing}
        self._call(f"put {new} in place", "PUT", new, lambda: self._client(old).rename_file(target, **condition))

    def make_folder(self, folder: str) -> None:
        """Path - Create, directory. A folder that exists stays as it is."""
        directory = self._paths.get_directory_client(self._place.full(folder))
        missing: dict[str, Any] = {"match_condition": MatchConditions.IfMissing}
        try:
            self._call(f"make the folder {folder}", "PUT", folder, lambda: directory.create_directory(**missing))
        except Conflict:
            return  # it exists, which is all that is wanted

    def delete(self, path: str) -> None:
        """Path - Delete, a file. Raises NotFound if it was not there before."""
        try:
            self._call(f"delete {path}", "DELETE", path, lambda: self._client(path).delete_file())
        except NotFound as error:
            if error.details.get("attempts", 1) == 1:  # else an earlier attempt has deleted it, and its answer was lost
                raise

    def delete_folder(self, folder: str) -> None:
        """Path - Delete, a folder with all that is in it. One that is not there is what is wanted."""
        directory = self._paths.get_directory_client(self._place.full(folder))
        try:
            self._call(f"delete {folder}", "DELETE", folder, directory.delete_directory)
        except NotFound as error:
            if error.details.get("error_code") not in ABSENT_CODES:
                raise

    def _client(self, path: str) -> Any:
        return self._paths.get_file_client(self._place.full(path))

    def _entries_page(self, folder: str, token: str | None) -> tuple[list[Any], str | None]:
        def page() -> tuple[list[Any], str | None]:
            pages = self._paths.get_paths(path=self._place.full(folder), recursive=False).by_page(token)
            return list(next(pages)), cast("Any", pages).continuation_token

        entries, following = self._call(f"list {folder}", "GET", folder, page)
        return entries, following or None

    def _listed(self, entry: Any) -> LakeFile:
        path = str(entry.name).removeprefix(self._place.full(""))
        return _lake_file(path, entry.content_length, entry.last_modified, entry.etag)

    def _listed_folder(self, entry: Any) -> LakeFolder:
        path = str(entry.name).removeprefix(self._place.full(""))
        if not isinstance(entry.last_modified, datetime):
            raise unexpected(Exchange(self._place.service, f"describe {path}", "GET", path), "its time is missing")
        return LakeFolder(path, path.rpartition("/")[2], entry.last_modified.astimezone(UTC))

    def _call(self, what: str, method: str, path: str, call: Callable[[], T]) -> T:
        with within(self._deadline_seconds) as deadline:
            settled = attempt_until_settled(
                lambda number: attempt_call(call, ATTEMPT_SECONDS, number),
                Pace(deadline, backoff_seconds=self._backoff_seconds),
                renew_token=self._credential.renew_latest,
            )
        brought = settled.last.brought
        if settled.step is Step.ACCEPT:
            return cast("T", brought.value)
        failure = failure_of(
            Exchange(self._place.service, what, method, path), settled.last.ending, brought.answer, attempts=settled.attempts
        )
        if failure.details.get("error_code") in ABSENT_CODES:
            hint = "Look what there is: treadle files ls"
            failure = NotFound(f"{path} does not exist in {self._place.name}.", hint=hint, details=failure.details)
        raise failure from brought.error


class _PinnedCredential:
    """Gives tokens for storage only: the library would ask for whatever scope and tenant a server's challenge names."""

    def __init__(self, credential: TokenSource) -> None:
        self._credential = credential
        self._latest = ""

    def get_token(self, *_scopes: str, **_asked: Any) -> AccessToken:
        token = cast("AccessToken", self._credential.get_token(STORAGE_SCOPE))
        self._latest = token.token
        return token

    def renew_latest(self) -> None:
        self._credential.renew(STORAGE_SCOPE, self._latest)


def _faces_of(origin: str) -> list[str]:
    """The account's DFS address and its Blob address, which the library uses for reading: the same service, differing in one word."""
    host = urlsplit(origin).netloc
    return [origin, f"https://{host.replace('.dfs.', '.blob.', 1)}"]


def _lake_file(path: str, size_bytes: Any, modified: Any, etag: Any) -> LakeFile:
    if not isinstance(size_bytes, int) or not isinstance(modified, datetime) or not isinstance(etag, str):
        raise unexpected(Exchange("OneLake", f"describe {path}", "GET", path), "size, time or entity tag is missing")
    return LakeFile(path, path.rpartition("/")[2], size_bytes, modified.astimezone(UTC), etag.strip('"'))
