"""Load Table of the Fabric sandbox: CSV and Parquet, files and folders, become real Delta tables, or the operation says what was wrong."""

import base64
import datetime as dt
import subprocess
import sys
import threading

import polars as pl
import psutil
import pytest
from deltalake import DeltaTable
from tests.contract.fabric_trials import error_of, until

from treadle.sandbox.fabric import operations


class Place:
    """A lakehouse of the sandbox, with its folder on disk."""

    def __init__(self, fabric, *, schemas=False):
        self.fabric = fabric
        self.workspace = fabric.workspace()
        body = {"displayName": "lake"} | ({"creationPayload": {"enableSchemas": True}} if schemas else {})
        self.id = fabric.post(f"/workspaces/{self.workspace}/lakehouses", body, expect=201).json()["id"]
        self.folder = fabric.sandbox.lake.path_of(self.workspace, self.id)

    def put(self, path, content):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def url(self, table, schema=None):
        middle = f"schemas/{schema}/tables/{table}/load?beta=true" if schema else f"tables/{table}/load"
        return f"/workspaces/{self.workspace}/lakehouses/{self.id}/{middle}"

    def load(self, table, path, *, schema=None, **more):
        body = {"relativePath": path, "pathType": "File", "mode": "Overwrite", **more}
        return self.fabric.post(self.url(table, schema), body, expect=202)

    def ended(self, accepted):
        get = self.fabric.get
        return until(lambda: next((s for s in [get(accepted.headers["location"]).json()] if s["status"] != "Running"), None))

    def loaded(self, table, path, **more):
        state = self.ended(self.load(table, path, **more))
        assert state["status"] == "Succeeded", state["error"]
        return self.table(table)

    def failure(self, table, path, **more):
        state = self.ended(self.load(table, path, **more))
        assert state["status"] == "Failed", state
        return state["error"]["message"]

    def table(self, name):
        return pl.from_arrow(DeltaTable(self.folder / "Tables" / name).to_pyarrow_table())


@pytest.fixture
def lake(fabric):
    place = Place(fabric)
    yield place
    fabric.call("DELETE", f"/workspaces/{place.workspace}", 200)


def test_a_csv_file_becomes_a_delta_table_with_the_types_of_its_values(lake):
    lake.put("Files/abc/abc123.csv", "id,count,share,when,on,name\nA-1,1,0.5,2026-02-04T02:30:00.000Z,true,Zoë\nB-2,,,,false,\n")
    table = lake.loaded(
        "abc123", "Files/abc/abc123.csv", recursive=False, formatOptions={"format": "Csv", "header": True, "delimiter": ","}
    )
    assert dict(table.schema) == {
        "id": pl.String, "count": pl.Int64, "share": pl.Float64, "when": pl.Datetime("us", "UTC"), "on": pl.Boolean, "name": pl.String,
    }  # fmt: skip
    assert table.row(0)[:3] == ("A-1", 1, 0.5)
    assert table.row(0)[3] == dt.datetime(2026, 2, 4, 2, 30, tzinfo=dt.UTC)
    listed = lake.fabric.get(f"/workspaces/{lake.workspace}/lakehouses/{lake.id}/tables").json()["data"]
    assert [(one["name"], one["format"]) for one in listed] == [("abc123", "Delta")]


def test_a_list_may_lag_behind_the_newest_table(lake):
    lake.put("Files/a.csv", "a\n1\n")
    lake.loaded("zebra", "Files/a.csv")
    lake.loaded("ape", "Files/a.csv")
    lake.fabric.sandbox.faults.script("fabric.ListTables", "listing_lag")
    names = [
        [one["name"] for one in lake.fabric.get(f"/workspaces/{lake.workspace}/lakehouses/{lake.id}/tables").json()["data"]] for _ in "ab"
    ]
    assert names == [["zebra"], ["ape", "zebra"]]


