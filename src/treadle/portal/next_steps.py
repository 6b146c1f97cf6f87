"""What somebody before a page can do when something went wrong. Hints are written for those who run Treadle; most people here do not. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from treadle.errors import (
    ChecksumMismatch,
    Conflict,
    LockHeld,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    TreadleError,
    Unauthenticated,
    Unavailable,
)

# A command, a setting, an identity or a database's own word: nothing that a page has.
_OF_OPERATORS: Final = re.compile(
    r"\btreadle [a-z-]+|\b[A-Z][A-Z0-9]+_[A-Z0-9_]+\b|\b(settings?|identity|service principals?|sha256sum|Idempotency-Key|configured)\b"
)
_WAIT: Final = "Try again in a moment. A run that goes on is not affected; if this lasts, tell an admin."
_TELL: Final = "Tell an admin; the details say what to look at."
_STEPS: Final[Mapping[type[TreadleError], str]] = {  # the first that fits counts
    Unavailable: _WAIT,
    Throttled: _WAIT,
    LockHeld: "Wait for its end, or cancel it on the page Monitor.",
    Conflict: "Look how it stands now, then decide.",
    NotFound: "Check how it is written; it may also have been deleted or renamed since.",
    OutcomeUnknown: "Look on the page Monitor whether it happened before you do it again.",
    ChecksumMismatch: "Do not rely on these files, and tell an admin.",
    Unauthenticated: _TELL,
    PermissionDenied: _TELL,
}


def next_step(error: TreadleError) -> str:
    """What a person can do now, in one sentence or two; empty when there is nothing to say."""
    if isinstance(error, Unavailable | Throttled):
        return _WAIT
    hint = error.hint or ""
    if not is_for_operators(hint):
        return hint
    return next((step for kind, step in _STEPS.items() if isinstance(error, kind)), _TELL)


def in_a_readers_words(hint: str) -> str:
    """A hint of which no error is known any more, as a job records it: as it is, unless it speaks to those who run Treadle."""
    return _TELL if is_for_operators(hint) else hint


def is_for_operators(hint: str) -> bool:
    """Whether a hint names what can only be done with a shell, or by whoever sets Treadle up."""
    return _OF_OPERATORS.search(hint) is not None
