"""Event streams: one thread looks for what is new, for everybody; each listener walks along the shared log at its own pace.

A listener holds nothing but its place in the log, so a slow one costs no memory: it falls behind, and when it takes nothing for too long it is let
go. It comes back with Last-Event-ID and goes on where it was.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import UUID

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from treadle.api.config import ApiSettings
from treadle.api.feeds import BuildSource, Ending, JobSource, Memory, News, RunSource, Source, Told
from treadle.api.metrics import Metrics
from treadle.api.problems import TooManyRequests
from treadle.control.access import Principal
from treadle.control.database import Database
from treadle.errors import InvalidInput, NotFound, TreadleError, Unavailable
from treadle.flows.scenario.flow import BUILD
from treadle.flows.scenario.provision_item import ITEM

log = structlog.get_logger()

KEPT_EVENTS: Final = 2_000  # of each topic in memory; who needs older ones is given them from the database
RETRY_MILLISECONDS: Final = 3_000
_FIRST_LOOK_SECONDS: Final = 6
_OUTAGE_SECONDS: Final = 1.0
_UNHEARD_SECONDS: Final = 60
_WELCOME_SECONDS: Final = 5  # a listener whose token was revoked is let go this soon, even when nothing happens
_MAX_SEQ: Final = 2**63 - 1

Key = tuple[str, UUID]  # "run", "job", "upload-job" or "provisioning", and its id
Welcome = Callable[[], Awaitable[bool]]  # whether a listener may still listen


@dataclass(slots=True, eq=False)
class Topic:
    """One run or job that somebody listens to. Changed on the event loop alone, but for `memory`, which is the looking thread's."""

    key: Key
    memory: Memory = field(default_factory=Memory)
    log: deque[Told] = field(default_factory=lambda: deque[Told](maxlen=KEPT_EVENTS))
    looked_at: bool = False
    missing: bool = False
    ended: Ending | None = None
    listeners: int = 0
    made_at: float = field(default_factory=time.monotonic)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def behind(self, seq: int) -> list[Told]:
        """What is in memory after this number."""
        if not self.log or self.log[-1].seq <= seq:
            return []
        first = max(0, seq + 1 - self.log[0].seq)
        return list(islice(self.log, first, first + 100))

    def has_forgotten(self, seq: int) -> bool:
        """Whether the event after this number is no longer in memory."""
        return bool(self.log) and self.log[0].seq > seq + 1

    def take(self, news: News) -> None:
        """Add what was found, and wake who waits for it."""
        self.looked_at = True
        self.log.extend(news.told)
        self.missing, self.ended = news.missing, news.ended
        if news.told or news.missing or news.ended:
            self.wake()

    def wake(self) -> None:
        """Let all listeners look again."""
        woken, self.changed = self.changed, asyncio.Event()
        woken.set()


