"""What a plan costs at Salesforce, and the guards that keep a mistake from being carried out. Pure.

Sources: Bulk API 2.0 and sObject Collections, as `docs` of Salesforce state their limits (15,000 batches a day shared with Bulk 1.0, 10,000 rows a batch,
100 MB an upload, 200 rows a Collections request; Collections are advised below 2,000 rows).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from treadle.flows.weekly.sync_fields import is_percentage

BULK_FROM_ROWS: Final = 2_000
BATCH_ROWS: Final = 10_000
COLLECTION_ROWS: Final = 200
PART_BYTES: Final = 100_000_000
CALLS_PER_JOB: Final = 12  # create, upload, close, some polls, three result sets


class Channel(StrEnum):
    """How rows are sent."""

    NOTHING = "nothing"
    COLLECTIONS = "collections"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Guards:
    """Shares, in percent of the acknowledged rows, that a plan must not exceed; None switches a guard off."""

    max_update_pct: float | None = None
    max_missing_pct: float | None = (
        None  # of records that the metrics no longer have: nothing is deleted, but a source that lost rows is not trusted
    )


@dataclass(frozen=True, slots=True)
class GuardTrip:
    """A guard that keeps the plan from being carried out, and why."""

    guard: str
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What is left of the day's allowances, as `GET limits` says; None: not told."""

    api_requests: int | None = None
    bulk_batches: int | None = None


@dataclass(frozen=True, slots=True)
class ApiCost:
    """Requests and batches that a plan takes. `affordable` is None when the limits are not known."""

    channel: Channel
    requests: int
    jobs: int
    batches: int
    upload_bytes: int
    affordable: bool | None
    reason: str | None = None


def read_limits(answer: Mapping[str, Any]) -> Limits:
    """The two members of `GET limits` that matter here."""
    return Limits(_remaining(answer.get("DailyApiRequests")), _remaining(answer.get("DailyBulkApiBatches")))


def _remaining(limit: Mapping[str, int] | None) -> int | None:
    return limit.get("Remaining") if limit else None


def estimate_cost(rows: int, upload_bytes: int, limits: Limits, *, reserve_pct: float = 10.0) -> ApiCost:
    """What upserting so many rows takes. upload_bytes: of their CSV. reserve_pct: of what is left of an allowance, kept for everybody else."""
    if rows == 0:
        return ApiCost(Channel.NOTHING, 0, 0, 0, 0, affordable=True)
    if rows < BULK_FROM_ROWS:
        return _afford(
            ApiCost(Channel.COLLECTIONS, _parts(rows, COLLECTION_ROWS), 0, 0, upload_bytes, affordable=None), limits, reserve_pct
        )
    jobs, batches = _jobs(rows, upload_bytes), _parts(rows, BATCH_ROWS)
    return _afford(ApiCost(Channel.BULK, jobs * CALLS_PER_JOB, jobs, batches, upload_bytes, affordable=None), limits, reserve_pct)


def _jobs(rows: int, upload_bytes: int) -> int:
    """A job takes one upload of at most PART_BYTES, cut between whole batches where a batch is smaller than that."""
    row_bytes = max(1, upload_bytes // rows)
    rows_a_job = max(1, PART_BYTES // row_bytes)
    whole = rows_a_job // BATCH_ROWS * BATCH_ROWS or rows_a_job
    return _parts(rows, whole)


def _parts(count: int, size: int) -> int:
    return -(-count // size)


def _afford(cost: ApiCost, limits: Limits, reserve_pct: float) -> ApiCost:
    needs = [("API requests", cost.requests, limits.api_requests), ("bulk batches", cost.batches, limits.bulk_batches)]
    wanted = [(what, need, left) for what, need, left in needs if need]
    for what, need, left in wanted:
        if left is not None and need > left * (1 - reserve_pct / 100):
            short = f"{need:,} {what} are needed, {left:,} are left today, of which {reserve_pct:g} % are kept in reserve"
            return ApiCost(cost.channel, cost.requests, cost.jobs, cost.batches, cost.upload_bytes, affordable=False, reason=short)
    known = all(left is not None for _, _, left in wanted)
    return ApiCost(cost.channel, cost.requests, cost.jobs, cost.batches, cost.upload_bytes, affordable=True if known else None)


def check_guards(guards: Guards, *, updates: int, missing: int, acknowledged: int | None) -> tuple[GuardTrip, ...]:
    """The guards that trip. One that cannot be evaluated trips, too. acknowledged: rows that Salesforce has acknowledged; None: not known."""
    trips = (
        _check("max_update_pct", "updates", guards.max_update_pct, updates, acknowledged),
        _check("max_missing_pct", "records that the metrics no longer have", guards.max_missing_pct, missing, acknowledged),
    )
    return tuple(trip for trip in trips if trip)


def _check(guard: str, what: str, limit: float | None, count: int, acknowledged: int | None) -> GuardTrip | None:
    if limit is None:
        return None
    if not is_percentage(limit):
        return GuardTrip(guard, f"its limit, {limit}, is no percentage, so it cannot be evaluated")
    if acknowledged is None:
        return GuardTrip(guard, "it is not known how many rows are acknowledged, so it cannot be evaluated")
    if count == 0:
        return None
    if acknowledged == 0:
        return GuardTrip(guard, f"{count:,} {what} of no acknowledged row: the share cannot be evaluated")
    share = 100 * count / acknowledged
    return (
        GuardTrip(guard, f"{count:,} {what} are {share:.2f} % of {acknowledged:,} acknowledged rows, more than {limit:g} %")
        if share > limit
        else None
    )
