"""What can be wrong with a record, or only unusual.

Each kind takes the fields of a good record as JSON text, and some random bits, and returns the bytes of the record.

DEFECTS break the contract of the events: none of these records may be accepted.
ODDITIES keep it in an unusual way: all of them must be accepted.
HOSTILE is what a contract has to take a decision on; it occurs only where a week asks for it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Final

Fields = dict[str, str]
Spoil = Callable[[Fields, int], bytes]


def rendered(fields: Fields) -> bytes:
    """The record as JSON."""
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode()


def _given(field: str, *texts: str) -> Spoil:
    return lambda fields, bits: rendered({**fields, field: texts[bits % len(texts)]})


def _without(field: str) -> Spoil:
    return lambda fields, _: rendered({name: text for name, text in fields.items() if name != field})


def _whole(*records: bytes) -> Spoil:
    return lambda _, bits: records[bits % len(records)]


def _time(change: Callable[[datetime], str]) -> Spoil:
    def spoil(fields: Fields, _bits: int) -> bytes:
        return rendered({**fields, "event_time": f'"{change(datetime.fromisoformat(fields["event_time"].strip(chr(34))))}"'})

    return spoil


def _twice(field: str, first: str) -> Spoil:
    """The name stands twice; the second value is the good one."""
    return lambda fields, _: rendered({field: first, "note": '"first of two"'})[:-1] + b"," + rendered(fields)[1:]


def _reversed(fields: Fields, _bits: int) -> bytes:
    return rendered(dict(reversed(fields.items())))


def _spaced(fields: Fields, _bits: int) -> bytes:
    return rendered(fields).replace(b'":', b'" : ').replace(b',"', b' ,\n\t"')


def _bad_utf8(fields: Fields, bits: int) -> bytes:
    broken = (b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x98")[bits % 4]
    return rendered({**fields, "brand": '"@@"'}).replace(b"@@", b"caf" + broken)


def _as_text(field: str) -> Spoil:
    return lambda fields, _: rendered({**fields, field: f'"{fields[field]}"'})


def _user_number(fields: Fields, _bits: int) -> bytes:
    return rendered({**fields, "user_id": fields["user_id"].strip('"')})


def _shifted(moment: datetime) -> str:
    return moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()


DEFECTS: Final[Mapping[str, Spoil]] = {
    "user_missing": _without("user_id"),
    "user_null": _given("user_id", "null"),
    "user_empty": _given("user_id", '""', '"   "', '"\\t"'),
    "user_nested": _given("user_id", '{"id":512345678}', "[512345678]"),
    "time_missing": _without("event_time"),
    "time_null": _given("event_time", "null", '""'),
    "time_unreadable": _given(
        "event_time", '"yesterday"', '"2019-13-45T00:00:00Z"', '"03/12/2019 10:00"', '"2019-12-03T25:00:00Z"', '"2019-12-03T10:00:00 CET"'
    ),
    "time_outside": _time(lambda moment: (moment - timedelta(days=40)).isoformat()),
    "type_missing": _without("event_type"),
    "type_null": _given("event_type", "null"),
    "type_number": _given("event_type", "5"),
    "type_nested": _given("event_type", '["view"]', '{"name":"view"}'),
    "brand_number": _given("brand", "77", "1.5"),
    "code_number": _given("category_code", "12"),
    "brand_nested": _given("brand", '{"name":"norvik"}', "[]"),
    "price_unreadable": _given("price", '"abc"', '"12,50"', '"1.2.3"', '"€ 5"', '"0x10"'),
    "price_negative": _given("price", "-12.50", '"-0.01"', "-1e3"),
    "price_not_finite": _given("price", '"NaN"', '"Infinity"', '"-Infinity"'),
    "price_nested": _given("price", '{"amount":12.5,"currency":"EUR"}', "[12.5]"),
    "price_too_long": _given("price", "9" * 40, f'"{"8" * 33}.5"', "1e60"),
    "price_too_fine": _given("price", "1.12345678901", '"0.0000001"'),
    "no_object": _whole(b'"a line of text"', b"42", b"null", b"[]", b"true", b"[1,2,3]"),
    "empty_object": _whole(b"{}", b'{"data":[]}'),
}
ODDITIES: Final[Mapping[str, Spoil]] = {
    "user_number": _user_number,
    "product_text": _as_text("product_id"),
    "category_text": _as_text("category_id"),
    "product_null": _given("product_id", "null"),
    "price_text": _as_text("price"),
    "price_empty": _given("price", '""', "null"),
    "price_missing": _without("price"),
    "price_whole": _given("price", "0", "15", '"15"', "1.5e1", '" 15.00 "'),
    "type_shouted": lambda fields, _: rendered({**fields, "event_type": f'" {fields["event_type"].strip(chr(34)).upper()} "'}),
    "user_padded": lambda fields, _: rendered({**fields, "user_id": f'"  {fields["user_id"].strip(chr(34))} "'}),
    "time_offset": _time(_shifted),
    "time_naive": _time(lambda moment: moment.replace(tzinfo=None).isoformat(" ")),
    "time_fraction": _time(lambda moment: moment.replace(microsecond=123_000).isoformat(timespec="milliseconds")),
    "time_micros": _time(lambda moment: moment.replace(microsecond=654_321, tzinfo=None).isoformat() + "Z"),
    "unknown_field": lambda fields, _: rendered({**fields, "device": '{"os":"linux","tags":[1,null,{"a":[]}]}'}),
    "session_missing": _without("user_session"),
    "escaped": _given("brand", '"s\\u00e9vigny"', '"\\ud83d\\ude00"', '"a\\/b\\"c\\\\d"'),
    "reversed": _reversed,
    "spaced": _spaced,
}
HOSTILE: Final[Mapping[str, Spoil]] = {
    "id_boolean": _given("product_id", "true", "false"),
    "user_boolean": _given("user_id", "true"),
    "id_fraction": _given("product_id", "1.0", "1e3", "12345678901234567890123456789.5"),
    "id_huge": _given("product_id", "9" * 30, "-5"),
    "id_nested": _given("category_id", '{"id":1}', "[1]"),
    "type_empty": _given("event_type", '""', '"  "'),
    "time_number": _given("event_time", "1575331200", "1575331200.5"),
    "time_compact": _time(lambda moment: moment.strftime("%Y%m%dT%H%M%SZ")),
    "time_week_date": _time(lambda moment: moment.strftime("%G-W%V-%uT%H:%M:%S+00:00")),
    "time_day_alone": _time(lambda moment: moment.strftime("%Y-%m-%d")),
    "price_boolean": _given("price", "true", "false"),
    "price_30_digits": _given("price", "123456789012345678901234.567890", '"000000000000000000000000000012.50"', '"1_000"'),
    "price_minus_zero": _given("price", "-0", '"-0.00"', "-0.0"),
    "price_other_digits": _given("price", '"١٢"', '"１２"'),
    "key_twice": _twice("user_id", '"999"'),
    "type_twice": _twice("event_type", "7"),
    "bad_utf8": _bad_utf8,
    "lone_surrogate": _given("brand", '"\\ud800"'),
    "nul": _given("user_id", '"5\\u00001"'),
    "deep": _given("extra", "[" * 200 + "]" * 200),
    "long_text": _given("brand", '"' + "x" * 20_000 + '"'),
}
ALL_KINDS: Final[Mapping[str, Spoil]] = {**DEFECTS, **ODDITIES, **HOSTILE}
