"""The row hash: known answers that must never change, and the columns' way held to the single row's."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import InvalidInput
from treadle.flows.weekly.row_hash import HASH_COLUMNS, canonical_bytes, hash_text, murmur3, row_hashes

SCHEMA = {
    "name": pl.String,
    "count": pl.Int64,
    "spend": pl.Decimal(38, 2),
    "day": pl.Date,
    "seen": pl.Datetime("us", "UTC"),
    "kept": pl.Boolean,
}
SCALES = {"spend": 2}


def _hashes(rows, schema=SCHEMA):
    return [hash_text(*row) for row in row_hashes(pl.DataFrame(rows, schema, orient="row")).rows()]


def _expected(row, schema=SCHEMA):
    return hash_text(*murmur3(canonical_bytes([(value, SCALES.get(name, 0)) for name, value in zip(schema, row, strict=True)])))


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", "00000000000000000000000000000000"),
        (b"0123456789abcdef", "4be06d94cf4ad1a787c35b5c63a708da"),
    ],
)
def test_the_hash_is_the_published_murmurhash3_x64_128(content, digest):
    assert hash_text(*murmur3(content)) == digest


def test_the_bytes_of_scheme_1_never_change():
    values = [
        (None, 0),
        ("né", 0),
        (-1, 0),
        (Decimal("-12.50"), 2),
        (date(1969, 12, 31), 0),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 0),
        (True, 0),
    ]
    assert canonical_bytes(values).hex() == (
        "0000000000000000" "0000000000000000"
        "0600000000000000" "0300000000000000" "6ec3a90000000000" "0000000000000000"
        "0100000000000000" "ffffffffffffffff"
        "0502000000000000" "ffffffffffffffff" "1efbffffffffffff" "0000000000000000"
        "0300000000000000" "ffffffffffffffff"
        "0400000000000000" "40420f0000000000"
        "0200000000000000" "0100000000000000"
    )  # fmt: skip


def test_the_hashes_of_scheme_1_never_change():
    rows = [
        ("007", 12, Decimal("1234.50"), date(2019, 12, 2), datetime(2019, 12, 8, 23, 59, 59, 999999, tzinfo=UTC), True),
        (None, None, None, None, None, None),
        ("", 0, Decimal("0.00"), date(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC), False),
    ]
    assert _hashes(rows) == ["724a500199212ee6a9576cf4196ac7c7", "26497a6c2b02146cfeb7b1844fc42eba", "f0405e44c83ab970fd3829ac76a848fd"]


text = st.none() | st.text(max_size=40) | st.text(alphabet="ab", max_size=70)
rows = st.tuples(
    text,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(-(10**37), 10**37).map(lambda unscaled: Decimal(unscaled).scaleb(-2)),
    st.none() | st.dates(),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.none() | st.booleans(),
)


@given(st.lists(rows, max_size=30))
def test_columns_are_hashed_as_single_rows_are(rows):
    assert _hashes(rows) == [_expected(row) for row in rows]


def test_a_slice_of_a_frame_is_hashed_like_the_frame():
    frame = pl.DataFrame({"text": ["a" * (n % 37) or None for n in range(40_000)], "spend": [Decimal(n) for n in range(40_000)]})
    frame = frame.with_columns(pl.col("spend").cast(pl.Decimal(38, 2)))
    assert row_hashes(frame[17_001:33_333]).equals(row_hashes(frame)[17_001:33_333])


def test_values_that_look_alike_have_different_hashes():
    alike = [
        pl.Series([None], dtype=pl.String), pl.Series([""]), pl.Series(["0"]), pl.Series([0]), pl.Series([False]),
        pl.Series([Decimal(0)]).cast(pl.Decimal(38, 0)), pl.Series([Decimal(0)]).cast(pl.Decimal(38, 1)), pl.Series([date(1970, 1, 1)]),
        pl.Series([datetime(1970, 1, 1, tzinfo=UTC)]),
    ]  # fmt: skip
    assert len({row_hashes(pl.DataFrame([column.alias("value")])).rows()[0] for column in alike}) == len(alike)


def test_text_does_not_flow_into_its_neighbour():
    schema = {"one": pl.String, "two": pl.String}
    assert len(set(_hashes([("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), (None, "abc")], schema))) == 5


def test_a_moment_is_the_same_in_every_time_zone_and_text_in_every_composition():
    berlin = pl.DataFrame({"at": [datetime(2019, 12, 2, 1, tzinfo=timezone(timedelta(hours=1)))]}).select(
        pl.col("at").dt.convert_time_zone("Europe/Berlin")
    )
    utc = pl.DataFrame({"at": [datetime(2019, 12, 2, tzinfo=UTC)]})
    assert row_hashes(berlin).equals(row_hashes(utc))
    assert row_hashes(pl.DataFrame({"text": ["e\u0301"]})).equals(row_hashes(pl.DataFrame({"text": ["\u00e9"]})))


@pytest.mark.parametrize("column", [pl.Series("x", [1.5]), pl.Series("x", [datetime(2019, 12, 2)]), pl.Series("x", [b"1"])])  # noqa: DTZ001
def test_a_column_whose_values_are_not_exact_is_refused(column):
    with pytest.raises(InvalidInput, match="x holds"):
        row_hashes(pl.DataFrame([column]))


def test_no_rows_have_no_hashes():
    assert row_hashes(pl.DataFrame(schema=SCHEMA)).columns == list(HASH_COLUMNS)
    assert row_hashes(pl.DataFrame(schema=SCHEMA)).height == 0
