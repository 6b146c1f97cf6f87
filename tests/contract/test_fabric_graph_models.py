"""Graph models over HTTP: items, the rules of their definition, the refresh job, and what can be asked of a loaded graph.

Source: graphModel/swagger.json of fabric-rest-api-specs; "Graph Model definition"; error codes as reported by users of the API.
"""

import contextlib
import io
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal

import polars as pl
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.contract.fabric_trials import error_of, until
from tests.contract.graph_place import BORN, TABLES, GraphPlace, definition, edge_type, files_of
from tests.unit.scenario_archives import telco

from treadle.flows.scenario.check import check_scenario
from treadle.flows.scenario.graph_model import graph_model_parts

COUNT = "MATCH (p:Person) RETURN count(*) AS n"


@pytest.fixture
def place(fabric):
    place = GraphPlace(fabric)
    yield place
    place.drop()


def status_of(place, location):
    return place.fabric.get(location).json()["status"]


def test_a_graph_model_is_made_shown_changed_and_deleted(place):
    """All item operations; without a definition it is there at once."""
    fabric = place.fabric
    shown = fabric.get(place.path).json()
    assert (shown["type"], shown["displayName"]) == ("GraphModel", "people")
    changed = fabric.call("PATCH", place.path, 200, json={"displayName": "folk", "description": "all"}).json()
    assert (changed["displayName"], changed["description"]) == ("folk", "all")
    assert [one["id"] for one in fabric.get(f"/workspaces/{place.workspace}/graphModels").json()["value"]] == [place.model]
    place.load()
    fabric.call("DELETE", place.path, 200)
    assert error_of(fabric.call("GET", place.path), 404) == "ItemNotFound"
    assert error_of(fabric.post(f"{place.path}/executeQuery?beta=true", {"query": COUNT}), 404) == "ItemNotFound"


def test_a_definition_is_kept_replaced_and_given_back(place):
    """202 with an operation, also for a create with a definition; the format is json and no other."""
    fabric, files = place.fabric, place.contents()
    assert place.push(files)["status"] == "Succeeded"
    answer = fabric.finished(fabric.post(f"{place.path}/getDefinition", expect=202)).json()
    assert answer["definition"]["format"] == "json"
    given = files_of(answer)
    assert {path: given[path] for path in files} == files
    assert given[".platform"]["metadata"]["type"] == "GraphModel"
    body = {"displayName": "copy", "definition": definition(files)}
    made = fabric.finished(fabric.post(f"/workspaces/{place.workspace}/graphModels", body, expect=202)).json()
    assert made["displayName"] == "copy"
    assert error_of(fabric.post(f"{place.path}/getDefinition?format=xml"), 400) == "InvalidDefinitionFormat"


def _change(files, path, change):
    target = files
    *walk, last = path
    for step in walk:
        target = target[step]
    target[last] = change(target[last]) if callable(change) else change


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        (("graphType.json", "nodeTypes", 0, "alias"), "C", "alias 'C' occurs twice"),
        (("graphType.json", "nodeTypes", 0, "labels"), [], "needs labels"),
        (("graphType.json", "nodeTypes", 0, "primaryKeyProperties"), ["nope"], "'nope'"),
        (("graphType.json", "nodeTypes", 0, "properties", 0, "type"), "TEXT", "'TEXT'"),
        (("graphType.json", "nodeTypes", 0, "properties", 1, "name"), "id", "occurs twice"),
        (("graphType.json", "edgeTypes", 0, "labels"), ["a", "b"], "exactly one label"),
        (("graphType.json", "edgeTypes", 0, "sourceNodeType"), {"alias": "X"}, "'X'"),
        (("graphType.json", "edgeTypes"), {}, "edgeTypes is not a list"),
        (("graphDefinition.json", "nodeTables", 0, "nodeTypeAlias"), "X", "'X'"),
        (("graphDefinition.json", "nodeTables", 0, "dataSourceName"), "X", "dataSources.json does not have"),
        (("graphDefinition.json", "nodeTables", 0, "propertyMappings"), [], "key property 'id'"),
        (("graphDefinition.json", "edgeTables", 0, "edgeTypeAlias"), "X", "'X'"),
        (("graphDefinition.json", "edgeTables", 2, "destinationNodeKeyColumns"), ["code"], "1 key columns"),
        (("graphDefinition.json", "edgeTables", 0, "filter", "operator"), "Like", "A filter has an operator"),
        (("graphDefinition.json", "edgeTables", 1, "propertyMappings"), [{"propertyName": "x", "sourceColumn": "y"}], "'x'"),
        (("dataSources.json", "dataSources", 0, "type"), "CsvFile", "DeltaTable"),
        (("dataSources.json", "dataSources", 0, "name"), "city", "occurs twice"),
        (("stylingConfiguration.json", "modelLayout"), None, "modelLayout"),
        (("stylingConfiguration.json", "modelLayout", "styles"), {"X": {"size": 1}}, "'X'"),
    ],
)
def test_a_definition_that_breaks_a_rule_fails_and_names_the_file(place, path, change, words):
    """The operation ends as Failed with ModelValidationError."""
    files = place.contents()
    _change(files, path, change)
    state = place.push(files)
    assert (state["status"], state["error"]["errorCode"]) == ("Failed", "ModelValidationError")
    assert path[0] in state["error"]["message"]
    assert words in state["error"]["message"]


