"""Archives of strangers: nothing leaves the scratch folder, nothing grows beyond its limits, and all faults are told at once."""

import gzip
import io
import os
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.scenario_archives import SMALL, add, small, tar, tar_gz, telco

from treadle.flows.scenario.archive import Contents, read_archive
from treadle.flows.scenario.gunzip import Limits
from treadle.flows.scenario.member_names import member_name


@pytest.fixture
def scratch(tmp_path: Path):
    """The scratch folder, with canaries where hostile archives aim; afterwards every one of them is as it was."""
    folder = tmp_path / "a" / "scratch"
    folder.mkdir(parents=True)
    canaries = [tmp_path / "canary", tmp_path / "a" / "canary", tmp_path / "a" / "secret.csv"]
    for canary in canaries:
        canary.write_text("untouched")
    yield folder
    assert [canary.read_text() for canary in canaries] == ["untouched"] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "canary"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["canary", "scratch", "secret.csv"]
    assert all(path.is_file() and not path.is_symlink() and path.name[:5].isdigit() for path in folder.iterdir())


def read(archive: bytes, scratch: Path, **limits: float) -> Contents:
    return read_archive(io.BytesIO(archive), scratch, limits=Limits(**limits))  # type: ignore[arg-type]


def codes(contents: Contents) -> list[str]:
    return [fault.code for fault in contents.faults]


def hostile(*members: tuple[str, bytes, dict[str, object]], dialect: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for name, content, facts in members:
            add(archive, name, content, **facts)
    return gzip.compress(buffer.getvalue())


def test_an_honest_archive_is_read_below_its_root_folder_and_tables_get_names_of_our_own(scratch):
    contents = read(small(), scratch)
    assert (contents.faults, contents.root, contents.complete) == ((), "shop", True)
    assert list(contents.files) == list(SMALL)
    table = contents.files["data/entities/Shop.csv"]
    assert (table.path.parent, table.path.read_text()) == (scratch, SMALL["data/entities/Shop.csv"])
    assert contents.files["scenario.yaml"].content == SMALL["scenario.yaml"].encode()
    assert "shop" not in table.path.name.lower()


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_dialect_of_tar_is_read_long_and_foreign_names_included(scratch, dialect):
    names = ["a/" + "folder-with-a-long-name/" * 6 + "Tables.csv", "a/ünïcödé.csv"]
    if dialect == tarfile.USTAR_FORMAT:
        names = ["a/" + "b" * 60 + "/" + "c" * 70 + ".csv"]
    contents = read(hostile(*((name, b"x", {}) for name in names), dialect=dialect), scratch)
    assert contents.faults == ()
    assert [f"a/{name}" for name in contents.files] == names


def test_an_archive_without_a_root_folder_and_with_dot_slash_is_read(scratch):
    contents = read(
        hostile(("./", b"", {"type": tarfile.DIRTYPE}), ("./scenario.yaml", b"a: b", {}), ("./entities/A.csv", b"x", {})), scratch
    )
    assert (list(contents.files), contents.root, contents.faults) == (["scenario.yaml", "entities/A.csv"], None, ())


def test_what_file_managers_leave_behind_is_passed_over(scratch):
    contents = read(tar_gz({"a/._scenario.yaml": "x", "__MACOSX/a/b.csv": "x", "a/.DS_Store": "x", "a/x.csv": "x"}), scratch)
    assert (list(contents.files), contents.faults) == (["x.csv"], ())


@pytest.mark.parametrize(
    "name",
    [
        "../canary",
        "x/../../canary",
        "../secret.csv",
        "..",
        "/tmp/treadle-canary.csv",
        "x\\..\\..\\canary.csv",
        "x\nscenario.yaml",
        "x\x1b[31m.csv",
        "x\u202ecsv.exe",
        "C:/x.csv",
        "x//y.csv",
        "x/ y.csv",
        "a" * 500,
        "/".join("abcdefghijklmnopqrstuvw"),
    ],
)
def test_a_name_that_leads_out_or_hides_something_is_refused_and_the_rest_is_read(scratch, name):
    contents = read(hostile((name, b"evil", {}), ("good/x.csv", b"x", {})), scratch)
    assert codes(contents) == ["name_refused"]
    assert [file.name for file in contents.files.values()] == ["good/x.csv"]
    assert contents.faults[0].where.isprintable()
    assert not Path("/tmp/treadle-canary.csv").exists()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "named pipe"),
    ],
)
def test_links_and_devices_are_refused_whatever_they_point_to(scratch, kind, word):
    link = ("evil.csv", b"", {"type": kind, "linkname": "../secret.csv"})
    contents = read(hostile(link, ("evil.csv", b"overwritten", {}), ("good.csv", b"x", {})), scratch)
    assert codes(contents) == ["kind_refused"]
    assert word in contents.faults[0].message
    assert sorted(contents.files) == ["evil.csv", "good.csv"]


