"""Columns of texts: which of them are numbers, dates or truth values that a file could only write as text."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from treadle.flows.sales.reading.column_rule import (
    ORDER_ID,
    REVENUE,
    ColumnRule,
    Evidence,
    Reading,
    evaluate,
    is_called_identifier,
    share_read,
    trimmed_text,
)
from treadle.flows.sales.reading.dates import DateFormat, as_moment, date_format
from treadle.flows.sales.reading.numbers import (
    NumberFormat,
    as_float,
    as_integer,
    as_money,
    has_more_places,
    is_missing_marker,
    may_be_identifiers,
    number_format,
)
from treadle.flows.sales.table import ColumnKind

_DATE_WORDS: Final = re.compile(
    r"(?:^|[\W_])(?:date|datum|day|tag|fecha|data|dt|timestamp|datetime|(?:ordered|shipped|created|updated|sold|paid|delivered)(?:_at|_on)?|time|zeit)(?:$|[\W_])"
)
_MEASURE_WORDS: Final = re.compile(
    r"(?:^|[\W_])(?:revenue|sales|amount|total|price|cost|costs|profit|margin|discount|tax|vat|fee|quantity|qty|units|visitors|umsatz|betrag|preis|menge|anzahl|kosten|rabatt|gewinn)(?:$|[\W_])"
)
_TRUE_OR_FALSE: Final = r"^(?i:true|false)$"
_MOST: Final = 0.5  # of the values must be readable where the column's name says what they are; elsewhere, all of them


def decide_text(name: str, texts: pl.Series, evidence: Evidence, *, whole_column: bool) -> ColumnRule:
    """Decide how to read a column of texts, which may be untrimmed, empty or null."""
    trimmed = evaluate(trimmed_text, texts)
    rule = _rule_for(name, trimmed.drop_nulls(), evidence)
    stands = bool(trimmed.eq_missing(texts).all()) and (whole_column or not rule.keeps_all)
    return replace(
        rule, trims=not stands
    )  # not for nothing: should a later value need it after all, it reads as null, and is decided again


def _rule_for(name: str, values: pl.Series, evidence: Evidence) -> ColumnRule:
    """The rule for texts that are trimmed and not empty."""
    text = ColumnRule(ColumnKind.TEXT, lambda column: column, keeps_all=True)
    if name == ORDER_ID:
        return text
    present = values.filter(~evaluate(is_missing_marker, values))
    if name == REVENUE:
        return _revenue_text_rule(present, evidence)
    if present.is_empty():
        return text
    return _boolean_rule(present) or _number_rule(name, present, evidence) or _date_rule(name, present, evidence) or text


def _revenue_text_rule(present: pl.Series, evidence: Evidence) -> ColumnRule:
    """Revenue is money whatever it holds: what cannot be read is counted."""
    written = number_format(present, otherwise=evidence.decimal_mark) or NumberFormat()
    return ColumnRule(
        ColumnKind.MONEY,
        lambda column: as_money(column, written),
        numbers=written,
        notes=_number_notes(written),
        is_rounded=has_more_places,
    )


def _boolean_rule(present: pl.Series) -> ColumnRule | None:
    if not present.head(1).str.contains(_TRUE_OR_FALSE).item() or not present.str.contains(_TRUE_OR_FALSE).all():
        return None
    spelled = present.unique().to_list()
    yes, no = ([text for text in spelled if text.lower() == word] for word in ("true", "false"))
    return ColumnRule(ColumnKind.BOOLEAN, lambda column: pl.when(_is_any(column, yes)).then(True).when(_is_any(column, no)).then(False))


def _is_any(column: pl.Expr, texts: Sequence[str]) -> pl.Expr:
    return pl.any_horizontal([column == text for text in texts]) if texts else pl.lit(False)


def _number_rule(name: str, present: pl.Series, evidence: Evidence) -> ColumnRule | None:
    measure = bool(_MEASURE_WORDS.search(name)) and not is_called_identifier(name)
    written = number_format(present, otherwise=evidence.decimal_mark)
    if written is None or (not measure and may_be_identifiers(present)):
        return None
    kind, read = _number_reading(written)
    if share_read(read, present) < (_MOST if measure else 1.0):
        return None
    return ColumnRule(kind, read, numbers=written, notes=_number_notes(written))


def _number_reading(written: NumberFormat) -> tuple[ColumnKind, Reading]:
    if written.currency_marks:
        return ColumnKind.MONEY, lambda column: as_money(column, written)
    if written.whole:
        return ColumnKind.INTEGER, lambda column: as_integer(column, written)
    return ColumnKind.FLOAT, lambda column: as_float(column, written)


def _date_rule(name: str, present: pl.Series, evidence: Evidence) -> ColumnRule | None:
    called_date = bool(_DATE_WORDS.search(name))
    written = date_format(present, otherwise=evidence.day_month_order, compact=called_date)
    if written is None:
        return None

    def read(column: pl.Expr) -> pl.Expr:
        return as_moment(column, written)

    if share_read(read, present) < (_MOST if called_date else 1.0):
        return None
    return ColumnRule(ColumnKind.TIMESTAMP if written.has_time else ColumnKind.DATE, read, dates=written, notes=_date_notes(written))


def _number_notes(written: NumberFormat) -> tuple[str, ...]:
    assumed = f"no value shows whether '.' or ',' separates the decimal places: '{written.decimal_mark}' was assumed to"
    mixed = "some values have a decimal point and others a decimal comma: each was read as it shows"
    percent = "percentages became fractions"
    return tuple(
        text for text, applies in ((assumed, written.assumed), (mixed, written.mixed), (percent, written.percent == "all")) if applies
    )


def _date_notes(written: DateFormat) -> tuple[str, ...]:
    if not written.assumed or written.order is None:
        return ()
    return (f"no value shows whether the day or the month comes first: {written.order} was assumed",)
