"""The sandbox as a server: where it listens, its certificates, clock, proxy, admin port, and starting again."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509

from treadle.sandbox.clock import Clock
from treadle.sandbox.endpoints import SandboxPorts
from treadle.sandbox.server import Sandbox


def trusted(sandbox):
    return ssl.create_default_context(cafile=str(sandbox.endpoints.ca_file))


def port_of(url):
    return int(url.rsplit(":", 1)[1])


@pytest.mark.parametrize(
    ("service", "path", "tells"),
    [("fabric_url", "/v1/gateways", "errorCode"), ("dfs_url", "/?comp=nothing", '"error"'), ("blob_url", "/?comp=nothing", "<Error>")],
)
def test_what_is_not_modelled_answers_501_naming_the_operation(sandbox, https, service, path, tells):
    answer = https.put(getattr(sandbox.endpoints, service) + path)
    assert answer.status_code == 501
    assert f"PUT {path.partition('?')[0]}: not modelled by the Treadle sandbox; see docs/sandbox-differences.md" in answer.text
    assert tells in answer.text
    assert sandbox.requests[-1].operation.endswith(".NotModelled")


def test_a_microsoft_name_in_the_host_header_picks_the_service_on_any_port(sandbox, https):
    tenant, any_port = sandbox.credentials.tenant_id, sandbox.endpoints.blob_url
    path = f"{any_port}/{tenant}/v2.0/.well-known/openid-configuration"
    answer = https.get(path, headers={"Host": "login.microsoftonline.com"})
    assert answer.json()["issuer"] == f"https://login.microsoftonline.com/{tenant}/v2.0"
    for host in ("api.fabric.microsoft.com", "api.powerbi.com", "wabi-west-europe-redirect.analysis.windows.net:443"):
        assert "x-ms-public-api-error-code" in https.get(f"{any_port}/v1/nothing/here", headers={"Host": host}).headers
    for host in ("onelake.dfs.fabric.microsoft.com", "westeurope-onelake.dfs.fabric.microsoft.com"):
        assert https.put(f"{any_port}/?comp=nothing", headers={"Host": host}).json()["error"]["code"]


def test_an_unknown_host_name_gets_the_service_of_the_port(sandbox, https):
    url = f"{sandbox.endpoints.entra_url}/common/v2.0/.well-known/openid-configuration"
    assert https.get(url, headers={"Host": "somewhere.example"}).status_code == 200


def test_discovery_never_points_to_a_host_that_is_not_the_sandbox(sandbox, https):
    url = f"{sandbox.endpoints.entra_url}/common/v2.0/.well-known/openid-configuration"
    assert "evil.example" not in https.get(url, headers={"Host": "evil.example"}).text


def test_it_listens_on_loopback_only(sandbox):
    for url in (sandbox.endpoints.entra_url, sandbox.endpoints.admin_url, sandbox.endpoints.proxy_url):
        with socket.create_connection(("127.0.0.1", port_of(url)), timeout=5) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
    bound = {listener.getsockname()[0] for listener in sandbox._running._sockets.values()}
    assert bound == {"127.0.0.1"}


def test_the_leaf_is_no_ca_and_names_loopback_and_microsofts_hosts(sandbox):
    with socket.create_connection(("127.0.0.1", port_of(sandbox.endpoints.dfs_url)), timeout=5) as plain:
        name = "westeurope-onelake.dfs.fabric.microsoft.com"
        with trusted(sandbox).wrap_socket(plain, server_hostname=name) as secure:
            leaf = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True))
    extensions = leaf.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "login.microsoftonline.com", "api.fabric.microsoft.com", "api.powerbi.com", "*.analysis.windows.net"} <= set(
        names.get_values_for_type(x509.DNSName)
    )
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}


def test_a_restart_keeps_ca_identity_and_ports(tmp_path):
    with Sandbox(tmp_path) as first:
        client = trusted(first)
        before, who = first.endpoints, first.credentials
        token = first.entra.issue_token().access_token
    with Sandbox(tmp_path) as second:
        assert (second.endpoints, second.credentials) == (before, who)
        assert httpx2.get(f"{before.entra_url}/common/discovery/v2.0/keys", verify=client, trust_env=False).status_code == 200
        assert second.entra.authenticate({"authorization": f"Bearer {token}"}, "fabric").client_id == who.client_id


def test_a_remembered_port_that_is_taken_is_replaced_and_a_port_asked_for_is_not(tmp_path):
    with Sandbox(tmp_path) as first:
        taken = port_of(first.endpoints.fabric_url)
    with socket.create_server(("127.0.0.1", taken)):
        with Sandbox(tmp_path) as second:
            assert port_of(second.endpoints.fabric_url) != taken
        with pytest.raises(OSError, match="in use"):
            Sandbox(tmp_path, ports=SandboxPorts(fabric=taken)).start()
    with Sandbox(tmp_path, ports=SandboxPorts(fabric=taken)) as third:
        assert port_of(third.endpoints.fabric_url) == taken


def test_a_request_in_flight_is_answered_before_the_sandbox_stops(tmp_path):
    with Sandbox(tmp_path) as sandbox, ThreadPoolExecutor(1) as threads:
        sandbox.faults.script("entra.Keys", "slow", seconds=1)
        url, client = f"{sandbox.endpoints.entra_url}/common/discovery/v2.0/keys", trusted(sandbox)
        answer = threads.submit(httpx2.get, url, verify=client, trust_env=False)
        assert wait_until(lambda: sandbox.faults.log)
        sandbox.stop()
        assert answer.result().json()["keys"]


def test_a_client_that_goes_away_in_mid_request_harms_nobody(sandbox, https):
    with socket.create_connection(("127.0.0.1", port_of(sandbox.endpoints.entra_url)), timeout=5) as plain:
        secure = trusted(sandbox).wrap_socket(plain, server_hostname="localhost")
        secure.sendall(b"POST /common/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf")
        secure.close()
    assert wait_until(lambda: [request.operation for request in sandbox.requests] == ["entra.Token"])
    assert https.get(f"{sandbox.endpoints.entra_url}/common/discovery/v2.0/keys").status_code == 200


def wait_until(holds, seconds=10):
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not holds() and time.monotonic() < deadline:
        pause.wait(0.01)
    return holds()


def test_one_state_runs_once(tmp_path):
    with Sandbox(tmp_path), pytest.raises(RuntimeError, match="already runs"):
        Sandbox(tmp_path).start()
    with Sandbox(tmp_path):
        pass


def test_secrets_on_disk_are_readable_by_their_owner_alone(sandbox):
    folder = sandbox.state_dir / "sandbox"
    assert folder.stat().st_mode & 0o077 == 0
    for name in ("identity.json", "ca-key.pem", "server.pem"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name
    assert sandbox.credentials.client_secret not in repr(sandbox.credentials)


def test_a_stopped_sandbox_says_so(tmp_path):
    sandbox = Sandbox(tmp_path)
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.endpoints
    sandbox.start()
    sandbox.stop()
    sandbox.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.credentials


def test_requests_are_recorded_without_anything_secret(sandbox, https):
    https.get(f"{sandbox.endpoints.entra_url}/common/discovery/v2.0/keys?sig=canary", headers={"Authorization": "Bearer canary"})
    shown = httpx2.get(f"{sandbox.endpoints.admin_url}/requests", trust_env=False).json()["requests"]
    assert shown == [{"operation": "entra.Keys", "method": "GET", "path": "/common/discovery/v2.0/keys", "status": 200, "fault": None}]


def test_the_clock_advances_is_set_freezes_and_resumes():
    clock = Clock()
    real = clock.now()
    assert clock.advance(3600) - real >= timedelta(hours=1)
    moment = datetime(2030, 1, 31, 12, tzinfo=UTC)
    clock.set(moment)
    assert timedelta(0) <= clock.now() - moment < timedelta(seconds=5)
    frozen = clock.freeze()
    assert clock.now() == clock.now() == frozen
    assert clock.advance(90) == frozen + timedelta(seconds=90) == clock.now()
    resumed = clock.resume()
    assert timedelta(0) <= clock.now() - resumed < timedelta(seconds=5)
    assert abs(clock.reset() - datetime.now(UTC)) < timedelta(seconds=5)
    with pytest.raises(ValueError, match="aware"):
        clock.set(datetime(2030, 1, 1))  # noqa: DTZ001 - the point of the test


def test_the_admin_port_moves_the_clock(sandbox):
    url = f"{sandbox.endpoints.admin_url}/clock"
    moved = httpx2.post(url, json={"set": "2030-01-31T12:00:00Z", "frozen": True}, trust_env=False).json()
    assert moved["frozen"] is True
    httpx2.post(url, json={"advance_seconds": 90}, trust_env=False)
    assert sandbox.clock.frozen
    assert httpx2.get(url, trust_env=False).json()["now"].startswith("2030-01-31T12:01:30")
    for wrong in ({}, {"set": "2030-01-31T12:00:00"}, {"set": "soon"}, {"speed": 2}, [1]):
        assert httpx2.post(url, json=wrong, trust_env=False).status_code == 400


def test_the_admin_port_is_out_of_reach_for_web_pages(sandbox):
    url = f"{sandbox.endpoints.admin_url}/faults"
    rebound = httpx2.get(url, headers={"Host": "rebound.example"}, trust_env=False)
    assert rebound.status_code == 400
    simple = httpx2.post(url, content="{}", headers={"Content-Type": "text/plain"}, trust_env=False)
    assert (simple.status_code, sandbox.faults.rules()) == (400, [])


def through_proxy(sandbox, request):
    with socket.create_connection(("127.0.0.1", port_of(sandbox.endpoints.proxy_url)), timeout=5) as connection:
        connection.sendall(request)
        return connection.recv(4096)


@pytest.mark.parametrize(
    "target",
    ["example.com:443", "api.fabric.microsoft.com:80", "evil-api.fabric.microsoft.com.example:443", "127.0.0.1:22", "localhost:5432"],
)
def test_the_proxy_opens_a_tunnel_to_nothing_but_the_sandbox(sandbox, target):
    answer = through_proxy(sandbox, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("request_line", [b"GET http://api.fabric.microsoft.com/ HTTP/1.1", b"CONNECT nowhere HTTP/1.1", b"\x16\x03\x01"])
def test_the_proxy_refuses_what_is_no_connect(sandbox, request_line):
    assert through_proxy(sandbox, request_line + b"\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_the_proxy_carries_tls_for_microsofts_names_and_the_sandboxs_own(sandbox):
    own = sandbox.endpoints.entra_url.removeprefix("https://")
    with httpx2.Client(proxy=sandbox.endpoints.proxy_url, verify=trusted(sandbox), trust_env=False) as client:
        for host in ("login.microsoftonline.com", own):
            answer = client.get(f"https://{host}/common/v2.0/.well-known/openid-configuration")
            assert answer.json()["token_endpoint"] == f"https://{host}/common/oauth2/v2.0/token"


def test_a_dropped_connection_is_dropped_through_the_proxy_too(sandbox):
    sandbox.faults.script("entra.Keys", "drop_after")
    with (
        httpx2.Client(proxy=sandbox.endpoints.proxy_url, verify=trusted(sandbox), trust_env=False, timeout=10) as client,
        pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError)),
    ):
        client.get("https://login.microsoftonline.com/common/discovery/v2.0/keys")


def test_many_clients_at_once_are_served(sandbox):
    url = f"{sandbox.endpoints.entra_url}/common/discovery/v2.0/keys"
    answers = []

    def ask():
        with httpx2.Client(verify=trusted(sandbox), trust_env=False, timeout=30) as client:
            answers.extend(client.get(url).status_code for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 160


@pytest.mark.kills
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_sandbox_announces_itself_and_stops_in_order(tmp_path, how):
    script = tmp_path / "faults.json"
    script.write_text(json.dumps([{"operation": "entra.Keys", "kind": "status", "args": {"status": 503}}]))
    program = "import sys, pathlib; from treadle.sandbox.server import serve; serve(pathlib.Path(sys.argv[1]), faults_file=pathlib.Path(sys.argv[2]))"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "state", script], stdout=subprocess.PIPE, text=True, env=environment
    )
    announced = {}
    while "ca_file" not in announced:
        name, _, value = running.stdout.readline().partition(" ")
        announced[name] = value.strip()
    client = ssl.create_default_context(cafile=announced["ca_file"])
    answer = httpx2.get(f"{announced['entra_url']}/common/discovery/v2.0/keys", verify=client, trust_env=False)
    assert answer.status_code == 503
    running.send_signal(how)
    assert running.communicate(timeout=30)[0] is not None
    assert running.returncode == 0
    assert Path(announced["ca_file"]).exists()
