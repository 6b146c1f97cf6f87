"""What a sync would do, row by row, before anything is sent: metrics against the rows that Salesforce has acknowledged. Pure but for its own files.

The rows of the plan are a Parquet file, its sums a small value. Both sides may be far larger than memory: they are streamed past each other by
stored 128-bit hashes (`row_hash`), and only rows that differ are compared field by field. `digest` seals the plan: the same metrics, mapping,
acknowledged rows and description give the same digest, so an apply can refuse when anything of it has changed since the plan was read.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import polars as pl
import pyarrow.parquet as pq

from treadle.flows.weekly.field_text import as_text
from treadle.flows.weekly.row_hash import HASH_COLUMNS, SCHEME
from treadle.flows.weekly.sync_cost import ApiCost, Guards, GuardTrip, Limits, check_guards, estimate_cost
from treadle.flows.weekly.sync_diff import BLOCKED, CREATE, UPDATE, Diff, after_column, as_arrow
from treadle.flows.weekly.sync_fields import Describe, FieldProblem, NullPolicy, SyncMapping, require_mapping

__all__ = [
    "BLOCKED",
    "CREATE",
    "REFUSED",
    "UPDATE",
    "SyncPlan",
    "after_column",
    "as_text",
    "clears",
    "describe_changes",
    "mark_refused",
    "plan_sync",
    "to_acknowledge",
]

parquet: Final[Any] = pq  # its types are unknown to the checker
PLAN_FILE: Final = "plan.parquet"
REFUSED: Final = "refused"  # by Salesforce, as the row is


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """The sums of a plan.

    Its rows are in `rows_path`, in the order of the metrics:

    action create | update | blocked | refused · external_id · one column for each field (what is sent; null is to be cleared where the field's policy is
    CLEAR, and otherwise left as it is) · `after.<field>` for fields of another policy (what the record holds once the row is acknowledged; for all
    other fields that is what is sent) · row_hash_hi, row_hash_lo (of what it then holds) · changes list<field, old, new> as texts (of updates) ·
    problems list<rule, field, value, reason> (of blocked and refused rows).
    """

    object_name: str
    input_rows: int
    create: int
    update: int
    unchanged: int
    blocked: int
    kept: int  # acknowledged, and gone from the metrics: they stay in Salesforce, from which nothing is ever deleted
    changed_fields: Mapping[str, int]  # updates by field
    blocked_by_rule: Mapping[str, int]  # by the first problem of a row
    cost: ApiCost
    trips: tuple[GuardTrip, ...]
    digest: str
    rows_path: Path = field(compare=False)
    refused: int = 0  # to be created or updated, but Salesforce has refused them as they are: they wait, and a run does not send them

    @property
    def rows_to_send(self) -> int:
        """Rows that an apply would send."""
        return self.create + self.update

    def as_json(self) -> dict[str, Any]:
        """As `--json` and the file beside the rows hold it."""
        return json.loads(json.dumps(asdict(self), default=str))


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of a row, before and after, as texts; None is null."""

    field: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row of the plan for people. A create lists every field with no old value, a blocked row its problems."""

    action: str
    external_id: str
    changes: tuple[FieldChange, ...]
    problems: tuple[FieldProblem, ...]


def plan_sync(  # noqa: PLR0913 - everything that decides a plan is said here
    metrics: Path | pl.LazyFrame,
    acknowledged: Path | pl.LazyFrame | None,
    describe: Describe,
    mapping: SyncMapping,
    guards: Guards,
    *,
    folder: Path,
    limits: Limits | None = None,
) -> SyncPlan:
    """Work out what a sync would do, and write its rows to `folder`/plan.parquet. Safe to repeat.

    acknowledged: one row per record that Salesforce has acknowledged – external_id text, row_hash_hi and row_hash_lo int64, hash_scheme int,
    created_by_us boolean, and a column for each field (typed, or the text that `describe_changes` shows). Empty before the first sync;
    None when it cannot be told, which trips every guard.
    A row whose hash is of another scheme, or was made by another mapping, is compared by its values.
    Rows whose keys differ in case only, where Salesforce does not tell them apart, are all blocked: none may overwrite another. Acknowledged rows whose
    keys do are one record, of which nobody can tell what it holds: it is updated.

    Raises:
        InvalidInput: the mapping does not fit the object, or a key is null or occurs twice; `details` lists offenders.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _scratch(folder) as scratch:
        today = _as_parquet(metrics, scratch / "metrics.parquet")
        known = _as_parquet(_no_rows() if acknowledged is None else acknowledged, scratch / "acknowledged.parquet")
        require_mapping(mapping, pl.read_parquet_schema(today), describe)
        diff = Diff(mapping, describe, today, known, scratch)
        with ThreadPoolExecutor(1, "seals") as threads:  # each of the two sorts millions of numbers on one core
            sealed = threads.submit(diff.seal_known)
            input_rows = diff.require_unique_keys()
        written = _PlanFile(scratch / PLAN_FILE, diff)
        candidates = diff.find_candidates(sealed.result())
        del sealed  # a hundred megabytes that nobody needs any more
        for rows in diff.compare():
            written.add(rows)
        acknowledged_rows = diff.known_rows
        gone = acknowledged_rows - (input_rows - candidates) - diff.known_candidates
        written.close()
        (scratch / PLAN_FILE).replace(folder / PLAN_FILE)
    counts = written.counts
    sent = counts[CREATE] + counts[UPDATE]
    return SyncPlan(
        mapping.object_name,
        input_rows,
        counts[CREATE],
        counts[UPDATE],
        input_rows - sent - counts[BLOCKED],
        counts[BLOCKED],
        gone,
        dict(sorted(written.changed_fields.items())),
        dict(sorted(written.blocked_by_rule.items())),
        estimate_cost(sent, written.upload_bytes, limits or Limits()),
        check_guards(guards, updates=counts[UPDATE], missing=gone, acknowledged=None if acknowledged is None else acknowledged_rows),
        written.digest(),
        folder / PLAN_FILE,
    )


