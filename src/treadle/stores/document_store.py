"""Documents: JSON objects that are found by container and id, and by their words. One interface; PostgreSQL and Azure Cosmos DB are behind it.

What a store refuses, and what a search finds, is decided here, so that both refuse and find the same.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, cast

from treadle.control.stored import json_text
from treadle.errors import Conflict, InvalidInput, NotFound

MAX_BODY_BYTES: Final = 1024**2
SEARCHED_BYTES: Final = 256 * 1024  # of a document's words; PostgreSQL's text search vector has an end, and so has an item of Cosmos
SEARCH_CHARS: Final = 400
SEARCH_WORDS: Final = 12
MAX_LISTED: Final = 1000
_CONTAINER: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@~-]{0,254}")  # Cosmos refuses / \ ? #
_MEMBER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_WORD: Final = re.compile(r"[^\W_]+")
_HEADINGS: Final = ("title", "display_name", "name")
_ENDINGS: Final = ("ings", "ing", "ies", "ed", "es", "s", "e", "y")
_ROOT_CHARS: Final = 4  # "string" is not "str"
_SHORT_ROOT_CHARS: Final = 3  # but "cuts" is "cut"


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it was stored. etag: changes with every write. updated_at: aware UTC."""

    container: str
    id: str
    body: dict[str, Any]
    etag: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Documents in the order of their ids. after: what to ask with for those that follow; None: these are the last."""

    documents: tuple[Document, ...]
    after: str | None


class DocumentStore(Protocol):
    """Where documents are kept. Safe to share between threads. Every call may raise Unavailable, and InvalidInput for a name that cannot be used."""

    def get(self, container: str, id: str) -> Document:  # noqa: A002 - the word that both stores use
        """One document. Raises NotFound."""
        ...

    def find(self, container: str, id: str) -> Document | None:  # noqa: A002
        """One document, or None if there is none."""
        ...

    def list(self, container: str, *, where: Mapping[str, str] | None = None, limit: int = 100, after: str | None = None) -> DocumentPage:
        """Documents by id, up to `limit`. where: only those whose top-level members equal these texts. after: as an earlier page said."""
        ...

    def put(
        self,
        container: str,
        id: str,  # noqa: A002
        body: Mapping[str, Any],
        *,
        if_match: str | None = None,
        create_only: bool = False,
    ) -> Document:
        """Store a document whole, in place of what was there. Safe to repeat without the conditions.

        if_match: only if the document that is there has this etag; create_only: only if there is none. Raises Conflict otherwise, and
        InvalidInput for a body that is no JSON object or larger than 1 MiB.
        """
        ...

    def delete(self, container: str, id: str, *, if_match: str | None = None) -> None:  # noqa: A002
        """Remove a document. Raises NotFound, and Conflict if it has another etag than `if_match`."""
        ...

    def search(self, container: str, text: str, *, where: Mapping[str, str] | None = None, limit: int = 50) -> tuple[Document, ...]:
        """Documents in which every word of the text, or a word that begins like it, occurs; best first.

        Case and common English endings make no difference: "failures" finds "failure". A word in a member title, display_name or name counts
        more than one in the text. Raises InvalidInput for a text without words.
        """
        ...

    def close(self) -> None:
        """Let go of the connections that are the store's own."""
        ...


@dataclass(frozen=True, slots=True)
class Searched:
    """The words of a document as they are searched: lower-case, one blank between. heading: of its title and names. text: of everything."""

    heading: str
    text: str


def checked_key(container: str, id: str) -> tuple[str, str]:  # noqa: A002
    """Container and id, unchanged. Raises InvalidInput for what not every store can keep."""
    if not _ID.fullmatch(id):
        raise InvalidInput(
            f"{id[:80]!a} cannot be the id of a document.",
            hint="Use up to 255 letters, digits and _ . : @ ~ -, beginning with a letter, a digit or _.",
            details={"field": "id"},
        )
    return checked_container(container), id


def checked_container(container: str) -> str:
    """The name of a container, unchanged. Raises InvalidInput."""
    if not _CONTAINER.fullmatch(container):
        raise InvalidInput(f"{container[:80]!a} cannot be a container of documents.", hint="Name one such as scenarios.")
    return container


def checked_where(where: Mapping[str, str] | None) -> dict[str, str]:
    """The members that documents are chosen by. Raises InvalidInput for what is no plain name of a member."""
    for name in where or {}:
        if not _MEMBER.fullmatch(name):
            raise InvalidInput(f"Documents cannot be chosen by {name[:80]!a}.", hint="Name a member at the top of the document.")
    return dict(where or {})


