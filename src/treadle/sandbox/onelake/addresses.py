"""From the path of a URL to workspace, item and the path inside the item. Pure.

Every name is checked here once, so that nothing behind this module meets "..", a control character or a name too long for a disk.
Sources: OneLake, "URI syntax" (fabric-docs onelake-access-api); naming rules of Blob Storage (path up to 1,024 characters).
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from treadle.sandbox.onelake.failures import StorageError, bad_path

ACCOUNT: Final = "onelake"
_LONGEST_NAME_BYTES: Final = 255  # what the disk below takes
_LONGEST_PATH: Final = 1024
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ufffe\uffff\ud800-\udfff]")
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """What a request is about: the account (no workspace), a workspace (no item), an item (no names), or a path below it.

    Workspace and item are as the client wrote them: both GUIDs, or both names.
    """

    workspace: str | None = None
    item: str | None = None
    names: tuple[str, ...] = ()


def address_of(raw_path: bytes) -> Address:
    """Read the percent-encoded path of a URL; an account prefix `/onelake` is dropped. Raises InvalidUri."""
    names = split_path(decode(raw_path))
    if names and names[0].lower() == ACCOUNT:
        names = names[1:]
    return Address(names[0] if names else None, names[1] if len(names) > 1 else None, names[2:])


def decode(raw: bytes) -> str:
    """Undo percent-encoding, once; raises InvalidUri where the bytes are not UTF-8."""
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_path("it is not UTF-8") from error


def split_path(path: str) -> tuple[str, ...]:
    """The names of a decoded path, each one checked; slashes at both ends do not count. Raises InvalidUri or InvalidResourceName."""
    if len(path) > _LONGEST_PATH:
        raise StorageError(400, "InvalidResourceName", f"The path is longer than {_LONGEST_PATH} characters.")
    inner = path.removeprefix("/").removesuffix("/")
    names = tuple(inner.split("/")) if inner else ()
    for name in names:
        _check_name(name)
    return names


def is_addressable(name: str) -> bool:
    """Whether a name found on disk can be asked for; what cannot is not listed either."""
    try:
        _check_name(name)
    except StorageError:
        return False
    return True


def is_guid(name: str) -> bool:
    """Whether a workspace or item is given by id."""
    return _GUID.match(name) is not None


def _check_name(name: str) -> None:
    if name in {"", ".", ".."}:
        raise bad_path("a segment is empty or dots only")
    if _FORBIDDEN.search(name):
        raise StorageError(400, "InvalidResourceName", "The specified resource name contains invalid characters.")
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        raise StorageError(400, "InvalidResourceName", f"A segment of the path is longer than {_LONGEST_NAME_BYTES} bytes.")
