"""What is decided column-wise is what the judge decides, record for record and value for value; and the cut of pages into records is exact."""

import re

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.weekly_records import (
    HOSTILE,
    INGESTED_AT,
    ORDINARY,
    RECORDS,
    WEEK,
    damaged_records,
    odd_records,
    page_body,
    record,
    rules_of,
    values_of,
)

from treadle.errors import UnexpectedAnswer
from treadle.flows.weekly.contract import Rejected, judge
from treadle.flows.weekly.envelope import read_envelope
from treadle.flows.weekly.fast_path import EVENT_SCHEMA, decide
from treadle.flows.weekly.raw_records import Pieces, cut, cut_exactly, is_one_value
from treadle.flows.weekly.verdicts import EVENTS, REJECTS, Batch, Chunk, verdicts
from treadle.sandbox.events.defects import DEFECTS, ODDITIES
from treadle.sandbox.events.stream import Recipe
from treadle.sandbox.events.stream import records as sandbox_records

BATCH = Batch(WEEK, INGESTED_AT)


def read_records(body: bytes) -> list[bytes]:
    return read_envelope(body).records


def records_of(pieces: Pieces) -> list[bytes]:
    return pieces.records(pl.Series(range(len(pieces.raw)), dtype=pl.UInt32))


COMMA_BEHIND = re.compile(rb",[ \n]?\Z")  # a record may come with it; it is none of the judge's business


def require_as_judged(records: list[bytes]) -> int:
    """Compare with the judge what is decided of the records; returns how many were."""
    decided = decide(pl.Series(records, dtype=pl.Binary), WEEK)
    assert dict(decided.valid.schema) == {"index": pl.UInt32(), **EVENT_SCHEMA}
    found = {index: tuple(values) for index, *values in decided.valid.iter_rows()}
    assert sorted([*found, *decided.undecided]) == list(range(len(records)))
    assert list(found) == sorted(found)
    for index, values in found.items():
        assert values == values_of(judge(COMMA_BEHIND.sub(b"", records[index]), WEEK)), records[index]
    return len(found)


@settings(max_examples=400, deadline=None)
@given(RECORDS)
def test_no_verdict_and_no_value_differs_from_the_judges(records):
    require_as_judged(records)


@settings(max_examples=300, deadline=None)
@given(damaged_records())
def test_a_record_with_some_bytes_changed_is_valid_only_if_the_judge_says_so(damaged):
    require_as_judged([record(), damaged])


@pytest.mark.parametrize("raw", HOSTILE)
def test_hostile_records_are_decided_as_the_judge_decides_them_or_not_at_all(raw):
    require_as_judged([raw])
    require_as_judged([record(), raw, record()])


@pytest.mark.parametrize(
    "raw",
    [
        record(),
        record(gap=" "),
        record(price="null", brand="null", category_code="null", product_id="null", user_session="null"),
        record(price='"12.50"', user_id="7", product_id='"44600062"', category_id="1.0"),
        record(price='""'),
        record(event_time='"2019-12-02T08:30:00.123456+05:30"'),
        record(event_time='"2019-12-02 08:30:00"'),
        record(brand='"  Caf\u00e9 \u6771\u4eac\u3000"', event_type='" View "'),
        record(extra='"\\u00e9"', flag="true", number="-1.5e9", nothing="null"),
        record(drop=["brand", "price", "product_id"]),
        b'{"user_id":"7","event_type":"cart","event_time":"2019-12-08T23:59:59Z"}',
    ],
)
def test_ordinary_forms_do_not_need_the_judge(raw):
    assert require_as_judged([raw] * 3) == 3


@pytest.mark.parametrize("field", ["event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id", "user_session"])
@pytest.mark.parametrize("text", ['"a\0b"', '"a\\u0000b"', '"\0"', '"1\\u0000"'])
def test_a_nul_is_left_to_the_judge_who_rejects_it(field, text):
    raw = record(**{field: text})
    assert isinstance(judge(raw, WEEK), Rejected)
    assert require_as_judged([raw] * 3) == 0
    assert require_as_judged([record(), raw, record()]) == 2


