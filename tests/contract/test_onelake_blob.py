"""OneLake's Blob dialect, one rule a test, by plain requests.

Sources: Blob service REST reference; delta-io/delta-rs issue 4401 and apache/arrow-rs-object-store issue 701 for batches.
"""

import base64
import hashlib
from xml.etree import ElementTree as ET

import pytest
from tests.contract.onelake_place import error_code, open_place

BLOCK_BLOB = {"x-ms-blob-type": "BlockBlob"}


@pytest.fixture
def place(sandbox):
    with open_place(sandbox) as place:
        yield place


def block_id(number):
    return base64.b64encode(f"block-{number:04}".encode()).decode()


def put_block(place, path, number, content):
    answer = place.blob("PUT", path, content=content, comp="block", blockid=block_id(number))
    assert answer.status_code == 201, answer.text
    return answer


def put_block_list(place, path, blocks, headers=None):
    lines = "".join(f"<{where}>{block_id(number)}</{where}>" for where, number in blocks)
    return place.blob("PUT", path, headers, content=f'<?xml version="1.0"?><BlockList>{lines}</BlockList>', comp="blocklist")


def staged(place):
    """What lies in the staging folder, which the tests of one worker share."""
    return sorted((place.sandbox.state_dir / "sandbox/onelake-staging").iterdir())


