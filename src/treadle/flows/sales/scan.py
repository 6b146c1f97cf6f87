"""The few things that narwhals has no expression for, on Polars: streaming, splitting by hash, and estimating distinct values.

Everything else that computes on a cleaned table is written in narwhals.
"""

import functools
import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import narwhals as nw
import polars as pl

GROUPS_IN_MEMORY: Final = 3_500_000  # about as many are held at a time: some 400 MB at the width of an order id
_NEAR_ROWS: Final = 50_000
_PLACE: Final = "row\0"  # no column's name has a NUL
_HASH: Final = "hash\0"
_IN_MEMORY_ROWS: Final = 100_000  # up to here the in-memory engine is the faster one; above, streaming is as fast and needs less memory


def collect(frame: nw.LazyFrame[Any], *, row_count: int) -> nw.DataFrame[Any]:
    """Compute a frame; a table of many rows is streamed through in bounded memory (narwhals names no engine)."""
    return nw.from_native(_native(frame).collect(engine=_engine(row_count)), eager_only=True)


def look_over(
    frame: nw.LazyFrame[Any], names: Sequence[str], *, ranged: Collection[str], count_rows: bool, row_count: int
) -> tuple[dict[str, tuple[int, int, Any, Any]], int | None]:
    """Column → nulls, estimated distinct values (HyperLogLog, which narwhals lacks), least and greatest value; and the distinct rows. All in one pass.

    ranged: the columns whose range is wanted; that of the others is null. NaN and infinity have no place in a range.
    count_rows: whether the distinct rows are wanted, counted by a 64-bit hash: at 10 million rows, the chance that one is missed is 3 in a million.
    """
    native = _native(frame)
    floats = {name for name, dtype in native.collect_schema().items() if dtype.is_float()}
    hashed = native.with_columns(pl.col(name).hash(seed).alias(_hash_of(name)) for seed, name in enumerate(names))
    wanted = [look for name in names for look in _looks(name, ranged=name in ranged, is_float=name in floats)]
    of_rows = _summed(pl.col(_hash_of(name)) for name in names)  # of the columns' hashes, which are computed once for both
    frames = [hashed.select(wanted), *([hashed.select(of_rows)] if count_rows else [])]
    looks, *rows = pl.collect_all(frames, engine=_engine(row_count))
    answer = iter(looks.row(0))
    found = {name: (next(answer), next(answer), next(answer), next(answer)) for name in names}
    return found, _distinct(rows[0].to_series()) if rows else None


def _hash_of(name: str) -> str:
    """What the column of a column's hashes is called while it is looked over; no column's name has a NUL."""
    return f"{name}\0hash"


def _looks(name: str, *, ranged: bool, is_float: bool) -> list[pl.Expr]:
    """The distinct values are estimated by the hashes that the rows need anyway."""
    values = pl.col(name)
    numbers = pl.lit(None) if not ranged else pl.when(values.is_finite()).then(values) if is_float else values
    looks = {
        "nulls": values.null_count(),
        "distinct": pl.col(_hash_of(name)).approx_n_unique(),
        "low": numbers.min(),
        "high": numbers.max(),
    }
    return [look.alias(f"{name}\0{kind}") for kind, look in looks.items()]


def _distinct(hashes: pl.Series) -> int:
    """Sorted, which takes half the time of a hash table and a quarter of its memory."""
    if hashes.is_empty():
        return 0
    in_order = hashes.sort()
    return 1 + int((in_order != in_order.shift()).sum())  # the first has none before it, and counts as null


def partitions(frame: nw.LazyFrame[Any], column: str, *, groups: int) -> Iterator[nw.LazyFrame[Any]]:
    """Split a frame so that equal values of `column` fall into one part and no part has many more than GROUPS_IN_MEMORY distinct ones.

    Counting part by part is exact, and needs the memory of one part. A single part when `groups` is small. narwhals has no hash.
    """
    parts = _parts(groups)
    if parts == 1:
        yield frame
        return
    native = _native(frame)
    for part in range(parts):
        yield nw.from_native(native.filter(pl.col(column).hash() % parts == part))


def first_rows(frame: nw.LazyFrame[Any], condition: nw.Expr, *, most: int, row_count: int) -> list[int]:
    """The places, counted from 0, of the first rows for which something holds. A lazy frame of narwhals does not number its rows."""
    placed = nw.from_native(_native(frame).with_row_index(_PLACE)).filter(condition).select(_PLACE).head(most)
    return [place for (place,) in collect(placed, row_count=row_count).rows()]


def first_repeats(frame: nw.LazyFrame[Any], names: Sequence[str], *, most: int, row_count: int, empty_too: bool = False) -> list[int]:
    """The places of the first rows that have in these columns what an earlier row has, by a 64-bit hash.

    Most files have enough of them near their beginning, so that is looked at first; then part by part, in the memory of one part.
    empty_too: whether rows without any value there repeat each other.
    """
    found: list[int] = []
    for rows in sorted({min(_NEAR_ROWS, row_count), row_count}):
        placed = _native(frame).head(rows).with_row_index(_PLACE)
        counting = placed if empty_too else placed.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in names))
        hashed = counting.select(_PLACE, _row_hash(names).alias(_HASH))
        found = sorted(place for part in range(_parts(rows)) for place in _repeats(hashed, part, _parts(rows), most, rows))[:most]
        if len(found) == most:
            break
    return found


def _repeats(hashed: pl.LazyFrame, part: int, parts: int, most: int, rows: int) -> list[int]:
    values = hashed.filter(pl.col(_HASH) % parts == part).collect(engine=_engine(rows))
    return values.filter(~pl.col(_HASH).is_first_distinct())[_PLACE].head(most).to_list()


def _parts(groups: int) -> int:
    return max(1, -(-groups // GROUPS_IN_MEMORY))


def _row_hash(names: Sequence[str]) -> pl.Expr:
    """Quicker than the hash of a struct, which gathers each row first."""
    return _summed(pl.col(name).hash(seed) for seed, name in enumerate(names))


def _summed(hashes: Iterable[pl.Expr]) -> pl.Expr:
    """Wraps around."""
    return functools.reduce(operator.add, hashes)


def _native(frame: nw.LazyFrame[Any]) -> pl.LazyFrame:
    return nw.to_native(frame)


def _engine(row_count: int) -> Any:
    return "streaming" if row_count > _IN_MEMORY_ROWS else "in-memory"
