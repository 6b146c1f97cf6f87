"""Where event streams come from: the trails of runs and of jobs, each looked at by a few queries for everybody who listens.

Called by the hub's one thread alone. What a source remembers of a topic is in that topic's `memory`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from treadle.api.answers import utc_text
from treadle.api.words import for_callers
from treadle.control import feed
from treadle.control.database import Database
from treadle.control.events import Event
from treadle.control.jobs import overview, queue
from treadle.control.jobs.job import Job, JobEvent
from treadle.errors import NotFound
from treadle.flows.scenario.upload_job import ending_of, first_step_of, progress_of, says_step

JOB_LOOK_EVERY: Final = 10  # looks; a job that ended has told so by an event, so its row is read when one came, and now and then


@dataclass(frozen=True, slots=True)
class Told:
    """One event, ready to be sent: its number, its name, and its data as JSON.

    Without a name it is for nobody, and only its number is sent: the numbers of a topic have no gaps, so that each one's place is known.
    """

    seq: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The last event of a stream, which has no number: its name, and its data as JSON."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class News:
    """What one look found of one topic. missing: there is no such run or job. ended: how the stream ends, once all is told."""

    told: Sequence[Told] = ()
    missing: bool = False
    ended: Ending | None = None


@dataclass(slots=True)
class Memory:
    """How far a source has come with a topic."""

    last_seq: int = 0
    since: datetime | None = None  # the time of the newest event that was seen, of a run
    known: set[UUID] = field(default_factory=set[UUID])
    waiting: dict[UUID, Event] = field(default_factory=dict[UUID, Event])  # seen, but another one with a lower number is not
    looks: int = 0


class Source(Protocol):
    """Reads topics of one kind."""

    def look(self, watched: Mapping[UUID, Memory]) -> dict[UUID, News]:
        """What is new in each, and whether it is over."""
        ...

    def older(self, topic_id: UUID, after_seq: int, before_seq: int) -> list[Told]:
        """Events between two numbers, both left out, that are no longer in memory."""
        ...


class RunSource:
    """The trails of runs."""

    def __init__(self, database: Database, own: Database) -> None:
        self._database, self._own = database, own

    def look(self, watched: Mapping[UUID, Memory]) -> dict[UUID, News]:
        """Two queries for all; two more for each run with something new."""
        states = feed.states_of(self._database, list(watched))
        there = {run_id: memory for run_id, memory in watched.items() if run_id in states}
        found = feed.latest_events(self._database, {run_id: memory.since for run_id, memory in there.items()})
        news = {run_id: News(missing=True) for run_id in watched.keys() - states.keys()}
        for run_id, memory in there.items():
            told = self._fresh(run_id, memory, found[run_id])
            over = states[run_id].ended and not memory.waiting
            ending = Ending("done", json.dumps({"run_id": str(run_id), "status": states[run_id]}))
            news[run_id] = News(told, ended=ending if over else None)
        return news

    def older(self, topic_id: UUID, after_seq: int, before_seq: int) -> list[Told]:
        """From the whole trail."""
        trail = feed.numbered_trail(self._database, self._own, topic_id)
        return [_run_event(item) for item in trail if after_seq < item.seq < before_seq]

    def _fresh(self, run_id: UUID, memory: Memory, found: Sequence[Event]) -> list[Told]:
        memory.waiting |= {event.id: event for event in found if event.id not in memory.known}
        if not memory.waiting:
            return []
        numbers = feed.number_events(self._own, run_id, list(memory.waiting.values()), after_seq=memory.last_seq)
        ready = feed.in_order(numbers, list(memory.waiting.values()), after_seq=memory.last_seq)
        for item in ready:
            memory.last_seq = item.seq
            memory.known.add(item.event.id)
            memory.since = max(memory.since or item.event.event_time, item.event.event_time)
            del memory.waiting[item.event.id]
        return [_run_event(item) for item in ready]


class JobSource:
    """The events of jobs, each as it was written."""

    def __init__(self, own: Database) -> None:
        self._own = own

    def tell(self, event: JobEvent) -> Told:
        """An event as listeners get it."""
        return _job_event(event)

    def ending(self, job: Job) -> Ending:
        """How the stream of a job that has ended ends."""
        return Ending("done", json.dumps({"job_id": str(job.job_id), "state": job.state}))

    def find(self, job_id: UUID) -> Job:
        """The job. Raises NotFound: there is none that is listened to here."""
        return queue.get_job(self._own, job_id)

    def look(self, watched: Mapping[UUID, Memory]) -> dict[UUID, News]:
        """One query for all; one more for each job with something new."""
        found: dict[UUID, list[JobEvent]] = {job_id: [] for job_id in watched}
        for event in queue.events_since(self._own, {job_id: memory.last_seq for job_id, memory in watched.items()}):
            found[event.job_id].append(event)
        return {job_id: self._news(job_id, memory, found[job_id]) for job_id, memory in watched.items()}

    def older(self, topic_id: UUID, after_seq: int, before_seq: int) -> list[Told]:
        """From the table, a page at a time."""
        events = queue.list_job_events(self._own, topic_id, after_seq=after_seq, limit=queue.EVENTS_AT_ONCE)
        return [self.tell(event) for event in events if event.seq < before_seq]

    def _news(self, job_id: UUID, memory: Memory, events: Sequence[JobEvent]) -> News:
        due = memory.looks % JOB_LOOK_EVERY == 0
        memory.looks += 1
        told = [self.tell(event) for event in events]
        memory.last_seq = events[-1].seq if events else memory.last_seq
        if not events and not due:
            return News()
        try:
            job = self.find(job_id)
            return News(told, ended=self.ending(job) if job.state.ended and memory.last_seq >= job.last_seq else None)
        except NotFound:
            return News(missing=True)


class BuildSource(JobSource):
    """The events of builds, as those who wait for one know them: `progress`, and at the end `complete` or `error`."""

    def __init__(self, own: Database, kinds: Collection[str]) -> None:
        super().__init__(own)
        self._kinds = kinds

    def tell(self, event: JobEvent) -> Told:
        """Only what says how far the build is, or that something goes wrong; and that with where it was then."""
        progress = progress_of(event)
        if progress and not says_step(event):
            before = overview.told_before(self._own, event)
            progress = progress_of(event, before, first_step=first_step_of(queue.get_job(self._own, event.job_id)))
        return Told(event.seq, "progress", _json(progress)) if progress else Told(event.seq, "", "")

    def ending(self, job: Job) -> Ending:
        """What was made, or where it ended and why."""
        name, data = ending_of(job, queue.list_steps(self._own, job.job_id))
        if hint := data.get("hint"):
            data["hint"] = for_callers(hint)
        return Ending(name, _json(data))

    def find(self, job_id: UUID) -> Job:
        """The job, if it is of these kinds."""
        job = super().find(job_id)
        if job.kind not in self._kinds:
            raise NotFound(f"There is no build {job_id}.", hint="List them with: GET /api/upload-jobs")
        return job


def _run_event(item: feed.NumberedEvent) -> Told:
    event = item.event
    data = {"seq": item.seq, "event_time": utc_text(event.event_time), "event_type": event.event_type, "message": event.message}
    return Told(item.seq, event.event_type or "LOG", _json(data))


def _job_event(event: JobEvent) -> Told:
    data = {
        "seq": event.seq,
        "at": utc_text(event.at),
        "level": event.level,
        "step": event.step,
        "pct": event.pct,
        "message": event.message,
        "data": event.data,
    }
    return Told(event.seq, "progress", _json(data))


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
