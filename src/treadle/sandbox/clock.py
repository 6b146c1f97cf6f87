"""The sandbox's own clock: token expiry, Last-Modified and job times follow it, so tests move time and never wait."""

import threading
from datetime import UTC, datetime, timedelta


class Clock:
    """Runs with real time until it is set, advanced or frozen. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = timedelta(0)
        self._frozen_at: datetime | None = None

    def now(self) -> datetime:
        """The sandbox's time, aware, in UTC."""
        with self._lock:
            return self._read()

    def advance(self, seconds: float) -> datetime:
        """Move forward (or back, below zero), frozen or not; returns the new time."""
        with self._lock:
            return self._move_to(self._read() + timedelta(seconds=seconds))

    def set(self, moment: datetime) -> datetime:
        """Make `moment` the present; raises ValueError for a time without a zone."""
        if moment.tzinfo is None:
            raise ValueError("the sandbox clock takes an aware time, such as 2026-01-31T12:00:00Z")
        with self._lock:
            return self._move_to(moment.astimezone(UTC))

    def freeze(self) -> datetime:
        """Stop the clock where it is; `advance` and `set` still move it."""
        with self._lock:
            self._frozen_at = self._read()
            return self._frozen_at

    def resume(self) -> datetime:
        """Run again from the present reading."""
        with self._lock:
            if self._frozen_at is not None:
                self._offset = self._frozen_at - datetime.now(UTC)
                self._frozen_at = None
            return self._read()

    def reset(self) -> datetime:
        """Run with real time again."""
        with self._lock:
            self._offset, self._frozen_at = timedelta(0), None
            return self._read()

    @property
    def frozen(self) -> bool:
        """Whether time stands still."""
        with self._lock:
            return self._frozen_at is not None

    def _read(self) -> datetime:
        return self._frozen_at if self._frozen_at is not None else datetime.now(UTC) + self._offset

    def _move_to(self, moment: datetime) -> datetime:
        if self._frozen_at is not None:
            self._frozen_at = moment
        else:
            self._offset = moment - datetime.now(UTC)
        return moment
