"""The one error hierarchy, named by what the caller can do about it.

TreadleError
├── InvalidInput         mend the input and try again
│   └── MissingSettings  set the named settings
├── NotFound             name something that exists
├── Conflict             somebody else was first; look, then decide
│   └── LockHeld         wait for the named run, or ask an operator to release it
├── Unauthenticated      sign in, or correct the credentials
├── PermissionDenied     ask for the right
├── Throttled            wait `retry_after_seconds`
├── Unavailable          try again later; nothing happened
├── OutcomeUnknown       it may have happened: look before you repeat
├── OperationFailed      the other system did the work and it failed
├── ChecksumMismatch     the stored bytes are not those that were written
└── UnexpectedAnswer     the other system broke its contract; report it

`message` says what happened and to what, `hint` what to do next, `details` carries the facts. None of the three ever holds a secret.
"""

from collections.abc import Mapping
from typing import Any


class TreadleError(Exception):
    """Anything that Treadle reports to a person."""

    def __init__(self, message: str, *, hint: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})


class InvalidInput(TreadleError):
    """What the caller gave cannot be used."""


class MissingSettings(InvalidInput):
    """Settings that are needed are not set; `details["missing"]` names all of them."""


class NotFound(TreadleError):
    """The named thing does not exist."""


class Conflict(TreadleError):
    """The state of the thing does not allow this now."""


class LockHeld(Conflict):
    """Another run holds the lock; `details` has run_id, locked_by and locked_at."""


class Unauthenticated(TreadleError):
    """The credentials were not accepted."""


class PermissionDenied(TreadleError):
    """The credentials are good, the right is missing."""


class Throttled(TreadleError):
    """Too many requests, and the deadline came before the permitted next try."""

    def __init__(
        self, message: str, *, retry_after_seconds: float | None = None, hint: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(TreadleError):
    """The other system did not answer, or not in time, and nothing was changed there."""


class OutcomeUnknown(TreadleError):
    """The answer to a request that is not safe to repeat was lost: it may have had its effect."""


class OperationFailed(TreadleError):
    """The other system accepted the work, did it, and reports that it failed."""


class ChecksumMismatch(TreadleError):
    """Stored bytes differ from the size or SHA-256 recorded for them."""


class UnexpectedAnswer(TreadleError):
    """The other system answered outside its contract; `details` says how."""
