"""A weekly job in words: what it is, how far it is, what came of it. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

from treadle.control.jobs.job import Job, JobEvent
from treadle.control.jobs.states import JobState
from treadle.flows.weekly.jobs import BACKFILL, RETRY, RUN
from treadle.flows.weekly.week import Week
from treadle.portal.weekly.weeks_told import week_label

NO_WORKER_SECONDS: Final = 15  # a job that waits longer than this waits for a worker, not for its turn


def job_title(job: Job) -> str:
    """What the job does, and to which weeks."""
    what = {RUN: "Run of", BACKFILL: "Backfill of", RETRY: "Refused rows of"}.get(job.kind, job.kind)
    payload = job.payload
    first, last = _day(payload.get("week_start") or payload.get("from")), _day(payload.get("week_end") or payload.get("to"))
    span = week_label(Week.recorded(first, last)) if first and last and first <= last else "a week"
    extras = [word for name, word in (("force", "forced"), ("local_only", "on this machine only")) if payload.get(name)]
    return ", ".join([f"{what} {span}", *extras])


def job_progress(job: Job, events: Sequence[JobEvent], now: datetime) -> tuple[float | None, str, str]:
    """How far a job is that has not ended: from 0 to 1, None while nobody knows; what is being done; and advice, empty when there is none."""
    if job.cancel_requested_at:
        return None, f"{job.cancel_requested_by} has asked it to stop; it ends before its next step.", ""
    if job.state is JobState.QUEUED and job.attempt == 0:
        waits = now - job.due_at > timedelta(seconds=NO_WORKER_SECONDS)
        return None, "Waiting for its turn.", "No worker has taken it yet. Is one running? Start it with: treadle worker" if waits else ""
    newest = events[-1] if events else None
    part = newest.pct / 100 if newest and newest.pct is not None else None
    advice = f"Attempt {job.attempt} did not come to its end; it is tried again by itself." if job.state is JobState.QUEUED else ""
    return part, newest.message if newest else "Under way.", advice


def run_of_job(job: Job) -> UUID | None:
    """The run that the job led to, or the last of them. None: not known."""
    found = [result["run_id"] for result in _results(job) if result.get("run_id")]
    try:
        return UUID(str(found[-1])) if found else None
    except ValueError:
        return None


def job_outcome(job: Job) -> str:
    """What came of a job that succeeded, in a sentence."""
    results = _results(job)
    if job.kind == BACKFILL:
        skipped = sum(bool(each.get("skipped")) for each in results)
        run = len(results) - skipped
        return f"{run} {'week was' if run == 1 else 'weeks were'} run, {skipped} {'was' if skipped == 1 else 'were'} left alone."
    if not results:
        return "Done."
    return str(results[0]["skipped"]) if results[0].get("skipped") else counts_told(results[0]) or "Done."


def _results(job: Job) -> list[dict[str, Any]]:
    """What the job left for each of its weeks, in their order."""
    left: Any = job.result
    parts: list[Any] = list(left.values()) if job.kind == BACKFILL and isinstance(left, dict) else [left]  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] - JSON
    return [cast("dict[str, Any]", part) for part in parts if isinstance(part, dict)]


def counts_told(counts: Mapping[str, Any]) -> str:
    """What Salesforce took, in words; only what there is."""
    names = ("created", "updated", "unchanged", "invalid", "refused", "pending")
    told = [f"{int(counts[name]):,} {name}" for name in names if counts.get(name)]
    return f"Salesforce: {', '.join(told)}." if told else ""


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None
