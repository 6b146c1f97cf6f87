"""OneLake's DFS dialect, one rule a test, by plain requests.

Sources: Data Lake Storage Gen2 REST reference (Path, Filesystem), fabric-docs onelake-access-api and onelake-api-parity, recorded answers.
"""

import base64
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from tests.contract.onelake_place import error_code, open_place


@pytest.fixture
def place(sandbox):
    with open_place(sandbox) as place:
        yield place


def create(place, path, headers=None, resource="file"):
    return place.dfs("PUT", path, headers, resource=resource)


def append(place, path, position, content, **query):
    return place.dfs("PATCH", path, content=content, action="append", position=str(position), **query)


def flush(place, path, position, headers=None, **query):
    return place.dfs("PATCH", path, {"content-length": "0"} | (headers or {}), action="flush", position=str(position), **query)


def upload(place, path, content):
    create(place, path)
    append(place, path, 0, content)
    return flush(place, path, len(content), close="true")


def test_an_upload_is_created_appended_and_flushed(place):
    created = create(place, "Files/a/one.txt")
    assert created.status_code == 201
    assert created.headers["etag"].startswith('"0x')
    assert append(place, "Files/a/one.txt", 0, b"hello ").status_code == 202
    assert append(place, "Files/a/one.txt", 6, b"world").status_code == 202
    flushed = flush(place, "Files/a/one.txt", 11, close="true", retainUncommittedData="false")
    assert flushed.status_code == 200
    assert flushed.headers["etag"] != created.headers["etag"]
    assert place.read("Files/a/one.txt") == b"hello world"
    assert (place.folder / "Files/a/one.txt").read_bytes() == b"hello world"


def test_appended_data_is_invisible_until_it_is_flushed(place):
    upload(place, "Files/one.txt", b"old")
    append(place, "Files/one.txt", 3, b"+new")
    assert place.read("Files/one.txt") == b"old"
    assert place.dfs("HEAD", "Files/one.txt").headers["content-length"] == "3"
    assert (place.folder / "Files/one.txt").read_bytes() == b"old"
    assert flush(place, "Files/one.txt", 7).status_code == 200
    assert place.read("Files/one.txt") == b"old+new"


def test_pieces_may_arrive_in_any_order_and_twice(place):
    create(place, "Files/one.txt")
    for position, content in ((4, b"4567"), (0, b"zzzz"), (8, b"89"), (0, b"0123")):
        assert append(place, "Files/one.txt", position, content).status_code == 202
    assert flush(place, "Files/one.txt", 10).status_code == 200
    assert place.read("Files/one.txt") == b"0123456789"


@pytest.mark.parametrize(("pieces", "position"), [([(0, b"abc"), (4, b"e")], 5), ([(0, b"abc")], 4), ([(2, b"c")], 3), ([], 1)])
def test_a_flush_of_pieces_that_do_not_join_up_is_refused(place, pieces, position):
    create(place, "Files/one.txt")
    for start, content in pieces:
        append(place, "Files/one.txt", start, content)
    refused = flush(place, "Files/one.txt", position)
    assert (refused.status_code, error_code(refused)) == (400, "InvalidFlushPosition")
    assert place.read("Files/one.txt") == b""


def test_a_flush_cannot_shorten_a_file(place):
    upload(place, "Files/one.txt", b"abcdef")
    assert error_code(flush(place, "Files/one.txt", 3)) == "InvalidFlushPosition"
    assert place.read("Files/one.txt") == b"abcdef"


def test_data_behind_the_flush_is_dropped_unless_it_is_retained(place):
    for retain, second in (("true", 200), ("false", 400)):
        create(place, "Files/one.txt")
        append(place, "Files/one.txt", 0, b"abc")
        append(place, "Files/one.txt", 3, b"def")
        assert flush(place, "Files/one.txt", 3, retainUncommittedData=retain).status_code == 200
        assert flush(place, "Files/one.txt", 6).status_code == second


