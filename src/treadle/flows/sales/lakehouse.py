"""Where things lie in the lakehouse: the contract of product.md §1.1. Paths are relative to the lakehouse and start with `Files/`."""

from pathlib import PurePosixPath
from typing import Final
from uuid import UUID

IMPORT: Final = "Files/import"
RUNS: Final = "Files/results/runs"
CURRENT: Final = "Files/results/current"

DATA_FILES: Final = ("sales_cleaned.parquet", "sales_cleaned.csv", "kpis.json", "import_profile.json")
KPIS: Final = "kpis.json"
PROFILE: Final = "import_profile.json"
RUN_METADATA: Final = "run_metadata.json"  # written last into a run's folder; without it the folder is incomplete
MANIFEST: Final = "manifest.json"  # written last into current/; names the run that current/ came from
STARTED: Final = "_started.json"  # first sign of life of the notebook: which pipeline run carries which run
ATTEMPT_PREFIX: Final = ".attempt-"  # of a folder in a run's own, with what the notebook has not brought to its place yet
COPIES: Final = "copies"  # in that folder: the files that will be moved into current/
FAILED: Final = "_failed.json"  # why the notebook gave up, in words for a person

ARTIFACT_TYPES: Final = {
    "sales_cleaned.parquet": "parquet",
    "sales_cleaned.csv": "csv",
    "kpis.json": "json",
    "import_profile.json": "profile",
    "run_metadata.json": "metadata",
}  # file name → artifact_type of run_artifacts


def import_path(file_name: str) -> str:
    """The workbook that a run reads."""
    return f"{IMPORT}/{file_name}"


def mapping_path(file_name: str) -> str:
    """The column mapping that belongs to a workbook."""
    return f"{IMPORT}/{file_name}.mapping.json"


def funnel_path(file_name: str) -> str:
    """The visitors that the funnel of a workbook needs, where the workbook itself has none."""
    return f"{IMPORT}/{PurePosixPath(file_name).stem}.funnel.json"


def run_path(run_id: UUID | str, file_name: str = "") -> str:
    """A file of a run's own folder, or the folder itself."""
    return f"{RUNS}/{run_id}/{file_name}".rstrip("/")


def current_path(file_name: str) -> str:
    """A file of the published folder."""
    return f"{CURRENT}/{file_name}"
