"""The contract of an event, rule by rule (product.md §2), and that no verdict depends on the version of Python."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.weekly_records import HOSTILE, ORDINARY, WEEK, record, rules_of, values_of

from treadle.flows.weekly.contract import LONGEST_VALUE, REASONS, Accepted, EventRecord, Rejected, judge, read_time


def the_record(raw: bytes) -> EventRecord:
    verdict = judge(raw, WEEK)
    assert isinstance(verdict, Accepted), verdict
    return verdict.record


def only_error(raw: bytes):
    verdict = judge(raw, WEEK)
    assert isinstance(verdict, Rejected), verdict
    (error,) = verdict.errors
    return error


def test_an_ordinary_event_is_accepted_with_its_values():
    assert values_of(judge(record(), WEEK)) == (
        datetime(2019, 12, 2, 8, 30, tzinfo=UTC),
        "view",
        "44600062",
        "2103807459595387724",
        "electronics.smartphone",
        "samsung",
        Decimal("35.79"),
        "541312140",
        "72d76fde-8bb3-4e00-8c23-a032dfed738c",
    )


@pytest.mark.parametrize("field", ["product_id", "category_id", "category_code", "brand", "price", "user_session"])
def test_an_optional_field_may_be_absent_or_null(field):
    assert getattr(the_record(record(drop=[field])), field) is None
    assert getattr(the_record(record(**{field: "null"})), field) is None


@pytest.mark.parametrize("field", ["event_time", "event_type", "user_id"])
def test_a_required_field_may_be_neither(field):
    assert rules_of(record(drop=[field])) == [("missing", field)]
    assert rules_of(record(**{field: "null"})) == [("null", field)]


def test_texts_are_trimmed_and_event_type_is_lower_cased():
    found = the_record(record(event_type='" \\u00a0PurChase\\n"', brand='"\\u3000 Caf\u00e9\\t"', user_id='" 7 "', product_id='" 007"'))
    assert (found.event_type, found.brand, found.user_id, found.product_id) == ("purchase", "Caf\u00e9", "7", "007")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("7", "7"),
        ("1.0", "1.0"),
        ("1.50", "1.50"),
        ("1e5", "1e5"),
        ("-0", "-0"),
        ("12345678901234567890123456789012345", "12345678901234567890123456789012345"),
        ("1" * 5000, "1" * 5000),
        ('"1.0"', "1.0"),
    ],
)
@pytest.mark.parametrize("field", ["user_id", "product_id", "category_id"])
def test_a_number_given_for_an_id_becomes_text_as_it_is_written(field, written, kept):
    assert getattr(the_record(record(**{field: written})), field) == kept


@pytest.mark.parametrize("value", ["true", "false", "{}", '{"a":1}', "[]", '["7"]'])
@pytest.mark.parametrize("field", ["event_time", "event_type", "product_id", "category_code", "brand", "price", "user_id", "user_session"])
def test_neither_a_truth_value_nor_anything_nested_is_taken_for_text_or_number(field, value):
    assert only_error(record(**{field: value})).rule == "wrong_type"


@pytest.mark.parametrize("field", ["event_time", "event_type", "category_code", "brand", "user_session"])
def test_a_number_is_no_text_where_only_text_is_allowed(field):
    error = only_error(record(**{field: "1575275400"}))
    assert (error.rule, error.field, error.value) == ("wrong_type", field, "1575275400")


@pytest.mark.parametrize("user_id", ['""', '"   "', '"\\u2003"', '"\\u001f"'])
def test_a_user_without_a_name_is_rejected(user_id):
    assert only_error(record(user_id=user_id)).rule == "empty"


def test_an_empty_optional_text_stays_an_empty_text():
    found = the_record(record(brand='""', product_id='" "', event_type='""'))
    assert (found.brand, found.product_id, found.event_type) == ("", "", "")


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("35.79", "35.79"),
        ('"35.79"', "35.79"),
        ('" 35.790000000 "', "35.79"),
        ('"+5."', "5"),
        ('".5"', "0.5"),
        ('"007"', "7"),
        ("1e3", "1000"),
        ('"25e-6"', "0.000025"),
        ("12345678901234567890", "12345678901234567890"),
        ("99999999999999999999.999999", "99999999999999999999.999999"),
        ("0e9999999", "0"),
    ],
)
def test_a_price_is_kept_exactly(written, price):
    found = the_record(record(price=written)).price
    assert found == Decimal(price)
    assert not found.is_signed()


@pytest.mark.parametrize("written", ['""', '"   "', '"\\u00a0"', "null"])
def test_an_empty_price_is_none(written):
    assert the_record(record(price=written)).price is None


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("-0.01", "negative_price"),
        ('"-1e99999999999999999999"', "negative_price"),
        ("0.1234567", "price_precision"),
        ("1e-7", "price_precision"),
        ("100000000000000000000", "price_precision"),
        ('"1e20"', "price_precision"),
        ("6e31", "price_precision"),
        ("1e400", "price_precision"),
        ('"1e99999999999999999999"', "price_precision"),
        *(
            (f'"{text}"', "not_a_number")
            for text in ("abc", "12,50", "1 000", "1_000", "$5", "NaN", "Infinity", "\uff11\uff12", "0x10", "1e", ".", "--1", "null")
        ),
    ],
)
def test_a_price_that_cannot_be_kept_exactly_is_a_reject_and_never_null(written, rule):
    error = only_error(record(price=written))
    assert (error.rule, error.field, error.value) == (rule, "price", written.strip('"'))


# What `datetime.fromisoformat` says differs between Python 3.11 and 3.14 for some of these; the contract does not.
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2019-12-02T08:30:00Z", "2019-12-02T08:30:00+00:00"),
        ("2019-12-02T08:30:00", "2019-12-02T08:30:00+00:00"),
        ("2019-12-02 08:30:00", "2019-12-02T08:30:00+00:00"),
        ("2019-12-02_08:30", "2019-12-02T08:30:00+00:00"),
        ("2019-12-02T08", "2019-12-02T08:00:00+00:00"),
        ("2019-12-02", "2019-12-02T00:00:00+00:00"),
        ("20191202", "2019-12-02T00:00:00+00:00"),
        ("20191202T083000Z", "2019-12-02T08:30:00+00:00"),
        ("20191202T0830+0530", "2019-12-02T03:00:00+00:00"),
        ("2019-W49-1T08:30Z", "2019-12-02T08:30:00+00:00"),
        ("2019W491T0830", "2019-12-02T08:30:00+00:00"),
        ("2019-W49", "2019-12-02T00:00:00+00:00"),
        ("2019-12-02T08:30:00.5Z", "2019-12-02T08:30:00.500000+00:00"),
        ("2019-12-02T08:30:00,123Z", "2019-12-02T08:30:00.123000+00:00"),
        ("2019-12-02T08:30:00.123456789Z", "2019-12-02T08:30:00.123456+00:00"),
        ("2019-12-02T08:30:00+02:00", "2019-12-02T06:30:00+00:00"),
        ("2019-12-02T08:30:00-23:59", "2019-12-03T08:29:00+00:00"),
        ("2019-12-02T08:30:00+01:00:30", "2019-12-02T07:29:30+00:00"),
        ("2019-12-02T08:30:00+01:00:00.5", "2019-12-02T07:29:59.500000+00:00"),
        ("2020-02-29T00:00:00Z", "2020-02-29T00:00:00+00:00"),
        ("2019-02-29T00:00:00Z", None),
        ("2019-12-02T24:00:00Z", None),
        ("2019-12-02T24:00", None),
        ("2019-12-02T08:60:00Z", None),
        ("2019-12-02T08:30:60Z", None),
        ("2019-12-02T08:30:00+01:60", None),
        ("2019-12-02T08:30:00+01:00:60", None),
        ("2019-12-02T08:30:00+24:00", None),
        ("2019-12-02T08:30:00ZZ", None),
        ("2019-12-02T08:30:00z", None),
        ("2019-12-02T08:30:00+00:00Z", None),
        ("2019-12-02T08:30:00 Z", None),
        ("2019-12-02T08:30:00.Z", None),
        ("2019-12-02T", None),
        ("2019-12", None),
        ("2019-336", None),
        ("20191202083000Z", None),
        ("2019-W09T03:04:051-01:30", None),
        ("\u0662\u0660\u0661\u0669-12-02", None),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("0000-12-02T08:30:00Z", None),
        ("yesterday", None),
        ("", None),
        ("Z", None),
    ],
)
def test_times_are_read_as_iso_8601_and_become_utc(text, moment):
    found = read_time(text)
    assert (found and found.isoformat()) == moment
    assert found is None or found.tzinfo is UTC


@given(
    st.datetimes(timezones=st.timezones()),
    st.sampled_from(["T", " "]),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]),
)
def test_whatever_python_writes_as_iso_is_read_back(moment, separator, precision):
    written = moment.isoformat(separator, precision)
    expected = datetime.fromisoformat(written)
    try:
        assert read_time(written) == expected.astimezone(UTC)
    except OverflowError:
        assert read_time(written) is None


@pytest.mark.parametrize(
    ("time", "inside"),
    [
        ("2019-12-02T00:00:00Z", True),
        ("2019-12-01T23:59:59.999999Z", False),
        ("2019-12-08T23:59:59.999999Z", True),
        ("2019-12-09T00:00:00Z", False),
        ("2019-12-09T00:30:00+01:00", True),
        ("2019-12-01T23:30:00-01:00", True),
    ],
)
def test_an_event_belongs_to_the_week_by_utc_and_the_end_is_not_in_it(time, inside):
    raw = record(event_time=f'"{time}"')
    assert rules_of(raw, WEEK) == ([] if inside else [("outside_week", "event_time")])
    assert rules_of(raw) == []


def test_unknown_fields_are_ignored_whatever_they_hold():
    raw = record(extra='{"price":-1,"deep":[[[true]]]}', other='"\\ud800"')
    assert judge(raw) == judge(record())


def test_of_a_key_that_stands_twice_the_last_value_counts():
    assert the_record(record(price='"abc"')[:-1] + b',"price":1}').price == 1
    assert only_error(record()[:-1] + b',"price":"abc"}').rule == "not_a_number"
    assert only_error(record()[:-1] + b',"\\u0070rice":"abc"}').rule == "not_a_number"


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b"5", "not_an_object"),
        (b"null", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'[{"user_id":"1"}]', "not_an_object"),
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"{} {}", "not_json"),
        (b"{'a':1}", "not_json"),
        (record(price="NaN"), "not_json"),
        (record(price="-Infinity"), "not_json"),
        (record(price="012"), "not_json"),
        (record(brand='"line\nbreak"'), "not_json"),
        (record(brand='"\\q"'), "not_json"),
        (b"\xef\xbb\xbf" + record(), "not_json"),
        (b'{"brand":"\xff"}', "not_utf8"),
        (b'{"brand":"\xed\xa0\x80"}', "not_utf8"),
        (record().decode().encode("utf-16"), "not_utf8"),
        (record(extra="[" * 100 + "]" * 100), "too_deep"),
        (b"[" * 100_000, "too_deep"),
    ],
)
def test_what_is_no_object_of_json_is_rejected_as_a_whole(raw, rule):
    error = only_error(raw)
    assert (error.rule, error.field, error.reason) == (rule, None, REASONS[rule])


def test_brackets_in_texts_and_side_by_side_are_no_depth():
    the_record(record(extra='"' + "[{" * 1000 + '"', wide="[" + ",".join(["{}"] * 1000) + "]"))
    the_record(record(extra="[" * 99 + "]" * 99))


def test_half_a_surrogate_pair_is_no_text():
    error = only_error(record(brand='"a\\ud800"'))
    assert (error.rule, error.field, error.value) == ("not_unicode", "brand", "a\\ud800")
    assert the_record(record(brand='"\\ud83d\\ude00"')).brand == "\U0001f600"


@pytest.mark.parametrize("field", ["event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id", "user_session"])
@pytest.mark.parametrize("place", ["\\u0000a", "a\\u0000b", "a\\u0000", "\\u0000"])
def test_a_nul_is_allowed_in_no_text(field, place):
    error = only_error(record(**{field: f'"{place}"'}))
    assert (error.rule, error.field, error.value) == ("control_character", field, place)
    assert error.reason == REASONS["control_character"]


def test_a_nul_is_no_part_of_a_time_and_does_not_matter_in_fields_that_nobody_reads():
    assert only_error(record(event_time='"2019-12-02\\u000008:30:00"')).rule == "control_character"
    the_record(record(extra='"a\\u0000b"'))
    error = only_error(record(user_id='"a\0b"'))
    assert (error.rule, "\0" in (error.value or "")) == ("not_json", False)


def test_every_error_is_told_in_the_order_of_the_fields_whatever_the_order_in_the_record():
    raw = b'{"user_session":1,"price":-1,"brand":[],"event_time":"2018-01-01T00:00:00Z"}'
    expected = [
        ("outside_week", "event_time"),
        ("missing", "event_type"),
        ("wrong_type", "brand"),
        ("negative_price", "price"),
        ("missing", "user_id"),
    ]
    assert rules_of(raw, WEEK) == [*expected, ("wrong_type", "user_session")]


def test_the_offending_value_is_told_as_it_is_written_and_cut_to_length():
    assert only_error(record(brand='{"a":[1.50,true,null,"\\ud800"]}')).value == '{"a": [1.50, true, null, "\\ud800"]}'
    assert only_error(record(price='"' + "x" * 5000 + '"')).value == "x" * LONGEST_VALUE
    assert only_error(b"\xff" * 5000).value == ("\\xff" * 1250)[:LONGEST_VALUE]
    assert len(only_error(record(price='"' + "\\ud800" * 5000 + '"')).value) == LONGEST_VALUE


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_verdict_is_always_reached_and_can_be_written_as_utf8(raw):
    verdict = judge(raw, WEEK)
    if isinstance(verdict, Rejected):
        assert verdict.errors
        for error in verdict.errors:
            (error.value or "").encode()
            assert error.rule in REASONS
    else:
        "".join(value for value in values_of(verdict) if isinstance(value, str)).encode()


@given(st.binary(max_size=60))
def test_no_bytes_break_the_judge(raw):
    assert isinstance(judge(raw), Rejected)


def test_the_contract_names_its_fields_in_the_order_of_the_columns():
    assert list(EventRecord.model_fields) == list(ORDINARY)
