"""What Fabric accepts as the definition of an ontology. Pure.

Source: "Ontology definition" of the Fabric REST documentation; microsoft/skills-for-fabric, fabriciq-ontology-cli,
references/authoring/ONTOLOGY-AUTHORING-CORE.md and authoring.md (error codes). A path that has no place in the tree is
ALMOperationBadRequest, a file that breaks a rule ALMOperationImportFailed; both name the part.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from treadle.sandbox.fabric.definitions import PLATFORM_FILE, Part, text_of
from treadle.sandbox.fabric.refusals import Refused, invalid

_ENTITY, _RELATIONSHIP = "EntityTypes", "RelationshipTypes"
_PLACES: Final = re.compile(
    r"definition\.json"
    r"|EntityTypes/\d+/(definition\.json|DataBindings/[^/]+\.json|Documents/[^/]+\.json|Overviews/definition\.json|ResourceLinks/definition\.json)"
    r"|RelationshipTypes/\d+/(definition\.json|Contextualizations/[^/]+\.json)"
)
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,127}")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")
_LARGEST_ID: Final = 2**63 - 1
_VALUE_TYPES: Final = frozenset({"String", "Boolean", "DateTime", "Object", "BigInt", "Double"})
_KEY_TYPES: Final = frozenset({"String", "BigInt"})

Json = Mapping[str, Any]


class _Broken(Exception):
    """A rule that a part breaks."""

    def __init__(self, path: str, words: str, code: str = "ALMOperationImportFailed") -> None:
        super().__init__(words)
        self.path, self.words, self.code = path, words, code


def check_ontology(parts: Sequence[Part]) -> Refused | None:
    """The first rule that the definition breaks, with the part that breaks it; None when Fabric would take it."""
    try:
        _check(parts)
    except _Broken as broken:
        return invalid(f"{broken.path}: {broken.words}", broken.code)
    return None


def _check(parts: Sequence[Part]) -> None:
    for part in parts:
        _check_place(part["path"])
    files = {part["path"]: _read(part) for part in parts if part["path"] != PLATFORM_FILE}
    if "definition.json" not in files:
        raise _Broken("definition.json", "The part is missing; it is an empty object.")
    entities, relationships = _definitions(files, _ENTITY), _definitions(files, _RELATIONSHIP)
    _check_ids(entities, relationships)
    for path, entity in entities.items():
        _check_entity(path, entity)
    _check_value_types(entities)
    for path, entity in entities.items():
        _check_bindings(_below(files, path, "DataBindings"), entity)
        _check_extras(files, path)
    by_id = {entity["id"]: entity for entity in entities.values()}
    _check_relationships(relationships, by_id)
    for path, relationship in relationships.items():
        for place, content in _below(files, path, "Contextualizations").items():
            _check_contextualization(place, content, by_id, relationship)


def _check_place(path: str) -> None:
    if "\\" in path:
        raise _Broken(path, "The directory name is not valid: part paths have forward slashes.", "ALMOperationBadRequest")
    if path != PLATFORM_FILE and not _PLACES.fullmatch(path):
        raise _Broken(path, "The path is not valid in the definition of an Ontology.", "ALMOperationBadRequest")


def _read(part: Part) -> Json:
    try:
        content = json.loads(text_of(part))
    except ValueError as error:
        raise _Broken(part["path"], f"The part is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise _Broken(part["path"], "The part is not a JSON object.")
    return cast("dict[str, Any]", content)


def _definitions(files: Mapping[str, Json], kind: str) -> dict[str, Json]:
    """The definition files of a kind, by path; every folder of the kind needs one, and its id is the folder's name."""
    folders = dict.fromkeys("/".join(path.split("/")[:2]) for path in files if path.startswith(f"{kind}/"))
    found: dict[str, Json] = {}
    for folder in folders:
        path = f"{folder}/definition.json"
        if path not in files:
            raise _Broken(path, f"The part is missing, and other parts are under {folder}.")
        if _id(path, files[path], "id") != folder.split("/")[1]:
            raise _Broken(path, f"The id '{files[path]['id']}' is not the name of its folder.")
        found[path] = files[path]
    return found


def _below(files: Mapping[str, Json], definition: str, folder: str) -> dict[str, Json]:
    prefix = definition.replace("definition.json", f"{folder}/")
    return {path: content for path, content in files.items() if path.startswith(prefix)}


