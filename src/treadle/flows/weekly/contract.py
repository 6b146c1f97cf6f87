"""What a valid event is: `EventRecord` is the contract, `judge` the one authority on whether a raw record keeps it. Pure.

Whatever decides faster (`fast_path`) decides only what it can prove that the judge would decide the same way. Source of the rules: product.md §2.
Where that page leaves room:

- A number becomes text as it is written in the JSON (`1.0` → "1.0", `12345678901234567890` → the same digits): no float ever stands between.
- `true` and `false` are not numbers.
- An empty `event_type`, id or optional text stays an empty text; only `user_id` must not be empty, and only an empty `price` becomes null.
- Of a key that stands twice in one object the last value counts, whatever the first was.
- U+0000 is not allowed in any text that the contract names: PostgreSQL cannot store it.
- A price is below 10^20, so that no week's sum of prices leaves decimal(38, 6): that would take 10^12 events.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from treadle.flows.weekly.week import Week

PRICE_PRECISION: Final = 38
PRICE_SCALE: Final = 6
PRICE_WHOLE_DIGITS: Final = 20  # before the point; 12 are left for the sums
LONGEST_VALUE: Final = 1000  # characters of an offending value that are kept; the raw record has all of it
DEEPEST_NESTING: Final = 100  # Python's own limit differs between its versions, and with the stack of the caller
_DEEPEST_SHOWN: Final = 20

REASONS: Final[Mapping[str, str]] = {
    "not_utf8": "the record is not UTF-8",
    "not_json": "the record is not JSON",
    "too_deep": f"the record is nested deeper than {DEEPEST_NESTING} levels",
    "not_an_object": "the record is not a JSON object",
    "missing": "a required field is absent",
    "null": "a required field is null",
    "wrong_type": "expected text",
    "empty": "must not be empty",
    "not_unicode": "holds half a surrogate pair, which is no character",
    "control_character": "holds the character U+0000, which databases cannot store",
    "not_a_time": "expected an ISO 8601 time such as 2019-12-02T08:30:00Z",
    "outside_week": "lies outside the week of the batch",
    "not_a_number": "expected a decimal number such as 12.50",
    "negative_price": "must not be negative",
    "price_precision": f"must be below 10^{PRICE_WHOLE_DIGITS} and have at most {PRICE_SCALE} decimal places",
}
"""Every rule's name and what is told of a record that breaks it; `wrong_type` is told in the words of its field."""


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it is written."""

    text: str


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule. `field` is None when the record as a whole is meant; `value` is None when there is none, or it is null."""

    rule: str
    field: str | None
    value: str | None  # text as it is, but U+0000 as \u0000; anything else as JSON; at most LONGEST_VALUE characters
    reason: str


def _broken(rule: str, reason: str = "") -> PydanticCustomError:
    return PydanticCustomError(cast("Any", rule), cast("Any", reason or REASONS[rule]))


def _number_text(value: Any) -> str | None:
    if isinstance(value, Number):
        return value.text
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    return None


def _trimmed(value: str) -> str:
    """Without white space at both ends: what Python's `str.strip` takes for it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _broken("not_unicode") from None
    return _without_nul(value).strip()


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise _broken("control_character")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _required_text(value, "expected text or null")


def _required_text(value: Any, expected: str = "") -> str:
    if value is None:
        raise _broken("null")
    if not isinstance(value, str):
        raise _broken("wrong_type", expected)
    return _trimmed(value)


def _event_type(value: Any) -> str:
    return _required_text(value).lower()


def _optional_id(value: Any) -> str | None:
    return None if value is None else _identifier(value, "expected text, a number or null")


def _identifier(value: Any, expected: str = "expected text or a number") -> str:
    return _number_text(value) or _required_text(value, expected)


def _user_id(value: Any) -> str:
    text = _identifier(value)
    if not text:
        raise _broken("empty")
    return text


def _event_time(value: Any, info: ValidationInfo) -> datetime:
    """`info.context` is the week that the event must lie in, or None where any time will do."""
    if value is None:
        raise _broken("null")
    if not isinstance(value, str):
        raise _broken("wrong_type")
    moment = read_time(_without_nul(value).strip())
    if moment is None:
        raise _broken("not_a_time")
    week: Week | None = info.context
    if week is not None and not week.opens_at <= moment < week.closes_at:
        raise _broken("outside_week")
    return moment


def _price(value: Any) -> Decimal | None:
    if value is None:
        return None
    text = _number_text(value)
    if text is None:
        text = _required_text(value, "expected a number, text or null")
    if not text:
        return None
    if not _DECIMAL.fullmatch(text):
        raise _broken("not_a_number")
    return _exact_price(text)


# Python's Decimal would also take 1_000, NaN and the digits of every script.
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


_ZERO: Final = Decimal(1).scaleb(-PRICE_SCALE) * 0
_EXACT: Final = Context(prec=PRICE_PRECISION)


def _exact_price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:  # an exponent beyond all bounds
        raise _broken("negative_price" if text.startswith("-") else "price_precision") from None
    if price.is_zero():
        return _ZERO
    if price.is_signed():
        raise _broken("negative_price")
    digits, exponent = price.as_tuple().digits, cast("int", price.as_tuple().exponent)
    trailing_zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    if exponent + trailing_zeros < -PRICE_SCALE or price.adjusted() >= PRICE_WHOLE_DIGITS:
        raise _broken("price_precision")
    return price.quantize(_ZERO, context=_EXACT)


class EventRecord(BaseModel):
    """One event as it is kept. Fields that it does not name are ignored; errors are told in the order of its fields.

    Validate with `context=week` to require that the event lies in the week.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    event_time: Annotated[datetime, PlainValidator(_event_time)]  # UTC
    event_type: Annotated[str, PlainValidator(_event_type)]  # trimmed, lower case
    product_id: Annotated[str | None, PlainValidator(_optional_id)] = None
    category_id: Annotated[str | None, PlainValidator(_optional_id)] = None
    category_code: Annotated[str | None, PlainValidator(_optional_text)] = None
    brand: Annotated[str | None, PlainValidator(_optional_text)] = None
    price: Annotated[Decimal | None, PlainValidator(_price)] = None  # ≥ 0 and < 10^20, with six places, exact as decimal(38, 6)
    user_id: Annotated[str, PlainValidator(_user_id)]  # not empty
    user_session: Annotated[str | None, PlainValidator(_optional_text)] = None


