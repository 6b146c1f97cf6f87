"""Copies of files, which must be what they are copies of, whatever their length."""

import hashlib

import pytest

from treadle.flows.sales import files
from treadle.flows.sales.files import copy_durably

BLOCK = 64


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 10 * BLOCK + 7])
@pytest.mark.parametrize("stretch", [BLOCK, 2 * BLOCK])
def test_a_copy_has_every_byte_of_its_source_and_leaves_the_source_as_it_is(tmp_path, monkeypatch, size, stretch):
    monkeypatch.setattr(files, "_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(files, "_STRETCH_BYTES", stretch)
    content = bytes(number * 31 % 251 for number in range(size))
    source, target = tmp_path / "orders.csv", tmp_path / ".orders.csv.tmp"
    source.write_bytes(content)
    entry = copy_durably(source, target)
    assert target.read_bytes() == source.read_bytes() == content
    assert (entry.name, entry.size_bytes, entry.sha256) == ("orders.csv", size, hashlib.sha256(content).hexdigest())


def test_a_copy_replaces_a_longer_file_wholly(tmp_path):
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"the old one, which is longer")
    assert copy_durably(tmp_path / "a", tmp_path / "b").size_bytes == 3
    assert (tmp_path / "b").read_bytes() == b"new"


def test_a_long_file_is_copied_in_its_own_blocks(tmp_path):
    """Long enough for its pages to be given back several times while it is read."""
    content = b"".join(f"order {number:09d}\n".encode() for number in range(1_300_000))
    (tmp_path / "a").write_bytes(content)
    assert copy_durably(tmp_path / "a", tmp_path / "b").sha256 == hashlib.sha256(content).hexdigest()


def test_a_copy_that_breaks_off_tells_why_and_leaves_nobody_waiting(tmp_path):
    with pytest.raises(FileNotFoundError):
        copy_durably(tmp_path / "gone", tmp_path / "b")