def test_the_operation_has_no_result_and_says_where_to_ask(lake):
    lake.put("Files/a.csv", "a\n1\n")
    accepted = lake.load("t", "Files/a.csv")
    assert accepted.json() is None
    assert {"location", "x-ms-operation-id", "retry-after"} <= set(accepted.headers)
    lake.ended(accepted)
    answer = lake.fabric.call("GET", accepted.headers["location"] + "/result")
    assert error_of(answer, 400) == "OperationHasNoResult"


def test_overwrite_replaces_rows_and_columns_and_append_adds_rows(lake):
    lake.put("Files/one.csv", "a,b\n1,x\n")
    lake.put("Files/two.csv", "c\n2.5\n")
    lake.put("Files/three.csv", "c\n7\n")
    lake.loaded("t", "Files/one.csv")
    assert lake.loaded("t", "Files/two.csv").to_dict(as_series=False) == {"c": [2.5]}
    assert sorted(lake.loaded("t", "Files/three.csv", mode="Append")["c"]) == [2.5, 7.0]
    assert lake.loaded("new", "Files/three.csv", mode="Append")["c"].to_list() == [7]


def test_without_header_columns_are_numbered_and_another_delimiter_counts(lake):
    lake.put("Files/a.txt", "1;x,y\n2;z\n")
    table = lake.loaded("t", "Files/a.txt", formatOptions={"format": "Csv", "header": False, "delimiter": ";"})
    assert table.to_dict(as_series=False) == {"_c0": [1, 2], "_c1": ["x,y", "z"]}


def test_a_byte_order_mark_quotes_and_line_breaks_inside_of_them_are_read(lake):
    lake.put("Files/a.csv", '\ufeffa,b\r\n1,"two\r\n""lines"""\r\n2,\r\n')
    assert lake.loaded("t", "Files/a.csv").rows() == [(1, 'two\r\n"lines"'), (2, None)]


def test_a_folder_is_loaded_by_extension_and_goes_deep_only_when_asked(lake):
    for path, content in {
        "a[1]*.csv": "x\n1\n",
        "b.CSV": "x\n2\n",
        "c.txt": "x\n3\n",
        "_log.csv": "x\n9\n",
        "deep/d.csv": "x\n4\n",
    }.items():
        lake.put(f"Files/in/{path}", content)
    options = {"pathType": "Folder", "fileExtension": "csv", "formatOptions": {"format": "Csv", "header": True, "delimiter": ","}}
    assert sorted(lake.loaded("flat", "Files/in", **options)["x"]) == [1, 2]
    assert sorted(lake.loaded("deep", "Files/in", recursive=True, **options)["x"]) == [1, 2, 4]
    assert "no files that end with .tsv" in lake.failure("none", "Files/in", **options | {"fileExtension": "tsv"})


def test_a_type_that_only_a_later_file_of_the_folder_needs_is_found(lake):
    lake.put("Files/in/a.csv", "x\n1\n")
    lake.put("Files/in/b.csv", "x\nword\n")
    assert sorted(lake.loaded("t", "Files/in", pathType="Folder")["x"]) == ["1", "word"]


def test_parquet_keeps_its_types_but_for_those_that_delta_has_not(lake):
    frame = pl.DataFrame({"a": pl.Series([1], dtype=pl.UInt32), "b": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], "c": ["x"], "d": [1.5]})
    file = lake.folder / "Files" / "t.parquet"
    frame.write_parquet(file)
    table = lake.loaded("t", "Files/t.parquet", formatOptions={"format": "Parquet"})
    assert table.schema["a"] == pl.Int64
    assert table.schema["b"] == pl.Datetime("us", "UTC")
    assert table.row(0)[2:] == ("x", 1.5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n3\n", "Files/bad.csv, line 3: Expected Number of Columns: 2 Found: 1"),
        ('a\n1\n"open\n', "line 3: Value with unterminated quote found"),
        ("a,A\n1,2\n", "two columns are called 'a'"),
        ("a b\n1\n", "column 1 is called 'a b'"),
        ("a,\n1,2\n", "column 2 is called ''"),
    ],
)
def test_a_csv_that_cannot_be_loaded_is_told_with_file_and_place(lake, content, said):
    lake.put("Files/bad.csv", content)
    assert said in lake.failure("bad", "Files/bad.csv")
    assert not (lake.folder / "Tables" / "bad").exists()


