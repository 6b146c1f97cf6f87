"""The differences from the published file as rows of a table and as a sentence. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from treadle.flows.sales import drift
from treadle.portal.importing.looks import Told
from treadle.portal.importing.values import kind_word, percent, shown
from treadle.portal.words import DASH, number

_SHOWN_VALUES: Final = 6


def change_rows(changes: Iterable[drift.Change]) -> list[dict[str, str]]:
    """The differences as rows of a table."""
    words = {"error": "Error", "warning": "Warning", "info": "Note"}
    names = ("Column", "What is different", "Published", "This file")
    return [{"Weight": words[change.severity], **dict(zip(names, _change_cells(change), strict=True))} for change in changes]


def change_sentence(changes: Sequence[drift.Change]) -> Told:
    """The differences in one sentence."""
    if not changes:
        return Told(":material/check_circle:", "No difference", "green", "Columns, sizes and values are those of the published file.")
    notable = sum(change.severity != "info" for change in changes)
    ordinary = len(changes) - notable
    if not notable:
        return Told(":material/info:", "Ordinary", "blue", f"{_differences(ordinary)}, all of the kind that a newer file brings.")
    rest = f"; {ordinary} more {'is' if ordinary == 1 else 'are'} ordinary" if ordinary else ""
    told = f"{_differences(notable)} {'deserves' if notable == 1 else 'deserve'} a look before this file replaces what is published{rest}."
    return Told(":material/warning:", "Look first", "orange", told)


def _differences(count: int) -> str:
    return "1 difference" if count == 1 else f"{count} differences"


def _change_cells(change: drift.Change) -> tuple[str, str, str, str]:  # noqa: PLR0911 - one line for each kind of change
    match change:
        case drift.RowCountChanged(was=was, now=now):
            grown = f" ({(now - was) / was * 100:+,.1f} %)" if was else ""
            return ("", "Number of rows", number(was), f"{number(now)}{grown}")
        case drift.ColumnAdded(column=column, kind=kind):
            return (column, "New column", DASH, kind_word(kind))
        case drift.ColumnRemoved(column=column, kind=kind):
            return (column, "The column is gone", kind_word(kind), DASH)
        case drift.ColumnRetyped(column=column, was=was, now=now):
            return (column, "Another type", kind_word(was), kind_word(now))
        case drift.NullsChanged(column=column, was=was, now=now):
            return (column, "More missing values" if now > was else "Fewer missing values", percent(was), percent(now))
        case drift.RangeShifted(column=column, was=was, now=now, shift=shift):
            return (column, f"The range {shift}", _range(was), _range(now))
        case drift.ValuesChanged(column=column):
            return (column, _values_word(change), _listed(change.vanished), _listed((*change.appeared, *change.risen)))


def _values_word(change: drift.ValuesChanged) -> str:
    said = [
        text
        for text, values in (
            ("new values", change.appeared),
            ("values gone", change.vanished),
            ("values frequent for the first time", change.risen),
        )
        if values
    ]
    return ", ".join(said).capitalize()


def _listed(values: Sequence[str]) -> str:
    rest = len(values) - _SHOWN_VALUES
    return (", ".join(shown(value) for value in values[:_SHOWN_VALUES]) + (f" and {rest} more" if rest > 0 else "")) or DASH


def _range(bounds: tuple[Any, Any]) -> str:
    return f"{shown(bounds[0])} to {shown(bounds[1])}"
