"""Answers one query, in a process of its own: opens the graph read-only, runs the planned statement and writes the whole answer."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import ladybug

from treadle.sandbox.fabric.graph.answers import AnswerColumn, engine_fault, refusal, write_answer
from treadle.sandbox.fabric.graph.child import main
from treadle.sandbox.fabric.graph.layout import Layout

BUFFER_BYTES: Final = 256 * 1024 * 1024
THREADS: Final = 2


def answer_query(request: Mapping[str, Any]) -> bytes:
    """Request: database, statement, parameters, columns, marks, layout, limit_bytes."""
    database = ladybug.Database(Path(request["database"]), buffer_pool_size=BUFFER_BYTES, max_num_threads=THREADS, read_only=True)
    connection: Any = ladybug.Connection(database)  # one statement has one result, which its types do not say
    layout = Layout.of_json(request["layout"])
    try:
        result = connection.execute(request["statement"], dict(request["parameters"]))
        types = result.get_column_data_types()
        columns = [AnswerColumn(name, form, kind) for (name, form), kind in zip(request["columns"], types, strict=True)]
        return write_answer(columns, _rows(result), layout, request["limit_bytes"], request["marks"])
    except RuntimeError as error:  # all that the engine raises
        return json.dumps(refusal(engine_fault(str(error)))).encode()


def _rows(result: Any) -> Iterator[list[Any]]:
    while result.has_next():
        yield result.get_next()


if __name__ == "__main__":
    main(answer_query)
