"""What one page of the events API says: the records, each by its own bytes, and how many there are in all. Pure.

A record is not read here, only found: whatever may be wrong inside it is the contract's to judge, and must not cost its neighbours.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treadle.errors import UnexpectedAnswer

KEYS: Final = ("data", "events", "results", "items")  # under the first of them that is there stand the records
_TOLD_KEYS: Final = 10
_TOLD_CHARS: Final = 60
_SPACE: Final = b" \t\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MARK: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},:]', re.DOTALL)  # a string, or what parts values from each other
_CLOSING: Final = {ord("["): ord("]"), ord("{"): ord("}")}

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Envelope:
    """One page. records: the bytes of each record in order, as they came. total: what `meta.total` says; None: nothing."""

    records: list[bytes]
    total: int | None


def read_envelope(body: bytes) -> Envelope:
    """Find the records in a page: a list, or an object with a list under one of KEYS.

    A record need not be good JSON, as long as its strings and brackets are closed: `NaN`, half a surrogate pair, bytes that are no UTF-8 or a
    thousand levels of brackets are the contract's to judge.

    Raises:
        UnexpectedAnswer: it is no such page, or no JSON at all; the message names the keys that were found. It is never taken for "no records".
    """
    content = body.removeprefix(_BYTE_ORDER_MARK).strip(_SPACE)
    if content[:1] == b"[":
        return Envelope(_records(content), None)
    if content[:1] != b"{":
        raise _unexpected(f"it is not JSON but {_shown(content)}" if content else "it is empty")
    members = _members_of(content)
    key = next((key for key in KEYS if key in members), None)
    if key is None:
        raise _unexpected(
            f"it has no {', '.join(KEYS)}, but {_listed(members)}", keys=[name[:_TOLD_CHARS] for name in members][:_TOLD_KEYS]
        )
    if members[key][:1] != b"[":
        raise _unexpected(f"{key} is no list but {_shown(members[key])}")
    return Envelope(_records(members[key]), _total(members.get("meta")))


def _records(content: bytes) -> list[bytes]:
    try:
        return [bytes(record) for record in _elements.decode(content)]
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return list(_parts(content))


def _members_of(content: bytes) -> Mapping[str, bytes]:
    """The members of an object, each by the bytes of its value."""
    try:
        return {key: bytes(value) for key, value in _members.decode(content).items()}
    except (ValueError, RecursionError):
        return dict(_member(part) for part in _parts(content))


def _member(part: bytes) -> tuple[str, bytes]:
    key = _MARK.match(part)
    rest = part[key.end() :].lstrip(_SPACE) if key else b""
    try:
        name = json.loads(key[0]) if key else None
    except ValueError:
        name = None
    if not isinstance(name, str) or rest[:1] != b":":
        raise _unexpected(f"it is not JSON: {_shown(part)} is no member of an object")
    return name, rest[1:].strip(_SPACE)


def _parts(content: bytes) -> Iterator[bytes]:
    """What stands between the commas of a list or object, found by strings and brackets alone."""
    open_brackets, begin = bytearray(), 1
    for mark in _MARK.finditer(content):
        sign = mark[0][0]
        if sign in _CLOSING:
            open_brackets.append(_CLOSING[sign])
        elif sign in b"]}":
            if not open_brackets or open_brackets.pop() != sign:
                raise _unexpected(f"it is not JSON: a bracket is closed that was not open, at byte {mark.start()}")
            if not open_brackets:
                yield from _last_part(content, begin, mark.start())
                return
        elif sign in b"," and len(open_brackets) == 1:
            yield _part(content, begin, mark.start())
            begin = mark.end()
        elif mark[0] == b'"':
            break
    raise _unexpected("it ends in the middle")


def _last_part(content: bytes, begin: int, end: int) -> Iterator[bytes]:
    if content[end + 1 :]:
        raise _unexpected(f"it is not JSON: something follows its end, at byte {end + 1}")
    if begin > 1 or content[begin:end].strip(_SPACE):
        yield _part(content, begin, end)


def _part(content: bytes, begin: int, end: int) -> bytes:
    part = content[begin:end].strip(_SPACE)
    if not part:
        raise _unexpected(f"it is not JSON: nothing stands between two commas, at byte {begin}")
    return part


def _total(meta: bytes | None) -> int | None:
    """`meta.total`. None: there is none. Anything but a whole number from 0 on is an error: who counts by it must not guess."""
    if meta is None or meta[:1] != b"{":
        return None
    told = _members_of(meta).get("total", b"null")
    try:
        total: Any = json.loads(told)
    except (ValueError, RecursionError):
        total = told
    if total is None:
        return None
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise _unexpected(f"meta.total is no count but {_shown(told)}")
    return total


def _listed(members: Mapping[str, bytes]) -> str:
    names = [ascii(name[:_TOLD_CHARS]) for name in members]
    return ("only " + ", ".join(names[:_TOLD_KEYS]) + (" and more" if len(names) > _TOLD_KEYS else "")) if names else "nothing at all"


def _shown(content: bytes) -> str:
    return ascii(content[:_TOLD_CHARS].decode(errors="replace"))


def _unexpected(problem: str, **facts: Any) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"A page of events cannot be read: {problem}.",
        hint="Check API_BASE_URL; if it is right, tell the owner of the events API.",
        details={"problem": problem, **facts},
    )
