"""The figures: of the latest run, and over time."""

from typing import Annotated

from fastapi import APIRouter, Query

from treadle.actions import runs
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.runs import Limit
from treadle.api.shapes.runs import FigureChange, LatestKpis, RunKpis, Trend, TrendPointShape
from treadle.control.access import Right
from treadle.control.compare import compare_kpis

router = APIRouter(route_class=GuardedRoute, tags=["kpis"])


@router.get("/api/kpis", openapi_extra=needs(Right.RUNS_READ), responses=answers())
def latest_kpis(services: With, who: Who) -> LatestKpis:
    """Show the figures of the latest run that succeeded, restores aside, and what changed since the one before."""
    latest, previous = runs.latest(services, who)
    changes = compare_kpis(previous.kpis or {}, latest.kpis or {}).rows if latest and previous else ()
    return LatestKpis(
        latest=RunKpis.model_validate(latest) if latest else None,
        previous=RunKpis.model_validate(previous) if previous else None,
        changes=[FigureChange.model_validate(change) for change in changes],
    )


@router.get("/api/kpis/trend", openapi_extra=needs(Right.RUNS_READ), responses=answers())
def kpi_trend(
    services: With,
    who: Who,
    kpi: Annotated[str, Query(min_length=1, max_length=200, description="A plain figure of kpis.json.")] = "total_revenue",
    limit: Limit = 50,
) -> Trend:
    """Show one figure over the runs that succeeded, oldest first."""
    points = runs.trend(services, who, kpi, limit=limit)
    return Trend(kpi=kpi, points=[TrendPointShape.model_validate(point) for point in points])
