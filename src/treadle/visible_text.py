"""Text of others where people read it: what would be invisible, move a cursor, colour a terminal or turn the line around is written out. Pure."""

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # control, format (bidi, zero width), and what is no character


def visible(text: str, *, kept: str = "") -> str:
    """The text with hidden characters as their escapes. kept: characters that stay, such as line breaks."""
    if text.isprintable():
        return text
    return "".join(_escape(sign) if unicodedata.category(sign) in _HIDDEN and sign not in kept else sign for sign in text)


def _escape(sign: str) -> str:
    number = ord(sign)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
