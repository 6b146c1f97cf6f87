"""Values and kinds of columns as people read them. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from treadle.portal.words import DASH, number

_SHOWN_LENGTH: Final = 48
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "text": (":material/abc:", "text"),
    "integer": (":material/tag:", "whole number"),
    "float": (":material/numbers:", "number"),
    "money": (":material/payments:", "amount"),
    "date": (":material/calendar_month:", "date"),
    "timestamp": (":material/schedule:", "date and time"),
    "boolean": (":material/toggle_on:", "yes or no"),
}
"""Each kind of column: its icon and its word."""


def shown(value: Any, kind: str = "text") -> str:
    """A value of the profile as people read it."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if kind == "money":
            return number(value, 2)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if abs(value) < 1e15 else f"{value:.3g}"
    text = str(value).replace("T", " ") if kind == "timestamp" else str(value)
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"


def percent(value: float) -> str:
    """A share in percent: exact where it is small, never 0 for something and never 100 for not all."""
    if value <= 0 or value >= 100:
        return f"{value:.0f} %"
    return "< 0.1 %" if value < 0.1 else f"{min(value, 99.9):.1f} %"


def kind_word(kind: str) -> str:
    """The kind of a column in a word."""
    return KINDS.get(kind, ("", kind))[1]
