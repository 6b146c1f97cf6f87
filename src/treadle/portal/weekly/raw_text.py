"""Raw records of others as text that can be looked at. Pure."""

from typing import Final

from treadle import visible_text

LONGEST: Final = 20_000


def visible(text: str) -> str:
    """The text, as far as it is shown, with hidden characters as their escapes; line breaks and tabs of a record are written out as well."""
    return visible_text.visible(text[:LONGEST])


def cut_note(text: str) -> str:
    """What is said below a record that is too long to be shown whole; empty for all others."""
    return f"The first {LONGEST:,} of {len(text):,} characters; a download has all of it." if len(text) > LONGEST else ""
