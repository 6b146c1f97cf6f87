"""The XML of the Blob dialect, written and read.

Sources: List Blobs, List Containers, Get Block List, Put Block List of the Blob service REST reference. Listed tags have no quotes there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from treadle.sandbox.onelake.entries import Entry
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.uploads import WantedBlock
from treadle.sandbox.onelake.wire import http_date

_ENDPOINT: Final = "https://onelake.blob.fabric.microsoft.com/"
_MOST_BLOCKS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Echo:
    """What a listing repeats of its request."""

    container: str
    prefix: str
    marker: str
    limit: int
    delimiter: str


def blobs(echo: Echo, listed: Iterable[tuple[str, Entry]], next_marker: str, *, with_metadata: bool) -> bytes:
    """The answer of List Blobs. With a delimiter, folders are prefixes; without, they are blobs of the resource type directory."""
    root = Element("EnumerationResults", ServiceEndpoint=_ENDPOINT, ContainerName=echo.container)
    _texts(root, {"Prefix": echo.prefix, "Marker": echo.marker, "MaxResults": str(echo.limit), "Delimiter": echo.delimiter})
    inside = SubElement(root, "Blobs")
    for name, entry in listed:
        if echo.delimiter and entry.is_directory:
            _texts(SubElement(inside, "BlobPrefix"), {"Name": f"{name}/"})
        else:
            _blob(SubElement(inside, "Blob"), name, entry, with_metadata=with_metadata)
    SubElement(root, "NextMarker").text = next_marker
    return _document(root)


def containers(names: Iterable[str], modified: str) -> bytes:
    """The answer of List Containers."""
    root = Element("EnumerationResults", ServiceEndpoint=_ENDPOINT)
    inside = SubElement(root, "Containers")
    for name in names:
        container = SubElement(inside, "Container")
        SubElement(container, "Name").text = name
        properties = {"Last-Modified": modified, "Etag": "0x8DC000000000000", "LeaseStatus": "unlocked", "LeaseState": "available"}
        _texts(SubElement(container, "Properties"), properties)
    SubElement(root, "NextMarker")
    return _document(root)


def block_list(committed: Iterable[tuple[str, int]], uncommitted: Iterable[tuple[str, int]]) -> bytes:
    """The answer of Get Block List."""
    root = Element("BlockList")
    for name, blocks in (("CommittedBlocks", committed), ("UncommittedBlocks", uncommitted)):
        inside = SubElement(root, name)
        for block_id, size in blocks:
            _texts(SubElement(inside, "Block"), {"Name": block_id, "Size": str(size)})
    return _document(root)


def read_block_list(body: bytes) -> list[WantedBlock]:
    """The body of Put Block List. Raises InvalidXmlDocument, BlockListTooLong."""
    try:
        root = fromstring(body)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise _bad_document() from error
    if root.tag != "BlockList" or any(one.tag not in {"Committed", "Uncommitted", "Latest"} for one in root):
        raise _bad_document()
    if len(root) > _MOST_BLOCKS:
        raise StorageError(400, "BlockListTooLong", f"The block list has more than {_MOST_BLOCKS} entries.")
    return [WantedBlock(one.tag, (one.text or "").strip()) for one in root]


def _blob(element: Element, name: str, entry: Entry, *, with_metadata: bool) -> None:
    stored = entry.properties
    SubElement(element, "Name").text = name
    properties = {
        "Creation-Time": http_date(entry.created_at),
        "Last-Modified": http_date(entry.modified_at),
        "Etag": entry.etag,
        "ResourceType": "directory" if entry.is_directory else "file",
        "Content-Length": str(entry.size_bytes),
        "Content-Type": stored.content_type,
        "Content-Encoding": stored.content_encoding,
        "Content-Language": stored.content_language,
        "Content-MD5": stored.content_md5,
        "Cache-Control": stored.cache_control,
        "Content-Disposition": stored.content_disposition,
        "BlobType": "BlockBlob",
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
        "ServerEncrypted": "true",
    }
    _texts(SubElement(element, "Properties"), properties)
    if with_metadata:
        folder = {"hdi_isfolder": "true"} if entry.is_directory else {}
        _texts(SubElement(element, "Metadata"), {**stored.metadata, **folder})


def _texts(element: Element, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        SubElement(element, name).text = text or None


def _document(root: Element) -> bytes:
    return tostring(root, encoding="utf-8", xml_declaration=True)


def _bad_document() -> StorageError:
    return StorageError(400, "InvalidXmlDocument", "XML specified is not syntactically valid.")
