"""The files of a sync's parts, in one folder: the rows of each, before Salesforce hears of any, and what became of them."""

import hashlib
from pathlib import Path

import polars as pl

from treadle.flows.weekly.ledger import Part


def write_rows(folder: Path, number: int, rows: pl.DataFrame) -> str:
    """Put the rows of a part on disk; return the SHA-256 of its file, which belongs into the ledger."""
    path = _rows_path(folder, number)
    rows.write_parquet(path, compression="zstd")
    return sha256_of(path)


def read_rows(folder: Path, part: Part) -> pl.DataFrame | None:
    """The rows of a part. None: the file is not here, or is another."""
    path = _rows_path(folder, part.part)
    return pl.read_parquet(path, glob=False) if path.is_file() and sha256_of(path) == part.sha256 else None


def write_outcomes(folder: Path, part: Part, outcomes: pl.DataFrame) -> None:
    """Put on disk what became of the rows of a part. Safe to repeat."""
    outcomes.write_parquet(_outcomes_path(folder, part.part))


def read_with_outcomes(folder: Path, part: Part) -> pl.DataFrame | None:
    """The rows of a part, each with what became of it. None: that is not on this disk."""
    outcomes = _outcomes_path(folder, part.part)
    if not outcomes.is_file():
        return None
    return pl.read_parquet(_rows_path(folder, part.part), glob=False).join(pl.read_parquet(outcomes, glob=False), on="external_id")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file on this disk, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06}.parquet"


def _outcomes_path(folder: Path, number: int) -> Path:
    return folder / f"outcomes-{number:06}.parquet"
