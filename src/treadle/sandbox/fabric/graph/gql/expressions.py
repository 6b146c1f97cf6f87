"""Reads expressions: precedence as in "Expressions: transforming and analyzing data" of the Fabric documentation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

from treadle.sandbox.fabric.graph.gql.faults import SYNTAX, GqlFault, Place
from treadle.sandbox.fabric.graph.gql.syntax import (
    Binary,
    Call,
    Case,
    Exists,
    Expression,
    Index,
    ListOf,
    Literal,
    Match,
    PropertyOf,
    Unary,
    Variable,
)
from treadle.sandbox.fabric.graph.gql.tokens import Token

DEEPEST: Final = 60
_ASSOCIATIVE: Final = frozenset({"OR", "AND", "||"})
_CONSTANTS: Final = {"TRUE": True, "FALSE": False, "NULL": None, "UNKNOWN": None}
_RESERVED: Final = frozenset({
    "AND", "AS", "ASC", "BY", "CASE", "CONTAINS", "DESC", "DISTINCT", "ELSE", "END", "ENDS", "EXISTS", "FALSE", "FILTER", "GROUP", "IN", "IS",
    "LET", "LIMIT", "MATCH", "NOT", "NULL", "OFFSET", "OPTIONAL", "OR", "ORDER", "RETURN", "SKIP", "STARTS", "THEN", "TRUE", "UNKNOWN", "WHEN",
    "WHERE", "XOR",
})  # fmt: skip


class ExpressionParser(ABC):
    """A reader of words with one word of memory; the parser of queries goes on where it ends."""

    @abstractmethod
    def patterns(self) -> Match:
        """Patterns and their predicate, which the parser of queries reads."""

    def __init__(self, tokens: Sequence[Token], text: str) -> None:
        self.text = text
        self._tokens, self._at, self._depth = tokens, 0, 0

    # Words

    @property
    def now(self) -> Token:
        """The word that comes next."""
        return self._tokens[self._at]

    @property
    def last_end(self) -> int:
        """Where the last word that was read ends."""
        return self._tokens[self._at - 1].end

    def peek(self, ahead: int) -> Token:
        """A later word."""
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def next(self) -> Token:
        """Read a word."""
        token = self.now
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def at(self, word: str) -> bool:
        """Whether this keyword or symbol comes next."""
        return self.now.upper == word

    def skip(self, word: str) -> bool:
        """Read this keyword or symbol if it comes next."""
        if not self.at(word):
            return False
        self.next()
        return True

    def take(self, word: str) -> Token:
        """Read this keyword or symbol; anything else is a fault."""
        if not self.at(word):
            raise self.fault(f"'{word}'")
        return self.next()

    def identifier(self, what: str) -> str:
        """Read a name, plain or in backticks; a plain one is no reserved word."""
        token = self.now
        if token.kind == "quoted" or (token.kind == "name" and token.upper not in _RESERVED):
            return str(self.next().value)
        raise self.fault(what)

    def fault(self, wanted: str) -> GqlFault:
        """What is said when something else was wanted."""
        found = "the end of the query" if self.now.kind == "end" else f"'{self.now.text[:40]}'"
        return GqlFault(SYNTAX, f"Found {found} where {wanted} was expected.", self.now.place)

    @contextmanager
    def deeper(self) -> Generator[None]:
        """Refuses what is nested beyond reason."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise GqlFault(SYNTAX, f"The query is nested deeper than {DEEPEST} levels.", self.now.place)
        yield
        self._depth -= 1

    # Expressions

    def expression(self) -> Expression:
        """`a OR b`, and what binds tighter."""
        with self.deeper():
            return self._chain(("OR",), self._and)

    def _and(self) -> Expression:
        return self._chain(("AND",), self._not)

    def _not(self) -> Expression:
        if self.at("NOT"):
            place = self.next().place
            with self.deeper():
                return Unary("NOT", self._not(), place)
        return self._comparison()

    def _comparison(self) -> Expression:
        left = self._sum()
        links = 0
        while True:
            place = self.now.place
            operator = self._comparison_operator()
            if operator is None:
                return left
            links = self.longer(links, place)
            if operator in ("IS NULL", "IS NOT NULL"):
                left = Unary(operator, left, place)
                continue
            right = Unary("-", self._product(), place) if operator == "< -" else self._sum()
            compared = Binary(operator.removesuffix(" -").removeprefix("NOT "), left, right, place)
            left = Unary("NOT", compared, place) if operator == "NOT IN" else compared

    def _comparison_operator(self) -> str | None:
        word = self.now.upper
        if word in ("=", "<>", "<", "<=", ">", ">=", "IN", "CONTAINS"):
            return self.next().upper
        if word == "<-":  # a < -5 without the space
            self.next()
            return "< -"
        if word in ("STARTS", "ENDS"):
            self.next()
            self.take("WITH")
            return f"{word} WITH"
        if word == "NOT" and self.peek(1).upper == "IN":
            self.next()
            self.next()
            return "NOT IN"
        if word == "IS":
            self.next()
            negated = self.skip("NOT")
            if not self.skip("NULL") and not self.skip("UNKNOWN"):
                raise self.fault("NULL")
            return "IS NOT NULL" if negated else "IS NULL"
        return None

    def _sum(self) -> Expression:
        return self._chain(("+", "-", "||"), self._product)

    def _product(self) -> Expression:
        return self._chain(("*", "/"), self._sign)

    def _sign(self) -> Expression:
        if self.at("-") or self.at("+"):
            sign = self.next()
            with self.deeper():
                operand = self._sign()
            return Unary("-", operand, sign.place) if sign.text == "-" else operand
        return self._postfix()

    def _chain(self, operators: tuple[str, ...], operand: Callable[[], Expression]) -> Expression:
        """Operands of one precedence. Each that is taken from the left lies a level deeper; where the order does not matter, none does."""
        operands, links = [operand()], list[Token]()
        while self.now.upper in operators:
            links.append(self.next())
            operands.append(operand())
        names = {link.upper for link in links}
        if len(names) == 1 and names <= _ASSOCIATIVE:
            return _balanced(operands, links)
        left = operands[0]
        for place, (link, right) in enumerate(zip(links, operands[1:], strict=True)):
            self.longer(place, link.place)
            left = Binary(link.upper, left, right, link.place)
        return left

    def longer(self, links: int, place: Place) -> int:
        """One more link of a chain that lies a level deeper with each; refuses what is beyond reason."""
        if links >= DEEPEST:
            raise GqlFault(SYNTAX, f"More than {DEEPEST} operators follow each other: use brackets, or several statements.", place)
        return links + 1

    def _postfix(self) -> Expression:
        target = self._primary()
        links = 0
        while self.now.text in (".", "[") and self.now.kind == "symbol":
            place = self.next().place
            links = self.longer(links, place)
            if self.peek(-1).text == ".":
                target = PropertyOf(target, self._property_name(), place)
            else:
                target = Index(target, self.expression(), place)
                self.take("]")
        return target

    def _property_name(self) -> str:
        if self.now.kind not in ("name", "quoted"):
            raise self.fault("the name of a property")
        return str(self.next().value)

    def _primary(self) -> Expression:
        token = self.now
        if token.kind in ("string", "integer", "number"):
            return Literal(self.next().value, token.place)
        if token.kind == "symbol":
            return self._bracketed()
        if token.kind == "name" and token.upper in _CONSTANTS:
            self.next()
            return Literal(_CONSTANTS[token.upper], token.place)
        if self.at("CASE") or self.at("EXISTS"):
            return self._case() if self.at("CASE") else self._exists()
        if token.kind == "name" and self.peek(1).text == "(" and self.peek(1).kind == "symbol":
            return self._call()
        return Variable(self.identifier("an expression"), token.place)

    def _bracketed(self) -> Expression:
        token = self.now
        if self.skip("("):
            inner = self.expression()
            self.take(")")
            return inner
        if self.skip("["):
            items = () if self.at("]") else self._listed()
            self.take("]")
            return ListOf(items, token.place)
        if token.text in ("$", "@"):
            raise GqlFault(SYNTAX, "Parameters are not supported.", token.place)
        raise self.fault("an expression")

    def _call(self) -> Expression:
        name = self.next()
        self.take("(")
        if self.skip("*"):
            self.take(")")
            return Call(name.text.lower(), (), False, True, name.place)
        distinct = self.skip("DISTINCT")
        arguments = () if self.at(")") else self._listed()
        self.take(")")
        return Call(name.text.lower(), arguments, distinct, False, name.place)

    def _case(self) -> Expression:
        place = self.take("CASE").place
        with self.deeper():
            subject = None if self.at("WHEN") else self.expression()
            branches: list[tuple[tuple[Expression, ...], Expression]] = []
            while not branches or self.at("WHEN"):
                self.take("WHEN")
                wanted = (self.expression(),) if subject is None else self._listed()
                self.take("THEN")
                branches.append((wanted, self.expression()))
            otherwise = self.expression() if self.skip("ELSE") else None
            self.take("END")
        return Case(subject, tuple(branches), otherwise, place)

    def _exists(self) -> Expression:
        place = self.take("EXISTS").place
        close = ")" if self.at("(") else "}"
        self.take("(" if close == ")" else "{")
        with self.deeper():
            self.skip("MATCH")
            match = self.patterns()
        if self.now.upper in ("MATCH", "OPTIONAL", "RETURN"):
            raise GqlFault(SYNTAX, f"{self.now.upper} is not supported here: EXISTS takes patterns and a WHERE.", self.now.place)
        self.take(close)
        return Exists(match, place)

    def _listed(self) -> tuple[Expression, ...]:
        items = [self.expression()]
        while self.skip(","):
            items.append(self.expression())
        return tuple(items)


def _balanced(operands: Sequence[Expression], links: Sequence[Token]) -> Expression:
    """A chain whose order does not matter, as a tree that is as flat as can be: a thousand operands are ten levels."""
    if len(operands) == 1:
        return operands[0]
    half = (len(operands) + 1) // 2
    link = links[half - 1]
    return Binary(link.upper, _balanced(operands[:half], links[: half - 1]), _balanced(operands[half:], links[half:]), link.place)
