"""One list of events in the order of their times, any part of which can be computed alone."""

import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache
from itertools import accumulate
from typing import Final

from treadle.sandbox.events.catalogue import Product, price_text, products, skewed
from treadle.sandbox.events.defects import ALL_KINDS, DEFECTS, HOSTILE, ODDITIES

BLOCK_ROWS: Final = 1_000  # what is made at once
_WEEK_SECONDS: Final = 7 * 86_400
_EVENTS_PER_SESSION: Final = 5
_SESSION_SECONDS: Final = 600
_TYPES: Final = ('"view"',) * 44 + ('"cart"',) * 12 + ('"purchase"',) * 8  # 64, of the events that follow the first of a session
_SHARE: Final = 1 << 20
_BY_HOUR: Final = (3, 2, 1, 1, 1, 2, 4, 7, 9, 10, 10, 10, 11, 11, 10, 10, 11, 12, 14, 16, 17, 15, 10, 6)
_BY_DAY: Final = (9, 9, 9, 10, 11, 13, 12)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that the events of a list depend on. The rates are shares of the rows.

    kinds: of all that defects.py lists; empty means every kind of the group that a rate is for.
    changed_every: every n-th event has another price, by `revision` units of money; 0: none has.
    """

    name: str
    opens: datetime
    rows: int
    defect_rate: float = 0.0
    oddity_rate: float = 0.0
    hostile_rate: float = 0.0
    kinds: tuple[str, ...] = ()
    changed_every: int = 0
    revision: int = 1


def records(recipe: Recipe, first: int, last: int) -> list[bytes]:
    """The events first … last - 1, each as the bytes of a JSON value."""
    found = list[bytes]()
    for number in range(first // BLOCK_ROWS, -(-last // BLOCK_ROWS)):
        begin = number * BLOCK_ROWS
        found += _block(recipe, number)[max(0, first - begin) : last - begin]
    return found


def index_of(recipe: Recipe, moment: datetime) -> int:
    """How many of the events come before this moment."""
    wanted = (moment - recipe.opens).total_seconds()
    if wanted <= 0 or wanted >= _WEEK_SECONDS:
        return 0 if wanted <= 0 else recipe.rows
    return bisect_left(range(recipe.rows), wanted, key=lambda index: _second(recipe, index, _bits(recipe.name, index // BLOCK_ROWS)))


@lru_cache(maxsize=32)
def _bits(name: str, block: int) -> "array[int]":
    """Two random numbers of 64 bits for each row of a block, and two for each of its sessions."""
    numbers = array("Q")
    numbers.frombytes(random.Random(f"{name}/{block}").randbytes(8 * (2 * BLOCK_ROWS + 2 * BLOCK_ROWS)))  # noqa: S311 - repeatable, not secret
    return numbers


@lru_cache(maxsize=32)
def _block(recipe: Recipe, number: int) -> Sequence[bytes]:
    count = min(BLOCK_ROWS, recipe.rows - number * BLOCK_ROWS)
    making = _Making(recipe, number)
    return [making.record(row) for row in range(count)]


class _Making:
    """One block while it is made, row after row: which of its sessions an event belongs to, and how many that session has had."""

    def __init__(self, recipe: Recipe, number: int) -> None:
        self._recipe, self._begin, self._bits = recipe, number * BLOCK_ROWS, _bits(recipe.name, number)
        self._sessions = _sessions(recipe, self._bits)
        self._seen = [0] * len(self._sessions)
        a_while = round(recipe.rows * _SESSION_SECONDS / _WEEK_SECONDS / _EVENTS_PER_SESSION)
        self._side_by_side = max(3, min(len(self._sessions), a_while))  # sessions that are open at a time
        self._bounds, self._kinds = _shares(recipe)
        self._catalogue, self._often = products(), skewed()
        self._days, self._minutes = _days(recipe.opens), _minutes()

    def record(self, row: int) -> bytes:
        one, two = self._bits[2 * row], self._bits[2 * row + 1]
        place = (row // _EVENTS_PER_SESSION + one % self._side_by_side) % len(self._sessions)
        session = self._sessions[place]
        product = session.favourite if two & 3 else self._catalogue[self._often[(two >> 2) & 4095]]
        kind = _TYPES[(two >> 14) & 63] if self._seen[place] else '"view"'
        self._seen[place] += 1
        second = _second(self._recipe, self._begin + row, self._bits)
        time = f'"{self._days[second // 86_400]}T{self._minutes[second % 86_400 // 60]}:{second % 60:02d}Z"'
        price = price_text(self._cents(product, row))
        drawn = (two >> 20) & (_SHARE - 1)
        if drawn < self._bounds[-1]:
            kinds = self._kinds[bisect_right(self._bounds, drawn)]
            return ALL_KINDS[kinds[(two >> 40) % len(kinds)]](_fields(time, kind, product, price, session), two >> 52)
        return f'{{"event_time":{time},"event_type":{kind},{product.head},"price":{price},{session.tail}}}'.encode()

    def _cents(self, product: Product, row: int) -> int:
        changed = self._recipe.changed_every and (self._begin + row) % self._recipe.changed_every == 0
        return product.price_cents + (100 * self._recipe.revision if changed else 0)


@dataclass(frozen=True, slots=True)
class _Session:
    """Somebody's visit: who, its id, both as JSON texts and as they stand in a record, and the product it is mostly about."""

    user: str
    name: str
    tail: str
    favourite: Product


