"""Documents in PostgreSQL: one table, with an index for keys, one for members and one for words."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from treadle.control.database import Database
from treadle.control.statements import load_queries, with_lines
from treadle.control.stored import storable
from treadle.stores.document_store import (
    Document,
    DocumentPage,
    changed_meanwhile,
    checked_body,
    checked_container,
    checked_key,
    checked_limit,
    checked_where,
    exists_already,
    no_document,
    search_roots,
    searched,
)

SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))


class PostgresDocuments:
    """The documents in the schema `treadle` of a database, which stays the caller's to close. A DocumentStore."""

    def __init__(self, own: Database) -> None:
        self._own = own

    def get(self, container: str, id: str) -> Document:  # noqa: A002, D102 - as the protocol says
        found = self.find(container, id)
        if found is None:
            raise no_document(container, id)
        return found

    def find(self, container: str, id: str) -> Document | None:  # noqa: A002, D102 - as the protocol says
        container, id = checked_key(container, id)  # noqa: A001
        rows = self._own.read(SQL["get_document"], {"container": container, "id": id})
        return _document(rows[0]) if rows else None

    def list(  # noqa: D102 - as the protocol says
        self, container: str, *, where: Mapping[str, str] | None = None, limit: int = 100, after: str | None = None
    ) -> DocumentPage:
        members, most = checked_where(where), checked_limit(limit)
        values = {
            "container": checked_container(container),
            "where": _where_text(members),
            "limit": most + 1,
            "after": storable(after or ""),
        }
        rows = self._own.read(with_lines(SQL["list_documents"], _lines(where=where or None, after=after)), values)
        documents = tuple(map(_document, rows[:most]))
        return DocumentPage(documents, documents[-1].id if len(rows) > most else None)

    def put(  # noqa: D102 - as the protocol says
        self,
        container: str,
        id: str,  # noqa: A002
        body: Mapping[str, Any],
        *,
        if_match: str | None = None,
        create_only: bool = False,
    ) -> Document:
        container, id = checked_key(container, id)  # noqa: A001
        text, kept = checked_body(body)
        words = searched(kept)
        name = "create_document" if create_only else "put_document" if if_match is None else "replace_document"
        values = {"container": container, "id": id, "body": text, "heading": words.heading, "text": words.text, "if_match": if_match}
        rows = self._change(name, values)
        if not rows:
            raise exists_already(container, id) if create_only else changed_meanwhile(container, id)
        return _document(rows[0])

    def delete(self, container: str, id: str, *, if_match: str | None = None) -> None:  # noqa: A002, D102 - as the protocol says
        container, id = checked_key(container, id)  # noqa: A001
        values = {"container": container, "id": id, "if_match": if_match}
        if self._change("delete_document", values, _lines(if_match=if_match)):
            return
        if if_match is not None and self.find(container, id):
            raise changed_meanwhile(container, id)
        raise no_document(container, id)

    def search(  # noqa: D102 - as the protocol says
        self, container: str, text: str, *, where: Mapping[str, str] | None = None, limit: int = 50
    ) -> tuple[Document, ...]:
        members = checked_where(where)
        query = " & ".join(f"{root}:*" for root in search_roots(text))  # a root is letters and digits, so it means itself
        values = {"container": checked_container(container), "query": query, "where": _where_text(members), "limit": checked_limit(limit)}
        return tuple(map(_document, self._own.read(with_lines(SQL["search_documents"], _lines(where=where or None)), values)))

    def close(self) -> None:
        """Nothing: the database is the caller's."""

    def _change(self, name: str, values: Mapping[str, Any], lines: Collection[str] = ()) -> tuple[Mapping[str, Any], ...]:
        with self._own.transaction() as connection:
            return tuple(connection.execute(with_lines(SQL[name], frozenset(lines)), values).fetchall())


def _document(row: Mapping[str, Any]) -> Document:
    return Document(row["container"], row["id"], row["body"], row["etag"], row["updated_at"])


def _where_text(members: Mapping[str, str]) -> str:
    return json.dumps({name: storable(value) for name, value in members.items()})


def _lines(**asked: object) -> set[str]:
    """The optional lines of a statement that are wanted: those whose value is given."""
    return {name for name, value in asked.items() if value is not None}
