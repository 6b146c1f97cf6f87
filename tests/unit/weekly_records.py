"""Raw records of events and pages made of them, for the tests of the weekly contract: ordinary ones, odd ones and hostile ones."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from hypothesis import strategies as st

from treadle.flows.weekly.contract import Accepted, Rejected, judge
from treadle.flows.weekly.extract import Extracted, PageFile
from treadle.flows.weekly.week import Week

WEEK = Week(date(2019, 12, 2), date(2019, 12, 8))
INGESTED_AT = datetime(2019, 12, 9, 5, 30, tzinfo=UTC)

ORDINARY = {
    "event_time": '"2019-12-02T08:30:00Z"',
    "event_type": '"view"',
    "product_id": "44600062",
    "category_id": "2103807459595387724",
    "category_code": '"electronics.smartphone"',
    "brand": '"samsung"',
    "price": "35.79",
    "user_id": '"541312140"',
    "user_session": '"72d76fde-8bb3-4e00-8c23-a032dfed738c"',
}
"""Each field and its value as JSON text."""


def record(*, gap: str = "", drop: Sequence[str] = (), **values: str) -> bytes:
    """An ordinary record but for the values given, each as JSON text; a field of another name comes last."""
    fields = {name: text for name, text in (ORDINARY | values).items() if name not in drop}
    return ("{" + f",{gap}".join(f'"{name}":{gap}{text}' for name, text in fields.items()) + "}").encode("utf-8", "surrogatepass")


def values_of(verdict: Accepted | Rejected) -> tuple[object, ...] | None:
    """The values of an accepted record in the contract's order; None: it was rejected."""
    return tuple(getattr(verdict.record, name) for name in ORDINARY) if isinstance(verdict, Accepted) else None


def rules_of(raw: bytes, week: Week | None = None) -> list[tuple[str, str | None]]:
    """Rule and field of every error."""
    verdict = judge(raw, week)
    return [(error.rule, error.field) for error in verdict.errors] if isinstance(verdict, Rejected) else []


HOSTILE = [
    b"5",
    b"null",
    b'"text"',
    b'"a},{b"',
    b"[]",
    b"{}",
    b'[{"a":1},{"b":2}]',
    b'{"event_time":"2019-12-02T08:30:00Z"}',
    record(user_id="true"),
    record(user_id="1.0"),
    record(user_id="1E5"),
    record(user_id="-0"),
    record(user_id="12345678901234567890123456789012345678901234567890"),
    record(user_id='""'),
    record(user_id='"  "'),
    record(user_id="null"),
    record(user_id='" 7\u00a0"'),
    record(user_id='"\\u001c7"'),
    record(user_id='"\\ud800"'),
    record(user_id='"\\ud83d\\ude00"'),
    record(user_id='{"a":{"b":[1,2]}}'),
    record(product_id="true"),
    record(product_id='"007"'),
    record(category_id="[1]"),
    record(event_type="123"),
    record(event_type='" VIEW "'),
    record(event_type='"\u0130STANBUL"'),
    record(event_type='""'),
    record(brand="5"),
    record(brand="null"),
    record(brand='"\u3000Caf\u00e9\u2003"'),
    record(brand='"say \\"hi\\""'),
    record(brand='"a},{b"'),
    record(brand='"\\u0000"'),
    record(brand='"a\0b"'),
    record(user_id='"a\\u0000b"'),
    record(user_id='"a\0b"'),
    record(user_session='"a\\u0000"'),
    record(event_type='"\\u0000view"'),
    record(product_id='"\\u0000"'),
    record(category_code='"a\\\\u0000"'),
    record(event_time='"2019-12-02\\u000008:30:00"'),
    record(event_time='"2019-12-02\x0008:30:00"'),
    record(extra='"a\\u0000b"'),
    record(extra='"a\0b"'),
    record(brand='"\x1f"'),
    record(brand='"line\nbreak"'),
    record(brand='"\ud800"'),
    record(price='""'),
    record(price='"  "'),
    record(price='"12,50"'),
    record(price='"1_000"'),
    record(price='"\uff11"'),
    record(price='"NaN"'),
    record(price="NaN"),
    record(price="Infinity"),
    record(price="true"),
    record(price="-0.01"),
    record(price="-0"),
    record(price="-0.00"),
    record(price="1e3"),
    record(price='"1e-3"'),
    record(price="1e400"),
    record(price='"1e99999999999999999999"'),
    record(price="0.1234567"),
    record(price="0.1234560000"),
    record(price="99999999999999999999.999999"),
    record(price="100000000000000000000"),
    record(price="123456789012345678901234567890"),
    record(price="12345678901234567890123456789012.123456"),
    record(price="123456789012345678901234567890123"),
    record(price='"0012.50"'),
    record(price='".5"'),
    record(price='"5."'),
    record(price='"+5"'),
    record(price="012"),
    record(price="999999999999999999.999999"),
    record(event_time='"2019-12-02T08:30:00"'),
    record(event_time='"2019-12-02 08:30:00.123"'),
    record(event_time='"2019-12-02T08:30:00.123456+05:30"'),
    record(event_time='"2019-12-02T08:30:00.1Z"'),
    record(event_time='"2019-12-02T08:30:00,5Z"'),
    record(event_time='"2019-12-08T23:59:59.999999Z"'),
    record(event_time='"2019-12-09T00:00:00Z"'),
    record(event_time='"2019-12-01T23:59:59-00:01"'),
    record(event_time='"2019-12-02T00:00:00+00:01"'),
    record(event_time='"2019-12-02T24:00:00Z"'),
    record(event_time='"2019-12-02T08:30:60Z"'),
    record(event_time='"2019-12-02T08:30:00+01:60"'),
    record(event_time='"2019-12-32T08:30:00Z"'),
    record(event_time='"20191202T083000Z"'),
    record(event_time='"2019-W49-1T08:30Z"'),
    record(event_time='"2019-12-02"'),
    record(event_time='"2019-12-02T08:30:00z"'),
    record(event_time='" 2019-12-02T08:30:00Z "'),
    record(event_time="1575275400"),
    record(event_time="null"),
    record(event_time='""'),
    record(drop=["event_time"]),
    record(drop=["event_type", "user_id"]),
    record(drop=["price", "brand"]),
    record(gap=" "),
    record(gap="\n"),
    record(gap="\t  "),
    record(extra='{"nested":[1,{"deep":true}]}'),
    record(extra='"\\ud800"'),
    record(extra='"\\/\\b\\f"'),
    record(extra="true"),
    record(extra="1e999"),
    record()[:-1] + b',"price":"abc"}',
    record()[:-1] + b',"user_id":""}',
    record(price='"abc"')[:-1] + b',"price":1}',
    record()[:-1] + b',"\\u0070rice":"abc"}',
    record(brand='"\u00e9"').replace("\u00e9".encode(), b"\xff"),
    b"\xef\xbb\xbf" + record(),
    record(extra="[" * 99 + "]" * 99),
    record(extra="[" * 100 + "]" * 100),
]
"""Records of which each is one value as far as its extent goes, whatever is wrong with it."""