def test_creating_over_a_file_empties_it_and_drops_what_was_appended(place):
    upload(place, "Files/one.txt", b"abc")
    append(place, "Files/one.txt", 0, b"xyz")
    assert create(place, "Files/one.txt").status_code == 201
    assert place.read("Files/one.txt") == b""
    assert error_code(flush(place, "Files/one.txt", 3)) == "InvalidFlushPosition"


def test_append_with_flush_makes_the_data_visible_at_once(place):
    create(place, "Files/one.txt")
    answer = append(place, "Files/one.txt", 0, b"abc", flush="true")
    assert answer.status_code == 202
    assert answer.headers["etag"] == place.dfs("HEAD", "Files/one.txt").headers["etag"]
    assert place.read("Files/one.txt") == b"abc"


def test_append_and_flush_need_a_file_that_was_created(place):
    assert error_code(append(place, "Files/none.txt", 0, b"abc")) == "PathNotFound"
    assert error_code(flush(place, "Files/none.txt", 0)) == "PathNotFound"
    create(place, "Files/folder", resource="directory")
    assert error_code(append(place, "Files/folder", 0, b"abc")) == "PathConflict"


def test_append_checks_the_md5_of_its_body(place):
    create(place, "Files/one.txt")
    wrong = place.dfs("PATCH", "Files/one.txt", {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, content=b"abc", action="append", position="0")
    assert (wrong.status_code, error_code(wrong)) == (400, "MD5Mismatch")
    right = {"content-md5": "kAFQmDzST7DWlj99KOF/cg==", "x-ms-content-crc64": "AAAAAAAAAAA="}
    assert place.dfs("PATCH", "Files/one.txt", right, content=b"abc", action="append", position="0").status_code == 202


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"action": "append"}, "MissingRequiredQueryParameter"),
        ({"action": "append", "position": "-1"}, "InvalidQueryParameterValue"),
        ({"action": "flush", "position": "x"}, "InvalidQueryParameterValue"),
        ({"action": "flush", "position": "0", "retainUncommittedData": "maybe"}, "InvalidQueryParameterValue"),
        ({"action": "dance"}, "InvalidQueryParameterValue"),
        ({}, "MissingRequiredQueryParameter"),
    ],
)
def test_an_update_with_a_bad_query_says_so(place, query, code):
    create(place, "Files/one.txt")
    refused = place.dfs("PATCH", "Files/one.txt", {"content-length": "0"}, **query)
    assert (refused.status_code, error_code(refused)) == (400, code)


def test_create_rename_flush_and_delete_take_no_body(place):
    upload(place, "Files/one.txt", b"abc")
    source = {"x-ms-rename-source": f"/{place.workspace_id}/{place.lakehouse_id}/Files/one.txt"}
    refused = [
        place.dfs("PUT", "Files/two.txt", content=b"x", resource="file"),
        place.dfs("PUT", "Files/two.txt", source, content=b"x", mode="legacy"),
        place.dfs("PATCH", "Files/one.txt", content=b"x", action="flush", position="3"),
        place.dfs("DELETE", "Files/one.txt", content=b"x"),
    ]
    assert [error_code(one) for one in refused] == ["ContentLengthMustBeZero"] * 4
    assert place.listed() == ["Files/one.txt"]


def test_create_if_nothing_is_there_is_a_conflict_where_something_is(place):
    assert create(place, "Files/one.txt", {"if-none-match": "*"}).status_code == 201
    refused = create(place, "Files/one.txt", {"if-none-match": "*"})
    assert (refused.status_code, error_code(refused)) == (409, "PathAlreadyExists")
    folder = create(place, "Files/folder", {"if-none-match": "*"}, resource="directory")
    assert folder.status_code == 201
    assert error_code(create(place, "Files/folder", {"if-none-match": "*"}, resource="directory")) == "PathAlreadyExists"


