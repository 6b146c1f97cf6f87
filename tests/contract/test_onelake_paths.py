"""Where OneLake requests may reach: names and ids, managed folders, hostile paths, planted links, and who may ask at all.

Sources: fabric-docs onelake-access-api (URI syntax, Authorization) and onelake-api-parity (managed folders).
"""

import os
import uuid

import pytest
from tests.contract.onelake_place import error_code, open_place

from treadle.sandbox.onelake.addresses import address_of, is_addressable
from treadle.sandbox.onelake.failures import StorageError

BLOCK_BLOB = {"x-ms-blob-type": "BlockBlob"}


@pytest.fixture
def place(sandbox):
    with open_place(sandbox) as place:
        yield place


def get(place, path, method="GET", **query):
    return place.send(place.sandbox.endpoints.dfs_url, method, path, **query)


def test_a_lakehouse_is_reached_by_ids_and_by_names(place):
    place.write("Files/one.txt", b"1")
    by_id, by_name = f"/{place.workspace_id}/{place.lakehouse_id}", f"/{place.workspace_name}/lake.Lakehouse"
    for item in (by_id, by_id.upper(), by_name, by_name.replace(".L", ".l"), "/onelake" + by_id, "/onelake" + by_name):
        assert get(place, f"{item}/Files/one.txt").content == b"1"


def test_a_name_beside_an_id_is_refused(place):
    for item in (f"/{place.workspace_id}/lake.Lakehouse", f"/{place.workspace_name}/{place.lakehouse_id}"):
        refused = get(place, f"{item}/Files/one.txt")
        assert (refused.status_code, error_code(refused)) == (400, "BadRequest")


def test_unknown_items_and_workspaces_are_not_found(place):
    unknown = uuid.uuid4()
    for item in (f"/{place.workspace_id}/{unknown}", f"/{place.workspace_name}/other.Lakehouse", f"/{place.workspace_name}/lake.Warehouse"):
        refused = get(place, f"{item}/Files/one.txt")
        assert (refused.status_code, error_code(refused)) == (404, "ArtifactNotFound")
    for workspace in (f"/{unknown}/{place.lakehouse_id}", "/nobody/lake.Lakehouse"):
        refused = get(place, f"{workspace}/Files/one.txt")
        assert (refused.status_code, error_code(refused)) == (404, "WorkspaceNotFound")
    assert get(place, f"/{place.workspace_id}/{unknown}/Files", "HEAD").status_code == 404


@pytest.mark.parametrize("path", ["", "Files", "Tables", "Files/", "Other", "loose.txt"])
def test_managed_folders_cannot_be_created_changed_renamed_or_deleted(place, path):
    place.write("Files/one.txt", b"1")
    item = f"/{place.workspace_id}/{place.lakehouse_id}"
    source = {"x-ms-rename-source": f"{item}/{path}"}
    onto = {"x-ms-rename-source": f"{item}/Files/one.txt"}
    refused = [
        place.dfs("PUT", path, resource="directory"),
        place.dfs("PUT", path, resource="file"),
        place.dfs("DELETE", path, recursive="true"),
        place.dfs("PUT", "Files/two", source, mode="legacy"),
        place.dfs("PUT", path, onto, mode="legacy"),
        place.dfs("PATCH", path, {"x-ms-properties": "a=MQ=="}, action="setProperties"),
        place.blob("DELETE", path),
        place.blob("PUT", path, BLOCK_BLOB, content=b"x"),
        place.blob("PUT", path, {"x-ms-meta-a": "1", "content-length": "0"}, comp="metadata"),
        place.blob("PUT", path, content=b"x", comp="block", blockid="QQ=="),
        place.blob("PUT", path, {"x-ms-copy-source": f"{place.sandbox.endpoints.blob_url}{item}/Files/one.txt"}),
    ]
    assert [(one.status_code, error_code(one)) for one in refused] == [(400, "OperationNotAllowedOnThePath")] * len(refused)
    assert sorted(one.name for one in place.folder.iterdir()) == ["Files", "Tables"]


