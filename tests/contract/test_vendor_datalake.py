"""The unmodified azure-storage-file-datalake against the sandbox's OneLake, signed in by azure-identity."""

import os

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.identity import ClientSecretCredential
from azure.storage.filedatalake import DataLakeServiceClient, LinearRetry
from tests.contract.onelake_place import open_place

from treadle.sandbox.entra.store import FABRIC_AUDIENCE

MEBIBYTE = 1024 * 1024


@pytest.fixture
def place(sandbox):
    with open_place(sandbox) as place:
        yield place


@pytest.fixture
def credential(sandbox):
    endpoints, own = sandbox.endpoints, sandbox.credentials
    with ClientSecretCredential(
        own.tenant_id,
        own.client_id,
        own.client_secret,
        authority=endpoints.entra_url,
        disable_instance_discovery=True,
        connection_verify=str(endpoints.ca_file),
    ) as credential:
        yield credential


@pytest.fixture
def service(place, credential):
    endpoints = place.sandbox.endpoints
    with DataLakeServiceClient(endpoints.dfs_url, credential, connection_verify=str(endpoints.ca_file), retry_total=0) as service:
        yield service


@pytest.fixture
def workspace(service, place):
    return service.get_file_system_client(place.workspace_id)


@pytest.fixture
def file(workspace, place):
    return workspace.get_file_client(f"{place.lakehouse_id}/Files/import/orders.bin")


def test_ten_megabytes_go_up_in_parallel_chunks_and_come_back(file, place):
    content = os.urandom(10 * MEBIBYTE)
    answer = file.upload_data(content, overwrite=True, chunk_size=MEBIBYTE, max_concurrency=4)
    assert file.get_file_properties().etag == answer["etag"]
    assert file.download_file().readall() == content
    assert file.download_file(offset=MEBIBYTE - 1, length=3).readall() == content[MEBIBYTE - 1 : MEBIBYTE + 2]
    assert (place.folder / "Files/import/orders.bin").read_bytes() == content


def test_a_stream_is_uploaded_and_downloaded_in_pieces(file, place, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(5 * MEBIBYTE + 17))
    with source.open("rb") as stream:
        file.upload_data(stream, overwrite=True, chunk_size=MEBIBYTE)
    with back.open("wb") as stream:
        file.download_file().readinto(stream)
    assert back.read_bytes() == source.read_bytes()


def test_contents_are_checked_by_md5_on_both_ways(file):
    file.create_file()
    file.append_data(b"abc", 0, validate_content=True)
    file.flush_data(3)
    assert file.download_file(validate_content=True).readall() == b"abc"


def test_an_empty_file_is_read_as_empty(file):
    file.create_file()
    assert file.download_file().readall() == b""
    assert file.get_file_properties().size == 0


def test_append_and_flush_step_by_step(file):
    file.create_file(metadata={"source": "shop"}, content_settings=None)
    file.append_data(b"one,", offset=0)
    file.append_data(b"two", offset=4)
    file.flush_data(7)
    file.append_data(b",three", offset=7, flush=True)
    assert file.download_file().readall() == b"one,two,three"
    assert file.get_file_properties().metadata == {"source": "shop"}
    with pytest.raises(HttpResponseError) as caught:
        file.flush_data(99)
    assert caught.value.error_code == "InvalidFlushPosition"


def test_only_the_first_creator_succeeds(file):
    first = file.create_file(match_condition=MatchConditions.IfMissing)
    with pytest.raises(ResourceExistsError):
        file.create_file(match_condition=MatchConditions.IfMissing)
    assert file.get_file_properties().etag == first["etag"]


def test_a_stale_tag_is_a_modified_resource(file):
    stale = file.create_file()["etag"]
    file.upload_data(b"new", overwrite=True)
    with pytest.raises(ResourceModifiedError):
        file.upload_data(b"mine", overwrite=True, etag=stale, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError):
        file.delete_file(etag=stale, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError):
        file.download_file(etag=stale, match_condition=MatchConditions.IfNotModified)
    assert file.download_file().readall() == b"new"


def test_listing_shows_folders_files_and_their_properties(workspace, file, place):
    file.upload_data(b"abc", overwrite=True)
    lake = place.lakehouse_id
    folder, only = workspace.get_paths(f"{lake}/Files")
    assert (folder.name, folder.is_directory) == (f"{lake}/Files/import", True)
    assert (only.name, only.is_directory, only.content_length) == (f"{lake}/Files/import/orders.bin", False, 3)
    assert only.etag == file.get_file_properties().etag.strip('"')
    assert [one.name for one in workspace.get_paths(f"{lake}/Files", recursive=False)] == [folder.name]
    for number in range(5):
        workspace.get_file_client(f"{lake}/Files/many/{number}").create_file()
    paged = workspace.get_paths(f"{lake}/Files/many", max_results=2).by_page()
    assert [len(list(page)) for page in paged] == [2, 2, 1]
    with pytest.raises(ResourceNotFoundError):
        list(workspace.get_paths(f"{lake}/Files/none"))


