"""The five stages of a week, each as it is done: what goes in is read from the week's work folder, what comes out is left there.

Each is safe to repeat and goes on where an earlier try was killed; a stage whose inputs are the same finds its result and does not do it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar, cast
from uuid import UUID

import polars as pl
import structlog

from treadle.errors import Conflict, InvalidInput, OperationFailed
from treadle.flows.weekly import extract as extraction
from treadle.flows.weekly import quality
from treadle.flows.weekly import transform as transformation
from treadle.flows.weekly.extract import Extracted, PageFile, extract_week, read_extract
from treadle.flows.weekly.load import Loaded, WeekFile, load_week
from treadle.flows.weekly.metrics import MetricsFile, write_metrics
from treadle.flows.weekly.record import RunStatus, Stage
from treadle.flows.weekly.services import Check, Progress, Report, WeeklyServices
from treadle.flows.weekly.stage_files import forget_results, inputs_sha256, keep_result, kept_result
from treadle.flows.weekly.sync_outcome import counts_of, sync_week
from treadle.flows.weekly.transform import Transformed, is_of, read_transformed, transform_week
from treadle.flows.weekly.week import Week

log = structlog.get_logger()
T = TypeVar("T")
Engine = Literal["embedded", "spark"]
METRICS_NAME: Final = "metrics.parquet"  # only of events that passed the gate: rows that were refused are sent again from it
_PLANNED_NAME: Final = "planned_metrics.parquet"
_METRICS_VERSION: Final = 1  # raise it when the definition of the metrics changes


@dataclass(frozen=True, slots=True)
class Work:
    """One week's work: where its files are, how it is to be done, and who listens."""

    services: WeeklyServices
    week: Week
    folder: Path
    report: Report
    check: Check
    force: bool = False  # do the stage again even if its inputs are the same
    override_guards: bool = False  # carry a plan out although a guard objects to it
    local_only: bool = False
    engine: Engine = "embedded"


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What a stage gave, how many rows that is, and what the timeline says of it."""

    value: T
    rows: int
    message: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    level: str = "INFO"


@dataclass(frozen=True, slots=True)
class Gated:
    """What the quality gate decided."""

    status: RunStatus
    threshold_pct: float


def extract(work: Work) -> Done[Extracted]:
    """Fetch the week's pages that are not here yet."""
    settings, rows, expected = work.services.settings, 0, None

    def page_kept(page: PageFile, total: int | None) -> None:
        nonlocal rows, expected
        rows, expected = rows + page.rows, total
        work.report(Progress(Stage.EXTRACT, rows, total, "events"))

    def waits(seconds: float) -> None:
        log.warning("weekly.extract.waits", week=str(work.week), seconds=round(seconds))
        work.report(Progress(Stage.EXTRACT, rows, expected, "events", f"the events API is asked again in {seconds:.0f} s"))

    with_api = work.services.events_api()
    with_api.on_wait = waits
    try:
        extracted = extract_week(
            with_api,
            work.week,
            work.folder,
            now=work.services.state.now(),
            page_size=settings.api_page_size,
            delay_seconds=settings.api_rate_limit_delay,
            on_page=page_kept,
            check=work.check,
            anew=work.force,
        )
    finally:
        with_api.close()
    over = "" if is_whole(extracted) else f" The week is not over: only what happened before {extracted.window_closes:%Y-%m-%d %H:%M} UTC."
    message = f"{extracted.rows_fetched:,} events on {len(extracted.pages):,} pages.{over}"
    return Done(extracted, extracted.rows_fetched, message, {"pages": len(extracted.pages), "rows_fetched": extracted.rows_fetched})


def transform(work: Work) -> Done[Transformed]:
    """Judge every event: valid ones to events.parquet, the others to rejects.parquet."""
    extracted = required(read_extract(work.folder), work, Stage.EXTRACT)

    def judged(done: int, total: int) -> None:
        work.report(Progress(Stage.TRANSFORM, done, total, "events"))

    if work.engine == "spark":
        made = cast("Callable[..., Transformed]", _spark("transform_week"))(
            extracted, work.folder, force=work.force, check=work.check, on_progress=judged
        )
    else:
        made = transform_week(extracted, work.folder, force=work.force, check=work.check, on_progress=judged)
    rules = {"rejects_by_rule": dict(made.rejects_by_rule)}
    message = f"{made.rows_valid:,} events are valid, {made.rows_rejected:,} rejected ({made.reject_rate_pct:.2f} %)."
    level = "WARNING" if made.rows_rejected else "INFO"
    data = {"rows_valid": made.rows_valid, "rows_rejected": made.rows_rejected, "events_sha256": made.events_sha256, **rules}
    return Done(made, made.rows_valid, message, data, level)


