"""The headers of a tar archive, read one block at a time: pure, and bounded by what it is given.

The standard library's reader is not used for archives of strangers: it reads extension headers whole, follows them recursively, and takes sizes
as they come. Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

BLOCK: Final = 512
REGULAR: Final = frozenset({b"0", b"\0", b"7"})
FOLDER: Final = b"5"
PAX: Final = b"x"
PAX_OF_ALL: Final = b"g"
GNU_LONG_NAME: Final = b"L"
GNU_LONG_LINK: Final = b"K"
WITHOUT_CONTENT: Final[Mapping[bytes, str]] = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
}


class DamagedHeader(ValueError):
    """The block is no tar header; the message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header. name: as it stands, in bytes. kind: tar's typeflag. size_bytes: of the content that follows, before padding."""

    name: bytes
    kind: bytes
    size_bytes: int


def parse_header(block: bytes) -> Header:
    """Read one block of 512 bytes.

    Raises:
        DamagedHeader: the checksum or a number in it is wrong.
    """
    if _checksum(block) != _number(block[148:156], "checksum"):
        raise DamagedHeader("its checksum is wrong")
    name = _text(block[0:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = prefix + b"/" + name
    return Header(name, block[156:157], _number(block[124:136], "size"))


def parse_pax(content: bytes) -> dict[str, bytes]:
    """Read the records `<length> <key>=<value>` of an extended header.

    Raises:
        DamagedHeader: a record's length does not fit.
    """
    records: dict[str, bytes] = {}
    at = 0
    while at < len(content):
        digits, space, _ = content[at : at + 12].partition(b" ")
        if not space or not digits.isdigit():
            raise DamagedHeader("an extended header has a record without a length")
        record = content[at : at + int(digits)]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != int(digits) or record[-1:] != b"\n" or not equals:
            raise DamagedHeader("an extended header has a record whose length is wrong")
        records[key.decode("utf-8", "replace")] = value
        at += int(digits)
    return records


def padding(size_bytes: int) -> int:
    """How many bytes fill the last block of a content."""
    return -size_bytes % BLOCK


def _checksum(block: bytes) -> int:
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, what: str) -> int:
    """Octal digits, or GNU's base 256 for what is too large for them."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise DamagedHeader(f"its {what} is negative or absurdly large")
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if any(digit not in b"01234567" for digit in digits):
        raise DamagedHeader(f"its {what} is no octal number")
    return int(digits or b"0", 8)
