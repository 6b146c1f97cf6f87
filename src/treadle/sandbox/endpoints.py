"""Where the sandbox listens, and which service a host name or a port stands for."""

import fnmatch
import re
import socket
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from treadle.sandbox.state import read_json, write_json

MICROSOFT_HOSTS: Final = {
    "login.microsoftonline.com": "entra",
    "login.windows.net": "entra",
    "login.microsoft.com": "entra",
    "api.fabric.microsoft.com": "fabric",
    "api.powerbi.com": "fabric",
    "*.analysis.windows.net": "fabric",
    "onelake.dfs.fabric.microsoft.com": "dfs",
    "*-onelake.dfs.fabric.microsoft.com": "dfs",
    "onelake.blob.fabric.microsoft.com": "blob",
    "*-onelake.blob.fabric.microsoft.com": "blob",
    "*.kusto.fabric.microsoft.com": "kusto",
}
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1"})
_BACKLOG: Final = 2048


@dataclass(frozen=True, slots=True)
class SandboxPorts:
    """The ports to listen on; 0 lets the system choose a free one."""

    entra: int = 0
    fabric: int = 0
    dfs: int = 0
    blob: int = 0
    admin: int = 0
    proxy: int = 0
    oidc: int = 0
    events: int = 0
    salesforce: int = 0
    kusto: int = 0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Base URLs without a trailing slash, and the CA certificate that makes the https ones trusted."""

    entra_url: str
    fabric_url: str
    dfs_url: str
    blob_url: str
    admin_url: str
    proxy_url: str
    oidc_url: str
    events_url: str
    salesforce_url: str
    kusto_url: str
    ca_file: Path

    @classmethod
    def of(cls, ports: SandboxPorts, ca_file: Path) -> "Endpoints":
        """The endpoints of these ports on loopback."""
        secure = (f"https://localhost:{port}" for port in (ports.entra, ports.fabric, ports.dfs, ports.blob))
        plain = (f"http://127.0.0.1:{port}" for port in (ports.admin, ports.proxy))
        return cls(
            *secure,
            *plain,
            oidc_url=f"https://localhost:{ports.oidc}",
            events_url=f"https://localhost:{ports.events}",
            salesforce_url=f"https://localhost:{ports.salesforce}",
            kusto_url=f"https://localhost:{ports.kusto}",
            ca_file=ca_file,
        )

    def client_environment(self) -> dict[str, str]:
        """Environment variables that lead clients without any endpoint setting here, by Microsoft's own host names; unset NO_PROXY beside them.

        REQUESTS_CA_BUNDLE is read by requests (azure-identity, msal, fabric-cicd), SSL_CERT_FILE by aiohttp, httpx and rustls (adlfs, deltalake).
        """
        return {"HTTPS_PROXY": self.proxy_url, "REQUESTS_CA_BUNDLE": str(self.ca_file), "SSL_CERT_FILE": str(self.ca_file)}


def service_of_host(host: str) -> str | None:
    """The service that answers for a Microsoft host name (port and case do not matter); None for any other name."""
    name = re.sub(r":\d+$", "", host).lower()
    return next((service for pattern, service in MICROSOFT_HOSTS.items() if fnmatch.fnmatchcase(name, pattern)), None)


def bind_ports(wanted: SandboxPorts | None, memory: Path) -> dict[str, socket.socket]:
    """Listen on the wanted ports, else on those of the last start (kept in `memory`) where they are free, else on free ones.

    Raises OSError when a port that was asked for is taken.
    """
    remembered = read_json(memory) or {}
    bound: dict[str, socket.socket] = {}
    try:
        for field in fields(SandboxPorts):
            asked = getattr(wanted, field.name) if wanted else 0
            bound[field.name] = _bind(asked) if asked else _bind_again(int(remembered.get(field.name, 0)))
    except OSError:
        for listener in bound.values():
            listener.close()
        raise
    write_json(memory, asdict(ports_of(bound)))
    return bound


def ports_of(bound: dict[str, socket.socket]) -> SandboxPorts:
    """The port numbers behind the sockets."""
    return SandboxPorts(**{name: listener.getsockname()[1] for name, listener in bound.items()})


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only where TCP is named
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that only waits in TIME_WAIT is free
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)  # at once: until then, another process could bind the same port
    except OSError:
        listener.close()
        raise
    return listener


def _bind_again(port: int) -> socket.socket:
    try:
        return _bind(port)
    except OSError:
        return _bind(0)
