"""The figures of a sales run as people see them: one name and one form each, wherever they are shown. JSON keeps the names of kpis.json. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

Better = Literal["higher", "lower", "neither"]
Number = int | float | Decimal

_MONEY: Final = "{:,.2f}"
_COUNT: Final = "{:,.0f}"
_PERCENT: Final = "{:.2f} %"
_NOTHING: Final = "–"
_SAID_ALREADY: Final = "funnel.orders"  # always the same as orders


@dataclass(frozen=True, slots=True)
class Figure:
    """How one figure is called and written, and which way is the good one."""

    label: str
    form: str
    better: Better = "neither"

    @property
    def is_percentage(self) -> bool:
        """A share of something, whose change is told in percentage points."""
        return self.form == _PERCENT

    @property
    def change_form(self) -> str:
        """A change has its sign; that of a share is in percentage points."""
        return "{:+.2f} points" if self.is_percentage else self.form.replace("{:", "{:+")


# In the order in which they are shown.
FIGURES: Final[Mapping[str, Figure]] = {
    "total_revenue": Figure("Revenue", _MONEY, "higher"),
    "orders": Figure("Orders", _COUNT, "higher"),
    "aov": Figure("Average order value", _MONEY, "higher"),
    "funnel.total_visitors": Figure("Visitors", _COUNT, "higher"),
    "funnel.converting_visitors": Figure("Converting visitors", _COUNT, "higher"),
    "funnel.conversion_rate_pct": Figure("Converting / visitors", _PERCENT, "higher"),
    "funnel.orders_per_visitor_pct": Figure("Orders / visitors", _PERCENT, "higher"),
    "row_count": Figure("Rows", _COUNT),
    "rows_without_revenue": Figure("Rows without revenue", _COUNT, "lower"),
    "rows_without_order_id": Figure("Rows without order id", _COUNT, "lower"),
}
HEADLINE: Final = ("total_revenue", "orders", "aov")  # what everybody asks for first
BREAKDOWNS: Final = {"revenue_by_region": "region", "revenue_by_channel": "channel", "revenue_by_product_category": "product category"}


def in_order(names: Iterable[str]) -> list[str]:
    """These figures in the order in which they are shown: ours first, then those that we do not know, by name; none that repeats another."""
    known = list(FIGURES)
    shown = set(names) - {_SAID_ALREADY}
    return sorted(shown, key=lambda name: (known.index(name) if name in FIGURES else len(known), name))


def figure_of(name: str) -> Figure:
    """How a figure is shown; one that nobody has met yet keeps its own name."""
    return FIGURES.get(name) or Figure(label_of(name), _MONEY)


def label_of(name: str) -> str:
    """A figure's name for people."""
    known = FIGURES.get(name)
    return known.label if known else name.removeprefix("funnel.").replace("_", " ").capitalize()


def written(name: str, value: Number | None) -> str:
    """A figure as text; a dash when there is none. One that nobody has met yet has decimals only if it needs them."""
    if value is None:
        return _NOTHING
    return (_COUNT if name not in FIGURES and value == int(value) else figure_of(name).form).format(value)


def change_written(name: str, change: Number | None) -> str:
    """The change of a figure as text, with its sign; a dash when nothing can be said."""
    if change is None:
        return _NOTHING
    return figure_of(name).change_form.format(change) if change else "0"


def relative_written(fraction: Number | None) -> str:
    """A relative change in percent; one that rounds to nothing says that it is not nothing."""
    if fraction is None:
        return _NOTHING
    if not fraction:
        return "0 %"
    percent = f"{float(fraction) * 100:+,.1f} %"
    return "≈ 0 %" if percent in ("+0.0 %", "-0.0 %") else percent
