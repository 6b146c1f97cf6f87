"""How far an inspection is, in words. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from treadle.control.jobs.job import Job, JobEvent
from treadle.control.jobs.states import JobState

NO_WORKER_SECONDS: Final = 15  # a job that waits longer than this waits for a worker, not for its turn


def inspection_told(job: Job, events: Sequence[JobEvent], now: datetime) -> tuple[float, str, str]:
    """How far an inspection is: its part from 0 to 1, what is being done, and a word of advice, empty when there is none."""
    part = max((event.pct for event in events if event.pct is not None), default=0.0) / 100
    if job.state is JobState.QUEUED and job.attempt == 0:
        waits = now - job.due_at
        advice = (
            "No worker has taken it yet. Is one running? Start it with: treadle worker"
            if waits > timedelta(seconds=NO_WORKER_SECONDS)
            else ""
        )
        return 0.0, "Waiting for its turn", advice
    told = next((event.message for event in reversed(events)), "Being read")
    advice = f"Attempt {job.attempt} did not come to its end; it is tried again by itself." if job.state is JobState.QUEUED else ""
    return min(part, 0.99), told, advice
