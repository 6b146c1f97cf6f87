"""Scripted servers, and a transport whose waiting takes no time, for the tests of the clients."""

import ssl
from collections.abc import Iterator

import pytest
import trustme
from tests.unit.scripted_clients import Authority, Sleeps, Tokens
from tests.unit.scripted_server import ScriptedServer

from treadle.clients.quotas import Quotas
from treadle.clients.transport import Transport


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return Authority(ca_file, context)


@pytest.fixture
def server(authority: Authority) -> Iterator[ScriptedServer]:
    running = ScriptedServer(authority.context)
    yield running
    running.stop()
    assert not running.script, "a scripted step was never used"


@pytest.fixture
def foreign(authority: Authority) -> Iterator[ScriptedServer]:
    """A second host, which must never hear from us."""
    running = ScriptedServer(authority.context)
    yield running
    running.stop()
    assert (running.connections, running.seen) == (0, [])


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def time() -> Sleeps:
    return Sleeps()


@pytest.fixture
def transport(server: ScriptedServer, authority: Authority, tokens: Tokens, time: Sleeps) -> Iterator[Transport]:
    """A transport whose waiting takes no time, with a deadline of 60 s by its own clock."""
    made = Transport(
        server.url,
        service="Fabric",
        credential=tokens,
        scope="scope",
        ca_file=authority.ca_file,
        quotas=Quotas(10_000),
        clock=time,
        sleep=time.sleep,
        draw=lambda: 0.5,
    )
    yield made
    made.close()