def test_a_flush_can_depend_on_the_state_of_the_file(place):
    etag = create(place, "Files/one.txt").headers["etag"]
    append(place, "Files/one.txt", 0, b"abc")
    assert error_code(flush(place, "Files/one.txt", 3, {"if-none-match": "*"})) == "ConditionNotMet"
    refused = flush(place, "Files/one.txt", 3, {"if-match": '"0x8D000000000"'})
    assert (refused.status_code, error_code(refused)) == (412, "ConditionNotMet")
    assert place.read("Files/one.txt") == b""
    assert flush(place, "Files/one.txt", 3, {"if-match": etag}).status_code == 200
    assert place.read("Files/one.txt") == b"abc"


def test_create_with_a_stale_tag_is_refused(place):
    old = create(place, "Files/one.txt").headers["etag"]
    new = create(place, "Files/one.txt").headers["etag"]
    assert old != new
    assert error_code(create(place, "Files/one.txt", {"if-match": old})) == "ConditionNotMet"
    assert create(place, "Files/one.txt", {"if-match": new}).status_code == 201
    assert error_code(create(place, "Files/none.txt", {"if-match": "*"})) == "ConditionNotMet"
    assert place.listed() == ["Files/one.txt"]


def test_head_says_all_about_a_file(place):
    upload(place, "Files/one.txt", b"abc")
    head = place.dfs("HEAD", "Files/one.txt")
    assert head.status_code == 200
    assert head.content == b""
    expected = {
        "content-length": "3",
        "content-type": "application/octet-stream",
        "accept-ranges": "bytes",
        "x-ms-resource-type": "file",
        "x-ms-owner": "$superuser",
        "x-ms-group": "$superuser",
        "x-ms-permissions": "---------",
        "x-ms-lease-status": "unlocked",
    }
    assert expected.items() <= dict(head.headers).items()
    assert parsedate_to_datetime(head.headers["last-modified"]) == parsedate_to_datetime(head.headers["x-ms-creation-time"])


def test_head_says_what_is_a_directory(place):
    create(place, "Files/folder", resource="directory")
    for path in ("Files/folder", "Files/folder/", "Files", ""):
        head = place.dfs("HEAD", path)
        assert (head.status_code, head.headers["x-ms-resource-type"], head.headers["content-length"]) == (200, "directory", "0")
        assert head.headers["x-ms-meta-hdi_isfolder"] == "true"


def test_head_of_what_is_missing_names_the_blob_in_its_header_only(place):
    head = place.dfs("HEAD", "Files/none.txt")
    assert (head.status_code, head.headers["x-ms-error-code"], head.content) == (404, "BlobNotFound", b"")
    get = place.dfs("GET", "Files/none.txt")
    assert (get.status_code, error_code(get)) == (404, "PathNotFound")
    assert get.json()["error"]["message"].startswith("The specified path does not exist.\nRequestId:")


def test_access_control_can_be_read_but_not_set(place):
    create(place, "Files/one.txt")
    for action in ("getAccessControl", "getStatus"):
        head = place.dfs("HEAD", "Files/one.txt", action=action)
        assert (head.status_code, head.headers["x-ms-acl"], head.headers["x-ms-owner"]) == (
            200,
            "user::rwx,group::---,other::---",
            "$superuser",
        )
    for action in ("setAccessControl", "setAccessControlRecursive"):
        refused = place.dfs("PATCH", "Files/one.txt", {"x-ms-acl": "user::rwx"}, action=action)
        assert (refused.status_code, error_code(refused)) == (400, "InvalidQueryParameterValue")


