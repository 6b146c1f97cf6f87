"""`.ingest inline` and `.ingest into table`, really carried out.

Sources: ".ingest inline", ".ingest into", "Ingestion properties", "Extent tags" of the Kusto documentation.
"""

# ruff: noqa: S608 - the SQL is made of identifiers and literals that types.py quotes, and of our own words

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

from treadle.sandbox.duck import engine_error
from treadle.sandbox.kusto.answers import Result, result_of
from treadle.sandbox.kusto.context import Context
from treadle.sandbox.kusto.properties import Properties, flag_property, read_properties
from treadle.sandbox.kusto.refusals import bad_command, entity_missing, not_modelled
from treadle.sandbox.kusto.sources import Mapped, Source, read_mapping, rows_of, unreadable
from treadle.sandbox.kusto.store import EXTENT_COLUMN, Change, Store, Table
from treadle.sandbox.kusto.tokens import Reader
from treadle.sandbox.kusto.types import quoted

NO_EXTENT: Final = uuid.UUID(int=0)
_KNOWN: Final = frozenset({"format", "ignorefirstrecord", "ingestionmapping", "csvmapping", "ingestionmappingreference", "csvmappingreference",
    "ingestionmappingtype", "ingestionmappingkind", "tags", "ingestifnotexists", "creationtime", "rawsizebytes", "persistdetails", "distributed"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wish:
    """What the properties of an ingestion ask for."""

    format: str | None
    ignore_first_record: bool
    mapping: Sequence[Mapped] | None
    tags: tuple[str, ...]
    if_not_exists: tuple[str, ...]
    created_at: datetime | None


def ingest_inline(context: Context, reader: Reader, data: str) -> Result:
    """`.ingest inline into table T [with (…)] <| data`."""
    table = context.store.table(context.database.id, reader.name())
    wish = _wish(context, table, read_properties(reader))
    reader.end()
    content = data.strip("\r\n")
    with context.scratch() as path, context.store.change() as change:
        Path(path).write_text(f"{content}\n", encoding="utf-8")
        source = Source(path, "inline", len(content.encode()) if content.strip() else 0, wish.format or "csv")
        extent = NO_EXTENT if _is_there(context.store, table, wish) else _load(change, context.store, table, source, wish)
    return result_of("ExtentId:guid", rows=[(extent,)])


def ingest_from_storage(context: Context, reader: Reader) -> Result:
    """`.ingest into table T ('uri', …) [with (…)]`; each file becomes an extent, and all of them are loaded or none."""
    began = time.monotonic()
    table = context.store.table(context.database.id, reader.name())
    uris = _uris(reader)
    wish = _wish(context, table, read_properties(reader))
    operation = uuid.uuid4()
    loaded = [(NO_EXTENT, "")] if _is_there(context.store, table, wish) else _load_files(context, table, uris, wish)
    duration = timedelta(seconds=time.monotonic() - began)
    rows = [(extent, name, duration, False, operation) for extent, name in loaded]
    return result_of("ExtentId:guid", "ItemLoaded", "Duration:timespan", "HasErrors:bool", "OperationId:guid", rows=rows)


def _load_files(context: Context, table: Table, uris: Sequence[str], wish: Wish) -> list[tuple[uuid.UUID, str]]:
    loaded: list[tuple[uuid.UUID, str]] = []
    with context.store.change() as change:
        for uri in uris:
            with context.open_source(uri) as source:
                known = replace(source, format=wish.format or source.format)
                loaded.append((_load(change, context.store, table, known, wish), source.name))
    return loaded


def _load(change: Change, store: Store, table: Table, source: Source, wish: Wish) -> uuid.UUID:
    """Load one source; the id of the extent, all zero when there were no rows. Raises Refused, and then nothing of the change stays."""
    if not source.size_bytes:
        return NO_EXTENT
    sized, number, extent = replace(source, ignore_first_record=wish.ignore_first_record), change.next_number(), uuid.uuid4()
    columns = ", ".join(quoted(name) for name in (*(column.name for column in table.columns), EXTENT_COLUMN))
    try:
        rows = change.run(f"INSERT INTO {table.stored} ({columns}) SELECT *, {number} FROM ({rows_of(sized, table.columns, wish.mapping)})")
    except engine_error() as error:
        raise unreadable(sized, error) from error
    if not (count := rows[0]["Count"]):
        return NO_EXTENT
    sql = "INSERT INTO catalog.extents VALUES ($id, $number, $table, $created, $rows, $size, $tags)"
    values: dict[str, Any] = {"table": table.number, "created": wish.created_at or store.now(), "tags": list(wish.tags)}
    change.run(sql, id=extent, number=number, rows=count, size=sized.size_bytes, **values)
    return extent


def _is_there(store: Store, table: Table, wish: Wish) -> bool:
    """Whether an extent carries a tag that the ingestion must not find: then nothing is ingested, and that is no error."""
    unwanted = {f"ingest-by:{value}" for value in wish.if_not_exists}
    return bool(unwanted) and any(unwanted & set(extent["tags"]) for extent in store.extents(table))


def _uris(reader: Reader) -> list[str]:
    if not reader.accept("("):
        return [reader.text()]
    uris = [reader.text()]
    while reader.accept(","):
        uris.append(reader.text())
    reader.expect(")")
    return uris


def _wish(context: Context, table: Table, properties: Properties) -> Wish:
    unknown = sorted(properties.keys() - _KNOWN)
    if unknown:
        raise not_modelled(f"The ingestion property '{unknown[0]}'")
    return Wish(
        format=properties.get("format", "").lower() or None,
        ignore_first_record=flag_property(properties, "ignorefirstrecord"),
        mapping=_mapping(context, table, properties),
        tags=_texts(properties, "tags"),
        if_not_exists=_texts(properties, "ingestifnotexists"),
        created_at=_moment(properties.get("creationtime")),
    )


def _mapping(context: Context, table: Table, properties: Properties) -> Sequence[Mapped] | None:
    inline = properties.get("ingestionmapping") or properties.get("csvmapping")
    reference = properties.get("ingestionmappingreference") or properties.get("csvmappingreference")
    if inline and reference:
        raise bad_command("Give a mapping or the name of one, not both.", "BadRequest_MalformedIngestionProperty")
    if inline:
        return read_mapping(inline)
    if not reference:
        return None
    kind = "parquet" if properties.get("format", "").lower() == "parquet" else "csv"
    found = [row for row in context.store.mappings(table) if (row["name"], row["kind"]) == (reference, kind)]
    if not found:
        raise entity_missing("IngestionMapping", reference)
    return cast("list[Mapped]", json.loads(found[0]["mapping"]))


def _texts(properties: Properties, name: str) -> tuple[str, ...]:
    """A JSON list of texts; a plain text counts as a list of one, as the service takes it for tags."""
    given = properties.get(name)
    if given is None:
        return ()
    try:
        values: Any = json.loads(given)
    except ValueError:
        values = [given]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in cast("list[Any]", values)):
        raise bad_command(f"The property '{name}' is not a JSON list of texts.", "BadRequest_MalformedIngestionProperty")
    return tuple(cast("list[str]", values))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_command(f"The property 'creationTime' is not a time: '{text}'.", "BadRequest_MalformedIngestionProperty") from error
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
