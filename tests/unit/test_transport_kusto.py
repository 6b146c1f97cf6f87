"""The query service of an eventhouse, against a server that misbehaves to order; its answers are those of Kusto's pages."""

import pytest
from tests.unit.scripted_server import hang_up, reply

from treadle.clients.kusto import KustoClient, is_kusto_host, quoted_name, quoted_text
from treadle.errors import InvalidInput, NotFound, OperationFailed, OutcomeUnknown, Throttled, UnexpectedAnswer

PRODUCTION = ("*.kusto.fabric.microsoft.com",)
COLUMNS = [{"ColumnName": "TableName", "DataType": "String", "ColumnType": "string"}, {"ColumnName": "Rows", "DataType": "Int64"}]


def v1(*rows):
    return {"Tables": [{"TableName": "Table_0", "Columns": COLUMNS, "Rows": list(rows)}]}


def v2(*rows, errors=()):
    return [
        {"FrameType": "DataSetHeader", "IsProgressive": False, "Version": "v2.0"},
        {"FrameType": "DataTable", "TableKind": "QueryProperties", "Columns": [], "Rows": []},
        {"FrameType": "DataTable", "TableKind": "PrimaryResult", "TableName": "PrimaryResult", "Columns": COLUMNS, "Rows": list(rows)},
        {"FrameType": "DataSetCompletion", "HasErrors": bool(errors), "OneApiErrors": list(errors)},
    ]


@pytest.fixture
def open_kusto(server, authority, tokens):
    opened = []

    def open_one(prefix="", hosts=None):
        allowed = hosts or [server.url.removeprefix("https://")]
        opened.append(
            KustoClient(server.url + prefix, "noc", tokens, authority.ca_file, hosts=allowed, deadline_seconds=5, backoff_seconds=0.01)
        )
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def kusto(open_kusto):
    return open_kusto()


def test_a_command_goes_to_the_database_and_its_rows_come_back(server, kusto, tokens):
    server.then(reply(200, v1(["alarms", 5], ["links", 0])))
    assert kusto.mgmt(".show tables details") == [{"TableName": "alarms", "Rows": 5}, {"TableName": "links", "Rows": 0}]
    seen = server.seen[0]
    assert (seen.method, seen.target, seen.json) == ("POST", "/v1/rest/mgmt", {"db": "noc", "csl": ".show tables details"})
    assert (seen.bearer, tokens.asked_scopes) == ("token-1", [f"{server.url}/.default"])


def test_a_query_brings_the_rows_of_its_first_result(server, kusto):
    server.then(hang_up, reply(200, v2(["alarms", 5])))  # it only reads, so it is asked again
    assert kusto.query("alarms | count") == [{"TableName": "alarms", "Rows": 5}]
    assert server.seen[1].target == "/v2/rest/query"


def test_the_service_may_lie_below_a_path(server, open_kusto):
    server.then(reply(200, v1()))
    assert open_kusto("/eventhouses/one").mgmt(".show tables") == []
    assert server.seen[0].target == "/eventhouses/one/v1/rest/mgmt"


def test_a_refusal_is_in_the_services_own_words(server, kusto):
    error = {"code": "General_BadRequest", "message": "Request is invalid.", "@message": "Semantic error: no table 'x'", "@permanent": True}
    server.then(reply(400, {"error": error}))
    with pytest.raises(InvalidInput, match="no table 'x'") as raised:
        kusto.query("x")
    assert raised.value.details["error_code"] == "General_BadRequest"


def test_what_is_not_there_is_not_found(server, kusto):
    server.then(reply(400, {"error": {"code": "BadRequest_EntityNotFound", "message": "database noc"}}))
    with pytest.raises(NotFound):
        kusto.mgmt(".show tables")


def test_throttling_is_waited_for_within_the_deadline(server, kusto):
    server.then(reply(429, Retry_After="0"), reply(200, v1()))
    assert kusto.mgmt(".show tables") == []
    server.then(reply(429, Retry_After="600"))
    with pytest.raises(Throttled):
        kusto.mgmt(".show tables")


