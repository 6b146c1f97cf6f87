"""Reads the text of a value into what is stored, or says in Salesforce's words why its field cannot hold it. Pure.

Stored: text as it is; numbers as plain decimal text with the field's scale; dates as YYYY-MM-DD; times as in answers; absence as None.
Sources: SOAP API guide, StatusCode; Bulk guide, Valid CSV Record Rows and date formats; REST guide, valid date and dateTime formats.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache, partial
from typing import Any, Final, cast

from treadle.sandbox.salesforce.ids import salesforce_time
from treadle.sandbox.salesforce.refusals import Refused, RowFault, Unfit
from treadle.sandbox.salesforce.schema import Field

Reader = Callable[[str], str | None]
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:?\d{2})?")
_UTC_OR_NONE: Final = (None, UTC)
_REPEATED: Final = frozenset({"currency", "double", "date", "picklist"})  # types whose columns repeat themselves
_VALUES_KEPT: Final = 16_384
_YEARS: Final = range(1700, 4001)


def reader_of(field: Field) -> Reader:
    """What reads the texts of this field; it raises Unfit."""
    readers: Mapping[str, Callable[[Field, str], str | None]] = {
        "currency": _number,
        "double": _number,
        "date": _date,
        "datetime": _datetime,
        "picklist": _picklist,
        "reference": _reference,
    }
    reader = partial(readers.get(field.type, _text), field)
    return lru_cache(maxsize=_VALUES_KEPT)(reader) if field.type in _REPEATED else reader


def from_json(field: Field, value: Any) -> str | None:
    """Read a JSON value: null and "" clear the field. Raises Unfit; Refused where the type is one that the parser stumbles over."""
    if value is None or value == "":
        return None
    if isinstance(value, bool | dict | list):
        raise _unreadable(field, "VALUE_TRUE" if isinstance(value, bool) else "START_OBJECT", cast("Any", value))
    numeric = field.type in {"currency", "double"}
    if isinstance(value, int | float | Decimal):
        if not numeric:
            raise _unreadable(field, "VALUE_NUMBER", value)
        return _number(field, str(value))
    try:
        return reader_of(field)(str(value))
    except Unfit as unfit:
        if unfit.fault.code == "INVALID_TYPE_ON_FIELD_IN_RECORD":
            raise _unreadable(field, "VALUE_STRING", value) from unfit
        raise


def in_json(field: Field, stored: str | None) -> str | float | None:
    """A stored value as answers show it: numbers are doubles, as everywhere in Salesforce's JSON."""
    if stored is None or field.type not in {"currency", "double"}:
        return stored
    return float(stored)


def external_key(text: str) -> str:
    """By what external ids are compared: without regard to case and outer blanks (fields here are not case-sensitive)."""
    return text.strip().casefold()


def _text(field: Field, text: str) -> str | None:
    trimmed = text.strip()
    if len(trimmed) > field.length:
        shown = trimmed if len(trimmed) <= 255 else f"{trimmed[:252]}..."
        raise Unfit(RowFault("STRING_TOO_LONG", f"{field.label}: data value too large: {shown} (max length={field.length})", (field.name,)))
    return trimmed or None


def _number(field: Field, text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise _wrong_type(field, text)
    try:
        number = Decimal(text).quantize(Decimal(1).scaleb(-field.scale), ROUND_HALF_UP)
    except InvalidOperation:  # more digits than a decimal of the default context holds
        number = Decimal("Infinity")
    if abs(number) >= Decimal(10) ** (field.precision - field.scale):
        message = f"{field.label}: value outside of valid range on numeric field: {text}"
        raise Unfit(RowFault("NUMBER_OUTSIDE_VALID_RANGE", message, (field.name,)))
    return f"{number:f}"


def _date(field: Field, text: str) -> str:
    day = _day(text)
    if day is None:
        raise _wrong_type(field, text)
    return day


def _day(text: str) -> str | None:
    try:
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None
    return text if day and day.year in _YEARS else None


def _datetime(field: Field, text: str) -> str:
    if not _TIME.fullmatch(text):
        raise _wrong_type(field, text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong_type(field, text) from None
    if moment.year not in _YEARS:
        raise _wrong_type(field, text)
    if moment.tzinfo in _UTC_OR_NONE:
        return f"{text[:19]}.000+0000"
    return salesforce_time(moment)


def _picklist(field: Field, text: str) -> str:
    if text not in field.values:
        message = f"{field.label}: bad value for restricted picklist field: {text}"
        raise Unfit(RowFault("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, (field.name,)))
    return text


def _reference(field: Field, text: str) -> str:
    if len(text) not in {15, 18} or not text.isalnum():
        raise Unfit(RowFault("MALFORMED_ID", f"{field.label}: id value of incorrect type: {text}", (field.name,)))
    return text


def _wrong_type(field: Field, text: str) -> Unfit:
    message = f"{field.label}: value not of required type: {text}"
    return Unfit(RowFault("INVALID_TYPE_ON_FIELD_IN_RECORD", message, (field.name,)))


def _unreadable(field: Field, token: str, value: Any) -> Refused:
    message = f"Cannot deserialize instance of {field.type} from {token} value {value} or request may be missing a required field at [line:1, column:1]"
    return Refused(400, "JSON_PARSER_ERROR", message)
