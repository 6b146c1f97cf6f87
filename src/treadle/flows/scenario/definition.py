"""The files that the definition of a Fabric item is made of."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_NAMES_APART: Final = "\x1f"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a definition. path: with forward slashes."""

    path: str
    content: Mapping[str, Any]

    def sent(self) -> dict[str, str]:
        """The part as the API takes it. Source: Fabric REST, Item definition overview."""
        return {"path": self.path, "payload": base64.b64encode(self.text().encode()).decode(), "payloadType": "InlineBase64"}

    def text(self) -> str:
        """The file's text: the same for the same content."""
        return json.dumps(self.content, ensure_ascii=False, indent=2)


def platform_part(item_type: str, display_name: str, logical_id: str) -> Part:
    """Every definition's .platform file. It is honoured on creation, and by an update only with `updateMetadata=true`."""
    schema = "https://developer.microsoft.com/json-schemas/fabric/gitIntegration/platformProperties/2.0.0/schema.json"
    metadata = {"type": item_type, "displayName": display_name}
    return Part(".platform", {"$schema": schema, "metadata": metadata, "config": {"version": "2.0", "logicalId": logical_id}})


def fingerprint(parts: Iterable[Part]) -> str:
    """SHA-256 over all parts, whatever their order."""
    digest = hashlib.sha256()
    for part in sorted(parts, key=lambda item: item.path):
        digest.update(f"{part.path}{_NAMES_APART}{part.text()}{_NAMES_APART}".encode())
    return digest.hexdigest()


def fingerprint_of_files(files: Mapping[str, bytes]) -> str:
    """SHA-256 over a definition as Fabric answers it, whatever the order of its files and of the members in them.

    How an item is called, and how a graph is drawn – whoever looks at it may move that about –, is not content.
    """
    digest = hashlib.sha256()
    for path in sorted(files.keys() - {".platform", "stylingConfiguration.json"}):
        digest.update(f"{path}{_NAMES_APART}".encode() + _canonical(files[path]) + _NAMES_APART.encode())
    return digest.hexdigest()


def _canonical(content: bytes) -> bytes:
    try:
        return json.dumps(json.loads(content), sort_keys=True).encode()
    except ValueError:
        return content


def stable_id(kind: str, *names: str) -> int:
    """A positive 64-bit number of 18 digits that depends on the names alone: the same names get the same id, today and elsewhere."""
    digest = hashlib.sha256(_NAMES_APART.join((kind, *names)).encode()).digest()
    return 10**17 + int.from_bytes(digest[:8], "big") % (9 * 10**17)


def stable_guid(kind: str, *names: str) -> str:
    """As `stable_id`, for the places where Fabric wants a GUID: version 8, which is for one's own schemes (RFC 9562)."""
    digits = hashlib.sha256(_NAMES_APART.join((kind, *names)).encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