def test_what_does_not_fit_the_table_is_told_with_line_and_column(lake):
    lake.put("Files/good.csv", "a,b\n1,2\n")
    lake.put("Files/text.csv", "a,b\n1,2\n2,word\n")
    lake.put("Files/other.csv", "a,c\n1,2\n")
    before = lake.loaded("t", "Files/good.csv")
    said = lake.failure("t", "Files/text.csv", mode="Append")
    assert "Files/text.csv, line 3" in said
    assert 'column "b"' in said
    assert "it lacks b; the table has no c" in lake.failure("t", "Files/other.csv", mode="Append")
    assert lake.table("t").equals(before)


def test_a_missing_file_and_one_that_is_no_parquet_are_told(lake):
    assert "Files/none.csv: there is no file" in lake.failure("t", "Files/none.csv")
    lake.put("Files/x.parquet", "no parquet")
    assert "Files/x.parquet is not a Parquet file" in lake.failure("t", "Files/x.parquet", formatOptions={"format": "Parquet"})


@pytest.mark.parametrize(
    ("table", "change", "code"),
    [
        ("123", {}, "InvalidInput"),
        ("a-b", {}, "InvalidInput"),
        ("t", {"relativePath": "Tables/x"}, "BadRequest"),
        ("t", {"relativePath": "Files/../x"}, "BadRequest"),
        ("t", {"relativePath": None}, "BadRequest"),
        ("t", {"pathType": "Link"}, "BadRequest"),
        ("t", {"mode": "Merge"}, "BadRequest"),
        ("t", {"fileExtension": "c.s"}, "BadRequest"),
        ("t", {"formatOptions": {"format": "Orc"}}, "BadRequest"),
        ("t", {"formatOptions": {"format": "Csv", "delimiter": "("}}, "BadRequest"),
    ],
)
def test_a_request_that_breaks_the_rules_is_refused_at_once(lake, table, change, code):
    body = {"relativePath": "Files/a.csv", "pathType": "File", **change}
    assert error_of(lake.fabric.post(lake.url(table), body), 400) == code


def test_no_odd_field_breaks_it(lake):
    for odd in [None, 7, -1.5, True, "", "text", "\x00", "ü" * 300, [], [None], {}, {"a": None}]:
        for field in ("relativePath", "pathType", "fileExtension", "mode", "recursive", "formatOptions"):
            answer = lake.fabric.post(lake.url("t"), {"relativePath": "Files/none.csv", "pathType": "File", field: odd})
            assert answer.status_code in {202, 400}, answer.text
        for field in ("format", "header", "delimiter"):
            body = {"relativePath": "Files/none.csv", "pathType": "File", "formatOptions": {"format": "Csv", field: odd}}
            assert lake.fabric.post(lake.url("t"), body).status_code in {202, 400, 501}


def test_an_endless_path_is_refused_in_no_time(lake):
    """The published pattern repeats a repetition; one with backtracking would never end."""
    body = {"relativePath": "Files/" + "a " * 5000 + "?", "pathType": "File"}
    assert error_of(lake.fabric.post(lake.url("t"), body), 400) == "BadRequest"


def test_a_lakehouse_with_schemas_has_the_form_of_its_own(fabric):
    place = Place(fabric, schemas=True)
    place.put("Files/a.csv", "a\n1\n")
    assert place.ended(place.load("t", "Files/a.csv", schema="sales"))["status"] == "Succeeded"
    assert place.table("sales/t")["a"].to_list() == [1]
    body = {"relativePath": "Files/a.csv", "pathType": "File"}
    assert error_of(fabric.post(place.url("t"), body), 400) == "UnsupportedOperationForSchemasEnabledLakehouse"
    assert error_of(fabric.post(place.url("t", "sales").removesuffix("?beta=true"), body), 400) == "FeatureNotAvailable"
    assert error_of(fabric.post(place.url("t", "a-b"), body), 400) == "InvalidInput"


