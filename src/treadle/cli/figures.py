"""The figures of a run as people see them: one name and one form each, wherever they are shown. JSON keeps the names of kpis.json."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

MONEY: Final = "{:,.2f}"
COUNT: Final = "{:,.0f}"
PERCENT: Final = "{:.2f} %"


@dataclass(frozen=True, slots=True)
class Figure:
    """How one figure is called and written."""

    label: str
    form: str
    change_form: str


def _figure(label: str, form: str) -> Figure:
    """A change has its sign; that of a share is in percentage points."""
    return Figure(label, form, "{:+.2f} points" if form == PERCENT else form.replace("{:", "{:+"))


# In the order in which they are shown.
FIGURES: Final = {
    "total_revenue": _figure("Revenue", MONEY),
    "orders": _figure("Orders", COUNT),
    "aov": _figure("Average order value", MONEY),
    "funnel.total_visitors": _figure("Visitors", COUNT),
    "funnel.converting_visitors": _figure("Converting visitors", COUNT),
    "funnel.conversion_rate_pct": _figure("Converting / visitors", PERCENT),
    "funnel.orders_per_visitor_pct": _figure("Orders / visitors", PERCENT),
    "row_count": _figure("Rows", COUNT),
    "rows_without_revenue": _figure("Rows without revenue", COUNT),
    "rows_without_order_id": _figure("Rows without order id", COUNT),
}
HEADLINE: Final = ("total_revenue", "orders", "aov")  # shown also when absent
_SAID_ALREADY: Final = "funnel.orders"  # always the same as orders
BREAKDOWNS: Final = {"revenue_by_region": "region", "revenue_by_channel": "channel", "revenue_by_product_category": "product category"}


def shown_figures(names: Iterable[str]) -> list[str]:
    """The names of the figures to show, in their order: ours first, then those that we do not know."""
    known = list(FIGURES)
    shown = {*HEADLINE, *names} - {_SAID_ALREADY}
    return sorted(shown, key=lambda name: (known.index(name) if name in FIGURES else len(known), name))


def label_of(name: str) -> str:
    """A figure's name for people."""
    known = FIGURES.get(name)
    return known.label if known else name.removeprefix("funnel.").replace("_", " ").capitalize()


def written(name: str, value: Any) -> str:
    """A figure as text; a dash when there is none."""
    if value is None:
        return "–"
    known = FIGURES.get(name)
    return (known.form if known else COUNT if value == int(value) else MONEY).format(value)


def change_written(name: str, value: Any) -> str:
    """The change of a figure as text, with its sign; a dash when nothing can be said."""
    if value is None:
        return "–"
    return (FIGURES[name].change_form if name in FIGURES else "{:+,.2f}").format(value) if value else "0"


def relative_written(fraction: Any) -> str:
    """A relative change in percent."""
    return "–" if fraction is None else f"{float(fraction) * 100:+,.1f} %"