def checked_limit(limit: int) -> int:
    """How many documents at most. Raises InvalidInput for none, and for more than 1,000."""
    if not 1 <= limit <= MAX_LISTED:
        raise InvalidInput(
            f"{limit} documents cannot be asked for at once.", hint=f"Ask for 1 to {MAX_LISTED}, and for the next page then."
        )
    return limit


def checked_body(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The body as it is stored – no secret in it, nothing that is not JSON – as text and as values.

    Raises:
        InvalidInput: it is no JSON object, or larger than 1 MiB.
    """
    if not isinstance(body, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - it may come from a request
        raise InvalidInput("A document is a JSON object.", hint="Put what you have into an object.")
    text = json_text(body)
    size_bytes = len(text.encode())
    if size_bytes > MAX_BODY_BYTES:
        raise InvalidInput(
            f"The document has {size_bytes:,} bytes; {MAX_BODY_BYTES:,} are allowed.",
            hint="Keep large content in the lake, and its path in the document.",
            details={"size_bytes": size_bytes, "max_bytes": MAX_BODY_BYTES},
        )
    return text, json.loads(text)


def searched(body: Mapping[str, Any]) -> Searched:
    """The words by which a document is found: all texts in it, however deep; not the names of its members. Pure.

    One that has a text of its own, in the member `text`, is found by that and its headings alone: not by the names of where it belongs.
    """
    headings = [body[name] for name in _HEADINGS if isinstance(body.get(name), str)]
    texts = [*headings, body["text"]] if isinstance(body.get("text"), str) else _texts(body)
    return Searched(_words_within(headings, SEARCHED_BYTES // 8), _words_within(texts, SEARCHED_BYTES))


def search_roots(text: str) -> tuple[str, ...]:
    """The beginnings of words that a document must have, to be found by this text. Pure.

    Raises:
        InvalidInput: there is no word in it, or too many.
    """
    if len(text) > SEARCH_CHARS:
        raise InvalidInput(f"The text to search for has {len(text):,} characters; {SEARCH_CHARS} are allowed.", hint="Shorten it.")
    roots = tuple(dict.fromkeys(map(word_root, words_of(text))))
    if not roots:
        raise InvalidInput("There is no word to search for.", hint="Give a word, such as fibre.")
    if len(roots) > SEARCH_WORDS:
        raise InvalidInput(f"{len(roots)} words are too many to search for; {SEARCH_WORDS} are allowed.", hint="Leave some out.")
    return roots


def words_of(text: str) -> list[str]:
    """The words of a text: letters and digits only, in one spelling of each letter, without case. Pure."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def word_root(word: str) -> str:
    """What words of one family begin with: "failures", "failure" → "failur"; "cuts" → "cut". A name with digits is left as it is. Pure."""
    if not word.isalpha():
        return word
    for ending in _ENDINGS:
        shortest = _SHORT_ROOT_CHARS if ending == "s" else _ROOT_CHARS
        if word.endswith(ending) and len(word) - len(ending) >= shortest:
            return word[: -len(ending)]
    return word


def no_document(container: str, id: str) -> NotFound:  # noqa: A002
    """The error for a document that is not there."""
    return NotFound(f"There is no document {id} in {container}.", hint="List what is there.", details={"container": container, "id": id})


def changed_meanwhile(container: str, id: str) -> Conflict:  # noqa: A002
    """The error for a document that has another etag, or is gone."""
    return Conflict(
        f"The document {id} in {container} was changed or removed meanwhile.",
        hint="Read it again, then decide.",
        details={"container": container, "id": id},
    )


def exists_already(container: str, id: str) -> Conflict:  # noqa: A002
    """The error for a document that was to be new."""
    return Conflict(f"The document {id} is in {container} already.", hint="Read it.", details={"container": container, "id": id})


def _texts(value: Any) -> list[str]:
    """Every text in a value of JSON, in order."""
    found: list[str] = []
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, Mapping):
            waiting.extend(reversed(list(cast("Mapping[str, Any]", item).values())))
        elif isinstance(item, list | tuple):
            waiting.extend(reversed(cast("list[Any]", item)))
    return found


def _words_within(texts: list[str], most_bytes: int) -> str:
    """The words of texts, up to a size. A word that is cut off is left out, and so is one that is longer than a search could be."""
    kept: list[str] = []
    room = most_bytes
    for text in texts:
        for word in words_of(text[:room]):
            size = len(word.encode()) + 1
            if size > room:
                return " ".join(kept)
            if len(word) <= SEARCH_CHARS:
                kept.append(word)
                room -= size
    return " ".join(kept)
