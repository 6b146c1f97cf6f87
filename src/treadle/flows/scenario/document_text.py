"""Texts that people wrote – runbooks, tickets, prompts: whether bytes are one, what it is called, how it begins, and where a search hits it. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

TITLE_CHARS: Final = 200
EXCERPT_CHARS: Final = 240
_HEAD_CHARS: Final = 16_000  # of a text that are looked at for its title and beginning
_PARAGRAPH_CHARS: Final = 2_000  # looked at for marks: to look for links takes the square of it
_LEAD_CHARS: Final = 60  # what is shown before the first hit
_HITS: Final = 500  # that are looked at to find the best place
_MARKDOWN: Final = frozenset({".md", ".markdown", ".prompty", ".txt"})
_CONTROL: Final = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f]")  # what no text has; tab, line ends and form feed it may have
_FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_UNDERLINE: Final = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*")
_FENCE: Final = re.compile(r" {0,3}(?:```|~~~)")
_MARKS: Final = re.compile(r"[*_`]+|!?\[([^\]]*)\]\([^)]*\)")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


class NotText(ValueError):
    """The bytes are no text; the message says why."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of an excerpt. hit: whether it is a word that was searched for."""

    text: str
    hit: bool


def decoded(content: bytes) -> str:
    """The text that UTF-8 bytes are, without the mark that some editors put before it.

    Raises:
        NotText: they are no UTF-8, or have characters that no text has.
    """
    if content.startswith(_UTF_16):
        raise NotText("It is UTF-16, not UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotText(f"Byte {error.start + 1:,} is not UTF-8.") from error
    if found := _CONTROL.search(text):
        raise NotText(f"It has the control character U+{ord(found[0]):04X} in line {text.count(chr(10), 0, found.start()) + 1:,}.")
    return text


def title_of(text: str, name: str) -> str:
    """What a document is called: by its front matter, its first heading, or else its file."""
    if PurePosixPath(name).suffix.lower() in _MARKDOWN:
        matter, rest = _parted(text)
        titles = (line.removeprefix("title:").strip().strip("\"'") for line in matter.split("\n") if line.startswith("title:"))
        title = _plain(next(titles, "")) or next(_headings(rest), "")
        if title:
            return title[:TITLE_CHARS]
    return PurePosixPath(name).name[:TITLE_CHARS]


def excerpt_of(text: str, name: str) -> str:
    """How a document begins, in one line: its first paragraph below the title."""
    if PurePosixPath(name).suffix.lower() not in _MARKDOWN:
        return _shortened(_plain(text))
    _, rest = _parted(text)
    return _shortened(_plain(next((paragraph for paragraph in re.split(r"\n[ \t]*\n", rest) if _is_prose(paragraph)), rest)))


def pieces_of(text: str, roots: Sequence[str]) -> tuple[Piece, ...]:
    """The stretch of a text in which the most different words that were searched for stand, hits apart from the rest. Empty: none does.

    roots: beginnings of words, as the search has them.
    """
    pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, roots))})[^\W_]*", re.IGNORECASE)
    hits = [found.span() for found, _ in zip(pattern.finditer(text), range(_HITS), strict=False)]
    if not hits:
        return ()
    first = max(range(len(hits)), key=lambda place: (_different(text, hits, place, roots), -place))
    start, end = _window(text, hits[first][0])
    return tuple(_cut(text, start, end, [hit for hit in hits if start <= hit[0] and hit[1] <= end]))


def _parted(text: str) -> tuple[str, str]:
    """The front matter, and the beginning of what is behind it."""
    head = text[:_HEAD_CHARS].replace("\r\n", "\n")
    matter = _FRONT_MATTER.match(head)
    return (matter[1], head[matter.end() :]) if matter else ("", head)


def _headings(text: str) -> Iterator[str]:
    """The headings of a Markdown text, outside of code."""
    fenced, before = False, ""
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        title = "" if fenced else _heading(line) or (_plain(before) if _UNDERLINE.fullmatch(line) else "")
        if title:
            yield title
        before = "" if fenced or title else line


def _heading(line: str) -> str:
    """The heading that a line of Markdown is: one to six # and a blank before it, perhaps # behind it. Empty: it is none."""
    bare = line.strip()
    text = bare.lstrip("#")
    return _plain(text.rstrip("#")) if 1 <= len(bare) - len(text) <= 6 and text[:1].isspace() else ""


def _is_prose(paragraph: str) -> bool:
    lines = [line for line in paragraph.split("\n") if line.strip()]
    return bool(lines) and not _heading(lines[0]) and not _FENCE.match(lines[0]) and not _UNDERLINE.fullmatch(lines[-1])


def _plain(text: str) -> str:
    """Without marks and in one line."""
    return " ".join(_MARKS.sub(lambda found: found[1] or "", text[:_PARAGRAPH_CHARS]).split())


def _shortened(text: str) -> str:
    if len(text) <= EXCERPT_CHARS:
        return text
    cut = text[: EXCERPT_CHARS - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut else cut) + "…"


def _different(text: str, hits: Sequence[tuple[int, int]], place: int, roots: Sequence[str]) -> int:
    """How many of the words stand in the stretch that begins with this hit."""
    end = hits[place][0] + EXCERPT_CHARS - _LEAD_CHARS
    words = [text[start:stop].casefold() for start, stop in hits[place : place + 40] if stop <= end]
    return sum(any(word.startswith(root) for word in words) for root in roots)


def _window(text: str, hit: int) -> tuple[int, int]:
    """From a little before the hit, and not from within a word."""
    start = max(0, hit - _LEAD_CHARS)
    if start:
        space = text.find(" ", start, hit)
        start = space + 1 if space >= 0 else start
    end = min(len(text), start + EXCERPT_CHARS)
    if end < len(text):
        space = text.rfind(" ", hit + 1, end)
        end = space if space > hit else end
    return start, end


def _cut(text: str, start: int, end: int, hits: Sequence[tuple[int, int]]) -> Iterator[Piece]:
    at = start
    lead = "…" if start else ""
    for hit_start, hit_end in hits:
        if lead or hit_start > at:
            yield Piece(lead + _one_line(text[at:hit_start]), hit=False)
        yield Piece(text[hit_start:hit_end], hit=True)
        at, lead = hit_end, ""
    rest = lead + _one_line(text[at:end]) + ("…" if end < len(text) else "")
    if rest:
        yield Piece(rest, hit=False)


def _one_line(text: str) -> str:
    """Runs of white space become one blank; blanks at the ends stay, as words follow there."""
    return re.sub(r"\s+", " ", text)
