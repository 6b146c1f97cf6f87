"""Decides records column-wise: those it can prove valid, with their values; all others are left to the judge. Pure.

The proof is one regular expression over the whole record: an object of these keys, in this order, each once, whose values have forms of which it is known what the
judge makes of them. Such a record holds no escape, no nested value and no type that its field does not allow; what it says is the text between the quotes.
The expression is made for the order of keys and the kinds of values that a sample of the records shows, and costs only speed when the sample misleads.

What is proven is exactly what the judge decides because:

- white space at the ends: Polars and Python differ on U+001C to U+001F alone, which JSON does not allow unescaped;
- `event_type` is ASCII here, where both lower-case alike; elsewhere nothing is lower-cased;
- numbers become text as they are written; prices have at most 18 and 6 digits before and after the point, which is below the contract's limit and exact as decimal(38, 6);
- times have the one form `YYYY-MM-DDTHH:MM:SS`, with or without a fraction and an offset, and lie in the week. All others are the judge's.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, cast

import polars as pl

from treadle.flows.weekly.contract import FIELDS, PRICE_PRECISION, PRICE_SCALE, REQUIRED, Number
from treadle.flows.weekly.week import Week

PRICE: Final = pl.Decimal(PRICE_PRECISION, PRICE_SCALE)
MOMENT: Final = pl.Datetime("us", "UTC")
EVENT_SCHEMA: Final[Mapping[str, pl.DataType]] = {name: {"event_time": MOMENT, "price": PRICE}.get(name, pl.String()) for name in FIELDS}
"""The columns of an event in the order of the contract."""

_SAMPLE: Final = 64
_SHAPES: Final = 4  # each costs a pass over the records that those before it left
_SHAPE_SHARE: Final = 0.03  # of the sample that a shape must have to be worth a pass
_MOST_KEYS: Final = 40
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OTHER_KIND: Final = "_number"  # ends the name of the group that takes a field's value when it is a number

Kinds = frozenset[str]  # of "text" and "number"
Shape = tuple[tuple[str, Kinds], ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """valid: `index` (UInt32, position among the records, ascending) and the columns of EVENT_SCHEMA. undecided: the positions of all others, ascending."""

    valid: pl.DataFrame
    undecided: pl.Series


def decide(records: pl.Series, week: Week) -> Decided:
    """Decide what can be decided of raw records (Binary); each may have the comma after it, with white space."""
    left = pl.DataFrame({"raw": _as_text(records)}).with_row_index("index")
    valid = [pl.DataFrame(schema={"index": pl.UInt32(), **EVENT_SCHEMA})]
    for shape in _shapes(left["raw"]):
        values, proven = _values(left["raw"], shape, week)
        valid.append(left.select("index").hstack(values).filter(proven))
        left = left.filter(~proven)
    return Decided(pl.concat(valid).sort("index") if len(valid) > 2 else valid[-1], left["index"])


def _as_text(records: pl.Series) -> pl.Series:
    """The records as text, null where they are not UTF-8. Polars checks a whole column at once, and refuses it for one bad value."""
    try:
        return records.cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series([raw if _is_utf8(raw) else None for raw in records], dtype=pl.Binary).cast(pl.String)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shapes(records: pl.Series) -> Iterator[Shape]:
    """The shapes that a sample of the records has, the most frequent first."""
    sample = [_pairs(text) for text in records.gather_every(max(1, len(records) // _SAMPLE)) if text is not None]
    orders = Counter(tuple(key for key, _ in pairs) for pairs in sample)
    for keys, count in islice(orders.most_common(), _SHAPES):
        if count >= _SHAPE_SHARE * len(sample) and _is_provable(keys):
            seen = [dict(pairs) for pairs in sample if tuple(key for key, _ in pairs) == keys]
            yield tuple((key, frozenset(_kind(values[key]) for values in seen) - {""} or frozenset({"text"})) for key in keys)


def _pairs(piece: str) -> list[tuple[str, Any]]:
    try:
        found = json.loads(piece.rstrip(", \n"), object_pairs_hook=list, parse_int=Number, parse_float=Number)
    except (ValueError, RecursionError):
        return []
    pairs = cast("list[Any]", found) if isinstance(found, list) else []
    return pairs if all(isinstance(pair, tuple) for pair in pairs) else []


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "number" if isinstance(value, Number) else ""


def _is_provable(keys: Sequence[str]) -> bool:
    return len(keys) <= _MOST_KEYS and len(set(keys)) == len(keys) and set(keys) >= REQUIRED and all(map(_PLAIN_KEY.fullmatch, keys))


_TEXT: Final = r'[^"\\\x00-\x1f]*'
_ASCII_TEXT: Final = r"[ !#-\[\]-~]*"
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_PRICE: Final = r"[0-9]{1,18}(?:\.[0-9]{1,6})?"
_PRICE_NUMBER: Final = r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,6})?"
_SECOND: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_AFTER_SECOND: Final = r"(?:\.[0-9]{3}(?:[0-9]{3})?)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
_ANYTHING: Final = rf"""(?:"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{{4}})*"|{_NUMBER}|true|false|null)"""  # but nothing nested


def _pattern(shape: Shape) -> str:
    members = ", ?".join(f'"{re.escape(key)}": ?{_value_pattern(key, kinds)}' for key, kinds in shape)
    return rf"^\{{{members}\}}(?:,[ \n]?)?$"


def _value_pattern(key: str, kinds: Kinds) -> str:
    """What a value of the field may look like to be proven valid; its text goes to the group of the field's name, or of that with `_number` for a number."""
    if key not in EVENT_SCHEMA:
        return _ANYTHING
    if key == "event_time":
        return f'"(?P<event_time>{_SECOND})(?P<after_second>{_AFTER_SECOND})"'
    if key == "event_type":
        return f'"(?P<event_type>{_ASCII_TEXT})"'
    forms = {"text": f'"(?P<{key}>{_PRICE_OR_EMPTY if key == "price" else _TEXT})"'}
    if key in _NUMBERS_ALLOWED:
        forms["number"] = f"(?P<{key}{_OTHER_KIND}>{_PRICE_NUMBER if key == 'price' else _NUMBER})"
    alternatives = [form for kind, form in forms.items() if kind in kinds] or [forms["text"]]
    return f"(?:{'|'.join([*alternatives, *([] if key in REQUIRED else ['null'])])})"