class EventHub:
    """All event streams of one process."""

    def __init__(self, database: Database, own: Database, settings: ApiSettings, metrics: Metrics) -> None:
        self._sources: Mapping[str, Source] = {
            "run": RunSource(database, own),
            "job": JobSource(own),
            "upload-job": BuildSource(own, (BUILD,)),
            "provisioning": BuildSource(own, (BUILD, ITEM)),
        }
        self._settings, self._metrics = settings, metrics
        self._topics: dict[Key, Topic] = {}
        self._streams = Counter[str]()
        self._closing = False
        self._stop, self._wanted = threading.Event(), threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to look; on the event loop's thread."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._look_until_stopped, name="event-hub", daemon=True)
        self._thread.start()

    def end_streams(self) -> None:
        """Let all listeners go; they come back to whoever serves then. On the event loop's thread."""
        self._closing = True
        for topic in self._topics.values():
            topic.wake()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._wanted.set()
        if self._thread:
            self._thread.join(timeout=5)

    async def stream(self, key: Key, last_event_id: str | None, principal: Principal, welcome: Welcome) -> EventSourceResponse:
        """The answer that tells a listener everything after the number it names, and ends as its kind does, or when it is no longer welcome.

        Raises:
            NotFound: there is no such run or job.
            InvalidInput: the number is none of ours.
            TooManyRequests: this principal has too many streams open.
        """
        after = read_last_event_id(last_event_id)
        if self._streams[principal.subject] >= self._settings.streams_per_principal:
            raise TooManyRequests(
                f"{principal.name} has {self._settings.streams_per_principal} event streams open.", hint="Close one.", retry_after_seconds=5
            )
        self._forget_unheard()
        self._streams[principal.subject] += 1  # also while it waits: many that come at once are not let in all
        try:
            topic = await self._watched(key)
        finally:
            self._streams -= Counter([principal.subject])
        return EventSourceResponse(
            self._listen(topic, after, principal.subject, welcome),
            ping=self._settings.ping_seconds,
            send_timeout=self._settings.stall_seconds,
            headers={"Cache-Control": "no-store"},
        )

    async def _watched(self, key: Key) -> Topic:
        """The topic, once it was looked at."""
        topic = self._topics.get(key)
        if topic is None or topic.ended or topic.missing:  # what was over may go on: a job can be asked for again
            topic = self._topics[key] = Topic(key)
        self._wanted.set()
        try:
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                while not topic.looked_at:
                    await topic.changed.wait()
        except TimeoutError:
            self._drop(topic)
            raise Unavailable("The database did not tell about events in time.", hint="Try again.") from None
        if topic.missing:
            self._drop(topic)
            named = {"run_id" if key[0] == "run" else "job_id": str(key[1])}
            raise NotFound(f"There is no {key[0]} {key[1]}.", hint=f"List them with: GET /api/{key[0]}s", details=named)
        return topic

    async def _listen(self, topic: Topic, after: int, subject: str, welcome: Welcome) -> AsyncGenerator[ServerSentEvent, None]:
        topic = self._topics.setdefault(topic.key, topic)  # the last listener may have left, and the topic with it, since it was found
        self._wanted.set()
        topic.listeners += 1
        self._streams[subject] += 1
        self._metrics.listeners.inc()
        try:
            yield ServerSentEvent(comment="follows", retry=RETRY_MILLISECONDS)
            async for told in self._walk(topic, after, welcome):
                yield ServerSentEvent(told.text, event=told.name, id=str(told.seq)) if told.name else ServerSentEvent(id=str(told.seq))
            if topic.ended and not self._closing and await welcome():
                yield ServerSentEvent(topic.ended.text, event=topic.ended.name)
        finally:
            self._metrics.listeners.dec()
            self._streams -= Counter([subject])
            topic.listeners -= 1
            if not topic.listeners:
                self._drop(topic)

    async def _walk(self, topic: Topic, seq: int, welcome: Welcome) -> AsyncGenerator[Told, None]:
        """Every event after the number, once, in order, until there will be no more. Before each few of them it is asked who listens."""
        while not self._closing and await welcome():
            changed = topic.changed
            if topic.has_forgotten(seq):
                batch = await run_in_threadpool(self._sources[topic.key[0]].older, topic.key[1], seq, topic.log[0].seq)
            else:
                batch = topic.behind(seq)
            for told in batch:
                yield told
                seq = told.seq
            if not batch and (topic.ended or topic.missing):
                return
            if not batch:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _WELCOME_SECONDS)

    def _forget_unheard(self) -> None:
        """A listener that went away before its stream began has left its topic behind."""
        for topic in list(self._topics.values()):
            if time.monotonic() - topic.made_at > _UNHEARD_SECONDS:
                self._drop(topic)

    def _drop(self, topic: Topic) -> None:
        if not topic.listeners and self._topics.get(topic.key) is topic:
            del self._topics[topic.key]

    def _look_until_stopped(self) -> None:
        while not self._stop.is_set():
            watched = [topic for topic in list(self._topics.values()) if not (topic.ended or topic.missing)]
            if not watched:
                self._wanted.wait()
                self._wanted.clear()
                continue
            self._stop.wait(self._settings.poll_seconds if self._look(watched) else _OUTAGE_SECONDS)

    def _look(self, watched: list[Topic]) -> bool:
        """One look at everything that somebody listens to. False: the database could not be asked."""
        self._metrics.polls.inc()
        try:
            for kind, source in self._sources.items():
                topics = {topic.key[1]: topic for topic in watched if topic.key[0] == kind}
                if topics:
                    self._tell(topics, source.look({topic_id: topic.memory for topic_id, topic in topics.items()}))
        except TreadleError as error:
            log.warning("events.look_failed", error=error.message, kind=type(error).__name__)
            return False
        except Exception:
            # A defect of ours must not silence every stream for good.
            log.exception("events.look_crashed")
            return False
        return True

    def _tell(self, topics: Mapping[UUID, Topic], found: Mapping[UUID, News]) -> None:
        news = [(topics[topic_id], item) for topic_id, item in found.items() if item != News() or not topics[topic_id].looked_at]
        if news and self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_take_all, news)


def _take_all(news: list[tuple[Topic, News]]) -> None:
    for topic, item in news:
        first = not topic.looked_at
        topic.take(item)
        if first:
            topic.wake()


def read_last_event_id(text: str | None) -> int:
    """The number of the last event that was seen; 0 for none. Pure.

    Raises:
        InvalidInput: it is no number that was ever given out.
    """
    if text is None or not text.strip():
        return 0
    if not text.strip().isascii() or not text.strip().isdecimal() or int(text.strip()[:20]) > _MAX_SEQ:
        raise InvalidInput(
            "Last-Event-ID is not the number of an event.", hint="Give the `id` of the last event that was received, or none."
        )
    return int(text)
