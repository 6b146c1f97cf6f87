"""Graph models as items: what a definition must fulfil, what they say of themselves, and what goes with them."""

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.sandbox.fabric import items, job_log
from treadle.sandbox.fabric.definitions import Part
from treadle.sandbox.fabric.graph.model import empty_parts, read_model
from treadle.sandbox.fabric.graph.refresh import JOB_TYPE
from treadle.sandbox.fabric.graph.sources import table_folders
from treadle.sandbox.fabric.item_kind import ItemKind
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import Refused
from treadle.sandbox.fabric.workshop import Workshop


def _check_content(shop: Workshop, parts: Sequence[Part]) -> Refused | None:
    """The rules of the definition, and that every table is there: Fabric reads their schemas when it is pushed."""
    try:
        table_folders(shop, read_model(parts).sources)
    except Refused as refused:
        return refused
    return None


def _created(shop: Workshop, row: Row) -> None:
    if not items.parts_of(shop.records, row["id"])[1]:
        items.put_definition(shop.records, row["id"], "json", empty_parts())


def _deleted(shop: Workshop, row: Row) -> None:
    shop.graphs.forget(row["id"])


def _properties(shop: Workshop, row: Row) -> Mapping[str, Any]:
    """As observed by users of the API; the specification does not list them."""
    job = next((one for one in job_log.list_jobs(shop.records, row["id"]) if one["job_type"] == JOB_TYPE), None)
    loading = (
        None
        if job is None
        else {"status": job["status"], "lastUpdateTime": job["ended_at"] or job["submitted_at"], "jobInstanceId": job["id"]}
    )
    return {"queryReadiness": "None" if shop.graphs.current(row["id"]) is None else "Full", "lastDataLoadingStatus": loading}


GRAPH_MODEL = ItemKind(check_content=_check_content, created=_created, deleted=_deleted, properties=_properties)
