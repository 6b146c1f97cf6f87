"""What a kind of job works with: steps whose results are kept, progress, and the word that it is to stop.

Every write names the fence of its claim. No row back means that somebody else has the job now: LeaseLost, and nothing was written.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from treadle.control.database import Connection, Database
from treadle.control.jobs.job import Job, JsonValue, StepState
from treadle.control.jobs.queue import list_steps, stored_json
from treadle.control.statements import load_queries
from treadle.control.stored import checked_name, message_text
from treadle.errors import InvalidInput, OutcomeUnknown, TreadleError, Unavailable

T = TypeVar("T")
SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
OUTAGE_SECONDS: Final = 300  # how long a write waits for a database that is away; whether the job is still ours, the fence says afterwards
_PAUSE_SECONDS: Final = 0.2
_LEVELS: Final = ("INFO", "WARNING", "ERROR")


class Interrupted(Exception):
    """The attempt is to end here. No TreadleError, so that no step takes it for a failure of its own."""


class LeaseLost(Interrupted):
    """Another worker has the job, or it has ended; nothing was written."""


class Cancelled(Interrupted):
    """Somebody asked for the job to be cancelled."""


class DeadlinePassed(Interrupted):
    """The job's time is over."""


class Stopping(Interrupted):
    """The worker stops; another goes on with the job."""


class _Raised(Exception):
    """What an effect raised by itself, told apart from what the database did to its transaction."""

    def __init__(self, error: TreadleError) -> None:
        super().__init__()
        self.error = error


@dataclass(slots=True)
class Hold:
    """What the worker knows of a job that it holds; its heartbeat keeps it current. Moments are on the monotonic clock."""

    ends_at: float
    stopping: threading.Event = field(default_factory=threading.Event)
    lost: bool = False
    cancelled_by: str | None = None

    def check(self) -> None:
        """Raise the Interrupted that applies, if one does."""
        if self.lost:
            raise LeaseLost
        if self.cancelled_by:
            raise Cancelled
        if time.monotonic() > self.ends_at:
            raise DeadlinePassed
        if self.stopping.is_set():
            raise Stopping


class JobContext:
    """One attempt at one job. For the thread that runs it, and for threads which that one waits for."""

    def __init__(self, own: Database, job: Job, hold: Hold) -> None:
        self.job = job
        self._own = own
        self._hold = hold
        self._done = {step.name: step.result for step in list_steps(own, job.job_id) if step.state is StepState.DONE}
        self._names: list[str] = []

    @property
    def payload(self) -> Mapping[str, Any]:
        """What was asked for."""
        return self.job.payload

    def check(self) -> None:
        """Return when the job may go on. To be called now and then in a long step; costs no query.

        Raises:
            Interrupted: it was cancelled, its deadline passed, its lease was lost, or the worker stops.
        """
        self._hold.check()

    def step(self, name: str, effect: Callable[[], JsonValue]) -> JsonValue:
        """Do one step and keep its result; a step that an earlier attempt has done is not done again, and has the result it had then.

        At least once: a worker that dies after the effect and before the record leaves the effect to be repeated, so it must be idempotent.

        Raises:
            Interrupted: as `check`, before the effect or when its result is to be recorded.
            InvalidInput: the name was used before in this job, or the result is not JSON.
        """
        if not self._begin(name):
            return self._done[name]
        result = stored_json(f"The result of {name}", effect())
        self._write("end_step", name, result=result)
        return json.loads(result)

    def transact(self, name: str, effect: Callable[[Connection], JsonValue]) -> JsonValue:
        """As `step`, with effect and record in one transaction of our own database: exactly once, or not at all.

        The effect may be called again when the database broke off; what it did before is rolled back then.
        """
        if not self._begin(name):
            return self._done[name]
        try:
            return json.loads(self._patiently(lambda: self._transacted(name, effect)))
        except _Raised as raised:
            raise raised.error from raised.error.__cause__

    def progress(
        self,
        message: str,
        *,
        pct: float | None = None,
        data: Mapping[str, Any] | None = None,
        step: str | None = None,
        level: str = "INFO",
    ) -> None:
        """Tell those who watch how far the work is; pct from 0 to 100, step the current one if not given.

        Raises:
            LeaseLost: somebody else has the job.
            InvalidInput: pct or level is out of range.
        """
        if (pct is not None and not 0 <= pct <= 100) or level not in _LEVELS:
            raise InvalidInput(f"Progress of {pct} % at level {level} cannot be told.", hint=f"0 to 100, and one of {', '.join(_LEVELS)}.")
        name = step or (self._names[-1] if self._names else None)
        facts = None if data is None else stored_json("The data of an event", data)
        self._write("tell", name, level=level, pct=pct, message=message_text(message), data=facts)

    def _begin(self, name: str) -> bool:
        """False: it was done before."""
        if checked_name("the name of a step", name) in self._names:
            raise InvalidInput(f"The step {name} occurs twice in {self.job.kind}.", hint="Give each step a name of its own.")
        self._names.append(name)
        if name in self._done:
            return False
        self.check()
        self._write("begin_step", name, position=len(self._names))
        return True

    def _write(self, statement: str, name: str | None, **values: Any) -> None:
        def write() -> None:
            with self._own.transaction() as connection:
                self._guarded(connection, statement, {"name": name, **values})

        self._patiently(write)

    def _transacted(self, name: str, effect: Callable[[Connection], JsonValue]) -> str:
        with self._own.transaction() as connection:
            recorded = connection.execute(SQL["recorded_result"], {"job_id": self.job.job_id, "name": name}).fetchone()
            if recorded:  # by us, in a commit whose answer was lost
                return json.dumps(recorded["result"])
            try:
                result = stored_json(f"The result of {name}", effect(connection))
            except TreadleError as error:
                raise _Raised(error) from error
            self._guarded(connection, "end_step", {"name": name, "result": result})
            return result

    def _guarded(self, connection: Connection, statement: str, values: Mapping[str, Any]) -> None:
        """Write under our fence; no row back says that we may not, and the row says why."""
        ours = {"job_id": self.job.job_id, "fence": self.job.fence}
        if connection.execute(SQL[statement], {**ours, **values}).fetchone():
            return
        row = connection.execute(SQL["why_not"], ours).fetchone()
        if row is None:
            self._hold.lost = True
            raise LeaseLost
        self._hold.cancelled_by = row["cancel_requested_by"]
        raise Cancelled if self._hold.cancelled_by else DeadlinePassed

    def _patiently(self, write: Callable[[], T]) -> T:
        return patiently(write, self._hold.stopping)


def patiently(write: Callable[[], T], stopping: threading.Event) -> T:
    """Repeat a write, which must not mind, while the database is away.

    Raises:
        LeaseLost: it stayed away for too long, or the worker stops; the lease lapses, and another worker goes on.
    """
    gives_up_at = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return write()
        except (Unavailable, OutcomeUnknown) as error:
            if time.monotonic() > gives_up_at or stopping.wait(_PAUSE_SECONDS):
                raise LeaseLost from error
