"""Columns whose file gives them a type: what a workbook stores as a float or a timestamp is often an integer, a day or a time of day."""

import re
from datetime import date, datetime
from typing import Final

import polars as pl

from treadle.flows.sales.reading.column_rule import ORDER_ID, REVENUE, ColumnRule, evaluate, share_read, trimmed_text
from treadle.flows.sales.reading.long_numbers import EXACT_INTEGERS, number_text
from treadle.flows.sales.reading.numbers import MONEY, float_as_money
from treadle.flows.sales.table import ColumnKind

_SERIAL_DAYS: Final = (20_000.0, 60_000.0)  # 1954 to 2064 as a workbook counts days
_EXCEL_DAY_ZERO: Final = date(1899, 12, 30)  # day 1 is 1900-01-01, and a day too many is counted in February 1900
_FIRST_DAY: Final = datetime(1900, 1, 1)  # noqa: DTZ001 - timestamps in the table have no zone
_CALLED_DATE: Final = re.compile(r"(?:^|[\W_])(?:date|datum|fecha)(?:$|[\W_])")


def decide_typed(name: str, values: pl.Series) -> ColumnRule:
    """Decide how to read a column that is not text."""
    if name == ORDER_ID:
        return _identifier_rule(values)
    if name == REVENUE:
        return _revenue_rule(values)
    if values.dtype.is_float():
        return _decide_float(name, values)
    if isinstance(values.dtype, pl.Decimal):
        return _DECIMAL_MONEY
    return _by_type(values)


def _identifier_rule(values: pl.Series) -> ColumnRule:
    """An identifier is text: 123.0, as a workbook stores 123, becomes "123"."""
    if values.dtype.is_float():
        return ColumnRule(ColumnKind.TEXT, number_text, keeps_all=True)
    return _by_type(values, as_text=True)


def _revenue_rule(values: pl.Series) -> ColumnRule:
    if values.dtype.is_float():
        return ColumnRule(ColumnKind.MONEY, float_as_money, is_rounded=_is_rounded_float)
    if values.dtype.is_integer():
        return ColumnRule(ColumnKind.MONEY, lambda column: column.cast(MONEY, strict=False))
    if isinstance(values.dtype, pl.Decimal):
        return _DECIMAL_MONEY
    return ColumnRule(ColumnKind.MONEY, lambda column: pl.when(column.is_null() & False).then(pl.lit(None, MONEY)))  # dates and the like


def _is_rounded_float(column: pl.Expr) -> pl.Expr:
    return column.is_finite() & float_as_money(column).cast(pl.Float64).ne_missing(column.cast(pl.Float64))


def _decimal_as_money(column: pl.Expr) -> pl.Expr:
    return column.cast(MONEY, strict=False)


def _is_rounded_decimal(column: pl.Expr) -> pl.Expr:
    return column.is_not_null() & _decimal_as_money(column).ne_missing(column)


_DECIMAL_MONEY: Final = ColumnRule(ColumnKind.MONEY, _decimal_as_money, is_rounded=_is_rounded_decimal)


def _decide_float(name: str, values: pl.Series) -> ColumnRule:
    """A workbook stores every number as a float: one without any fraction is an integer, or the number of a day in a column called a date."""
    finite = values.drop_nulls()
    if finite.is_empty() or not (finite == finite.round()).all() or not (finite.abs() < EXACT_INTEGERS).all():
        return ColumnRule(ColumnKind.FLOAT, _read_short_float if finite.dtype == pl.Float32 else _read_float)
    if _CALLED_DATE.search(name) and (days := _day_number_rule(finite)):
        return days
    return ColumnRule(ColumnKind.INTEGER, _read_whole)


def _read_float(column: pl.Expr) -> pl.Expr:
    return pl.when(column.is_finite()).then(column.cast(pl.Float64))


def _read_short_float(column: pl.Expr) -> pl.Expr:
    """By way of its shortest decimal: a 32-bit 0.1 is to be 0.1, not 0.10000000149."""
    return _read_float(column.cast(pl.String).cast(pl.Float64, strict=False))


def _read_whole(column: pl.Expr) -> pl.Expr:
    return pl.when((column == column.round()) & (column.abs() < EXACT_INTEGERS)).then(column.cast(pl.Int64, strict=False))


