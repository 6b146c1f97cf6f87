"""Reads a query. What it does not know – and everything that writes – is 42001 with the place.

Source: "GQL language guide", "Graph patterns" and "GQL quick reference" of the Fabric documentation, and its list of limitations.
"""

from dataclasses import replace
from typing import Final

from treadle.sandbox.fabric.graph.gql.expressions import ExpressionParser
from treadle.sandbox.fabric.graph.gql.faults import SYNTAX, GqlFault, Place
from treadle.sandbox.fabric.graph.gql.syntax import (
    EdgePattern,
    Expression,
    Filler,
    Filter,
    Item,
    LabelBoth,
    LabelEither,
    LabelExpression,
    LabelName,
    LabelNot,
    Let,
    Match,
    Order,
    PathMode,
    PathPattern,
    Query,
    Return,
    SortKey,
    Statement,
)
from treadle.sandbox.fabric.graph.gql.tokens import tokens_of

MOST_HOPS: Final = 8
_MODES: Final[tuple[PathMode, ...]] = ("WALK", "TRAIL", "ACYCLIC", "SIMPLE")
_UNSUPPORTED: Final = frozenset({
    "CALL", "FOR", "INSERT", "CREATE", "DELETE", "DETACH", "SET", "REMOVE", "DROP", "MERGE", "UNION", "EXCEPT", "INTERSECT",
    "OTHERWISE", "NEXT", "USE", "SELECT", "WITH", "UNWIND", "COPY", "LOAD", "ATTACH", "INSTALL", "EXPORT", "IMPORT", "ALTER", "SESSION",
})  # fmt: skip


def parse_query(text: str) -> Query:
    """The query of a text. Raises GqlFault 42001."""
    return _QueryParser(tokens_of(text), text).query()


