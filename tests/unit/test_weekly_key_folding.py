"""Keys as Salesforce compares them: what a key becomes never depends on the keys beside it, whichever way a column takes."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.flows.weekly.key_folding import fold_keys

ANY_KEY = st.none() | st.text(st.sampled_from("09@AZ[`az{_-") | st.characters(codec="utf-8"), max_size=20)


def fold(*keys: str | None) -> list[str | None]:
    return fold_keys(pl.Series(keys, dtype=pl.String)).to_list()


@given(st.lists(ANY_KEY, max_size=30))
def test_a_key_folds_alone_as_it_folds_beside_others(keys):
    assert fold(*keys) == [folded for key in keys for folded in fold(key)]


@given(st.text(st.characters(max_codepoint=127), max_size=20))
def test_ascii_is_compared_in_lower_case(key):
    assert fold(key) == [key.lower()]


@pytest.mark.parametrize("keys", [("Straße", "STRASSE"), ("ςΣ", "Σσ"), ("ﬁx", "FIX"), ("ÅSA", "åsa")])
def test_what_full_case_folding_takes_for_one_is_one(keys):
    assert len(set(fold(*keys))) == 1


def test_nothing_stays_nothing():
    assert fold() == []
    assert fold(None, None) == [None, None]
    assert fold("", None, "A", "") == ["", None, "a", ""]


def test_a_slice_of_a_column_is_judged_by_what_is_in_it():
    keys = pl.Series(["ABC", "x" * 40, "é" * 20, "12_34", "Q"])
    assert fold_keys(keys[3:4]).to_list() == ["12_34"]
    assert fold_keys(keys[2:]).to_list() == ["é" * 20, "12_34", "q"]
