"""The figures of a run as cards, bars and lines: what they say, and the Altair charts that show it. Pure.

Streamlit's theme colours the charts, light and dark; what is not a value like the others (missing, the rest) is paler, and says so in words.
"""

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal, cast

import altair as alt

from treadle.flows.sales.figures import Better, figure_of, label_of, written
from treadle.flows.sales.kpis import HEADLINE_COLUMNS, MISSING
from treadle.portal import words

importlib.import_module("pandas")  # Altair looks for it in sys.modules, where another thread of a page may be half-way through importing it

TOP_VALUES: Final = 15
TREND_RUNS: Final = 12
MAX_DAYS_SHOWN: Final = 1_500  # four years; more points than pixels tell nothing
UNIT: Final = "in the file's currency"
_BAR_HEIGHT: Final = 30
_DIGIT_WIDTH: Final = 7
_MONTHS_NAMED: Final = 6
_FEW_POINTS: Final = 3
_PREFIX: Final = "revenue_by_"
_RATIOS: Final = {"converting visitors / visitors": "funnel.conversion_rate_pct", "orders / visitors": "funnel.orders_per_visitor_pct"}

BarKind = Literal["value", "rest", "missing"]
Period = Literal["Month", "Day"]
DeltaColour = Literal["normal", "inverse", "off"]
PERIODS: Final[tuple[Period, ...]] = ("Month", "Day")


@dataclass(frozen=True, slots=True)
class Card:
    """What one card says. delta: 0 for no change, None when there is nothing to compare with. trend: of the last runs, oldest first, or empty."""

    label: str
    value: str
    delta: str | int | None
    colour: DeltaColour
    help: str
    trend: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it stands for, how long it is, and what stands at its end. share: of the whole, in percent; None where that makes no sense."""

    label: str
    amount: float
    text: str
    kind: BarKind = "value"
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One month or day."""

    begins: date
    revenue: float
    orders: int


@dataclass(frozen=True, slots=True)
class Series:
    """Revenue and orders over time, without gaps; undated: what has no date."""

    points: tuple[Point, ...]
    undated: tuple[float, int] | None
    left_out: int = 0  # points before the first one that is shown


def money(amount: float) -> str:
    """An amount as a card shows it; the cents of a large one are of no use to a reader."""
    return words.number(amount, 0 if abs(amount) >= 100_000 else 2)


def short_money(amount: float) -> str:
    """An amount as the end of a bar shows it, where there is little room."""
    for unit, name in ((1e9, "bn"), (1e6, "M")):
        if abs(amount) >= unit:
            return f"{amount / unit:,.2f} {name}"
    return words.number(amount)


def _percent(value: float) -> str:
    return f"{value:,.2f} %"


# The figures of `kpis.json` that have a card, in this order, and what each means; `funnel.…` stands inside the funnel.
CARDS: Final[Mapping[str, str]] = {
    "total_revenue": f"Sum of all rows, {UNIT}.",
    "orders": "Distinct order ids.",
    "aov": f"Revenue divided by orders, {UNIT}.",
    "funnel.conversion_rate_pct": "Visitors that bought, of all visitors.",
    "row_count": "Rows of the cleaned table. More of them are neither good nor bad.",
    "rows_without_revenue": "They count as orders, not in sums.",
    "rows_without_order_id": "They count in sums, not as orders.",
}
_TROUBLES: Final = ("rows_without_revenue", "rows_without_order_id")  # no card is needed for a trouble that nobody has
_COLOURS: Final[Mapping[Better, DeltaColour]] = {"higher": "normal", "lower": "inverse", "neither": "off"}


