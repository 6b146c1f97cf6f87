"""The Gremlin client against a server that follows a script, and answers as Azure Cosmos DB is documented to answer (gremlin_place.py says what is real)."""

import json
import logging
import socket
import time

import pytest
from tests.contract.gremlin_place import KEY, USER, Certificates, Cut, Refuse, Reply, ScriptedServer, Silence, throttled

from treadle.clients.gremlin import REQUEST_BYTES, SCRIPT_BYTES, GremlinClient, cosmos_user
from treadle.errors import Conflict, InvalidInput, NotFound, OperationFailed, Throttled, Unauthenticated, Unavailable, UnexpectedAnswer


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates.made_in(tmp_path_factory.mktemp("gremlin"))


@pytest.fixture
def server(certificates):
    with ScriptedServer(certificates) as server:
        yield server


@pytest.fixture
def client(server):
    client = server.place.client()
    yield client
    client.close()


def test_it_signs_in_as_the_graph_and_sends_a_script_with_bindings_as_they_are(server, client):
    server.script += [Reply([3])]
    bindings = {"text": 'it\'s "x"; g.V().drop() ü', "whole": 2**60, "part": 0.1, "yes": True}
    assert client.submit("g.V().has('a', text).count()", bindings) == [3]
    (asked,) = server.asked
    assert (asked["op"], asked["processor"]) == ("eval", "")
    assert asked["args"]["gremlin"] == "g.V().has('a', text).count()"
    assert asked["args"]["bindings"] == bindings
    assert USER == "/dbs/treadle/colls/graph"


def test_one_connection_serves_many_statements_and_a_closed_client_opens_another(server, client):
    for _ in range(3):
        client.submit("g.V()")
    client.close()
    assert client.submit("g.V()") == []
    assert server.connections == 2


def test_a_throttled_statement_waits_as_long_as_it_was_told_and_is_sent_again(server):
    waits = []
    client = server.place.client(sleep=waits.append, draw=lambda: 0.0)
    server.script += [throttled("00:00:01.5000000"), throttled("00:00:00.0330000"), Reply([1])]
    assert client.submit("g.V().count()", {"a": 1}) == [1]
    assert waits == [1.5, 0.033]
    assert [asked["args"] for asked in server.asked] == [server.asked[0]["args"]] * 3
    client.close()


def test_an_answer_of_200_that_was_throttled_all_the_same_is_not_taken_for_success(server, client):
    server.script += [Reply([], {"x-ms-status-code": 429, "x-ms-retry-after-ms": "00:00:00.0100000"}), Reply([7])]
    assert client.submit("g.V()") == [7]


def test_what_is_throttled_past_the_deadline_is_an_error_that_says_how_long_to_wait(server, client):
    server.script += [throttled("00:05:00")]
    with pytest.raises(Throttled) as caught:
        client.submit("g.V()", what="write vertices Shop", deadline_seconds=30)
    assert caught.value.retry_after_seconds == 300.0
    assert caught.value.details["activity_id"] == "fdd08592-0000-0000-0000-97d35c2dda52"
    assert "could not write vertices Shop: 429" in caught.value.message


@pytest.mark.parametrize("status", [404, 409, 412, 449, 500, 503, 1007, 1008, 1009])
def test_what_passes_is_sent_again(server, client, status):
    server.script += [Refuse(500, "another writer", {"x-ms-status-code": status}), Reply([1])]
    assert client.submit("g.V()") == [1]


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refuse(500, "Owner resource does not exist", {"x-ms-status-code": 404}), NotFound),
        (Refuse(500, "GraphMalformedException", {"x-ms-status-code": 1004}), InvalidInput),
        (Refuse(500, "the query is wrong", {"x-ms-status-code": 1000}), OperationFailed),
        (Refuse(597, "No such property: x"), OperationFailed),
        (Refuse(418, "teapot"), UnexpectedAnswer),
    ],
)
def test_what_does_not_pass_is_told_at_once_by_its_meaning(server, client, refusal, kind):
    server.script += [refusal]
    with pytest.raises(kind, match=refusal.message):
        client.submit("g.V()")
    assert len(server.asked) == 1
    assert client.submit("g.V()") == []