def test_a_chain_of_links_as_in_the_advisories_of_2025_writes_nothing(scratch):
    chain = [(f"l{depth}", b"", {"type": tarfile.SYMTYPE, "linkname": ("d" * 200) + "/.." * depth}) for depth in range(16)]
    contents = read(hostile(*chain, ("l15/canary", b"evil", {})), scratch)
    assert codes(contents) == ["kind_refused"] * 16
    assert list(scratch.iterdir()) == []


def test_names_that_are_there_twice_or_collide_are_all_told_in_one_pass(scratch):
    members = [
        ("a/x.csv", b"1", {}),
        ("a/x.csv", b"2", {}),
        ("a/X.csv", b"3", {}),
        ("A/y.csv", b"4", {}),
        ("b", b"5", {}),
        ("b/c.csv", b"6", {}),
    ]
    contents = read(
        hostile(*members, ("é.csv", b"7", {}), ("e\u0301.csv", b"8", {}), ("../x", b"", {}), ("l", b"", {"type": tarfile.SYMTYPE})), scratch
    )
    found = [(fault.code, fault.where) for fault in contents.faults]
    assert found == [
        ("name_twice", "a/x.csv"),
        ("names_collide", "a/X.csv"),
        ("names_collide", "A/y.csv"),
        ("names_collide", "b/c.csv"),
        ("names_collide", "e\u0301.csv"),
        ("name_refused", "../x"),
        ("kind_refused", "l"),
    ]
    assert contents.files["a/x.csv"].path.read_bytes() == b"1"


