"""What people read, and what others' texts may not do in it."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from treadle.portal import words
from treadle.portal.result_table import visible_texts

MARKDOWN = MarkdownIt("commonmark", {"html": True})


@given(st.text(alphabet=st.sampled_from("a1 *_`[]()<>#+-.!|~:$&\\=\n/\"'"), max_size=30))
def test_no_text_of_others_becomes_anything_but_text(text):
    _, inline, _ = MARKDOWN.parse(f"x{words.plain(text)}")
    assert {child.type for child in inline.children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in inline.children or []).replace("\u2060", "").strip() == f"x{' '.join(text.split())}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.1.0", "0\\.1.0"),
        ("- x", "\\- x"),
        ("1. x", "1\\. x"),
        ("a-b.csv", "a-b.csv"),
        ("www.x.example", "www\u2060.x.example"),
        ("a@x.example", "a\\@\u2060x.example"),
        (":red[x]", "\\:\u2060red\\[x\\]"),
    ],
)
def test_what_begins_a_list_is_taken_as_text(text, shown):
    assert words.plain(text) == shown


def test_what_cannot_be_seen_is_written_out_in_sentences_and_in_tables():
    assert words.plain("safe\u202egnp.exe") == "safe\\\\u202egnp.exe"
    rows = [{"File": "safe\u202egnp.exe", "a\u200bb": None, "Rows": 3, "Status": ["x"]}]
    assert words.visible_rows(rows) == [{"File": "safe\\u202egnp.exe", "a\\u200bb": None, "Rows": 3, "Status": ["x"]}]


def test_a_preview_shows_what_is_hidden_and_keeps_each_column():
    frame = pl.DataFrame({"n": [1, 2], "a\u200b": ["x\u202ey", None]})
    assert visible_texts(frame).to_dict(as_series=False) == {"n": [1, 2], "a\\u200b": ["x\\u202ey", None]}
    alike = pl.DataFrame({"a\u200b": ["x"], "a\\u200b": ["y"]})
    assert visible_texts(alike).columns == alike.columns


@pytest.mark.parametrize(
    ("bytes_", "told"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (1_469_093, "1.5 MB"), (200 * 1024**2, "210 MB"), (2 * 1024**3, "2.1 GB"), (None, "–")],
)
def test_sizes(bytes_, told):
    assert words.size(bytes_) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3599, "59 min"), (3660, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_durations(seconds, told):
    assert words.duration(timedelta(seconds=seconds)) == told


def test_changes_have_a_sign_and_nothing_is_compared_with_nothing():
    assert (words.change(110, 100), words.change(50, 100), words.change(1, 0), words.change(None, 1)) == ("+10.0 %", "-50.0 %", None, None)
    assert words.ago(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 2, tzinfo=UTC)) == "2 h 0 min ago"
