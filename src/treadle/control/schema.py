"""The five tables as Treadle needs them, and what an installation's live schema lacks. Treadle reads them and never alters them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

LOCK_KEY: Final = "ACTIVE_PIPELINE_RUN"
LOCK_ROW_INSERT: Final = "INSERT INTO run_lock (lock_key) VALUES ('ACTIVE_PIPELINE_RUN');"
STATUS_LAST_UPDATED_AT: Final = "status_last_updated_at"  # the one column that some installations do not have

_TIMESTAMP: Final = "timestamp without time zone"

COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "pipeline_runs": {
        "run_id": "uuid",
        "created_at": _TIMESTAMP,
        "started_at": _TIMESTAMP,
        "finished_at": _TIMESTAMP,
        "triggered_by": "text",
        "input_file": "text",
        "workspace_id": "text",
        "pipeline_item_id": "text",
        "fabric_job_location_url": "text",
        "fabric_job_id": "text",
        "status": "text",
        STATUS_LAST_UPDATED_AT: _TIMESTAMP,
        "error_message": "text",
        "kpis": "jsonb",
        "notebook_version": "text",
        "app_version": "text",
    },
    "run_lock": {"lock_key": "text", "run_id": "uuid", "locked_at": _TIMESTAMP, "locked_by": "text"},
    "run_events": {"id": "uuid", "run_id": "uuid", "event_time": _TIMESTAMP, "event_type": "text", "message": "text"},
    "run_artifacts": {
        "id": "uuid",
        "run_id": "uuid",
        "artifact_type": "text",
        "file_path": "text",
        "file_size": "bigint",
        "created_at": _TIMESTAMP,
    },
    "run_restores": {"id": "uuid", "restored_at": _TIMESTAMP, "restored_by": "text", "source_run_id": "uuid", "target_run_id": "uuid"},
}  # product.md §1.6

PRIVILEGES: Final[Mapping[str, tuple[str, ...]]] = {
    "pipeline_runs": ("SELECT", "INSERT", "UPDATE"),
    "run_lock": ("SELECT", "UPDATE"),
    "run_events": ("SELECT", "INSERT"),
    "run_artifacts": ("SELECT", "INSERT"),
    "run_restores": ("SELECT", "INSERT"),
}

_SAME_TYPES: Final = {"character varying": "text"}  # without a length limit it holds the same


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column as it is. `must_be_given`: NOT NULL and without a default."""

    table: str
    name: str
    type: str
    must_be_given: bool


@dataclass(frozen=True, slots=True)
class LiveSchema:
    """What this installation has, as far as statements differ by it."""

    columns: tuple[LiveColumn, ...]

    @property
    def has_status_last_updated_at(self) -> bool:
        """Whether `pipeline_runs` has the optional column."""
        return any(column.table == "pipeline_runs" and column.name == STATUS_LAST_UPDATED_AT for column in self.columns)


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """One thing that the owner of the database must mend before Treadle works."""

    table: str
    problem: str
    hint: str


def column_problems(schema: LiveSchema) -> list[SchemaProblem]:
    """Compare the live columns with those that Treadle reads and writes."""
    return [
        problem for table in COLUMNS for problem in _table_problems(table, [column for column in schema.columns if column.table == table])
    ]


def privilege_problems(missing: Iterable[Mapping[str, Any]]) -> list[SchemaProblem]:
    """Name each right that is lacking, from rows of (table_name, privilege)."""
    return [
        SchemaProblem(
            row["table_name"],
            f"{row['privilege']} is not granted",
            f"GRANT {row['privilege']} ON {row['table_name']} TO the user in PG_USER;",
        )
        for row in missing
    ]


def lock_row_problem() -> SchemaProblem:
    """The lock's one row is missing, so no run can start."""
    return SchemaProblem("run_lock", f"the row {LOCK_KEY} is missing", f"Its owner should run: {LOCK_ROW_INSERT}")


def _table_problems(table: str, live: list[LiveColumn]) -> list[SchemaProblem]:
    if not live:
        return [
            SchemaProblem(
                table, "the table is missing", "Create it, grant USAGE on its schema, or put its schema on the user's search_path."
            )
        ]
    types = {column.name: column.type for column in live}
    problems = [
        SchemaProblem(table, f"the column {name} is missing", f"Add it with the type {wanted}.")
        for name, wanted in COLUMNS[table].items()
        if name not in types and name != STATUS_LAST_UPDATED_AT
    ]
    problems += [
        SchemaProblem(table, f"the column {name} is {types[name]}", f"It should be {wanted}.")
        for name, wanted in COLUMNS[table].items()
        if name in types and _SAME_TYPES.get(types[name], types[name]) != wanted
    ]
    return problems + _unfillable(table, live)


def _unfillable(table: str, live: list[LiveColumn]) -> list[SchemaProblem]:
    """Columns that an INSERT must name and Treadle does not know."""
    if "INSERT" not in PRIVILEGES[table]:
        return []
    return [
        SchemaProblem(
            table, f"the column {column.name} is required, and Treadle does not fill it", "Make it nullable or give it a default."
        )
        for column in live
        if column.must_be_given and column.name not in COLUMNS[table]
    ]
