"""Commands that make, change and drop tables, their mappings and their extents.

Sources: ".create table", ".create-merge table", ".alter table", ".drop table", ".create ingestion mapping", ".clear table data",
".drop extents" of the Kusto documentation; "Identifier naming rules" of "Entity names". The words of that refusal are the sandbox's own.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from treadle.sandbox.kusto.answers import Result, result_of
from treadle.sandbox.kusto.context import Context
from treadle.sandbox.kusto.properties import read_properties, text_property
from treadle.sandbox.kusto.refusals import bad_command, entity_missing, not_modelled
from treadle.sandbox.kusto.show_commands import extents_named, mappings_result, schema_result, table_schema
from treadle.sandbox.kusto.sources import read_mapping
from treadle.sandbox.kusto.store import Table
from treadle.sandbox.kusto.tokens import Reader
from treadle.sandbox.kusto.types import Column, scalar_type

_ENTITY_NAME: Final = re.compile(r"[\w .-]{1,1024}")  # however it is quoted
Combine = Callable[[Table, Sequence[Column]], tuple[Column, ...]]
"""From the table that is there and the columns that are asked for to its columns from now on."""


def create_table_or_mapping(context: Context, reader: Reader) -> Result:
    """`.create table T (…)`, which leaves a table that is there as it is; `.create table T ingestion csv mapping …`, which does not."""
    name = reader.name()
    if reader.accept("ingestion"):
        return _put_mapping(context, reader, name, replaces=False)
    return _put_table(context, reader, name, _keep)


def create_or_alter_mapping(context: Context, reader: Reader) -> Result:
    """`.create-or-alter table T ingestion csv mapping …`."""
    name = reader.name()
    reader.expect("ingestion")
    return _put_mapping(context, reader, name, replaces=True)


def create_merge_table(context: Context, reader: Reader) -> Result:
    """`.create-merge table T (…)`: new columns go to the end, and none goes away."""
    return _put_table(context, reader, reader.name(), _merge)


def alter_merge_table(context: Context, reader: Reader) -> Result:
    """`.alter-merge table T (…)`: as create-merge, for a table that is there."""
    name = reader.name()
    context.store.table(context.database.id, name)
    return _put_table(context, reader, name, _merge)


def alter_table(context: Context, reader: Reader) -> Result:
    """`.alter table T (…)`: exactly these columns, in this order."""
    name = reader.name()
    context.store.table(context.database.id, name)
    return _put_table(context, reader, name, _replace)


def drop_tables(context: Context, reader: Reader) -> Result:
    """`.drop tables (A, B) [ifexists]`."""
    return _drop(context, reader.names(), if_exists=reader.accept("ifexists"))


def drop_table_or_mapping(context: Context, reader: Reader) -> Result:
    """`.drop table T [ifexists]`, or `.drop table T ingestion csv mapping "m"`."""
    name = reader.name()
    if not reader.accept("ingestion"):
        return _drop(context, [name], if_exists=reader.accept("ifexists"))
    table, kind, mapping = context.store.table(context.database.id, name), _mapping_kind(reader), reader.text()
    with context.store.change() as change:
        sql = "DELETE FROM catalog.mappings WHERE table_id = $id AND kind = $kind AND name = $name RETURNING name"
        if not change.run(sql, id=table.number, kind=kind, name=mapping):
            raise entity_missing("IngestionMapping", mapping)
    return mappings_result(context, table, context.store.mappings(table))


def clear_table(context: Context, reader: Reader) -> Result:
    """`.clear table T data`."""
    table = context.store.table(context.database.id, reader.name())
    reader.expect("data")
    with context.store.change() as change:
        change.clear_table(table)
    return result_of("TableName", "Status", rows=[(table.name, "Completed")])


def drop_extents(context: Context, reader: Reader) -> Result:
    """`.drop extents <| .show table T extents [where tags has …]`."""
    if not reader.accept("<|", ".", "show", "table"):
        raise not_modelled("'.drop extents' in this form")
    table, found = extents_named(context, reader)
    with context.store.change() as change:
        change.drop_extents(table, [row["number"] for row in found])
    return result_of("ExtentId:guid", "TableName", "CreatedOn:datetime", rows=[(row["id"], table.name, row["created_at"]) for row in found])


def _put_table(context: Context, reader: Reader, name: str, combine: Combine) -> Result:
    _check_entity("table", name)
    asked = _columns(reader)
    properties = read_properties(reader)
    folder, docstring = text_property(properties, "folder"), text_property(properties, "docstring")
    store, database = context.store, context.database
    with store.change() as change:
        table = store.find_table(database.id, name)
        if table is None:
            table = change.create_table(database.id, name, asked)
        elif (columns := combine(table, asked)) != table.columns:
            table = change.set_columns(table, columns)
        if folder is not None or docstring is not None:
            change.describe_table(table, folder, docstring)
    table = store.table(database.id, name)
    return schema_result(context, table, table_schema(table))


def _keep(table: Table, _asked: Sequence[Column]) -> tuple[Column, ...]:
    return table.columns


def _merge(table: Table, asked: Sequence[Column]) -> tuple[Column, ...]:
    _check_types(table, asked)
    there = {column.name for column in table.columns}
    return _checked((*table.columns, *(column for column in asked if column.name not in there)))


def _replace(table: Table, asked: Sequence[Column]) -> tuple[Column, ...]:
    _check_types(table, asked)
    return tuple(asked)


def _check_types(table: Table, asked: Sequence[Column]) -> None:
    types = {column.name: column.type for column in table.columns}
    for column in asked:
        if types.get(column.name, column.type) != column.type:
            message = f"Column '{column.name}' of table '{table.name}' is of type {types[column.name]}; this command cannot make it {column.type}."
            raise bad_command(message, "BadRequest_ColumnTypeMismatch")


def _columns(reader: Reader) -> tuple[Column, ...]:
    if reader.here.kind == "name":
        raise not_modelled(f"'{reader.here.text}' behind the name of a table")
    reader.expect("(")
    found: list[Column] = []
    while not found or reader.accept(","):
        name = reader.name() if reader.here.kind == "name" else reader.text()
        _check_entity("column", name)
        reader.expect(":")
        found.append(Column(name, _type(reader)))
    reader.expect(")")
    return _checked(found)


def _check_entity(kind: str, name: str) -> None:
    if not _ENTITY_NAME.fullmatch(name):
        raise bad_command(f"The {kind} name {name[:80]!r} is not valid: 1 to 1024 letters, digits, underscores, spaces, dots and dashes.")


def _type(reader: Reader) -> str:
    name = reader.name()
    while reader.accept("."):  # System.String
        name = reader.name()
    return scalar_type(name)


def _checked(columns: Sequence[Column]) -> tuple[Column, ...]:
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        raise bad_command("A column is given twice.", "BadRequest_DuplicateColumn")
    if len({name.lower() for name in names}) != len(names):
        raise not_modelled("Columns whose names differ by case alone")
    return tuple(columns)


def _drop(context: Context, names: Sequence[str], *, if_exists: bool) -> Result:
    store, database = context.store, context.database
    with store.change() as change:
        found = [store.find_table(database.id, name) for name in names]
        missing = [name for name, table in zip(names, found, strict=True) if table is None]
        if missing and not if_exists:
            raise entity_missing("Table", missing[0])
        for table in found:
            if table is not None:
                change.drop_table(table)
        change.note_version(database.id)
    return result_of("TableName", "DatabaseName", rows=[(table.name, database.name) for table in store.tables(database.id)])


def _put_mapping(context: Context, reader: Reader, table_name: str, *, replaces: bool) -> Result:
    kind, name = _mapping_kind(reader), reader.one_text()
    mapping = read_mapping(reader.text())
    reader.accept("with")  # what stands there (removeOldestIfRequired) has no meaning here
    store = context.store
    table = store.table(context.database.id, table_name)
    key: dict[str, Any] = {"id": table.number, "kind": kind, "name": name}
    with store.change() as change:
        there = change.run("DELETE FROM catalog.mappings WHERE table_id = $id AND kind = $kind AND name = $name RETURNING name", **key)
        if there and not replaces:
            raise bad_command(f"The mapping '{name}' of table '{table.name}' exists already.", "BadRequest_EntityAlreadyExists")
        change.run(
            "INSERT INTO catalog.mappings VALUES ($id, $kind, $name, $mapping, $now)", **key, mapping=json.dumps(mapping), now=store.now()
        )
    return mappings_result(context, table, [row for row in store.mappings(table) if (row["kind"], row["name"]) == (kind, name)])


def _mapping_kind(reader: Reader) -> str:
    kind = reader.name().lower()
    if kind not in {"csv", "parquet"}:
        raise not_modelled(f"Ingestion mappings of kind '{kind}'")
    reader.expect("mapping")
    return kind
