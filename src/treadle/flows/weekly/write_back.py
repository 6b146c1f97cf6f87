"""What a sync did, as Delta tables in the lake: a log line for each sync, every row that changed with old and new, every row that was not taken."""

from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from treadle.flows.weekly.lake_tables import append_once
from treadle.flows.weekly.ledger import Part, Sync
from treadle.flows.weekly.part_files import read_with_outcomes
from treadle.flows.weekly.services import WeeklyServices
from treadle.flows.weekly.sync_plan import BLOCKED, SyncPlan

SYNC_LOG: Final = "weekly_sync_log"
CHANGELOG: Final = "weekly_sync_changelog"
REJECTS: Final = "weekly_sync_rejects"
_CHANGE = pl.List(pl.Struct({"field": pl.String, "old": pl.String, "new": pl.String}))


def write_back(  # noqa: PLR0913 - each named
    services: WeeklyServices,
    sync: Sync,
    parts: list[Part],
    folder: Path,
    *,
    plan: SyncPlan | None,
    pending: int,
    waiting: int,
    now: datetime,
) -> None:
    """Append what one sync did to the three tables, each once. Safe to repeat.

    parts: all of the sync, settled. folder: where their rows and outcomes are. plan: None for a sync that is not of a whole week: refused rows that
    are tried again, and what was taken over from a killed process. waiting: rows that were refused before, and not tried again. now: UTC.
    """
    changed = _outcomes(folder, parts)
    tables = {
        CHANGELOG: _changelog(changed.filter(pl.col("outcome").is_in(["created", "updated"]))),
        REJECTS: pl.concat([_refused(changed.filter(pl.col("outcome") == "refused")), _blocked(plan)]),
        SYNC_LOG: _log_line(parts, plan, pending, waiting),
    }
    for name, rows in tables.items():
        if rows.height:
            append_once(services.places.lake, table_path(services, name), str(sync.sync_id), _about(sync, rows, now))


def table_path(services: WeeklyServices, name: str) -> str:
    """Where a table is: among the tables of the lakehouse, or beside the events in a container."""
    if services.settings.storage_account is None:
        return f"Tables/{name}"
    return f"{services.places.events_base.rpartition('/')[0]}/{name}".lstrip("/")


def _outcomes(folder: Path, parts: list[Part]) -> pl.DataFrame:
    """The rows of all settled parts with what became of them; a row that was sent again counts as it ended."""
    settled = [read_with_outcomes(folder, part) for part in parts if part.state == "SETTLED"]
    schema = {
        "external_id": pl.String,
        "action": pl.String,
        "changes": _CHANGE,
        **dict.fromkeys(("salesforce_id", "outcome", "code", "message"), pl.String),
    }
    frames = [rows.with_columns(pl.col("changes").cast(_CHANGE)).select(list(schema)) for rows in settled if rows is not None]
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def _changelog(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("external_id", "salesforce_id", action="outcome", changes="changes")


def _refused(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "external_id",
        refused_by=pl.lit("salesforce"),
        rule="code",
        field=pl.lit(None, pl.String),
        value=pl.lit(None, pl.String),
        reason="message",
    )


def _blocked(plan: SyncPlan | None) -> pl.DataFrame:
    """Rows that were not sent because Salesforce would refuse them, a line for each problem."""
    if plan is None:
        return _refused(pl.DataFrame(schema=dict.fromkeys(("external_id", "code", "message"), pl.String)))
    blocked = pl.scan_parquet(plan.rows_path).filter(pl.col("action") == BLOCKED).select("external_id", "problems").collect()
    problems = blocked.explode("problems").unnest("problems")
    return problems.select("external_id", refused_by=pl.lit("preflight"), rule="rule", field="field", value="value", reason="reason")


def _log_line(parts: list[Part], plan: SyncPlan | None, pending: int, waiting: int) -> pl.DataFrame:
    settled = [part for part in parts if part.state == "SETTLED"]
    counts = {name: sum(getattr(part, name) for part in settled) for name in ("created", "updated", "refused")} | {"pending": pending}
    counts["refused"] += waiting
    known = {"unchanged": plan.unchanged if plan else None, "invalid": plan.blocked if plan else None}
    return pl.DataFrame(
        [{**counts, **known, "parts": len(settled), "plan_digest": plan.digest if plan else None}],
        {**dict.fromkeys((*counts, *known, "parts"), pl.Int64), "plan_digest": pl.String},
    )


def _about(sync: Sync, rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """With which sync it was, of which week, and when."""
    return rows.select(
        pl.lit(str(sync.sync_id)).alias("sync_id"),
        pl.lit(str(sync.run_id)).alias("run_id"),
        pl.lit(sync.week.start).alias("batch_week_start"),
        pl.lit(sync.week.end).alias("batch_week_end"),
        pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("recorded_at"),
        pl.all(),
    )
