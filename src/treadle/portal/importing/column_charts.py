"""How the values of a column spread: as bars, and as the small Altair chart of a card. Pure."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import altair as alt

from treadle.portal.importing.values import shown

importlib.import_module("pandas")  # Altair looks for it in sys.modules, where another thread of a page may be half-way through importing it

CHART_HEIGHT: Final = 96  # the same for every column, so that cards in a row line up
MOST_VALUES: Final = 5
_VALUE_HEIGHT: Final = 13
_LABEL_WIDTH: Final = 120


@dataclass(frozen=True, slots=True)
class Bar:
    """So many rows have this value, or one of this range."""

    values: str
    rows: int


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of one column: the bins of a histogram, which stand side by side, or its most frequent values, which lie below each other."""

    kind: Literal["histogram", "values"]
    bars: tuple[Bar, ...]


def column_bars(entry: Mapping[str, Any]) -> Bars | None:
    """How the values of a column of the profile spread. None: there is nothing to draw."""
    kind = str(entry["dtype"])
    histogram: Sequence[Mapping[str, Any]] = entry.get("histogram") or ()
    if len(histogram) > 1:
        bins = (Bar(f"{shown(item['from'], kind)} to {shown(item['to'], kind)}", int(item["count"])) for item in histogram)
        return Bars("histogram", tuple(bins))
    top: Sequence[Mapping[str, Any]] = entry.get("top_values") or ()
    if not top or (len(top) > 1 and int(top[0]["count"]) == 1):
        return None  # every value is there once: bars of equal length say nothing
    return Bars("values", _told_apart([Bar(shown(item["value"], kind), int(item["count"])) for item in top[:MOST_VALUES]]))


def _told_apart(bars: Sequence[Bar]) -> tuple[Bar, ...]:
    """Values that are cut to the same text get their number, or they would be one bar."""
    seen: dict[str, int] = {}
    apart: list[Bar] = []
    for bar in bars:
        seen[bar.values] = seen.get(bar.values, 0) + 1
        apart.append(bar if seen[bar.values] == 1 else Bar(f"{bar.values} ({seen[bar.values]})", bar.rows))
    return tuple(apart)


def column_chart(shown_bars: Bars) -> alt.Chart:
    """The bars without axes: the bins of a profile are of equal width, so they need none; values have their names beside them."""
    rows = [{"at": at, "values": bar.values, "rows": bar.rows} for at, bar in enumerate(shown_bars.bars)]
    chart = alt.Chart(alt.Data(values=rows))
    drawn = _histogram(chart) if shown_bars.kind == "histogram" else _values(chart)
    told = [alt.Tooltip("values:N", title="Values"), alt.Tooltip("rows:Q", title="Rows", format=",d")]
    return drawn.encode(tooltip=told).properties(height=CHART_HEIGHT, padding=0).configure_view(stroke=None)


def _histogram(chart: alt.Chart) -> alt.Chart:
    return chart.mark_bar(cornerRadiusEnd=1).encode(
        x=alt.X("at:O", axis=None, scale=alt.Scale(paddingInner=0.06, paddingOuter=0)), y=alt.Y("rows:Q", axis=None)
    )


def _values(chart: alt.Chart) -> alt.Chart:
    axis = alt.Axis(title=None, labelLimit=_LABEL_WIDTH, ticks=False, domain=False)
    return chart.mark_bar(cornerRadiusEnd=1, size=_VALUE_HEIGHT).encode(
        x=alt.X("rows:Q", axis=None), y=alt.Y("values:N", sort=alt.SortField("at"), axis=axis, scale=alt.Scale(paddingInner=0.25))
    )


def in_words(name: str, shown_bars: Bars) -> str:
    """What the chart shows, for whoever does not see it."""
    if shown_bars.kind == "values":
        return f"Most frequent values of {name}: " + "; ".join(f"{bar.values}, {_rows(bar.rows)}" for bar in shown_bars.bars) + "."
    highest = max(shown_bars.bars, key=lambda bar: bar.rows)
    return f"How the values of {name} spread; most of them, {_rows(highest.rows)}, lie from {highest.values}."


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