def test_a_few_odd_records_among_many_leave_the_many_decided():
    ordinary = [record(user_id=f'"{number}"') for number in range(500)]
    mixed = [record(price="7", user_id="8", drop=["brand"]) for _ in range(100)]
    assert require_as_judged([*HOSTILE, *ordinary, *mixed, *HOSTILE]) >= 600


def test_white_space_is_the_same_to_polars_and_to_python_but_for_what_json_does_not_allow():
    """The proof of every trimmed text rests on this."""
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    texts = pl.Series([chr(point) for point in points])
    stripped = texts.str.strip_chars()
    differing = [point for point, text, by_polars in zip(points, texts, stripped, strict=True) if text.strip() != by_polars]
    assert differing == [0x1C, 0x1D, 0x1E, 0x1F]


def test_ascii_is_lower_cased_alike():
    texts = pl.Series([chr(point) for point in range(0x80)])
    assert texts.str.to_lowercase().to_list() == [text.lower() for text in texts]


@given(st.decimals(0, 10**18 - 1, places=6, allow_nan=False).map(lambda number: f"{number:f}".lstrip("-")))
@example("999999999999999999.999999")
@example("0.000001")
def test_prices_are_kept_exactly(text):
    assert require_as_judged([record(price=text), record(price=f'"{text}"')]) == 2


SEPARATORS = [b",", b", ", b",\n", b" , ", b",\n  ", b"\t,"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(odd_records(), st.sampled_from(HOSTILE), st.just(record())), max_size=10), st.sampled_from(SEPARATORS))
def test_a_page_is_cut_into_the_records_that_are_in_it(records, separator):
    body = page_body(records, separator=separator)
    try:
        expected = read_records(body)
    except UnexpectedAnswer:  # EXTRACT does not let such a page through
        return
    pieces = cut([body], [len(expected)], read_records)
    if pieces.proven or all(map(is_one_value, records_of(pieces))):
        assert records_of(pieces) == expected
    exact = cut_exactly([body, body], read_records)
    assert records_of(exact) == expected * 2
    assert exact.page.tolist() == [0] * len(expected) + [1] * len(expected)


@pytest.mark.parametrize(
    "body",
    [
        page_body([record(), record(brand='"a},{b"'), record()]),
        page_body([record(extra='[{"a":1},{"b":2}]'), record()]),
        page_body([record(brand='"}]"'), record()]),
        page_body([b"5", record(), b"[{}]", record(), b"null"]),
        page_body([record()]) + b"\n",
        b'{"data":[{}],"data":[' + record() + b"]}",
        b'{"data":[' + record() + b'],"data":[{}]}',
        b'{"events":[{}],"data":[' + record() + b"]}",
        b'{"events":[' + record() + b'],"data":[{}]}',
        b'{"meta":{"tags":[{"total":1},{}]},"data":[' + record() + b"," + record() + b"]}",
        b'{"data":[' + record() + b"," + record() + b'],"meta":{"tags":[{"total":1},{}]}}',
        b'{"data":[' + record() + b'],"other":[{"a":1}]}',
        b"[" + record() + b"," + record() + b"]",
        b" [ " + record() + b" , " + record() + b" ] ",
        b'{"items":[]}',
        b"[]",
    ],
)
def test_pages_that_tempt_to_a_wrong_cut_are_cut_right(body):
    expected = read_records(body)
    found = verdicts(Chunk([4], [body], [len(expected)], 0), BATCH, read_records)
    judged = [judge(raw, WEEK) for raw in expected]
    assert found.rows == len(expected)
    assert found.rejects["raw_record"].to_pylist() == [
        raw for raw, verdict in zip(expected, judged, strict=True) if isinstance(verdict, Rejected)
    ]


