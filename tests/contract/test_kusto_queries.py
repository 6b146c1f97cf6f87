"""KQL of the eventhouses' query service: what the modelled operators find, how answers are framed, and what is said of all else."""

import datetime as dt
import ssl

import httpx2
import pytest
from tests.contract.fabric_trials import FabricCaller
from tests.contract.kusto_trials import KUSTO, KustoCaller

ROWS = """LINK-1,2026-02-04T02:30:00.000Z,50.5,7,MAJOR alarm
LINK-1,2026-02-04T02:35:00.000Z,60.5,8,minor
LINK-2,2026-02-04T03:30:00.000Z,,9,Major-fault
LINK-3,2026-02-05T02:30:00.000Z,10,,
"""


@pytest.fixture(scope="module")
def running(running_sandbox):
    """One eventhouse with a small table, for all queries of this module."""
    trusted = ssl.create_default_context(cafile=str(running_sandbox.endpoints.ca_file))
    with httpx2.Client(verify=trusted, timeout=30, trust_env=False) as client:
        caller = FabricCaller(running_sandbox, client)
        house = KustoCaller(caller, caller.workspace())
        house.manage(".create table T (Link:string, At:datetime, Pct:real, Hits:long, Note:string)")
        house.manage(f".ingest inline into table T <|\n{ROWS}")
        yield house


@pytest.fixture
def house(running, sandbox):
    return running


@pytest.mark.parametrize(
    ("kql", "rows"),
    [
        ("T | count", [[4]]),
        ("T | take 0", []),
        ("T | limit 2 | count", [[2]]),
        ("T | where Link == 'LINK-1' and Pct > 55 | project Hits", [[8]]),
        ("T | where Link != 'LINK-1' or Hits == 7 | count", [[3]]),
        ("T | where not(Link == 'LINK-1') | count", [[2]]),
        ("T | where Link =~ 'link-2' | project Hits", [[9]]),
        ("T | where Link in ('LINK-1', 'LINK-3') | count", [[3]]),
        ("T | where Link !in ('LINK-1') | count", [[2]]),
        ("T | where Link in~ ('link-3') | count", [[1]]),
        ("T | where Note has 'major' | count", [[2]]),
        ("T | where Note has 'maj' | count", [[0]]),
        ("T | where Note contains 'AJO' | count", [[2]]),
        ("T | where Note !contains 'ajor' | count", [[2]]),
        ("T | where Note startswith 'm' and Note endswith 'R' | count", [[1]]),
        ("T | where Note matches regex '^[mM]ajor' | count", [[1]]),
        ("T | where isnull(Pct) | project Link", [["LINK-2"]]),
        ("T | where isempty(Note) | project Link", [["LINK-3"]]),
        ("T | where At between (datetime(2026-02-04T02:30:00Z) .. datetime(2026-02-04 02:35)) | count", [[2]]),
        ("T | where At between (datetime(2026-02-04) .. 1d) | count", [[3]]),
        ("T | where At !between (datetime(2026-02-04) .. 1d) | count", [[1]]),
        ("T | where At >= datetime(2026-02-05) | project Link, At", [["LINK-3", "2026-02-05T02:30:00Z"]]),
        ("T | project Hits | order by Hits asc", [[None], [7], [8], [9]]),
        ("T | project Hits | sort by Hits", [[9], [8], [7], [None]]),
        ("T | project Hits | sort by Hits desc nulls first | take 1", [[None]]),
        ("T | top 2 by Pct | project Pct", [[60.5], [50.5]]),
        ("T | top 1 by At asc | project Note", [["MAJOR alarm"]]),
        ("T | sort by Link asc, Hits desc | project Link, Hits", [["LINK-1", 8], ["LINK-1", 7], ["LINK-2", 9], ["LINK-3", None]]),
        ("T | extend Double = Hits * 2, Hits = tostring(Hits) | where Link == 'LINK-2' | project Hits, Double", [["9", 18]]),
        ("T | distinct Link | order by Link asc", [["LINK-1"], ["LINK-2"], ["LINK-3"]]),
        ("T | project-away At, Pct, Note | top 1 by Hits", [["LINK-2", 9]]),
        ("T | project-rename N = Note | where N has 'minor' | count", [[1]]),
        ("T | summarize count() by Link | order by Link asc", [["LINK-1", 2], ["LINK-2", 1], ["LINK-3", 1]]),
        ("T | summarize n = count(), sum(Hits), avg(Pct), min(At), max(Hits), dcount(Link)",
         [[4, 24, 40.333333333333336, "2026-02-04T02:30:00Z", 9, 3]]),
        ("T | summarize count() by bin(At, 1h) | order by At asc", [["2026-02-04T02:00:00Z", 2], ["2026-02-04T03:00:00Z", 1], ["2026-02-05T02:00:00Z", 1]]),
        ("T | summarize countif(Hits > 7), sumif(Hits, Link == 'LINK-1') by Day = startofday(At) | order by Day asc",
         [["2026-02-04T00:00:00Z", 2, 15], ["2026-02-05T00:00:00Z", 0, 0]]),
        ("T | where Pct > 1000 | summarize sum(Hits), count(), max(Pct)", [[0, 0, None]]),
        ("T | summarize by Link | count", [[3]]),
        ("T | where Hits / 2 == 3 | count", [[1]]),
        ("T | where Hits % 2 == 1 and -Hits < -8 | project Hits", [[9]]),
        ("T | where Hits / (Hits - Hits) == 1 | count", [[0]]),
        ("T | project Gap = At - datetime(2026-02-04) | top 1 by Gap", [["1.02:30:00"]]),
        ("T | project Hour = bin(Pct, 25) | top 1 by Hour", [[50.0]]),
        ("T | project Label = iff(Hits > 7, 'many', 'few') | distinct Label | order by Label asc", [["few"], ["many"]]),
        ("print 1 + 2 * 3, 'a' , strcat('x', 1), bool(true), 2h + 30m", [[7, "a", "x1", True, "02:30:00"]]),
        ("print toint('12'), tolong('x'), toreal('1.5'), todatetime('2026-01-31'), strlen('abc'), toupper('a'), round(2.55, 1), abs(-3)",
         [[12, None, 1.5, "2026-01-31T00:00:00Z", 3, "A", 2.6, 3]]),
        ("print @'a\\b', 'it\\'s', \"q\\tq\", 0x1F, 1e3, timespan(1.02:03:04), guid(74be27de-1e4e-49d9-b579-fe0b331d3642), real(null)",
         [["a\\b", "it's", "q\tq", 31, 1000.0, "1.02:03:04", "74be27de-1e4e-49d9-b579-fe0b331d3642", None]]),
        ('T // a comment | take 1\n| where Note == "" // another\n| count', [[1]]),
        ("T | count;", [[4]]),
    ],
)  # fmt: skip
def test_a_query_finds_what_kusto_finds(house, kql, rows):
    assert house.query(kql) == rows


