"""The background jobs of the scenario flow, build and destroy, and what the hourly clean-up does for it.

What they are made of is loaded when one runs: every process that knows the kinds of jobs loads this module, and few of them build a scenario.
"""

from collections.abc import Callable
from typing import Final

from treadle.control.jobs.job import JsonValue
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.run import JobContext
from treadle.flows.scenario.flow import BUILD, DESTROY
from treadle.flows.scenario.services import ScenarioServices

_SECONDS: Final = 6 * 3600.0

Open = Callable[[], ScenarioServices]


def scenario_kinds(services: Open) -> tuple[Kind, ...]:
    """services: opened when a job needs them, since they need settings that not every installation has."""
    return (
        Kind(BUILD, lambda context: _build(services(), context), deadline_seconds=_SECONDS),
        Kind(DESTROY, lambda context: _destroy(services(), context), deadline_seconds=_SECONDS),
    )


def scenario_clean_ups(services: Open) -> dict[str, Callable[[], int]]:
    """What the hourly clean-up deletes for this flow, by the name of its step; for `sales_kinds(clean_ups=…)`."""
    return {"scenario uploads": lambda: _clear_uploads(services()), "scenario scratch": lambda: _clear_scratch(services())}


def _build(services: ScenarioServices, context: JobContext) -> JsonValue:
    from treadle.flows.scenario.build import build_scenario  # noqa: PLC0415 - see above

    return build_scenario(services, context)


def _destroy(services: ScenarioServices, context: JobContext) -> JsonValue:
    from treadle.flows.scenario.destroy import destroy_scenario  # noqa: PLC0415 - see above

    return destroy_scenario(services, context)


def _clear_uploads(services: ScenarioServices) -> int:
    from treadle.flows.scenario.uploads import clear_uploads  # noqa: PLC0415 - see above

    return clear_uploads(services)


def _clear_scratch(services: ScenarioServices) -> int:
    from treadle.flows.scenario.uploads import clear_scratch  # noqa: PLC0415 - see above

    return clear_scratch(services)
