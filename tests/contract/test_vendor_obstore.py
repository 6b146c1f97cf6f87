"""The unmodified obstore (Rust object_store) against the sandbox's OneLake. It speaks the Blob dialect and trusts SSL_CERT_FILE."""

import pytest
from tests.contract.onelake_place import open_place

STORE = """
import json, os
import obstore
from obstore.store import AzureStore

workspace, lake, blob = os.environ["WORKSPACE"], os.environ["LAKEHOUSE"], os.environ["BLOB"]
def by_token(container=workspace, prefix=lake + "/Files", endpoint=blob):
    return AzureStore(container, prefix=prefix, account_name="onelake", bearer_token=os.environ["TOKEN"], endpoint=endpoint)
def by_secret(**more):
    return AzureStore(
        workspace, prefix=lake + "/Files", account_name="onelake", tenant_id=os.environ["TENANT"], client_id=os.environ["CLIENT_ID"],
        client_secret=os.environ["CLIENT_SECRET"], **({"endpoint": blob, "authority_host": os.environ["ENTRA"]} | more),
    )
def paths(store, **more):
    return [one["path"] for batch in obstore.list(store, **more) for one in batch]
def refusal(work):
    try:
        work()
    except Exception as error:
        return type(error).__name__
"""


@pytest.fixture
def place(sandbox):
    with open_place(sandbox) as place:
        yield place


def run(place, code):
    return place.run_client(STORE + code)


def test_objects_are_put_read_in_ranges_and_listed(place):
    found = run(
        place,
        """
store = by_token()
obstore.put(store, "a/b.txt", b"hello world")
obstore.put(store, "a/ü %41.txt", b"odd")
found = {
    "get": bytes(obstore.get(store, "a/b.txt").bytes()).decode(),
    "range": bytes(obstore.get_range(store, "a/b.txt", start=2, end=5)).decode(),
    "ranges": [bytes(part).decode() for part in obstore.get_ranges(store, "a/b.txt", starts=[0, 6], ends=[2, 8])],
    "size": obstore.head(store, "a/b.txt")["size"],
    "list": paths(store), "behind": paths(store, offset="a/b.txt"),
    "folded": list(obstore.list_with_delimiter(store)["common_prefixes"]),
    "missing": refusal(lambda: obstore.get(store, "a/none.txt")),
    "folder": refusal(lambda: obstore.head(store, "a")),
}
print(json.dumps(found))
""",
    )
    assert found == {
        "get": "hello world",
        "range": "llo",
        "ranges": ["he", "wo"],
        "size": 11,
        "list": ["a/b.txt", "a/ü %41.txt"],
        "behind": ["a/ü %41.txt"],
        "folded": ["a"],
        "missing": "FileNotFoundError",
        "folder": "FileNotFoundError",
    }


def test_put_if_absent_and_put_if_unchanged_hold(place):
    found = run(
        place,
        """
store = by_secret()
first = {"e_tag": obstore.put(store, "a.txt", b"1", mode="create")["e_tag"]}
found = [refusal(lambda: obstore.put(store, "a.txt", b"2", mode="create"))]
obstore.put(store, "a.txt", b"3", mode=first)
found += [refusal(lambda: obstore.put(store, "a.txt", b"4", mode=first)), bytes(obstore.get(store, "a.txt").bytes()).decode()]
print(json.dumps(found))
""",
    )
    assert found == ["AlreadyExistsError", "PreconditionError", "3"]


def test_large_objects_go_up_in_parts_and_are_copied(place):
    found = run(
        place,
        """
store = by_token()
obstore.put(store, "big.bin", b"z" * 12_000_000, use_multipart=True, chunk_size=5 * 1024 * 1024)
obstore.copy(store, "big.bin", "copy.bin")
found = [obstore.head(store, "copy.bin")["size"], refusal(lambda: obstore.copy(store, "big.bin", "copy.bin", overwrite=False))]
print(json.dumps(found))
""",
    )
    assert found == [12_000_000, "AlreadyExistsError"]
    assert (place.folder / "Files/copy.bin").read_bytes() == b"z" * 12_000_000


def test_deletes_fail_at_the_workspace_as_on_onelake_and_work_at_the_item(place):
    """object_store deletes by batch at its container; OneLake answers only where the item is in the URL (arrow-rs-object-store issue 701)."""
    for name in ("a.txt", "b.txt", "c.txt"):
        place.write(f"Files/{name}", b"1")
    found = run(
        place,
        """
found = [refusal(lambda: obstore.delete(by_token(), "a.txt"))]
at_item = by_token(container=lake, prefix="Files", endpoint=blob + "/" + workspace)
obstore.delete(at_item, "a.txt")
found += [refusal(lambda: obstore.delete(at_item, ["b.txt", "none.txt"])), paths(by_token())]
print(json.dumps(found))
""",
    )
    assert found == ["GenericError", "FileNotFoundError", ["c.txt"]]


def test_the_real_host_names_work_through_the_proxy(place):
    found = run(
        place,
        """
store = AzureStore(
    workspace, prefix=lake + "/Files", account_name="onelake", tenant_id=os.environ["TENANT"], client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"], use_fabric_endpoint=True, client_options={"proxy_url": os.environ["PROXY"]},
)
obstore.put(store, "real.txt", b"abc")
print(json.dumps(bytes(obstore.get(store, "real.txt").bytes()).decode()))
""",
    )
    assert found == "abc"