class _QueryParser(ExpressionParser):
    """Statements and patterns, on top of expressions."""

    def query(self) -> Query:
        statements: list[Statement] = []
        while not self.at("RETURN"):
            statements.append(self._statement())
        result = self._return()
        self.skip(";")
        if self.now.kind != "end":
            raise self._unexpected("the end of the query")
        return Query(tuple(statements), result)

    def _statement(self) -> Statement:
        if self.skip("MATCH"):
            return self.patterns()
        if self.skip("OPTIONAL"):
            self.take("MATCH")
            return replace(self.patterns(), optional=True)
        if self.skip("LET"):
            assignments = [self._assignment()]
            while self.skip(","):
                assignments.append(self._assignment())
            return Let(tuple(assignments))
        if self.skip("FILTER"):
            self.skip("WHERE")
            return Filter(self.expression())
        if self.at("ORDER") or self.at("OFFSET") or self.at("SKIP") or self.at("LIMIT"):
            return self._order()
        raise self._unexpected("MATCH, OPTIONAL MATCH, LET, FILTER, ORDER BY, OFFSET, LIMIT or RETURN")

    def _unexpected(self, wanted: str) -> GqlFault:
        if self.now.upper in _UNSUPPORTED:
            return GqlFault(SYNTAX, f"{self.now.upper} is not supported: queries read, by MATCH … RETURN.", self.now.place)
        return self.fault(wanted)

    def _assignment(self) -> tuple[str, Expression, Place]:
        place = self.now.place
        name = self.identifier("a variable")
        self.take("=")
        return name, self.expression(), place

    # RETURN

    def _return(self) -> Return:
        place = self.take("RETURN").place
        distinct = self.skip("DISTINCT")
        self.skip("ALL")
        items: list[Item] = []
        if not self.skip("*"):
            items.append(self._item())
            while self.skip(","):
                items.append(self._item())
        group_by = self._group_by() if self.skip("GROUP") else None
        return Return(tuple(items), distinct, group_by, self._order(), place)

    def _item(self) -> Item:
        start = self.now.start
        expression = self.expression()
        text = self.text[start : self.last_end]
        return Item(expression, self.identifier("an alias") if self.skip("AS") else None, text)

    def _group_by(self) -> tuple[tuple[str, Place], ...]:
        self.take("BY")
        names: list[tuple[str, Place]] = []
        while not names or self.skip(","):
            place = self.now.place
            names.append((self.identifier("the name of a variable or column (GROUP BY takes no expression)"), place))
        return tuple(names)

    def _order(self) -> Order:
        keys: list[SortKey] = []
        if self.skip("ORDER"):
            self.take("BY")
            keys.append(self._sort_key())
            while self.skip(","):
                keys.append(self._sort_key())
        offset = self._count() if self.skip("OFFSET") or self.skip("SKIP") else None
        limit = self._count() if self.skip("LIMIT") else None
        return Order(tuple(keys), offset, limit)

    def _sort_key(self) -> SortKey:
        expression = self.expression()
        falling = self.skip("DESC") or self.skip("DESCENDING")
        if not falling:
            _ = self.skip("ASC") or self.skip("ASCENDING")
        if self.at("NULLS"):
            raise GqlFault(SYNTAX, "ORDER BY with an order of nulls is not supported.", self.now.place)
        return SortKey(expression, falling)

    def _count(self) -> int:
        if self.now.kind != "integer":
            raise self.fault("a whole number")
        return self.next().value

    # Patterns

    def patterns(self) -> Match:
        """`pattern, pattern … WHERE predicate`."""
        paths = [self._path()]
        while self.skip(","):
            paths.append(self._path())
        return Match(tuple(paths), self.expression() if self.skip("WHERE") else None)

    def _path(self) -> PathPattern:
        place = self.now.place
        variable = None
        if self.now.kind in ("name", "quoted") and self.peek(1).text == "=":
            variable = self.identifier("a path variable")
            self.take("=")
        for word in ("ANY", "ALL", "SHORTEST"):
            if self.at(word):
                raise GqlFault(SYNTAX, f"{word} paths are not supported.", self.now.place)
        mode: PathMode = "WALK"
        for word in _MODES:
            if self.skip(word):
                mode = word
                break
        nodes, edges = [self._node()], list[EdgePattern]()
        while self.now.text in ("-", "<-", "->", "<", "~") and self.now.kind == "symbol":
            edges.append(self._edge())
            nodes.append(self._node())
        return PathPattern(variable, mode, tuple(nodes), tuple(edges), place)

    def _node(self) -> Filler:
        self.take("(")
        if self.at("(") or self.at("-") or self.at("<-"):
            raise GqlFault(SYNTAX, "A path pattern in parentheses is not supported: quantify the edge, as in -[e]->{1,3}.", self.now.place)
        filler = self._filler(")")
        self.take(")")
        return filler

    def _edge(self) -> EdgePattern:
        start = self.next()
        if start.text == "~":
            raise GqlFault(SYNTAX, "Undirected edges are not supported.", start.place)
        if start.text == "->":
            return EdgePattern(_nothing(start.place), "right", self._hops())
        left = start.text in ("<-", "<")
        if not self.skip("["):
            return EdgePattern(_nothing(start.place), "left" if left else "any", self._hops())
        filler = self._filler("]")
        self.take("]")
        right = self.skip("->")
        if not right:
            self.take("-")
        direction = "any" if left == right else "left" if left else "right"
        return EdgePattern(filler, direction, self._hops())

    def _filler(self, end: str) -> Filler:
        place = self.now.place
        variable = None
        if self.now.kind == "quoted" or (self.now.kind == "name" and self.now.upper not in ("IS", "WHERE")):
            variable = self.identifier("a variable")
        label = self._label_either() if self.skip(":") or self.skip("IS") else None
        properties: list[tuple[str, Expression]] = []
        if self.skip("{"):
            while not properties or self.skip(","):
                name = self.identifier("a property")
                self.take(":")
                properties.append((name, self.expression()))
            self.take("}")
        where = self.expression() if self.skip("WHERE") else None
        if self.now.text == "*":
            raise GqlFault(SYNTAX, "A length inside [ ] is not GQL: quantify the edge, as in -[e]->{1,3}.", self.now.place)
        if self.now.text != end:
            raise self.fault(f"'{end}'")
        return Filler(variable, label, tuple(properties), where, place)

    def _label_either(self) -> LabelExpression:
        label, links = self._label_both(), 0
        while self.skip("|"):
            links = self.longer(links, self.now.place)
            label = LabelEither(label, self._label_both())
        return label

    def _label_both(self) -> LabelExpression:
        label, links = self._label_not(), 0
        while self.skip("&"):
            links = self.longer(links, self.now.place)
            label = LabelBoth(label, self._label_not())
        return label

    def _label_not(self) -> LabelExpression:
        with self.deeper():
            if self.skip("!"):
                return LabelNot(self._label_not())
            if self.skip("("):
                label = self._label_either()
                self.take(")")
                return label
            place = self.now.place
            return LabelName(self.identifier("a label"), place)

    def _hops(self) -> tuple[int, int] | None:
        place = self.now.place
        if self.now.kind == "symbol" and self.now.text in ("*", "+", "?"):
            raise GqlFault(
                SYNTAX, f"The quantifier {self.now.text} is not supported: give bounds, as in {{1,3}}, of at most {MOST_HOPS}.", place
            )
        if not self.skip("{"):
            return None
        least = None if self.at(",") else self._count()
        most = least
        if self.skip(","):
            most = None if self.at("}") else self._count()
        self.take("}")
        if most is None or most > MOST_HOPS:
            raise GqlFault(SYNTAX, f"A variable-length pattern has at most {MOST_HOPS} hops.", place)
        if (least or 0) > most:
            raise GqlFault(SYNTAX, "The lower bound of a quantifier is above its upper bound.", place)
        return least or 0, most


def _nothing(place: Place) -> Filler:
    return Filler(None, None, (), None, place)
