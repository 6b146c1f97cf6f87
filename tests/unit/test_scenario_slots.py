"""Runbooks, tickets and prompts as an archive brings them: which files count, what is refused, and what a text is called and shows."""

import gzip
import io
import re
import tarfile
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenario_archives import TELCO, add, tar, tar_gz

from treadle.errors import InvalidInput
from treadle.flows.scenario.document_text import EXCERPT_CHARS, NotText, Piece, decoded, excerpt_of, pieces_of, title_of
from treadle.flows.scenario.gunzip import Limits
from treadle.flows.scenario.slot_files import LIMITS, TEXT_BYTES, Slot, read_slot
from treadle.stores.document_store import search_roots, searched, word_root, words_of


def read(archive: bytes, scratch, slot=Slot.RUNBOOKS, limits=LIMITS):
    return read_slot("telco-noc", slot, io.BytesIO(archive), scratch, limits=limits)


def names(contents):
    return [file.name for file in contents.files]


def codes(contents):
    return [fault.code for fault in contents.faults]


# Which files count.


@pytest.mark.parametrize(
    "folder", ["", "runbooks/", "telco-noc/data/knowledge/runbooks/", "./x/Runbooks/", "some/where/"], ids=lambda folder: folder or "root"
)
def test_where_in_the_archive_the_texts_are_makes_no_difference(tmp_path, folder):
    contents = read(tar_gz({f"{folder}cut.md": "# Cut\n", f"{folder}more/cpu.txt": "CPU"}), tmp_path)
    assert names(contents) == ["cut.md", "more/cpu.txt"]
    assert [file.lake_path for file in contents.files][1] == "Files/scenarios/telco-noc/runbooks/more/cpu.txt"
    assert contents.faults == ()


def test_of_a_whole_scenario_only_the_folder_of_the_slot_counts(tmp_path):
    files = {f"telco-noc/{path.relative_to(TELCO)}": path.read_bytes() for path in TELCO.rglob("*") if path.is_file()}
    contents = read(tar_gz(files), tmp_path, Slot.TICKETS)
    assert names(contents) == ["INC-2025-0817.md", "INC-2025-1104.md", "INC-2026-0121.md"]
    assert ("scenario.yaml" in contents.elsewhere, contents.passed_over) == (True, ())
    assert contents.faults == ()


@pytest.mark.parametrize("slot", [Slot.RUNBOOKS, Slot.TICKETS, Slot.PROMPTS])
def test_the_sample_has_texts_for_every_slot(tmp_path, slot):
    folder = TELCO / "data" / ("prompts" if slot is Slot.PROMPTS else f"knowledge/{slot}")
    contents = read(tar_gz({f"{slot}/{path.name}": path.read_bytes() for path in folder.iterdir()}), tmp_path, slot)
    assert 3 <= len(contents.files) <= 5
    assert contents.faults == ()
    for file in contents.files:
        assert title_of(file.path.read_text(), file.name) != file.name


def test_what_is_no_text_by_its_name_is_passed_over_and_named(tmp_path):
    contents = read(tar_gz({"cut.md": "# Cut\n", "map.png": b"\x89PNG\0", "run.exe": b"MZ\0", ".DS_Store": b"\0"}), tmp_path)
    assert names(contents) == ["cut.md"]
    assert contents.passed_over == ("map.png", "run.exe")
    assert contents.faults == ()


def test_same_files_in_two_folders_of_the_slots_name_do_not_collide(tmp_path):
    contents = read(tar_gz({"a/runbooks/x.md": "# A\n", "b/runbooks/x.md": "# B\n"}), tmp_path)
    assert names(contents) == ["a/runbooks/x.md", "b/runbooks/x.md"]


def test_an_archive_without_texts_is_refused(tmp_path):
    assert codes(read(tar_gz({"map.png": b"x"}), tmp_path)) == ["no_documents"]
    assert codes(read(tar_gz({}), tmp_path)) == ["no_documents"]


