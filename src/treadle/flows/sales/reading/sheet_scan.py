"""A quick look over the XML of one sheet before, or while, the reader works on it.

The reader allocates every cell between the first and the last one, so a single cell at XFD1048576 would need 400 GB; it turns formula errors,
and formulas whose result the writer did not store, into empty cells without a word; and it reads every number as a 64-bit float, which does not
hold an integer of more than 15 digits. All are found here, by searching the unpacked bytes piece by piece; nothing is built from the XML.
Source of the element names: ECMA-376 part 1, 18.3.1.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, Final

from treadle.errors import InvalidInput

PIECE_BYTES: Final = 1024 * 1024
_KEPT: Final = 1_000  # of the cells and ranges that are named
_SPARSE_FROM_CELLS: Final = 2_000_000
_SPARSE_FROM_ROWS: Final = 500_000
_SPARSE_RATIO: Final = 10
_CELL_LIMIT: Final = 100_000_000  # the reader needs some 30 bytes for each
_REFERENCE: Final = re.compile(rb"([A-Z]{1,3})(\d{1,7})\"")
_LONGEST_CELL_BYTES: Final = 256 * 1024  # Excel's longest text as XML; a longer beginning of a cell is not carried over to the next piece
# From 2**53 on, which has 16 digits, a float is no longer every integer. Programs that keep only the first digits write the rest as an exponent.
_LONG_NUMBER: Final = rb"(-?\d{16,}|-?\d(?:\.\d+)?[eE]\+?(?:1[5-9]|[2-9]\d))(?:\.0*)?"
_OPENING: Final = re.compile(rb"<((?:[\w.\-]+:)?)(?:worksheet|sheetData)\b")


@dataclass(slots=True)
class SheetFacts:
    """What the scan saw. Rows count from 1; columns are letters, empty when there is no cell."""

    last_row: int = 0
    widest: str = ""
    far_cell: str = ""  # the cell that lies in the widest column
    cells: int = 0
    error_count: int = 0
    error_cells: list[str] = field(default_factory=list[str])  # the first ones
    error_values: list[str] = field(default_factory=list[str])  # what stands in them, `#N/A`; empty where it is not known
    uncached: Counter[str] = field(default_factory=Counter[str])  # column → its formulas without a stored result
    uncached_cells: list[str] = field(default_factory=list[str])  # the first ones
    merged_count: int = 0
    merged_ranges: list[str] = field(default_factory=list[str])  # the first ones
    dimension: str | None = None  # as the sheet declares it; None: it does not

    @property
    def box_cells(self) -> int:
        """How many cells the reader has to allocate."""
        return self.last_row * column_number(self.widest)


def column_number(letters: str) -> int:
    """A → 1, Z → 26, AA → 27. No letters: 0."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def column_letters(number: int) -> str:
    """1 → A, 26 → Z, 27 → AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def scan_sheet(sheet: IO[bytes], *, name: str) -> SheetFacts:
    """Look over a sheet's XML as it is unpacked.

    Raises:
        InvalidInput: it declares XML entities, or its cells lie so far apart that reading them would need memory for cells that are not there.
    """
    facts = SheetFacts()
    search: _Search | None = None
    open_cell = b""
    for piece in _pieces(sheet):
        if search is None:
            require_no_entities(piece, name)
            search = _Search.of(piece)
            facts.dimension = search.dimension(piece)
            search.look_at_every_cell(piece, facts)
        search.look(piece, facts)
        search.find_uncached(open_cell + piece, facts)
        open_cell = search.open_cell(piece)
        _require_dense(facts, name)
    return facts


def long_integers(sheet: IO[bytes], columns: Collection[str]) -> dict[str, tuple[list[int], list[str]]]:
    """Read the numbers of 16 digits and more as the sheet spells them, with an exponent or not: column → their rows, from 1, and their texts.

    columns: letters; of others nothing is read.
    """
    found: dict[str, tuple[list[int], list[str]]] = {letters: ([], []) for letters in columns}
    search: _Search | None = None
    open_cell = b""
    for piece in _pieces(sheet):
        search = search or _Search.of(piece)
        for letters, row, digits in search.long_integer(columns).findall(open_cell + piece):
            rows, texts = found[letters.decode()]
            rows.append(int(row))
            texts.append(digits.decode())
        open_cell = search.open_cell(piece)
    return found


def require_no_entities(start: bytes, name: str) -> None:
    """Refuse a part that declares a document type: no spreadsheet program writes one, and entities in it can grow without bound.

    Raises:
        InvalidInput: it does.
    """
    if re.search(rb"<!(?:DOCTYPE|ENTITY)", start[:65536], re.IGNORECASE):
        raise InvalidInput(
            f"{name} declares XML entities, which no spreadsheet program writes.",
            hint="Open the workbook in a spreadsheet program and save it anew.",
            details={"part": name},
        )


def _pieces(sheet: IO[bytes]) -> Iterator[bytes]:
    """Pieces of about a megabyte that end just before a tag, so that no tag is cut."""
    rest = b""
    while block := sheet.read(PIECE_BYTES):
        piece = rest + block
        cut = piece.rfind(b"<")
        if cut > 0:
            yield piece[:cut]
            rest = piece[cut:]
        else:
            rest = piece
    yield rest


@dataclass(frozen=True, slots=True)
class _Search:
    """The tags to look for, which depend on the name space prefix that the writer chose."""

    prefix: bytes
    cell: bytes  # what every cell begins with, up to its reference
    row: bytes
    bare_formulas: tuple[
        re.Pattern[bytes], ...
    ]  # a formula that no result follows, quick to find: one with a text, one that shares another's
    uncached: re.Pattern[bytes]  # the same with the cell's place; a stored result that is an empty text is one

    @staticmethod
    def of(start: bytes) -> "_Search":
        found = _OPENING.search(start)
        prefix = found.group(1) if found else b""
        tag, end = b"<" + prefix, b"</" + prefix
        cell = tag + b'c r="'
        no_value = rb"\s*(?:" + tag + rb"v\s*/>|" + tag + rb"v></" + prefix + rb"v>)?\s*" + end + b"c>"
        formula = tag + rb"f(?:\s[^>]*)?(?:/>|>[^<]*" + end + b"f>)"
        uncached = cell + rb'([A-Z]{1,3})(\d{1,7})"(?![^>]* t="str")[^>]*>\s*' + formula + no_value
        return _Search(
            prefix,
            cell,
            tag + b"row ",
            (re.compile(end + b"f>" + no_value), re.compile(tag + rb"f\s[^>]*/>" + no_value)),
            re.compile(uncached),
        )

    def open_cell(self, piece: bytes) -> bytes:
        """The beginning of a cell whose end comes in the next piece; empty when there is none."""
        at = piece.rfind(self.cell)
        is_open = at >= 0 and len(piece) - at <= _LONGEST_CELL_BYTES and piece.find(b"</" + self.prefix + b"c>", at) < 0
        return piece[at:] if is_open else b""

    def long_integer(self, columns: Collection[str]) -> re.Pattern[bytes]:
        """Cells of these columns that hold a number of 16 digits and more."""
        tag, end = b"<" + self.prefix, b"</" + self.prefix
        letters = "|".join(sorted(columns)).encode()
        formula = tag + rb"f(?:\s[^>]*)?(?:/>|>[^<]*" + end + b"f>)"
        place = self.cell + b"(" + letters + rb')(\d{1,7})"(?![^>]* t="(?!n"))[^>]*>\s*'
        return re.compile(place + b"(?:" + formula + rb"\s*)?" + tag + b"v>" + _LONG_NUMBER + end + b"v>")

    def find_uncached(self, piece: bytes, facts: SheetFacts) -> None:
        """Formulas whose result is not stored, as programs write them that do not compute: the reader takes them for empty cells."""
        tag = b"<" + self.prefix + b"f"
        if tag not in piece or not any(pattern.search(piece) for pattern in self.bare_formulas):
            return
        found = self.uncached.findall(piece)
        facts.uncached.update(letters.decode() for letters, _ in found)
        kept = found[: _KEPT - len(facts.uncached_cells)]
        facts.uncached_cells += [(letters + row).decode() for letters, row in kept]

    def dimension(self, start: bytes) -> str | None:
        found = re.search(b"<" + self.prefix + b'dimension[^>]* ref="([A-Z0-9:]+)"', start)
        return found.group(1).decode() if found else None

    def look(self, piece: bytes, facts: SheetFacts) -> None:
        facts.cells += piece.count(self.cell)
        self._find_widest(piece, facts)
        self._find_last_row(piece, facts)
        if b' t="e"' in piece:
            self._find_errors(piece, facts)
        if b"mergeCell " in piece[piece.rfind(self.row) + 1 :]:
            self._find_merged(piece, facts)

    def look_at_every_cell(self, piece: bytes, facts: SheetFacts) -> None:
        """For the first piece, which is all of a small sheet: cells count wherever they stand, and however their attributes are ordered."""
        for found in re.finditer(b"<" + self.prefix + rb'c\s[^>]*?\br=["\']([A-Z]{1,3})(\d{1,7})["\']', piece):
            letters, row = found.group(1).decode(), int(found.group(2))
            facts.last_row = max(facts.last_row, row)
            if column_number(letters) > column_number(facts.widest):
                facts.widest, facts.far_cell = letters, f"{letters}{row}"

    def _find_widest(self, piece: bytes, facts: SheetFacts) -> None:
        start = 0
        while found := _beyond(self.cell, facts.widest).search(piece, start):
            start = found.end()
            if reference := _REFERENCE.match(piece, found.start() + len(self.cell)):
                facts.widest = reference.group(1).decode()
                facts.far_cell = facts.widest + reference.group(2).decode()
                facts.last_row = max(facts.last_row, int(reference.group(2)))

    def _find_last_row(self, piece: bytes, facts: SheetFacts) -> None:
        """The last row of a piece is its greatest: writers keep the order, and the memory limit is there for those who do not."""
        for tag in (rb'[^>]*?\br="(\d{1,7})"', None):
            at = piece.rfind(self.row if tag else self.cell)
            found = re.compile(tag or rb"[A-Z]{1,3}(\d{1,7})\"").match(piece, at + len(self.row if tag else self.cell)) if at >= 0 else None
            if found:
                facts.last_row = max(facts.last_row, int(found.group(1)))

    def _find_errors(self, piece: bytes, facts: SheetFacts) -> None:
        """The value stands in the piece that follows where the piece ends in between, and is then not known."""
        tag = rb"<" + self.prefix
        value = rb"(?:[^>]*>(?:" + tag + rb"f[^>]*>(?:[^<]*</" + self.prefix + rb"f>)?)?" + tag + rb"v>([^<]{1,40})<)?"
        cells = re.findall(self.cell + rb'([A-Z]{1,3}\d{1,7})"[^>]* t="e"' + value, piece)
        facts.error_count += len(cells)
        kept = cells[: _KEPT - len(facts.error_cells)]
        facts.error_cells += [reference.decode() for reference, _ in kept]
        facts.error_values += [held.decode(errors="replace") for _, held in kept]

    def _find_merged(self, piece: bytes, facts: SheetFacts) -> None:
        ranges = re.findall(b"<" + self.prefix + rb'mergeCell [^>]*?ref="([A-Z0-9:]+)"', piece)
        facts.merged_count += len(ranges)
        facts.merged_ranges += [cells.decode() for cells in ranges[: _KEPT - len(facts.merged_ranges)]]


@lru_cache(maxsize=1024)
def _beyond(cell: bytes, widest: str) -> re.Pattern[bytes]:
    """A pattern for a cell in a column to the right of `widest`. It rarely matches, and captures nothing: so searching is nearly as quick as for fixed text."""
    length = len(widest)
    longer = ["[A-Z]" * more for more in range(length + 1, 4)]
    same = [widest[:at] + f"[{chr(ord(widest[at]) + 1)}-Z]" + "[A-Z]" * (length - at - 1) for at in range(length) if widest[at] != "Z"]
    return re.compile(cell + f"(?:{'|'.join(same + longer) or '(?!)'})".encode())


def _is_sparse(facts: SheetFacts) -> bool:
    """Whether the sheet is large, and hardly anything is in it."""
    large_box = facts.box_cells > _SPARSE_FROM_CELLS and facts.box_cells > _SPARSE_RATIO * facts.cells
    return large_box or (facts.last_row > _SPARSE_FROM_ROWS and facts.last_row > _SPARSE_RATIO * facts.cells)


def _require_dense(facts: SheetFacts, name: str) -> None:
    box = facts.box_cells
    if box <= _CELL_LIMIT and not _is_sparse(facts):
        return
    end = f"{facts.widest}{facts.last_row}"
    stray = f"the cell {facts.far_cell}" if column_number(facts.widest) > 256 else f"what is in row {facts.last_row:,}"
    raise InvalidInput(
        f"{name} has {facts.cells:,} cells, but they reach to {end}: {stray} lies far from the rest, and reading all between would take {box:,} cells.",
        hint=f"Delete the empty rows and columns up to {end} in a spreadsheet program, or copy the data to a new sheet.",
        details={"far_cell": facts.far_cell, "last_row": facts.last_row, "cells": facts.cells, "box_cells": box},
    )