@pytest.mark.parametrize("name", ["graphType.json", "graphDefinition.json", "dataSources.json", "stylingConfiguration.json"])
def test_a_definition_needs_all_four_files(place, name):
    """One missing file is named."""
    files = place.contents()
    del files[name]
    assert place.push(files)["error"]["message"] == f"[InvalidGraphDefinition] {name}: The part is missing."


@pytest.mark.parametrize("wrong", ["/Tables/dbo/city", "/Tables/town", "/Files/city", "/Tables/../../x"])
def test_a_table_that_is_not_there_is_found_when_the_definition_is_pushed(place, wrong):
    """ModelValidationError with DataSourceSchemaFetchFailed and the name of the source."""
    files = place.contents()
    source = next(one for one in files["dataSources.json"]["dataSources"] if one["name"] == "city")
    source["properties"]["path"] = source["properties"]["path"].replace("/Tables/city", wrong)
    error = place.push(files)["error"]
    assert error["errorCode"] == "ModelValidationError"
    assert "[DataSourceSchemaFetchFailed]" in error["message"]
    assert "data source 'city'" in error["message"]


def test_tables_are_named_by_id_or_by_name_on_any_host(place):
    """Real definitions have onelake.pbidedicated.windows.net as well."""
    name = place.fabric.get(f"/workspaces/{place.workspace}").json()["displayName"]
    files = place.contents()
    for source in files["dataSources.json"]["dataSources"]:
        source["properties"]["path"] = f"abfss://{name}@onelake.pbidedicated.windows.net/lake.Lakehouse/Tables/{source['name']}"
    assert place.push(files)["status"] == "Succeeded"
    assert place.fabric.ended(place.refresh())["status"] == "Completed"


def test_a_refresh_loads_the_tables_and_is_told_as_a_job(place):
    """202 with the job's Location; both path forms; the job has its label; queries see the graph, and the item says so."""
    fabric = place.fabric
    job = place.load()
    assert job["jobType"] == "RefreshGraph"
    assert place.rows(COUNT) == [[4]]
    shown = fabric.get(place.path).json()["properties"]
    assert shown["queryReadiness"] == "Full"
    assert (shown["lastDataLoadingStatus"]["status"], shown["lastDataLoadingStatus"]["jobInstanceId"]) == ("Completed", job["id"])
    assert fabric.run_to_end(place.workspace, place.model, "RefreshGraph")["status"] == "Completed"
    assert error_of(fabric.post(f"/workspaces/{place.workspace}/items/{place.model}/jobs/instances?jobType=Refresh"), 501) == "NotModelled"
    assert error_of(fabric.post(f"{place.path}/jobs/execute/instances"), 400) == "InvalidJobType"


