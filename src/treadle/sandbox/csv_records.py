"""The first record of a CSV file: how many fields there are, and what a header calls them."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

_BLOCK_CHARACTERS: Final = 65_536


def first_record(path: str, delimiter: str, *, gzipped: bool = False) -> list[str]:
    """Its fields without quotes; it may go over lines inside of them. Blank lines before it do not count; no fields for a file without any.

    A byte order mark is dropped, bytes that are not UTF-8 are replaced: reading the file tells of them, with their line.
    """
    fields: list[str] = []
    field, inside, closed, begun = "", False, False, False
    for character in _characters(path, gzipped=gzipped):
        if inside:
            inside, closed = character != '"', character == '"'
            field += character if inside else ""
        elif character == '"':
            field += '"' if closed else ""  # two in a row stand for one
            inside = begun = True
        elif character in "\r\n":
            if begun:
                return [*fields, field]
        else:
            field, closed, begun = field + character, False, True
            if field.endswith(delimiter):
                fields.append(field.removesuffix(delimiter))
                field = ""
    return [*fields, field] if begun else []


def _characters(path: str, *, gzipped: bool) -> Iterator[str]:
    with gzip.open(path) if gzipped else Path(path).open("rb") as file:
        text = io.TextIOWrapper(cast("BinaryIO", file), encoding="utf-8-sig", errors="replace", newline="")
        while block := text.read(_BLOCK_CHARACTERS):
            yield from block