def test_a_slot_of_tables_has_no_documents_and_a_scenario_has_a_plain_name(tmp_path):
    with pytest.raises(InvalidInput, match="no documents"):
        read(tar_gz({"a.md": ""}), tmp_path, Slot.GRAPH)
    for name in ("../x", "a/b", "", ".."):
        with pytest.raises(InvalidInput):
            read_slot(name, Slot.RUNBOOKS, io.BytesIO(tar_gz({"a.md": ""})), tmp_path)


# What is refused, all of it at once.


def test_everything_that_is_wrong_is_told_at_once_and_what_is_right_is_not(tmp_path):
    archive = tar_gz(
        {
            "good.md": "# Good\n",
            "latin.md": "Glasfaser für München".encode("latin-1"),
            "wide.txt": "text".encode("utf-16"),
            "binary.md": b"text\0text",
            "large.txt": b"x" * (TEXT_BYTES + 1),
            "dot./name.md": "# Dot\n",
        }
    )
    contents = read(archive, tmp_path)
    assert names(contents) == ["good.md"]
    told = {fault.where: (fault.code, fault.message) for fault in contents.faults}
    assert told["latin.md"] == ("not_text", "Byte 12 is not UTF-8.")
    assert told["wide.txt"] == ("not_text", "It is UTF-16, not UTF-8.")
    assert told["binary.md"] == ("not_text", "It has the control character U+0000 in line 1.")
    assert told["large.txt"][0] == "member_too_large"
    assert told["dot./name.md"][0] == "name_refused"
    assert len(told) == 5


def hostile(name=b"x.md", **facts):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        add(archive, "good.md", "# Good\n")
        add(archive, name.decode("utf-8", "surrogateescape"), facts.pop("content", "# Bad\n"), **facts)
    return gzip.compress(buffer.getvalue())


@pytest.mark.parametrize(
    "archive",
    [
        hostile(b"../../etc/cron.md"),
        hostile(b"/etc/cron.md"),
        hostile(b"a\\..\\b.md"),
        hostile(b"a\nb.md"),
        hostile(b"GOOD.md"),
        hostile(b"good.md"),
        hostile(type=b"2", linkname="/etc/passwd", content=""),
        hostile(type=b"1", linkname="good.md", content=""),
        hostile(type=b"3", content=""),
        hostile(type=b"6", content=""),
    ],
    ids=["parent", "absolute", "backslash", "newline", "case", "twice", "symlink", "hardlink", "device", "fifo"],
)
def test_hostile_members_are_faults_and_nothing_is_written_under_their_names(tmp_path, archive):
    scratch = tmp_path / "in" / "scratch"
    scratch.mkdir(parents=True)
    contents = read(archive, scratch)
    assert contents.faults
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert all(re.fullmatch(r"in/scratch/\d{5}\.kept", str(path)) for path in written)


def test_bombs_floods_and_what_is_cut_off_are_stopped(tmp_path):
    bomb = tar_gz({"a.md": b"\n" * 20_000_000})
    few = Limits(members=50, member_bytes=64 * 1024**2, total_bytes=512 * 1024**2)
    flood = tar_gz({f"{number}.md": "" for number in range(60)})
    assert codes(read(bomb, _fresh(tmp_path, 1))) == ["ratio_too_high"]
    assert codes(read(flood, _fresh(tmp_path, 2), limits=few)) == ["too_many_members"]
    whole = gzip.compress(tar({"a.md": "# A\n" * 1000, "b.md": "# B\n"}))
    for length in range(1, len(whole), 7):
        assert read(whole[:length], _fresh(tmp_path, length + 10)).faults


def _fresh(folder, number):
    place = folder / str(number)
    place.mkdir()
    return place


# Texts.


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Fibre cut\n\ntext", "Fibre cut"),
        ("\ufefftext\n\n## Second *level* ##\n", "Second level"),
        ("Fibre cut\n=========\n", "Fibre cut"),
        ("---\ntitle: 'From the front'\nid: 3\n---\n# Heading\n", "From the front"),
        ("---\nid: 3\n---\n# Heading\n", "Heading"),
        ("```sh\n# a comment\n```\n\n# Heading\n", "Heading"),
        ("# [Linked](http://x) `code`\r\n", "Linked code"),
        ("no heading at all", "x.md"),
        ("#\n#hashtag\n", "x.md"),
        ("", "x.md"),
        ("# " + "long " * 100, ("long " * 100)[:200]),
    ],
)
def test_a_text_is_called_by_its_first_heading(text, title):
    assert title_of(text, "some/x.md") == title


