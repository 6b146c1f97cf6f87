"""A Cosmos DB on this machine – npm @vercel/cosmosdb-server – over TLS with a certificate that a client can check, and its scripted faults.

What it lacks of the real one: a read of what is not there is a 500, any key is accepted, there is no throughput and no 2 MB limit.
"""

import base64
import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import trustme
from tests.contract.node_packages import NODE, installed

HERE = Path(__file__).with_name("cosmos")
KEY = base64.b64encode(b"any key will do here").decode()


@dataclass(frozen=True)
class CosmosServer:
    url: str
    ca_file: Path
    client: httpx2.Client

    def script(self, method, url, *, status=0, times=1, lost=False, **headers):
        """The next answers to requests of this method whose address has `url` in it. lost: it is done, and never answered."""
        told = {"method": method, "url": url, "status": status, "times": times, "lost": lost}
        told["headers"] = {name.replace("_", "-"): value for name, value in headers.items()}
        self.client.post(f"{self.url}/_script", content=json.dumps(told)).raise_for_status()

    @property
    def unused_faults(self) -> int:
        return self.client.get(f"{self.url}/_script").json()["left"]

    @property
    def asked(self) -> list[str]:
        """Every request since the last reset, as `METHOD /address`."""
        return self.client.get(f"{self.url}/_script").json()["asked"]

    def reset(self) -> None:
        self.client.delete(f"{self.url}/_script").raise_for_status()


@contextmanager
def running_cosmos(folder: Path) -> Iterator[CosmosServer]:
    """folder: for the certificates."""
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1", "localhost")
    files = {name: folder / name for name in ("ca.pem", "cert.pem", "key.pem")}
    ca.cert_pem.write_to_path(str(files["ca.pem"]))
    files["cert.pem"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(files["key.pem"]))
    command = [NODE / "bin/node", installed(HERE) / "cosmos_server.mjs", files["cert.pem"], files["key.pem"]]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as process:
        try:
            port = int(process.stdout.readline())
            trusted = ssl.create_default_context(cafile=str(files["ca.pem"]))
            with httpx2.Client(verify=trusted, timeout=10, trust_env=False) as client:
                yield CosmosServer(f"https://127.0.0.1:{port}", files["ca.pem"], client)
        finally:
            process.terminate()