def list_blobs(place, container=None, **query):
    """The root of a listing's XML; dots in names of query parameters are none of ours."""
    answer = place.send(
        place.sandbox.endpoints.blob_url, "GET", f"/{container or place.workspace_id}", restype="container", comp="list", **query
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/xml")
    return ET.fromstring(answer.content)


def names(listing, kind="Blob"):
    return [one.text for one in listing.findall(f"Blobs/{kind}/Name")]


def test_put_blob_writes_the_file_that_everyone_sees(place):
    answer = place.write("Files/a/one.txt", b"hello", {"content-type": "text/plain", "x-ms-meta-owner": "me"})
    assert answer.headers["content-md5"] == base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    assert answer.headers["x-ms-request-server-encrypted"] == "true"
    assert (place.folder / "Files/a/one.txt").read_bytes() == b"hello"
    got = place.blob("GET", "Files/a/one.txt")
    assert (got.content, got.headers["content-type"], got.headers["x-ms-meta-owner"]) == (b"hello", "text/plain", "me")
    assert (got.headers["etag"], got.headers["x-ms-blob-type"]) == (answer.headers["etag"], "BlockBlob")
    assert got.headers["content-md5"] == answer.headers["content-md5"]


def test_put_blob_if_nothing_is_there_is_a_conflict_where_something_is(place):
    place.write("Files/one.txt", b"first", {"if-none-match": "*"})
    refused = place.blob("PUT", "Files/one.txt", BLOCK_BLOB | {"if-none-match": "*"}, content=b"second")
    assert (refused.status_code, error_code(refused)) == (409, "BlobAlreadyExists")
    assert place.read("Files/one.txt") == b"first"


def test_put_blob_with_a_stale_tag_is_refused(place):
    old = place.write("Files/one.txt", b"1").headers["etag"]
    new = place.write("Files/one.txt", b"2", {"if-match": old}).headers["etag"]
    refused = place.blob("PUT", "Files/one.txt", BLOCK_BLOB | {"if-match": old}, content=b"3")
    assert (refused.status_code, error_code(refused)) == (412, "ConditionNotMet")
    place.write("Files/one.txt", b"4", {"if-match": new})
    assert place.read("Files/one.txt") == b"4"


def test_put_blob_needs_its_type_and_a_file_to_be(place):
    assert error_code(place.blob("PUT", "Files/one.txt", content=b"1")) == "MissingRequiredHeader"
    place.write("Files/folder/one.txt", b"1")
    assert error_code(place.blob("PUT", "Files/folder", BLOCK_BLOB, content=b"1")) == "ResourceTypeMismatch"
    assert error_code(place.blob("PUT", "Files/folder/one.txt/x", BLOCK_BLOB, content=b"1")) == "ResourceTypeMismatch"
    assert place.blob("PUT", "Files/page", {"x-ms-blob-type": "PageBlob"}).status_code == 501
    assert place.blob("PUT", "Files/log", {"x-ms-blob-type": "AppendBlob"}).status_code == 501


@pytest.mark.parametrize("header", ["content-md5", "x-ms-blob-content-md5"])
def test_put_blob_checks_its_md5_and_leaves_nothing_behind(place, header):
    before = staged(place)
    refused = place.blob("PUT", "Files/one.txt", BLOCK_BLOB | {header: "AAAAAAAAAAAAAAAAAAAAAA=="}, content=b"abc")
    assert (refused.status_code, error_code(refused)) == (400, "Md5Mismatch")
    assert place.blob("HEAD", "Files/one.txt").status_code == 404
    right = {header: "kAFQmDzST7DWlj99KOF/cg==", "x-ms-content-crc64": "AAAAAAAAAAA="}
    assert place.blob("PUT", "Files/one.txt", BLOCK_BLOB | right, content=b"abc").status_code == 201
    assert staged(place) == before


def test_blocks_become_a_file_by_their_list_in_its_order(place):
    before = staged(place)
    for number, content in enumerate([b"aaa", b"bb", b"c", b"unused"]):
        put_block(place, "Files/one.bin", number, content)
    assert place.blob("HEAD", "Files/one.bin").status_code == 404
    headers = {"x-ms-blob-content-type": "text/csv", "content-type": "application/xml", "x-ms-meta-is_directory": "false"}
    committed = put_block_list(place, "Files/one.bin", [("Latest", 2), ("Uncommitted", 0), ("Latest", 1)], headers)
    assert committed.status_code == 201
    got = place.blob("GET", "Files/one.bin")
    assert (got.content, got.headers["content-type"], got.headers["x-ms-meta-is_directory"]) == (b"caaabb", "text/csv", "false")
    assert staged(place) == before


def test_a_block_list_may_keep_blocks_of_the_file_that_is_there(place):
    for number, content in enumerate([b"aaa", b"bb"]):
        put_block(place, "Files/one.bin", number, content)
    put_block_list(place, "Files/one.bin", [("Latest", 0), ("Latest", 1)])
    put_block(place, "Files/one.bin", 2, b"ccc")
    assert put_block_list(place, "Files/one.bin", [("Committed", 1), ("Uncommitted", 2), ("Latest", 0)]).status_code == 201
    assert place.read("Files/one.bin") == b"bbcccaaa"


def test_a_block_list_that_names_a_block_nobody_sent_is_refused(place):
    put_block(place, "Files/one.bin", 0, b"a")
    for blocks in ([("Latest", 0), ("Latest", 9)], [("Committed", 0)]):
        refused = put_block_list(place, "Files/one.bin", blocks)
        assert (refused.status_code, error_code(refused)) == (400, "InvalidBlockList")
    assert place.blob("HEAD", "Files/one.bin").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        "no xml",
        "<Other/>",
        "<BlockList><Wrong>QQ==</Wrong></BlockList>",
        '<!DOCTYPE a [<!ENTITY b "c">]><BlockList><Latest>&b;</Latest></BlockList>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///nowhere/secret">]><BlockList>&b;</BlockList>',
    ],
)
def test_a_block_list_that_is_no_plain_xml_is_refused(place, body):
    refused = place.blob("PUT", "Files/one.bin", content=body, comp="blocklist")
    assert (refused.status_code, error_code(refused)) == (400, "InvalidXmlDocument")


def test_a_block_list_can_depend_on_what_is_there(place):
    put_block(place, "Files/one.bin", 0, b"a")
    assert put_block_list(place, "Files/one.bin", [("Latest", 0)], {"if-none-match": "*"}).status_code == 201
    put_block(place, "Files/one.bin", 1, b"b")
    assert error_code(put_block_list(place, "Files/one.bin", [("Latest", 1)], {"if-none-match": "*"})) == "BlobAlreadyExists"
    assert error_code(put_block_list(place, "Files/one.bin", [("Latest", 1)], {"if-match": '"x"'})) == "ConditionNotMet"
    assert place.read("Files/one.bin") == b"a"