def test_columns_are_named_and_typed_as_kusto_does(house):
    assert house.types("T | summarize count(), avg(Hits), dcount(Link), sum(Pct), countif(Hits > 1) by Link, bin(At, 1h)") == {
        "Link": "string", "At": "datetime", "count_": "long", "avg_Hits": "real", "dcount_Link": "long", "sum_Pct": "real", "countif_": "long",
    }  # fmt: skip
    assert house.types("T | project Hits + 1, Hits, strlen(Link)") == {"Column1": "long", "Hits": "long", "Column2": "long"}
    assert house.types("print 1, 'a'") == {"print_0": "long", "print_1": "string"}
    assert house.types("T | count") == {"Count": "long"}


def test_ago_and_now_follow_the_sandboxs_clock(house, sandbox):
    sandbox.clock.set(dt.datetime(2026, 2, 5, 3, tzinfo=dt.UTC))
    then = {"Authorization": f"Bearer {sandbox.entra.issue_token(audience=KUSTO).access_token}"}
    assert house.query("T | where At > ago(1h) | project Link", headers=then) == [["LINK-3"]]
    assert house.query("T | where At between (ago(2d) .. now()) | count", headers=then) == [[4]]


@pytest.mark.parametrize(
    ("kql", "code", "said"),
    [
        ("Nothing | take 1", "General_BadRequest", "Failed to resolve table or column expression named 'Nothing'"),
        ("t | take 1", "General_BadRequest", "named 't'"),
        ("T | where Nothing > 1", "General_BadRequest", "'where' operator: Failed to resolve column or scalar expression named 'Nothing'"),
        ("T | project link", "General_BadRequest", "named 'link'"),
        ("T | where Hits == '7'", "General_BadRequest", "Cannot compare values of types long and string"),
        ("T | where Hits", "General_BadRequest", "the condition is of type long"),
        ("T | where Link > ", "BadRequest_SyntaxError", "Syntax error"),
        ("T | take many", "BadRequest_SyntaxError", "expected a whole number"),
        ("T | where Link == 'open", "BadRequest_SyntaxError", "was not expected"),
        ("", "BadRequest_EmptyRequest", "no text"),
        ("T take 1", "BadRequest_SyntaxError", "recognition error"),
        ("T | where count() > 1", "General_BadRequest", "outside of summarize"),
        ("T | summarize sum(Link)", "General_BadRequest", "does not take values of type string"),
    ],
)
def test_wrong_kql_is_refused_in_the_services_envelope(house, kql, code, said):
    found, message = house.refused("/v2/rest/query", kql)
    assert found == code
    assert said in message


