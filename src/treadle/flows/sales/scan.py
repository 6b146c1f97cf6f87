"""The few things that narwhals has no expression for, on Polars: streaming, splitting by hash, and estimating distinct values.

Everything else that computes on a cleaned table is written in narwhals.
"""

import functools
import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import narwhals as nw
import polars as pl

GROUPS_IN_MEMORY: Final = 3_500_000  # about as many are held at a time: some 400 MB at the width of an order id
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
    frames = [hashed.select(wanted), *([hashed.select(_row_hash(names))] if count_rows else [])]
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
    parts = max(1, -(-groups // GROUPS_IN_MEMORY))
    if parts == 1:
        yield frame
        return
    native = _native(frame)
    for part in range(parts):
        yield nw.from_native(native.filter(pl.col(column).hash() % parts == part))


def _row_hash(names: Sequence[str]) -> pl.Expr:
    """Wraps around; quicker than the hash of a struct, which gathers each row first."""
    return functools.reduce(operator.add, (pl.col(name).hash(seed) for seed, name in enumerate(names)))


def _native(frame: nw.LazyFrame[Any]) -> pl.LazyFrame:
    return nw.to_native(frame)


def _engine(row_count: int) -> Any:
    return "streaming" if row_count > _IN_MEMORY_ROWS else "in-memory"
