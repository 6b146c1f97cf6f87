"""The unmodified adlfs (fsspec) against the sandbox's OneLake. It speaks the Blob dialect.

It takes its CA from SSL_CERT_FILE alone, so each test runs in a child process.
"""

import pytest
from tests.contract.onelake_place import open_place

FILE_SYSTEM = """
import json, os, tempfile
from adlfs import AzureBlobFileSystem
from azure.core.credentials import AccessToken
from azure.identity.aio import ClientSecretCredential

class StaticToken:
    async def get_token(self, *scopes, **options):
        return AccessToken(os.environ["TOKEN"], 2**31)
    async def close(self):
        pass
    async def __aenter__(self):
        return self
    async def __aexit__(self, *error):
        pass

def file_system(credential):
    return AzureBlobFileSystem(account_name="onelake", account_host=os.environ["BLOB"].removeprefix("https://"), credential=credential)

def signed_in():
    return ClientSecretCredential(
        os.environ["TENANT"], os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"],
        authority=os.environ["ENTRA"], disable_instance_discovery=True,
    )

root = os.environ["WORKSPACE"] + "/" + os.environ["LAKEHOUSE"] + "/Files"
def names(paths):
    return sorted(path.removeprefix(root + "/") for path in paths)
"""


@pytest.fixture
def place(sandbox):
    with open_place(sandbox) as place:
        yield place


def run(place, code):
    return place.run_client(FILE_SYSTEM + code)


def test_files_are_put_read_found_moved_and_removed(place):
    found = run(
        place,
        """
fs = file_system(signed_in())
with tempfile.NamedTemporaryFile() as local:
    local.write(b"x" * 9_000_000)
    local.flush()
    fs.put(local.name, root + "/d/big.bin")
fs.pipe_file(root + "/d/small.txt", b"hello")
found = {"size": fs.size(root + "/d/big.bin"), "cat": fs.cat(root + "/d/small.txt").decode(), "part": fs.cat_file(root + "/d/small.txt", 1, 3).decode()}
found["ls"], found["find"], found["glob"] = names(fs.ls(root, detail=False)), names(fs.find(root)), names(fs.glob(root + "/d/*.txt"))
found["kinds"] = [fs.info(root + "/d")["type"], fs.info(root + "/d/small.txt")["type"], fs.isdir(root), fs.isfile(root)]
fs.mv(root + "/d/small.txt", root + "/d/moved.txt")
found["moved"] = [fs.exists(root + "/d/small.txt"), fs.cat(root + "/d/moved.txt").decode()]
fs.rm(root + "/d", recursive=True)
found["left"] = [fs.find(root), fs.exists(root + "/d")]
print(json.dumps(found))
""",
    )
    assert found == {
        "size": 9_000_000,
        "cat": "hello",
        "part": "el",
        "ls": ["d"],
        "find": ["d/big.bin", "d/small.txt"],
        "glob": ["d/small.txt"],
        "kinds": ["directory", "file", True, False],
        "moved": [False, "hello"],
        "left": [[], False],
    }
    assert list((place.folder / "Files").iterdir()) == []


def test_large_files_go_up_in_blocks_and_creation_is_exclusive(place):
    found = run(
        place,
        """
fs = file_system(StaticToken())
with fs.open(root + "/blocks.bin", "wb", block_size=1_000_000) as file:
    for number in range(5):
        file.write(bytes([number]) * 1_000_000)
content = fs.cat(root + "/blocks.bin")
try:
    fs.pipe_file(root + "/blocks.bin", b"mine", mode="create")
    exists = False
except FileExistsError:
    exists = True
fs.setxattrs(root + "/blocks.bin", rows="5")
found = [len(content), content[::1_000_000].hex(), exists, fs.getxattr(root + "/blocks.bin", "rows")]
print(json.dumps(found))
""",
    )
    assert found == [5_000_000, "0001020304", True, "5"]
    assert (place.folder / "Files/blocks.bin").stat().st_size == 5_000_000


def test_a_tree_is_walked_and_moved(place):
    for path in ("Files/a/one.txt", "Files/a/b/two.txt"):
        place.write(path, b"1")
    found = run(
        place,
        """
fs = file_system(StaticToken())
walked = [[folder.removeprefix(root), sorted(folders), sorted(files)] for folder, folders, files in fs.walk(root)]
for path in fs.find(root):
    fs.mv(path, path.replace("/Files/a/", "/Files/copy/"))
fs.rm(root + "/a", recursive=True)
print(json.dumps([walked, names(fs.find(root, withdirs=True))]))
""",
    )
    assert found[0] == [["", ["a"], []], ["/a", ["b"], ["one.txt"]], ["/a/b", [], ["two.txt"]]]
    assert [name for name in found[1] if name.endswith(".txt")] == ["copy/b/two.txt", "copy/one.txt"]
    assert place.listed() == ["Files/copy", "Files/copy/b", "Files/copy/b/two.txt", "Files/copy/one.txt"]


def test_workspaces_and_items_are_listed_by_name(place):
    found = run(
        place,
        """
fs = file_system(StaticToken())
print(json.dumps([os.environ["WORKSPACE_NAME"] in fs.ls(""), fs.ls(os.environ["WORKSPACE_NAME"])]))
""",
    )
    assert found == [True, [f"{place.workspace_name}/lake.Lakehouse"]]


def test_the_real_host_name_works_through_the_proxy(place):
    found = run(
        place,
        """
os.environ["HTTPS_PROXY"] = os.environ["PROXY"]
credential = ClientSecretCredential(os.environ["TENANT"], os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"], use_env_settings=True)
fs = AzureBlobFileSystem(account_name="onelake", account_host="onelake.blob.fabric.microsoft.com", credential=credential)
fs.pipe_file(root + "/one.txt", b"abc")
print(json.dumps(fs.cat(root + "/one.txt").decode()))
""",
    )
    assert found == "abc"