def test_dirty_rows_are_left_out_as_the_service_does(place):
    """Null keys, second rows of a key, edges without an end, and rows that the filter does not pass – or that have no value for it."""
    place.load()
    assert place.rows("MATCH (p:Person) RETURN p.id ORDER BY p.id") == [[1], [2], [3], [4]]
    assert place.rows("MATCH (p:Person {id: 4}) RETURN p.name") == [["Dee"]]
    assert place.rows("MATCH (a)-[k:knows]->(b) RETURN a.id, b.id, k.since ORDER BY k.since") == [
        [1, 2, 2001],
        [2, 3, 2002],
        [3, 1, 2003],
        [1, 2, 2007],
    ]


def test_an_empty_definition_cannot_be_refreshed(place):
    """The job is accepted and fails as GraphNotRefreshable."""
    job = place.fabric.ended(place.refresh())
    assert (job["status"], job["failureReason"]["errorCode"]) == ("Failed", "GraphNotRefreshable")
    assert job["failureReason"]["message"] == "Graph doesn't have valid content and cannot be refreshed."


def test_a_graph_that_was_never_loaded_cannot_be_asked(place):
    """400 GraphNotQueryable; its queryable type is empty."""
    assert error_of(place.fabric.post(f"{place.path}/executeQuery?beta=true", {"query": COUNT}), 400) == "GraphNotQueryable"
    assert place.fabric.get(f"{place.path}/getQueryableGraphType?beta=true").json() == {"nodeTypes": [], "edgeTypes": []}


def test_a_beta_operation_wants_to_be_asked_for_as_one(place):
    """beta=true, or the older preview=true, in any case."""
    place.load()
    for flag in ("beta=true", "preview=true", "preview=True"):
        assert place.fabric.post(f"{place.path}/executeQuery?{flag}", {"query": COUNT}, expect=200).json()["status"]["code"] == "00000"
    assert error_of(place.fabric.post(f"{place.path}/executeQuery", {"query": COUNT}), 400) == "InvalidParameter"
    assert error_of(place.fabric.get(f"{place.path}/getQueryableGraphType", expect=None), 400) == "InvalidParameter"
    assert error_of(place.fabric.post(f"{place.path}/executeQuery?beta=true", {}), 400) == "InvalidInput"


def test_the_queryable_type_is_that_of_the_loaded_graph(place):
    """A definition that was pushed later changes it at the next refresh."""
    place.load()
    loaded = place.fabric.get(f"{place.path}/getQueryableGraphType?beta=true").json()
    files = place.contents()
    assert loaded == {name: files["graphType.json"][name] for name in ("nodeTypes", "edgeTypes")}
    files["graphType.json"]["edgeTypes"].append(edge_type("N", "near", "C", "C"))
    assert place.push(files)["status"] == "Succeeded"
    assert place.fabric.get(f"{place.path}/getQueryableGraphType?beta=true").json() == loaded
    assert place.fabric.ended(place.refresh())["status"] == "Completed"
    later = place.fabric.get(f"{place.path}/getQueryableGraphType?beta=true").json()
    assert [one["labels"] for one in later["edgeTypes"]] == [["knows"], ["lives_in"], ["part_of"], ["near"]]


def test_new_rows_are_seen_after_the_next_refresh(place):
    """A refresh replaces the graph as a whole; nothing refreshes by itself."""
    place.load()
    place.write_table("city", pa.table({"name": ["Bergen"], "people": [1], "code": ["NO"], "region": ["north"]}), mode="append")
    assert place.rows("MATCH (c:City) RETURN count(*)") == [[2]]
    assert place.fabric.ended(place.refresh())["status"] == "Completed"
    assert place.rows("MATCH (c:City)-[:part_of]->(l) RETURN l.name, count(*) ORDER BY l.name") == [["Italy", 1], ["Norway", 2]]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"name": ["Oslo"], "code": ["NO"], "region": ["north"]}), "no column 'people'"),
        (pa.table({"name": ["Oslo"], "people": ["many"], "code": ["NO"], "region": ["north"]}), "column 'people'"),
    ],
)
def test_a_table_that_does_not_fit_fails_the_refresh_and_leaves_the_graph(place, table, words):
    """The job says which column of which source; queries go on with what was loaded before."""
    place.load()
    place.write_table("city", table, mode="overwrite", schema_mode="overwrite")
    job = place.fabric.ended(place.refresh())
    assert (job["status"], job["failureReason"]["errorCode"]) == ("Failed", "ModelValidationError")
    assert words in job["failureReason"]["message"]
    assert "'city'" in job["failureReason"]["message"]
    assert place.rows("MATCH (c:City) RETURN count(*)") == [[2]]


