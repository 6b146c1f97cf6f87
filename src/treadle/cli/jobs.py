"""treadle jobs …: list, show, follow, cancel and repeat background jobs."""

import json
import threading
from datetime import datetime
from typing import Annotated, Any, cast

import typer

from treadle.actions import jobs
from treadle.cli.options import Json, State, User, acting, looking, say_environment, session
from treadle.cli.output import Markup, local_time, reported, say, show_json, show_json_line, status_cell, stdout
from treadle.cli.tables import show_list, show_table
from treadle.control.access import Principal
from treadle.control.jobs.job import Job, JobEvent, Step
from treadle.control.jobs.states import JobState
from treadle.errors import Conflict, InvalidInput
from treadle.wiring import Wiring

app = typer.Typer(no_args_is_help=True, help="Background jobs: what was asked for, what is done, and what came of it.")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job id, or its first 8 characters or more.")]
FOLLOW_SECONDS = 0.3


@app.command("ls")
@reported
def ls(
    job_state: Annotated[JobState | None, typer.Option("--status", help="Only jobs in this state.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only jobs of this kind.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only jobs of this key, which run one after the other.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Only jobs asked for by this person.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 20,
    after: Annotated[str | None, typer.Option("--after", help="Continue after this cursor, as the previous page printed it.")] = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List jobs, newest first."""
    with session(state) as wiring:
        page = jobs.list_jobs(
            wiring.services, looking(wiring), state=job_state, kind=kind, key=key, requested_by=by, limit=limit, after=after
        )
        if json_output:
            show_json({"jobs": page.jobs, "next": page.next})
            return
        heads = ("job", "status", "created", "by", "kind", "key", "attempt", "error")
        spare = ("attempt", "by", "key")
        show_list(heads, [_row(job) for job in page.jobs], spare=spare, cut={"error": 16}, empty="There are no jobs.")
        if page.next:
            say(f"More: --after {page.next}")


@app.command("show")
@reported
def show(job: JobArgument, state: State = None, json_output: Json = False) -> None:
    """Show one job with its steps."""
    with session(state) as wiring:
        found = _find(wiring, job)
        steps = jobs.list_steps(wiring.services, looking(wiring), found.job_id)
        if json_output:
            show_json(_details(found, steps))
            return
        show_table(("", ""), _facts(found), empty="")
        _print_result(found)
        rows = [
            (
                step.position,
                step.name,
                Markup(status_cell(step.state)),
                step.attempt,
                local_time(step.started_at),
                local_time(step.finished_at),
                step.error_message or "",
            )
            for step in steps
        ]
        stdout().print()
        heads = ("#", "step", "status", "attempt", "started", "finished", "error")
        show_list(heads, rows, spare=("attempt", "started"), cut={"error": 16}, empty="No step was begun.")


@app.command("events")
@reported
def events(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job ends.")] = False,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Print what happened to a job, in order."""
    with session(state) as wiring:
        found = _find(wiring, job)
        if json_output and not follow:
            show_json(jobs.list_events(wiring.services, looking(wiring), found.job_id))
        elif follow:
            _follow(wiring, found, json_output=json_output)
        else:
            _print_events(wiring, found, 0, json_output=False)


@app.command("cancel")
@reported
def cancel(job: JobArgument, user: User = None, state: State = None, json_output: Json = False) -> None:
    """Cancel a job: one that waits at once, one that runs before its next step."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        found = _cancel(wiring, acting(wiring, user), _find(wiring, job))
        if json_output:
            show_json(found)
        ended = "is cancelled" if found.state.ended else "was asked to stop; it ends before its next step"
        say(f"Job {found.job_id} {ended}.")


@app.command("retry")
@reported
def retry(job: JobArgument, user: User = None, state: State = None, json_output: Json = False) -> None:
    """Ask again for a job that failed or was cancelled. Steps that are done are not repeated."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        before = _find(wiring, job)
        found = jobs.retry(wiring.services, acting(wiring, user), before.job_id)
        if json_output:
            show_json(found)
        if _refused_input(before):
            say("Warning: it failed for a reason that trying again does not mend. The same input fails the same way.")
        say(f"Job {found.job_id} is {found.state} again. Follow it with: treadle jobs events {str(found.job_id)[:8]} --follow")


def _find(wiring: Wiring, job: str) -> Job:
    return jobs.find_job(wiring.services, looking(wiring), job)


def _cancel(wiring: Wiring, who: Principal, job: Job) -> Job:
    try:
        return jobs.cancel(wiring.services, who, job.job_id)
    except Conflict as error:  # only this command's reader can paste another command
        raise Conflict(error.message, hint=_ended_hint(job), details=error.details) from error


def _refused_input(job: Job) -> bool:
    return job.state is JobState.FAILED and (job.error_details or {}).get("kind") == InvalidInput.__name__


def _ended_hint(job: Job) -> str:
    if job.state is JobState.SUCCEEDED:
        return f"It has ended, and succeeded: treadle jobs show {str(job.job_id)[:8]}"
    return f"It has ended; run it again with: treadle jobs retry {str(job.job_id)[:8]}"


def _row(job: Job) -> tuple[Any, ...]:
    return (
        str(job.job_id)[:8], Markup(status_cell(job.state)), job.created_at, job.requested_by, job.kind, job.key or "",
        _attempts(job), job.error_message or "",
    )  # fmt: skip


def _attempts(job: Job) -> str:
    return f"{job.attempt} of {job.max_attempts}" if job.max_attempts else "–"


def _facts(job: Job) -> list[tuple[str, Any]]:
    """What a person wants to know first; absent facts are left out."""
    facts = {
        "job": str(job.job_id), "kind": job.kind, "key": job.key, "status": Markup(status_cell(job.state)), "asked for by": job.requested_by,
        "created": job.created_at, "due": job.due_at if job.state is JobState.QUEUED else None, "started": job.started_at,
        "finished": job.finished_at, "deadline": None if job.state.ended else job.deadline_at, "attempt": _attempts(job),
        "worker": job.lease_owner, "cancelled by": job.cancel_requested_by, "error": job.error_message, "what to do": job.error_hint,
    }  # fmt: skip
    return [(name, local_time(value) if isinstance(value, datetime) else value) for name, value in facts.items() if value is not None]


def _print_result(job: Job) -> None:
    """What came of it, a line each."""
    if job.result is None:
        return
    lines = cast("dict[str, Any]", job.result) if isinstance(job.result, dict) else {"value": job.result}
    stdout().print("\nResult")
    for name, value in lines.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        stdout().print(f"  {name}: {text}", markup=False, soft_wrap=True)


def _details(job: Job, steps: list[Step]) -> dict[str, Any]:
    return {**{name: getattr(job, name) for name in job.__dataclass_fields__}, "steps": steps}


def _follow(wiring: Wiring, job: Job, *, json_output: bool) -> None:
    """Print events as they come. Whether the job has ended is asked before its events are read, so that none is left out."""
    pause, seen, ended = threading.Event(), 0, False
    while not ended:
        ended = jobs.get_job(wiring.services, looking(wiring), job.job_id).state.ended
        seen = _print_events(wiring, job, seen, json_output=json_output)
        if not ended:
            pause.wait(FOLLOW_SECONDS)


def _print_events(wiring: Wiring, job: Job, seen: int, *, json_output: bool) -> int:
    """Print what is new and return the number of the last event."""
    found = jobs.list_events(wiring.services, looking(wiring), job.job_id, after_seq=seen)
    for event in found:
        if json_output:
            show_json_line(event)
        else:
            stdout().print(_line(event), markup=False)
    return found[-1].seq if found else seen


def _line(event: JobEvent) -> str:
    share = "" if event.pct is None else f" {event.pct:.0f} %"
    step = f" [{event.step}]" if event.step else ""
    return f"{local_time(event.at)}  {event.level:<7}{step}{share} {event.message}"