def load(work: Work) -> Done[Loaded]:
    """Publish events and rejects on this machine and in the lake."""
    made = required(transformed(work.folder), work, Stage.TRANSFORM)
    events = WeekFile(made.events_path, made.events_sha256, made.events_bytes)
    rejects = WeekFile(made.rejects_path, made.rejects_sha256, made.rejects_bytes)
    known = kept_result(work.folder, Stage.LOAD, Loaded)
    loaded = load_week(
        work.services, work.week, events, rejects, known=known, local_only=work.local_only, report=work.report, check=work.check
    )
    keep_result(work.folder, Stage.LOAD, made.events_sha256, loaded)
    if work.local_only:
        where = "on this machine"
    else:
        where = (
            f"in the lake, {loaded.uploads} of 2 files were sent" if loaded.uploads else "in the lake, where the same bytes were already"
        )
    message = f"Events and rejects are {where}: {loaded.events.lake_path or loaded.events.local_path}."
    return Done(loaded, made.rows_valid, message, {"uploads": loaded.uploads, "sha256": loaded.events.sha256})


def quality_gate(work: Work) -> Done[Gated]:
    """Check the events as a whole, and hold the share of rejects against the threshold.

    Raises:
        OperationFailed: the week does not pass.
    """
    made = required(transformed(work.folder), work, Stage.TRANSFORM)
    threshold = work.services.settings.reject_threshold_pct
    broken = quality.failed(quality.check_events(pl.scan_parquet(made.events_path), work.week))
    facts = {"reject_rate_pct": float(made.reject_rate_pct), "threshold_pct": threshold, "failed_checks": [check.check for check in broken]}
    if broken:
        told = "; ".join(f"{check.detail}, but {check.found:,}" for check in broken)
        raise OperationFailed(
            f"The events of {work.week} do not pass the quality checks: {told}.",
            hint=f"Have the source mended, then fetch the week anew with: treadle weekly run {work.week.options}",
            details=facts,
        )
    status = RunStatus(quality.gate(made.rows_fetched, made.rows_rejected, threshold))
    if status is RunStatus.FAILED:
        raise OperationFailed(
            f"{made.reject_rate_pct:.2f} % of the events of {work.week} were rejected, more than the {threshold:g} % of REJECT_THRESHOLD_PCT.",
            hint=f"See why with: treadle weekly rejects ls {work.week.options} – and once the source is mended, fetch the week anew with: "
            f"treadle weekly run {work.week.options}",
            details=facts,
        )
    gated = Gated(status, threshold)
    keep_result(work.folder, Stage.QUALITY_GATE, _gate_inputs(made), gated)
    return Done(gated, made.rows_valid, f"Passed: {made.reject_rate_pct:.2f} % rejected, {threshold:g} % allowed.", facts)


def sync(work: Work, run_id: UUID) -> Done[Any]:
    """Sum the events per customer and bring what changed to Salesforce."""
    required(passed_gate(work), work, Stage.QUALITY_GATE)
    metrics = metrics_of(work)
    outcome = sync_week(
        work.services,
        work.week,
        run_id,
        metrics,
        plan_only=False,
        report=work.report,
        check=work.check,
        override_guards=work.override_guards,
    )
    counts = counts_of(outcome)
    message = f"{metrics.rows:,} customers: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()) + "."
    level = "WARNING" if counts["refused"] or counts["invalid"] or counts["pending"] else "INFO"
    return Done(outcome, metrics.rows, message, counts, level)


def plan(work: Work) -> tuple[MetricsFile, Any]:
    """What SYNC would do, without doing it."""
    metrics = metrics_of(work) if passed_gate(work) else _write_metrics(work, _PLANNED_NAME)
    return metrics, sync_week(work.services, work.week, None, metrics, plan_only=True, report=work.report, check=work.check)


