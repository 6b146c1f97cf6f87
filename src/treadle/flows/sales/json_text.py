"""JSON as Treadle stores it: decimals as plain numbers with all their places, dates as ISO 8601, never NaN or infinity. Pure."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

_INDENT = "  "


def to_json(value: Any) -> str:
    """Return the value as indented JSON text, rows of a list on one line each; mappings keep their order.

    The standard encoder writes a Decimal only by way of a binary float, which cannot hold every amount.

    Raises:
        TypeError: a kind of value that has no agreed form.
    """
    return _text(value, "\n") + "\n"


def _text(value: Any, line: str) -> str:
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return _block("{", "}", [f"{_quoted(str(key))}: {_text(item, line + _INDENT)}" for key, item in items], line)
    if isinstance(value, list | tuple):
        return _block("[", "]", [_row(item) or _text(item, line + _INDENT) for item in cast("Iterable[Any]", value)], line)
    return _scalar(value)


def _row(value: Any) -> str | None:
    """A mapping that holds only scalars, on one line; None for everything else."""
    if not isinstance(value, Mapping):
        return None
    row = cast("Mapping[Any, Any]", value)
    if any(isinstance(item, Mapping | list | tuple) for item in row.values()):
        return None
    return "{" + ", ".join(f"{_quoted(str(key))}: {_scalar(item)}" for key, item in row.items()) + "}"


def _block(opening: str, closing: str, parts: list[str], line: str) -> str:
    inner = line + _INDENT
    return opening + inner + ("," + inner).join(parts) + line + closing if parts else opening + closing


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return json.dumps(value) if math.isfinite(value) else "null"
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else "null"
    if isinstance(value, datetime | date):
        return _quoted(value.isoformat())
    if isinstance(value, str | UUID):
        return _quoted(str(value))
    raise TypeError(f"A {type(value).__name__} has no agreed form in JSON.")


def _quoted(text: str) -> str:
    # A lone surrogate has no UTF-8; escaped it still can be stored.
    return json.dumps(text, ensure_ascii=not text.isascii() and not _is_utf8(text))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
