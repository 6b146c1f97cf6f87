"""Which weeks have how many events, of what quality; the key; the limit of calls; and the pages of a window."""

import hmac
import secrets
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from pathlib import Path
from typing import Any, Final

from treadle.sandbox.clock import Clock
from treadle.sandbox.events.defects import ALL_KINDS
from treadle.sandbox.events.stream import Recipe, index_of, records
from treadle.sandbox.state import read_json, write_json

MAX_PAGE_SIZE: Final = 1_000
ENVELOPES: Final = ("data", "events", "results", "items", "list")
_FRONT_ROWS: Final = 4_096  # of the list from which events are taken that turn up at the beginning of a week
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class WeekPlan:
    """What the API has of one week.

    start: its Monday. defect_rate, oddity_rate, hostile_rate: shares of the events (defects.py says what each is).
    kinds: only these kinds occur, whatever the rates are of groups that have none of them; empty: all.
    late: sizes of the batches that came in later; they stand at the end of the list, with times all over the week.
    changed_every: each n-th event has been corrected, to another price; 0: none. revision: how often.
    inserted, removed: how many events have turned up at, or gone from, the beginning of the list.
    """

    start: date
    rows: int
    defect_rate: float = 0.0
    oddity_rate: float = 0.0
    hostile_rate: float = 0.0
    kinds: tuple[str, ...] = ()
    seed: int = 1
    late: tuple[int, ...] = ()
    changed_every: int = 0
    revision: int = 1
    inserted: int = 0
    removed: int = 0

    def __post_init__(self) -> None:
        if self.start.weekday():
            raise ValueError(f"a week begins on a Monday, which {self.start} is not")
        counts = (self.rows, self.changed_every, self.revision, self.inserted, self.removed, *self.late)
        if any(type(count) is not int or count < 0 for count in counts) or self.inserted > _FRONT_ROWS or self.removed > self.rows:
            raise ValueError(f"counts are whole numbers from 0; no more than {_FRONT_ROWS} events are inserted, and removed than there are")
        if unknown := set(self.kinds) - set(ALL_KINDS):
            raise ValueError(f"unknown kinds of records: {sorted(unknown)}; known: {', '.join(ALL_KINDS)}")
        rates = (self.defect_rate, self.oddity_rate, self.hostile_rate)
        if any(not 0 <= rate <= 1 for rate in rates) or sum(rates) > 1:
            raise ValueError("rates are shares from 0 to 1, and no more than 1 together")

    @classmethod
    def from_json(cls, start: date, plan: Mapping[str, Any], before: "WeekPlan | None" = None) -> "WeekPlan":
        """Read one; what `plan` does not name is as `before`. Raises ValueError that names what is unknown."""
        known = {each.name for each in fields(cls)} - {"start"}
        if unknown := set(plan) - known:
            raise ValueError(f"a week has no {sorted(unknown)}; it has {', '.join(sorted(known))}")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in plan.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - from JSON
        return replace(before or cls(start, 0), **values)

    def to_json(self) -> dict[str, Any]:
        """The plan as it can be given again."""
        return {**asdict(self), "start": self.start.isoformat(), "kinds": list(self.kinds), "late": list(self.late)}

    def lists(self) -> list[tuple[Recipe, int, int]]:
        """Of which lists the week consists: recipe, first row, and the row after the last."""
        opens, name = datetime.combine(self.start, time(), UTC), f"{self.seed}/{self.start}"
        rates = (self.defect_rate, self.oddity_rate, self.hostile_rate, self.kinds)
        usual = Recipe(name, opens, self.rows, *rates, self.changed_every, self.revision)
        late = [(Recipe(f"{name}/late/{number}", opens, size, *rates), 0, size) for number, size in enumerate(self.late)]
        return [(Recipe(f"{name}/front", opens, _FRONT_ROWS), 0, self.inserted), (usual, self.removed, self.rows), *late]


def default_weeks() -> dict[date, WeekPlan]:
    """Twelve weeks from 2019-11-04 on. The one of 2019-12-09 has two bad records in a hundred, the one of 2020-01-13 has ten."""
    plans = dict[date, WeekPlan]()
    for number in range(12):
        start = date(2019, 11, 4) + timedelta(weeks=number)
        plans[start] = WeekPlan(start, 5_000 + 250 * number, oddity_rate=0.01)
    plans[date(2019, 12, 9)] = replace(plans[date(2019, 12, 9)], defect_rate=0.02)
    plans[date(2020, 1, 13)] = replace(plans[date(2020, 1, 13)], defect_rate=0.10)
    return plans


@dataclass(slots=True)
class EventsOptions:
    """What can be set while the sandbox runs.

    requests_per_minute: None: calls are not counted. envelope: the key under which the events stand; "list": they stand alone, without meta.
    reports_total: whether meta.total is there. page_cap: the API gives no more than so many events a page, whatever is asked for.
    """

    requests_per_minute: int | None = None
    envelope: str = "data"
    reports_total: bool = True
    page_cap: int = MAX_PAGE_SIZE

    def set(self, changes: Mapping[str, Any]) -> None:
        """Change some; raises ValueError for what is unknown or out of range, and changes nothing then."""
        known = {each.name for each in fields(self)}
        if unknown := set(changes) - known:
            raise ValueError(f"there is no option {sorted(unknown)}; there are {', '.join(sorted(known))}")
        wanted = replace(self, **changes)
        per_minute: Any = wanted.requests_per_minute
        if wanted.envelope not in ENVELOPES or type(wanted.reports_total) is not bool:
            raise ValueError(f"envelope is one of {', '.join(ENVELOPES)}; reports_total is true or false")
        if not (per_minute is None or (type(per_minute) is int and per_minute > 0)):
            raise ValueError("requests_per_minute is a whole number above 0, or null")
        if type(wanted.page_cap) is not int or not 0 < wanted.page_cap <= MAX_PAGE_SIZE:
            raise ValueError(f"page_cap is a whole number from 1 to {MAX_PAGE_SIZE}")
        for name in changes:
            setattr(self, name, getattr(wanted, name))


