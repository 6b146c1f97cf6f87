"""Numbers that are written as text: how one column writes them, and how they are then read.

A column is judged as a whole, because `1.234` alone does not say whether it is a little over one or over a thousand.
The decision is made on values; reading is a Polars expression (narwhals has neither a cast that tolerates other text nor decimals).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

DecimalMark = Literal[".", ","]
Percent = Literal["none", "some", "all"]
MONEY: Final = pl.Decimal(38, 6)
MONEY_PLACES: Final = 6

_SPACES: Final = r" \u00a0\u2007\u2009\u202f"
_SIGNS: Final = r"$€£¥₹₽₩₺₪₫฿₴₦₱₡₲₵₸₼"
_CODES: Final = (
    "USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|AUD|CAD|NZD|SEK|NOK|DKK|ISK|PLN|CZK|HUF|RON|BGN|RUB|UAH|TRY|BRL|MXN|ARS|CLP|COP|PEN|ZAR|EGP|NGN|KES|"
    "AED|SAR|QAR|ILS|SGD|HKD|TWD|KRW|THB|IDR|MYR|PHP|VND"
)
# A dollar sign may carry its country; the alternatives go from long to short, as the first that fits is taken.
_CURRENCY: Final = rf"(?:(?:US|AU|CA|NZ|HK|A|C|R|S)?\$|(?i:{_CODES}|Rs\.?|kr\.?|zł|Kč|Ft|Fr\.)|[{_SIGNS}])"
_OTHERWISE_SPELLED: Final = {
    "USD": "$ US$", "AUD": "A$ AU$", "CAD": "C$ CA$", "NZD": "NZ$", "HKD": "HK$", "SGD": "S$", "BRL": "R$", "EUR": "€", "GBP": "£", "JPY": "¥",
    "CNY": "RMB", "INR": "₹ RS", "RUB": "₽", "KRW": "₩", "TRY": "₺", "ILS": "₪", "VND": "₫", "THB": "฿", "UAH": "₴", "NGN": "₦", "PHP": "₱",
    "CRC": "₡", "PYG": "₲", "GHS": "₵", "KZT": "₸", "AZN": "₼", "PLN": "ZŁ", "CZK": "KČ", "HUF": "FT", "CHF": "FR", "SEK, NOK or DKK": "KR",
}  # fmt: skip
_CODE_OF: Final = {mark: code for code, marks in _OTHERWISE_SPELLED.items() for mark in marks.split()}
_CODE_LENGTH: Final = 3
_MISSING: Final = (
    "n/a",
    "#n/a",
    "na",
    "nan",
    "null",
    "none",
    "nil",
    "-",
    "--",
    "–",
    "—",
    "?",
    "#ref!",
    "#div/0!",
    "#value!",
    "#name?",
    "#num!",
    "#null!",
)
_NO_MARK: Final = "(?:[^\\s\\S])"  # a pattern that nothing fits
_PERCENT: Final = "%"
_NOT_ZERO: Final = "[1-9]"  # a zero is the same with and without a percent sign
_LOOKS_NUMERIC: Final = (
    rf"^(?:[+\-−(]|{_CURRENCY}|[{_SPACES}])*[.,]?\d[\d.,'’{_SPACES}]*(?:[eE][+\-]?\d+)?(?:{_CURRENCY}|[{_SPACES}%)\-−])*$"
)


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a column writes its numbers.

    `plain`: digits, a sign and a point at most, so that a cast reads it. `assumed`: no value shows which mark is the decimal one.
    `mixed`: some values show the one mark and some the other; each of those is read as it shows, and `decimal_mark` is for the rest.
    `currency_marks`: the marks as they are spelled, `€` or `EUR`; a value with another one is not read. `percent`: which values carry a `%`.
    """

    decimal_mark: DecimalMark = "."
    plain: bool = True
    whole: bool = False
    mixed: bool = False
    currency_marks: tuple[str, ...] = ()
    percent: Percent = "none"
    assumed: bool = False


def is_missing_marker(values: pl.Expr) -> pl.Expr:
    """Whether a text is one of the usual words for "no value", Excel's error texts among them."""
    return values.str.to_lowercase().is_in(_MISSING)


