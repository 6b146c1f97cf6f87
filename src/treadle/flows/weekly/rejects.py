"""The rejected events of a week: how many by rule, which, one of them whole, and all of them as a file."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from treadle.errors import InvalidInput, NotFound, Unavailable
from treadle.flows.weekly.services import REJECTS_NAME, WeeklyServices
from treadle.flows.weekly.week import Week

FORMATS: Final = (".csv", ".jsonl", ".parquet")
_LISTED: Final = ("row_index", "page", "rule", "field", "value", "reason")
_FORMULA: Final = r"^[=+\-@\t\r]"  # what spreadsheets would carry out


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How many records broke a rule first, with one of them as a sample."""

    rule: str
    field: str | None
    rows: int
    sample_value: str | None
    sample_reason: str | None


@dataclass(frozen=True, slots=True)
class Reject:
    """A rejected record: where it stood, the first rule that it broke, and why. value: at most 1,000 characters."""

    row_index: int
    page: int
    rule: str
    field: str | None
    value: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class WholeReject:
    """A rejected record with every error and its bytes, shown as text; what is no UTF-8 is marked."""

    reject: Reject
    errors: list[dict[str, Any]]
    raw_record: str


def rejects_file(services: WeeklyServices, week: Week) -> Path:
    """Where the week's rejects are: published on this machine, or – of a batch that was refused – still in its work folder.

    Raises:
        NotFound: the week was not transformed on this machine.
    """
    found = [path for path in (services.work_folder(week) / REJECTS_NAME, services.local_rejects(week)) if path.is_file()]
    if not found:
        raise NotFound(
            f"There are no rejects of the week {week} on this machine.",
            hint=f"Run the week first: treadle weekly run --week-start {week.start} --week-end {week.end}",
        )
    return found[0]


def count_by_rule(path: Path) -> list[RuleCount]:
    """Rules with most rejects first."""
    counted = (
        pl.scan_parquet(path)
        .group_by("rule", "field")
        .agg(pl.len().alias("rows"), pl.col("value").first().alias("sample_value"), pl.col("reason").first().alias("sample_reason"))
        .sort(["rows", "rule", "field"], descending=[True, False, False])
        .collect(engine="streaming")
    )
    return [RuleCount(**row) for row in counted.iter_rows(named=True)]


def list_rejects(path: Path, *, rule: str | None = None, offset: int = 0, limit: int = 50) -> list[Reject]:
    """Some rejects in the order of their records."""
    rows = _of_rule(pl.scan_parquet(path), rule).select(_LISTED).sort("row_index").slice(offset, limit).collect(engine="streaming")
    return [Reject(**row) for row in rows.iter_rows(named=True)]


def show_reject(path: Path, row_index: int) -> WholeReject:
    """One reject, by its place in the whole extract, from 0.

    Raises:
        NotFound: that record was not rejected, or is not there.
    """
    found = pl.scan_parquet(path).filter(pl.col("row_index") == row_index).collect(engine="streaming").to_dicts()
    if not found:
        raise NotFound(f"Record {row_index} was not rejected.", hint="List those that were with: treadle weekly rejects ls")
    row = found[0]
    raw: bytes = row["raw_record"]
    return WholeReject(Reject(**{name: row[name] for name in _LISTED}), list(row["errors"] or ()), raw.decode("utf-8", "backslashreplace"))


def export_rejects(path: Path, target: Path, *, rule: str | None = None) -> int:
    """Write the rejects to a file whose name says the form, and return how many. CSV is for spreadsheets: what they would carry out is quoted.

    The file is there whole or as it was before.

    Raises:
        InvalidInput: no such form, or no such folder. Unavailable: the file cannot be written.
    """
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise InvalidInput(f"{target.name} does not say which form the export is to have.", hint=f"End it in one of: {', '.join(FORMATS)}.")
    rows = _of_rule(pl.scan_parquet(path), rule).sort("row_index").collect(engine="streaming")
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if not target.parent.is_dir():
            raise InvalidInput(f"There is no folder {target.parent}.", hint="Make it first, or choose another place.")
        _write(rows, aside, suffix)
        aside.replace(target)
    except (OSError, pl.exceptions.PolarsError) as error:  # some versions of Polars tell a full disk as an error of its own
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise Unavailable(
            f"{target} cannot be written: {why}.", hint="Make room, or choose another place; what was there before is as it was."
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return rows.height


def _write(rows: pl.DataFrame, target: Path, suffix: str) -> None:
    if suffix == ".parquet":
        rows.write_parquet(target, compression="snappy")
    elif suffix == ".jsonl":
        _readable(rows).write_ndjson(target)
    else:
        _spreadsheet(_readable(rows).drop("errors")).write_csv(target)


def _of_rule(rows: pl.LazyFrame, rule: str | None) -> pl.LazyFrame:
    return rows if rule is None else rows.filter(pl.col("rule") == rule)


def _readable(rows: pl.DataFrame) -> pl.DataFrame:
    """The raw record as text; what is no UTF-8 is marked, for its bytes are in the Parquet file."""
    texts = [raw.decode("utf-8", "backslashreplace") for raw in rows["raw_record"]]
    return rows.with_columns(pl.Series("raw_record", texts, dtype=pl.String))


def _spreadsheet(rows: pl.DataFrame) -> pl.DataFrame:
    texts = [name for name, kind in rows.schema.items() if kind == pl.String]
    return rows.with_columns(
        [pl.when(pl.col(name).str.contains(_FORMULA)).then("'" + pl.col(name)).otherwise(pl.col(name)).alias(name) for name in texts]
    )