def mark_refused(plan: SyncPlan, refused: pl.DataFrame, cost: ApiCost) -> SyncPlan:
    """The plan with some of its creates and updates as refused, in its sums and in its file. The guards, which count them, are as they were.

    refused: action, external_id and reason, one row each. cost: of what is left to be sent.
    """
    problems = pl.scan_parquet(plan.rows_path).collect_schema()["problems"]
    reason = pl.col("refused_because")
    told = pl.struct(rule=pl.lit(REFUSED), field=pl.lit(""), value=pl.lit(None, pl.String), reason=reason)
    because = refused.lazy().select(
        "external_id", "action", pl.col("reason").fill_null("Salesforce gave no reason.").alias("refused_because")
    )
    marked = plan.rows_path.with_suffix(".marked.tmp")
    (
        pl.scan_parquet(plan.rows_path)
        .join(because, on=["external_id", "action"], how="left", maintain_order="left")
        .with_columns(
            action=pl.when(reason.is_null()).then("action").otherwise(pl.lit(REFUSED)),
            problems=pl.when(reason.is_null()).then("problems").otherwise(pl.concat_list(told).cast(problems)),
        )
        .drop("refused_because")
        .sink_parquet(marked, compression="zstd", compression_level=1)
    )
    marked.replace(plan.rows_path)
    counts = Counter(refused["action"])
    return replace(plan, create=plan.create - counts[CREATE], update=plan.update - counts[UPDATE], refused=refused.height, cost=cost)


def describe_changes(  # noqa: PLR0913 - each filter is named
    rows_path: Path,
    mapping: SyncMapping,
    *,
    action: str | None = None,
    field_name: str | None = None,
    search: str = "",
    offset: int = 0,
    limit: int = 100,
) -> tuple[list[RowChange], int]:
    """A page of a plan's rows for people, and how many rows the filters leave.

    field_name: updates that change this field, or rows blocked for it. search: text that the external id contains, in any case.
    """
    chosen = pl.scan_parquet(rows_path)
    if action:
        chosen = chosen.filter(pl.col("action") == action)
    if search:
        chosen = chosen.filter(pl.col("external_id").str.to_lowercase().str.contains(search.lower(), literal=True))
    if field_name:
        by_field = pl.element().struct.field("field") == field_name
        chosen = chosen.filter(pl.col("changes").list.eval(by_field).list.any() | pl.col("problems").list.eval(by_field).list.any())
    total: int = chosen.select(pl.len()).collect(engine="streaming").item()
    page = chosen.slice(offset, limit).collect(engine="streaming")
    return [_row_change(row, mapping.fields) for row in page.iter_rows(named=True)], total


