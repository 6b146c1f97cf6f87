"""Raw records of others as text that can be looked at: what would be invisible, or would turn the text around, is written out. Pure."""

import unicodedata
from typing import Final

LONGEST: Final = 20_000
_HIDDEN: Final = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
)  # control, format (bidi and zero width too), and what is no character


def visible(text: str) -> str:
    """The text with hidden characters as their escapes; line breaks and tabs of a record are written out as well."""
    shown = text[:LONGEST]
    return "".join(_escape(letter) if unicodedata.category(letter) in _HIDDEN else letter for letter in shown)


def cut_note(text: str) -> str:
    """What is said below a record that is too long to be shown whole; empty for all others."""
    return f"The first {LONGEST:,} of {len(text):,} characters; a download has all of it." if len(text) > LONGEST else ""


def _escape(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
