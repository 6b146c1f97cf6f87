"""What may be named as the input of a run: a plain file name in `Files/import/`, or an earlier run to restore. Pure."""

import unicodedata
from typing import Final
from uuid import UUID

from treadle.errors import InvalidInput

EXTENSIONS: Final = (".xlsx", ".xls", ".xlsb", ".ods", ".csv", ".tsv", ".parquet")
_SEGMENT_BYTES: Final = 255  # of UTF-8; the limit of one path segment on the file systems underneath
_LONGEST_BESIDE: Final = ".mapping.json"  # goes behind the name for what lies beside the file
MAX_NAME_BYTES: Final = _SEGMENT_BYTES - len(_LONGEST_BESIDE)
RESTORE_PREFIX: Final = "__restore__"
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # would make a name read as another one
_HINT = "Give the plain name of a file in Files/import/, for example sales.xlsx."


def check_input_file(name: str) -> str:
    """Return the name unchanged when it is a plain file name of a known kind.

    Raises:
        InvalidInput: it is empty, too long, leads out of the folder, has characters that cannot be shown, or an unknown extension.
    """
    if not name.strip():
        raise InvalidInput("The name of the input file is empty.", hint=_HINT)
    _require(not name.startswith(RESTORE_PREFIX), name, f"begins with {RESTORE_PREFIX}, which means a restore", "Use: treadle restore RUN")
    _require("/" not in name and "\\" not in name, name, "contains a slash or backslash")
    _require(".." not in name, name, "contains two dots in a row")
    _require(all(map(_is_printable, name)), name, "contains control characters")
    _require(
        len(name.encode()) <= MAX_NAME_BYTES,
        name,
        f"is longer than {MAX_NAME_BYTES} bytes: with {_LONGEST_BESIDE} behind it, a name may have {_SEGMENT_BYTES}",
        "Give it a shorter name.",
    )
    _require(extension(name) in EXTENSIONS, name, "is not of a known kind", f"Known kinds: {' '.join(EXTENSIONS)}.")
    return name


def extension(name: str) -> str:
    """The file name's extension in lower case with its dot; empty when there is none."""
    stem, dot, suffix = name.rpartition(".")
    return (dot + suffix).lower() if stem and dot else ""


def restore_input(source_run_id: UUID) -> str:
    """The `input_file` that makes a run a restore of another one."""
    return f"{RESTORE_PREFIX}{source_run_id}"


def restore_source(input_file: str) -> UUID | None:
    """The run that an `input_file` asks to restore; None when it names a workbook.

    Raises:
        InvalidInput: it begins as a restore does, but no run id follows.
    """
    if not input_file.startswith(RESTORE_PREFIX):
        return None
    return check_run_id(input_file.removeprefix(RESTORE_PREFIX), what="The run to restore")


def check_run_id(text: str, *, what: str = "run_id") -> UUID:
    """Return the id when it is a UUID in its one canonical spelling: a run's folder is named by it, so there must not be two.

    Raises:
        InvalidInput: it is anything else.
    """
    try:
        run_id = UUID(text)
    except ValueError:
        run_id = None
    if run_id is None or str(run_id) != text:
        raise InvalidInput(
            f"{what} is not a run id: {shown(text)}.", hint="Give a UUID in lower case with hyphens.", details={"given": shown(text)}
        )
    return run_id


def shown(text: str, limit: int = 80) -> str:
    """The text for a message: quoted, with what cannot be printed escaped, and cut to `limit` characters."""
    quoted = ascii(text) if not all(map(_is_printable, text)) else f'"{text}"'
    return quoted if len(quoted) <= limit else quoted[: limit - 1] + "…"


def _is_printable(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and character not in _REORDERING


def _require(holds: bool, name: str, fault: str, hint: str = _HINT) -> None:  # noqa: FBT001 - reads as the sentence it is
    if not holds:
        raise InvalidInput(f"The input file {shown(name)} {fault}.", hint=hint, details={"input_file": shown(name, 300).strip('"')})
