"""Files sent to a page without a browser: who may, and how large they may be."""

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value, generate_xsrf_token_string

from treadle.cli.local import LocalEnvironment

UPLOAD = "/_stcore/upload_file/00000000-0000-0000-0000-000000000000/1"


class Served(NamedTuple):
    """Where a portal is, and what signs its cookies."""

    url: str
    secret: str


@pytest.fixture(scope="module")
def portal(environment: LocalEnvironment) -> Iterator[Served]:
    """`treadle portal` with sign-in, which takes files of 1 MiB."""
    environ = {**os.environ, "PORTAL_UPLOAD_LIMIT_MB": "1"}
    command = [sys.executable, "-m", "treadle", "portal", "--port", "0", "--json", "--with-parent", "--state", str(environment.state)]
    subprocess.run(
        [sys.executable, "-m", "treadle", "migrate", "--state", str(environment.state)], env=environ, check=True, stdout=subprocess.DEVNULL
    )
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        told = "".join(itertools.takewhile(lambda line: line.strip() != "}", process.stdout))
        url = json.loads(told + "}")["url"]
        try:
            yield Served(url, environment.values["PORTAL_COOKIE_SECRET"])
        finally:
            process.terminate()


def sent(portal: Served, method: str = "PUT", *, cookie: str = "", length: int | str = 3, body: bytes = b"a,b", path: str = UPLOAD) -> int:
    """The status that the raw request is answered with. The body may be shorter than its length says: who refuses must not wait for it."""
    place, xsrf = urlsplit(portal.url), generate_xsrf_token_string()
    sizes = f"Content-Length: {length}" if length else "Transfer-Encoding: chunked"
    cookies = "; ".join(part for part in (cookie, f"_streamlit_xsrf={xsrf}") if part)
    head = f"{method} {path} HTTP/1.1\r\nHost: {place.netloc}\r\nCookie: {cookies}\r\nX-Xsrftoken: {xsrf}\r\n{sizes}\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + body)
        answer = connection.recv(4096).decode()
    return int(answer.split()[1])


def cookie_of(portal: Served, *roles: str, **claims: object) -> str:
    """What Streamlit gives a browser when somebody has signed in."""
    said = {"iss": "https://issuer", "sub": "1", "roles": list(roles), "exp": time.time() + 60, "is_logged_in": True, "origin": portal.url}
    return signed(portal.secret, json.dumps(said | claims))


def signed(secret: str, value: str) -> str:
    return f"_streamlit_user={create_signed_value(secret, '_streamlit_user', value).decode()}"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_without_signing_in_nobody_sends_a_file_or_takes_one_away(portal, method):
    assert sent(portal, method) == 401


def test_a_cookie_counts_only_as_it_was_signed_for_this_portal_and_while_the_sign_in_lasts(portal):
    operator = cookie_of(portal, "operator")
    forged = {
        "signed by others": cookie_of(portal._replace(secret="x" * 40), "admin"),
        "changed": operator[:-3] + "abc",
        "over": cookie_of(portal, "operator", exp=time.time() - 1),
        "without an end": cookie_of(portal, "operator", exp=None),
        "of another portal": cookie_of(portal._replace(url="http://elsewhere:1"), "operator"),
        "signed out": cookie_of(portal, "operator", is_logged_in=False),
        "of nobody": cookie_of(portal, "operator", sub=None),
        "not JSON": signed(portal.secret, "operator"),
        "under another name": operator.replace("_streamlit_user", "_streamlit_user_tokens"),
    }
    assert {name: sent(portal, cookie=cookie) for name, cookie in forged.items()} == dict.fromkeys(forged, 401)


def test_who_may_not_bring_files_is_refused_and_who_may_is_let_through_to_the_page(portal):
    assert sent(portal, cookie=cookie_of(portal, "viewer")) == 403
    assert sent(portal, cookie=cookie_of(portal)) == 403
    assert sent(portal, cookie=cookie_of(portal, "operator")) == 400, "Streamlit's own word: no page has this session"


def test_a_body_above_the_limit_is_refused_before_it_is_sent(portal):
    signed_in = cookie_of(portal, "operator")
    assert sent(portal, cookie=signed_in, length=10**12, body=b"") == 413
    assert sent(portal, cookie=signed_in, length="9" * 5000, body=b"") in (400, 413)
    assert sent(portal, length=10**12, body=b"") == 401, "who has not signed in is not told the limit"