_VALUES = st.one_of(
    st.sampled_from(
        [
            *ORDINARY.values(),
            *(
                "null",
                "true",
                "false",
                "0",
                "-0",
                "1.0",
                "1e5",
                "-1",
                "0.1234567",
                "1" * 30,
                "1" * 40,
                "NaN",
                "{}",
                "[]",
                '{"a":"}"}',
                '""',
                '" "',
            ),
            *(
                '"purchase"',
                '" Cart "',
                '"\\u0041"',
                '"2019-12-02T08:30:00.250+02:00"',
                '"2019-12-04"',
                '"2018-12-02T08:30:00Z"',
                '"12.50"',
                '"a\\u0000b"',
                '"a\0b"',
            ),
        ]
    ),
    st.text(max_size=12).map(json.dumps),
    st.text(st.characters(codec="utf-8", exclude_characters='"\\'), max_size=12).map('"{}"'.format),
    st.decimals(allow_nan=False, allow_infinity=False, places=None).map(lambda number: f"{number:f}"),
    st.decimals(0, 10**6, places=2).map('"{}"'.format),
    st.integers().map(str),
    st.datetimes(datetime(2019, 12, 1), datetime(2019, 12, 10)).map(lambda moment: f'"{moment.isoformat()}Z"'),  # noqa: DTZ001 - its text is what counts
    st.datetimes(datetime(2019, 12, 1), datetime(2019, 12, 10)).map(lambda moment: f'"{moment:%Y-%m-%d %H:%M:%S}"'),  # noqa: DTZ001 - the same
)
_GAPS = st.sampled_from(["", "", "", " ", "\n", "\t", "  "])


@st.composite
def odd_records(draw: st.DrawFn) -> bytes:
    """A record that is ordinary but for some values, their order, gaps, keys that are missing, doubled or unknown."""
    fields = list((ORDINARY | draw(st.dictionaries(st.sampled_from([*ORDINARY, "extra"]), _VALUES, max_size=3))).items())
    if draw(st.booleans()):
        fields = draw(st.permutations(fields))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        fields.insert(draw(st.integers(0, len(fields))), (draw(st.sampled_from([*ORDINARY, "other", "\\u0070rice"])), draw(_VALUES)))
    if draw(st.sampled_from([False, False, True])):
        del fields[draw(st.integers(0, len(fields) - 1))]
    comma, colon = draw(_GAPS), draw(_GAPS)
    return ("{" + f",{comma}".join(f'"{name}":{colon}{text}' for name, text in fields) + "}").encode("utf-8", "surrogatepass")


@st.composite
def damaged_records(draw: st.DrawFn) -> bytes:
    """A record with some of its bytes changed: mostly no JSON any more."""
    raw = bytearray(draw(st.one_of(st.just(record()), odd_records())))
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(raw)))
        new = draw(
            st.sampled_from(
                [b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\x00", b"\xff", b"0", b"-", b".", b"e", b"\n", b"\xc3\xa9"]
            )
        )
        raw[position : position + draw(st.integers(0, 2))] = new
    return bytes(raw)


RECORDS = st.lists(
    st.one_of(odd_records(), odd_records(), damaged_records(), st.sampled_from(HOSTILE), st.just(record())), min_size=1, max_size=12
)


def page_body(records: Sequence[bytes], *, separator: bytes = b",", total: int | None = None) -> bytes:
    """The body of a page as the events API sends it."""
    return b'{"data":[' + separator.join(records) + b'],"meta":{"total":%d}}' % (len(records) if total is None else total)


def extract_of(folder: Path, pages: Sequence[Sequence[bytes]], *, separator: bytes = b",") -> Extracted:
    """A finished extract of these pages of records, as EXTRACT leaves it."""
    import hashlib  # noqa: PLC0415 - beside what it is for

    from treadle.flows.weekly.page_files import path_of, write_page  # noqa: PLC0415 - the same

    total = sum(map(len, pages))
    files = []
    for number, records in enumerate(pages, 1):
        body = page_body(records, separator=separator, total=total)
        write_page(path_of(folder, number), body)
        files.append(PageFile(number, path_of(folder, number), len(records), len(body), hashlib.sha256(body).hexdigest()))
    return Extracted(WEEK, tuple(files), total, total, WEEK.opens_at, WEEK.closes_at, INGESTED_AT)
