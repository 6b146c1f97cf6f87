"""Management commands: which there are, and how one is read and carried out.

Source: "Management commands" of the Kusto documentation. What is not here is answered 501 by name.
"""

from collections.abc import Callable
from typing import Any, Final

from treadle.sandbox.kusto import ingest_commands, show_commands, table_commands
from treadle.sandbox.kusto.answers import Result
from treadle.sandbox.kusto.context import Context
from treadle.sandbox.kusto.queries import Relation, compile_pipe
from treadle.sandbox.kusto.refusals import Refused, not_modelled
from treadle.sandbox.kusto.tokens import Reader, tokens_of
from treadle.sandbox.kusto.types import TYPES, Column, quoted, text_literal

Command = Callable[[Context, Reader], Result]
_DATA: Final = "<|"
_MOST_ROWS: Final = 500_000

COMMANDS: Final[tuple[tuple[str, str, Command], ...]] = (
    # the longest of those with the same beginning first; the second word is the operation's id, which fault scripts name
    ("create - merge table", "CreateMergeTable", table_commands.create_merge_table),
    ("create - or - alter table", "CreateOrAlterMapping", table_commands.create_or_alter_mapping),
    ("create table", "CreateTable", table_commands.create_table_or_mapping),
    ("alter - merge table", "AlterMergeTable", table_commands.alter_merge_table),
    ("alter table", "AlterTable", table_commands.alter_table),
    ("drop tables", "DropTable", table_commands.drop_tables),
    ("drop table", "DropTable", table_commands.drop_table_or_mapping),
    ("drop extents", "DropExtents", table_commands.drop_extents),
    ("clear table", "ClearTable", table_commands.clear_table),
    ("ingest into table", "IngestFromStorage", ingest_commands.ingest_from_storage),
    ("ingest into", "IngestFromStorage", ingest_commands.ingest_from_storage),
    ("show version", "ShowVersion", show_commands.show_version),
    ("show cluster databases", "ShowDatabases", show_commands.show_databases),
    ("show databases", "ShowDatabases", show_commands.show_databases),
    ("show database", "ShowDatabase", show_commands.show_database),
    ("show tables", "ShowTables", show_commands.show_tables),
    ("show table", "ShowTable", show_commands.show_table),
)


def run_command(context: Context, text: str) -> Result:
    """Carry out one command, and the query behind its first pipe. Raises Refused."""
    inline = _inline(text)
    if inline is not None:
        _fail_by_script(context, "IngestInline")
        return ingest_commands.ingest_inline(context, *inline)
    reader = Reader(tokens_of(text))
    reader.expect(".")
    for words, operation, command in COMMANDS:
        if reader.accept(*words.split()):
            _fail_by_script(context, operation)
            return _piped(context, text, reader, command(context, reader))
    raise not_modelled(f"The management command '{_first_words(text)}'")


def run_script(context: Context, script: str) -> None:
    """Carry out the commands of a database's schema script, one after another. Raises Refused at the first that fails."""
    for command in script_commands(script):
        run_command(context, command)


def script_commands(script: str) -> list[str]:
    """The commands of a script: each begins with a line that begins with a dot."""
    commands: list[str] = []
    for line in script.splitlines():
        if line.startswith("."):
            commands.append(line)
        elif commands and not line.lstrip().startswith("//"):
            commands[-1] += f"\n{line}"
    return [command.strip() for command in commands]


def _inline(text: str) -> tuple[Reader, str] | None:
    """The head and the data of `.ingest inline`, whose data are no KQL; None for any other command."""
    words = text.lstrip().lower().split(None, 2)
    if words[:2] != [".ingest", "inline"]:
        return None
    head, sign, data = text.partition(_DATA)
    if not sign:
        raise not_modelled("'.ingest inline' with its data in brackets")
    reader = Reader(tokens_of(head))
    reader.expect(".", "ingest", "inline", "into")
    reader.accept("table")
    return reader, data.removeprefix("\r").removeprefix("\n")


def _piped(context: Context, text: str, reader: Reader, result: Result) -> Result:
    if reader.ended or reader.accept(";"):
        reader.end()
        return result
    if reader.here.text != "|" or not text.lstrip().lower().startswith(".show"):
        raise reader.unexpected("expected the end")
    relation = compile_pipe(text[reader.here.position :], literal_rows(result), context.store.now())
    return Result(relation.columns, context.store.read(relation, _MOST_ROWS))


def literal_rows(result: Result) -> Relation:
    """A command's result as rows that a query can work on."""
    empty = ", ".join(f"NULL::{TYPES[column.type].stored} AS {quoted(column.name)}" for column in result.columns)
    lines = [", ".join(_literal(column, value) for column, value in zip(result.columns, row, strict=True)) for row in result.rows]
    union = "".join(f" UNION ALL SELECT {line}" for line in lines)
    return Relation(f"(SELECT {empty} WHERE false){union}", tuple(result.columns))


def _literal(column: Column, value: Any) -> str:
    return f"NULL::{TYPES[column.type].stored}" if value is None else f"CAST({text_literal(str(value))} AS {TYPES[column.type].stored})"


def _fail_by_script(context: Context, operation: str) -> None:
    fault = context.faults.take("operation_failed", f"kusto.{operation}")
    if fault is not None:
        message = str(fault.args.get("message", "The command failed."))
        raise Refused(
            int(fault.args.get("status", 520)), str(fault.args.get("code", "General_InternalServerError")), message, permanent=False
        )


def _first_words(text: str) -> str:
    return " ".join(text.split()[:3])