@pytest.mark.parametrize("bad", ["", "not base64!", base64.b64encode(b"x" * 65).decode()])
def test_a_block_id_is_base64_of_at_most_64_bytes(place, bad):
    assert error_code(place.blob("PUT", "Files/one.bin", content=b"a", comp="block", blockid=bad)) == "InvalidQueryParameterValue"


def test_get_block_list_shows_both_kinds(place):
    put_block(place, "Files/one.bin", 0, b"aaa")
    assert place.blob("GET", "Files/one.bin", comp="blocklist").status_code == 404
    put_block_list(place, "Files/one.bin", [("Latest", 0)])
    put_block(place, "Files/one.bin", 1, b"bb")

    def blocks(kind):
        root = ET.fromstring(place.blob("GET", "Files/one.bin", comp="blocklist", blocklisttype=kind).content)
        return {group.tag: [(one.findtext("Name"), one.findtext("Size")) for one in group] for group in root}

    committed, uncommitted = [(block_id(0), "3")], [(block_id(1), "2")]
    assert blocks("committed") == {"CommittedBlocks": committed, "UncommittedBlocks": []}
    assert blocks("uncommitted") == {"CommittedBlocks": [], "UncommittedBlocks": uncommitted}
    assert blocks("all") == {"CommittedBlocks": committed, "UncommittedBlocks": uncommitted}


