"""The words of KQL. Pure.

Source: "KQL syntax", "The string data type", "The timespan data type" of the Kusto documentation.
"""

import re
from dataclasses import dataclass
from typing import Final

from treadle.sandbox.kusto.refusals import Refused, syntax_error

_SPACE: Final = re.compile(r"(?:\s+|//[^\n]*)+")
_TIMESPAN_UNITS: Final = {
    "d": 86_400_000_000, "day": 86_400_000_000, "days": 86_400_000_000, "h": 3_600_000_000, "hr": 3_600_000_000, "hour": 3_600_000_000,
    "hours": 3_600_000_000, "m": 60_000_000, "min": 60_000_000, "minute": 60_000_000, "minutes": 60_000_000, "s": 1_000_000, "sec": 1_000_000,
    "second": 1_000_000, "seconds": 1_000_000, "ms": 1000, "millisecond": 1000, "milliseconds": 1000, "microsecond": 1, "microseconds": 1,
}  # fmt: skip
_TIMESPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(" + "|".join(sorted(_TIMESPAN_UNITS, key=len, reverse=True)) + r")\b")
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+")
_LITERAL: Final = re.compile(r"(datetime|date|timespan|time|guid|int|long|real|double|decimal|bool)\(([^()]*)\)")
_NAME: Final = re.compile(r"[^\W\d]\w*|\d+_\w+")
_BRACKETED: Final = re.compile(r"""\[\s*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)")\s*\]""")
_LONG_STRING: Final = re.compile(r"[hH]?(?:```(.*?)```|~~~(.*?)~~~)", re.DOTALL)
_VERBATIM: Final = re.compile(r"""[hH]?@(?:'((?:[^']|'')*)'|"((?:[^"]|"")*)")""")
_STRING: Final = re.compile(r"""[hH]?(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)")""")
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_OPERATORS: Final = ("<|", "!=", "==", "=~", "!~", "<=", ">=", "<>", "..", "=>", "|", "(", ")", "[", "]", "{", "}", ",", ";", ":", ".", "<", ">", "=", "+", "-", "*", "/", "%", "!", "@", "~", "$", "?")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """kind: name, string, long, real, timespan (microseconds in value), literal (datetime(…): its word in text, what stands inside in value), operator, end."""

    kind: str
    text: str
    value: str | int | float
    position: int


def tokens_of(source: str) -> list[Token]:
    """The tokens of a text, an `end` last; raises Refused at a character that no token begins with."""
    found: list[Token] = []
    place = 0
    while True:
        space = _SPACE.match(source, place)
        place = space.end() if space else place
        if place >= len(source):
            return [*found, Token("end", "", "", place)]
        token, place = _next(source, place)
        found.append(token)


def _next(source: str, place: int) -> tuple[Token, int]:
    for read in (_string, _literal, _number, _word, _operator):
        if (got := read(source, place)) is not None:
            return got
    raise syntax_error(f"The character {source[place]!r} was not expected.", place)


def _string(source: str, place: int) -> tuple[Token, int] | None:
    for pattern in (_LONG_STRING, _VERBATIM, _STRING):
        if (match := pattern.match(source, place)) is not None:
            first = match.group(1)
            return Token(
                "string", match.group(), _content(pattern, first if first is not None else match.group(2), first), place
            ), match.end()
    return None


def _content(pattern: re.Pattern[str], text: str, first: str | None) -> str:
    if pattern is _LONG_STRING:
        return text
    if pattern is _VERBATIM:
        return text.replace("''", "'") if first is not None else text.replace('""', '"')
    return _ESCAPE.sub(_unescape, text)


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] in "ux" and len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)


def _literal(source: str, place: int) -> tuple[Token, int] | None:
    match = _LITERAL.match(source, place)
    return None if match is None else (Token("literal", match.group(1), match.group(2).strip(), place), match.end())