def test_queries_are_answered_while_the_graph_is_refreshed(place):
    """Each sees the old graph or the new one; none fails because the old one has gone."""
    place.load()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(place.ask, COUNT) for _ in range(24)]
        for _ in range(3):
            assert place.fabric.ended(place.refresh())["status"] == "Completed"
    assert [one.result()["status"]["code"] for one in asked] == ["00000"] * 24


def test_a_table_that_has_gone_fails_the_refresh(place):
    """DataSourceSchemaFetchFailed, this time in the job."""
    place.load()
    folder = place.fabric.sandbox.lake.path_of(place.workspace, place.lakehouse) / "Tables" / "city"
    folder.rename(folder.with_name("elsewhere"))
    job = place.fabric.ended(place.refresh())
    assert job["failureReason"]["errorCode"] == "ModelValidationError"
    assert "[DataSourceSchemaFetchFailed]" in job["failureReason"]["message"]


def test_a_second_refresh_of_the_same_graph_ends_as_deduped(place):
    """The first goes on."""
    assert place.push(place.contents())["status"] == "Succeeded"
    place.fabric.sandbox.fabric.options.job_queue_seconds = 600
    first, second = place.refresh(), place.refresh()
    place.fabric.sandbox.clock.advance(601)
    assert {place.fabric.ended(first)["status"], place.fabric.ended(second)["status"]} == {"Completed", "Deduped"}
    assert status_of(place, first) == "Completed"
    assert place.rows(COUNT) == [[4]]


def test_faults_by_script_hit_the_refresh(place):
    """Refused because one is running, deduped, failed."""
    assert place.push(place.contents())["status"] == "Succeeded"
    faults = place.fabric.sandbox.faults
    faults.script("fabric.RunOnDemandItemJob", "refresh_in_progress")
    assert error_of(place.fabric.post(f"{place.path}/jobs/refreshGraph/instances"), 400) == "RefreshAlreadyInProgress"
    faults.script("fabric.RunOnDemandItemJob", "deduped")
    assert place.fabric.ended(place.refresh())["status"] == "Deduped"
    faults.script("fabric.RunOnDemandItemJob", "job_failed", code="GraphNotRefreshable", message="by script")
    assert place.fabric.ended(place.refresh())["failureReason"]["message"] == "by script"


def _loading(place):
    """The processes that load the graph of the place."""
    found = []
    for one in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "load_child" in " ".join(one.cmdline()) and place.model in one.cwd():
                found.append(one.pid)
    return found


@pytest.fixture
def many(place):
    """So many rows that a refresh takes a moment."""
    names = pa.array([f"Town {number}" for number in range(300_000)])
    rows = {"name": names, "people": pa.array(range(300_000)), "code": pa.array(["NO"] * 300_000), "region": pa.array(["north"] * 300_000)}
    place.write_table("city", pa.table(rows), mode="overwrite")
    assert place.push(place.contents())["status"] == "Succeeded"
    return place


def test_a_crash_of_the_engine_ends_the_job_and_not_the_sandbox(many):
    """Its process is killed from outside: the job says so, and the next refresh works."""
    location = many.refresh()
    os.kill(until(lambda: _loading(many))[0], signal.SIGSEGV)
    job = many.fabric.ended(location)
    assert job["status"] == "Failed"
    assert "SIGSEGV" in job["failureReason"]["message"]
    assert many.fabric.ended(many.refresh())["status"] == "Completed"
    assert many.rows("MATCH (c:City)-[:part_of]->(l:Country) RETURN count(*)") == [[300_000]]


def test_a_refresh_is_cancelled(many):
    """Its process is killed, and nothing of it is seen."""
    location = many.refresh()
    until(lambda: _loading(many))
    many.fabric.post(f"{location}/cancel", expect=202)
    assert many.fabric.ended(location)["status"] == "Cancelled"
    assert error_of(many.fabric.post(f"{many.path}/executeQuery?beta=true", {"query": COUNT}), 400) == "GraphNotQueryable"
    assert until(lambda: not _loading(many))


