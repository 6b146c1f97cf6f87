"""What is kept beside the database, on this machine: a mirror of the checkpoint, and what could not be recorded while the database was away.

The mirror is for people and for recovery by hand; nothing is ever decided by it. The queue is played back at the next start, each entry by
itself: what fails again stays, and a line that cannot be read is put aside, never lost.
"""

import fcntl
import json
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

import structlog

from treadle.errors import Conflict, InvalidInput, NotFound, OutcomeUnknown, Throttled, TreadleError, Unavailable
from treadle.flows.weekly.record import Checkpoint, RunEnd, RunStatus
from treadle.flows.weekly.week import Week

log = structlog.get_logger()

MIRROR_NAME: Final = "extractor_state.json"
PENDING_NAME: Final = "pending_db_updates.jsonl"
ASIDE_NAME: Final = "pending_db_updates.malformed.jsonl"
_LATER: Final = (Unavailable, OutcomeUnknown, Throttled)  # the database is away: the entry is tried again at the next start


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the queue: entries recorded, entries that still wait, entries and lines put aside."""

    recorded: int = 0
    waiting: int = 0
    aside: int = 0


class CheckpointMirror:
    """The files of one STATE_DIR. Safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mirror_file, self.pending_file, self.aside_file = folder / MIRROR_NAME, folder / PENDING_NAME, folder / ASIDE_NAME

    def write(self, pipeline: str, checkpoint: Checkpoint, *, pending: bool = False) -> None:
        """Mirror the checkpoint. pending: the database does not have it yet; it waits in the queue."""
        last = checkpoint.last
        state = {
            "pipeline_name": pipeline,
            "last_successful_week_start": last and str(last.start),
            "last_successful_week_end": last and str(last.end),
            "next_week_start": str(checkpoint.next.start),
            "next_week_end": str(checkpoint.next.end),
            "updated_at_utc": _iso(checkpoint.updated_at),
            "pending": pending,
        }
        write_atomically(self.mirror_file, json.dumps(state, indent=2) + "\n")

    def read(self) -> Mapping[str, Any] | None:
        """What was mirrored. None: nothing, or nothing that can be read."""
        try:
            found = json.loads(self.mirror_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.folder, error) from error
        except ValueError as error:
            log.warning("weekly.mirror_unreadable", file=str(self.mirror_file), error=str(error))
            return None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None

    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint as it was mirrored last; only for what is told while the database is away. None: not known."""
        found = self.read()
        try:
            return _mirrored(found) if found else None
        except (ValueError, KeyError, TypeError, InvalidInput):
            return None

    def queue(self, end: RunEnd, now: datetime) -> None:
        """Keep an end of a run that the database could not take. Repeating it for one run replaces what was queued."""
        with self._alone():
            kept = [line for line in self._lines() if _run_id_in(line) != str(end.run_id)]
            self._rewrite([*kept, _line_of(end, now)])
        log.warning("weekly.update_queued", run_id=str(end.run_id), week=str(end.week), file=str(self.pending_file))

    def waiting(self) -> int:
        """How many entries are in the queue."""
        return len(self._lines())

    def replay(self, record: Callable[[RunEnd], object]) -> Replayed:
        """Give every entry to `record`, each by itself, and keep those that the database still cannot take.

        An entry that the database refuses for good – its run has ended otherwise, or is not there – is put aside with the reason.
        """
        with self._alone():
            lines = self._lines()
            if not lines:
                return Replayed()
            left, aside, recorded = list[str](), list[str](), 0
            for line in lines:
                what = self._replay_line(line, record)
                if what == "later":
                    left.append(line)
                elif what == "recorded":
                    recorded += 1
                else:
                    aside.append(json.dumps({"line": line, "reason": what}, ensure_ascii=False))
            if aside:
                self._put_aside(aside)
            self._rewrite(left)
        return Replayed(recorded, len(left), len(aside))

    def _replay_line(self, line: str, record: Callable[[RunEnd], object]) -> str:
        try:
            end = _end_of(line)
        except (ValueError, KeyError, TypeError, InvalidOperation, TreadleError) as error:
            log.warning("weekly.pending_line_malformed", file=str(self.pending_file), reason=f"{type(error).__name__}: {error}")
            return f"malformed: {type(error).__name__}"
        try:
            record(end)
        except _LATER as error:
            log.warning("weekly.pending_update_waits", run_id=str(end.run_id), reason=error.message)
            return "later"
        except (Conflict, NotFound, InvalidInput) as error:
            log.warning("weekly.pending_update_refused", run_id=str(end.run_id), reason=error.message)
            return error.message
        return "recorded"

    def _put_aside(self, lines: Iterable[str]) -> None:
        """Before the queue is rewritten: a crash in between leaves a line twice, never lost."""
        try:
            with self.aside_file.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unusable(self.folder, error) from error

    def _lines(self) -> list[str]:
        try:
            text = self.pending_file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unusable(self.folder, error) from error
        return [line for line in text.split("\n") if line.strip()]

    def _rewrite(self, lines: list[str]) -> None:
        if lines:
            write_atomically(self.pending_file, "".join(f"{line}\n" for line in lines))
        else:
            self.pending_file.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Generator[None]:
        with ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                file = held.enter_context((self.folder / ".pending.lock").open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                raise _unusable(self.folder, error) from error
            yield


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all: beside it, flushed to the disk, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise Unavailable(
            f"{path} cannot be written: {error.strerror or type(error).__name__}.", hint="Make room or correct the folder's rights."
        ) from error


def _unusable(folder: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"STATE_DIR, {folder}, cannot be used: {error.strerror or type(error).__name__}.",
        hint="Set STATE_DIR to a folder that Treadle may make and write to.",
    )


def _mirrored(state: Mapping[str, Any]) -> Checkpoint:
    def week(name: str) -> Week:
        return Week(date.fromisoformat(state[f"{name}_week_start"]), date.fromisoformat(state[f"{name}_week_end"]))

    last = week("last_successful") if state["last_successful_week_start"] else None
    return Checkpoint(week("next"), last, datetime.fromisoformat(state["updated_at_utc"]))


def _line_of(end: RunEnd, now: datetime) -> str:
    entry = asdict(end)
    week = entry.pop("week")
    entry |= {"run_id": str(end.run_id), "week_start": str(week["start"]), "week_end": str(week["end"]), "queued_at": _iso(now)}
    entry["reject_rate_pct"] = None if end.reject_rate_pct is None else str(end.reject_rate_pct)
    return json.dumps(entry, ensure_ascii=False)


def _end_of(line: str) -> RunEnd:
    entry: dict[str, Any] = dict(json.loads(line))
    entry.pop("queued_at", None)
    rate = entry.pop("reject_rate_pct", None)
    return RunEnd(
        run_id=UUID(entry.pop("run_id")),
        week=Week(date.fromisoformat(entry.pop("week_start")), date.fromisoformat(entry.pop("week_end"))),
        status=RunStatus(entry.pop("status")),
        reject_rate_pct=None if rate is None else Decimal(rate),
        **entry,
    )


def _run_id_in(line: str) -> str | None:
    try:
        return str(json.loads(line)["run_id"])
    except (ValueError, KeyError, TypeError):
        return None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