def test_a_conflict_that_does_not_pass_before_the_deadline_is_told_as_one(server, client):
    server.script += [Refuse(500, "", {"x-ms-status-code": 412})] * 200
    with pytest.raises(Conflict):
        client.submit("g.V()", deadline_seconds=0.5)


def test_a_wrong_key_is_told_without_the_key_and_not_tried_again(server, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = KEY[::-1]
    client = GremlinClient(server.place.url, USER, wrong, ca_file=server.place.ca_file)
    with pytest.raises(Unauthenticated) as caught:
        client.submit("g.V()")
    client.close()
    shown = repr(caught.value) + json.dumps(caught.value.details) + "".join(capfd.readouterr()) + caplog.text + repr(vars(caught.value))
    assert wrong not in shown
    assert "GREMLIN_KEY" in caught.value.hint
    assert server.connections == 1


def test_a_cut_connection_is_opened_again_and_the_statement_repeated(server, client):
    client.submit("g.V()")
    server.script += [Cut(), Cut(), Reply([5])]
    assert client.submit("g.V().count()") == [5]
    assert server.connections == 3


def test_silence_ends_with_the_deadline(server, client):
    server.script += [Silence()]
    started = time.monotonic()
    with pytest.raises(Unavailable, match="no answer in time"):
        client.submit("g.V()", deadline_seconds=0.7)
    assert 0.5 < time.monotonic() - started < 5
    assert client.submit("g.V()") == []


def test_a_silent_attempt_is_given_up_before_the_deadline_and_repeated(server):
    client = server.place.client(attempt_seconds=0.5)
    server.script += [Silence(), Reply([1])]
    assert client.submit("g.V()", deadline_seconds=30) == [1]
    client.close()


def test_an_answer_that_is_no_graphson_is_told_after_a_few_tries(server, client):
    server.script += [Reply(raw=b"<html>")] * 3
    with pytest.raises(UnexpectedAnswer, match="no GraphSON"):
        client.submit("g.V()", deadline_seconds=30)


def test_a_server_that_is_not_there_or_not_trusted_gets_no_statement(server, certificates, tmp_path):
    nobody = GremlinClient("wss://localhost:9/", USER, KEY, ca_file=certificates.ca_file, backoff_seconds=0.01)
    with pytest.raises(Unavailable, match="could not be reached to look around"):
        nobody.submit("g.V()", what="look around", deadline_seconds=1)
    other = Certificates.made_in(tmp_path)
    stranger = GremlinClient(server.place.url, USER, KEY, ca_file=other.ca_file)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="certificate is not trusted"):
        stranger.submit("g.V()")
    assert time.monotonic() - started < 10, "a second try cannot help"
    assert server.asked == []


@pytest.mark.parametrize(
    "url", ["ws://localhost:1/", "https://localhost/", "wss://user:secret@host/", "wss://host/?key=secret", "wss://", "host"]
)
def test_only_an_address_with_tls_and_without_secrets_is_taken(url):
    with pytest.raises(InvalidInput) as caught:
        GremlinClient(url, USER, KEY)
    assert "secret" not in caught.value.message


def test_names_with_slashes_and_missing_keys_are_refused():
    with pytest.raises(InvalidInput):
        cosmos_user("a/colls/other", "graph")
    with pytest.raises(InvalidInput):
        GremlinClient("wss://host/", USER, "")


def test_what_is_too_large_or_no_json_is_refused_before_it_is_sent(server, client):
    for script, bindings in (
        ("g" * (SCRIPT_BYTES + 1), {}),
        ("g", {"a": "x" * REQUEST_BYTES}),
        ("g", {"a": float("inf")}),
        ("g", {"a": object()}),
    ):
        with pytest.raises(InvalidInput):
            client.submit(script, bindings)
    assert server.connections == 0


def test_the_deadline_holds_while_the_connection_is_being_opened(certificates):
    """A listener that takes the connection and says nothing: neither TLS nor WebSocket ever comes about."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = GremlinClient(f"wss://localhost:{mute.getsockname()[1]}/", USER, KEY, ca_file=certificates.ca_file)
        started = time.monotonic()
        with pytest.raises(Unavailable):
            client.submit("g.V()", deadline_seconds=0.7)
        assert time.monotonic() - started < 8
