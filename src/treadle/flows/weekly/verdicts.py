"""The verdicts on some pages of records as two tables, one of what is kept and one of what is not: `fast_path` where it can tell, the judge where it cannot. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl
import pyarrow as pa

from treadle.flows.weekly.contract import FIELDS, PRICE_PRECISION, PRICE_SCALE, REQUIRED, Accepted, EventRecord, FieldError, judge
from treadle.flows.weekly.fast_path import EVENT_SCHEMA, Decided, decide
from treadle.flows.weekly.raw_records import Pieces, ReadRecords, cut, cut_exactly, is_one_value
from treadle.flows.weekly.week import Week

arrow: Final[Any] = pa  # its types are unknown to the checker
ArrowTable = Any

_MOMENT: Final = arrow.timestamp("us", tz="UTC")
_BATCH: Final[list[Any]] = [
    arrow.field("batch_week_start", arrow.date32(), nullable=False),
    arrow.field("batch_week_end", arrow.date32(), nullable=False),
    arrow.field("ingested_at", _MOMENT, nullable=False),
]
_EVENT_TYPES: Final[dict[str, Any]] = {"event_time": _MOMENT, "price": arrow.decimal128(PRICE_PRECISION, PRICE_SCALE)}
EVENTS: Final = arrow.schema(
    [*(arrow.field(name, _EVENT_TYPES.get(name, arrow.string()), nullable=name not in REQUIRED) for name in FIELDS), *_BATCH]
)
_ERROR: Final = arrow.struct([("rule", arrow.string()), ("field", arrow.string()), ("value", arrow.string()), ("reason", arrow.string())])
REJECTS: Final = arrow.schema(
    [
        arrow.field("row_index", arrow.int64(), nullable=False),  # over the whole extract, from 0
        arrow.field("page", arrow.int32(), nullable=False),
        arrow.field("rule", arrow.string(), nullable=False),  # this and the next three: the first error
        arrow.field("field", arrow.string()),
        arrow.field("value", arrow.string()),
        arrow.field("reason", arrow.string(), nullable=False),
        arrow.field("errors", arrow.list_(_ERROR), nullable=False),
        arrow.field("raw_record", arrow.binary(), nullable=False),
        *_BATCH,
    ]
)


_ERROR_COLUMNS: Final[dict[str, Any]] = {"rule": pl.String, "field": pl.String, "value": pl.String, "reason": pl.String}
_REJECT_COLUMNS: Final[dict[str, Any]] = {
    "row_index": pl.Int64,
    "page": pl.Int32,
    **_ERROR_COLUMNS,
    "errors": pl.List(pl.Struct(_ERROR_COLUMNS)),
    "raw_record": pl.Binary,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What all rows of a week have in common."""

    week: Week
    ingested_at: datetime

    @property
    def columns(self) -> dict[str, Any]:
        """Name and value of each."""
        return {"batch_week_start": self.week.start, "batch_week_end": self.week.end, "ingested_at": self.ingested_at}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some consecutive pages: for each its number, its body and how many records it has."""

    numbers: Sequence[int]
    bodies: Sequence[bytes]
    rows: Sequence[int]
    first_row: int  # index of the first record over the whole extract


@dataclass(frozen=True, slots=True)
class Verdicts:
    """events as EVENTS and rejects as REJECTS, both in the order of the records; by_rule counts every broken rule of every reject."""

    rows: int
    events: ArrowTable
    rejects: ArrowTable
    by_rule: Counter[str]


@dataclass(frozen=True, slots=True)
class _Refused:
    index: int
    raw: bytes
    errors: Sequence[FieldError]


def verdicts(chunk: Chunk, batch: Batch, read_records: ReadRecords) -> Verdicts:
    """Judge every record of the chunk. What `read_records` raises of a body that is no page passes through."""
    pieces, decided, undecided = _decide(chunk, batch.week, read_records)
    accepted: list[tuple[int, EventRecord]] = []
    refused: list[_Refused] = []
    for index, raw in zip(decided.undecided, undecided, strict=True):
        verdict = judge(raw, batch.week)
        if isinstance(verdict, Accepted):
            accepted.append((index, verdict.record))
        else:
            refused.append(_Refused(index, raw, verdict.errors))
    return Verdicts(
        rows=len(pieces.raw),
        events=_events(decided.valid, accepted, batch),
        rejects=_rejects(refused, pieces, chunk, batch),
        by_rule=Counter(error.rule for one in refused for error in one.errors),
    )


def _decide(chunk: Chunk, week: Week, read_records: ReadRecords) -> tuple[Pieces, Decided, list[bytes]]:
    """The cut, what is decided of it, and the records that are not, for the judge.

    What is decided column-wise proves its own pieces; if any of the others is no JSON value, the cut was wrong and is made anew.
    """
    pieces = cut(chunk.bodies, chunk.rows, read_records)
    decided = decide(pieces.raw, week)
    undecided = pieces.records(decided.undecided)
    if pieces.proven or all(map(is_one_value, undecided)):
        return pieces, decided, undecided
    pieces = cut_exactly(chunk.bodies, read_records)
    decided = decide(pieces.raw, week)
    return pieces, decided, pieces.records(decided.undecided)


def _events(valid: pl.DataFrame, accepted: Sequence[tuple[int, EventRecord]], batch: Batch) -> ArrowTable:
    if accepted:
        rows = [(index, *(getattr(record, name) for name in FIELDS)) for index, record in accepted]
        judged = pl.DataFrame(rows, schema={"index": pl.UInt32(), **EVENT_SCHEMA}, orient="row")
        valid = pl.concat([valid, judged]).sort("index")
    return _in_batch(valid.drop("index"), batch, EVENTS)


def _rejects(refused: Sequence[_Refused], pieces: Pieces, chunk: Chunk, batch: Batch) -> ArrowTable:
    rows: list[tuple[Any, ...]] = [
        (
            chunk.first_row + one.index,
            chunk.numbers[pieces.page[one.index]],
            *_as_row(one.errors[0]).values(),
            [_as_row(error) for error in one.errors],
            one.raw,
        )
        for one in refused
    ]
    return _in_batch(pl.DataFrame(rows, schema=_REJECT_COLUMNS, orient="row"), batch, REJECTS)


def _in_batch(rows: pl.DataFrame, batch: Batch, schema: Any) -> ArrowTable:
    """With the columns of the batch, as Arrow. Not by way of pyarrow's own conversions, which would load pandas where that is installed."""
    whole: Any = rows.with_columns(pl.lit(value).alias(name) for name, value in batch.columns.items())
    return whole.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def _as_row(error: FieldError) -> dict[str, str | None]:
    return {"rule": error.rule, "field": error.field, "value": error.value, "reason": error.reason}