def figure(kpis: Mapping[str, Any] | None, name: str) -> float | None:
    """A plain figure; `a.b` stands inside `a`. None: there is none."""
    value: Any = kpis
    for part in name.split("."):
        value = _mapping(value).get(part)
    return _number(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def cards(kpis: Mapping[str, Any], previous: Mapping[str, Any] | None, history: Sequence[Mapping[str, Any]] = ()) -> list[Card]:
    """One card for each figure that there is. history: figures of the last runs, oldest first, this run's last."""
    return [card for name in CARDS if (card := _card(name, kpis, previous, history))]


def _card(name: str, kpis: Mapping[str, Any], previous: Mapping[str, Any] | None, history: Sequence[Mapping[str, Any]]) -> Card | None:
    now, before, known = figure(kpis, name), figure(previous, name), figure_of(name)
    if now is None or (name in _TROUBLES and not now and not before):
        return None
    trend = tuple(value for one in history[-TREND_RUNS:] if (value := figure(one, name)) is not None)
    delta = difference(now, before, in_points=known.is_percentage)
    return Card(known.label, written(name, now), delta, _COLOURS[known.better], CARDS[name], trend if len(trend) > 1 else ())


def difference(now: float, before: float | None, *, in_points: bool = False) -> str | int | None:
    """How a figure changed: relative, or in points. 0 for not at all; None when it was not known before."""
    if before is None:
        return None
    if now == before:
        return 0
    if in_points:
        return f"{now - before:+,.2f} points"
    relative = words.change(now, before)
    return f"{now - before:+,.2f}" if relative is None or relative[1:] == "0.0 %" else relative


def column_words(column: str) -> str:
    """A column's name as a sentence has it."""
    return column.replace("_", " ").strip() or column


def column_title(column: str) -> str:
    """A column's name where it stands alone."""
    return column_words(column).capitalize()


def breakdowns(kpis: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Revenue by the values of each column that has any, those that everybody asks for first."""
    own = {name: value for name, value in kpis.items() if name.startswith(_PREFIX)}
    found: dict[str, dict[str, float]] = {}
    for name, parts in {**own, **_mapping(kpis.get("breakdowns"))}.items():
        amounts = {value: amount for value in _mapping(parts) if (amount := _number(parts[value])) is not None}
        if amounts:
            found[name.removeprefix(_PREFIX)] = amounts
    order = {name: rank for rank, name in enumerate(HEADLINE_COLUMNS)}
    return {name: found[name] for name in sorted(found, key=lambda name: order.get(name, len(order)))}


def breakdown_bars(parts: Mapping[str, float], column: str, *, top: int = TOP_VALUES) -> list[Bar]:
    """The largest values of a breakdown, then the sum of the others, then what has no value."""
    total = sum(parts.values())
    named = sorted(((value, amount) for value, amount in parts.items() if value != MISSING), key=lambda item: (-item[1], item[0]))
    shown, rest = (named, []) if len(named) <= top + 1 else (named[:top], named[top:])
    rows: list[tuple[str, float, BarKind]] = [(value, amount, "value") for value, amount in shown]
    if rest:
        rows.append((_unlike(f"{len(rest):,} others", parts), sum(amount for _, amount in rest), "rest"))
    if MISSING in parts:
        rows.append((_unlike(f"No {column_words(column)}", parts), parts[MISSING], "missing"))
    return [Bar(label, amount, short_money(amount), kind, _share(amount, total)) for label, amount, kind in rows]


def _unlike(label: str, values: Mapping[str, float]) -> str:
    """A label that is no value of the file's own: two bars of one name would be drawn as one."""
    return f"({label})" if label in values else label


def _share(amount: float, total: float) -> float | None:
    return 100 * amount / total if total > 0 and amount >= 0 else None


def funnel_of(kpis: Mapping[str, Any]) -> Mapping[str, Any]:
    """The funnel; empty when nobody counted visitors."""
    return _mapping(kpis.get("funnel"))


def funnel_bars(funnel: Mapping[str, Any]) -> list[Bar]:
    """Visitors, those of them that bought, and their orders; what nobody counted is left out."""
    stages = [(label_of(f"funnel.{name}"), name) for name in ("total_visitors", "converting_visitors")] + [(label_of("orders"), "orders")]
    visitors = figure(funnel, "total_visitors")
    counted = [(label, value) for label, name in stages if (value := figure(funnel, name)) is not None]
    return [
        Bar(label, value, words.number(value), "rest" if label == "Orders" else "value", 100 * value / visitors if visitors else None)
        for label, value in counted
    ]


def bar_chart(bars: Sequence[Bar], amount_title: str) -> alt.LayerChart | alt.FacetChart:
    """Horizontal bars in the order given, with their names on the left and their amounts on the right.

    The amounts are the labels of a second axis, because a theme colours those: text inside a chart stays black on a dark page.
    """
    rows: list[dict[str, Any]] = [
        {
            "label": bar.label,
            "place": place,
            "amount": bar.amount,
            "exact": words.number(bar.amount, 0 if bar.amount == round(bar.amount) else 2),
            "share": words.DASH if bar.share is None else f"{bar.share:,.2f} %",
            "kind": bar.kind,
        }
        for place, bar in enumerate(bars)
    ]
    low, high = min([0.0, *(bar.amount for bar in bars)]), max([0.0, *(bar.amount for bar in bars)])
    plain_axis: dict[str, Any] = {"ticks": False, "domain": False, "grid": False}
    room = 8 + _DIGIT_WIDTH * max((len(bar.text) for bar in bars), default=0)  # numbers end under each other
    amounts = f"{json.dumps([bar.text for bar in bars])}[datum.value]"
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("amount:Q", title=None, axis=None, scale=alt.Scale(domain=[low, high if high > low else low + 1], nice=False))
    )
    kinds = alt.Scale(domain=["value", "rest", "missing"], range=[1.0, 0.55, 0.3])
    drawn = base.mark_bar(cornerRadiusEnd=3, height={"band": 0.68}).encode(
        y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=128, labelPadding=8, **plain_axis)),
        opacity=alt.Opacity("kind:N", scale=kinds, legend=None),
        tooltip=[
            alt.Tooltip("label:N", title="Of"),
            alt.Tooltip("exact:N", title=amount_title),
            alt.Tooltip("share:N", title="Share"),
        ],
    )
    told = base.mark_bar(opacity=0).encode(
        y=alt.Y(
            "place:O", title=None, axis=alt.Axis(orient="right", labelExpr=amounts, labelAlign="right", labelPadding=room, **plain_axis)
        )
    )
    return alt.layer(told, drawn).resolve_scale(y="independent").properties(height=_BAR_HEIGHT * max(len(bars), 1) + 12)


