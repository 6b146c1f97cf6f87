"""Which names a member of an archive may have. They are only ever keys in memory: no file is made under a name of an archive's choosing."""

import unicodedata
from typing import Final

from treadle.flows.scenario.faults import Fault

NAME_CHARS: Final = 400
DEPTH: Final = 16
_OF_THE_SYSTEM: Final = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")  # what file managers leave in archives


def member_name(raw: bytes) -> str | Fault:
    """The name in its one form – folders separated by `/`, no `./` before it, no `/` behind – or why it is refused."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _refused(shown(raw), "is not UTF-8")
    while text.startswith("./"):
        text = text[2:]
    text = text.rstrip("/") if not text.startswith("/") else text
    problem = _problem(text)
    return _refused(shown(raw), problem) if problem else text


def collision_key(name: str) -> str:
    """The same for names that some file system, or a lakehouse, would take for one."""
    return unicodedata.normalize("NFKC", name).casefold()


def left_by_the_system(name: str) -> bool:
    """Whether a file manager put it there, not a person."""
    parts = name.split("/")
    return any(part in _OF_THE_SYSTEM for part in parts) or parts[-1].startswith("._")


def shown(raw: bytes) -> str:
    """A name that may hold anything, fit for a message."""
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in raw.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else text[:119] + "…"


def _problem(text: str) -> str | None:
    parts = text.split("/")
    checks = (
        (text in {"", "."}, "is empty"),
        (text.startswith("/"), "is absolute"),
        (".." in parts, "leads out of the archive (..)"),
        ("\\" in text, "has a backslash"),
        (
            any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for char in text),
            "has a line break or another control character",
        ),
        (len(parts[0]) > 1 and parts[0][1] == ":", "starts with a drive letter"),
        (any(part in {"", "."} for part in parts), "has an empty folder name"),
        (any(part != part.strip() for part in parts), "has a folder or file name that begins or ends with a blank"),
        (len(text) > NAME_CHARS or len(parts) > DEPTH, f"is longer than {NAME_CHARS} characters or deeper than {DEPTH} folders"),
    )
    return next((problem for found, problem in checks if found), None)


def _refused(name: str, problem: str) -> Fault:
    return Fault(
        "name_refused", name, f"The name {problem}.", "Pack the archive again with plain relative names, such as telco-noc/scenario.yaml."
    )
