"""What Salesforce has acknowledged, row by row, and what it has refused: the only memory that plans compare with.

A row counts as acknowledged when Salesforce said so of that very row, and never because it was sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import polars as pl
from psycopg.rows import DictRow

from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries
from treadle.control.stored import message_text
from treadle.flows.weekly.ledger import Sync
from treadle.flows.weekly.row_hash import HASH_COLUMNS, SCHEME
from treadle.flows.weekly.sync_fields import SyncMapping
from treadle.flows.weekly.sync_plan import after_column, as_text
from treadle.flows.weekly.week import Week

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_BLOCK_ROWS: Final = 5_000  # of one transaction; a repetition writes the same
_COPIED: Final = {
    "external_id": pl.String,
    "row_hash_hi": pl.Int64,
    "row_hash_lo": pl.Int64,
    "hash_scheme": pl.Int32,
    "created_by_us": pl.String,
    "fields": pl.String,
}


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that Salesforce would not take. fields: as sent, as texts. retry: it goes out with the next sync, whatever its hash."""

    external_id: str
    week_start: date
    week_end: date
    hash_scheme: int
    row_hash_hi: int
    row_hash_lo: int
    fields: Mapping[str, str | None]
    code: str
    message: str
    attempts: int
    first_seen: datetime
    last_seen: datetime
    retry: bool
    run_id: UUID


def write_acknowledged(own: Database, target: str, week: Week, mapping: SyncMapping, path: Path) -> Path:
    """Write what is acknowledged of a week as `plan_sync` wants it: key, hash, who created it, and each field as text. Returns `path`."""
    copied = path.with_suffix(".csv")
    asked = (_SQL["acknowledged_rows"], _week_values(target, week))
    with copied.open("wb") as file, own.transaction() as connection:
        connection.execute(_SQL["take_time"])
        with connection.cursor().copy(*asked) as rows:
            file.writelines(rows)
    try:
        _as_frame(copied, mapping).sink_parquet(path, engine="streaming")
    finally:
        copied.unlink()
    return path


def _as_frame(copied: Path, mapping: SyncMapping) -> pl.LazyFrame:
    if not copied.stat().st_size:
        kinds = {**_COPIED, "created_by_us": pl.Boolean, **dict.fromkeys(mapping.fields, pl.String)}
        return pl.LazyFrame(schema={name: kind for name, kind in kinds.items() if name != "fields"})
    fields = pl.Struct(dict.fromkeys(mapping.fields, pl.String))
    rows = pl.scan_csv(copied, glob=False, has_header=False, schema=_COPIED)
    return rows.with_columns(pl.col("fields").str.json_decode(fields), created_by_us=pl.col("created_by_us") == "t").unnest("fields")


def record_outcomes(  # noqa: PLR0913 - each named
    own: Database, sync: Sync, rows: pl.DataFrame, outcomes: pl.DataFrame, mapping: SyncMapping, *, folds_case: bool
) -> None:
    """Record the acknowledged and the refused rows of a part. Safe to repeat.

    rows: of the plan. outcomes: what became of each, by `send_part`; the undecided ones leave no trace. folds_case: whether Salesforce takes keys
    that differ in case for one; a record has one acknowledged row, under the spelling that was sent last.
    """
    decided = _as_stored(rows, mapping).join(outcomes, on="external_id", how="inner", maintain_order="left")
    for block in decided.filter(pl.col("outcome").is_in(["created", "updated"])).iter_slices(_BLOCK_ROWS):
        with own.transaction() as connection:
            _acknowledge(connection, sync, block, folds_case=folds_case)
    for block in decided.filter(pl.col("outcome") == "refused").iter_slices(_BLOCK_ROWS):
        with own.transaction() as connection:
            _refuse(connection, sync, block, retry=False)


def record_pending(own: Database, sync: Sync, rows: pl.DataFrame, reasons: pl.DataFrame, mapping: SyncMapping) -> None:
    """Let rows that were locked or never tried wait beside the refused ones, to be sent with the next sync. Safe to repeat.

    reasons: external_id, code, message, where Salesforce gave any.
    """
    waiting = _as_stored(rows, mapping).join(reasons.unique("external_id"), on="external_id", how="left", maintain_order="left")
    told = waiting.with_columns(pl.col("code").fill_null("NOT_TRIED"), pl.col("message").fill_null("Salesforce has not tried this row."))
    for block in told.iter_slices(_BLOCK_ROWS):
        with own.transaction() as connection:
            _refuse(connection, sync, block, retry=True)


def _as_stored(rows: pl.DataFrame, mapping: SyncMapping) -> pl.DataFrame:
    """Key, hash, and the fields as JSON of texts."""
    texts = pl.struct(as_text(pl.col(after_column(rule))).alias(rule.target) for rule in mapping.rules)
    return rows.select("external_id", *HASH_COLUMNS, texts.alias("fields")).with_columns(pl.col("fields").struct.json_encode())


def refused_rows(own: Database, target: str, week: Week) -> list[RefusedRow]:
    """The rows of a week that Salesforce refused and that were not acknowledged since."""
    return [_refused_row(row) for row in own.read(_SQL["refused_rows"], _week_values(target, week))]


def acknowledged_by(own: Database, target: str, week: Week, sync_ids: Sequence[UUID]) -> set[str]:
    """The external ids of the week's rows that these syncs were the last to write."""
    values = {**_week_values(target, week), "sync_ids": list(sync_ids)}
    return {row["external_id"] for row in own.read(_SQL["acknowledged_by"], values)}


def ask_again(own: Database, target: str, week: Week) -> None:
    """Let the next sync of the week send its refused rows once more, though they are as they were."""
    with own.transaction() as connection:
        connection.execute(_SQL["ask_again"], _week_values(target, week))


def forget_gone(own: Database, target: str, week: Week, external_ids: Sequence[str]) -> None:
    """Forget refused rows that the week no longer has."""
    with own.transaction() as connection:
        connection.execute(_SQL["forget_gone"], {**_week_values(target, week), "external_ids": list(external_ids)})


def _acknowledge(connection: Connection, sync: Sync, rows: pl.DataFrame, *, folds_case: bool) -> None:
    values = {
        **_row_values(sync, rows),
        "sync_id": sync.sync_id,
        "salesforce_ids": rows["salesforce_id"].to_list(),
        "created": (rows["outcome"] == "created").to_list(),
        "folds_case": folds_case,
    }
    for statement in ("acknowledge", "forget_other_spellings", "forget_refusals"):
        connection.execute(_SQL[statement], values)


def _refuse(connection: Connection, sync: Sync, rows: pl.DataFrame, *, retry: bool) -> None:
    values = {
        **_row_values(sync, rows),
        "run_id": sync.run_id,
        "retry": retry,
        "codes": [message_text(code) for code in rows["code"].fill_null("UNKNOWN")],
        "messages": [message_text(message) for message in rows["message"].fill_null("")],
    }
    connection.execute(_SQL["refuse"], values)


def _row_values(sync: Sync, rows: pl.DataFrame) -> dict[str, Any]:
    return {
        **_week_values(sync.target, sync.week),
        "hash_scheme": SCHEME,
        "external_ids": rows["external_id"].to_list(),
        "hashes_hi": rows[HASH_COLUMNS[0]].to_list(),
        "hashes_lo": rows[HASH_COLUMNS[1]].to_list(),
        "fields": rows["fields"].to_list(),
    }


def _refused_row(row: DictRow) -> RefusedRow:
    return RefusedRow(**row)


def _week_values(target: str, week: Week) -> dict[str, object]:
    return {"target": target, "week_start": week.start, "week_end": week.end}