def test_workspaces_cannot_be_created_or_deleted(place):
    dfs, blob, path = place.sandbox.endpoints.dfs_url, place.sandbox.endpoints.blob_url, f"/{place.workspace_id}"
    refused = [
        place.send(dfs, "PUT", "/new-workspace", resource="filesystem"),
        place.send(dfs, "DELETE", path, resource="filesystem"),
        place.send(dfs, "PATCH", path, resource="filesystem"),
        place.send(blob, "PUT", "/new-workspace", restype="container"),
        place.send(blob, "DELETE", path, restype="container"),
    ]
    assert [error_code(one) for one in refused] == ["OperationNotAllowedOnThePath"] * len(refused)


HOSTILE = [
    "Files/../../secret.txt",
    "Files/%2e%2e/%2e%2e/secret.txt",
    "Files/..%2f..%2fsecret.txt",
    "Files/%2e%2e%2f%2e%2e%2fsecret.txt",
    "Files/./one.txt",
    "Files//one.txt",
    "Files/a%5c..%5cb.txt",
    "Files/a\\b.txt",
    "Files/a%00.txt",
    "Files/a%0d%0ab.txt",
    "Files/a%1bb.txt",
    "Files/a%7fb.txt",
    "Files/%c2%85",
    "Files/%ff%fe",
    "Files/%ed%a0%80",
    "Files/" + "n" * 300,
    "Files/" + "%C3%BC" * 200,
    "Files/" + "/".join(["d" * 100] * 12),
]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_path_is_refused_and_leaves_no_trace(place, path):
    (place.sandbox.state_dir / "onelake" / "secret.txt").write_text("secret")
    (place.folder.parent / "secret.txt").write_text("secret")
    target = f"/{place.workspace_id}/{place.lakehouse_id}/{path}"
    before = sorted(place.sandbox.state_dir.rglob("*"))
    dfs, blob = place.sandbox.endpoints.dfs_url, place.sandbox.endpoints.blob_url
    answers = [
        place.raw(dfs, "GET", target),
        place.raw(dfs, "PUT", target + "?resource=file"),
        place.raw(dfs, "PUT", target + "?resource=directory"),
        place.raw(dfs, "DELETE", target + "?recursive=true"),
        place.raw(blob, "PUT", target, BLOCK_BLOB),
        place.raw(dfs, "PUT", f"/{place.workspace_id}/{place.lakehouse_id}/Files/x?mode=legacy", {"x-ms-rename-source": target}),
        place.raw(blob, "PUT", f"/{place.workspace_id}/{place.lakehouse_id}/Files/x", {"x-ms-copy-source": blob + target}),
    ]
    assert [status for status, _ in answers] == [400] * len(answers), answers
    assert "secret" not in "".join(body for _, body in answers).replace("secret.txt", "")
    assert sorted(place.sandbox.state_dir.rglob("*")) == before


@pytest.mark.parametrize("directory", ["{lake}/../..", "{lake}/Files/..", "../{lake}", "{lake}/Files/\x00", "{lake}\\Files"])
def test_a_hostile_folder_cannot_be_listed(place, directory):
    query = {"directory": directory.format(lake=place.lakehouse_id)}
    answer = get(place, f"/{place.workspace_id}", resource="filesystem", recursive="true", **query)
    assert answer.status_code == 400
    prefix = query["directory"] + "/"
    listed = place.send(place.sandbox.endpoints.blob_url, "GET", f"/{place.workspace_id}", restype="container", comp="list", prefix=prefix)
    assert listed.status_code == 400


def test_a_name_that_only_looks_encoded_stays_what_it_is(place):
    place.write("Files/%252e%252e%252f", b"1")
    place.write("Files/a%2Fb+c%20d.txt", b"2")
    assert place.listed() == ["Files/%2e%2e%2f", "Files/a", "Files/a/b+c d.txt"]
    assert (place.folder / "Files/%2e%2e%2f").read_bytes() == b"1"


