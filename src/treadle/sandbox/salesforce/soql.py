"""A small part of SOQL: SELECT fields or COUNT() FROM object [WHERE field = value | field IN (…) [AND IsDeleted = false]] [ORDER BY Id] [LIMIT n].

Everything else that SOQL can is answered 501, and what is no SOQL at all with MALFORMED_QUERY. Source: SOQL and SOSL Reference, SELECT.
"""

import re
from dataclasses import dataclass
from typing import Final

from treadle.sandbox.salesforce.refusals import Refused, not_modelled
from treadle.sandbox.salesforce.schema import OBJECTS, Field, SObject

_WORDS: Final = re.compile(r"\s*('(?:[^'\\]|\\.)*'|[A-Za-z_][\w.]*|-?\d[\w:.+-]*|[(),=]|!=|[<>]=?)")
_NOT_HERE: Final = frozenset(
    "ORDER GROUP HAVING OFFSET FOR WITH USING OR NOT LIKE IN AND ALL INCLUDES EXCLUDES UPDATE TYPEOF".split()  # noqa: SIM905 - reads better
)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Query:
    """A query that can be answered. wanted: the texts of one field, None for null; `field` None means every record."""

    sobject: SObject
    fields: tuple[Field, ...]
    counts: bool
    field: Field | None = None
    wanted: tuple[str | None, ...] = ()
    limit: int | None = None


def parse(text: str) -> Query:
    """Read a query. Raises Refused: MALFORMED_QUERY, INVALID_FIELD, INVALID_TYPE, or 501 for the rest of SOQL."""
    words = _Words(text)
    words.expect("SELECT")
    names = words.selected()
    words.expect("FROM")
    name = words.name()
    sobject = OBJECTS.get(name.lower())
    if sobject is None:
        raise Refused(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    counts = names == ["COUNT()"]
    fields = () if counts else tuple(_field(sobject, one) for one in names)
    field, wanted = words.condition(sobject)
    words.order()
    limit = words.limit()
    words.end()
    return Query(sobject, fields, counts, field, wanted, limit)


class _Words:
    """The words of a query, taken one after the other."""

    def __init__(self, text: str) -> None:
        self._words: list[str] = []
        place, text = 0, text.strip()
        while place < len(text):
            found = _WORDS.match(text, place)
            if found is None:
                raise _malformed(f"unexpected token: '{text[place : place + 20]}'")
            self._words.append(found.group(1))
            place = found.end()

    def expect(self, word: str) -> None:
        if not self._take(word):
            raise _malformed(f"unexpected token: '{self._next() or '<EOF>'}', {word} expected")

    def name(self) -> str:
        word = self._next()
        if word is None or not re.fullmatch(r"[A-Za-z_][\w.]*", word):
            raise _malformed(f"unexpected token: '{word or '<EOF>'}'")
        self._words.pop(0)
        return word

    def selected(self) -> list[str]:
        """The names, or `["COUNT()"]`."""
        names = [self.name()]
        if self._take("("):
            if names[0].upper() != "COUNT" or not self._take(")"):
                raise not_modelled(f"SOQL {names[0]}(…)")
            return ["COUNT()"]
        while self._take(","):
            names.append(self.name())
        return names

    def condition(self, sobject: SObject) -> tuple[Field | None, tuple[str | None, ...]]:
        if not self._take("WHERE"):
            return None, ()
        field = _field(sobject, self.name())
        if self._take("="):
            return field, (self._value(field),)
        if not self._take("IN"):
            raise not_modelled(f"SOQL: WHERE {field.name} {self._next()}")
        self.expect("(")
        values = [self._value(field)]
        while self._take(","):
            values.append(self._value(field))
        self.expect(")")
        return field, tuple(values)

    def order(self) -> None:
        """The order is always that of the ids, so only that may be asked for."""
        if self._take("ORDER"):
            self.expect("BY")
            if (by := self.name()).lower() != "id":
                raise not_modelled(f"SOQL: ORDER BY {by}")
            self._take("ASC")

    def limit(self) -> int | None:
        if not self._take("LIMIT"):
            return None
        word = self._next()
        if word is None or not word.isdecimal():
            raise _malformed(f"unexpected token: '{word or '<EOF>'}'")
        return int(self._words.pop(0))

    def end(self) -> None:
        if (word := self._next()) is not None:
            raise not_modelled(f"SOQL: {word}") if word.upper() in _NOT_HERE else _malformed(f"unexpected token: '{word}'")

    def _value(self, field: Field) -> str | None:
        word = self._next()
        if word is None:
            raise _malformed("unexpected token: '<EOF>'")
        self._words.pop(0)
        if word.startswith("'"):
            if field.type in {"currency", "double", "date", "datetime"}:
                raise Refused(400, "INVALID_FIELD", f"value of filter criterion for field '{field.name}' must be of type {field.type}")
            return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found.group(1), found.group(1)), word[1:-1])
        if field.type in {"string", "textarea", "picklist", "id", "reference"} and word.lower() != "null":
            raise Refused(400, "INVALID_FIELD", f"value of filter criterion for field '{field.name}' must be of type string and in quotes")
        return None if word.lower() == "null" else word

    def _next(self) -> str | None:
        return self._words[0] if self._words else None

    def _take(self, word: str) -> bool:
        if self._words and self._words[0].upper() == word:
            self._words.pop(0)
            return True
        return False


def _field(sobject: SObject, name: str) -> Field:
    if "." in name:
        raise not_modelled(f"SOQL: the path {name}")
    field = sobject.find(name)
    if field is None:
        raise Refused(400, "INVALID_FIELD", f"No such column '{name}' on entity '{sobject.name}'.")
    return field


def _malformed(message: str) -> Refused:
    return Refused(400, "MALFORMED_QUERY", message)