def test_ranges_and_conditions_hold_for_blobs(place):
    etag = place.write("Files/one.txt", b"0123456789").headers["etag"]
    part = place.blob("GET", "Files/one.txt", {"range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert part.headers["x-ms-blob-content-md5"] == place.blob("HEAD", "Files/one.txt").headers["content-md5"]
    assert "content-md5" not in part.headers
    assert error_code(place.blob("GET", "Files/one.txt", {"range": "bytes=10-"})) == "InvalidRange"
    assert place.blob("GET", "Files/one.txt", {"if-none-match": etag}).status_code == 304
    assert error_code(place.blob("GET", "Files/one.txt", {"if-match": '"x"'})) == "ConditionNotMet"


def test_missing_blobs_are_named_so_in_xml(place):
    refused = place.blob("GET", "Files/none.txt")
    assert (refused.status_code, error_code(refused)) == (404, "BlobNotFound")
    assert refused.headers["content-type"].startswith("application/xml")


def test_a_folder_answers_as_an_empty_blob_that_says_what_it_is(place):
    place.write("Files/folder/one.txt", b"1")
    for method in ("GET", "HEAD"):
        answer = place.blob(method, "Files/folder")
        assert (answer.status_code, answer.content) == (200, b"")
        assert (answer.headers["x-ms-resource-type"], answer.headers["x-ms-meta-hdi_isfolder"]) == ("directory", "true")


def test_metadata_is_replaced_as_a_whole(place):
    place.write("Files/one.txt", b"1", {"x-ms-meta-a": "1", "x-ms-meta-b": "2", "content-type": "text/csv"})
    old = place.blob("HEAD", "Files/one.txt").headers["etag"]
    answer = place.blob("PUT", "Files/one.txt", {"x-ms-meta-c": "3", "content-length": "0"}, comp="metadata")
    assert answer.status_code == 200
    got = place.blob("GET", "Files/one.txt", comp="metadata").headers
    assert {name: value for name, value in got.items() if name.startswith("x-ms-meta-")} == {"x-ms-meta-c": "3"}
    assert got["etag"] == answer.headers["etag"] != old
    assert place.blob("HEAD", "Files/one.txt").headers["content-type"] == "text/csv"
    bad = place.blob("PUT", "Files/one.txt", {"x-ms-meta-9-": "3", "content-length": "0"}, comp="metadata")
    assert (bad.status_code, error_code(bad)) == (400, "InvalidMetadata")


def test_set_blob_properties_clears_what_it_does_not_name(place):
    place.write("Files/one.txt", b"1", {"x-ms-blob-cache-control": "no-cache", "x-ms-meta-a": "1"})
    place.blob("PUT", "Files/one.txt", {"x-ms-blob-content-type": "text/csv", "content-length": "0"}, comp="properties")
    head = place.blob("HEAD", "Files/one.txt").headers
    assert (head["content-type"], head.get("cache-control"), head["x-ms-meta-a"]) == ("text/csv", None, "1")


def test_a_flat_listing_echoes_the_request_and_shows_folders_as_such(place):
    etag = place.write("Files/a/one.txt", b"hello", {"x-ms-meta-k": "v"}).headers["etag"]
    place.write("Files/two & <three>.txt", b"1")
    prefix = f"{place.lakehouse_id}/Files/"
    root = list_blobs(place, prefix=prefix, include="metadata")
    assert (root.get("ContainerName"), root.findtext("Prefix"), root.findtext("NextMarker")) == (place.workspace_id, prefix, "")
    assert names(root) == [f"{prefix}a", f"{prefix}a/one.txt", f"{prefix}two & <three>.txt"]
    folder, file, _ = root.findall("Blobs/Blob")
    assert (folder.findtext("Properties/ResourceType"), folder.findtext("Metadata/hdi_isfolder")) == ("directory", "true")
    assert (file.findtext("Properties/ResourceType"), file.findtext("Metadata/k")) == ("file", "v")
    assert (file.findtext("Properties/Content-Length"), file.findtext("Properties/Etag")) == ("5", etag.strip('"'))
    assert file.findtext("Properties/BlobType") == "BlockBlob"


def test_a_delimiter_folds_folders_into_prefixes(place):
    for path in ("Files/a/one.txt", "Files/ab.txt", "Files/b.txt"):
        place.write(path, b"1")
    prefix = f"{place.lakehouse_id}/Files/"
    root = list_blobs(place, prefix=prefix, delimiter="/")
    assert names(root, "BlobPrefix") == [f"{prefix}a/"]
    assert names(root) == [f"{prefix}ab.txt", f"{prefix}b.txt"]
    begins = list_blobs(place, prefix=prefix + "a", delimiter="/")
    assert (names(begins, "BlobPrefix"), names(begins)) == ([f"{prefix}a/"], [f"{prefix}ab.txt"])


def test_a_prefix_is_the_start_of_names_and_may_match_nothing(place):
    for path in ("Tables/t/_delta_log/0.json", "Tables/t/_delta_log/1.json", "Tables/t2/x"):
        place.write(path, b"1")
    lake = place.lakehouse_id
    assert names(list_blobs(place, prefix=f"{lake}/Tables/t/_delta_log/0")) == [f"{lake}/Tables/t/_delta_log/0.json"]
    for prefix in (f"{lake}/Tables/none/", f"{lake}/Tables/t2/x/", f"{lake}/Files/none"):
        assert names(list_blobs(place, prefix=prefix)) == []


def test_start_from_is_inclusive(place):
    for number in range(4):
        place.write(f"Tables/t/_delta_log/{number}.json", b"1")
    prefix = f"{place.lakehouse_id}/Tables/t/_delta_log/"
    assert names(list_blobs(place, prefix=prefix, startFrom=f"{prefix}2.json")) == [f"{prefix}2.json", f"{prefix}3.json"]
    assert names(list_blobs(place, prefix=prefix, startFrom=f"{prefix}1.zzz")) == [f"{prefix}2.json", f"{prefix}3.json"]


@pytest.mark.parametrize("size", ["1", "2", "5"])
def test_a_listing_in_pages_gives_each_blob_once(place, size):
    for number in range(5):
        place.write(f"Files/{number % 2}/{number}", b"1")
    prefix, marker, seen = f"{place.lakehouse_id}/Files/", "", []
    while True:
        root = list_blobs(place, prefix=prefix, maxresults=size, marker=marker)
        seen += names(root)
        if not (marker := root.findtext("NextMarker")):
            break
    assert seen == names(list_blobs(place, prefix=prefix))


def test_names_are_listed_as_the_client_wrote_them(place):
    place.write("Files/one.txt", b"1")
    by_name = list_blobs(place, place.workspace_name, prefix="lake.Lakehouse/Files/")
    assert names(by_name) == ["lake.Lakehouse/Files/one.txt"]
    assert names(list_blobs(place, place.workspace_name, delimiter="/"), "BlobPrefix") == ["lake.Lakehouse/"]
    assert names(list_blobs(place, place.workspace_name, prefix="la", delimiter="/"), "BlobPrefix") == ["lake.Lakehouse/"]
    assert names(list_blobs(place, delimiter="/"), "BlobPrefix") == [f"{place.lakehouse_id}/"]
    assert names(list_blobs(place))[-1] == f"{place.lakehouse_id}/Tables"


def copy(place, source, path, headers=None):
    return place.blob("PUT", path, {"x-ms-copy-source": source, "content-length": "0"} | (headers or {}))


def test_a_copy_stays_in_the_account_and_keeps_the_properties(place):
    place.write("Files/a b.txt", b"abc", {"content-type": "text/csv", "x-ms-meta-k": "v"})
    source = f"{place.sandbox.endpoints.blob_url}/{place.workspace_id}/{place.lakehouse_id}/Files/a%20b.txt"
    answer = copy(place, source, "Files/sub/two.txt")
    assert (answer.status_code, answer.headers["x-ms-copy-status"]) == (202, "success")
    got = place.blob("GET", "Files/sub/two.txt")
    assert (got.content, got.headers["content-type"], got.headers["x-ms-meta-k"]) == (b"abc", "text/csv", "v")
    named = f"https://onelake.blob.fabric.microsoft.com/{place.workspace_name}/lake.Lakehouse/Files/a%20b.txt"
    replaced = copy(place, named, "Files/three.txt", {"x-ms-meta-other": "w"})
    assert replaced.status_code == 202
    assert "x-ms-meta-k" not in place.blob("HEAD", "Files/three.txt").headers
    assert error_code(copy(place, source, "Files/sub/two.txt", {"if-none-match": "*"})) == "BlobAlreadyExists"
    assert error_code(copy(place, source, "Files/new.txt", {"x-ms-source-if-match": '"x"'})) == "SourceConditionNotMet"
    assert copy(place, source + "-none", "Files/new.txt").status_code == 404


@pytest.mark.parametrize(
    "source", ["https://example.org/ws/lake/Files/a", "file:///nowhere/secret", "http://127.0.0.1:9/x", "/relative", ""]
)
def test_a_copy_from_elsewhere_is_refused_and_never_fetched(place, source):
    refused = copy(place, source, "Files/two.txt")
    assert (refused.status_code, error_code(refused)) == (403, "CannotVerifyCopySource")


def test_delete_blob_takes_files_and_empty_folders(place):
    place.write("Files/a/one.txt", b"1")
    refused = place.blob("DELETE", "Files/a")
    assert (refused.status_code, error_code(refused)) == (409, "DirectoryIsNotEmpty")
    assert place.blob("DELETE", "Files/a/one.txt", {"x-ms-delete-snapshots": "include"}).status_code == 202
    assert place.blob("DELETE", "Files/a").status_code == 202
    assert place.blob("DELETE", "Files/a").status_code == 404


def batch(place, path, paths, boundary="batch_a+b/c="):
    """A batch of deletes as object_store writes it."""
    parts = "".join(
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: {number}\r\n\r\n"
        f"DELETE {one} HTTP/1.1\r\nContent-Length: 0\r\nX-Ms-Version: 2023-11-03\r\n\r\n\r\n"
        for number, one in enumerate(paths)
    )
    headers = {"content-type": f"multipart/mixed; boundary={boundary}"}
    body = f"{parts}--{boundary}--\r\n"
    return place.send(place.sandbox.endpoints.blob_url, "POST", path, headers, content=body, restype="container", comp="batch")


def test_a_batch_at_the_container_is_refused_in_onelakes_words(place):
    refused = batch(place, f"/{place.workspace_id}", [f"/{place.workspace_id}/{place.lakehouse_id}/Files/a"])
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "BadRequest"
    assert refused.json()["error"]["message"].startswith("Either WorkspaceId or ArtifactId are missing in the request")


def test_a_batch_at_the_item_deletes_each_and_answers_for_each(place):
    place.write("Files/one.txt", b"1")
    place.write("Files/ü 2.txt", b"1")
    item = f"/{place.workspace_id}/{place.lakehouse_id}"
    other = f"/{place.workspace_id}/3b8f1b3e-0000-4000-8000-000000000000"
    paths = [f"{item}/Files/one.txt", f"{item}/Files/none.txt", f"{item}/Files/%C3%BC%202.txt", f"{other}/Files/x", f"{item}/Files/../x"]
    answer = batch(place, item, paths)
    assert answer.status_code == 202
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    parts = answer.text.split(f"--{boundary}")[1:-1]
    assert [part.split("HTTP/1.1 ")[1][:3] for part in parts] == ["202", "404", "202", "404", "400"]
    assert [part.split("Content-ID: ")[1][0] for part in parts] == ["0", "1", "2", "3", "4"]
    assert place.listed() == []


def test_a_batch_that_is_none_is_refused(place):
    item = f"/{place.workspace_id}/{place.lakehouse_id}"
    base, query = place.sandbox.endpoints.blob_url, {"restype": "container", "comp": "batch"}
    assert error_code(place.send(base, "POST", item, {"content-type": "text/plain"}, content=b"x", **query)) == "InvalidHeaderValue"
    mixed = {"content-type": "multipart/mixed; boundary=b"}
    assert error_code(place.send(base, "POST", item, mixed, content=b"x", **query)) == "InvalidInput"


def test_account_and_containers_answer_what_tools_ask(place):
    base = place.sandbox.endpoints.blob_url
    account = place.send(base, "GET", "/", restype="account", comp="properties")
    assert (account.status_code, account.headers["x-ms-is-hns-enabled"]) == (200, "true")
    listed = ET.fromstring(place.send(base, "GET", "/", comp="list").content)
    assert place.workspace_name in [one.text for one in listed.findall("Containers/Container/Name")]
    for method in ("GET", "HEAD"):
        assert place.send(base, method, f"/{place.workspace_id}", restype="container").status_code == 200
    missing = place.send(base, "GET", "/nobody", restype="container")
    assert (missing.status_code, error_code(missing)) == (404, "WorkspaceNotFound")


@pytest.mark.parametrize("comp", ["lease", "tags", "snapshot", "undelete", "tier", "query", "page", "appendblock", "expiry", "legalhold"])
def test_what_is_not_modelled_says_so(place, comp):
    place.write("Files/one.txt", b"1")
    answer = place.blob("PUT", "Files/one.txt", {"content-length": "0"}, comp=comp)
    assert answer.status_code == 501
    assert "not modelled by the Treadle sandbox" in answer.text
    assert place.blob("PATCH", "Files/one.txt").status_code == 405


def test_blob_requests_are_served_on_the_dfs_port_too(place):
    """The vendor's Data Lake client sends them there when the host has no `.dfs.` label to replace."""
    answer = place.dfs("PUT", "Files/one.txt", BLOCK_BLOB, content=b"abc")
    assert answer.status_code == 201
    assert place.dfs("PUT", "Files/one.txt", {"x-ms-meta-a": "1", "content-length": "0"}, comp="metadata").status_code == 200
    assert place.operations(2) == ["onelake.Blob.Put", "onelake.Blob.SetMetadata"]


def test_a_scripted_fault_comes_in_the_dialects_envelope(place):
    place.sandbox.faults.script("onelake.Blob.Put", "status", status=503, retry_after_seconds=2)
    refused = place.blob("PUT", "Files/one.txt", BLOCK_BLOB, content=b"abc")
    assert (refused.status_code, error_code(refused), refused.headers["retry-after"]) == (503, "ServerBusy", "2")
    place.sandbox.faults.script("onelake.Path.Flush", "status", status=500, after_effect=True)
    place.dfs("PUT", "Files/two.txt", resource="file")
    place.dfs("PATCH", "Files/two.txt", content=b"abc", action="append", position="0")
    assert place.dfs("PATCH", "Files/two.txt", {"content-length": "0"}, action="flush", position="3").status_code == 500
    assert place.read("Files/two.txt") == b"abc"