_NUMBERS_ALLOWED: Final = frozenset({"product_id", "category_id", "user_id", "price"})
_PRICE_OR_EMPTY: Final = f"(?:{_PRICE})?"


def _values(records: pl.Series, shape: Shape, week: Week) -> tuple[pl.DataFrame, pl.Series]:
    """The columns of EVENT_SCHEMA, and for which of the records they are proven; what they hold of the others means nothing."""
    groups = records.to_frame("raw").select(pl.col("raw").str.extract_groups(_pattern(shape))).unnest("raw")
    values = groups.select(
        _moments(groups),
        pl.col("event_type").str.strip_chars().str.to_lowercase(),
        *(_texts(groups, name).alias(name) for name in FIELDS[2:] if name != "price"),
        _texts(groups, "price").cast(PRICE, strict=False).alias("price"),
        price_text=_texts(groups, "price"),
    )
    proven = values.select(
        (
            pl.col("event_time").is_between(week.opens_at, week.closes_at, closed="left")
            & (pl.col("user_id") != "")
            & (pl.col("price").is_not_null() | (pl.col("price_text").fill_null("") == ""))
        ).fill_null(False)
    ).to_series()
    return values.select(EVENT_SCHEMA.keys()), proven


def _texts(groups: pl.DataFrame, name: str) -> pl.Expr:
    """The field's text, trimmed, from whichever group took it; null where the value is null, the key absent or the record not of the shape."""
    texts = [pl.col(name).str.strip_chars()] if name in groups.columns else []
    numbers = [pl.col(name + _OTHER_KIND)] if name + _OTHER_KIND in groups.columns else []
    return pl.coalesce([*texts, *numbers]) if texts or numbers else pl.lit(None, pl.String)


def _moments(groups: pl.DataFrame) -> pl.Expr:
    """The times in UTC; null where there is no such day."""
    local = pl.col("event_time").str.replace(" ", "T", literal=True).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    if groups["after_second"].is_in(["", "Z", "+00:00"]).all():
        return local.dt.replace_time_zone("UTC")
    after = pl.col("after_second")
    fraction = after.str.extract(r"^\.([0-9]+)").str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    minutes = after.str.extract(r"([0-9]{2}):[0-9]{2}$").cast(pl.Int64) * 60 + after.str.extract(r":([0-9]{2})$").cast(pl.Int64)
    offset = pl.when(after.str.contains("-", literal=True)).then(-minutes).otherwise(minutes).fill_null(0)
    return (local + pl.duration(microseconds=fraction) - pl.duration(minutes=offset)).dt.replace_time_zone("UTC")
