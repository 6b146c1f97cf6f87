"""Long-running operations: started by an item request, read until they end.

Source: "Long running operations" of the Fabric REST documentation; LongRunningOperations in fabric-rest-api-specs, platform/swagger.json.
"""

import json
from datetime import datetime
from typing import Any

from treadle.sandbox.fabric.records import Records, Row, fabric_time, new_id
from treadle.sandbox.fabric.refusals import Refused, invalid, not_found


def start_operation(records: Records, now: datetime, *, polls: int, result: object = None, error: Refused | None = None) -> str:
    """Remember an operation that answers Running `polls` times before it ends with this result, without one, or with this error."""
    operation_id = new_id()
    records.rows(
        "INSERT INTO operations (id, polls_left, result, error, created_at, updated_at) VALUES (:id, :polls, :result, :error, :now, :now)",
        id=operation_id,
        polls=polls,
        result=None if result is None else json.dumps(result),
        error=_failure(error),
        now=fabric_time(now),
    )
    return operation_id


def begin_operation(records: Records, now: datetime, *, polls: int) -> str:
    """Remember an operation whose work is under way: it answers Running until `end_operation`, and at least `polls` times."""
    with records.transaction():
        operation_id = start_operation(records, now, polls=polls)
        records.rows("INSERT INTO running_operations (id) VALUES (:id)", id=operation_id)
    return operation_id


def end_operation(records: Records, operation_id: str, now: datetime, error: Refused | None = None) -> None:
    """The work is done, or ended with this error. An operation that has ended already stays as it is."""
    with records.transaction():
        if records.rows("DELETE FROM running_operations WHERE id = :id RETURNING id", id=operation_id):
            sql = "UPDATE operations SET error = :error, updated_at = :now WHERE id = :id"
            records.rows(sql, id=operation_id, error=_failure(error), now=fabric_time(now))


def fail_interrupted_operations(records: Records, now: datetime, message: str) -> None:
    """End what is still under way although nobody works on it."""
    for row in records.rows("SELECT id FROM running_operations"):
        end_operation(records, row["id"], now, Refused(500, "UnknownError", message))


def poll_operation(records: Records, operation_id: str, now: datetime, *, stale: bool) -> Row:
    """Read an operation once, which brings it one step nearer to its end; a stale read repeats an earlier state and moves nothing."""
    with records.transaction():
        row = _get(records, operation_id)
        if stale:
            return row | {"polls_left": max(row["polls_left"], 1)}
        if row["polls_left"] > 0:
            records.rows(
                "UPDATE operations SET polls_left = polls_left - 1, updated_at = :now WHERE id = :id", id=row["id"], now=fabric_time(now)
            )
    return row


def state_json(row: Row) -> dict[str, Any]:
    """The state as Fabric answers it."""
    return {
        "status": status_of(row),
        "createdTimeUtc": row["created_at"],
        "lastUpdatedTimeUtc": row["updated_at"],
        "percentComplete": None if status_of(row) == "Failed" else 50 if status_of(row) == "Running" else 100,
        "error": json.loads(row["error"]) if status_of(row) == "Failed" else None,
    }


def status_of(row: Row) -> str:
    """Running, Succeeded or Failed."""
    if row["running"] or row["polls_left"] > 0:
        return "Running"
    return "Succeeded" if row["error"] is None else "Failed"


def result_of(records: Records, operation_id: str) -> Any:
    """What an operation made; raises OperationHasNoResult, or OperationNotSucceeded while it runs and after it failed."""
    row = _get(records, operation_id)
    if status_of(row) != "Succeeded":
        raise invalid(f"The operation '{operation_id}' is {status_of(row)}.", "OperationNotSucceeded")
    if row["result"] is None:
        raise invalid("The operation has no result.", "OperationHasNoResult")
    return json.loads(row["result"])


def _get(records: Records, operation_id: str) -> Row:
    sql = "SELECT operations.*, operations.id IN (SELECT id FROM running_operations) AS running FROM operations WHERE id = :id"
    row = records.row(sql, id=operation_id.lower())
    if row is None:
        raise not_found("Operation", operation_id)
    return row


def _failure(error: Refused | None) -> str | None:
    return None if error is None else json.dumps({"errorCode": error.code, "message": error.message})