def _check_ids(entities: Mapping[str, Json], relationships: Mapping[str, Json]) -> None:
    """Ids of entity types, properties and relationship types are unique in the ontology."""
    seen: dict[str, str] = {}
    for path, content in {**entities, **relationships}.items():
        for number in (content["id"], *(_id(path, item, "id") for item in _properties(path, content))):
            if number in seen:
                raise _Broken(path, f"The id '{number}' is used already, in {seen[number]}.")
            seen[number] = path


def _check_entity(path: str, entity: Json) -> None:
    _check_head(path, entity)
    if entity.get("visibility") not in (None, "Visible"):
        raise _Broken(path, f"The visibility '{entity['visibility']}' is not 'Visible'.")
    if entity.get("baseEntityTypeId") is not None:
        raise _Broken(path, "An entity type with a baseEntityTypeId is not supported.")
    names: set[str] = set()
    for item in _properties(path, entity):
        _check_name(path, item.get("name"), "property")
        if item["name"] in names:
            raise _Broken(
                path, f"The property name '{item['name']}' occurs twice; names are unique over properties and timeseriesProperties."
            )
        names.add(item["name"])
    for kind, allowed in (("properties", _VALUE_TYPES), ("timeseriesProperties", _VALUE_TYPES), ("untypedProperties", {"Any"})):
        for item in _list(path, entity, kind):
            if item.get("valueType") not in allowed:
                raise _Broken(
                    path, f"The valueType '{item.get('valueType')}' of '{item['name']}' is not one of {', '.join(sorted(allowed))}."
                )
    _check_key(path, entity)


def _check_key(path: str, entity: Json) -> None:
    static = {item["id"]: item["valueType"] for item in _list(path, entity, "properties")}
    for number in _key_of(path, entity):
        if static.get(number) not in _KEY_TYPES:
            raise _Broken(path, f"entityIdParts names '{number}', which is no property of type String or BigInt of this entity type.")
    shown = entity.get("displayNamePropertyId")
    if shown is not None and shown not in {item["id"] for item in _properties(path, entity)}:
        raise _Broken(path, f"displayNamePropertyId names '{shown}', which is no property of this entity type.")


def _check_value_types(entities: Mapping[str, Json]) -> None:
    """A property name has one value type in the whole ontology."""
    types: dict[str, tuple[str, str]] = {}
    for path, entity in entities.items():
        for item in _properties(path, entity):
            kind, place = types.setdefault(item["name"], (item["valueType"], path))
            if kind != item["valueType"]:
                raise _Broken(path, f"Property '{item['name']}' has conflicting value types: {item['valueType']} here, {kind} in {place}.")


def _check_bindings(bindings: Mapping[str, Json], entity: Json) -> None:
    static = 0
    for path, binding in bindings.items():
        _check_guid(path, binding)
        configuration = _object(path, binding, "dataBindingConfiguration")
        kind = configuration.get("dataBindingType")
        if kind not in ("NonTimeSeries", "TimeSeries"):
            raise _Broken(path, f"The dataBindingType '{kind}' is not NonTimeSeries or TimeSeries.")
        static += kind == "NonTimeSeries"
        if static > 1:
            raise _Broken(path, "An entity type has at most one NonTimeSeries binding.")
        if kind == "TimeSeries" and not configuration.get("timestampColumnName"):
            raise _Broken(path, "A TimeSeries binding needs its timestampColumnName.")
        _check_table(path, _object(path, configuration, "sourceTableProperties"), eventhouse=kind == "TimeSeries")
        _check_columns(path, configuration, "propertyBindings", {item["id"] for item in _properties(path, entity)}, "of this entity type")
    if bindings and not static:
        raise _Broken(next(iter(bindings)), "A TimeSeries binding needs a NonTimeSeries binding of the same entity type.")


def _check_table(path: str, table: Json, *, eventhouse: bool) -> None:
    kind = table.get("sourceType")
    if kind != "LakehouseTable" and not (eventhouse and kind == "KustoTable"):
        raise _Broken(path, f"The sourceType '{kind}' is not allowed here: LakehouseTable, or KustoTable for a TimeSeries binding.")
    for name in ("workspaceId", "itemId"):
        if not _is_guid(table.get(name)):
            raise _Broken(path, f"The {name} '{table.get(name)}' is not a GUID.")
    for name in ("sourceTableName", *(("clusterUri", "databaseName") if kind == "KustoTable" else ())):
        if not isinstance(table.get(name), str) or not table[name]:
            raise _Broken(path, f"The {name} is missing.")


