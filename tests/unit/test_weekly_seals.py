"""The set of seals against Python's own set, at sizes and with numbers that its sorting does not like."""

import random

import polars as pl
import pytest

from treadle.flows.weekly.seals import SEAL_COLUMNS, Seals

_LAST_BITS = 1 << 12


def _frame(pairs: list[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=dict.fromkeys(SEAL_COLUMNS, pl.UInt64), orient="row")


def _numbers(draw: random.Random, count: int, *, alike: bool) -> list[tuple[int, int]]:
    """Pairs whose first halves all differ; alike: many of them in their last bits alone, and in no order."""
    firsts = draw.sample(range(_LAST_BITS), count) if alike else [draw.getrandbits(64) for _ in range(count)]
    return [((5 << 40) + first if alike else first, draw.getrandbits(64)) for first in firsts]


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 64, 1_000])
def test_holds_what_it_was_made_of_and_nothing_else(count: int, *, alike: bool) -> None:
    draw = random.Random(count)
    numbers = _numbers(draw, 2 * count, alike=alike)
    inside, outside = numbers[:count], numbers[count:]
    seals = Seals((_frame(inside[at : at + 100]) for at in range(0, count, 100)), count)
    asked = [*inside, *outside, *((first, second ^ 1) for first, second in inside)]
    draw.shuffle(asked)
    assert seals.hold(_frame(asked)).to_list() == [pair in set(inside) for pair in asked]


def test_an_empty_set_holds_nothing_and_no_rows_are_no_rows() -> None:
    assert Seals([], 0).hold(_frame([(1, 2)])).to_list() == [False]
    assert Seals([_frame([(1, 2)])], 1).hold(_frame([])).to_list() == []


def test_the_greatest_and_the_smallest_number_are_found() -> None:
    ends = [(0, 0), ((1 << 64) - 1, (1 << 32) - 1)]
    assert Seals([_frame(ends)], 2).hold(_frame(ends)).to_list() == [True, True]
