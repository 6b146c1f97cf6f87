"""OpenLineage events of a run: when it starts and ends, what it read and wrote, how many rows. Best effort: a run never fails by them.

Source: https://openlineage.io/spec/2-0-2/OpenLineage.json and the facets named in each `_schemaURL`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

import structlog

from treadle.clients.lineage import post_lineage
from treadle.errors import TreadleError
from treadle.flows.weekly.record import PIPELINE
from treadle.flows.weekly.week import Week

log = structlog.get_logger()

PRODUCER: Final = "https://treadle.dev/weekly"
SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS: Final = "https://openlineage.io/spec/facets"
Happening = Literal["START", "COMPLETE", "FAIL"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Something that was read or written. namespace: the system, as a URI without a path; name: the thing there. None: not counted."""

    namespace: str
    name: str
    rows: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where events are posted. url: None for nowhere."""

    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    namespace: str = "treadle"

    def tell(  # noqa: PLR0913 - the parts of an event, each named
        self,
        happening: Happening,
        run_id: UUID,
        week: Week,
        at: datetime,
        *,
        inputs: Sequence[Dataset] = (),
        outputs: Sequence[Dataset] = (),
        error: str | None = None,
    ) -> bool:
        """Post one event. False: nowhere to post it, or it could not be sent, which is logged as a warning."""
        if self.url is None:
            return False
        event = run_event(happening, run_id, week, at, self.namespace, inputs=inputs, outputs=outputs, error=error)
        try:
            post_lineage(self.url, event, api_key=self.api_key, ca_file=self.ca_file)
        except TreadleError as failure:
            log.warning("weekly.lineage_not_sent", run_id=str(run_id), happening=happening, reason=failure.message)
            return False
        return True


def run_event(  # noqa: PLR0913 - the parts of an event, each named
    happening: Happening,
    run_id: UUID,
    week: Week,
    at: datetime,
    namespace: str,
    *,
    inputs: Sequence[Dataset] = (),
    outputs: Sequence[Dataset] = (),
    error: str | None = None,
) -> dict[str, Any]:
    """One RunEvent. Pure."""
    facets: dict[str, Any] = {
        "nominalTime": _facet(
            "1-0-1/NominalTimeRunFacet.json#/$defs/NominalTimeRunFacet",
            nominalStartTime=week.opens_at.isoformat(),
            nominalEndTime=week.closes_at.isoformat(),
        )
    }
    if error is not None:
        facets["errorMessage"] = _facet(
            "1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet", message=error, programmingLanguage="python"
        )
    return {
        "eventType": happening,
        "eventTime": at.isoformat(),
        "run": {"runId": str(run_id), "facets": facets},
        "job": {"namespace": namespace, "name": PIPELINE},
        "inputs": [_dataset(one, "inputFacets", "inputStatistics", "1-0-0/InputStatisticsInputDatasetFacet") for one in inputs],
        "outputs": [_dataset(one, "outputFacets", "outputStatistics", "1-0-2/OutputStatisticsOutputDatasetFacet") for one in outputs],
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
    }


def _dataset(dataset: Dataset, facets_name: str, statistics: str, schema: str) -> dict[str, Any]:
    counted = {"rowCount": dataset.rows, "size": dataset.size_bytes}
    known = {name: value for name, value in counted.items() if value is not None}
    described: dict[str, Any] = {"namespace": dataset.namespace, "name": dataset.name}
    if known:
        definition = schema.rpartition("/")[2]
        described[facets_name] = {statistics: _facet(f"{schema}.json#/$defs/{definition}", **known)}
    return described


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{schema}", **values}
