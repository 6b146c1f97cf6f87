"""Finding the records of a page: whatever is inside them, each comes out as the bytes that went in, and nothing else is ever taken for a page."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import UnexpectedAnswer
from treadle.flows.weekly.envelope import KEYS, Envelope, read_envelope

SPACES = st.text(" \t\r\n", max_size=3).map(str.encode)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["[", "]", "{", '"', "\\", ",", ":", "\\\\", '\\"']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
JSON = st.builds(lambda value, plain: json.dumps(value, ensure_ascii=plain).encode(errors="surrogatepass"), VALUES, st.booleans())
STRANGE = st.sampled_from(
    [
        b'"\xff\xfe"', b'{"a":"\xed\xa0\x80"}', b'"\\ud800"', b"NaN", b"-Infinity", b"01", b"1e", b"+5", b"tru", b'{"a" 1}', b'{"a":1,}', b"[1 2]", b'"\x00"',
        b'"\\x41"', b'{"a":1,"a":2}', b"9" * 5_000, b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 2_000 + b"1" + b"}" * 2_000, b"'a'",
    ]
)  # fmt: skip
RECORDS = st.lists(st.tuples(SPACES, JSON | STRANGE, SPACES), max_size=6)


def listed(records) -> bytes:
    return b"[" + b",".join(before + record + behind for before, record, behind in records) + b"]"


@given(RECORDS, SPACES)
def test_a_bare_list_gives_its_records_byte_for_byte(records, space):
    assert read_envelope(space + listed(records) + space) == Envelope([record for _, record, _ in records], None)


@given(
    RECORDS,
    st.sampled_from(KEYS),
    st.integers(0, 10**20),
    st.dictionaries(st.text().filter(lambda key: key not in {*KEYS, "meta"}), JSON | STRANGE, max_size=3),
    SPACES,
)
def test_an_object_gives_the_records_under_its_key_and_the_total(records, key, total, others, space):
    members = [json.dumps(name).encode(errors="surrogatepass") + space + b":" + space + value for name, value in others.items()]
    members += [f'"{key}"'.encode() + b": " + listed(records), b'"meta":{"page":1,"total":%d}' % total]
    assert read_envelope(b"{" + b",".join(members) + b"}") == Envelope([record for _, record, _ in records], total)


@given(st.binary(max_size=200) | JSON | st.text().map(str.encode))
def test_whatever_comes_is_a_page_or_an_error_of_ours(body):
    refusal = None
    try:
        found = read_envelope(body)
    except UnexpectedAnswer as error:
        refusal = error
    if refusal:
        assert refusal.hint
        assert len(refusal.message) < 1_000
        assert refusal.message.isprintable()
    else:
        assert all(record and record in body for record in found.records)


@given(RECORDS.filter(bool), st.data())
def test_a_page_that_breaks_off_is_never_taken_for_a_shorter_one(records, data):
    body = b'{"data":' + listed(records) + b',"meta":{"total":3}}'
    with pytest.raises(UnexpectedAnswer):
        read_envelope(body[: data.draw(st.integers(0, len(body) - 1))])


@given(JSON)
def test_good_json_is_read_as_python_reads_it(record):
    body = b"[" + record + b"," + record + b"]"
    assert repr([json.loads(found) for found in read_envelope(body).records]) == repr(json.loads(body))  # NaN is not equal to itself


def test_the_first_key_of_the_contract_counts_and_a_byte_order_mark_does_not():
    assert read_envelope(b'\xef\xbb\xbf{"items":[1],"events":[2],"results":[3]}').records == [b"2"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (b"<!doctype html><html>", "not JSON but '<!doctype html><html>'"),
        (b'"text"', "not JSON but"),
        (b"null", "not JSON but 'null'"),
        (b"{}", "nothing at all"),
        (b'{"error":{"code":"x"},"status":1}', "only 'error', 'status'"),
        (b'{"Data":[]}', "only 'Data'"),
        (b'{"data":null}', "data is no list but 'null'"),
        (b'{"data":{"events":[]}}', "data is no list"),
        (b'{"events":"[]"}', "events is no list"),
        (b'{"data":[]', "ends in the middle"),
        (b'{"data":["]}', "ends in the middle"),
        (b'{"data":[]}}', "follows its end"),
        (b"[1][2]", "follows its end"),
        (b"[1,,2]", "nothing stands between two commas"),
        (b"[1,]", "nothing stands between two commas"),
        (b"[,1]", "nothing stands between two commas"),
        (b"[}", "a bracket is closed that was not open"),
        (b"[{]}", "a bracket is closed that was not open"),
        (b'{"data":[],5}', "no member of an object"),
        (b'{"data" []}', "no member of an object"),
        (b"{data:[]}", "no member of an object"),
        (b'{"data":[],"meta":{"total":"6000"}}', "meta.total is no count"),
        (b'{"data":[],"meta":{"total":-1}}', "meta.total is no count"),
        (b'{"data":[],"meta":{"total":6e3}}', "meta.total is no count"),
        (b'{"data":[],"meta":{"total":true}}', "meta.total is no count"),
        (b'{"data":[],"meta":{"total":NaN}}', "meta.total is no count"),
    ],
)
def test_what_is_no_page_says_what_it_is(body, told):
    with pytest.raises(UnexpectedAnswer) as raised:
        read_envelope(body)
    assert told in raised.value.message


def test_a_strange_object_names_some_of_its_keys_and_no_more():
    with pytest.raises(UnexpectedAnswer) as raised:
        read_envelope(json.dumps({f"key {number} {'x' * 500}\x1b": 1 for number in range(5_000)}).encode())
    assert len(raised.value.message) < 1_500
    assert len(raised.value.details["keys"]) == 10
    assert "\x1b" not in raised.value.message


@pytest.mark.parametrize("meta", [b"null", b"[]", b"5", b"{}", b'{"total":null}', b'{"count":5}', b'{"total":5,"total":null}'])
def test_no_total_is_no_error(meta):
    assert read_envelope(b'{"data":[1],"meta":' + meta + b"}") == Envelope([b"1"], None)