def test_pieces_that_add_up_by_chance_are_noticed():
    """As many pieces as records, but not the records: one text holds a boundary, and one true boundary is not seen."""
    body = b'{"data":[' + record(brand='"a},{b"') + b",  " + record() + b"]}"
    pieces = cut([body], [2], read_records)
    assert (len(pieces.raw), pieces.proven) == (2, False)
    assert records_of(pieces) != read_records(body)
    found = verdicts(Chunk([1], [body], [2], 0), BATCH, read_records)
    assert (found.rows, found.events["brand"].to_pylist()) == (2, ["a},{b", "samsung"])


@settings(max_examples=250, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=3), st.sampled_from(SEPARATORS[:3]))
def test_a_chunk_of_pages_becomes_what_judging_each_record_gives(pages, separator):
    bodies = [page_body(records, separator=separator) for records in pages]
    try:
        records = [read_records(body) for body in bodies]
    except UnexpectedAnswer:
        return
    require_tables_as_judged(verdicts(Chunk([3, 4, 5], bodies, [len(page) for page in records], 100), BATCH, read_records), records)


def test_hostile_records_become_what_judging_each_gives():
    body = page_body([raw for raw in HOSTILE for raw in (record(), raw)])
    records = read_records(body)
    require_tables_as_judged(verdicts(Chunk([3], [body], [len(records)], 100), BATCH, read_records), [records])


def require_tables_as_judged(found, pages: list[list[bytes]]) -> None:
    flat = [(page, raw, judge(raw, WEEK)) for page, records in enumerate(pages, 3) for raw in records]
    assert found.events.schema.equals(EVENTS)
    assert found.rejects.schema.equals(REJECTS)
    columns = [found.events[name].to_pylist() for name in ORDINARY]
    accepted = [values for _, _, verdict in flat if (values := values_of(verdict)) is not None]
    assert list(zip(*columns, strict=True)) == accepted
    rejected = [(row, page, raw, verdict) for row, (page, raw, verdict) in enumerate(flat, 100) if isinstance(verdict, Rejected)]
    for row, (row_index, page, raw, verdict) in zip(found.rejects.to_pylist(), rejected, strict=True):
        assert (row["row_index"], row["page"], row["raw_record"]) == (row_index, page, raw)
        errors = [(error.rule, error.field, error.value, error.reason) for error in verdict.errors]
        assert [tuple(error.values()) for error in row["errors"]] == errors
        assert (row["rule"], row["field"], row["value"], row["reason"]) == errors[0]
        assert (row["batch_week_start"], row["batch_week_end"], row["ingested_at"]) == (WEEK.start, WEEK.end, INGESTED_AT)
    assert sum(found.by_rule.values()) == sum(len(verdict.errors) for _, _, _, verdict in rejected)


def events_of(kinds: tuple[str, ...], rows: int, **rates: float) -> list[bytes]:
    return sandbox_records(Recipe("differential", WEEK.opens_at, rows, kinds=kinds, **rates), 0, rows)


@pytest.mark.parametrize("kind", DEFECTS)
def test_every_defect_that_the_sandbox_makes_is_rejected(kind):
    assert all(isinstance(judge(raw, WEEK), Rejected) for raw in events_of((kind,), 40, defect_rate=1.0))


@pytest.mark.parametrize("kind", ODDITIES)
def test_no_oddity_that_the_sandbox_makes_is_rejected(kind):
    assert [rules_of(raw, WEEK) for raw in events_of((kind,), 40, oddity_rate=1.0)] == [[]] * 40


def test_a_week_of_the_sandbox_with_every_kind_of_record_becomes_what_judging_each_gives():
    rows = 9_000
    records = events_of((), rows, defect_rate=0.1, oddity_rate=0.2, hostile_rate=0.1)
    pages = [read_records(page_body(records[first : first + 1000])) for first in range(0, rows, 1000)]
    assert sum(map(len, pages)) == rows
    chunk = Chunk(range(3, 12), [page_body(page) for page in pages], [1000] * 9, 100)
    require_tables_as_judged(verdicts(chunk, BATCH, read_records), pages)


def test_nearly_all_ordinary_records_of_the_sandbox_are_decided_without_the_judge():
    records = events_of((), 5_000, oddity_rate=0.01)
    assert require_as_judged(records) > 4_900
