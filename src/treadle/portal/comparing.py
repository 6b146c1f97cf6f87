"""What differs between two runs, as rows that a person reads: their figures, their breakdowns, what their files held, how they came about. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any, Final, Literal, cast

import altair as alt

from treadle.control.compare import BreakdownChange, Comparison, KpiChange
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.flows.sales import figures
from treadle.flows.sales.figures import Better, change_written, figure_of, in_order, relative_written, written
from treadle.portal import words

_BREAKDOWN_PREFIX: Final = "revenue_by_"
_BETWEEN: Final = " · "
_SHOWN_BARS: Final = 15  # more bars than that are read as a table

UP, DOWN, SAME = "▲ up", "▼ down", "= unchanged"
ONLY_A, ONLY_B = "only in A", "only in B"
DIRECTIONS: Final[Mapping[str, str]] = {
    f"{UP}, better": "green",
    f"{DOWN}, better": "green",
    f"{UP}, worse": "red",
    f"{DOWN}, worse": "red",
    UP: "blue",
    DOWN: "blue",
    SAME: "gray",
    ONLY_A: "orange",
    ONLY_B: "orange",
}
"""Every word for the way a figure went, and its colour."""

GREW, SHRANK = "grew", "shrank"


HEADLINE: Final = (*figures.HEADLINE, "row_count")


def direction(row: KpiChange | BreakdownChange, better: Better = "neither") -> str:
    """Which way a figure went, and whether that is good; one of DIRECTIONS."""
    if row.a is None:
        return ONLY_B
    if row.b is None:
        return ONLY_A
    if not row.change:
        return SAME
    up = row.change > 0
    way = UP if up else DOWN
    if better == "neither":
        return way
    return f"{way}, better" if up == (better == "higher") else f"{way}, worse"


def kpi_rows(found: Comparison) -> list[dict[str, object]]:
    """The rows of the KPI table: the known figures in their order, then the others by name."""
    rows = {row.name: row for row in found.rows}
    return [
        {
            "Figure": figure_of(row.name).label,
            "A": written(row.name, row.a),
            "B": written(row.name, row.b),
            "Change": change_written(row.name, row.change),
            "Relative": relative_written(row.relative_change),
            "Direction": [direction(row, figure_of(row.name).better)],
        }
        for row in map(rows.__getitem__, in_order(rows))
    ]


def in_words(found: Comparison) -> str:
    """What happened to the headline figures from A to B, in one sentence; empty when neither run has any."""
    by_name = {row.name: row for row in found.rows}
    parts = [_said(by_name[name]) for name in HEADLINE if name in by_name]
    if not parts:
        return ""
    sentence = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"From A to B, {sentence}."


def _said(row: KpiChange) -> str:
    label = figure_of(row.name).label.lower()
    if row.change is None:
        return f"{label} can only be seen in one of them"
    if not row.change:
        return f"{label} stayed at {written(row.name, row.b)}"
    share = f" ({relative_written(row.relative_change)})".replace(" %", "\N{NO-BREAK SPACE}%") if row.relative_change is not None else ""
    return f"{label} {'rose' if row.change > 0 else 'fell'} by {written(row.name, abs(row.change))}{share}"


@dataclass(frozen=True, slots=True)
class PartChange:
    """One value of a breakdown in both runs. A value that one of them lacks counts there as nothing, so it has a change all the same."""

    value: str
    a: Decimal | None
    b: Decimal | None
    change: Decimal
    relative: Decimal | None
    direction: str


def breakdown_names(found: Comparison) -> list[str]:
    """The breakdowns that either run has, those first that both have, else by name."""
    sides: dict[str, set[str]] = {}
    for row in found.breakdowns:
        sides.setdefault(row.breakdown, set()).update(side for side, amount in (("a", row.a), ("b", row.b)) if amount is not None)
    return sorted(sides, key=lambda name: (-len(sides[name]), name))


def breakdown_label(name: str) -> str:
    """A breakdown as people call it."""
    return name.removeprefix(_BREAKDOWN_PREFIX).replace("_", " ").capitalize()


def breakdown_changes(found: Comparison, breakdown: str) -> list[PartChange]:
    """The values of one breakdown, the largest change first, equal ones by name."""
    none = Decimal(0)
    parts = [
        PartChange(row.value, row.a, row.b, (row.b or none) - (row.a or none), row.relative_change, direction(row))
        for row in found.breakdowns
        if row.breakdown == breakdown
    ]
    return sorted(parts, key=lambda part: (-abs(part.change), part.value))


def breakdown_rows(parts: Sequence[PartChange]) -> list[dict[str, object]]:
    """The rows of the table of one breakdown."""
    return [
        {
            "Value": part.value,
            "A": written("total_revenue", part.a),
            "B": written("total_revenue", part.b),
            "Change": change_written("total_revenue", part.change),
            "Relative": relative_written(part.relative),
            "Direction": [part.direction],
        }
        for part in parts
    ]


def change_chart(parts: Sequence[PartChange]) -> alt.Chart | None:
    """Bars of the largest changes, gains to the right and losses to the left. None: nothing has changed."""
    rows = [
        {
            "value": part.value,
            "change": float(part.change),
            "way": GREW if part.change > 0 else SHRANK,
            "a": written("total_revenue", part.a),
            "b": written("total_revenue", part.b),
            "told": change_written("total_revenue", part.change),
        }
        for part in parts[:_SHOWN_BARS]
        if part.change
    ]
    if not rows:
        return None
    colours = alt.Scale(domain=[GREW, SHRANK])  # the theme's first two: told apart without seeing red and green, on light and on dark
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(cornerRadius=3)
        .encode(
            x=alt.X("change:Q", title="Change of revenue, B minus A", axis=alt.Axis(format="~s", tickCount=5)),
            y=alt.Y("value:N", title=None, sort=None, axis=alt.Axis(labelLimit=160)),
            color=alt.Color("way:N", scale=colours, legend=None),
            tooltip=[
                alt.Tooltip("value:N"),
                alt.Tooltip("a:N", title="A"),
                alt.Tooltip("b:N", title="B"),
                alt.Tooltip("told:N", title="change"),
            ],
        )
        .properties(height=alt.Step(30))
    )


def trend_chart(points: Sequence[Mapping[str, object]], label: str) -> alt.Chart:
    """One figure from run to run, oldest first; each point is `{when, run, value, told}`, `when` as the reader's clock shows it.

    Runs stand at equal distances: what matters is the next one, not the weekend between them.
    """
    rows = [{**point, "place": f"{point['when']}{_BETWEEN}{point['run']}"} for point in points]
    axis = alt.Axis(labelExpr=f"split(datum.label, '{_BETWEEN}')[0]", labelAngle=0, labelOverlap=True, grid=False)
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line(point={"size": 45, "filled": True}, strokeWidth=2)
        .encode(
            x=alt.X("place:O", title=None, sort=None, axis=axis),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(format="~s", tickCount=4)),
            tooltip=[alt.Tooltip("run:N"), alt.Tooltip("when:N"), alt.Tooltip("told:N", title=label.lower())],
        )
        .properties(height=190)
    )


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """One column that is not the same in both files. a, b: what it was and is, in words."""

    column: str
    what: Literal["removed", "added", "retyped", "more empty", "less empty"]
    a: str
    b: str
    change: float = 0.0  # of the empty cells, in percentage points


@dataclass(frozen=True, slots=True)
class ProfileDifferences:
    """What two files held that is not the same. Row counts None: a profile does not say."""

    rows_a: int | None
    rows_b: int | None
    columns: tuple[ColumnDifference, ...]

    @property
    def rows_told(self) -> str:
        """The rows of both files, and the change, in words."""
        a, b = words.number(self.rows_a), words.number(self.rows_b)
        if self.rows_a is None or self.rows_b is None:
            return f"{a} rows in A, {b} in B"
        change = self.rows_b - self.rows_a
        relative = words.change(self.rows_b, self.rows_a)
        if not change:
            return f"{b} rows in both"
        return f"{a} rows in A, {b} in B: {abs(change):,} {'more' if change > 0 else 'fewer'}" + (f" ({relative})" if relative else "")


def profile_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> ProfileDifferences:
    """Compare two `import_profile.json`: columns that are gone, new, or of another type first, then those whose empty cells changed most."""
    first, second = _columns(a), _columns(b)
    gone = [ColumnDifference(name, "removed", _kind(entry), words.DASH) for name, entry in first.items() if name not in second]
    new = [ColumnDifference(name, "added", words.DASH, _kind(entry)) for name, entry in second.items() if name not in first]
    both = [(name, entry, second[name]) for name, entry in first.items() if name in second]
    retyped = [ColumnDifference(name, "retyped", _kind(one), _kind(other)) for name, one, other in both if _kind(one) != _kind(other)]
    emptier = [found for name, one, other in both if (found := _empty_cells(name, one, other))]
    emptier.sort(key=lambda found: (-abs(found.change), found.column))
    return ProfileDifferences(_whole(a.get("row_count")), _whole(b.get("row_count")), (*gone, *new, *retyped, *emptier))


def difference_rows(found: ProfileDifferences) -> list[dict[str, object]]:
    """The rows of the table of columns that are not the same."""
    return [
        {
            "Column": one.column,
            "Difference": [one.what],
            "A": one.a,
            "B": one.b,
            "Change": f"{one.change:+.2f} points" if one.change else words.DASH,
        }
        for one in found.columns
    ]


DIFFERENCES: Final[Mapping[str, str]] = {
    "removed": "red",
    "added": "green",
    "retyped": "orange",
    "more empty": "orange",
    "less empty": "blue",
}
"""Every kind of difference between two columns, and its colour."""


def run_facts(run: Run, profile: Mapping[str, Any] | None, zone: tzinfo = UTC) -> dict[str, str]:
    """Where a run came from and how it went, in the words of a table; what only the profile tells is a dash without one."""
    known = profile or {}
    mapped = {str(source): str(name) for source, name in _mapping(known.get("mapping")).items()}
    restored = run.input_file.removeprefix(RESTORE_PREFIX)
    return {
        "Input": f"restore of {restored[:8]}" if run.is_restore else run.input_file,
        "Sheet": _text(known.get("sheet")),
        "Size": words.size(_whole(known.get("file_size"))),
        "Rows": words.number(_whole(known.get("row_count"))),
        "Columns": words.number(_whole(known.get("column_count"))),
        "Columns mapped": (", ".join(f"{source} → {name}" for source, name in sorted(mapped.items())) or "none")
        if profile is not None
        else words.DASH,
        "Started by": run.triggered_by,
        "Created": words.moment(run.created_at, zone),
        "Duration": words.duration(run.finished_at - run.created_at if run.finished_at else None),
        "Notebook": run.notebook_version or words.DASH,
    }


def side_by_side(a: Mapping[str, str], b: Mapping[str, str]) -> list[dict[str, str]]:
    """Two runs' facts as rows, with a sign where they are not the same."""
    names = list(dict.fromkeys([*a, *b]))
    return [
        {
            "Fact": name,
            "A": a.get(name, words.DASH),
            "B": b.get(name, words.DASH),
            "Same": "=" if a.get(name) == b.get(name) else "≠",
        }
        for name in names
    ]


def _empty_cells(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> ColumnDifference | None:
    before, after = _number(one.get("null_pct")), _number(other.get("null_pct"))
    if before is None or after is None or round(after - before, 2) == 0:
        return None
    change = round(after - before, 2)
    return ColumnDifference(name, "more empty" if change > 0 else "less empty", f"{before:.2f} %", f"{after:.2f} %", change)


def _columns(profile: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The columns of a profile by name; what is no column is passed over, for a file in the lake may be anybody's."""
    schema = profile.get("schema")
    entries = cast("list[Any]", schema) if isinstance(schema, list) else []
    return {str(column["column"]): column for entry in entries if (column := _mapping(entry)).get("column") is not None}


def _kind(column: Mapping[str, Any]) -> str:
    return _text(column.get("dtype"))


def _text(value: Any) -> str:
    return words.DASH if value is None or value == "" else str(value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
