"""Load Table of a lakehouse: what is asked for, checked as far as the request alone allows. Pure.

Source: fabric-rest-api-specs, lakehouse/definitions.json (LoadTableRequest, Csv, Parquet) and swagger.json (Tables_LoadTable).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from treadle.sandbox.fabric.refusals import Refused, invalid

_TABLE: Final = re.compile(r"(?=[0-9]*[a-zA-Z_])[a-zA-Z0-9_]{1,256}\Z")
_SCHEMA: Final = re.compile(r"[a-zA-Z0-9_]{1,128}\Z")
_PATH: Final = re.compile(r"Files(?:/\w(?:[ \w.-]*[\w.-])?)*\Z")
_EXTENSION: Final = re.compile(r"[a-zA-Z0-9_-]{1,16}\Z")
_DELIMITER: Final = re.compile(r"""[^()\[\]{}'"]{0,8}\Z""")
_ENGINE_DELIMITER_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class LoadWish:
    """A table, and what is to be loaded into it. `names`: the path below the lakehouse; `extension`: None takes every file of a folder."""

    table: str
    schema: str | None
    names: tuple[str, ...]
    folder: bool
    recursive: bool
    extension: str | None
    append: bool
    format: str
    header: bool
    delimiter: str

    @property
    def path(self) -> str:
        """The path as it was asked for."""
        return "/".join(self.names)


def read_load(table: str, schema: str | None, body: Mapping[str, Any]) -> LoadWish:
    """Check a request; fields that are not known are ignored, as the vendor's own command line relies on. Raises Refused."""
    if not _TABLE.match(table):
        raise invalid(f"The table name '{table}' has letters, digits and underscores, at most 256, and not digits alone.", "InvalidInput")
    if schema is not None and not _SCHEMA.match(schema):
        raise invalid(f"The schema name '{schema}' has letters, digits and underscores, at most 128.", "InvalidInput")
    path, extension = body.get("relativePath"), body.get("fileExtension")
    if not isinstance(path, str) or not _PATH.match(path):
        raise invalid(f"The relativePath begins with Files and has plain names: {path!r}.", "BadRequest")
    if extension is not None and not (isinstance(extension, str) and _EXTENSION.match(extension)):
        raise invalid(f"The fileExtension has letters, digits, underscores and hyphens, at most 16: {extension!r}.", "BadRequest")
    kind, mode = _one_of(body, "pathType", ("File", "Folder")), _one_of(body, "mode", ("Overwrite", "Append"), default="Overwrite")
    options = body.get("formatOptions")
    if options is not None and not isinstance(options, dict):
        raise invalid("formatOptions is not an object.", "BadRequest")
    described = cast("dict[str, Any]", options or {})
    return LoadWish(
        table=table,
        schema=schema,
        names=tuple(path.split("/")),
        folder=kind == "Folder",
        recursive=_flag(body, "recursive", default=False),
        extension=extension.lower() if isinstance(extension, str) else None,
        append=mode == "Append",
        format=_one_of(described, "format", ("Csv", "Parquet"), default="Parquet" if path.lower().endswith(".parquet") else "Csv"),
        header=_flag(described, "header", default=True),
        delimiter=_delimiter(described),
    )


def _one_of(fields: Mapping[str, Any], name: str, words: tuple[str, ...], *, default: str | None = None) -> str:
    given = fields.get(name, default)
    found = next((word for word in words if isinstance(given, str) and word.lower() == given.lower()), None)
    if found is None:
        raise invalid(f"{name} is {' or '.join(words)}, not {given!r}.", "BadRequest")
    return found


def _flag(fields: Mapping[str, Any], name: str, *, default: bool) -> bool:
    given = fields.get(name, default)
    if not isinstance(given, bool):
        raise invalid(f"{name} is true or false, not {given!r}.", "BadRequest")
    return given


def _delimiter(options: Mapping[str, Any]) -> str:
    given = options.get("delimiter", ",")
    if not isinstance(given, str) or not _DELIMITER.match(given):
        raise invalid(f"The delimiter has at most 8 characters, and no brackets or quotes: {given!r}.", "BadRequest")
    delimiter = given.replace("\\t", "\t") or ","
    if len(delimiter.encode()) > _ENGINE_DELIMITER_BYTES:
        raise Refused(501, "NotModelled", f"A delimiter of more than {_ENGINE_DELIMITER_BYTES} bytes: not modelled by the Treadle sandbox.")
    return delimiter
