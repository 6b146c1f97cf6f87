"""Public definitions of items: what is accepted, what is kept, what is given back. Pure.

Source: "Item definition overview" of the Fabric REST documentation; ItemDefinition in fabric-rest-api-specs, platform/definitions/platform.json.
"""

import base64
import binascii
import json
from typing import Any, Final, cast

from treadle.sandbox.fabric.refusals import Refused, invalid, not_modelled

Part = dict[str, Any]
PLATFORM_FILE: Final = ".platform"
NOTEBOOK_PROLOGUES: Final = ("# Fabric notebook source", "# Synapse Analytics notebook source")
_PLATFORM_SCHEMA: Final = "https://developer.microsoft.com/json-schemas/fabric/gitIntegration/platformProperties/2.0.0/schema.json"
_ZERO_ID: Final = "00000000-0000-0000-0000-000000000000"
_CONTENT_FILES: Final = {"Notebook": ("notebook-content.", ".ipynb"), "DataPipeline": ("pipeline-content.json",)}
_FORMATS: Final = {"Notebook": ("fabricGitSource", "ipynb"), "GraphModel": ("json",)}


def read_definition(definition: object, *, backslashes: bool = False) -> tuple[str | None, list[Part]]:
    """Check a definition as Fabric does before it starts any work; returns format and parts.

    backslashes: whether paths with them get through, because the workload refuses them in its own words.

    Raises MissingDefinitionParts, InvalidDefinitionParts, UnsupportedPayloadType or CorruptedPayload.
    """
    if not isinstance(definition, dict):
        raise invalid("The definition must be an object.", "InvalidDefinitionParts")
    fields = cast("dict[str, Any]", definition)
    parts: object = fields.get("parts")
    if not isinstance(parts, list) or not parts:
        raise invalid("The definition has no parts.", "MissingDefinitionParts")
    read = [_read_part(part, backslashes=backslashes) for part in cast("list[object]", parts)]
    paths = [part["path"].lower() for part in read]
    if len(set(paths)) != len(paths):
        raise invalid("Two parts of the definition have the same path.", "InvalidDefinitionParts")
    return fields.get("format"), read


def check_content(item_type: str, parts: list[Part]) -> Refused | None:
    """What the workload itself refuses, later than the request: None when it accepts the definition."""
    names = _CONTENT_FILES.get(item_type)
    if names is None:
        return None
    content = [part for part in parts if _is_content(part["path"], names)]
    if len(content) != 1:
        return invalid(f"The definition of a {item_type} needs exactly one part {names[0]}*.", "InvalidDefinitionParts")
    return _check_notebook(content[0]) if item_type == "Notebook" else _check_json(content[0], "InvalidPipelineContent")


def content_part(item_type: str, parts: list[Part]) -> Part | None:
    """The part that holds the item's own content, such as the notebook's source."""
    return next((part for part in parts if _is_content(part["path"], _CONTENT_FILES[item_type])), None)


def text_of(part: Part) -> str:
    """The text of a part."""
    return base64.b64decode(part["payload"]).decode("utf-8-sig")


def platform_metadata(parts: list[Part], item_type: str) -> dict[str, str] | None:
    """Name and description of the `.platform` part, or None without one; raises InvalidPlatformFile."""
    part = next((part for part in parts if part["path"] == PLATFORM_FILE), None)
    if part is None:
        return None
    try:
        metadata = json.loads(text_of(part))["metadata"]
        named = {"displayName": metadata["displayName"], "description": metadata.get("description", "")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise invalid("The .platform file is not valid.", "InvalidPlatformFile") from error
    if metadata.get("type") != item_type:
        raise invalid(f"The .platform file is of type '{metadata.get('type')}', the item of type '{item_type}'.", "InvalidPlatformFile")
    return named


def check_format(item_type: str, asked: str | None, kept: str) -> None:
    """Raise InvalidDefinitionFormat for a format that the type does not have, a 501 for one that the definition is not kept in."""
    known = _FORMATS.get(item_type)
    if asked is None or known is None:
        return
    if asked not in known:
        raise invalid(f"The format '{asked}' is not one of {', '.join(known)}.", "InvalidDefinitionFormat")
    if asked != kept:
        raise not_modelled(f"converting a {item_type} from {kept or 'nothing'} to {asked}")


def parts_to_answer(parts: list[Part], *, item_type: str, name: str, description: str) -> list[Part]:
    """The parts that getDefinition gives: what was kept, and a `.platform` that says what the item is called now."""
    own = [part for part in parts if part["path"] != PLATFORM_FILE]
    return [*own, _platform_part(item_type, name, description)]


def format_of(item_type: str, declared: str | None, parts: list[Part]) -> str:
    """The format in which a definition was given; for a notebook its file decides."""
    if item_type == "GraphModel":
        return "json"
    if item_type != "Notebook":
        return declared or ""
    part = content_part(item_type, parts)
    return "ipynb" if part is not None and part["path"].endswith(".ipynb") else "fabricGitSource"


def _read_part(part: object, *, backslashes: bool) -> Part:
    if not isinstance(part, dict):
        raise invalid("A part of the definition is not an object.", "InvalidDefinitionParts")
    fields = cast("dict[str, Any]", part)
    path, payload, kind = fields.get("path"), fields.get("payload"), fields.get("payloadType")
    if not isinstance(path, str) or not isinstance(payload, str) or not _is_part_path(path.replace("\\", "/") if backslashes else path):
        raise invalid(f"A part of the definition needs a relative path and a payload: {path!r}", "InvalidDefinitionParts")
    if kind != "InlineBase64":
        raise invalid(f"The payload type '{kind}' of part '{path}' is not supported; use InlineBase64.", "UnsupportedPayloadType")
    try:
        base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise invalid(f"The payload of part '{path}' is not valid base64.", "CorruptedPayload") from error
    return {"path": path, "payload": payload, "payloadType": "InlineBase64"}


def _is_part_path(path: str) -> bool:
    segments = path.split("/")
    return (
        "\\" not in path and all(segment not in ("", ".", "..") for segment in segments) and all(ord(character) >= 32 for character in path)
    )


def _is_content(path: str, names: tuple[str, ...]) -> bool:
    return "/" not in path and any(path.startswith(name) or (name.startswith(".") and path.endswith(name)) for name in names)


def _check_notebook(part: Part) -> Refused | None:
    if part["path"].endswith(".ipynb"):
        return _check_json(part, "InvalidNotebookContent")
    if text_of(part).startswith(NOTEBOOK_PROLOGUES):
        return None
    return invalid(f"The file {part['path']} does not start with '{NOTEBOOK_PROLOGUES[0]}'.", "PyToIPynbFailure")


def _check_json(part: Part, code: str) -> Refused | None:
    try:
        content = json.loads(text_of(part))
    except ValueError:
        content = None
    return None if isinstance(content, dict) else invalid(f"The file {part['path']} is not a JSON object.", code)


def _platform_part(item_type: str, name: str, description: str) -> Part:
    metadata = {"type": item_type, "displayName": name} | ({"description": description} if description else {})
    platform = {"$schema": _PLATFORM_SCHEMA, "metadata": metadata, "config": {"version": "2.0", "logicalId": _ZERO_ID}}
    payload = base64.b64encode(json.dumps(platform, indent=2).encode()).decode()
    return {"path": PLATFORM_FILE, "payload": payload, "payloadType": "InlineBase64"}