def _check_columns(path: str, content: Json, field: str, allowed: set[str], whose: str) -> set[str]:
    """Check bindings of columns to properties; returns the properties that are bound."""
    bound: set[str] = set()
    for item in _list(path, content, field):
        if not isinstance(item.get("sourceColumnName"), str) or not item["sourceColumnName"]:
            raise _Broken(path, f"An entry of {field} has no sourceColumnName.")
        if item.get("targetPropertyId") not in allowed:
            raise _Broken(path, f"An entry of {field} names the property '{item.get('targetPropertyId')}', which is not one {whose}.")
        bound.add(item["targetPropertyId"])
    return bound


def _check_relationships(relationships: Mapping[str, Json], entities: Mapping[str, Json]) -> None:
    names: set[str] = set()
    for path, relationship in relationships.items():
        _check_head(path, relationship)
        if relationship["name"] in names:
            raise _Broken(path, f"The name '{relationship['name']}' is used by another relationship type.")
        names.add(relationship["name"])
        ends = [_object(path, relationship, end).get("entityTypeId") for end in ("source", "target")]
        for end in ends:
            if end not in entities:
                raise _Broken(path, f"The entity type '{end}' is not in the definition.")
        if ends[0] == ends[1]:
            raise _Broken(path, "Source and target of a relationship type are two different entity types.")


def _check_contextualization(path: str, content: Json, entities: Mapping[str, Json], relationship: Json) -> None:
    _check_guid(path, content)
    _check_table(path, _object(path, content, "dataBindingTable"), eventhouse=False)
    for end in ("source", "target"):
        key = set(_key_of(path, entities[relationship[end]["entityTypeId"]]))
        bound = _check_columns(path, content, f"{end}KeyRefBindings", key, f"of the entityIdParts of the {end} entity type")
        if bound != key or not key:
            raise _Broken(path, f"{end}KeyRefBindings does not bind the whole key of the {end} entity type.")


def _check_extras(files: Mapping[str, Json], definition: str) -> None:
    for path, document in _below(files, definition, "Documents").items():
        if not isinstance(document.get("url"), str):
            raise _Broken(path, "A document needs its url.")
    for path, links in _below(files, definition, "ResourceLinks").items():
        if any(link.get("type") != "PowerBIReport" for link in _list(path, links, "resourceLinks")):
            raise _Broken(path, "The type of a resource link is PowerBIReport.")


def _check_head(path: str, content: Json) -> None:
    for name, value in (("namespace", "usertypes"), ("namespaceType", "Custom")):
        if content.get(name) != value:
            raise _Broken(path, f"The {name} is '{content.get(name)}' and must be '{value}'.")
    _check_name(path, content.get("name"), "type")


def _check_name(path: str, name: object, kind: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Broken(path, f"The {kind} name '{name}' does not match ^{_NAME.pattern}$.")


def _check_guid(path: str, content: Json) -> None:
    if not _is_guid(content.get("id")):
        raise _Broken(path, f"The id '{content.get('id')}' is not a GUID.")
    if content["id"].lower() != path.rsplit("/", 1)[1].removesuffix(".json").lower():
        raise _Broken(path, f"The id '{content['id']}' is not the name of its file.")


def _properties(path: str, content: Json) -> Iterator[Json]:
    for kind in ("properties", "timeseriesProperties", "untypedProperties"):
        yield from _list(path, content, kind)


def _key_of(path: str, entity: Json) -> Sequence[str]:
    parts: object = [] if entity.get("entityIdParts") is None else entity["entityIdParts"]
    if not isinstance(parts, list):
        raise _Broken(path, "entityIdParts is not a list.")
    return [_number(path, part, "entityIdParts") for part in cast("list[object]", parts)]


def _list(path: str, content: Json, field: str) -> list[dict[str, Any]]:
    items: object = [] if content.get(field) is None else content[field]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in cast("list[object]", items)):
        raise _Broken(path, f"{field} is not a list of objects.")
    return cast("list[dict[str, Any]]", items)


def _object(path: str, content: Json, field: str) -> Json:
    value: object = content.get(field)
    if not isinstance(value, dict):
        raise _Broken(path, f"{field} is missing or no object.")
    return cast("dict[str, Any]", value)


def _id(path: str, content: Json, field: str) -> str:
    return _number(path, content.get(field), field)


def _number(path: str, value: object, field: str) -> str:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value) or int(value) > _LARGEST_ID:
        raise _Broken(path, f"The {field} {value!r} is not a positive 64-bit number, written as text.")
    return value


def _is_guid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False
