"""What becomes of a file that is too large for a page, or of another kind, said beforehand: the browser does not send it, so that no page hears of it.

Pure.
"""

from treadle.portal import words


def limits_told(page_bytes: int, most_bytes: int, command: str) -> str:
    """How files go that are larger than the field says that it takes, as Markdown. most_bytes: taken at all; command: of the command line, that sends them."""
    refused = "A larger file is not sent: it stays in the field, marked red."
    larger = f" Up to {words.size(most_bytes)}, send it by `{command}` or the API." if page_bytes < most_bytes else ""
    return f"{refused}{larger} A file of another kind is marked red, too."