def test_what_treadle_makes_of_the_real_scenario_is_loaded_and_answers(fabric, tmp_path):
    """The definition from the real scenario, its ten tables, and the query of the acceptance."""
    found = check_scenario(io.BytesIO(telco("entities")), tmp_path)
    place = GraphPlace(fabric)
    archive = {table.csv_file: table for table in found.tables}
    for table in found.tables:
        frame = pl.read_csv(f"samples/scenarios/telco-noc/data/entities/{table.csv_file}", infer_schema_length=None)
        place.write_table(table.name, frame.to_arrow())
    listed = fabric.get(f"/workspaces/{place.workspace}/lakehouses/{place.lakehouse}/tables").json()["data"]
    locations = {one["name"]: one["location"] for one in listed}
    parts = graph_model_parts(found.schema, found.tables, locations, "people", found.manifest.node_styles)
    assert place.push({one.path: dict(one.content) for one in parts})["status"] == "Succeeded"
    assert fabric.ended(place.refresh())["status"] == "Completed"

    links = pl.read_csv(f"samples/scenarios/telco-noc/data/entities/{archive['DimTransportLink.csv'].csv_file}")
    ends = pl.concat([links["SourceRouterId"], links["TargetRouterId"].rename("SourceRouterId")])
    routers = set(pl.read_csv("samples/scenarios/telco-noc/data/entities/DimCoreRouter.csv")["RouterId"])
    expected = {router: count for router, count in ends.value_counts().iter_rows() if router in routers}
    answer = place.rows("MATCH (l:TransportLink)-[:connects_to]->(r:CoreRouter) RETURN r.RouterId, count(*)")
    assert dict(answer) == expected
    hops = pl.read_csv("samples/scenarios/telco-noc/data/entities/FactMPLSPathHops.csv").filter(pl.col("NodeType") == "TransportLink")
    assert place.rows("MATCH (:MPLSPath)-[:routes_via]->(:TransportLink) RETURN count(*)") == [[len(hops)]]
    place.drop()


def test_types_of_the_tables_become_types_of_the_graph(place):
    """A key that is a number in one table and text in another joins all the same; times are in UTC."""
    place.load()
    assert place.rows("MATCH (p:Person {id: 1})-[:lives_in]->(c) RETURN c.name, p.born") == [["Oslo", BORN.isoformat()]]


@pytest.mark.parametrize(
    ("kind", "column", "values"),
    [
        ("ZONED DATETIME", pa.array(["2024-01-01T10:00:00", "2024-01-01"]), ["2024-01-01T10:00:00+00:00", "2024-01-01T00:00:00+00:00"]),
        ("ZONED DATETIME", pa.array(["2024-01-01T10:00:00+02:00", None]), ["2024-01-01T08:00:00+00:00", None]),
        ("ZONED DATETIME", pa.array([date(2024, 1, 1), None]), ["2024-01-01T00:00:00+00:00", None]),
        ("INT", pa.array(["7", "-1"]), [7, -1]),
        ("FLOAT", pa.array([Decimal("1.50"), None]), [1.5, None]),
        ("BOOLEAN", pa.array(["true", "false"]), [True, False]),
        ("STRING", pa.array([1.5, 2.0]), ["1.5", "2"]),
    ],
)
def test_a_column_of_another_type_is_converted(place, kind, column, values):
    """What the table holds need not be what the graph's type says, if it can be read as that."""
    files = place.contents()
    city = next(one for one in files["graphType.json"]["nodeTypes"] if one["alias"] == "C")
    city["properties"][1]["type"] = kind
    table = pa.table({"name": ["Oslo", "Rome"], "people": column, "code": ["NO", "IT"], "region": ["north", "south"]})
    place.write_table("city", table, mode="overwrite", schema_mode="overwrite")
    assert place.push(files)["status"] == "Succeeded"
    job = place.fabric.ended(place.refresh())
    assert job["status"] == "Completed", job
    assert place.rows("MATCH (c:City) RETURN c.population ORDER BY c.name") == [[value] for value in values]


