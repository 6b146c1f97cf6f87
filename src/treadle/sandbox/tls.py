"""The sandbox's certificate authority and its server certificate.

A real CA with a leaf below it: rustls refuses a self-signed leaf that is its own CA. The CA is kept in the state folder, so that a
bundle handed out once stays valid after a restart.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from treadle.sandbox.state import write_private

CERTIFICATE_NAMES: Final = (
    "localhost",
    "127.0.0.1",
    "::1",
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "api.fabric.microsoft.com",
    "api.powerbi.com",
    "*.analysis.windows.net",
    "*.dfs.fabric.microsoft.com",  # onelake and its regional forms, <region>-onelake
    "*.blob.fabric.microsoft.com",
    "*.z0.kusto.fabric.microsoft.com",  # <eventhouse>.<zone>
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The CA certificate that clients trust, and the server's private key with its chain."""

    ca_file: Path
    server_file: Path


def ensure_certificates(folder: Path) -> TlsFiles:
    """Make the CA when the folder has none, and a fresh server certificate below it."""
    ca_file, ca_key_file, server_file = folder / "ca.pem", folder / "ca-key.pem", folder / "server.pem"
    if ca_file.exists() and ca_key_file.exists():
        authority = trustme.CA.from_pem(ca_file.read_bytes(), ca_key_file.read_bytes())
    else:
        authority = trustme.CA(organization_name="Treadle sandbox", organization_unit_name="Local certificate authority")
        write_private(ca_key_file, authority.private_key_pem.bytes())
        write_private(ca_file, authority.cert_pem.bytes())
        ca_file.chmod(0o644)
    leaf = authority.issue_cert(*CERTIFICATE_NAMES, organization_name="Treadle sandbox", common_name="localhost")
    write_private(server_file, leaf.private_key_and_cert_chain_pem.bytes())
    return TlsFiles(ca_file, server_file)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """The TLS side of the sandbox's sockets; HTTP/1.1 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
