"""Two runs side by side: what changed in their figures, by how much, and what only one of them has. Pure but for `compare_runs`.

Changes are computed in decimals from the figures' shortest notation, so 0.3 - 0.1 is 0.2. Series over time are not compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, Final, cast
from uuid import UUID

from treadle.control.database import Database
from treadle.control.run_search import get_run

_BREAKDOWN_PREFIX: Final = "revenue_by_"
_RELATIVE_PLACES: Final = Decimal("0.000001")
_SENSIBLE_DIGITS: Final = 40  # a ratio beyond that cannot be written with 6 places, and nobody would read them
_FIRST: Final = ("total_revenue", "orders", "aov")  # the order in which people ask

_Both = tuple[Mapping[Any, Decimal], Mapping[Any, Decimal]]


@dataclass(frozen=True, slots=True)
class KpiChange:
    """One figure in both runs. None in `a` or `b`: that run does not have it; then nothing is said about the change.

    `change` is b - a. `relative_change` is change / |a|, rounded to 6 places; None when a is 0.
    """

    name: str
    a: Decimal | None
    b: Decimal | None
    change: Decimal | None
    relative_change: Decimal | None


@dataclass(frozen=True, slots=True)
class BreakdownChange:
    """One value of one breakdown, for example region West, in both runs; otherwise as `KpiChange`."""

    breakdown: str
    value: str
    a: Decimal | None
    b: Decimal | None
    change: Decimal | None
    relative_change: Decimal | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs' figures have to say to each other. Funnel figures are among `rows`, named `funnel.…`."""

    a: UUID | None
    b: UUID | None
    rows: tuple[KpiChange, ...]
    breakdowns: tuple[BreakdownChange, ...]


def compare_runs(database: Database, a: UUID, b: UUID) -> Comparison:
    """Compare the stored KPIs of two runs. A run without KPIs (failed, or a restore) counts as having no figures.

    Raises:
        NotFound: one of them does not exist.
    """
    first, second = get_run(database, a), get_run(database, b)
    return compare_kpis(first.kpis or {}, second.kpis or {}, a=a, b=b)


def compare_kpis(first: Mapping[str, Any], second: Mapping[str, Any], *, a: UUID | None = None, b: UUID | None = None) -> Comparison:
    """Compare two `kpis.json`. Order: the headline figures, then the others by name; breakdowns by name, then by the larger amount first."""
    figures = dict(_figures(first)), dict(_figures(second))
    rows = [KpiChange(name, *_sides(figures, name)) for name in sorted(figures[0].keys() | figures[1].keys(), key=_figure_order)]
    parts = dict(_parts(first)), dict(_parts(second))
    changes = [BreakdownChange(*key, *_sides(parts, key)) for key in parts[0].keys() | parts[1].keys()]
    return Comparison(a, b, tuple(rows), tuple(sorted(changes, key=_breakdown_order)))


def _sides(both: _Both, key: Any) -> tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
    """A figure in both runs, its change, and its relative change."""
    a, b = both[0].get(key), both[1].get(key)
    if a is None or b is None:
        return a, b, None, None
    with localcontext(prec=60):
        change = b - a
        relative = change / abs(a) if a else None
        if relative is not None and relative.adjusted() < _SENSIBLE_DIGITS:
            relative = relative.quantize(_RELATIVE_PLACES)
    return a, b, change, relative


def _figures(kpis: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    """The plain figures, those of the funnel included."""
    for name, value in kpis.items():
        if (figure := _decimal(value)) is not None:
            yield name, figure
    for name, value in _mapping(kpis.get("funnel")).items():
        if (figure := _decimal(value)) is not None:
            yield f"funnel.{name}", figure


def _parts(kpis: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Decimal]]:
    """Every (breakdown, value) with its amount, whether the breakdown has a key of its own or stands among `breakdowns`."""
    named = {name: value for name, value in kpis.items() if name.startswith(_BREAKDOWN_PREFIX)}
    for name, breakdown in {**_mapping(kpis.get("breakdowns")), **named}.items():
        for value, amount in _mapping(breakdown).items():
            if (figure := _decimal(amount)) is not None:
                yield (name, value), figure


def _decimal(value: Any) -> Decimal | None:
    """A JSON number as it is written. None: it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _figure_order(name: str) -> tuple[int, str]:
    return (_FIRST.index(name), "") if name in _FIRST else (len(_FIRST), name)


def _breakdown_order(row: BreakdownChange) -> tuple[str, Decimal, str]:
    return row.breakdown, -max(row.a or Decimal(0), row.b or Decimal(0)), row.value
