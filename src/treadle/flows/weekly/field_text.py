"""A field's value as text, as people, JSON and the acknowledged rows have it, and back. Pure."""

import polars as pl


def as_text(column: pl.Expr) -> pl.Expr:
    """The value: decimals with all their places, moments as 2019-12-08T23:59:59.000Z, true and false."""
    return column.map_batches(_series_as_text, return_dtype=pl.String)


def _series_as_text(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Datetime):
        return values.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    return values.cast(pl.String)


def typed(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Stored text in its field's type; what cannot be read is null, and so counts as changed."""
    return column.map_batches(lambda values: _series_typed(values, dtype), return_dtype=dtype)


def _series_typed(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    if not isinstance(values.dtype, pl.String) or isinstance(dtype, pl.String):
        return values.cast(dtype, strict=False)
    if isinstance(dtype, pl.Datetime):
        return values.str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="us", time_zone="UTC", strict=False)
    if isinstance(dtype, pl.Date):
        return values.str.to_date("%Y-%m-%d", strict=False)
    if isinstance(dtype, pl.Boolean):
        return values == "true"
    return values.cast(dtype, strict=False)
