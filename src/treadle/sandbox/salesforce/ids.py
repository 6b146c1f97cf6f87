"""Record ids and times as Salesforce writes them.

Source: Salesforce Help, "Convert 15-character IDs to 18-character IDs"; REST guide, valid date and dateTime formats.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_LENGTHS: Final = (15, 18)
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
_FIVE_DIGITS: Final = 62**5
_POD: Final = "Tr0"  # the three characters behind the prefix say on which server a record was made


def id_of(prefix: str, number: int) -> str:
    """The 18-character id of the record with this number."""
    high, low = divmod(number, _FIVE_DIGITS)
    front, checks = _front(prefix, high)
    first, pair = divmod(low, len(_PAIRS))
    five = _three_digits(first) + _PAIRS[pair]
    return f"{front}{five}{checks}{_check_character(five)}"


def number_of(prefix: str, identity: str) -> int | None:
    """The inverse, for both lengths; None for an id of another kind, or no id at all."""
    if len(identity) not in _LENGTHS or not identity.startswith(prefix + _POD) or not all(one in _VALUES for one in identity[:15]):
        return None
    number = 0
    for digit in identity[6:15]:
        number = number * 62 + _VALUES[digit]
    return number if number < 2**63 and identity == id_of(prefix, number)[: len(identity)] else None


def salesforce_time(moment: datetime) -> str:
    """A time as in answers: UTC, milliseconds that are always zero."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


@lru_cache(maxsize=64)
def _front(prefix: str, high: int) -> tuple[str, str]:
    """The first ten characters and their two check characters."""
    digits = ""
    for _ in range(4):
        high, digit = divmod(high, 62)
        digits = _DIGITS[digit] + digits
    ten = prefix + _POD + digits
    return ten, _check_character(ten[:5]) + _check_character(ten[5:])


@lru_cache(maxsize=4096)
def _three_digits(number: int) -> str:
    return _DIGITS[number // 3844] + _PAIRS[number % 3844]


def _check_character(five: str) -> str:
    one, two, three, four, last = five
    upper = one.isupper() + 2 * two.isupper() + 4 * three.isupper() + 8 * four.isupper() + 16 * last.isupper()
    return _CHECK[upper]
