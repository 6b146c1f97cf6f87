"""The columns of a profile, each as a card: what it holds, and what somebody should know before its figures are used. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from treadle.portal.importing.column_charts import Bars, column_bars
from treadle.portal.importing.looks import ERROR, LOOKS, NOTE, WARNING, Told
from treadle.portal.importing.sources import REQUIRED
from treadle.portal.importing.values import KINDS, percent
from treadle.portal.importing.values import shown as as_read
from treadle.portal.words import DASH
from treadle.visible_text import visible

MANY_NULLS_PCT: Final = 20.0
DOMINANT_SHARE: Final = 0.9  # of the values that are there


@dataclass(frozen=True, slots=True)
class ColumnCard:
    """One column. source is None where it is the same as the name; bars None where there is nothing to draw, and `instead` then says why."""

    position: int
    name: str
    source: str | None
    icon: str
    kind: str
    null_pct: float
    distinct: int
    missing_told: str
    distinct_told: str
    span: str
    bars: Bars | None
    instead: str
    alerts: tuple[Told, ...]


class Order(StrEnum):
    """In which order columns are shown."""

    FILE = "As in the file"
    ALERTS = "Alerts first"
    MISSING = "Most missing"
    DISTINCT = "Most distinct"
    NAME = "Name"


def column_cards(profile: Mapping[str, Any]) -> list[ColumnCard]:
    """Every column of the profile, in the order of the file."""
    rows = int(profile["row_count"])
    return [_card(position, entry, rows) for position, entry in enumerate(profile["schema"])]


def chosen_cards(cards: Sequence[ColumnCard], query: str, order: Order, *, only_alerts: bool) -> list[ColumnCard]:
    """The cards whose name, here or in the file, holds the query; those with alerts alone if wanted; in the order wanted."""
    sought = query.strip().casefold()
    found = [card for card in cards if sought in card.name.casefold() or sought in (card.source or "").casefold()]
    found = [card for card in found if card.alerts] if only_alerts else found
    return sorted(found, key=_ORDERS[order])


def _by_alerts(card: ColumnCard) -> tuple[int, int]:
    return min((LOOKS.index(_level(alert)) for alert in card.alerts), default=len(LOOKS)), -len(card.alerts)


_ORDERS: Final[Mapping[Order, Callable[[ColumnCard], Any]]] = {
    Order.FILE: lambda card: card.position,
    Order.ALERTS: _by_alerts,
    Order.MISSING: lambda card: -card.null_pct,
    Order.DISTINCT: lambda card: -card.distinct,
    Order.NAME: lambda card: card.name.casefold(),
}


def _level(alert: Told) -> Told:
    return {"red": ERROR, "orange": WARNING}.get(alert.colour, NOTE)


def _card(position: int, entry: Mapping[str, Any], rows: int) -> ColumnCard:
    icon, kind = KINDS.get(str(entry["dtype"]), (":material/help:", str(entry["dtype"])))
    source, name = str(entry.get("source_column") or ""), str(entry["column"])
    known = entry.get("distinct_count")
    bars = _visible_bars(column_bars(entry))
    return ColumnCard(
        position=position,
        name=visible(name),
        source=visible(source) if source.strip() and source != name else None,
        icon=icon,
        kind=kind,
        null_pct=float(entry.get("null_pct") or 0),
        distinct=int(known or 0),
        missing_told=DASH if entry.get("null_pct") is None else percent(float(entry["null_pct"])),
        distinct_told=DASH if known is None else f"{'' if entry.get('distinct_exact') else 'about '}{int(known):,}",
        span=_span(entry),
        bars=bars,
        instead="" if bars else _instead_of_chart(entry, rows),
        alerts=alerts(entry, rows),
    )


def shown(value: Any, kind: str) -> str:
    """A value of the file as people read it, with what would hide or turn text around written out."""
    return visible(as_read(value, kind))


def _visible_bars(bars: Bars | None) -> Bars | None:
    return replace(bars, bars=tuple(replace(bar, values=visible(bar.values)) for bar in bars.bars)) if bars else None


def _span(entry: Mapping[str, Any]) -> str:
    if entry.get("min") is None:
        return "No values"
    low, high = (shown(entry[bound], str(entry["dtype"])) for bound in ("min", "max"))
    return f"Always {low}" if low == high else f"From {low} to {high}"


def alerts(entry: Mapping[str, Any], rows: int) -> tuple[Told, ...]:
    """What somebody should know about a column before its figures are used, the gravest first."""
    if entry.get("null_count") is None or not rows:
        return ()
    missing, distinct, unread = int(entry["null_count"]), int(entry["distinct_count"]), int(entry.get("unparseable_count") or 0)
    filled, required = rows - missing, entry["column"] in REQUIRED
    top = max((int(item["count"]) for item in entry.get("top_values") or ()), default=0)
    found: list[Told] = []
    if unread:
        told = f"{unread:,} values are in the file but could not be read as {KINDS.get(str(entry['dtype']), ('', 'this type'))[1]}; they count as missing."
        found.append(Told(":material/broken_image:", f"{unread:,} unreadable", "red", told))
    if not filled:
        found.append(Told(":material/do_not_disturb_on:", "Empty", "orange", "No row has a value."))
    elif entry["null_pct"] >= MANY_NULLS_PCT or (required and missing):
        found.append(
            Told(":material/warning:", f"{percent(entry['null_pct'])} missing", "orange", f"{missing:,} of {rows:,} rows have no value.")
        )
    if distinct == 1 and filled > 1:
        found.append(Told(":material/horizontal_rule:", "Constant", "orange", "Every row that has a value has the same one."))
    elif top >= DOMINANT_SHARE * filled > 1 and distinct > 1:
        found.append(
            Told(
                ":material/vertical_align_top:", f"{percent(100 * top / filled)} one value", "blue", "Nearly all rows have the same value."
            )
        )
    if filled == rows > 1 and distinct == rows and entry.get("distinct_exact") and entry["dtype"] in {"text", "integer"}:
        found.append(Told(":material/key:", "Probable key", "blue", "Every row has a value of its own."))
    return tuple(found)


def _instead_of_chart(entry: Mapping[str, Any], rows: int) -> str:
    top: Sequence[Mapping[str, Any]] = entry.get("top_values") or ()
    if top:
        listed = ", ".join(shown(item["value"], str(entry["dtype"])) for item in top[:3])
        return f"{'All are different, for example' if len(top) > 1 else 'Always'}: {listed}"
    if entry.get("null_count") == rows:
        return "No row has a value."
    return "Too many different values to count." if entry.get("distinct_exact") is False else "Not computed."
