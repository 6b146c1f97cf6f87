"""What came of the stage SYNC, and the way to the module that carries it out."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol
from uuid import UUID

from treadle.errors import InvalidInput, OperationFailed
from treadle.flows.weekly.metrics import MetricsFile
from treadle.flows.weekly.services import Check, Report, WeeklyServices
from treadle.flows.weekly.week import Week

_DELIVER: Final = "treadle.flows.weekly.deliver"


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """Every row of the week's metrics, by what became of it. plan: what was or would be done, for those who asked for it."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    invalid: int = 0
    refused: int = 0
    pending: int = 0
    plan: Any = None

    @property
    def rows(self) -> int:
        """All of them."""
        return self.created + self.updated + self.unchanged + self.invalid + self.refused + self.pending


class Counts(Protocol):
    """What any outcome of a sync has."""

    @property
    def created(self) -> int: ...  # noqa: D102
    @property
    def updated(self) -> int: ...  # noqa: D102
    @property
    def unchanged(self) -> int: ...  # noqa: D102
    @property
    def invalid(self) -> int: ...  # noqa: D102
    @property
    def refused(self) -> int: ...  # noqa: D102
    @property
    def pending(self) -> int: ...  # noqa: D102


def counts_of(outcome: Counts) -> dict[str, int]:
    """The six counts by name."""
    return {name: int(getattr(outcome, name)) for name in ("created", "updated", "unchanged", "invalid", "refused", "pending")}


def sync_week(  # noqa: PLR0913 - what, for which run, and who listens: each named
    services: WeeklyServices,
    week: Week,
    run_id: UUID | None,
    metrics: MetricsFile,
    *,
    plan_only: bool,
    report: Report,
    check: Check,
    override_guards: bool = False,
) -> Any:
    """Bring the metrics to Salesforce, or only plan it. override_guards: also when a guard objects to the plan.

    Raises:
        InvalidInput: this installation has no part that talks to Salesforce. OperationFailed: rows are not accounted for.
    """
    carry_out = _deliver("sync_week")
    outcome = carry_out(services, week, run_id, metrics, plan_only=plan_only, report=report, check=check, override_guards=override_guards)
    counts = counts_of(outcome)
    if not plan_only and (sum(counts.values()) != metrics.rows or min(counts.values()) < 0):
        raise OperationFailed(
            f"The sync of {week} accounts for {sum(counts_of(outcome).values()):,} rows, but the week has {metrics.rows:,}.",
            hint="Run the stage again; what was acknowledged is not sent again.",
            details={**counts_of(outcome), "rows": metrics.rows},
        )
    return outcome


def refused_rows(services: WeeklyServices, week: Week) -> list[Any]:
    """The rows of a week that Salesforce refused and that wait, with its reasons; none where nothing can have been sent."""
    try:
        return list(_deliver("refused_rows")(services, week))
    except InvalidInput:
        return []


def retry_refused(services: WeeklyServices, week: Week, *, report: Report, check: Check) -> Any:
    """Send the refused rows of a week again, those alone. Raises InvalidInput as `sync_week`."""
    return _deliver("retry_refused")(services, week, report=report, check=check)


def require_all_taken(week: Week, counts: Mapping[str, int]) -> None:
    """Raise OperationFailed when rows that were sent again are refused again, or wait again."""
    if counts["refused"] or counts["pending"]:
        raise OperationFailed(
            f"Of the rows sent again, {counts['refused']:,} were refused again, and {counts['pending']:,} are pending.",
            hint=f"See why with: treadle weekly rejects ls --week-start {week.start} --week-end {week.end}",
            details=dict(counts),
        )


def _deliver(name: str) -> Any:
    try:
        found = getattr(import_module(_DELIVER), name, None)
    except ModuleNotFoundError as error:
        if error.name != _DELIVER:
            raise
        found = None
    if found is None:
        raise InvalidInput(
            "This Treadle has no part yet that brings metrics to Salesforce.",
            hint="Leave that stage out with --local-only, or run single stages.",
        )
    return found
