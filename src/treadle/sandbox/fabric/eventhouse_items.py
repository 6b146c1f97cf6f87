"""Eventhouses and their KQL databases as items: how they come and go together, and what they say of themselves.

Sources: fabric-rest-api-specs, eventhouse/ and kqlDatabase/; "KQL database definition" and "Eventhouse definition" of the Fabric REST
documentation. What is in the databases is the matter of sandbox/kusto.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from treadle.sandbox.fabric import items
from treadle.sandbox.fabric.definitions import Part, text_of
from treadle.sandbox.fabric.item_kind import ItemKind
from treadle.sandbox.fabric.items import NewItem
from treadle.sandbox.fabric.records import Records, Row
from treadle.sandbox.fabric.refusals import Refused, invalid, not_modelled
from treadle.sandbox.fabric.workshop import Workshop

_PROPERTIES_FILE: Final = "DatabaseProperties.json"
_SCHEMA_FILE: Final = "DatabaseSchema.kql"
_EVENTHOUSE_FILE: Final = "EventhouseProperties.json"
_EMPTY_SCRIPT: Final = "// KQL script\n"
_CONSUMPTION_UNITS: Final = frozenset({0, 2.25, 4.25, 8.5, 13, 18, 26, 34, 50})
_MORE_UNITS: Final = range(51, 323)
_FOREVER: Final = "P36500D"


def find_eventhouse(records: Records, asked: str) -> Row | None:
    """An eventhouse by its id, with or without hyphens, in any workspace."""
    sql = "SELECT * FROM items WHERE type = 'Eventhouse' AND replace(id, '-', '') = :id"
    return records.row(sql, id=asked.lower().replace("-", ""))


def databases_of(records: Records, eventhouse: Row) -> list[Row]:
    """The KQL databases of an eventhouse, oldest first."""
    rows = records.rows("SELECT * FROM items WHERE type = 'KQLDatabase' AND workspace_id = :id ORDER BY seq", id=eventhouse["workspace_id"])
    return [row for row in rows if _described(records, row)["parentEventhouseItemId"] == eventhouse["id"]]


def _described(records: Records, row: Row) -> dict[str, Any]:
    """What a KQL database is of and below: databaseType and parentEventhouseItemId, from its payload or its definition."""
    if row["creation_payload"]:
        described = cast("dict[str, Any]", json.loads(row["creation_payload"]))
    else:
        described = _properties_of(items.parts_of(records, row["id"])[1])
    return described | {"parentEventhouseItemId": str(described["parentEventhouseItemId"]).lower()}


def _properties_of(parts: Sequence[Part]) -> dict[str, Any]:
    """The content of DatabaseProperties.json; raises Refused without it, or when it is no JSON object."""
    part = next((part for part in parts if part["path"] == _PROPERTIES_FILE), None)
    if part is None:
        raise invalid(f"The definition of a KQLDatabase needs the part {_PROPERTIES_FILE}.", "InvalidDefinitionParts")
    return _json_object(part)


def _json_object(part: Part) -> dict[str, Any]:
    try:
        content: Any = json.loads(text_of(part))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise invalid(f"The part {part['path']} is not a JSON object.", "InvalidDefinitionParts")
    return cast("dict[str, Any]", content)


# Eventhouses.


def _check_new_eventhouse(shop: Workshop, workspace_id: str, new: NewItem) -> None:
    units: Any = json.loads(new.creation_payload or "{}").get("minimumConsumptionUnits", 0)
    if isinstance(units, bool) or not isinstance(units, int | float) or (units not in _CONSUMPTION_UNITS and units not in _MORE_UNITS):
        raise invalid(f"minimumConsumptionUnits is {sorted(_CONSUMPTION_UNITS)} or a number from 51 to 322, not {units!r}.", "InvalidInput")
    items.check_name_is_free(shop.records, workspace_id, "KQLDatabase", new.name)


def _check_eventhouse(_shop: Workshop, parts: Sequence[Part]) -> Refused | None:
    part = next((part for part in parts if part["path"] == _EVENTHOUSE_FILE), None)
    if part is None:
        return invalid(f"The definition of an Eventhouse needs the part {_EVENTHOUSE_FILE}.", "InvalidDefinitionParts")
    try:
        _json_object(part)
    except Refused as refused:
        return refused
    return None


def _eventhouse_created(shop: Workshop, row: Row) -> None:
    if not items.parts_of(shop.records, row["id"])[1]:
        items.put_definition(shop.records, row["id"], "", [_part(_EVENTHOUSE_FILE, "{}")])


def _default_database(_shop: Workshop, row: Row) -> Sequence[NewItem]:
    payload = json.dumps({"databaseType": "ReadWrite", "parentEventhouseItemId": row["id"]})
    return [NewItem("KQLDatabase", row["display_name"], "", row["folder_id"], payload, None, None)]


def _children(shop: Workshop, row: Row) -> Sequence[Row]:
    return databases_of(shop.records, row)


def _eventhouse_properties(shop: Workshop, row: Row) -> Mapping[str, Any]:
    payload = json.loads(row["creation_payload"] or "{}")
    return {
        **_uris(shop, row["id"]),
        "databasesItemIds": [database["id"] for database in databases_of(shop.records, row)],
        "minimumConsumptionUnits": payload.get("minimumConsumptionUnits", 0),
    }


# KQL databases.


def _check_new_database(shop: Workshop, workspace_id: str, new: NewItem) -> None:
    if new.creation_payload is None and new.parts is None:
        raise invalid("A KQL database is created from a creationPayload or a definition.", "InvalidInput")
    described = json.loads(new.creation_payload) if new.creation_payload else _properties_of(new.parts or [])
    _check_kind(described)
    items.get_item(shop.records, workspace_id, str(described.get("parentEventhouseItemId")), "Eventhouse")


def _check_kind(described: Mapping[str, Any]) -> None:
    kind = described.get("databaseType")
    if kind == "Shortcut":
        raise not_modelled("KQL databases of type Shortcut")
    if kind != "ReadWrite":
        raise invalid(f"The databaseType is ReadWrite or Shortcut, not {kind!r}.", "InvalidInput")


def _check_database(shop: Workshop, parts: Sequence[Part]) -> Refused | None:
    try:
        described = _properties_of(parts)
        _check_kind(described)
        script = _script(parts)
    except Refused as refused:
        return refused
    if find_eventhouse(shop.records, str(described.get("parentEventhouseItemId"))) is None:
        return invalid(f"The part {_PROPERTIES_FILE} names no eventhouse that there is.", "InvalidDefinitionParts")
    reason = shop.kusto.check_script(script)
    return None if reason is None else invalid(f"The part {_SCHEMA_FILE} cannot be carried out: {reason}", "InvalidDefinitionParts")


def _database_created(shop: Workshop, row: Row) -> None:
    parts = items.parts_of(shop.records, row["id"])[1]
    if not parts:
        described = _described(shop.records, row) | {"oneLakeCachingPeriod": _FOREVER, "oneLakeStandardStoragePeriod": _FOREVER}
        parts = [_part(_PROPERTIES_FILE, json.dumps(described, indent=2)), _part(_SCHEMA_FILE, _EMPTY_SCRIPT)]
        items.put_definition(shop.records, row["id"], "", parts)
    shop.kusto.run_script(row["id"], row["display_name"], _script(parts))


def _database_defined(shop: Workshop, row: Row) -> None:
    reason = shop.kusto.run_script(row["id"], row["display_name"], _script(items.parts_of(shop.records, row["id"])[1]))
    if reason is not None:
        raise invalid(f"The part {_SCHEMA_FILE} cannot be carried out: {reason}", "InvalidDefinitionParts")


def _database_deleted(shop: Workshop, row: Row) -> None:
    shop.kusto.drop_database(row["id"])


def _database_properties(shop: Workshop, row: Row) -> Mapping[str, Any]:
    described = _described(shop.records, row)
    parent = described["parentEventhouseItemId"]
    return {"parentEventhouseItemId": parent, **_uris(shop, parent), "databaseType": described["databaseType"]}


def _script(parts: Sequence[Part]) -> str:
    try:
        return next((text_of(part) for part in parts if part["path"] == _SCHEMA_FILE), "")
    except UnicodeDecodeError as error:
        raise invalid(f"The part {_SCHEMA_FILE} is not UTF-8.", "InvalidDefinitionParts") from error


def _uris(shop: Workshop, eventhouse_id: str) -> dict[str, str]:
    return {"queryServiceUri": shop.kusto.query_url(eventhouse_id), "ingestionServiceUri": shop.kusto.ingestion_url(eventhouse_id)}


def _part(path: str, text: str) -> Part:
    return {"path": path, "payload": base64.b64encode(text.encode()).decode(), "payloadType": "InlineBase64"}


EVENTHOUSE = ItemKind(
    check_new=_check_new_eventhouse,
    check_content=_check_eventhouse,
    created=_eventhouse_created,
    new_children=_default_database,
    children=_children,
    properties=_eventhouse_properties,
)
KQL_DATABASE = ItemKind(
    check_new=_check_new_database,
    check_content=_check_database,
    created=_database_created,
    defined=_database_defined,
    deleted=_database_deleted,
    properties=_database_properties,
)
