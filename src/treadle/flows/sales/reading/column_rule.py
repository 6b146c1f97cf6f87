"""How one column is to be read: the kind of its values, and the expression that yields them.

A rule is decided on values, all of a column or a sample of it, and reads the whole column. It gives null for whatever those values did
not show, so that comparing nulls tells whether it holds for the column. Only money is rounded without asking, and counted while it is read.
The expressions are Polars: tolerant casts, decimals from text and parsing by several formats have no counterpart in narwhals.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from treadle.flows.sales.reading.dates import DateFormat, DayMonthOrder
from treadle.flows.sales.reading.numbers import DecimalMark, NumberFormat
from treadle.flows.sales.table import ColumnKind

REVENUE: Final = "revenue"
ORDER_ID: Final = "order_id"
_IDENTIFIER_WORDS: Final = re.compile(
    r"(?:^|[\W_])(?:id|code|key|sku|no|nr|number|zip|postal|plz|phone|tel|iban|ean|isbn|barcode)(?:$|[\W_])"
)
Reading = Callable[[pl.Expr], pl.Expr]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What other columns of the same file show about how it writes dates and numbers."""

    day_month_order: DayMonthOrder | None = None
    decimal_mark: DecimalMark = "."


@dataclass(frozen=True, slots=True, eq=False)
class ColumnRule:
    """The kind of a column and the expression that reads it from the column that was judged."""

    kind: ColumnKind
    read: Reading
    numbers: NumberFormat | None = None  # how numbers are written; None: not as text
    dates: DateFormat | None = None
    notes: tuple[str, ...] = ()  # what a person should know about the decision
    keeps_all: bool = False  # no value can be lost by reading it so
    trims: bool = False  # `read` and `is_rounded` are to be given trimmed text
    is_rounded: Reading | None = None  # where a value has more decimal places than is kept; None: nowhere


def is_called_identifier(name: str) -> bool:
    """Whether a column's name says that its values name something, so that none of their characters may be lost."""
    return bool(_IDENTIFIER_WORDS.search(name))


def trimmed_text(values: pl.Expr) -> pl.Expr:
    """Text without surrounding white space; null when nothing is left."""
    bare = values.str.strip_chars()
    return pl.when(bare != "").then(bare)  # `replace` would do, but is not streamed: a long file would be held in memory


def evaluate(read: Reading, values: pl.Series) -> pl.Series:
    """Read values that are there already."""
    return values.alias("v").to_frame().select(read(pl.col("v"))).to_series()


def share_read(read: Reading, present: pl.Series) -> float:
    """The share of values, none of them null, that a reading can read."""
    return 1.0 - evaluate(read, present).null_count() / len(present)


def rounding_notes(count: int) -> tuple[str, ...]:
    """What to say about money that had to be rounded; nothing when none was."""
    values = "1 value has" if count == 1 else f"{count:,} values have"
    return (f"{values} more than six decimal places, rounded half to even",) if count else ()