def _day_number_rule(values: pl.Series) -> ColumnRule | None:
    if values.is_between(*_SERIAL_DAYS).all():
        return ColumnRule(ColumnKind.DATE, _read_serial_day, notes=("numbers were read as a workbook's day numbers",))
    if values.is_between(19_000_101, 21_001_231).all():
        read = _read_compact_day
        return (
            ColumnRule(ColumnKind.DATE, read, notes=("numbers were read as dates of the form YYYYMMDD",))
            if share_read(read, values) == 1.0
            else None
        )
    return None


def _read_serial_day(column: pl.Expr) -> pl.Expr:
    days = pl.when((column == column.round()) & column.is_between(*_SERIAL_DAYS)).then(column.cast(pl.Int64, strict=False))
    return pl.lit(_EXCEL_DAY_ZERO) + pl.duration(days=days)


def _read_compact_day(column: pl.Expr) -> pl.Expr:
    return column.cast(pl.Int64, strict=False).cast(pl.String).str.strptime(pl.Date, "%Y%m%d", strict=False)


def _by_type(values: pl.Series, *, as_text: bool = False) -> ColumnRule:  # noqa: PLR0911 - a table of types
    """Read a column by its type. Raises InvalidInput for a type that has no place in a table of orders."""
    dtype = values.dtype
    if dtype == pl.Duration:
        return ColumnRule(ColumnKind.TEXT, _duration_text, keeps_all=True)
    if dtype.is_nested():
        return ColumnRule(ColumnKind.TEXT, _json_text, keeps_all=True)
    if as_text or isinstance(dtype, pl.Null | pl.Time | pl.Categorical | pl.Enum | pl.Binary):
        return ColumnRule(ColumnKind.TEXT, lambda column: trimmed_text(column.cast(pl.String, strict=False)))
    if dtype == pl.Boolean:
        return ColumnRule(ColumnKind.BOOLEAN, lambda column: column, keeps_all=True)
    if dtype.is_integer():
        return ColumnRule(ColumnKind.INTEGER, lambda column: column.cast(pl.Int64, strict=False))
    if dtype == pl.Date:
        return ColumnRule(ColumnKind.DATE, lambda column: column, keeps_all=True)
    return _moment_rule(values)


def _moment_rule(values: pl.Series) -> ColumnRule:
    """Timestamps are dates when none has a time of day, and times of day when all lie on the day before a workbook's calendar begins."""
    moments = evaluate(_as_utc, values.drop_nulls())
    if moments.is_empty():
        return ColumnRule(ColumnKind.DATE, _read_midnight)
    if (moments < _FIRST_DAY).all():
        return ColumnRule(
            ColumnKind.TEXT, lambda column: pl.when(_as_utc(column) < _FIRST_DAY).then(_as_utc(column).dt.strftime("%H:%M:%S"))
        )
    if (moments.dt.date().cast(pl.Datetime("us")) == moments).all():
        return ColumnRule(ColumnKind.DATE, _read_midnight)
    return ColumnRule(ColumnKind.TIMESTAMP, _as_utc, keeps_all=True)


def _as_utc(column: pl.Expr) -> pl.Expr:
    """Microseconds in UTC, without zone; what has no zone is left as it stands."""
    return column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).dt.cast_time_unit("us")


def _read_midnight(column: pl.Expr) -> pl.Expr:
    moment = _as_utc(column)
    return pl.when(moment.dt.date().cast(pl.Datetime("us")) == moment).then(moment.dt.date())


def _duration_text(column: pl.Expr) -> pl.Expr:
    """Hours, which may be more than a day's, minutes and seconds."""
    seconds = column.dt.total_seconds().abs()
    sign = pl.when(column.dt.total_seconds() < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    parts = [(seconds // 3600), (seconds // 60 % 60), (seconds % 60)]
    return pl.format("{}{}:{}:{}", sign, *(part.cast(pl.String).str.zfill(2) for part in parts))


def _json_text(column: pl.Expr) -> pl.Expr:
    wrapped = pl.struct(column.alias("v")).struct.json_encode()  # only structs encode themselves
    return pl.when(column.is_not_null()).then(wrapped.str.strip_prefix('{"v":').str.head(-1))