def test_data_is_called_by_its_file():
    assert title_of("# a comment\na: 1\n", "facts.yaml") == "facts.yaml"
    assert excerpt_of("a,b\n1,2\n", "x.csv") == "a,b 1,2"


def test_an_excerpt_is_the_first_paragraph_in_one_line():
    assert excerpt_of("# Title\n\nFirst *line*\nand [second](x).\n\nLater.", "x.md") == "First line and second."
    assert len(excerpt_of("word " * 1000, "x.md")) <= EXCERPT_CHARS


def test_the_hits_of_a_search_are_apart_from_the_rest_and_the_best_place_is_shown():
    text = "Fibre is glass. " + "Nothing here. " * 40 + "A fibre that was cut\nby an excavator: FIBRES are cut often. " + "Nothing. " * 60
    pieces = pieces_of(text, search_roots("fibre cuts"))
    assert [piece.text for piece in pieces if piece.hit] == ["fibre", "cut", "FIBRES", "cut"]
    shown = "".join(piece.text for piece in pieces)
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert "\n" not in shown
    assert len(shown) <= EXCERPT_CHARS + 2
    assert pieces_of(text, ("submarine",)) == ()
    assert pieces_of("cut", ("cut",)) == (Piece("cut", hit=True),)


@pytest.mark.parametrize("sign", [" ", "[", "#", " #", "`", "-", "=\n", "\n", "![](", "a_", "title: ", "~~~\n", "\n \t"], ids=repr)
@pytest.mark.parametrize("before", ["", "# ", "---\n", "---\ntitle: ", "x\n"], ids=repr)
def test_a_text_that_is_made_to_be_slow_is_not(sign, before):
    """A mebibyte of one sign, which patterns that go back and forth would take hours for."""
    text = before + sign * (TEXT_BYTES // len(sign))
    began = time.process_time()
    title_of(text, "x.md")
    excerpt_of(text, "x.md")
    pieces_of(text, ("a", "x"))
    assert time.process_time() - began < 3


@given(st.text(max_size=600), st.lists(st.text(alphabet="abcé漢01", min_size=1, max_size=4), min_size=1, max_size=3))
def test_an_excerpt_of_any_text_is_a_part_of_it(text, roots):
    pieces = pieces_of(text, roots)
    shown = re.sub(r"\s+", " ", "".join(piece.text for piece in pieces).strip("…"))
    assert shown in re.sub(r"\s+", " ", text)
    assert all(any(piece.text.lower().startswith(root.lower()) for root in roots) for piece in pieces if piece.hit)


@given(st.binary(max_size=200))
def test_bytes_are_a_text_or_say_why_they_are_not(content):
    try:
        text = decoded(content)
    except NotText:
        return
    assert text.encode() in {content, content.removeprefix(b"\xef\xbb\xbf")}
    assert title_of(text, "x.md")
    assert len(excerpt_of(text, "x.md")) <= EXCERPT_CHARS


# Words.


@pytest.mark.parametrize(
    ("word", "root"),
    [
        ("failures", "failur"),
        ("failure", "failur"),
        ("cuts", "cut"),
        ("rerouting", "rerout"),
        ("rerouted", "rerout"),
        ("string", "string"),
        ("gas", "gas"),
        ("fibre01s", "fibre01s"),
        ("01", "01"),
        ("straßes", "straß"),
    ],
)
def test_a_word_is_searched_by_what_its_family_begins_with(word, root):
    assert word_root(word) == root


@given(st.text(max_size=100))
def test_every_word_of_a_text_is_found_by_itself(text):
    stored = f" {searched({'text': text}).text}"
    for word in words_of(text):
        assert f" {word_root(word)}" in stored


def test_too_many_words_are_refused():
    with pytest.raises(InvalidInput, match="13 words"):
        search_roots(" ".join(f"w{number}" for number in range(13)))
    with pytest.raises(InvalidInput, match="401 characters"):
        search_roots("x" * 401)