def test_a_range_is_answered_with_206_and_x_ms_range_wins(place):
    upload(place, "Files/one.txt", b"0123456789")
    cases = [
        ({"range": "bytes=2-4"}, b"234", "bytes 2-4/10"),
        ({"range": "bytes=7-"}, b"789", "bytes 7-9/10"),
        ({"range": "bytes=8-99"}, b"89", "bytes 8-9/10"),
        ({"range": "bytes=0-0", "x-ms-range": "bytes=5-5"}, b"5", "bytes 5-5/10"),
        ({"x-ms-range": "bytes=0-33554431"}, b"0123456789", "bytes 0-9/10"),
    ]
    for headers, content, content_range in cases:
        answer = place.dfs("GET", "Files/one.txt", headers)
        assert (answer.status_code, answer.content, answer.headers["content-range"]) == (206, content, content_range)
        assert answer.headers["content-length"] == str(len(content))


def test_a_range_past_the_end_is_416(place):
    upload(place, "Files/one.txt", b"0123456789")
    create(place, "Files/empty.txt")
    for path, wanted, size in (("Files/one.txt", "bytes=10-", 10), ("Files/empty.txt", "bytes=0-0", 0)):
        refused = place.dfs("GET", path, {"range": wanted})
        assert (refused.status_code, error_code(refused), refused.headers["content-range"]) == (416, "InvalidRange", f"bytes */{size}")


@pytest.mark.parametrize("wanted", ["bytes=-3", "bytes=1-2,4-5", "lines=1-2", "bytes=5-2", "bytes=a-b"])
def test_a_range_that_storage_does_not_know_is_a_bad_header(place, wanted):
    upload(place, "Files/one.txt", b"0123456789")
    assert error_code(place.dfs("GET", "Files/one.txt", {"x-ms-range": wanted})) == "InvalidHeaderValue"


def test_a_range_comes_with_its_md5_on_request(place):
    upload(place, "Files/one.txt", b"xxabcxx")
    answer = place.dfs("GET", "Files/one.txt", {"x-ms-range": "bytes=2-4", "x-ms-range-get-content-md5": "true"})
    assert answer.headers["content-md5"] == "kAFQmDzST7DWlj99KOF/cg=="


def test_reads_can_depend_on_tag_and_time(place):
    flushed = upload(place, "Files/one.txt", b"abc")
    etag, modified = flushed.headers["etag"], flushed.headers["last-modified"]
    for method in ("GET", "HEAD"):
        for headers, status in (
            ({"if-none-match": etag}, 304),
            ({"if-none-match": '"other"'}, 200),
            ({"if-match": etag}, 200),
            ({"if-match": '"other"'}, 412),
            ({"if-modified-since": modified}, 304),
            ({"if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT"}, 200),
            ({"if-unmodified-since": modified}, 200),
            ({"if-unmodified-since": "Mon, 01 Jan 2001 00:00:00 GMT"}, 412),
        ):
            answer = place.dfs(method, "Files/one.txt", headers)
            assert (answer.status_code, headers) == (status, headers)
            assert status != 304 or (answer.content, answer.headers["etag"]) == (b"", etag)
    assert error_code(place.dfs("GET", "Files/one.txt", {"if-modified-since": "yesterday"})) == "InvalidHeaderValue"


def test_last_modified_follows_the_sandbox_clock_for_writes_through_the_api(place):
    place.sandbox.clock.set(datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC))
    place.token = place.sandbox.entra.issue_token(audience="https://storage.azure.com").access_token
    answer = upload(place, "Files/one.txt", b"abc")
    assert answer.headers["last-modified"].startswith("Tue, 06 May 2031 07:08:")
    create(place, "Files/folder/deep/inner.txt")
    for path in ("Files/folder/deep", "Files/folder", "Files"):
        assert place.dfs("HEAD", path).headers["last-modified"].startswith("Tue, 06 May 2031 07:08:")


def test_two_writes_in_one_moment_have_different_tags(place):
    place.sandbox.clock.freeze()
    tags = {create(place, "Files/one.txt").headers["etag"] for _ in range(5)}
    assert len(tags) == 5


