"""The unmodified deltalake (delta-rs) against the sandbox's OneLake: its commits rest on `If-None-Match: *`.

It trusts SSL_CERT_FILE, so each test runs in a child process.
"""

import json

import deltalake
import polars as pl
import pytest
from tests.contract.onelake_place import open_place

TABLE = """
import json, os
from concurrent.futures import ThreadPoolExecutor
import polars
from deltalake import DeltaTable, write_deltalake

by_token = {"account_name": "onelake", "token": os.environ["TOKEN"], "endpoint": os.environ["BLOB"]}
by_secret = {
    "account_name": "onelake", "tenant_id": os.environ["TENANT"], "client_id": os.environ["CLIENT_ID"],
    "client_secret": os.environ["CLIENT_SECRET"],
}
by_id = f"abfss://{os.environ['WORKSPACE']}@onelake.dfs.fabric.microsoft.com/{os.environ['LAKEHOUSE']}/Tables/"
by_name = f"abfss://{os.environ['WORKSPACE_NAME']}@onelake.dfs.fabric.microsoft.com/lake.Lakehouse/Tables/"
def rows(*values):
    return polars.DataFrame({"order_id": values})
def values(table):
    return sorted(polars.read_delta(table)["order_id"].to_list())
"""


@pytest.fixture
def place(sandbox):
    with open_place(sandbox) as place:
        yield place


def run(place, code):
    return place.run_client(TABLE + code)


def test_a_table_is_written_appended_read_and_read_as_it_was(place):
    found = run(
        place,
        """
options, uri = by_token, by_id + "orders"
write_deltalake(uri, rows(1, 2, 3), storage_options=options)
write_deltalake(uri, rows(4), mode="append", storage_options=options)
write_deltalake(uri, rows(9), mode="overwrite", storage_options=options)
table = DeltaTable(uri, storage_options=options)
old = [values(DeltaTable(uri, version=version, storage_options=options)) for version in range(2)]
doomed = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True)
print(json.dumps([table.version(), values(table), old, len(doomed), len(table.history())]))
""",
    )
    assert found == [2, [9], [[1, 2, 3], [1, 2, 3, 4]], 2, 3]
    on_disk = deltalake.DeltaTable(str(place.folder / "Tables/orders"))
    assert on_disk.version() == 2


def test_appends_from_four_threads_all_land(place):
    found = run(
        place,
        """
options, uri = by_secret | {"endpoint": os.environ["BLOB"], "authority_host": os.environ["ENTRA"]}, by_name + "orders"
write_deltalake(uri, rows(0), storage_options=options)
def append(number):
    write_deltalake(uri, rows(number), mode="append", storage_options=options)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(append, range(1, 13)))
table = DeltaTable(uri, storage_options=options)
print(json.dumps([table.version(), values(table)]))
""",
    )
    assert found == [12, list(range(13))]
    commits = sorted(one.name for one in (place.folder / "Tables/orders/_delta_log").glob("*.json"))
    assert commits == [f"{version:020}.json" for version in range(13)]


def test_a_table_that_a_notebook_writes_on_the_disk_is_read_through_the_api(place):
    folder = place.folder / "Tables/local"
    deltalake.write_deltalake(str(folder), pl.DataFrame({"order_id": [7, 8]}))
    found = run(
        place,
        """
uri = by_id + "local"
write_deltalake(uri, rows(9), mode="append", storage_options=by_token)
print(json.dumps(values(DeltaTable(uri, storage_options=by_token))))
""",
    )
    assert found == [7, 8, 9]
    assert deltalake.DeltaTable(str(folder)).version() == 1


def test_a_real_vacuum_fails_as_on_onelake(place):
    """delta-io/delta-rs issue 4401: the batch at the container is refused there, and so it is here."""
    message = run(
        place,
        """
uri = by_id + "orders"
for mode in ("error", "overwrite"):
    write_deltalake(uri, rows(1), mode=mode, storage_options=by_token)
try:
    DeltaTable(uri, storage_options=by_token).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    print(json.dumps("no error"))
except OSError as error:
    print(json.dumps(str(error)))
""",
    )
    assert "Either WorkspaceId or ArtifactId are missing in the request" in message


def test_the_real_host_names_work_through_the_proxy(place):
    found = run(
        place,
        """
options = by_secret | {"proxy_url": os.environ["PROXY"], "use_fabric_endpoint": "true"}
uri = by_id + "real"
write_deltalake(uri, rows(1), storage_options=options)
print(json.dumps(values(DeltaTable(uri, storage_options=options))))
""",
    )
    assert found == [1]
    log = place.folder / "Tables/real/_delta_log/00000000000000000000.json"
    assert any("add" in json.loads(line) for line in log.read_text().splitlines())