def test_planted_links_are_neither_followed_nor_listed(place, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    files = place.folder / "Files"
    (files / "inside").mkdir()
    (files / "to-folder").symlink_to(outside, target_is_directory=True)
    (files / "to-file").symlink_to(outside / "secret.txt")
    (files / "to-inside").symlink_to(files / "inside", target_is_directory=True)
    (files / "dangling").symlink_to(outside / "new.txt")
    os.mkfifo(files / "pipe")
    item = f"{place.sandbox.endpoints.blob_url}/{place.workspace_id}/{place.lakehouse_id}"
    for path in ("to-folder/secret.txt", "to-file", "to-inside/x", "dangling", "pipe", "to-folder"):
        answers = [
            place.dfs("GET", f"Files/{path}"),
            place.dfs("HEAD", f"Files/{path}"),
            place.dfs("PUT", f"Files/{path}", resource="file"),
            place.dfs("DELETE", f"Files/{path}", recursive="true"),
            place.blob("PUT", f"Files/{path}", BLOCK_BLOB, content=b"x"),
            place.blob("PUT", "Files/copied", {"x-ms-copy-source": f"{item}/Files/{path}"}),
        ]
        assert [one.status_code for one in answers] == [400] * len(answers), path
    assert place.dfs("PUT", "Files/to-folder/sub/new.txt", resource="file").status_code == 400
    assert place.listed() == ["Files/inside"]
    assert sorted(one.name for one in outside.iterdir()) == ["secret.txt"]


def test_deleting_a_folder_removes_the_links_in_it_and_nothing_behind_them(place, tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    place.write("Files/a/one.txt", b"1")
    (place.folder / "Files/a/link").symlink_to(tmp_path, target_is_directory=True)
    assert place.dfs("DELETE", "Files/a", recursive="true").status_code == 200
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_files_with_names_that_cannot_be_asked_for_are_not_listed(place):
    for name in (b"line\nbreak", b"not-utf8-\xff", b"back\\slash", b"fine.txt"):
        (place.folder / "Files" / os.fsdecode(name)).touch()
    assert place.listed() == ["Files/fine.txt"]


@pytest.mark.parametrize(
    ("audience", "lifetime"),
    [("https://api.fabric.microsoft.com", 60), ("https://datalake.azure.net", 60), ("https://storage.azure.com", -60)],
)
def test_only_a_live_token_for_storage_is_taken(place, audience, lifetime):
    place.token = place.sandbox.entra.issue_token(audience=audience, lifetime_seconds=lifetime).access_token
    for answer in (
        place.dfs("GET", "Files/one.txt"),
        place.blob("GET", "Files/one.txt"),
        place.blob("PUT", "Files/x", BLOCK_BLOB, content=b"x"),
    ):
        assert (answer.status_code, error_code(answer)) == (401, "InvalidAuthenticationInfo")
        assert "resource_id=https://storage.azure.com" in answer.headers["www-authenticate"]
        assert f"/{place.sandbox.credentials.tenant_id}/oauth2/authorize" in answer.headers["www-authenticate"]
        assert place.token not in answer.text
    assert not (place.folder / "Files/x").exists()


@pytest.mark.parametrize("authorization", [None, "SharedKey onelake:abc", "Bearer", "Bearer not-a-token", "bearer a.b.c"])
def test_a_request_without_a_usable_token_is_refused(place, authorization):
    url = f"{place.sandbox.endpoints.dfs_url}/{place.workspace_id}/{place.lakehouse_id}/Files"
    answer = place.client.get(url, headers={"authorization": authorization} if authorization else {})
    assert answer.status_code == 401
    assert error_code(answer) in {"NoAuthenticationInformation", "InvalidAuthenticationInfo"}


def test_deleting_the_lakehouse_ends_its_folder(place):
    place.write("Files/one.txt", b"1")
    place.sandbox.lake.delete_item_folder(place.workspace_id, place.lakehouse_id)
    place.sandbox.lake.delete_item_folder(place.workspace_id, place.lakehouse_id)
    assert not place.folder.exists()
    assert place.dfs("GET", "Files/one.txt").status_code == 404
    assert error_code(place.blob("PUT", "Files/new.txt", BLOCK_BLOB, content=b"x")) == "BlobNotFound"
    assert not place.folder.exists()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/", (None, None, ())),
        (b"/onelake", (None, None, ())),
        (b"/ws/", ("ws", None, ())),
        (b"/OneLake/my%20ws/lake.Lakehouse/Files/a%2Fb/", ("my ws", "lake.Lakehouse", ("Files", "a", "b"))),
    ],
)
def test_addresses_are_read_once_decoded(raw, expected):
    address = address_of(raw)
    assert (address.workspace, address.item, address.names) == expected


def test_names_are_checked_in_workspace_and_item_too():
    for raw in (b"/..", b"/ws/..", b"/ws/%2e%2e/x", b"/ws//x", b"//ws", b"/%00"):
        with pytest.raises(StorageError) as caught:
            address_of(raw)
        assert caught.value.status == 400
    assert is_addressable("a.b ü~'()")
    assert not is_addressable("\ud800")
