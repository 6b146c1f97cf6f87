"""Commands that show databases, tables, extents, mappings and schemas.

Sources: ".show tables", ".show table details", ".show extents", ".show ingestion mappings", ".show database schema", ".show databases",
".show cluster databases" of the Kusto documentation.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from treadle.sandbox.kusto.answers import Result, result_of
from treadle.sandbox.kusto.context import Context
from treadle.sandbox.kusto.refusals import entity_missing, not_modelled
from treadle.sandbox.kusto.store import Row, Table
from treadle.sandbox.kusto.tokens import Reader
from treadle.sandbox.kusto.types import TYPES

_DETAILS: Final = (
    "TableName", "DatabaseName", "Folder", "DocString", "TotalExtents:long", "TotalExtentSize:real", "TotalOriginalSize:real",
    "TotalRowCount:long", "HotExtents:long", "HotExtentSize:real", "HotOriginalSize:real", "HotRowCount:long", "RetentionPolicy",
    "CachingPolicy", "ShardingPolicy", "MergePolicy", "StreamingIngestionPolicy", "IngestionBatchingPolicy",
    "MinExtentsCreationTime:datetime", "MaxExtentsCreationTime:datetime", "RowOrderPolicy", "TableId:guid",
)  # fmt: skip
_EXTENTS: Final = (
    "ExtentId:guid", "DatabaseName", "TableName", "MaxCreatedOn:datetime", "OriginalSize:real", "ExtentSize:real", "CompressedSize:real",
    "IndexSize:real", "Blocks:long", "Segments:long", "ExtentContainerId", "RowCount:long", "MinCreatedOn:datetime", "Tags", "Kind",
    "DeletedRowCount:long",
)  # fmt: skip
_SCHEMA: Final = (
    "DatabaseName", "TableName", "ColumnName", "ColumnType", "IsDefaultTable:bool", "IsDefaultColumn:bool", "PrettyName", "Version", "Folder",
    "DocString",
)  # fmt: skip


def show_version(_context: Context, _reader: Reader) -> Result:
    """`.show version`."""
    columns = ("BuildVersion", "BuildTime:datetime", "ServiceType", "ProductVersion")
    return result_of(*columns, rows=[("1.0.0.0", "2026-01-01T00:00:00Z", "Engine", "Treadle sandbox")])


def show_databases(context: Context, reader: Reader) -> Result:
    """`.show databases`, `.show cluster databases`."""
    if reader.here.text not in {"", "|", ";"}:
        raise not_modelled("'.show cluster databases' with anything behind it")
    columns = ("DatabaseName", "PersistentStorage", "Version", "IsCurrent:bool", "DatabaseAccessMode", "PrettyName", "DatabaseId:guid")
    rows = [
        (database.name, "", _version(context, database.id), database == context.database, "ReadWrite", database.name, database.id)
        for database in context.databases
    ]
    return result_of(*columns, rows=rows)


def show_database(context: Context, reader: Reader) -> Result:
    """`.show database [D] schema [as json]`; the database of the request when none is named."""
    _take_own_name(context, reader)
    reader.expect("schema")
    if reader.accept("as", "json"):
        return result_of("DatabaseSchema", rows=[(_schema_json(context),)])
    if reader.here.text not in {"", "|", ";"}:
        raise not_modelled("'.show database schema' in this form")
    name, version = context.database.name, _version(context, context.database.id)
    rows: list[Sequence[Any]] = [(name, "", "", "", False, False, "", version, "", "")]
    for table in context.store.tables(context.database.id):
        rows.append((name, table.name, "", "", False, False, "", "", table.folder, table.docstring))
        rows += [(name, table.name, column.name, TYPES[column.type].net, False, False, "", "", "", "") for column in table.columns]
    return result_of(*_SCHEMA, rows=rows)


def show_tables(context: Context, reader: Reader) -> Result:
    """`.show tables [(A, B)] [details]`."""
    tables = context.store.tables(context.database.id)
    if reader.here.text == "(":
        names = reader.names()
        tables = [table for table in tables if table.name in names]
    if reader.accept("details"):
        return result_of(*_DETAILS, rows=[_details(context, table) for table in tables])
    rows = [(table.name, context.database.name, table.folder, table.docstring) for table in tables]
    return result_of("TableName", "DatabaseName", "Folder", "DocString", rows=rows)


def show_table(context: Context, reader: Reader) -> Result:
    """`.show table T` with nothing, `details`, `extents`, `schema as json`, `cslschema` or `ingestion … mappings` behind it."""
    mark = reader.mark()
    table = context.store.table(context.database.id, reader.name())
    if reader.accept("details"):
        return result_of(*_DETAILS, rows=[_details(context, table)])
    if reader.accept("ingestion"):
        return _show_mappings(context, reader, table)
    if reader.accept("schema", "as", "json"):
        return schema_result(context, table, table_schema(table))
    if reader.accept("cslschema"):
        columns = ",".join(f"{column.name}:{column.type}" for column in table.columns)
        return schema_result(context, table, columns)
    if reader.here.text.lower() == "extents":
        reader.back(mark)
        return _extents(context, *extents_named(context, reader))
    if reader.here.text in {"", "|", ";"}:
        return result_of("AttributeName", "AttributeType", rows=[(column.name, TYPES[column.type].net) for column in table.columns])
    raise not_modelled(f"'.show table … {reader.here.text}'")


def extents_named(context: Context, reader: Reader) -> tuple[Table, list[Row]]:
    """`T extents [where tags has 'x' [and tags has 'y' …]]`: the table, and those of its extents that have all these tags."""
    table = context.store.table(context.database.id, reader.name())
    reader.expect("extents")
    found = context.store.extents(table)
    if not reader.accept("where"):
        return table, found
    while True:
        reader.expect("tags")
        unwanted, exact = reader.accept("!"), reader.accept("has")
        if not exact:
            reader.expect("contains")
        wanted = reader.text()
        found = [row for row in found if _tagged(row["tags"], wanted, exact=exact) != unwanted]
        if not reader.accept("and"):
            return table, found


def mappings_result(context: Context, table: Table, rows: Sequence[Row]) -> Result:
    """Ingestion mappings as the commands answer them."""
    shown = [(row["name"], row["kind"].title(), row["mapping"], row["updated_at"], context.database.name, table.name) for row in rows]
    return result_of("Name", "Kind", "Mapping", "LastUpdatedOn:datetime", "Database", "Table", rows=shown)


def _show_mappings(context: Context, reader: Reader, table: Table) -> Result:
    rows = context.store.mappings(table)
    if reader.here.text.lower() not in {"mapping", "mappings"}:
        kind = reader.name().lower()
        rows = [row for row in rows if row["kind"] == kind]
    if reader.accept("mapping"):
        name = reader.text()
        rows = [row for row in rows if row["name"] == name]
        if not rows:
            raise entity_missing("IngestionMapping", name)
    else:
        reader.expect("mappings")
    return mappings_result(context, table, rows)


def _tagged(tags: Sequence[str], wanted: str, *, exact: bool) -> bool:
    return wanted in tags if exact else any(wanted.lower() in tag.lower() for tag in tags)


def _take_own_name(context: Context, reader: Reader) -> None:
    mark = reader.mark()
    if reader.accept("schema"):
        reader.back(mark)
        return
    name = reader.name()
    if name not in {context.database.name, context.database.id}:
        if name not in {database.name for database in context.databases}:
            raise entity_missing("Database", name)
        raise not_modelled("The schema of another database than the one of the request")


def _version(context: Context, database_id: str) -> str:
    return f"v1.{context.store.version(database_id)}"


def _details(context: Context, table: Table) -> Sequence[Any]:
    found = context.store.extents(table)
    rows, size = sum(row["row_count"] for row in found), float(sum(row["size_bytes"] for row in found))
    numbers = (len(found), size, size, rows)
    times = [row["created_at"] for row in found]
    policies = ("{}", "{}", "{}", "{}", None, None)
    first, last = (min(times), max(times)) if times else (None, None)
    identity = f"00000000-0000-0000-0000-{table.number:012d}"
    return (table.name, context.database.name, table.folder, table.docstring, *numbers, *numbers, *policies, first, last, None, identity)


def _extents(context: Context, table: Table, found: Sequence[Row]) -> Result:
    rows = [
        (row["id"], context.database.name, table.name, row["created_at"], float(row["size_bytes"]), float(row["size_bytes"]),
         float(row["size_bytes"]), 0.0, 1, 1, "", row["row_count"], row["created_at"], "\r\n".join(row["tags"]), "StorageV3", 0)
        for row in found
    ]  # fmt: skip
    return result_of(*_EXTENTS, rows=rows)


def schema_result(context: Context, table: Table, schema: str) -> Result:
    """The schema of a table in one of its forms, which is also what the commands that change a table answer."""
    rows = [(table.name, schema, context.database.name, table.folder, table.docstring)]
    return result_of("TableName", "Schema", "DatabaseName", "Folder", "DocString", rows=rows)


def table_schema(table: Table) -> str:
    """The schema of a table as JSON text."""
    columns = [{"Name": column.name, "Type": TYPES[column.type].net, "CslType": column.type} for column in table.columns]
    return json.dumps({"Name": table.name, "OrderedColumns": columns}, separators=(",", ":"))


def _schema_json(context: Context) -> str:
    database = context.database
    tables = {
        table.name: json.loads(table_schema(table)) | {"Folder": table.folder, "DocString": table.docstring}
        for table in context.store.tables(database.id)
    }
    version = {"MajorVersion": 1, "MinorVersion": context.store.version(database.id)}
    described = {"Name": database.name, "Tables": tables, "PrettyName": database.name, "Functions": {}} | version
    return json.dumps({"Databases": {database.name: described}}, separators=(",", ":"))
