"""Copies of customers' files do not stay behind, whatever became of the process that made them."""

import signal
import subprocess
import sys

import pytest

from treadle.flows.sales.scratch import PREFIX, scratch_folder

CHILD = """
import sys
from pathlib import Path
from treadle.flows.sales.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "orders.xlsx").write_bytes(b"a customer's")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_folder_is_private_and_is_deleted_on_leaving_also_after_an_error(tmp_path):
    with scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").write_text("x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), scratch_folder(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kills
def test_what_a_killed_process_left_is_deleted_by_the_next_one_and_what_a_living_one_has_is_not(tmp_path):
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        dead, living = [child.stdout.readline().strip() for child in children]
        children[0].send_signal(signal.SIGKILL)
        children[0].wait()
        with scratch_folder(tmp_path) as folder:
            assert sorted(map(str, tmp_path.iterdir())) == sorted([living, str(folder)])
            assert dead not in map(str, tmp_path.iterdir())
    finally:
        for child in children:
            child.kill()
            child.communicate()


def test_a_link_with_such_a_name_is_not_followed_and_other_files_stay(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    place = tmp_path / "place"
    place.mkdir()
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    (place / "other").mkdir()
    with scratch_folder(place):
        assert (elsewhere / "precious").exists()
        assert (place / "other").exists()
