"""The job engine: one thread for each job that runs, cancelled or stopped from outside."""

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from treadle.sandbox.fabric import items, job_log
from treadle.sandbox.fabric.graph.refresh import run_refresh
from treadle.sandbox.fabric.job_log import JobEnd
from treadle.sandbox.fabric.notebook_job import NotebookStart, run_notebook_item
from treadle.sandbox.fabric.pipeline import BadPipeline
from treadle.sandbox.fabric.pipeline_job import CANCELLED, PipelineRun, run_pipeline_item
from treadle.sandbox.fabric.records import Row, new_id, read_time
from treadle.sandbox.fabric.workshop import Workshop

_log = structlog.get_logger()
STOPPED: Final = "The sandbox was stopped while this job was running."
_POLL_SECONDS: Final = 0.02
_STOP_SECONDS: Final = 10


class _Running:
    """A job's thread, and why it must stop, once somebody wants it to."""

    def __init__(self, run: Callable[["_Running"], None]) -> None:
        self.reason: str | None = None
        self.thread = threading.Thread(target=lambda: run(self), name="fabric-job", daemon=True)

    def why_stop(self) -> str | None:
        return self.reason


class JobEngine:
    """Runs jobs. Safe to use from any thread."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        shutil.rmtree(shop.work_dir, ignore_errors=True)
        for folder in (shop.work_dir, shop.output_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for job_id in job_log.fail_interrupted_jobs(shop.records, shop.clock.now()):
            _log.warning("sandbox.job.interrupted", job_id=job_id)

    def start(self, job: Row) -> None:
        """Run a job that was submitted."""
        running = _Running(lambda own: self._run(job, own))
        with self._lock:
            self._running[job["id"]] = running
        running.thread.start()

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; it ends as Cancelled soon after, unless it ends by itself first."""
        with self._lock:
            running = self._running.get(job_id)
        if running is not None:
            running.reason = CANCELLED

    def cancel_jobs_of(self, item_ids: set[str]) -> None:
        """Cancel whatever runs for these items, which are going to be deleted, and wait until it has ended."""
        rows = [row for item_id in item_ids for row in job_log.list_jobs(self._shop.records, item_id) if row["status"] not in job_log.ENDED]
        for row in rows:
            self.cancel(row["id"])
        self._wait_for({row["id"] for row in rows})

    def stop(self) -> None:
        """Kill all children and end their jobs as Failed."""
        with self._lock:
            for running in self._running.values():
                running.reason = running.reason or STOPPED
            ids = set(self._running)
        self._wait_for(ids)

    def _wait_for(self, job_ids: set[str]) -> None:
        with self._lock:
            threads = [running.thread for job_id, running in self._running.items() if job_id in job_ids]
        for thread in threads:
            thread.join(_STOP_SECONDS)

    def _run(self, job: Row, running: _Running) -> None:
        shop = self._shop
        try:
            end = _run_to_end(shop, job, running.why_stop)
        except Exception as error:  # noqa: BLE001 - a fault of the sandbox must end the job, or its caller waits for ever
            _log.exception("sandbox.job.crashed", job_id=job["id"])
            end = JobEnd("Failed", f"The sandbox itself failed: {error!r}", "UnknownError")
        if running.reason and end.status != "Completed":
            end = replace(end, status="Cancelled") if running.reason == CANCELLED else replace(end, status="Failed", message=running.reason)
        job_log.end_job(shop.records, job, end, shop.clock.now())
        with self._lock:
            del self._running[job["id"]]
        _log.info("sandbox.job.ended", job_id=job["id"], status=end.status)


def _run_to_end(shop: Workshop, job: Row, why_stop: Callable[[], str | None]) -> JobEnd:
    request: Mapping[str, Any] = json.loads(job["request"])
    _wait_in_queue(shop, job, why_stop)
    if why_stop():
        return JobEnd("Cancelled")
    if "deduped" in request["faults"]:
        return JobEnd("Deduped")
    job_log.begin_job(shop.records, job["id"], shop.clock.now())
    if "job_failed" in request["faults"]:
        args = request["faults"]["job_failed"]
        return JobEnd("Failed", args.get("message"), args.get("code", "JobInstanceStatusFailed"))
    item = items.get_item(shop.records, job["workspace_id"], job["item_id"])
    if item["type"] == "GraphModel":
        return run_refresh(shop, job, item, why_stop)
    return (
        _run_pipeline(shop, job, item, request, why_stop)
        if item["type"] == "DataPipeline"
        else _run_notebook(shop, job, item, request, why_stop)
    )


def _wait_in_queue(shop: Workshop, job: Row, why_stop: Callable[[], str | None]) -> None:
    idle = threading.Event()
    submitted_at = read_time(job["submitted_at"])
    while not why_stop() and (shop.clock.now() - submitted_at).total_seconds() < shop.options.job_queue_seconds:
        idle.wait(_POLL_SECONDS)


def _run_pipeline(shop: Workshop, job: Row, item: Row, request: Mapping[str, Any], why_stop: Callable[[], str | None]) -> JobEnd:
    run = PipelineRun(shop, job, item, "capacity_exceeded" in request["faults"], why_stop)
    try:
        message = run_pipeline_item(run, request["parameters"])
    except BadPipeline as error:
        return JobEnd("Failed", str(error), error.code)
    return JobEnd("Completed") if message is None else JobEnd("Failed", message)


def _run_notebook(shop: Workshop, job: Row, item: Row, request: Mapping[str, Any], why_stop: Callable[[], str | None]) -> JobEnd:
    session_id = new_id()
    start = NotebookStart(request["parameters"], session_id, job["id"], request["lakehouse_id"])
    end = run_notebook_item(shop, item, start, why_stop)
    if end.error:
        return JobEnd("Failed", f"{end.error['ename']}: {end.error['evalue']}", session_id=session_id)
    if end.stopped:
        return JobEnd("Failed", end.stopped, session_id=session_id)
    return JobEnd("Completed", exit_value=end.exit_value, session_id=session_id)
