"""Tables for people: whole words and ids at any width, and no trailing blanks for whoever pipes them into another program."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape, render
from rich.table import Table

from treadle.cli.output import Markup, local_minute, say, stdout, write_out
from treadle.visible_text import visible

NUMERIC_COLUMNS: Final = ("size", "revenue", "orders", "change", "%", "figure", "distinct")
NARROW: Final = 100  # columns; below, tables leave out what they can
WHOLE_CHARS: Final = 24  # a longer cell is broken in any case, lest it push others out


def narrow() -> bool:
    """Whether the terminal has too few columns for everything."""
    return stdout().width < NARROW


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    gap: bool = False,
    whole: Collection[str] = (),
    tight: bool = False,
    empty: str,
) -> None:
    """Print a table, or what an empty one means.

    gap: set off from what stands above it. whole: columns that are not broken while others can be. tight: little space between columns.
    """
    cells = [[_cell(item) for item in row] for row in rows]
    if not cells:
        say(empty)
        return
    kept = {name for place, name in enumerate(columns) if name in whole and all(_is_short(row[place]) for row in cells)}
    if gap:
        stdout().print()
    _print(columns, cells, title=title, kept=kept, tight=tight)


def show_list(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, cut: Mapping[str, int], spare: Sequence[str] = (), empty: str
) -> None:
    """Print a table of one line a row, in which nothing is broken, or what an empty one means.

    Where the terminal is too narrow, some columns are shortened, then others left out, and it is told which.
    cut: columns that may be shortened, the first one least, and to how many characters at most. spare: what may be left out, first things first.
    """
    cells = [[_cell(item) for item in row] for row in rows]
    if not cells:
        say(empty)
        return
    widths = {name: max(len(name), *(_length(row[place]) for row in cells)) for place, name in enumerate(columns)}
    left_out, space = _fitted(widths, cut, spare, stdout().width)
    shown = {name: place for place, name in enumerate(columns) if name not in left_out}
    rooms = _rooms({name: widths[name] for name in shown}, cut, stdout().width - space * (len(shown) - 1))
    _print(list(shown), [[_shortened(row[shown[name]], rooms[name]) for name in shown] for row in cells], kept=columns, tight=space == 1)
    if left_out:
        say(f"Not shown, for want of room: {', '.join(left_out)}. A wider terminal and --json have all.")


def _fitted(widths: Mapping[str, int], cut: Mapping[str, int], spare: Sequence[str], width: int) -> tuple[tuple[str, ...], int]:
    """Which columns are left out so that a row fits, and the space between two columns."""
    for count in range(len(spare) + 1):
        shown = {name: length for name, length in widths.items() if name not in spare[:count]}
        if sum(shown.values()) + 2 * (len(shown) - 1) <= width:
            return tuple(spare[:count]), 2
        if sum(_least(shown, cut).values()) + len(shown) - 1 <= width:
            return tuple(spare[:count]), 1
    return tuple(spare), 1


def _rooms(widths: Mapping[str, int], cut: Mapping[str, int], width: int) -> dict[str, int]:
    """How wide each column is: what is over goes to those that are cut, in their order."""
    rooms = _least(widths, cut)
    for name in (each for each in cut if each in rooms):
        rooms[name] += min(widths[name] - rooms[name], max(0, width - sum(rooms.values())))
    return rooms


def _least(widths: Mapping[str, int], cut: Mapping[str, int]) -> dict[str, int]:
    return {name: min(length, cut.get(name, length)) for name, length in widths.items()}


def _print(columns: Sequence[str], cells: Iterable[Sequence[str]], *, kept: Collection[str], tight: bool, title: str | None = None) -> None:
    """kept: columns that are not broken."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False, collapse_padding=tight)
    table.show_header = any(columns)
    for column in columns:
        justify = "right" if column.endswith(NUMERIC_COLUMNS) else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in kept)
    for row in cells:
        table.add_row(*row)
    write_out("\n".join(line.rstrip() for line in _drawn(table).removesuffix("\n").split("\n")))


def _drawn(table: Table) -> str:
    """As standard output would have it. Nothing is written: a console that captures writes nothing as well, which a full disk refuses."""
    target, drawn = stdout(), io.StringIO()
    colours: Any = target.color_system
    Console(
        file=drawn, width=target.width, force_terminal=target.is_terminal, color_system=colours, no_color=target.no_color, highlight=False
    ).print(table)
    return drawn.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return local_minute(value)
    if isinstance(value, float | Decimal):
        return f"{value:,.2f}"
    return value if isinstance(value, Markup) else escape(visible(str(value), kept="\n\t"))


def _is_short(cell: str) -> bool:
    return len(cell) <= WHOLE_CHARS or isinstance(cell, Markup)


def _length(cell: str) -> int:
    return cell_len(render(cell).plain)


def _shortened(cell: str, room: int) -> str:
    """The cell on one line, with a sign where it was cut."""
    text = render(" ".join(cell.split()))
    text.truncate(room, overflow="ellipsis")
    return Markup(text.markup)
