"""Files of the sandbox's OneLake as sources of an ingestion.

Source: "Storage connection strings" of the Kusto documentation (OneLake: https or abfss, with `;impersonate`).
"""

import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from treadle.sandbox.endpoints import service_of_host
from treadle.sandbox.kusto.refusals import bad_command, not_modelled
from treadle.sandbox.kusto.sources import DELIMITERS, Source
from treadle.sandbox.onelake.addresses import Address, address_of, split_path
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.store import LakeStore

_ABFSS: Final = re.compile(r"abfss://([^@/]+)@([^/]+)/(.*)\Z", re.DOTALL)
_IDENTITIES: Final = ("impersonate", "managed_identity=", "token=")


class OneLakeFiles:
    """Opens files by connection string. `own_urls`: where the sandbox's OneLake listens."""

    def __init__(self, lake: LakeStore, own_urls: Sequence[str]) -> None:
        self._lake = lake
        self._own_hosts = {urlsplit(url).netloc for url in own_urls}

    @contextmanager
    def open(self, uri: str) -> Generator[Source]:
        """A file as it is now, whoever replaces it meanwhile. Raises Refused in the words of the ingestion error codes."""
        place, _, identity = uri.partition(";")
        if not identity.strip().lower().startswith(_IDENTITIES):
            message = f"Access to '{place}' is forbidden: the connection string says no identity; end it with ';impersonate'."
            raise bad_command(message, "Download_Forbidden")
        try:
            target = self._lake.locate(self._address(place))
            descriptor, entry = self._lake.open(target)
        except StorageError as error:
            raise bad_command(f"The source '{place}' cannot be read: {error.message}", "Download_SourceNotFound") from error
        try:
            opened = Path(f"/proc/self/fd/{descriptor}")  # Linux has it; elsewhere the path must do
            path = opened if opened.exists() else self._lake.root.joinpath(*target.key)
            yield Source(str(path), place, entry.size_bytes, _format_of(place))
        finally:
            os.close(descriptor)

    def _address(self, place: str) -> Address:
        inner = _ABFSS.match(place)
        if inner is not None:
            workspace, host, path = inner.groups()
            names = split_path(path)
            address = Address(workspace, names[0] if names else None, names[1:])
        else:
            split = urlsplit(place)
            host, address = split.netloc, address_of(split.path.encode()) if split.scheme == "https" else None
        if address is None or (service_of_host(host) not in {"dfs", "blob"} and host not in self._own_hosts):
            raise not_modelled(f"Ingesting from '{place}', which is not a OneLake of the sandbox,")
        return address


def _format_of(place: str) -> str:
    name = PurePosixPath(place.removesuffix(".gz")).suffix.removeprefix(".").lower()
    return name if name in DELIMITERS or name in {"parquet", "json"} else "csv"
