"""One process at a time works on a week: a lock in the database among all machines, and one on the work folder among the processes of this one."""

import contextlib
import fcntl
from collections.abc import Generator

from treadle.errors import Unavailable
from treadle.flows.weekly.services import WeeklyServices
from treadle.flows.weekly.state import WeekLock, WeeklyState, not_alone
from treadle.flows.weekly.week import Week


class Alone:
    """That nobody else works on the week. The database's lock goes with its session; the folder's only with the process."""

    def __init__(self, state: WeeklyState, week: Week, lock: WeekLock) -> None:
        self._state, self._week, self._lock = state, week, lock

    def require(self) -> None:
        """Return when it is still so; a lock that went with its session, as after a restart of the server, is taken anew.

        Raises:
            Conflict: somebody else has the week now. Unavailable: the database is away.
        """
        if self._lock.alive():
            return
        self._lock.release()
        taken = self._state.lock_week(self._week)
        if taken is None:
            raise not_alone(self._week)
        self._lock = taken

    def release(self) -> None:
        """Let others have the week. Safe to repeat."""
        self._lock.release()


@contextlib.contextmanager
def alone_with(services: WeeklyServices, week: Week) -> Generator[Alone]:
    """Work on a week alone.

    Raises:
        Conflict: somebody works on it.
    """
    with _folder_lock(services, week):
        lock = services.state.lock_week(week)
        if lock is None:
            raise not_alone(week)
        alone = Alone(services.state, week, lock)
        try:
            yield alone
        finally:
            alone.release()


@contextlib.contextmanager
def _folder_lock(services: WeeklyServices, week: Week) -> Generator[None]:
    folder = services.work_folder(week)
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context((folder / ".lock").open("w"))
        except OSError as error:
            raise Unavailable(f"{folder} cannot be used: {error.strerror}.", hint="Correct STATE_DIR or the folder's rights.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise not_alone(week) from error
        yield
