"""Copies of files, which must be what they are copies of, whatever their length, and files that are written twice at once."""

import errno
import hashlib
import os

import pytest

from treadle.errors import ChecksumMismatch
from treadle.flows.sales import durable_copy
from treadle.flows.sales.durable_copy import copy_durably, written_twice

BLOCK = 64


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 10 * BLOCK + 7])
@pytest.mark.parametrize("stretch", [BLOCK, 2 * BLOCK])
def test_a_copy_has_every_byte_of_its_source_and_leaves_the_source_as_it_is(tmp_path, monkeypatch, size, stretch):
    monkeypatch.setattr(durable_copy, "_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(durable_copy, "_STRETCH_BYTES", stretch)
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


@pytest.mark.parametrize("sizes", [[], [0], [1], [BLOCK], [BLOCK + 1, 3 * BLOCK, 7], [10 * BLOCK] * 5])
def test_what_is_written_twice_is_in_both_files(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr(durable_copy, "_STRETCH_BYTES", 2 * BLOCK)
    pieces = [os.urandom(size) for size in sizes]
    target, copy = tmp_path / "orders.csv", tmp_path / "copy"
    with written_twice(target, copy) as file:
        assert [file.write(piece) for piece in pieces] == sizes
    content = b"".join(pieces)
    assert target.read_bytes() == copy.read_bytes() == content
    assert (file.entry.name, file.entry.size_bytes, file.entry.sha256) == ("orders.csv", len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("damaged", ["orders.csv", "copy"])
def test_a_file_that_reads_back_otherwise_is_told(tmp_path, monkeypatch, damaged):
    """A disk that flips a bit of one file."""
    honest = durable_copy._write_all

    def flipped(writer, block):
        honest(writer, memoryview(bytes(block).replace(b"1", b"2")) if writer.name.endswith(damaged) else block)

    monkeypatch.setattr(durable_copy, "_write_all", flipped)
    with (
        pytest.raises(ChecksumMismatch, match=r"orders\.csv reads back"),
        written_twice(tmp_path / "orders.csv", tmp_path / "copy") as file,
    ):
        file.write(b"order 1\n")


@pytest.mark.parametrize("full", ["orders.csv", "copy"])
def test_a_full_disk_is_told_by_the_writer_and_leaves_nobody_waiting(tmp_path, full):
    (tmp_path / full).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught, written_twice(tmp_path / "orders.csv", tmp_path / "copy") as file:
        file.write(b"order 1\n")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "not yet"), None])
def test_a_mount_that_shows_a_file_only_once_it_is_closed_is_read_afterwards(tmp_path, monkeypatch, fault):
    """fault: what it answers before; None: that the file is empty."""

    def not_yet(self, size_bytes):
        self._written.beyond(self._position)
        if fault:
            raise fault
        return b""

    monkeypatch.setattr(durable_copy._Growing, "read", not_yet)
    with written_twice(tmp_path / "orders.csv", tmp_path / "copy") as file:
        file.write(b"order 1\n")
    assert file.entry.size_bytes == 8
    assert copy_durably(tmp_path / "orders.csv", tmp_path / "other") == file.entry
