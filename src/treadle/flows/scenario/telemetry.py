"""The management commands that bring measurements into a KQL database. Pure.

Source: Kusto management commands: `.create-merge table`, `.create-or-alter ingestion mapping`, `.ingest into` with its properties, extent tags.
An `ingest-by:` tag with the fingerprint of the content makes ingestion idempotent: Kusto itself refuses to take the same content twice.
"""

import json
import re
from typing import Any, Final

from treadle.clients.kusto import quoted_name, quoted_text
from treadle.flows.scenario.scenario import Table
from treadle.flows.scenario.schema import ValueType

SHOW_TABLES: Final = ".show tables"
SHOW_SCHEMA: Final = ".show database schema as json"
_BESIDE_TABLES: Final = {
    "Functions": "function",
    "MaterializedViews": "materialized view",
    "ExternalTables": "external table",
    "EntityGroups": "entity group",
}
MAPPING: Final = "treadle"
OURS: Final = "drop-by:treadle"  # on everything that a build ingests
DATABASE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,122}")
ENTITY_NAME: Final = re.compile(r"[\w .-]{1,1024}")  # of tables and columns: Kusto, entity names, "Identifier naming rules"
_COLUMN: Final = re.compile(r"""(?:\['((?:[^'\\]|\\.)*)'\]|([^:,]+)):(\w+)""")
_TYPES: Final = {
    ValueType.STRING: "string",
    ValueType.BIG_INT: "long",
    ValueType.DOUBLE: "real",
    ValueType.BOOLEAN: "bool",
    ValueType.DATE_TIME: "datetime",
    ValueType.OBJECT: "dynamic",
}


def create_table(name: str, table: Table) -> str:
    """Make the table, or add the columns that it lacks. Safe to repeat; refused where a column has another type."""
    columns = ", ".join(f"{quoted_name(column.name)}:{_TYPES[column.type]}" for column in table.columns)
    return f".create-merge table {quoted_name(name)} ({columns})"


def create_mapping(name: str, table: Table) -> str:
    """Say which place in a row of the CSV file is which column. Safe to repeat."""
    places = [{"Column": column.name, "Properties": {"Ordinal": str(place)}} for place, column in enumerate(table.columns)]
    return f".create-or-alter table {quoted_name(name)} ingestion csv mapping {quoted_text(MAPPING)} {quoted_text(json.dumps(places, ensure_ascii=False))}"


def ingest_file(name: str, uri: str, fingerprint: str) -> str:
    """Take in a CSV file with a header, unless this content was taken in before. uri: of the file, with how to sign in."""
    tags = quoted_text(json.dumps([OURS, f"ingest-by:{fingerprint}"]))
    properties = {
        "format": quoted_text("csv"),
        "ignoreFirstRecord": "true",
        "ingestionMappingReference": quoted_text(MAPPING),
        "tags": tags,
        "ingestIfNotExists": quoted_text(json.dumps([fingerprint])),
    }
    told = ", ".join(f"{key}={value}" for key, value in properties.items())
    return f".ingest into table {quoted_name(name)} (h{quoted_text(uri)}) with ({told})"


def show_extents(name: str, tag: str | None = None) -> str:
    """Ask for the extents of a table; only for those with a tag, if one is given."""
    return f".show table {quoted_name(name)} extents" + (f" where tags has {quoted_text(tag)}" if tag else "")


def show_taken_in(name: str, fingerprint: str) -> str:
    """Ask for the extents of a table that hold this content; none when its rows were cleared, or the table was made anew."""
    return show_extents(name, f"ingest-by:{fingerprint}")


def drop_older(name: str, fingerprint: str) -> str:
    """Forget what earlier builds took in, but not this content. Safe to repeat."""
    return f".drop extents <| .show table {quoted_name(name)} extents where tags has {quoted_text(OURS)} and tags !has {quoted_text(f'ingest-by:{fingerprint}')}"


def drop_ours(name: str) -> str:
    """Forget all that builds took in, and nothing else: extents with another set of `drop-by:` tags, or with none, are never merged with ours.

    Safe to repeat. Source: Kusto, extent tags.
    """
    return f".drop extents <| .show table {quoted_name(name)} extents where tags has {quoted_text(OURS)}"


def drop_table(name: str) -> str:
    """Remove the table with all that is in it, if it is there."""
    return f".drop table {quoted_name(name)} ifexists"


def beside_tables(schema: str) -> list[str]:
    """What a database holds that is no table, in words such as `function Alerts`. schema: what SHOW_SCHEMA answers. None of it is ever ours."""
    databases: dict[str, dict[str, dict[str, Any] | None]] = json.loads(schema)["Databases"]
    return [f"{word} {name}" for held in databases.values() for part, word in _BESIDE_TABLES.items() for name in held.get(part) or ()]


def show_columns(name: str) -> str:
    """Ask for the columns of a table: one row whose `Schema` is for `needs_another_table`."""
    return f".show table {quoted_name(name)} cslschema"


def needs_another_table(csl_schema: str, table: Table) -> bool:
    """Whether a column that is there has another type than it would get: Kusto changes no types."""
    there = {quoted or plain.strip(): kind for quoted, plain, kind in _COLUMN.findall(csl_schema)}
    return any(there.get(column.name, _TYPES[column.type]) != _TYPES[column.type] for column in table.columns)


def lake_uri(account_url: str, file_system: str, full_path: str) -> str:
    """How Kusto is told to fetch a file of OneLake in the name of who asks. Source: Kusto, storage connection strings."""
    return f"{account_url.rstrip('/')}/{file_system}/{full_path};impersonate"


def file_name(name: str) -> str:
    """A plain file name for a table's CSV file; names that differ give names that differ."""
    plain = re.sub(r"[^A-Za-z0-9_-]", lambda found: f".{ord(found.group()):x}.", name)
    return f"{plain}.csv"