def clears(mapping: SyncMapping) -> frozenset[str]:
    """The fields whose null is to be set there, too, for `write_bulk_csv`."""
    return frozenset(rule.target for rule in mapping.rules if rule.null_policy is NullPolicy.CLEAR)


def to_acknowledge(rows: pl.LazyFrame, mapping: SyncMapping) -> pl.LazyFrame:
    """Rows of a plan as `acknowledged` wants them, but for created_by_us, which only Salesforce's answer tells."""
    fields = [pl.col(after_column(rule)).alias(rule.target) for rule in mapping.rules]
    return rows.select("external_id", *HASH_COLUMNS, pl.lit(SCHEME).alias("hash_scheme"), *fields)


class _PlanFile:
    """The plan's rows as they are written: counted, measured and sealed on the way."""

    def __init__(self, path: Path, diff: Diff) -> None:
        mapping = diff.mapping
        self.counts: Counter[str] = Counter()
        self.changed_fields: Counter[str] = Counter()
        self.blocked_by_rule: Counter[str] = Counter()
        self._fields = mapping.fields
        self._text_bytes = 0
        self._digest = hashlib.sha256(json.dumps([SCHEME, asdict(mapping)], default=str, sort_keys=True).encode())
        empty = diff.plan_rows(pl.DataFrame(schema={"action": pl.String, "external_id": pl.String}))
        self._writer = parquet.ParquetWriter(path, as_arrow(empty).schema, compression="zstd", compression_level=1)

    def add(self, rows: pl.DataFrame) -> None:
        """Take in the next rows."""
        if rows.is_empty():
            return
        self._writer.write_table(as_arrow(rows))
        self.counts.update(dict(rows["action"].value_counts().iter_rows()))
        self._count_fields(rows)
        sent = rows.filter(pl.col("action").is_in([CREATE, UPDATE]))
        sizes = [pl.col(name).cast(pl.String).str.len_bytes().fill_null(len("#N/A")).sum() for name in ("external_id", *self._fields)]
        self._text_bytes += sum(sent.select(sizes).row(0)) + sent.height * (len(self._fields) + 1)
        sealed = rows.select(pl.concat_str("action", pl.lit("\t"), "external_id", pl.lit("\n")))
        self._digest.update("".join(sealed.to_series()).encode())
        self._digest.update(rows.select(HASH_COLUMNS).fill_null(0).to_numpy().astype("<i8").tobytes())

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def digest(self) -> str:
        """The seal: hexadecimal SHA-256 of the mapping and of each row's action, key and hash."""
        return self._digest.hexdigest()

    @property
    def upload_bytes(self) -> int:
        """About as many bytes as the CSV of creates and updates takes."""
        return self._text_bytes

    def _count_fields(self, rows: pl.DataFrame) -> None:
        changed = rows.filter(pl.col("action") == UPDATE)["changes"].explode().drop_nulls()
        if len(changed):
            self.changed_fields.update(dict(changed.struct.field("field").value_counts().iter_rows()))
        blocked = rows.filter(pl.col("action") == BLOCKED)["problems"].list.first()
        if len(blocked):
            self.blocked_by_rule.update(dict(blocked.struct.field("rule").value_counts().iter_rows()))


def _row_change(row: Mapping[str, Any], fields: tuple[str, ...]) -> RowChange:
    changes = [FieldChange(**change) for change in row["changes"] or ()]
    if row["action"] == CREATE:
        shown = pl.DataFrame({name: [row[name]] for name in fields}).select(as_text(pl.col(name)) for name in fields).row(0)
        changes = [FieldChange(name, None, value) for name, value in zip(fields, shown, strict=True)]
    return RowChange(row["action"], row["external_id"], tuple(changes), tuple(FieldProblem(**problem) for problem in row["problems"] or ()))


def _no_rows() -> pl.LazyFrame:
    hashes = dict.fromkeys(HASH_COLUMNS, pl.Int64)
    return pl.LazyFrame(schema={"external_id": pl.String, **hashes, "hash_scheme": pl.Int32, "created_by_us": pl.Boolean})


def _as_parquet(frame: Path | pl.LazyFrame, path: Path) -> Path:
    if isinstance(frame, Path):
        return frame
    frame.sink_parquet(path, engine="streaming")
    return path


@contextmanager
def _scratch(folder: Path) -> Generator[Path]:
    """A folder for what is needed on the way, on the disk where the plan goes; it is gone in the end."""
    scratch = folder / f".plan-{uuid4().hex[:12]}.tmp"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