def series(kpis: Mapping[str, Any], period: Period) -> Series:
    """A series of `kpis.json`; days and months without a row had no revenue, and are there with 0."""
    rows: Any = kpis.get("time_series_monthly" if period == "Month" else "time_series_daily")
    dated: dict[date, Point] = {}
    undated: tuple[float, int] | None = None
    for row in cast("list[Any]", rows) if isinstance(rows, list) else []:
        name, revenue, orders = _row(row, period)
        if name == MISSING:
            undated = (revenue, orders)
        elif (begins := _date(name)) is not None:
            dated[begins] = Point(begins, revenue, orders)
    if not dated:
        return Series((), undated)
    last, left_out = max(dated), 0
    first = min(dated)
    if period == "Day" and (last - first).days >= MAX_DAYS_SHOWN:
        first = last - timedelta(days=MAX_DAYS_SHOWN - 1)
        left_out = sum(1 for begins in dated if begins < first)
    if period == "Month":
        return Series(tuple(dated[begins] for begins in sorted(dated)), undated)
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return Series(tuple(dated.get(day, Point(day, 0.0, 0)) for day in days), undated, left_out)


def _row(row: Any, period: Period) -> tuple[str, float, int]:
    known = _mapping(row)
    return str(known.get(period.lower())), figure(known, "revenue") or 0.0, int(figure(known, "orders") or 0)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text if len(text) > len("2026-01") else f"{text}-01")
    except ValueError:
        return None


def time_chart(shown: Series, period: Period) -> alt.Chart | alt.LayerChart | alt.FacetChart:
    """Revenue over time: bars for months, a line for days; a few of either are bars with names, for which no time line is needed."""
    if len(shown.points) <= _FEW_POINTS:
        written = "%B %Y" if period == "Month" else "%d %b %Y"
        return bar_chart([Bar(f"{point.begins:{written}}", point.revenue, short_money(point.revenue)) for point in shown.points], "Revenue")
    rows = [
        {
            "at": f"{point.begins.isoformat()}T00:00:00",  # with a time, or the browser takes it for UTC and shows the day before
            "revenue": point.revenue,
            "exact": words.number(point.revenue, 2),
            "orders": words.number(point.orders),
        }
        for point in shown.points
    ]
    by_month = period == "Month"
    when = "%b %Y" if by_month else "%d %b %Y"
    base = alt.Chart(alt.Data(values=rows))
    marked = base.mark_bar(cornerRadiusEnd=3) if by_month else base.mark_area(line={"strokeWidth": 1.5}, opacity=0.18)
    at = "yearmonth(at):T" if by_month else "yearmonthdate(at):T"
    axis: dict[str, Any] = {"format": "%b %Y" if by_month or len(rows) > 60 else "%d %b", "labelOverlap": True, "grid": False}
    if by_month:  # or the end of the last month is told as a month of its own
        step = -(-len(rows) // _MONTHS_NAMED)
        axis["values"] = [alt.DateTime(year=point.begins.year, month=point.begins.month) for point in shown.points[::step]]
    return marked.encode(
        x=alt.X(at, title=None, axis=alt.Axis(**axis)),
        y=alt.Y("revenue:Q", title=None, axis=alt.Axis(format="~s", tickCount=4)),
        tooltip=[
            alt.Tooltip(at, title=period, format=when),
            alt.Tooltip("exact:N", title="Revenue"),
            alt.Tooltip("orders:N", title="Orders"),
        ],
    ).properties(height=260)


def in_words(bars: Sequence[Bar], subject: str) -> str:
    """What bars show, for whoever does not see them."""
    said = "; ".join(f"{bar.label} {bar.text}" for bar in bars[:5])
    return f"{subject}: {said}{' and more' if len(bars) > 5 else ''}."


def ratios(funnel: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The ratios of a funnel: name, percentage, and what was divided by what."""
    listed: Any = funnel.get("ratios")
    return [_ratio(_mapping(ratio)) for ratio in cast("list[Any]", listed)] if isinstance(listed, list) else []


def _ratio(ratio: Mapping[str, Any]) -> tuple[str, str, str]:
    percent, label = figure(ratio, "pct"), str(ratio.get("label"))
    parts = f"{words.number(figure(ratio, 'numerator'))} of {words.number(figure(ratio, 'denominator'))}: {label}."
    name = _RATIOS.get(label)
    return label_of(name) if name else label, words.DASH if percent is None else _percent(percent), parts