@pytest.mark.parametrize(
    ("kql", "named"),
    [
        ("T | join kind=inner (T) on Link", "The KQL operator 'join'"),
        ("T | mv-expand Link", "The KQL operator 'mv-expand'"),
        ("T | render timechart", "The KQL operator 'render'"),
        ("let x = 1; T | take x", "The KQL statement 'let'"),
        ("T | extend a = geo_distance_2points(1, 2, 3, 4)", "The KQL function 'geo_distance_2points'"),
        ("T | summarize percentile(Hits, 95)", "The KQL aggregation 'percentile'"),
        ("T | summarize count() / 2", "Computing with aggregations"),
        ("union T, T", "The KQL source 'union'"),
        ("somewhere(1)", "The KQL source 'somewhere(…)'"),
        ("T | where Link has_any ('a')", "The KQL operator 'has_any'"),
        ("T | take 1; T | take 2", "More than one KQL statement"),
    ],
)
def test_kql_that_is_not_modelled_says_what_it_is(house, kql, named):
    code, said = house.refused("/v2/rest/query", kql, expect=501)
    assert code == "NotModelled"
    assert named in said


@pytest.mark.parametrize(
    "kql",
    [
        "print " + "(" * 5000 + "1",
        "T | where " + "not(" * 3000 + "true" + ")" * 3000,
        "print " + "-" * 5000 + "1",
        "T" + " | take 1" * 3000,
    ],
)
def test_a_query_without_end_is_refused_or_answered_but_never_breaks_it(house, kql):
    answer = house.https.post(f"{house.url}/v2/rest/query", json={"db": house.name, "csl": kql}, headers=house.headers)
    assert answer.status_code in {200, 400}, answer.text
    raw = b'{"db": "telemetry", "csl": "print \'\\ud800\'"}'
    assert house.https.post(f"{house.url}/v2/rest/query", content=raw, headers=house.headers).status_code == 400


def test_no_text_reaches_the_engine_as_sql(house):
    for text in ("'; DROP TABLE data.t1; --", '"; --', "\\", "' OR 1=1 --"):
        literal = "@'" + text.replace("'", "''") + "'"
        assert house.query(f"print x = {literal}") == [[text]]
        assert house.query(f"T | where Link == {literal} | count") == [[0]]
    assert house.query("T | project ['a\"; SELECT 1 --'] = Hits | count") == [[4]]
    assert house.query("T | count") == [[4]]


def test_a_v2_answer_has_the_frames_of_a_recorded_one(house):
    """As in azure-kusto-python, tests/input/deft.json."""
    frames = house.frames("T | take 1")
    assert [(one["FrameType"], one.get("TableKind")) for one in frames] == [
        ("DataSetHeader", None), ("DataTable", "QueryProperties"), ("DataTable", "PrimaryResult"), ("DataTable", "QueryCompletionInformation"),
        ("DataSetCompletion", None),
    ]  # fmt: skip
    assert frames[0] == {"FrameType": "DataSetHeader", "IsProgressive": False, "Version": "v2.0"}
    assert frames[4] == {"FrameType": "DataSetCompletion", "HasErrors": False, "Cancelled": False}
    assert [column["ColumnName"] for column in frames[3]["Columns"]] == [
        "Timestamp", "ClientRequestId", "ActivityId", "SubActivityId", "ParentActivityId", "Level", "LevelName", "StatusCode", "StatusCodeName",
        "EventType", "EventTypeName", "Payload",
    ]  # fmt: skip
    assert frames[1]["Rows"][0][:2] == [1, "Visualization"]


def test_a_v1_answer_has_the_tables_of_a_recorded_one(house):
    """As in azure-kusto-python, tests/input/adminthenquery.json."""
    answer = house.post("/v1/rest/query", "T | project Link, Hits | top 1 by Hits").json()
    result, properties, status, contents = answer["Tables"]
    assert [table["TableName"] for table in answer["Tables"]] == ["Table_0", "Table_1", "Table_2", "Table_3"]
    assert result["Columns"] == [
        {"ColumnName": "Link", "DataType": "String", "ColumnType": "string"}, {"ColumnName": "Hits", "DataType": "Int64", "ColumnType": "long"},
    ]  # fmt: skip
    assert result["Rows"] == [["LINK-2", 9]]
    assert [row[1:3] for row in contents["Rows"]] == [
        ["QueryResult", "PrimaryResult"],
        ["QueryProperties", "@ExtendedProperties"],
        ["QueryStatus", "QueryStatus"],
    ]
    assert status["Rows"][0][1:3] == [4, "Info"]
    assert properties["Columns"][0]["ColumnName"] == "Value"


def test_the_requests_own_id_comes_back(house):
    answer = house.post("/v2/rest/query", "T | count", headers={"x-ms-client-request-id": "me;1"})
    assert answer.headers["x-ms-client-request-id"] == "me;1"
    assert answer.headers["x-ms-activity-id"]


def test_a_result_beyond_the_limit_is_a_partial_failure(house):
    frames = house.frames("T", properties={"Options": {"truncationmaxrecords": 2}})
    rows = frames[2]["Rows"]
    assert len(rows) == 3
    assert rows[2]["OneApiErrors"][0]["error"]["code"] == "LimitsExceeded"
    assert frames[-1]["HasErrors"]
    assert len(house.result("T", properties='{"Options": {"notruncation": true}}')["Rows"]) == 4
