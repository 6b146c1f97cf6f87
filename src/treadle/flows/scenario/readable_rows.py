"""What can be read of a CSV file that is no clean table: its rows of the right length, as a copy, and apart from them what is in the others.

Only files with faults are copied. One row is in memory at a time.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LINE_BYTES: Final = 1024**2
_BORDERS: Final = re.compile(r"[,\r\n]")
_STAND_IN: Final = "\t"  # no name in a schema has it


@dataclass(frozen=True, slots=True)
class Readable:
    """path: a CSV file with the rows of the right length. strays: the fields of the others, a line each, cut wherever a border may have been meant."""

    path: Path
    strays: Path


def judged_names(header: Sequence[str]) -> list[str]:
    """The names of the columns, with a stand-in for one that has none, shares it or could not be in any schema."""
    times = Counter(header)
    return [
        name if name.strip() and name.isprintable() and times[name] == 1 else f"{_STAND_IN}{place}" for place, name in enumerate(header, 1)
    ]


def is_stand_in(name: str) -> bool:
    """Whether a name of `judged_names` is not the file's own."""
    return name.startswith(_STAND_IN)


def is_regular(cells: Sequence[str], columns: int) -> bool:
    """Whether a row is as long as the header. An empty line is a row of one empty field."""
    return len(cells) == columns or (columns == 1 and not cells)


def bounded_lines(file: io.TextIOBase) -> Iterator[str]:
    """The lines of a file, none longer than is allowed."""
    while line := file.readline(LINE_BYTES + 1):
        yield line


def copy_readable(path: Path, names: Sequence[str], folder: Path, *, has_quotes: bool) -> Readable:
    """Copy what can be read, under these names of columns. Rows are copied as they are written: what their quotes are worth is judged later.

    has_quotes: whether the file has any; without, each line is a row. Its shape was looked at before, so that every row can be read.
    """
    found = Readable(folder / f"{path.stem}.rows", folder / f"{path.stem}.strays")
    with (
        path.open("r", encoding="utf-8-sig", newline="") as file,
        found.path.open("w", encoding="utf-8", newline="") as copy,
        found.strays.open("w", encoding="utf-8", newline="") as strays,
    ):
        rows = _rows(file, has_quotes=has_quotes)
        next(rows)
        csv.writer(copy, lineterminator="\n").writerow(names)
        for written, cells in rows:
            if is_regular(cells, len(names)):
                copy.write(written)
            else:
                strays.writelines(f"{piece}\n" for cell in cells for piece in _pieces(cell))
    return found


def _rows(file: io.TextIOBase, *, has_quotes: bool) -> Iterator[tuple[str, list[str]]]:
    """Each row as it is written, and its fields."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in bounded_lines(file):
            taken.append(line)
            yield line

    for cells in csv.reader(lines(), strict=True) if has_quotes else (line.rstrip("\r\n").split(",") for line in lines()):
        yield "".join(taken), cells
        taken.clear()


def _pieces(cell: str) -> set[str]:
    return {form for piece in _BORDERS.split(cell) for form in (piece, piece.strip()) if form}
