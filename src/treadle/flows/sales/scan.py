"""The few things that narwhals has no expression for, on Polars: streaming, splitting by hash, and estimating distinct values.

Everything else that computes on a cleaned table is written in narwhals.
"""

import functools
import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import narwhals as nw
import polars as pl

GROUPS_IN_MEMORY: Final = 2_500_000  # about as many are held at a time: some 300 MB at the width of an order id
_IN_MEMORY_ROWS: Final = 100_000  # up to here the in-memory engine is the faster one; above, streaming is as fast and needs less memory


def collect(frame: nw.LazyFrame[Any], *, row_count: int) -> nw.DataFrame[Any]:
    """Compute a frame; a table of many rows is streamed through in bounded memory (narwhals names no engine)."""
    return nw.from_native(_native(frame).collect(engine=_engine(row_count)), eager_only=True)


def collect_all(frames: Sequence[nw.LazyFrame[Any]], *, row_count: int) -> list[nw.DataFrame[Any]]:
    """Compute several frames side by side, sharing what they have in common (narwhals computes one at a time)."""
    results = pl.collect_all([_native(frame) for frame in frames], engine=_engine(row_count))
    return [nw.from_native(result, eager_only=True) for result in results]


def look_over(
    frame: nw.LazyFrame[Any], names: Sequence[str], *, ranged: Collection[str], count_rows: bool, row_count: int
) -> tuple[dict[str, tuple[int, int, Any, Any]], int | None]:
    """Column → nulls, estimated distinct values (HyperLogLog, which narwhals lacks), least and greatest value; and the distinct rows. All in one pass.

    ranged: the columns whose range is wanted; that of the others is null. NaN and infinity have no place in a range.
    count_rows: whether the distinct rows are wanted, counted by a 64-bit hash: at 10 million rows, the chance that one is missed is 3 in a million.
    """
    native = _native(frame)
    floats = {name for name, dtype in native.collect_schema().items() if dtype.is_float()}
    wanted = [look for name in names for look in _looks(name, ranged=name in ranged, is_float=name in floats)]
    distinct_rows = [_row_hash(names).n_unique().alias("distinct\0rows")] if count_rows else []
    answer = iter(native.select(*wanted, *distinct_rows).collect(engine=_engine(row_count)).row(0))
    return {name: (next(answer), next(answer), next(answer), next(answer)) for name in names}, next(answer, None)


def _looks(name: str, *, ranged: bool, is_float: bool) -> list[pl.Expr]:
    values = pl.col(name)
    numbers = pl.lit(None) if not ranged else pl.when(values.is_finite()).then(values) if is_float else values
    looks = {"nulls": values.null_count(), "distinct": values.approx_n_unique(), "low": numbers.min(), "high": numbers.max()}
    return [look.alias(f"{name}\0{kind}") for kind, look in looks.items()]


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