def test_content_headers_and_properties_are_kept(place):
    given = {
        "x-ms-content-type": "text/csv",
        "x-ms-cache-control": "no-cache",
        "x-ms-content-encoding": "identity",
        "x-ms-content-language": "de",
        "x-ms-content-disposition": "inline",
        "x-ms-properties": f"owner={base64.b64encode(b'm e').decode()}",
    }
    create(place, "Files/one.txt", given)
    head = place.dfs("HEAD", "Files/one.txt").headers
    assert (head["content-type"], head["cache-control"], head["content-encoding"]) == ("text/csv", "no-cache", "identity")
    assert (head["content-language"], head["content-disposition"]) == ("de", "inline")
    assert (head["x-ms-properties"], head["x-ms-meta-owner"]) == (given["x-ms-properties"], "m e")
    append(place, "Files/one.txt", 0, b"a;b")
    flush(place, "Files/one.txt", 3, {"x-ms-content-language": "en"})
    head = place.dfs("HEAD", "Files/one.txt").headers
    assert (head["content-type"], head["content-language"], head["x-ms-meta-owner"]) == ("text/csv", "en", "m e")


def test_set_properties_replaces_the_metadata_and_gives_a_new_tag(place):
    etag = upload(place, "Files/one.txt", b"abc").headers["etag"]
    properties = f"a={base64.b64encode(b'1').decode()},b={base64.b64encode('ü'.encode()).decode()}"
    answer = place.dfs("PATCH", "Files/one.txt", {"x-ms-properties": properties}, action="setProperties")
    assert answer.status_code == 200
    head = place.dfs("HEAD", "Files/one.txt").headers
    assert head["etag"] == answer.headers["etag"] != etag
    assert head["x-ms-properties"] == properties
    assert place.read("Files/one.txt") == b"abc"
    create(place, "Files/folder", resource="directory")
    place.dfs("PATCH", "Files/folder", {"x-ms-properties": properties}, action="setProperties")
    create(place, "Files/folder/inner.txt")
    assert place.dfs("HEAD", "Files/folder").headers["x-ms-properties"] == properties


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\x00b", b"\x7f"])
def test_a_property_cannot_break_out_of_its_header(place, value):
    refused = create(place, "Files/one.txt", {"x-ms-properties": f"a={base64.b64encode(value).decode()}"})
    assert (refused.status_code, error_code(refused)) == (400, "InvalidMetadata")
    assert error_code(create(place, "Files/one.txt", {"x-ms-properties": "a=%%%"})) == "InvalidHeaderValue"
    assert place.listed() == []


def rename(place, old, new, headers=None, **query):
    source = {"x-ms-rename-source": f"/{place.workspace_id}/{place.lakehouse_id}/{old}"}
    return place.dfs("PUT", new, source | {"x-ms-source-lease-id": ""} | (headers or {}), **(query or {"mode": "legacy"}))


def test_a_rename_moves_a_file_with_its_properties(place):
    upload(place, "Files/one.txt", b"abc")
    place.dfs("PATCH", "Files/one.txt", {"x-ms-properties": "a=MQ=="}, action="setProperties")
    create(place, "Files/sub", resource="directory")
    assert rename(place, "Files/one.txt", "Files/sub/two ü.txt").status_code == 201
    assert place.listed() == ["Files/sub", "Files/sub/two ü.txt"]
    assert place.read("Files/sub/two ü.txt") == b"abc"
    assert place.dfs("HEAD", "Files/sub/two ü.txt").headers["x-ms-properties"] == "a=MQ=="
    assert rename(place, "Files/sub/two%20%C3%BC.txt?sig=ignored", "Files/one.txt").status_code == 201
    assert place.listed() == ["Files/one.txt", "Files/sub"]