def test_only_what_may_be_repeated_is_repeated(server, kusto):
    server.then(hang_up, reply(200, v1()))
    assert kusto.mgmt(".create-merge table alarms (x: string)") == []
    server.then(hang_up)
    with pytest.raises(OutcomeUnknown) as raised:
        kusto.mgmt(".ingest inline into table alarms <| secret,row", safety="unsafe")
    assert "secret" not in raised.value.message


def test_an_answer_that_breaks_off_after_its_status_was_sent_is_no_success(server, kusto):
    server.then(reply(200, v1(["alarms", 5], {"Exceptions": ["Query result set has exceeded the internal limit"]})))
    with pytest.raises(OperationFailed, match="exceeded the internal limit"):
        kusto.mgmt(".show tables")
    limit = {"error": {"code": "LimitsExceeded", "message": "Request aborted", "@message": "Query result set has exceeded 500000 rows"}}
    server.then(reply(200, v2(["alarms", 5], errors=[limit])))
    with pytest.raises(OperationFailed, match="exceeded 500000 rows"):
        kusto.query("alarms")


@pytest.mark.parametrize("body", [{}, {"Tables": []}, {"Tables": [{"Columns": COLUMNS}]}, v1(["alarms"]), []])
def test_a_command_answered_outside_the_contract_is_named_as_such(server, kusto, body):
    server.then(reply(200, body))
    with pytest.raises(UnexpectedAnswer):
        kusto.mgmt(".show tables")


@pytest.mark.parametrize("body", [{}, [], [{"FrameType": "DataSetHeader"}]])
def test_a_query_answered_outside_the_contract_is_named_as_such(server, kusto, body):
    server.then(reply(200, body))
    with pytest.raises(UnexpectedAnswer):
        kusto.query("alarms")


def test_no_token_goes_to_a_host_that_is_not_allowed(foreign, authority, tokens):
    with pytest.raises(InvalidInput, match="gets no token"):
        KustoClient(foreign.url, "noc", tokens, authority.ca_file, hosts=PRODUCTION)
    assert tokens.asked_scopes == []


@pytest.mark.parametrize("uri", ["/a/../b", "/a?x=1", "/a%2f..", "//a", "/a#b"])
def test_a_path_that_could_lead_elsewhere_is_refused(open_kusto, uri):
    with pytest.raises(InvalidInput):
        open_kusto(uri)


@pytest.mark.parametrize(
    "uri", ["http://x.kusto.fabric.microsoft.com", "https://me@x.kusto.fabric.microsoft.com", "x.kusto.fabric.microsoft.com", ""]
)
def test_only_plain_https_is_taken(tokens, uri):
    with pytest.raises(InvalidInput):
        KustoClient(uri, "noc", tokens, hosts=PRODUCTION)


@pytest.mark.parametrize(
    ("netloc", "allowed"),
    [
        ("trd-f7k1.z5.kusto.fabric.microsoft.com", True),
        ("TRD.kusto.fabric.microsoft.com:443", True),
        ("kusto.fabric.microsoft.com", False),
        ("evilkusto.fabric.microsoft.com", False),
        ("x.kusto.fabric.microsoft.com:8443", False),
        ("x.kusto.fabric.microsoft.com.evil.example", False),
        ("localhost:8443", False),
    ],
)
def test_a_pattern_means_hosts_below_it_and_the_usual_port(netloc, allowed):
    assert is_kusto_host(netloc, PRODUCTION) is allowed


def test_a_host_with_a_port_is_that_port_alone():
    assert is_kusto_host("localhost:8443", ["localhost:8443"])
    assert not is_kusto_host("localhost:8444", ["localhost:8443"])


def test_names_and_texts_cannot_leave_their_quotes():
    assert quoted_name("site id") == "['site id']"
    assert quoted_text("a'b\\c\nd") == r"'a\'b\\c\nd'"