@pytest.mark.parametrize(
    ("wanted", "years"),
    [
        ({"operator": "Equal", "columnName": "since", "value": 2001}, [2001]),
        ({"operator": "Equal", "columnName": "since", "value": "2001"}, [2001]),
        ({"operator": "NotEqual", "columnName": "kind", "value": "friend"}, [2008]),
        ({"operator": "NotEqual", "columnName": "kind", "value": "foe"}, [2001, 2002, 2003, 2007, 2008]),
        ({"operator": "Equal", "columnName": "kind", "value": "friend"}, [2001, 2002, 2003, 2007]),
        ({"operator": "GreaterThanOrEqual", "columnName": "since", "value": 2003}, [2003, 2007, 2008]),
        ({"operator": "LessThan", "columnName": "since", "value": 2002}, [2001]),
        ({"operator": "In", "columnName": "since", "value": [2001, 2003]}, [2001, 2003]),
        ({"operator": "Contains", "columnName": "kind", "value": "rien"}, [2001, 2002, 2003, 2007]),
        (
            {"and": [{"operator": "Contains", "columnName": "kind", "value": "f"}, {"operator": "Equal", "columnName": "who", "value": 1}]},
            [2001, 2007],
        ),
        (
            {
                "operator": "OR",
                "filters": [
                    {"operator": "Equal", "columnName": "since", "value": 2001},
                    {"operator": "Equal", "columnName": "since", "value": 2008},
                ],
            },
            [2001, 2008],
        ),
    ],
)
def test_filters_choose_the_rows_of_a_table(place, wanted, years):
    """Comparisons and groups, as the definition's article shows them; a row without a value passes NotEqual and no other comparison."""
    files = place.contents()
    files["graphDefinition.json"]["edgeTables"][0]["filter"] = wanted
    foes = TABLES["knows"].filter(pc.not_equal(TABLES["knows"]["since"], 2004))
    place.write_table("knows", foes, mode="overwrite")
    assert place.push(files)["status"] == "Succeeded"
    job = place.fabric.ended(place.refresh())
    assert job["status"] == "Completed", job
    assert place.rows("MATCH ()-[k:knows]->() RETURN k.since ORDER BY k.since") == [[year] for year in years]


def test_a_graph_without_edge_types_has_no_edges_to_match(place):
    """Not an error: there is no data."""
    files = place.contents()
    files["graphType.json"]["edgeTypes"] = files["graphDefinition.json"]["edgeTables"] = []
    files["stylingConfiguration.json"]["modelLayout"]["styles"] = {}
    assert place.push(files)["status"] == "Succeeded"
    assert place.fabric.ended(place.refresh())["status"] == "Completed"
    answer = place.ask("MATCH (a)-[e]->(b) RETURN a.name AS x, e")
    assert (answer["status"]["code"], answer["result"]["data"]) == ("02000", [])
    assert [one["name"] for one in answer["result"]["columns"]] == ["x", "e"]
    assert place.rows(COUNT) == [[4]]
    assert place.rows("MATCH (a)-[e]->(b) RETURN count(*) AS n, count(e) AS m, max(a.name) AS x") == [[0, 0, None]]
    assert place.rows("MATCH (a)-[e]->(b) RETURN a.name AS x, count(*) AS n GROUP BY x") == []
    assert place.rows("MATCH (a)-[]->{0,2}(b) RETURN count(*) AS n") == [[8]]
    assert place.rows("MATCH (a:Person) OPTIONAL MATCH (a)-[e]->(b) RETURN count(*) AS n, count(b) AS m") == [[4, 0]]
    assert place.rows("MATCH (a:Person) WHERE EXISTS { (a)-[e]->() } RETURN a") == []


def test_a_restarted_sandbox_still_has_its_graphs(place):
    """The graph lies in the state folder."""
    place.load()
    loaded = place.fabric.sandbox.fabric.shop.graphs.current(place.model)
    again = type(place.fabric.sandbox.fabric.shop.graphs)(loaded.database.parents[2]).current(place.model)
    assert again.layout.graph_type() == loaded.layout.graph_type()
    assert json.loads((loaded.database.parent / "layout-2.json").read_text()) == json.loads(json.dumps(loaded.layout.to_json()))