@dataclass(frozen=True, slots=True)
class PageOfEvents:
    """Some events of a window, each as the bytes of a JSON value, and how many the window has."""

    records: Sequence[bytes]
    total: int


class EventsStore:
    """The events of a sandbox. Weeks and key outlast the process, options do not. Safe to use from any thread."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.options = EventsOptions()
        self.api_key = str((read_json(folder / "identity.json") or _new_identity(folder))["api_key"])
        self._clock, self._weeks_file, self._lock = clock, folder / "weeks.json", threading.RLock()
        self._calls: deque[datetime] = deque()
        self._weeks = self._read_weeks()

    def knows(self, key: str) -> bool:
        """Whether this is the key; compared in a time that does not depend on it."""
        return hmac.compare_digest(key.encode(), self.api_key.encode())

    def weeks(self) -> list[WeekPlan]:
        """All weeks, the earliest first."""
        with self._lock:
            return [self._weeks[start] for start in sorted(self._weeks)]

    def week(self, start: date) -> WeekPlan:
        """One week; a week that nobody planned has no events."""
        with self._lock:
            return self._weeks.get(start) or WeekPlan(start, 0)

    def set_week(self, start: date, **plan: Any) -> WeekPlan:
        """Plan a week, or change what is named of it; `rows=0` empties it. Raises ValueError for what a week cannot have."""
        with self._lock:
            made = WeekPlan.from_json(start, plan, self._weeks.get(start))
            self._weeks[start] = made
            self._write_weeks()
            return made

    def add_late_events(self, start: date, *, added: int = 0, changed_every: int = 0) -> WeekPlan:
        """Something comes in after the week was read: `added` more events, and a correction to each n-th price."""
        with self._lock:
            before = self.week(start)
            late = (*before.late, added) if added else before.late
            changed = {"changed_every": changed_every, "revision": before.revision + 1} if changed_every else {}
            return self.set_week(start, late=late, **changed)

    def drift(self, window_opens: datetime, rows: int) -> None:
        """The list changes at its beginning: `rows` more events, or that many less below zero. So all pages shift."""
        with self._lock:
            monday = window_opens.date() - timedelta(days=window_opens.weekday())
            before = self.week(monday)
            change = (
                {"inserted": min(before.inserted + rows, _FRONT_ROWS)} if rows > 0 else {"removed": min(before.removed - rows, before.rows)}
            )
            self.set_week(monday, **change)

    def reset(self) -> None:
        """The weeks and options of a fresh sandbox; the key stays."""
        with self._lock:
            self._weeks, self.options = default_weeks(), EventsOptions()
            self._calls.clear()
            self._write_weeks()

    def admit(self) -> int | None:
        """Count a call. None: it may be made; else the seconds after which the next one may."""
        limit = self.options.requests_per_minute
        if limit is None:
            return None
        with self._lock:
            now = self._clock.now()
            while self._calls and self._calls[0] <= now - _MINUTE:
                self._calls.popleft()
            if len(self._calls) >= limit:
                return max(1, ceil((self._calls[0] + _MINUTE - now).total_seconds()))
            self._calls.append(now)
            return None

    def page(self, opens: datetime, closes: datetime, number: int, size: int) -> PageOfEvents:
        """Page `number`, from 1, of the events from `opens` on and before `closes`. Beyond the last page there are no events."""
        spans = self._spans(opens, closes)
        skip, wanted, found = (number - 1) * size, size, list[bytes]()
        for recipe, first, last in spans:
            begin = min(last, first + skip)
            taken = records(recipe, begin, min(last, begin + wanted))
            found += taken
            skip, wanted = max(0, skip - (last - first)), wanted - len(taken)
            if not wanted:
                break
        return PageOfEvents(found, sum(last - first for _, first, last in spans))

    def _spans(self, opens: datetime, closes: datetime) -> list[tuple[Recipe, int, int]]:
        """Which rows of which lists are in the window."""
        spans = list[tuple[Recipe, int, int]]()
        for plan in self.weeks():
            begins = datetime.combine(plan.start, time(), UTC)
            if begins < closes and opens < begins + timedelta(weeks=1):
                within = [
                    (recipe, max(first, index_of(recipe, opens)), min(last, index_of(recipe, closes)))
                    for recipe, first, last in plan.lists()
                ]
                spans += [(recipe, first, last) for recipe, first, last in within if first < last]
        return spans

    def _read_weeks(self) -> dict[date, WeekPlan]:
        kept = read_json(self._weeks_file)
        if kept is None:
            return default_weeks()
        plans = [WeekPlan.from_json(date.fromisoformat(week.pop("start")), week) for week in kept["weeks"]]
        return {plan.start: plan for plan in plans}

    def _write_weeks(self) -> None:
        write_json(self._weeks_file, {"weeks": [self._weeks[start].to_json() for start in sorted(self._weeks)]})


def _new_identity(folder: Path) -> dict[str, Any]:
    identity = {"api_key": f"sandbox-events-{secrets.token_urlsafe(24)}"}
    write_json(folder / "identity.json", identity)
    return identity