def test_a_rename_replaces_a_file_unless_it_must_not(place):
    upload(place, "Files/one.txt", b"1")
    old = upload(place, "Files/two.txt", b"2").headers["etag"]
    assert error_code(rename(place, "Files/one.txt", "Files/two.txt", {"if-none-match": "*"})) == "PathAlreadyExists"
    assert error_code(rename(place, "Files/one.txt", "Files/two.txt", {"if-match": '"other"'})) == "ConditionNotMet"
    assert error_code(rename(place, "Files/one.txt", "Files/two.txt", {"x-ms-source-if-match": old})) == "SourceConditionNotMet"
    assert place.listed() == ["Files/one.txt", "Files/two.txt"]
    assert rename(place, "Files/one.txt", "Files/two.txt", {"if-match": old}).status_code == 201
    assert place.listed() == ["Files/two.txt"]
    assert place.read("Files/two.txt") == b"1"


def test_a_rename_moves_a_folder_over_an_empty_one_only(place):
    upload(place, "Files/a/deep/one.txt", b"1")
    create(place, "Files/empty", resource="directory")
    upload(place, "Files/full/x.txt", b"x")
    assert error_code(rename(place, "Files/a", "Files/full")) == "PathAlreadyExists"
    assert error_code(rename(place, "Files/a", "Files/full/x.txt")) == "InvalidSourceOrDestinationResourceType"
    assert error_code(rename(place, "Files/full/x.txt", "Files/a")) == "InvalidSourceOrDestinationResourceType"
    assert rename(place, "Files/a", "Files/empty").status_code == 201
    assert place.listed("Files/empty") == ["Files/empty/deep", "Files/empty/deep/one.txt"]
    assert error_code(rename(place, "Files/empty", "Files/empty/deep/in-itself")) == "InvalidRenameSourcePath"


def test_a_rename_of_nothing_or_into_nothing_says_which(place):
    upload(place, "Files/one.txt", b"1")
    missing = rename(place, "Files/none.txt", "Files/two.txt")
    assert (missing.status_code, error_code(missing)) == (404, "SourcePathNotFound")
    nowhere = rename(place, "Files/one.txt", "Files/nowhere/two.txt")
    assert (nowhere.status_code, error_code(nowhere)) == (404, "RenameDestinationParentPathNotFound")


def test_a_rename_needs_mode_legacy_and_no_resource(place):
    upload(place, "Files/one.txt", b"1")
    for query in ({"mode": "posix"}, {"resource": "file"}, {"resource": "file", "mode": "legacy"}, {"timeout": "30"}):
        refused = rename(place, "Files/one.txt", "Files/two.txt", **query)
        assert (refused.status_code, error_code(refused)) == (400, "UnsupportedHeader")
    assert place.listed() == ["Files/one.txt"]


def test_a_folder_is_deleted_when_empty_or_recursively(place):
    upload(place, "Files/a/b/one.txt", b"1")
    refused = place.dfs("DELETE", "Files/a", recursive="false")
    assert (refused.status_code, error_code(refused)) == (409, "DirectoryNotEmpty")
    assert error_code(place.dfs("DELETE", "Files/a")) == "DirectoryNotEmpty"
    assert place.dfs("DELETE", "Files/a", recursive="true", paginated="true").status_code == 200
    assert place.listed() == []
    create(place, "Files/empty", resource="directory")
    assert place.dfs("DELETE", "Files/empty", recursive="false").status_code == 200
    assert place.dfs("DELETE", "Files/empty").status_code == 404


def test_a_delete_can_depend_on_the_tag(place):
    etag = upload(place, "Files/one.txt", b"1").headers["etag"]
    assert error_code(place.dfs("DELETE", "Files/one.txt", {"if-match": '"other"'})) == "ConditionNotMet"
    assert place.dfs("DELETE", "Files/one.txt", {"if-match": etag}).status_code == 200
    assert error_code(place.dfs("DELETE", "Files/one.txt")) == "PathNotFound"


