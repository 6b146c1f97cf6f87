"""What the actions work with. Built once, by wiring; handed to the API, the portal and every command."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from treadle.control.database import Database
from treadle.errors import InvalidInput
from treadle.flows.sales.services import SalesServices
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.weekly.services import WeeklyServices


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how long."""

    upload_bytes: int = 2 * 1024**3  # a larger workbook is not taken
    upload_lifetime: timedelta = timedelta(hours=24)  # an upload that is not finalised by then is cleared away
    token_lifetime: timedelta = timedelta(days=366)  # the longest that an API token may live
    job_retention: timedelta = timedelta(days=30)  # jobs that ended earlier are deleted
    idempotency_lifetime: timedelta = timedelta(hours=24)  # an answer is replayed for so long


def _no_weekly() -> WeeklyServices:
    raise InvalidInput("The weekly flow is not part of these services.")


def _no_scenarios() -> ScenarioServices:
    raise InvalidInput("The scenario flow is not part of these services.")


@dataclass(frozen=True, slots=True)
class Services:
    """The sales flow, the database of the five tables, the one of Treadle's own tables, and which environment this is."""

    sales: SalesServices
    database: Database
    own: Database
    environment: str
    version: str
    limits: Limits = field(default_factory=Limits)
    weekly: Callable[[], WeeklyServices] = _no_weekly  # opened at the first use: not every installation has its settings
    scenarios: Callable[[], ScenarioServices] = _no_scenarios
