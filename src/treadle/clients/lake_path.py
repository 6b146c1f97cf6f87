"""Paths inside a lakehouse, checked before they become part of an address. Pure."""

from typing import Final

from treadle.errors import InvalidInput

SEGMENT_CHARS: Final = 255
PATH_CHARS: Final = 1024  # what a blob name may have: Naming and Referencing Containers, Blobs, and Metadata (Azure Storage)


def lake_path(*segments: str) -> str:
    """Join segments to a path such as `Files/import/orders.xlsx`. A segment may itself hold slashes; none may be empty.

    Raises InvalidInput for what could lead elsewhere or cannot be stored: `.` and `..`, backslashes, control characters, a slash at either
    end, names that end in a dot or a space, half of a surrogate pair, and what is too long.
    """
    path = "/".join(segments)
    for name in path.split("/"):
        if problem := _problem_of(name):
            raise _invalid(path, problem)
    if len(path) > PATH_CHARS:
        raise _invalid(path, f"it has more than {PATH_CHARS} characters")
    return path


def _problem_of(name: str) -> str | None:
    problems = {
        "a part of it is empty": not name,
        "it leads out of its folder": name in (".", ".."),
        "it holds a backslash": "\\" in name,
        "it holds a control character": any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in name),
        "it is not valid Unicode": any(0xD800 <= ord(sign) < 0xE000 for sign in name),
        "a part of it ends in a dot or a space": name.endswith((".", " ")) and name not in (".", ".."),
        f"a part of it has more than {SEGMENT_CHARS} characters": len(name) > SEGMENT_CHARS,
    }
    return next((problem for problem, found in problems.items() if found), None)


def _invalid(path: str, problem: str) -> InvalidInput:
    shown = path.encode("unicode_escape").decode("ascii")[:120]
    return InvalidInput(
        f"'{shown}' cannot be a path in the lakehouse: {problem}.", hint="Rename the file and try again.", details={"path": shown}
    )