def metrics_of(work: Work) -> MetricsFile:
    """The week's metrics, made again unless they are there from the same events."""
    made = required(transformed(work.folder), work, Stage.TRANSFORM)
    types = work.services.settings.spend_types
    inputs = inputs_sha256(_METRICS_VERSION, made.events_sha256, sorted(types))
    kept = None if work.force else kept_result(work.folder, Stage.SYNC, MetricsFile, inputs)
    if kept and kept.path.is_file() and kept.path.stat().st_size == kept.size_bytes:
        return kept
    metrics = _write_metrics(work, METRICS_NAME)
    keep_result(work.folder, Stage.SYNC, inputs, metrics)
    return metrics


def _write_metrics(work: Work, name: str) -> MetricsFile:
    made = required(transformed(work.folder), work, Stage.TRANSFORM)
    write = cast("Callable[..., MetricsFile]", _spark("write_metrics")) if work.engine == "spark" else write_metrics
    return write(made.events_path, work.week, work.folder / name, work.services.settings.spend_types)


def passed_gate(work: Work) -> Gated | None:
    """What the gate decided of the events that are here now. None: it has not, or the threshold is another."""
    made = transformed(work.folder)
    gated = kept_result(work.folder, Stage.QUALITY_GATE, Gated, _gate_inputs(made)) if made else None
    return gated if gated and gated.threshold_pct == work.services.settings.reject_threshold_pct else None


def transformed(folder: Path) -> Transformed | None:
    """The judged events that are here. None: there are none, or they are of other pages than those that are here now."""
    made, extracted = read_transformed(folder), read_extract(folder)
    return made if made and (extracted is None or is_of(made, extracted)) else None  # pages of old weeks are cleared away


def require_before(work: Work, stage: Stage) -> None:
    """Return when the stages before this one were done, with the files that are here.

    Raises:
        Conflict: names the first that was not; or the week has ended since its events were fetched, and the last of them are missing.
    """
    if stage is Stage.EXTRACT:
        return
    extracted = required(read_extract(work.folder), work, Stage.EXTRACT)
    if not is_whole(extracted) and work.services.state.now() >= work.week.closes_at:
        raise Conflict(
            f"The events of {work.week} that are here end at {extracted.window_closes:%Y-%m-%d %H:%M} UTC; the week was not over when they were"
            " fetched, and is now.",
            hint=f"Fetch the rest, and do all stages with it: treadle weekly run {work.week.options}",
            details={"week": str(work.week), "fetched_until": extracted.window_closes.isoformat()},
        )
    if stage is Stage.TRANSFORM:
        return
    made = required(transformed(work.folder), work, Stage.TRANSFORM)
    if stage is Stage.LOAD:
        return
    loaded = kept_result(work.folder, Stage.LOAD, Loaded)
    there = loaded and loaded.events.sha256 == made.events_sha256 and (work.local_only or loaded.events.lake_path)
    required(loaded if there else None, work, Stage.LOAD)
    if stage is Stage.SYNC:
        required(passed_gate(work), work, Stage.QUALITY_GATE)


def is_whole(extracted: Extracted) -> bool:
    """Whether the week was over when it was fetched."""
    return extracted.window_closes == extracted.week.closes_at


def begin_anew(folder: Path) -> None:
    """Forget what earlier runs of the week have left, so that all of it is done again; files that readers use stay until they are replaced."""
    for manifest in (extraction.MANIFEST, transformation.RESULT_FILE):
        (folder / manifest).unlink(missing_ok=True)
    forget_results(folder)


def required(found: T | None, work: Work, stage: Stage) -> T:
    """What an earlier stage gave.

    Raises:
        Conflict: that stage was not done.
    """
    if found is None:
        name = stage.lower().replace("_", "-")
        raise Conflict(
            f"The stage {name} of {work.week} was not done, or not with the files that are here.",
            hint=f"Do it first: treadle weekly stage {name} --week-start {work.week.start} --week-end {work.week.end}",
            details={"week": str(work.week), "stage": stage},
        )
    return found


def _gate_inputs(made: Transformed) -> str:
    return inputs_sha256(made.events_sha256, made.rows_fetched, made.rows_rejected)


def _spark(name: str) -> Any:
    try:
        return getattr(import_module("treadle.flows.weekly.spark"), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(
            "The engine spark cannot be used here: PySpark is not installed.", hint="pip install pyspark, or use --engine embedded."
        ) from error
