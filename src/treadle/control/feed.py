"""The trail of a run with numbers: what a listener has seen is one number, and from there it goes on without gap or repetition.

`run_events` has no sequence, and is not ours to alter. So each event gets the next number of its run when somebody first reads it, for good, in
`treadle.run_feed`. The two tables may be in different databases: nothing here joins them, and a number for an event is never given twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from treadle.control.advisory import lock_number
from treadle.control.database import Database
from treadle.control.events import Event, list_events
from treadle.control.statements import load_queries
from treadle.control.states import RunStatus

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))

# An event can appear this much later than its time says: no transaction of ours lives longer (database.py, idle_in_transaction_timeout).
LATENESS: Final = timedelta(seconds=90)
_THE_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event of a run and its number within it: 1, 2, 3 … in the order in which they were first seen."""

    seq: int
    event: Event


def numbered_trail(database: Database, own: Database, run_id: UUID) -> list[NumberedEvent]:
    """The whole trail of a run so far, by number; none when there is no such run. Safe for many readers at once."""
    found = list_events(database, run_id)
    return in_order(number_events(own, run_id, found), found, after_seq=0)


def number_events(own: Database, run_id: UUID, found: Sequence[Event], *, after_seq: int = 0) -> dict[int, UUID]:
    """Give each of these events its number, if it has none, and return all numbers of the run above `after_seq` with their events' ids."""
    ids = [event.id for event in found]
    known = _read(own, run_id, after_seq)
    if not set(ids) - set(known.values()):
        return known
    with own.transaction() as connection:
        connection.execute(_SQL["serialise_feed"], {"key": lock_number(f"feed:{run_id}")})
        connection.execute(_SQL["number_events"], {"run_id": run_id, "event_ids": ids})
    return _read(own, run_id, after_seq)


def in_order(numbers: Mapping[int, UUID], found: Sequence[Event], *, after_seq: int) -> list[NumberedEvent]:
    """The events behind `after_seq` as far as they follow each other without a gap. Pure.

    A number whose event was not found belongs to one that another reader has seen already and this one will see at its next look: what comes
    after it waits.
    """
    by_id = {event.id: event for event in found}
    ready: list[NumberedEvent] = []
    seq = after_seq + 1
    while (event_id := numbers.get(seq)) is not None and (event := by_id.get(event_id)) is not None:
        ready.append(NumberedEvent(seq, event))
        seq += 1
    return ready


def states_of(database: Database, run_ids: Sequence[UUID]) -> dict[UUID, RunStatus]:
    """Where these runs are, in one query; what is not recorded is left out."""
    rows = database.read(_SQL["states_of_runs"], {"run_ids": list(run_ids)})
    return {row["run_id"]: RunStatus(row["status"]) for row in rows}


def latest_events(database: Database, since: Mapping[UUID, datetime | None]) -> dict[UUID, list[Event]]:
    """Events of all these runs in one query, by time. since: of the last event that was seen of the run; None for all of them."""
    floors = [seen - LATENESS if seen else _THE_BEGINNING for seen in since.values()]
    rows = database.read(_SQL["events_of_runs"], {"run_ids": list(since), "floors": floors})
    found: dict[UUID, list[Event]] = {run_id: [] for run_id in since}
    for row in rows:
        found[row["run_id"]].append(Event(**row))
    return found


def _read(own: Database, run_id: UUID, after_seq: int) -> dict[int, UUID]:
    return {row["seq"]: row["event_id"] for row in own.read(_SQL["read_feed"], {"run_id": run_id, "after_seq": after_seq})}
