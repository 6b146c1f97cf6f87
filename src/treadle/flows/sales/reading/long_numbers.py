"""Whole numbers that a 64-bit float does not hold: identifiers of 16 digits and more in a workbook, where every number is stored as a float.

Two of them may be one and the same float. They are taken as the file spells them where it can be had, and told where it cannot.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from treadle.flows.sales.failing_rows import FailingRows
from treadle.flows.sales.reading.column_rule import evaluate, is_called_identifier
from treadle.flows.sales.reading.raw_table import RawTable
from treadle.flows.sales.source_rows import cells_where
from treadle.flows.sales.table import Finding

EXACT_INTEGERS: Final = 2**53  # from here on, a float is no longer the integer that was meant
_DIGITS: Final = 16  # of the first such integer
_LONGEST: Final = 40
_WHOLE: Final = pl.Decimal(38, 0)


def number_text(column: pl.Expr) -> pl.Expr:
    """A float as the text of an identifier: 123.0, as a workbook stores 123, becomes "123". A long one has all its digits, and no exponent."""
    whole = column == column.round()
    small = column.cast(pl.Int64, strict=False).cast(pl.String)
    as_stored = column.cast(pl.String)
    long = _all_digits(as_stored)
    return pl.when(whole & (column.abs() < EXACT_INTEGERS)).then(small).when(whole).then(pl.coalesce(long, as_stored)).otherwise(as_stored)


def _all_digits(number: pl.Expr) -> pl.Expr:
    """A whole number that is written with an exponent, without it; null where it has more than 38 digits."""
    return number.cast(_WHOLE, strict=False).cast(pl.String)


def may_be_shortened(values: pl.Series) -> bool:
    """Whether a column holds whole numbers, or texts of digits, that are too long for a float."""
    if values.dtype.is_float() or values.dtype.is_integer():
        return bool((values.cast(pl.Float64).abs() >= EXACT_INTEGERS).any())
    if values.dtype != pl.String:
        return False
    return bool(values.filter(values.str.len_bytes().is_between(_DIGITS, _LONGEST)).str.contains(r"^-?\d{16,}$").any())


def with_digits(values: pl.Series, places: Sequence[int], digits: Sequence[str]) -> pl.Series:
    """The column as text with long numbers as the file spells them; the same as before where nothing had been lost, or where they do not fit it.

    places: where they are to be, from 0; those beyond the column are left out. digits: of whole numbers, with an exponent or without.
    """
    spelled = pl.DataFrame({"place": pl.Series(places, dtype=pl.Int64), "digits": pl.Series(digits, dtype=pl.String)})
    without_exponent = pl.when(pl.col("digits").str.contains("(?i:e)")).then(_all_digits(pl.col("digits"))).otherwise("digits")
    spelled = spelled.filter(pl.col("place").is_between(0, len(values) - 1)).with_columns(digits=without_exponent).drop_nulls()
    texts = values if values.dtype == pl.String else evaluate(number_text, values.cast(pl.Float64))
    stood = texts.gather(spelled["place"])
    same_number = stood.cast(pl.Float64, strict=False).eq_missing(spelled["digits"].cast(pl.Float64, strict=False))
    if not same_number.all() or stood.eq_missing(spelled["digits"]).all():
        return values
    at = pl.DataFrame({"text": texts}).with_row_index("place").with_columns(pl.col("place").cast(pl.Int64))
    return (
        at.join(spelled, on="place", how="left", maintain_order="left").select(pl.coalesce("digits", "text")).to_series().alias(values.name)
    )


def shortened_identifiers(raw: RawTable, sources: Mapping[str, str], *, failing_rows: bool) -> list[Finding]:
    """Warn of columns called identifiers whose numbers are too long for what stores them. sources: column → its column in the raw table."""
    dtypes = raw.frame.collect_schema()
    found: list[Finding] = []
    for name, source in sources.items():
        if is_called_identifier(name) and (dtypes[source].is_float() or (raw.rounds_long_numbers and dtypes[source] == pl.String)):
            found += _finding(raw, name, source, _is_long(pl.col(source), text=dtypes[source] == pl.String), failing_rows=failing_rows)
    return found


def _is_long(column: pl.Expr, *, text: bool) -> pl.Expr:
    if not text:
        return column.is_finite() & (column.abs() >= EXACT_INTEGERS)
    return column.str.contains(r"^-?\d{16,}$") & (column.cast(pl.Float64, strict=False).abs() >= EXACT_INTEGERS)


def _finding(raw: RawTable, name: str, source: str, is_long: pl.Expr, *, failing_rows: bool) -> list[Finding]:
    spelled = pl.col(source).cast(pl.String)
    number = spelled.cast(pl.Float64, strict=False)
    kept = (spelled == number_text(number)) | (
        spelled == number.cast(pl.Int128, strict=False).cast(pl.String)
    )  # the two ways to write out a float
    is_text = raw.frame.collect_schema()[source] == pl.String
    count, all_kept = raw.frame.filter(is_long).select(pl.len(), kept.all()).collect(engine=raw.engine).row(0)
    if not count or (is_text and not all_kept):  # texts with digits that no float has are no numbers
        return []
    first = raw.frame.with_row_index("row").filter(is_long).select("row", number_text(number)).head(1).collect(engine="streaming").row(0)
    told = "1 value is a number" if count == 1 else f"{count:,} values are numbers"
    detail = (
        f"{name}: {told} of more than 15 digits, of which the file keeps only the first ones: different ones may have become the same. "
        f"First in row {raw.first_row + first[0]:,}: {first[1]}. Store this column as text, or save the data as .csv."
    )
    rows = None
    if failing_rows:
        cells = cells_where(raw.frame, is_long, source, raw.headers[int(source)] or name, raw.first_row)
        rows = FailingRows("It has more digits than a number in this file can keep.", count, cells)
    return [Finding("identifiers_shortened", passed=False, detail=detail, severity="warning", column=name, failing=rows)]