def test_a_listing_has_strings_ids_and_rfc_dates(place):
    place.sandbox.clock.set(datetime.now(UTC).replace(microsecond=0))
    etag = upload(place, "Files/a/one.txt", b"hello").headers["etag"]
    named = f"/{place.workspace_name}"
    query = {"resource": "filesystem", "recursive": "true", "directory": "lake.Lakehouse/Files"}
    body = place.send(place.sandbox.endpoints.dfs_url, "GET", named, **query).json()
    assert body["ContinuationToken"] is None
    folder, file = body["paths"]
    assert (folder["name"], folder["isDirectory"], folder["contentLength"]) == (f"{place.lakehouse_id}/Files/a", "true", "0")
    assert "isDirectory" not in file
    assert (file["name"], file["contentLength"], file["expiryTime"]) == (f"{place.lakehouse_id}/Files/a/one.txt", "5", "0")
    assert (file["etag"], file["permissions"]) == (etag.strip('"'), "rw-r-----")
    modified = parsedate_to_datetime(file["lastModified"])
    created = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(file["creationTime"]) // 10)
    assert abs(modified - created) < timedelta(seconds=2)


def test_a_listing_goes_deep_or_stays_flat(place):
    for path in ("Files/b.txt", "Files/a/x.txt", "Files/a-b.txt", "Files/a/y/z.txt"):
        upload(place, path, b"1")
    everything = ["Files/a", "Files/a/x.txt", "Files/a/y", "Files/a/y/z.txt", "Files/a-b.txt", "Files/b.txt"]
    assert place.listed(recursive="true") == everything
    assert place.listed(recursive="false") == ["Files/a", "Files/a-b.txt", "Files/b.txt"]
    assert place.listed("Files/a", recursive="false") == ["Files/a/x.txt", "Files/a/y"]
    assert place.listed(beginFrom="a/y") == everything[2:]
    in_path = place.dfs("GET", "", resource="filesystem", recursive="false", getShortcutMetadata="true")
    assert [one["name"] for one in in_path.json()["paths"]] == [f"{place.lakehouse_id}/Files", f"{place.lakehouse_id}/Tables"]
    workspace = place.send(place.sandbox.endpoints.dfs_url, "GET", f"/{place.workspace_id}", resource="filesystem", recursive="false")
    assert [one["name"] for one in workspace.json()["paths"]] == [place.lakehouse_id]