def _sessions(recipe: Recipe, bits: "array[int]") -> Sequence[_Session]:
    """The sessions of a block. Few customers have many of them: the first of a thousand has one in fifty."""
    customers = max(20, recipe.rows // 6)
    made = list[_Session]()
    for place in range(BLOCK_ROWS // _EVENTS_PER_SESSION):
        one, two = bits[2 * (BLOCK_ROWS + place)], bits[2 * (BLOCK_ROWS + place) + 1]
        customer = int(customers * ((one >> 32) / 2**32) ** 1.8)
        digits = f"{one:016x}{two:016x}"
        name = f'"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"'
        user = f'"{500_000_001 + customer * 7_919_777 % 99_999_989}"'
        made.append(_Session(user, name, f'"user_id":{user},"user_session":{name}', products()[skewed()[two & 4095]]))
    return made


def _fields(time: str, kind: str, product: Product, price: str, session: _Session) -> dict[str, str]:
    """The same record as in `_Making.record`, by its fields."""
    start = {"event_time": time, "event_type": kind}
    return {**start, **product.texts, "price": price, "user_id": session.user, "user_session": session.name}


def _shares(recipe: Recipe) -> tuple[Sequence[int], Sequence[Sequence[str]]]:
    """Upper bounds of a number below 2²⁰ for defects, oddities and hostile records, and the kinds of each."""
    rates = (recipe.defect_rate, recipe.oddity_rate, recipe.hostile_rate)
    kinds = [[kind for kind in group if not recipe.kinds or kind in recipe.kinds] for group in (DEFECTS, ODDITIES, HOSTILE)]
    shares = [round(rate * _SHARE) if group else 0 for rate, group in zip(rates, kinds, strict=True)]
    return list(accumulate(shares)), kinds


def _second(recipe: Recipe, index: int, bits: "array[int]") -> int:
    """The second of the week in which the event happens; never less than that of the event before it. bits: those of the event's block."""
    bounds, share = _hour_bounds(), (index + (bits[2 * (index % BLOCK_ROWS)] >> 40) / 16_777_216) / recipe.rows
    hour = min(bisect_right(bounds, share) - 1, 167)
    within = (share - bounds[hour]) / (bounds[hour + 1] - bounds[hour])
    return min(int((hour + within) * 3600), _WEEK_SECONDS - 1)


@cache
def _hour_bounds() -> Sequence[float]:
    """How much of a week has happened before each of its hours: nights are quiet, evenings and Saturdays busy."""
    weights = [hour * day for day in _BY_DAY for hour in _BY_HOUR]
    return [0.0, *(done / sum(weights) for done in accumulate(weights))]


@cache
def _days(opens: datetime) -> Sequence[str]:
    return [(opens + timedelta(days=day)).strftime("%Y-%m-%d") for day in range(7)]


@cache
def _minutes() -> Sequence[str]:
    return [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1440)]
