"""The words of a query. Source: "GQL language guide" (comments) and "GQL values and value types" (literals) of the Fabric documentation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from treadle.sandbox.fabric.graph.gql.faults import SYNTAX, GqlFault, Place

Kind = Literal["name", "quoted", "string", "integer", "number", "symbol", "end"]
LONGEST_QUERY: Final = 64 * 1024
LARGEST_INTEGER: Final = 2**63 - 1

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*|--[^\n]*|/\*.*?\*/)
      | (?P<open>/\*)
      | (?P<number>\d+\.\d*(?:[eE][+-]?\d+)?[dDfF]?|\.\d+(?:[eE][+-]?\d+)?[dDfF]?|\d+[eE][+-]?\d+[dDfF]?|\d+[dDfF]\b)
      | (?P<integer>\d+)
      | (?P<name>[^\W\d]\w*)
      | (?P<quoted>`(?:[^`]|``)*`)
      | (?P<string>'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*")
      | (?P<symbol><-|->|<=|>=|<>|\|\||[()\[\]{}:;,.=<>+\-*/|&!%~?$@])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A word. text: as written; value: what a literal or a quoted name means. start, end: where it stands in the query."""

    kind: Kind
    text: str
    value: Any
    place: Place
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The text of a word or symbol, to compare with keywords; "" for anything that is quoted."""
        return self.text.upper() if self.kind in ("name", "symbol") else ""


def tokens_of(query: str) -> list[Token]:
    """All words of a query, and one that marks its end. Raises GqlFault 42001 at what is no word."""
    if len(query) > LONGEST_QUERY:
        raise GqlFault(SYNTAX, f"The query is longer than {LONGEST_QUERY} characters.", Place(1, 1))
    return list(_scan(query))


def _scan(query: str) -> Iterator[Token]:
    at, line, line_start = 0, 1, 0
    while at < len(query):
        place = Place(line, at - line_start + 1)
        match = _TOKEN.match(query, at)
        if match is None or match.lastgroup == "open":
            raise GqlFault(SYNTAX, f"Unexpected {query[at]!r}: no word of the language, or a text or comment without an end.", place)
        text = match.group()
        kind = match.lastgroup
        if kind != "space":
            yield _token(kind or "", text, place, at)
        breaks = text.count("\n")
        if breaks:
            line, line_start = line + breaks, at + text.rindex("\n") + 1
        at = match.end()
    yield Token("end", "", None, Place(line, at - line_start + 1), at, at)


def _token(kind: str, text: str, place: Place, at: int) -> Token:
    end = at + len(text)
    match kind:
        case "integer":
            if int(text[:20]) > LARGEST_INTEGER or len(text) > 19:
                raise GqlFault(SYNTAX, f"The integer {text[:40]} is larger than 64 bits.", place)
            return Token("integer", text, int(text), place, at, end)
        case "number":
            return Token("number", text, float(text.rstrip("dDfF")), place, at, end)
        case "string":
            return Token("string", text, _unescape(text), place, at, end)
        case "quoted":
            return Token("quoted", text, text[1:-1].replace("``", "`"), place, at, end)
        case "name":
            return Token("name", text, text, place, at, end)
        case _:
            return Token("symbol", text, text, place, at, end)


def _unescape(text: str) -> str:
    quote = text[0]
    inner = text[1:-1].replace(quote * 2, quote)
    return _ESCAPE.sub(lambda match: _escaped(match.group(1)), inner)


def _escaped(word: str) -> str:
    return chr(int(word[1:], 16)) if len(word) == 5 else _ESCAPES.get(word, word)
