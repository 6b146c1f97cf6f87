"""A set of millions of rows, each known by a 96-bit number, in little memory: which rows of one side of a sync are on the other just as they are. Pure."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

SEAL_COLUMNS: Final = ("seal_1", "seal_2")
_FEW: Final = 64  # among hashes: of five million, three or so
Numbers = npt.NDArray[np.uint64]


class Seals:
    """A set of 96-bit numbers, at 12 bytes each: sorted by their first 64 bits, and looked up in that order.

    Of numbers that share those only one is found: among five million, the odds of that are one to a million.
    """

    def __init__(self, batches: Iterable[pl.DataFrame], count: int) -> None:
        """batches: `count` rows in all, with SEAL_COLUMNS as unsigned 64-bit integers."""
        first, second = np.empty(count, np.uint64), np.empty(count, np.uint32)
        start = 0
        for batch in batches:
            end = start + batch.height
            first[start:end], second[start:end] = _halves(batch)
            start = end
        order, self._first = _sorted(first)
        self._second = second.take(order)

    def hold(self, rows: pl.DataFrame) -> pl.Series:
        """Whether each row's seal is in the set."""
        found = np.zeros(rows.height, np.bool_)
        if len(self._first) and rows.height:
            first, second = _halves(rows)
            order, first = _sorted(first)
            places = np.minimum(np.searchsorted(self._first, first), len(self._first) - 1)
            found[order] = (self._first[places] == first) & (self._second[places] == second[order])
        return pl.Series(found)


def _halves(rows: pl.DataFrame) -> tuple[Numbers, npt.NDArray[np.uint32]]:
    first, second = (rows[name].to_numpy() for name in SEAL_COLUMNS)
    return first, second.astype(np.uint32)  # its lower bits


def _sorted(numbers: Numbers) -> tuple[npt.NDArray[np.intp], Numbers]:
    """Where the smallest stands, the next, and so on, and the numbers in that order. For numbers such as hashes: some times as fast as `argsort`.

    Each number gives up its last bits to its place, and what is left is sorted as plain numbers. The few that differ in those bits alone are put right
    afterwards.
    """
    bits = np.uint64(len(numbers).bit_length())
    places = numbers >> bits
    places <<= bits
    places |= np.arange(len(numbers), dtype=np.uint64)
    places.sort()
    places &= (np.uint64(1) << bits) - np.uint64(1)
    order = places.view(np.intp)
    found = numbers.take(order)
    while len(wrong := np.flatnonzero(found[:-1] > found[1:])):
        if len(wrong) > _FEW:
            order = np.argsort(numbers)
            return order, numbers.take(order)
        for place in wrong:
            pair, swapped = slice(place, place + 2), slice(place + 1, place - 1 if place else None, -1)
            order[pair], found[pair] = order[swapped].copy(), found[swapped].copy()
    return order, found