def number_format(values: pl.Series, *, otherwise: DecimalMark = ".") -> NumberFormat | None:
    """Decide how a column of texts writes numbers. None: hardly any of them is a number.

    values: trimmed, not empty, no nulls. otherwise: the decimal mark to assume when the values do not show it, because other columns do.
    """
    numeric = values.filter(values.str.contains(_LOOKS_NUMERIC))
    if numeric.is_empty():
        return None
    if numeric.str.contains(_PLAIN).all() and not numeric.str.contains(_either_mark()).any():
        return NumberFormat(whole=bool(numeric.str.contains(r"^[+\-]?\d+$").all()))
    point, comma = (int(numeric.str.contains(_shows_decimal(mark)).sum()) for mark in (".", ","))
    ambiguous = bool(numeric.str.contains(_either_mark()).any())
    mark: DecimalMark = otherwise if point == comma else "." if point > comma else ","
    assumed = ambiguous and point == comma
    mixed = point > 0 and comma > 0
    readable = numeric.filter(numeric.str.contains(_written_with(mark, _CURRENCY)))
    return NumberFormat(
        decimal_mark=mark,
        plain=mark == "." and not mixed and bool(numeric.str.contains(_PLAIN).all()),
        whole=not mixed and not readable.is_empty() and not readable.str.contains(_has_places(mark)).any(),
        mixed=mixed,
        currency_marks=_marks(numeric),
        percent=_percent(numeric),
        assumed=assumed,
    )


def _marks(numeric: pl.Series) -> tuple[str, ...]:
    """The currency marks of a column as they are spelled, longer ones first, as the first that fits is taken."""
    if not numeric.str.contains(_CURRENCY).any():
        return ()
    spelled = numeric.str.extract_all(_CURRENCY).explode().drop_nulls().unique().to_list()
    return tuple(sorted(spelled, key=lambda mark: (-len(mark), mark)))


def _percent(numeric: pl.Series) -> Percent:
    marked = numeric.str.contains(_PERCENT, literal=True)
    if not marked.any():
        return "none"
    return "some" if (~marked & numeric.str.contains(_NOT_ZERO)).any() else "all"


def is_percentage(values: pl.Expr) -> pl.Expr:
    """Whether a text carries a percent sign."""
    return values.str.contains(_PERCENT, literal=True)


def marks_of(values: pl.Expr, written: NumberFormat) -> pl.Expr:
    """The currency marks that a text carries, separated by NUL; empty when it carries none."""
    return values.str.extract_all(_any_of(written.currency_marks)).list.join("\0")


def currency_of(marks: str) -> str:
    """The currency that the marks of one value stand for, by its code where a sign has one: `$` is USD, but `$` with `CAD` is CAD."""
    found = [mark.upper().rstrip(".") for mark in marks.split("\0")]
    code = next((mark for mark in found if len(mark) == _CODE_LENGTH and mark.isalpha()), found[0])
    return _CODE_OF.get(code, code)


def _any_of(marks: Sequence[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, marks))})" if marks else _NO_MARK


def has_more_places(values: pl.Expr) -> pl.Expr:
    """Whether a text has more decimal places than money holds."""
    return values.str.contains(_MORE_PLACES)


def as_money(values: pl.Expr, written: NumberFormat) -> pl.Expr:
    """Read trimmed texts as Decimal(38, 6); a percentage becomes its fraction, more than six places are rounded half to even. Null: not a number."""
    money = _plain_digits(values, written).cast(MONEY, strict=False)
    return money if written.percent == "none" else pl.when(is_percentage(values)).then((money / 100).cast(MONEY)).otherwise(money)


def as_float(values: pl.Expr, written: NumberFormat) -> pl.Expr:
    """Read trimmed texts as 64-bit floats; a percentage becomes its fraction. Null: not a (finite) number."""
    number = _plain_digits(values, written).cast(pl.Float64, strict=False)
    scaled = number if written.percent == "none" else pl.when(is_percentage(values)).then(number / 100).otherwise(number)
    return pl.when(scaled.is_finite()).then(scaled)


def as_integer(values: pl.Expr, written: NumberFormat) -> pl.Expr:
    """Read trimmed texts as 64-bit integers. Null: not a whole number, or, where no mark is used, one that would not be written the same again."""
    digits = _plain_digits(values, written)
    number = digits.cast(pl.Int64, strict=False)
    return pl.when(~_written_otherwise(digits)).then(number) if written.plain else number


def _written_otherwise(digits: pl.Expr) -> pl.Expr:
    """Whether the integer that a text stands for is not written like this: 007, +7, -0."""
    leading_zero = digits.str.starts_with("0") & (digits != "0")
    return leading_zero | digits.str.starts_with("+") | digits.str.starts_with("-0")


def may_be_identifiers(values: pl.Series) -> bool:
    """Whether texts of digits would lose something as numbers: a leading zero, a leading plus, or more digits than an integer holds."""
    return bool((values.str.contains(r"^\+|^[-−]?0\d") | values.str.contains(r"\d{19}")).any())


