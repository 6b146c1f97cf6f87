"""What to do after an attempt: one pure table for every client, and the loop that follows it."""

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, Generic, Literal, TypeVar

from treadle.clients.deadline import Deadline

T = TypeVar("T")

Safety = Literal["safe", "unsafe"]  # unsafe: a repetition could do the work twice

BACKOFF_SECONDS: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 15.0
RETRY_AFTER_SECONDS_MAX: Final = 366 * 86_400.0
GARBLED_ATTEMPTS: Final = 3  # a page of HTML instead of JSON is rarely a passing fault

# 430 is Spark's own word for 429: reference of the Livy API, TooManyRequestsForCapacity. Neither has started anything.
THROTTLED_STATUSES: Final = frozenset({429, 430})
THROTTLED_CODES: Final = frozenset({"RequestBlocked", "TooManyRequestsForJobs", "TooManyRequestsForCapacity"})

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer arrived."""

    status: int
    error_code: str | None = None
    retry_after_seconds: float | None = None

    @property
    def throttled(self) -> bool:
        """Whether the server refused for want of room, before it did anything."""
        return self.status in THROTTLED_STATUSES or (400 <= self.status < 500 and self.error_code in THROTTLED_CODES)


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request left: refused, not resolved, not connected."""

    reason: str
    lasting: bool = False  # a second try cannot help: the server's certificate is not trusted


@dataclass(frozen=True, slots=True)
class Lost:
    """The request may have arrived; its answer did not, or not whole."""

    reason: str


@dataclass(frozen=True, slots=True)
class Garbled:
    """A whole answer arrived that says success and cannot be read."""

    reason: str
    status: int


Ending = Answered | NotSent | Lost | Garbled


class Step(StrEnum):
    """What follows an attempt."""

    ACCEPT = "accept"  # it worked
    REFUSE = "refuse"  # a definite failure: nothing was done
    RENEW_TOKEN = "renew token"  # noqa: S105 - a step's name, not a token
    REPEAT = "repeat"
    UNKNOWN = "unknown"  # it may have been done, and must not be repeated blindly


def judge(ending: Ending, safety: Safety, *, attempt: int = 1, token_renewed: bool = False) -> Step:
    """Say what an ending calls for, time permitting.

    attempt: counts from 1. token_renewed: a 401 has been answered with a fresh token already.
    """
    if isinstance(ending, NotSent):
        return Step.REFUSE if ending.lasting else Step.REPEAT
    if isinstance(ending, Answered):
        return _judge_status(ending, safety, token_renewed=token_renewed)
    if safety == "unsafe":
        return Step.UNKNOWN
    return Step.REFUSE if isinstance(ending, Garbled) and attempt >= GARBLED_ATTEMPTS else Step.REPEAT


def _judge_status(answer: Answered, safety: Safety, *, token_renewed: bool) -> Step:
    status = answer.status
    if 200 <= status < 300:
        return Step.ACCEPT
    if status == 401 and not token_renewed:
        return Step.RENEW_TOKEN
    if answer.throttled:
        return Step.REPEAT if safety == "safe" or status == 429 else Step.REFUSE
    if status == 408 or (status >= 500 and status != 501):  # RFC 9110 §15.6.2: 501 does not know the operation, so has not done it
        return Step.REPEAT if safety == "safe" else Step.UNKNOWN
    # A redirect is never followed; behind one to a POST the work may be done (RFC 9110 §15.4.4).
    return Step.UNKNOWN if status < 400 and safety == "unsafe" else Step.REFUSE


def pause_seconds(attempt: int, retry_after_seconds: float | None, draw: float, backoff_seconds: float = BACKOFF_SECONDS) -> float:
    """Seconds before the next attempt: full jitter, and never less than the server asked for.

    attempt: the one that just ended, from 1. draw: a random number in [0, 1].
    """
    backoff = draw * min(BACKOFF_SECONDS_MAX, backoff_seconds * 2 ** min(attempt - 1, 16))
    if retry_after_seconds is None:
        return backoff
    return max(backoff, retry_after_seconds + draw * min(1.0, retry_after_seconds / 4))


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header: seconds or an HTTP date (RFC 9110 §10.2.3). None: absent or nonsense. Never negative, at most a year.

    now: the server's Date where it sent one, so that a skewed clock does not matter; aware.
    """
    text = (value or "").strip()
    seconds = _as_number(text)
    if seconds is None:
        seconds = _seconds_until(text, now)
    return None if seconds is None else min(max(0.0, seconds), RETRY_AFTER_SECONDS_MAX)


def _as_number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _seconds_until(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):  # all of them, for one malformed date or another
        return None


def retry_after_of(headers: Mapping[str, str], now: datetime) -> float | None:
    """`read_retry_after` of an answer's headers (names in lower case), by the server's own clock if it told the time."""
    told = headers.get("date")
    try:
        server_now = parsedate_to_datetime(told) if told else now
    except ValueError:
        server_now = now
    return read_retry_after(headers.get("retry-after"), server_now if server_now.tzinfo else server_now.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """How one attempt ended, and what it brought."""

    ending: Ending
    brought: T


@dataclass(frozen=True, slots=True)
class Settled(Generic[T]):
    """How all attempts together ended. `step` REPEAT means: it would be tried again, had not the deadline or the last attempt come first."""

    step: Step
    last: Attempt[T]
    attempts: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How attempts are paced: until when, how to wait, random numbers in [0, 1), how long the first pause may be, and how many there may be."""

    deadline: Deadline
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    backoff_seconds: float = BACKOFF_SECONDS
    max_attempts: int | None = None


def attempt_until_settled(
    send: Callable[[int], Attempt[T]], pace: Pace, *, safety: Safety = "safe", renew_token: Callable[[], None] | None = None
) -> Settled[T]:
    """Attempt until the table says stop, the time left is shorter than the next pause, or there have been as many as there may be.

    send: gets the attempt's number, from 1. renew_token: None where there is no token to renew; a 401 is then a refusal.
    """
    number, token_renewed = 1, renew_token is None
    while True:
        last = send(number)
        step = judge(last.ending, safety, attempt=number, token_renewed=token_renewed)
        if step is Step.RENEW_TOKEN and renew_token is not None:
            renew_token()
            token_renewed = True
        elif step is Step.REPEAT:
            asked = last.ending.retry_after_seconds if isinstance(last.ending, Answered) else None
            pause = pause_seconds(number, asked, pace.draw(), pace.backoff_seconds)
            if pause >= pace.deadline.remaining_seconds or number == pace.max_attempts:
                return Settled(step, last, number)
            pace.sleep(pause)
        else:
            return Settled(step, last, number)
        number += 1