def _number(source: str, place: int) -> tuple[Token, int] | None:
    if (match := _TIMESPAN.match(source, place)) is not None:
        return Token("timespan", match.group(), round(float(match.group(1)) * _TIMESPAN_UNITS[match.group(2)]), place), match.end()
    if (match := _NUMBER.match(source, place)) is None or _NAME.match(source, place) is not None:
        return None
    text = match.group()
    if text[:2] in {"0x", "0X"}:
        return Token("long", text, int(text, 16), place), match.end()
    whole = text.isdecimal()
    return Token("long" if whole else "real", text, int(text) if whole else float(text), place), match.end()


def _word(source: str, place: int) -> tuple[Token, int] | None:
    if (match := _BRACKETED.match(source, place)) is not None:
        name = _ESCAPE.sub(_unescape, match.group(1) if match.group(1) is not None else match.group(2))
        return Token("name", name, "quoted", place), match.end()
    match = _NAME.match(source, place)
    return None if match is None else (Token("name", match.group(), "", place), match.end())


def _operator(source: str, place: int) -> tuple[Token, int] | None:
    sign = next((sign for sign in _OPERATORS if source.startswith(sign, place)), None)
    return None if sign is None else (Token("operator", sign, sign, place), place + len(sign))


class Reader:
    """Goes through tokens from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at = tokens, 0

    @property
    def here(self) -> Token:
        """The token that comes next."""
        return self._tokens[self._at]

    @property
    def ended(self) -> bool:
        """Whether all are read."""
        return self.here.kind == "end"

    def next(self) -> Token:
        """Take the token that comes next."""
        token = self.here
        self._at += token.kind != "end"
        return token

    def mark(self) -> int:
        """Where it stands, for `back`."""
        return self._at

    def back(self, mark: int) -> None:
        """Stand there again."""
        self._at = mark

    def accept(self, *words: str) -> bool:
        """Take these words or signs if all of them come next, whatever the case of the words; a hyphen stands for itself: `order by` is two."""
        ahead = self._tokens[self._at : self._at + len(words)]
        fits = len(ahead) == len(words) and all(_is(token, word) for token, word in zip(ahead, words, strict=True))
        self._at += len(words) if fits else 0
        return fits

    def expect(self, *words: str) -> None:
        """As `accept`; raises Refused when something else comes."""
        if not self.accept(*words):
            raise self.unexpected(f"expected '{' '.join(words)}'")

    def name(self) -> str:
        """A name, plain or as ['name']; raises Refused for anything else."""
        token = self.here
        if token.kind != "name":
            raise self.unexpected("expected a name")
        return self.next().text

    def names(self) -> list[str]:
        """(A, B, …), whose opening parenthesis comes next."""
        self.expect("(")
        names = [self.name()]
        while self.accept(","):
            names.append(self.name())
        self.expect(")")
        return names

    def one_text(self) -> str:
        """One string, with another perhaps beside it that is something else; raises Refused for anything else."""
        if self.here.kind != "string":
            raise self.unexpected("expected a string")
        return str(self.next().value)

    def string(self) -> str:
        """One string; raises Refused for anything else."""
        if self.here.kind != "string":
            raise self.unexpected("expected a string")
        return str(self.next().value)

    def text(self) -> str:
        """One string, or several side by side that make one; raises Refused for anything else."""
        text = self.string()
        while self.here.kind == "string":
            text += self.string()
        return text

    def whole_number(self) -> int:
        """A whole number; raises Refused for anything else."""
        if self.here.kind != "long":
            raise self.unexpected("expected a whole number")
        return int(self.next().value)

    def end(self) -> None:
        """Raises Refused unless all is read."""
        if not self.ended:
            raise self.unexpected("expected the end")

    def unexpected(self, why: str) -> Refused:
        """The refusal of the token that comes next."""
        found = f"'{self.here.text}'" if not self.ended else "the end of the text"
        return syntax_error(f"A recognition error occurred at {found}: {why}.", self.here.position)


def _is(token: Token, word: str) -> bool:
    return token.kind in {"name", "operator"} and token.value != "quoted" and token.text.lower() == word
