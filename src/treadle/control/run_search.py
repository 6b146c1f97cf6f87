"""Finding runs: one by its id, pages by time, those that are active, the latest that succeeded. Nothing here changes anything."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from treadle.control.cursor import decode_cursor, encode_cursor
from treadle.control.database import Database
from treadle.control.run import Run, run_from_row
from treadle.control.statements import load_queries, with_lines
from treadle.control.states import RunStatus
from treadle.control.stored import checked_time, storable
from treadle.errors import InvalidInput, NotFound

SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
MAX_PAGE: Final = 500
SHORTEST_ID: Final = 8  # of an id's characters, to name a run by its beginning
_SHORTEST_ID_IN_TEXT: Final = 4  # below that, a search for a word such as "fade" would be mostly chance
_HEX: Final = re.compile(r"[0-9a-f]{1,32}")


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, newest first. `next`: give it as `after` for the page behind this one; None when this is the last.

    Of the KPIs, listed runs have only the plain figures; `get_run` has all.
    """

    runs: tuple[Run, ...]
    next: str | None


def get_run(database: Database, run_id: UUID) -> Run:
    """Return one run.

    Raises:
        NotFound: there is no such run.
    """
    rows = database.read(SQL["get_run"], {"run_id": run_id})
    if not rows:
        raise no_such_run(run_id)
    return run_from_row(rows[0])


def find_run(database: Database, text: str) -> Run:
    """Return the run whose id is, or begins with, this text.

    Raises:
        InvalidInput: it is no beginning of an id of at least 8 characters, or several runs begin so.
        NotFound: no run begins so.
    """
    span = id_span(text.strip())
    if span is None or len(text.strip()) < SHORTEST_ID:
        raise InvalidInput(f"{text!a} does not name a run.", hint=f"Give a run's id, or at least its first {SHORTEST_ID} characters.")
    rows = database.read(SQL["runs_between"], {"lowest": span[0], "highest": span[1]})
    if not rows:
        raise no_such_run(text.strip())
    if len(rows) > 1:
        ids = [str(row["run_id"]) for row in rows]
        raise InvalidInput(
            f"More than one run begins with {text}: {', '.join(ids)} …", hint="Give more of the id.", details={"run_ids": ids}
        )
    return run_from_row(rows[0])


def list_runs(  # noqa: PLR0913 - each is a filter of its own, given by name
    database: Database,
    *,
    limit: int = 50,
    after: str | None = None,
    status: Collection[RunStatus] | None = None,
    input_file_contains: str | None = None,
    triggered_by: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    text: str | None = None,
    include_restores: bool = True,
) -> Page:
    """Return one page of runs, newest first. Runs that start meanwhile neither repeat nor hide others on later pages.

    Args:
        database: where they are.
        limit: how many at most, 1 to 500.
        after: `next` of the page before; None for the first.
        status: only these; None or none for all.
        input_file_contains: in any case, taken literally.
        triggered_by: exactly this name.
        since: created at this moment or later.
        until: created before this moment.
        text: found in file, person or error message in any case, or as the beginning of the run id.
        include_restores: whether runs that restore others are listed.

    Raises:
        InvalidInput: the cursor, the limit or a time cannot be used.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"A page cannot have {limit} runs.", hint=f"Ask for 1 to {MAX_PAGE}.")
    position = decode_cursor("runs", after) if after else None
    text = text and text.strip()
    span = id_span(text) if text and len(text) >= _SHORTEST_ID_IN_TEXT else None
    statuses = sorted(status or ())
    values: dict[str, Any] = {
        "after": position,
        "since": since and checked_time("since", since),
        "until": until and checked_time("until", until),
        "status": statuses[0] if len(statuses) == 1 else None,
        "statuses": statuses if len(statuses) > 1 else None,
        "triggered_by": triggered_by and storable(triggered_by),
        "input_file": input_file_contains and _containing(input_file_contains),
        "without_restores": not include_restores,
        "text": text and _containing(text),
        "id_text": span,
    }
    sql = with_lines(SQL["list_runs"], _lines(database, {name for name, value in values.items() if value}))
    values |= {"limit": limit + 1}
    if position:
        values |= {"after_time": position.moment, "after_id": position.row_id}
    if span:
        values |= {"lowest": span[0], "highest": span[1]}
    found = [run_from_row(row) for row in database.read(sql, values)]
    return _page(found, limit)


def active_runs(database: Database) -> list[Run]:
    """Return every run that has not ended, oldest first."""
    return [run_from_row(row) for row in database.read(SQL["active_runs"])]


def latest_succeeded(database: Database, *, before: datetime | None = None) -> Run | None:
    """Return the newest run that succeeded, restores aside. None: there is none.

    before: only those created earlier.
    """
    moment = before and checked_time("before", before)
    rows = database.read(with_lines(SQL["latest_succeeded"], {"before"} if moment else set[str]()), {"before": moment})
    return run_from_row(rows[0]) if rows else None


def previous_run(database: Database, run: Run) -> Run | None:
    """Return the run whose figures a run's change is measured against: the latest before it that succeeded. None: it is the first."""
    return latest_succeeded(database, before=run.created_at)


def claimed_job_ids(database: Database, job_ids: Collection[str], *, not_of: UUID) -> set[str]:
    """Return which of these Fabric jobs belong to other runs than `not_of`, in the spelling given."""
    lowered = {job_id.lower(): job_id for job_id in job_ids}
    rows = database.read(SQL["claimed_jobs"], {"job_ids": list(lowered), "run_id": not_of})
    return {lowered[key] for row in rows if (key := str(row["fabric_job_id"]).lower()) in lowered}


def id_span(text: str) -> tuple[UUID, UUID] | None:
    """The lowest and highest id that begin with this text, hyphens or none. None: no id begins so. Pure."""
    digits = text.lower().replace("-", "")
    if not _HEX.fullmatch(digits):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def no_such_run(run_id: UUID | str) -> NotFound:
    """The error for a run that is not recorded."""
    return NotFound(f"There is no run {run_id}.", hint="List the runs with: treadle run ls", details={"run_id": str(run_id)})


def _lines(database: Database, wanted: set[str]) -> set[str]:
    return wanted | ({"status_last_updated_at"} if database.schema.has_status_last_updated_at else set[str]())


def _containing(text: str) -> str:
    """The LIKE pattern for text that contains this, taken literally."""
    literal = storable(text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{literal}%"


def _page(found: list[Run], limit: int) -> Page:
    shown = tuple(found[:limit])
    more = len(found) > limit
    return Page(shown, encode_cursor("runs", shown[-1].created_at, shown[-1].run_id) if more else None)