def test_files_and_folders_are_renamed(workspace, file, place):
    base = f"{place.lakehouse_id}/Files"
    file.upload_data(b"abc", overwrite=True)
    renamed = file.rename_file(f"{place.workspace_id}/{base}/import/new name ü.bin")
    assert renamed.download_file().readall() == b"abc"
    assert not file.exists()
    folder = workspace.get_directory_client(f"{base}/import").rename_directory(f"{place.workspace_id}/{base}/archive")
    assert folder.exists()
    assert [one.name for one in workspace.get_paths(base)] == [f"{base}/archive", f"{base}/archive/new name ü.bin"]


def test_folders_are_created_asked_and_deleted_with_all_in_them(workspace, place):
    folder = workspace.create_directory(f"{place.lakehouse_id}/Files/a/b")
    folder.create_file("one.txt")
    assert folder.get_directory_properties().metadata["hdi_isfolder"] == "true"
    assert folder.get_access_control()["owner"] == "$superuser"
    top = workspace.get_directory_client(f"{place.lakehouse_id}/Files/a")
    top.delete_directory()
    assert not top.exists()
    assert not folder.exists()


def test_metadata_and_content_settings_are_changed(file):
    file.create_file()
    file.set_metadata({"rows": "9994"})
    assert file.get_file_properties().metadata == {"rows": "9994"}


def test_names_work_as_well_as_ids(service, place, file):
    file.upload_data(b"abc", overwrite=True)
    by_name = service.get_file_client(place.workspace_name, "lake.Lakehouse/Files/import/orders.bin")
    assert by_name.download_file().readall() == b"abc"
    assert service.get_file_system_client(place.workspace_name).exists()
    assert place.workspace_name in [one.name for one in service.list_file_systems()]


def test_managed_folders_and_workspaces_are_refused(service, workspace, place):
    with pytest.raises(HttpResponseError) as caught:
        workspace.get_directory_client(f"{place.lakehouse_id}/Files").delete_directory()
    assert caught.value.error_code == "OperationNotAllowedOnThePath"
    with pytest.raises(HttpResponseError):
        service.create_file_system("another")
    with pytest.raises(HttpResponseError):
        workspace.get_directory_client(f"{place.lakehouse_id}/Files").set_access_control(permissions="0777")


def test_the_account_prefix_in_the_url_changes_nothing(place, credential, file):
    file.upload_data(b"abc", overwrite=True)
    endpoints = place.sandbox.endpoints
    with DataLakeServiceClient(f"{endpoints.dfs_url}/onelake", credential, connection_verify=str(endpoints.ca_file)) as service:
        assert service.get_file_client(place.workspace_id, file.path_name).download_file().readall() == b"abc"


def test_a_token_for_another_api_is_refused(place, file):
    class FabricToken:
        """A credential that always has a Fabric token, whatever scope it is asked for."""

        def get_token(self, *_, **__):
            return AccessToken(place.sandbox.entra.issue_token(audience=FABRIC_AUDIENCE).access_token, 2**31)

    endpoints = place.sandbox.endpoints
    with (
        DataLakeServiceClient(endpoints.dfs_url, FabricToken(), connection_verify=str(endpoints.ca_file), retry_total=0) as service,
        pytest.raises(ClientAuthenticationError),
    ):
        service.get_file_client(place.workspace_id, file.path_name).create_file()


def test_a_broken_answer_is_retried_by_the_client_and_lands_once(place, credential):
    endpoints = place.sandbox.endpoints
    with DataLakeServiceClient(
        endpoints.dfs_url, credential, connection_verify=str(endpoints.ca_file), retry_policy=LinearRetry(backoff=0, random_jitter_range=0)
    ) as service:
        file = service.get_file_client(place.workspace_id, f"{place.lakehouse_id}/Files/one.bin")
        for operation, kind in (
            ("onelake.Path.Append", "drop_after"),
            ("onelake.Path.Append", "drop_before"),
            ("onelake.Path.Create", "status"),
        ):
            place.sandbox.faults.script(operation, kind, status=503)
        file.upload_data(b"abc" * MEBIBYTE, overwrite=True, chunk_size=MEBIBYTE)
        assert file.download_file().readall() == b"abc" * MEBIBYTE


def test_the_real_host_names_work_through_the_proxy(place):
    """No override at all in the client: default authority, default account host, Blob calls to the Blob host."""
    found = place.run_client("""
        import json, os
        from azure.identity import ClientSecretCredential
        from azure.storage.filedatalake import DataLakeServiceClient, LinearRetry

        os.environ["HTTPS_PROXY"] = os.environ["PROXY"]
        credential = ClientSecretCredential(os.environ["TENANT"], os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
        service = DataLakeServiceClient("https://onelake.dfs.fabric.microsoft.com", credential)
        file = service.get_file_client(os.environ["WORKSPACE"], os.environ["LAKEHOUSE"] + "/Files/real.txt")
        file.upload_data(b"abc" * 1000, overwrite=True)
        print(json.dumps([file.download_file().readall().decode() == "abc" * 1000, file.get_file_properties().size]))
    """)
    assert found == [True, 3000]
    assert {"onelake.Blob.Get", "onelake.Blob.GetProperties"} <= {one.operation for one in place.sandbox.requests}