def pages(place, size):
    """The names of each page of a recursive listing of Files."""
    marker = ""
    while True:
        query = {"resource": "filesystem", "recursive": "true", "directory": f"{place.lakehouse_id}/Files", "maxResults": str(size)}
        answer = place.send(place.sandbox.endpoints.dfs_url, "GET", f"/{place.workspace_id}", **query, continuation=marker)
        yield [one["name"].removeprefix(f"{place.lakehouse_id}/") for one in answer.json()["paths"]]
        if not (marker := answer.headers.get("x-ms-continuation", "")):
            return


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9])
def test_a_listing_in_pages_gives_each_entry_once_in_order(place, size):
    for number in range(6):
        upload(place, f"Files/{number % 2}/{number}.txt", b"1")
    found = list(pages(place, size))
    assert [name for page in found for name in page] == place.listed()
    assert len(found) == -(-8 // size)


def test_a_listing_goes_on_behind_an_entry_that_was_deleted_meanwhile(place):
    for name in ("a/1", "a/2", "b/3", "c"):
        upload(place, f"Files/{name}", b"1")
    paging = pages(place, 2)
    assert next(paging) == ["Files/a", "Files/a/1"]
    place.dfs("DELETE", "Files/a", recursive="true")
    assert list(paging) == [["Files/b", "Files/b/3"], ["Files/c"]]


def test_a_listing_with_a_bad_query_or_of_nothing_says_so(place):
    def refused(**query):
        return place.send(place.sandbox.endpoints.dfs_url, "GET", f"/{place.workspace_id}", resource="filesystem", **query)

    upload(place, "Files/one.txt", b"1")
    lake = place.lakehouse_id
    assert error_code(refused()) == "MissingRequiredQueryParameter"
    assert error_code(refused(recursive="true", maxResults="0")) == "OutOfRangeQueryParameterValue"
    assert error_code(refused(recursive="true", maxResults="many")) == "InvalidQueryParameterValue"
    assert error_code(refused(recursive="true", continuation="nonsense")) == "InvalidQueryParameterValue"
    for directory in ("Files/none", "Files/one.txt"):
        missing = refused(recursive="true", directory=f"{lake}/{directory}")
        assert (missing.status_code, error_code(missing)) == (404, "PathNotFound")


def test_a_workspace_answers_as_a_filesystem(place):
    base = place.sandbox.endpoints.dfs_url
    for name in (place.workspace_id, place.workspace_name):
        head = place.send(base, "HEAD", f"/{name}", resource="filesystem")
        assert (head.status_code, head.headers["x-ms-namespace-enabled"]) == (200, "true")
    assert place.send(base, "HEAD", "/nobody", resource="filesystem").status_code == 404
    listed = place.send(base, "GET", "/", resource="account").json()["filesystems"]
    assert place.workspace_name in [one["name"] for one in listed]


def test_every_answer_has_ids_and_echoes_the_version(place):
    answer = place.dfs("HEAD", "Files", {"x-ms-version": "2026-10-06", "x-ms-client-request-id": "mine"})
    assert (answer.headers["x-ms-version"], answer.headers["x-ms-client-request-id"]) == ("2026-10-06", "mine")
    assert len(answer.headers["x-ms-request-id"]) == 36
    assert answer.headers["date"]
    assert place.dfs("HEAD", "Files", {"x-ms-version": "new"}).headers["x-ms-version"] == "2021-06-08"
    refused = place.dfs("GET", "Files/none")
    assert f"RequestId:{refused.headers['x-ms-request-id']}" in refused.json()["error"]["message"]


def test_headers_about_rights_are_ignored_and_named(place):
    given = {"x-ms-owner": "me", "x-ms-permissions": "0777", "x-ms-encryption-key": "secret", "x-ms-lease-id": "tolerated"}
    answer = create(place, "Files/one.txt", given)
    assert answer.status_code == 201
    assert set(answer.headers["x-ms-rejected-headers"].split(",")) == {"x-ms-owner", "x-ms-permissions", "x-ms-encryption-key"}
    assert "x-ms-rejected-headers" not in create(place, "Files/one.txt").headers


@pytest.mark.parametrize(("name", "value"), [("x-ms-structured-body", "XSM/1.0; properties=crc64"), ("x-ms-if-tags", "a = '1'")])
def test_a_header_that_would_change_the_meaning_is_refused_rather_than_ignored(place, name, value):
    create(place, "Files/one.txt")
    refused = place.dfs("PATCH", "Files/one.txt", {name: value}, content=b"abc", action="append", position="0")
    assert (refused.status_code, error_code(refused)) == (400, "UnsupportedHeader")


def test_unknown_methods_are_not_allowed_and_unmodelled_operations_are_501(place):
    refused = place.dfs("OPTIONS", "Files/one.txt")
    assert (refused.status_code, error_code(refused)) == (405, "MethodNotAllowed")
    for method, query in (("POST", {}), ("PUT", {"comp": "expiry"}), ("PUT", {"comp": "undelete"})):
        answer = place.dfs(method, "Files/one.txt", {"content-length": "0"}, **query)
        assert answer.status_code == 501
        assert f"{method} /{place.workspace_id}/{place.lakehouse_id}/Files/one.txt: not modelled" in answer.text


def test_a_lagging_listing_hides_what_is_new(place):
    upload(place, "Files/old.txt", b"1")
    place.sandbox.clock.advance(600)
    upload(place, "Files/new.txt", b"1")
    place.sandbox.faults.script("onelake.Path.List", "listing_lag", seconds=60)
    assert place.listed() == ["Files/old.txt"]
    assert place.listed() == ["Files/new.txt", "Files/old.txt"]