def test_a_bomb_of_200_kb_for_200_mb_is_stopped_early_and_in_little_memory(scratch):
    bomb = tar_gz({"a.csv": b"0" * 200_000_000})
    assert len(bomb) < 210_000
    tracemalloc.start()
    contents = read(bomb, scratch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (codes(contents), contents.complete) == (["ratio_too_high"], False)
    assert list(scratch.iterdir()) == []
    assert peak < 2_000_000


def test_a_bomb_made_of_headers_alone_is_stopped_too(scratch):
    folder = io.BytesIO()
    with tarfile.open(fileobj=folder, mode="w") as archive:
        add(archive, "x", type=tarfile.DIRTYPE)
    contents = read(gzip.compress(folder.getvalue()[:512] * 200_000), scratch, members=10**9)
    assert codes(contents) == ["ratio_too_high"]


def test_a_hundred_thousand_members_are_stopped_at_the_limit(scratch):
    header = [tar({f"m{number}.csv": b""})[:512] for number in range(300)]
    contents = read(gzip.compress(b"".join(header * 334) + bytes(1024)), scratch, members=250)
    assert codes(contents) == ["too_many_members"]
    assert len(list(scratch.iterdir())) <= 251


def test_extension_headers_without_end_or_of_great_size_are_stopped(scratch):
    pax = io.BytesIO()
    with tarfile.open(fileobj=pax, mode="w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "x.csv", b"", pax_headers={"comment": "c" * 100})
    extension = pax.getvalue()[:1024]
    assert codes(read(gzip.compress(extension * 5_000), scratch, members=100)) == ["too_many_members"]
    large = hostile(("x.csv", b"", {"pax_headers": {"comment": "c" * 100_000}}), dialect=tarfile.PAX_FORMAT)
    assert codes(read(large, scratch)) == ["tar_damaged"]


def test_sizes_and_totals_beyond_the_limits_are_told_with_the_limit(scratch):
    noise = random.Random(1).randbytes(100_000)
    assert codes(read(tar_gz({"a.csv": noise}), scratch, member_bytes=50_000)) == ["member_too_large"]
    total = read(tar_gz({"b.csv": noise, "c.csv": noise}), scratch, total_bytes=150_000)
    assert codes(total) == ["archive_too_large"]
    assert "150,000" in total.faults[0].message
    assert codes(read(tar_gz({"scenario.yaml": b"a: " + b"x" * 2000}), scratch, document_bytes=1000)) == ["member_too_large"]


@pytest.mark.parametrize("lie", [1, 511, 513, 100_000])
def test_a_size_that_lies_is_found_and_nothing_half_is_kept(scratch, lie):
    honest = bytearray(tar({"a.csv": b"x" * 4096, "b.csv": b"y" * 512}))
    honest[124:136] = f"{lie:011o}\0".encode()
    honest[148:156] = b" " * 8
    honest[148:156] = f"{sum(honest[:512]):06o}\0 ".encode()
    contents = read(gzip.compress(bytes(honest)), scratch)
    assert codes(contents)[0] in {"tar_damaged", "archive_cut_off"}
    assert not contents.complete
    assert all(file.path is None or file.path.stat().st_size == file.size_bytes for file in contents.files.values())


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\x00" * 3 + b"\xff" * 8, b"77777777777\0", b"-0000000001\0", b"0x00000001f\0"])
def test_a_size_that_is_negative_or_absurd_is_no_size(scratch, size):
    honest = bytearray(tar({"a.csv": b"x"}))
    honest[124:136] = size
    honest[148:156] = b" " * 8
    honest[148:156] = f"{sum(honest[:512]):06o}\0 ".encode()
    assert codes(read(gzip.compress(bytes(honest)), scratch))[0] in {"tar_damaged", "member_too_large"}


def test_a_link_or_folder_that_claims_content_ends_the_reading(scratch):
    for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE):
        assert codes(read(hostile(("l", b"x" * 600, {"type": kind, "size": 600})), scratch))[-1] == "tar_damaged"


def test_an_archive_that_is_cut_off_anywhere_is_told_and_never_taken_for_whole(scratch):
    whole = telco("entities")
    for length in [*range(10, len(whole), 701), len(whole) - 9, len(whole) - 1]:
        for leftover in scratch.iterdir():
            leftover.unlink()
        contents = read(whole[:length], scratch)
        assert codes(contents) == ["archive_cut_off"]
        assert not contents.complete


def test_a_tar_without_its_end_mark_and_one_with_something_behind_it_are_told(scratch):
    plain = tar({"a.csv": b"x"})
    assert codes(read(gzip.compress(plain[:1024]), scratch)) == ["archive_cut_off"]
    for leftover in scratch.iterdir():
        leftover.unlink()
    assert codes(read(gzip.compress(plain + b"secret"), scratch)) == ["tar_damaged"]


def test_damaged_bytes_are_found_by_the_checksum(scratch):
    archive = bytearray(tar_gz({"a.csv": os.urandom(5000)}))
    archive[-8] ^= 1
    assert codes(read(bytes(archive), scratch)) == ["gzip_damaged"]


def test_two_gzip_streams_behind_each_other_are_one_archive_and_zeros_behind_it_are_nothing(scratch):
    plain = tar({"a.csv": b"x" * 3000})
    contents = read(gzip.compress(plain[:2000]) + gzip.compress(plain[2000:]) + bytes(512), scratch)
    assert (contents.faults, list(contents.files)) == ((), ["a.csv"])
    assert contents.files["a.csv"].path.stat().st_size == 3000
    (scratch / "00001.csv").unlink()
    assert codes(read(gzip.compress(plain) + b"garbage", scratch)) == ["gzip_damaged"]


@pytest.mark.parametrize(
    ("content", "word"), [(b"", "empty"), (b"PK\3\4", "ZIP"), (tar({"a": b""}), "not compressed"), (b"name: x", "something else")]
)
def test_what_is_no_tar_gz_is_told_as_what_it_is(scratch, content, word):
    contents = read(content, scratch)
    assert codes(contents) == ["not_gzip"]
    assert word in contents.faults[0].message


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60))
def test_any_name_is_either_plain_or_refused(raw):
    name = member_name(raw)
    if isinstance(name, str):
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(name.split("/"))
        assert name.isprintable()


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2047), st.integers(0, 255))
def test_any_single_damaged_byte_is_either_harmless_or_told(tmp_path_factory, place, value):
    """No exception escapes, and what is kept has the size that it claims."""
    plain = bytearray(tar({"a/x.csv": b"1" * 700, "b.yaml": b"a: b"}))
    plain[place] = value
    folder = tmp_path_factory.mktemp("scratch")
    contents = read_archive(io.BytesIO(gzip.compress(bytes(plain), 1)), folder)
    assert all(file.path is None or file.path.stat().st_size == file.size_bytes for file in contents.files.values())