def test_a_scripted_failure_ends_the_operation_and_leaves_no_table(lake, sandbox):
    lake.put("Files/a.csv", "a\n1\n")
    sandbox.faults.script("fabric.LoadTable", "operation_failed", message="Spark is out of order", code="SparkError")
    assert lake.failure("t", "Files/a.csv") == "Spark is out of order"
    assert not (lake.folder / "Tables" / "t").exists()
    assert lake.loaded("t", "Files/a.csv")["a"].to_list() == [1]


def test_a_link_is_neither_read_nor_written_through(lake, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (lake.folder / "Files" / "link.csv").symlink_to(tmp_path / "secret.csv")
    (lake.folder / "Tables" / "t").symlink_to(tmp_path)
    lake.put("Files/a.csv", "a\n1\n")
    assert "neither a file nor a folder" in lake.failure("x", "Files/link.csv")
    assert "symbolic link" in lake.failure("t", "Files/a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv"]


def test_many_loads_of_one_table_at_once_come_one_after_another(lake):
    lake.put("Files/a.csv", "a\n1\n")
    accepted = [lake.load("t", "Files/a.csv", mode="Append") for _ in range(6)]
    assert {lake.ended(one)["status"] for one in accepted} == {"Succeeded"}
    assert lake.table("t")["a"].to_list() == [1] * 6


def test_a_large_table_is_loaded_with_bounded_memory(lake):
    """A million rows: the process grows by far less than the table takes."""
    rows = 1_000_000
    text = "x" * 40
    pl.DataFrame({"id": range(rows)}).with_columns(
        *(pl.concat_str(pl.lit(text), pl.col("id")).alias(f"c{number}") for number in range(8))
    ).write_parquet(lake.folder / "Files" / "big.parquet", row_group_size=100_000)
    process, stop = psutil.Process(), threading.Event()
    before, peak = process.memory_info().rss, [0]

    def watch():
        while not stop.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    accepted = lake.load("big", "Files/big.parquet", formatOptions={"format": "Parquet"})
    get = lake.fabric.get
    state = until(lambda: next((s for s in [get(accepted.headers["location"]).json()] if s["status"] != "Running"), None), 120)
    stop.set()
    watcher.join()
    assert state["status"] == "Succeeded"
    assert DeltaTable(lake.folder / "Tables" / "big").count() == rows
    assert peak[0] - before < 350 * 1024 * 1024


def test_the_published_examples_are_answered_with_their_headers(lake):
    """LoadTableOperation; LoadTableWithSchemaOperation is the other form of it."""
    lake.put("Files/abc/abc123.csv", "a\n1\n")
    body = {
        "relativePath": "Files/abc/abc123.csv",
        "pathType": "File",
        "mode": "Overwrite",
        "recursive": False,
        "formatOptions": {"format": "Csv", "header": True, "delimiter": ","},
    }
    answer = lake.fabric.post(lake.url("abc123"), body)
    assert answer.status_code == 202
    assert {"location", "x-ms-operation-id", "retry-after"} <= set(answer.headers)
    assert base64.b64encode(answer.content) == base64.b64encode(b"null")
    lake.ended(answer)


def test_a_load_that_was_interrupted_by_a_stop_has_failed(lake, sandbox):
    """A sandbox that is killed in mid-load finds the operation at its next start, and ends it."""
    shop = sandbox.fabric.shop
    operation = operations.begin_operation(shop.records, shop.clock.now(), polls=0)
    assert lake.fabric.get(f"/operations/{operation}").json()["status"] == "Running"
    operations.fail_interrupted_operations(shop.records, shop.clock.now(), "The sandbox was stopped")
    state = lake.fabric.get(f"/operations/{operation}").json()
    assert (state["status"], state["error"]["message"]) == ("Failed", "The sandbox was stopped")


def test_a_sandbox_that_loads_no_table_does_not_load_the_engine() -> None:
    """Its library ends with a page of warnings on standard error, whatever it did."""
    code = "import sys, treadle.sandbox.services; print('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
