"""Ontologies: the tenant switch, the rules of their definition, and the empty graph model that comes with each."""

import json
from collections.abc import Sequence

from treadle.sandbox.fabric.definitions import Part
from treadle.sandbox.fabric.item_kind import ItemKind
from treadle.sandbox.fabric.items import NewItem
from treadle.sandbox.fabric.ontology_rules import check_ontology
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import Refused, invalid
from treadle.sandbox.fabric.workshop import Workshop


def _check_new(shop: Workshop, _workspace_id: str, _new: NewItem) -> None:
    if not shop.options.ontology_enabled:
        raise invalid("The item type 'Ontology' is not valid: the tenant has it switched off.", "InvalidItemType")


def _check_content(_shop: Workshop, parts: Sequence[Part]) -> Refused | None:
    return check_ontology(parts)


def _graph_model(_shop: Workshop, row: Row) -> Sequence[NewItem]:
    """The child: named after the ontology, empty until somebody pushes a definition. An update of the ontology does not fill it."""
    name = f"{row['display_name']}_graph_{row['id'].replace('-', '')}"
    child_of = json.dumps({"ontologyId": row["id"]})
    return [
        NewItem(
            type="GraphModel", name=name, description="", folder_id=row["folder_id"], creation_payload=child_of, format=None, parts=None
        )
    ]


def _children(shop: Workshop, row: Row) -> Sequence[Row]:
    rows = shop.records.rows("SELECT * FROM items WHERE workspace_id = :workspace AND type = 'GraphModel'", workspace=row["workspace_id"])
    return [one for one in rows if json.loads(one["creation_payload"] or "{}").get("ontologyId") == row["id"]]


ONTOLOGY = ItemKind(check_new=_check_new, check_content=_check_content, new_children=_graph_model, children=_children)
