"""The background jobs of the sales flow: what kinds there are, and which recur. Wiring gives them to the worker."""

from collections.abc import Mapping

from treadle.control.database import Database
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.recurring import Recurring
from treadle.flows.sales import clean_up
from treadle.flows.sales.notifications import Notifications, notification_kind
from treadle.flows.sales.profiles import profile_kind
from treadle.flows.sales.services import SalesServices


def sales_kinds(
    services: SalesServices, own: Database, notifications: Notifications, clean_ups: Mapping[str, clean_up.Task] | None = None
) -> tuple[Kind, ...]:
    """File profiles, notifications and the clean-up. clean_ups: what other parts want deleted every hour, by the name of its step."""
    tasks = clean_up.sales_tasks(services, own) | dict(clean_ups or {})
    return profile_kind(services, own), notification_kind(own, notifications), clean_up.clean_up_kind(tasks)


def sales_recurrings() -> tuple[Recurring, ...]:
    """What the sales flow asks for by itself."""
    return (Recurring(clean_up.KIND, clean_up.EVERY_SECONDS, clean_up.hourly_clean_up),)