FIELDS: Final = tuple(EventRecord.model_fields)
REQUIRED: Final = frozenset(name for name, field in EventRecord.model_fields.items() if field.is_required())


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that keeps the contract."""

    record: EventRecord


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that breaks it: every error, in the order of the fields; at least one."""

    errors: tuple[FieldError, ...]


def judge(raw: bytes, week: Week | None = None) -> Accepted | Rejected:
    """Whether the record – the bytes of one JSON value – keeps the contract and, when a week is given, lies in it. Raises nothing."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return _rejected("not_utf8", raw.decode(errors="backslashreplace"))
    if _depth(text) > DEEPEST_NESTING:
        return _rejected("too_deep", text)
    try:
        found = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_no_json)
    except ValueError:
        return _rejected("not_json", text)
    if not isinstance(found, dict):
        return _rejected("not_an_object", text)
    try:
        return Accepted(EventRecord.model_validate(found, context=week))
    except ValidationError as error:
        return Rejected(tuple(_field_error(dict(one)) for one in error.errors(include_url=False, include_context=False)))


def _no_json(name: str) -> Any:
    """Python reads NaN, Infinity and -Infinity, which are not JSON (RFC 8259 §6)."""
    raise ValueError(name)


def _rejected(rule: str, value: str) -> Rejected:
    return Rejected((FieldError(rule, None, _kept(value), REASONS[rule]),))


def _field_error(error: Mapping[str, Any]) -> FieldError:
    rule, field = str(error["type"]), str(error["loc"][0])
    if rule == "missing":
        return FieldError(rule, field, None, REASONS[rule])
    return FieldError(rule, field, _told(error["input"]), str(error["msg"]))


def _told(value: Any) -> str | None:
    return None if value is None else _kept(value if isinstance(value, str) else _as_json(value, 0))


def _kept(value: str) -> str:
    return value[:LONGEST_VALUE].replace("\0", "\\u0000").encode(errors="backslashreplace").decode()[:LONGEST_VALUE]


def _as_json(value: Any, depth: int) -> str:
    if (number := _number_text(value)) is not None:
        return number
    if depth > _DEEPEST_SHOWN:
        return "…"
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{json.dumps(key)}: {_as_json(inner, depth + 1)}" for key, inner in entries) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_as_json(inner, depth + 1) for inner in cast("list[Any]", value)) + "]"
    return json.dumps(value, ensure_ascii=False)


_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)


def _depth(text: str) -> int:
    """How many brackets are open at once at most; 0 where counting them shows that there cannot be too many."""
    if text.count("{") + text.count("[") <= DEEPEST_NESTING:
        return 0
    depth = deepest = 0
    for mark in _STRING_OR_BRACKET.findall(text):
        depth += 1 if mark in "[{" else -1 if mark in "]}" else 0
        deepest = max(deepest, depth)
    return deepest


# Dates and times that `datetime.fromisoformat` of Python 3.11 reads as they are meant. It also drops a stray character here and there (python/cpython#107779:
# "20230808120000Z" is 20:00 to it); such a time is refused. Hours and offsets are named because 3.14 reads 24:00, and refuses minutes above 59 in an offset.
_ISO_8601: Final = re.compile(
    r"""
    (?: \d{4}-\d\d-\d\d | \d{8} | \d{4}-W\d\d(?:-\d)? | \d{4}W\d\d\d? )
    (?: .
        (?P<hour>\d\d) (?: :?\d\d (?: :?\d\d (?: [.,]\d+ )? )? )?
        (?: Z | [+-]\d\d (?: :?(?P<offset_minute>\d\d) (?: :?(?P<offset_second>\d\d) (?: [.,]\d+ )? )? )? )?
    )?
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)


def read_time(text: str) -> datetime | None:
    """The moment in UTC that an ISO 8601 text names, on every Python from 3.11 the same; a time without offset is UTC. None: it names none.

    Digits beyond microseconds are cut off.
    """
    form = _ISO_8601.fullmatch(text)
    if form is None or form["hour"] == "24" or max(form["offset_minute"] or "", form["offset_second"] or "") > "59":
        return None
    try:
        moment = datetime.fromisoformat(text.removesuffix("Z") + "+00:00" if text.endswith("Z") else text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day; or before year 1, or after 9999, in UTC
        return None
