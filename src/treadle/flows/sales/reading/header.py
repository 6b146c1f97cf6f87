"""Which of the first rows is the header. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

from treadle.flows.sales.reading.names import normalise_name
from treadle.flows.sales.table import Finding

_LOOKED_AT: Final = 30
Row = Sequence[str | None]


def find_header(rows: Sequence[Row], wanted: Collection[str]) -> int | None:
    """Return the index of the header row. None: there is no row with anything in it.

    wanted: names that the header should have. The first row with all of them is the header. Otherwise it is the first row that is filled,
    unless that is a title: a row with less than half as many filled cells as the fullest of those that follow.
    """
    filled = [sum(1 for cell in row if cell and cell.strip()) for row in rows[:_LOOKED_AT]]
    if not any(filled):
        return None
    names = {normalise_name(name) for name in wanted}
    for index, row in enumerate(rows[:_LOOKED_AT]):
        if names and names <= {normalise_name(cell) for cell in row if cell}:
            return index
    enough = max(filled) / 2
    return next(index for index, count in enumerate(filled) if count and count >= enough)


def header_cells(row: Row) -> list[str | None]:
    """The header as text; None for a blank cell. A date that heads a column loses the midnight that the reader gives it."""
    return [(cell.removesuffix(" 00:00:00") if cell and cell.strip() else None) for cell in row]


def header_finding(rows: Sequence[Row], header: int) -> list[Finding]:
    """Tell that there was something above the header, which is not part of the table."""
    above = [index for index in range(header) if any(cell and cell.strip() for cell in rows[index])]
    if not above:
        return []
    text = " ".join(cell.strip() for cell in rows[above[0]] if cell and cell.strip())[:80]
    detail = (
        f"The header is row {header + 1}; {len(above)} row{'s' if len(above) > 1 else ''} above it were left out, beginning with {text!r}."
    )
    return [Finding("header_row", passed=True, detail=detail, severity="warning")]