def float_as_money(values: pl.Expr) -> pl.Expr:
    """Turn floats into Decimal(38, 6) by way of their shortest decimal, so that 261.96 stays 261.96. More places are rounded half to even."""
    return values.cast(pl.String).cast(MONEY, strict=False)


_MORE_PLACES: Final = r"[.,]\d{6}\d*[1-9]|\d[eE]-"
_SIGN: Final = r"[+\-−]"
_PLAIN: Final = r"^[+\-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+\-]?\d{1,3})?$"


def _whole_part(mark: DecimalMark) -> str:
    """Digits with or without groups; the last group has three digits, the others two (as in India) or three, and one sign separates them all."""
    comma_or_point = "," if mark == "." else r"\."
    grouped = "|".join(rf"\d{{1,3}}(?:{sign}\d{{2,3}})*{sign}\d{{3}}" for sign in (comma_or_point, rf"[{_SPACES}]", "['’]"))
    return rf"(?:{grouped}|\d+)"


def _written_with(mark: DecimalMark, currency: str) -> str:
    point = rf"\{mark}"
    number = rf"(?:{_whole_part(mark)}(?:{point}\d*)?|{point}\d+)(?:[eE][+\-]?\d{{1,3}})?"
    gap = rf"[{_SPACES}]*"
    money = rf"(?:{currency}{gap})?"
    signed = rf"{_SIGN}?{gap}{money}{_SIGN}?{number}{gap}(?:{currency})?{gap}[\-−]?%?"
    bracketed = rf"{money}\({gap}{money}{number}{gap}(?:{currency})?{gap}\)"
    return rf"^(?:{signed}|{bracketed}|{number}{gap}%|{_SIGN}{gap}{number}{gap}%)$"


def _shows_decimal(mark: DecimalMark) -> str:
    """What proves a decimal mark: the other mark before it, digits behind it that are not three, a zero alone or four digits before it; or the other mark twice."""
    this, other = (r"\.", ",") if mark == "." else (",", r"\.")
    places = rf"{this}(?:\d{{1,2}}|\d{{4,}})(?:[^\d.,]|$)"
    return rf"\d{other}\d{{2,3}}{this}\d|\d['’{_SPACES}]\d{{3}}{this}\d|{places}|(?:^|[^\d.,])(?:0|\d{{4,}}){this}\d|(?:^|[^\d]){this}\d|{other}\d{{2,3}}{other}\d{{3}}"


def _either_mark() -> str:
    return r"(?:^|[^\d.,])[1-9]\d{0,2}[.,]\d{3}(?:[^\d.,]|$)"


def _has_places(mark: DecimalMark) -> str:
    return rf"\{mark}\d|\d[eE][+\-]?\d|%"


def _plain_digits(values: pl.Expr, written: NumberFormat) -> pl.Expr:
    """Take everything out that a cast does not read; null where the text is not written as the column writes."""
    if written.plain:
        return values
    currency, expected = _any_of(written.currency_marks), _expected_percent(values, written)
    if not written.mixed:
        return _digits_with(expected, written.decimal_mark, currency)
    other: DecimalMark = "," if written.decimal_mark == "." else "."
    shows_other = pl.when(values.str.contains(_shows_decimal(other))).then(expected)
    return pl.coalesce(_digits_with(expected, written.decimal_mark, currency), _digits_with(shows_other, other, currency))


def _expected_percent(values: pl.Expr, written: NumberFormat) -> pl.Expr:
    """Null where a value carries a percent sign and none was seen, or the other way round: the column is then to be judged again."""
    match written.percent:
        case "none":
            return pl.when(~is_percentage(values)).then(values)
        case "all":
            return pl.when(is_percentage(values) | ~values.str.contains(_NOT_ZERO)).then(values)
        case "some":
            return values


def _digits_with(values: pl.Expr, mark: DecimalMark, currency: str) -> pl.Expr:
    as_written = pl.when(values.str.contains(_written_with(mark, currency))).then(values)
    bare = as_written.str.replace_all(currency, "").str.replace_all(rf"[{_SPACES}'’%]", "").str.replace_all("−", "-", literal=True)
    bare = bare.str.replace_all("," if mark == "." else ".", "", literal=True)
    if mark == ",":
        bare = bare.str.replace_all(",", ".", literal=True)
    return bare.str.replace(r"^\((.*)\)$", "-$1").str.replace(r"^(.*)-$", "-$1")
