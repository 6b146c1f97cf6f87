"""Plain SQL in `.sql` files: found by name, with lines that only some installations or some questions need."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, LiteralString, cast

from treadle.errors import InvalidInput

_NAME: Final = re.compile(r"-- ([a-z][a-z0-9_]*)")
_ONLY_IF: Final = re.compile(r"\s*-- if ([a-z][a-z0-9_]*)$")


def load_queries(path: Path) -> Mapping[str, LiteralString]:
    """Read a `.sql` file into name → statement.

    Each statement begins, after an empty line, with a line `-- its_name`, followed by at least one comment line that says why it is there.
    Values are named, cast parameters (`%(run_id)s::uuid`). The statements come from the package alone, hence LiteralString.

    Raises:
        InvalidInput: a name occurs twice, or a statement has no reason, no SQL, or no name.
    """
    queries: dict[str, LiteralString] = {}
    for name, text in _named_blocks(path):
        if name in queries:
            raise InvalidInput(f"{path.name} has two statements named {name}.", hint="Rename one of them.")
        queries[name] = cast("LiteralString", _statement(path, name, text))
    return queries


def with_lines(sql: LiteralString, wanted: AbstractSet[str]) -> LiteralString:
    """Return the statement without the lines that end in `-- if <name>` for a name that is not wanted.

    So a statement stays whole and readable in its file, and no SQL is ever put together from values.
    """
    return cast("LiteralString", "\n".join(kept for line in sql.splitlines() if (kept := _kept(line, wanted)) is not None))


def _kept(line: str, wanted: AbstractSet[str]) -> str | None:
    condition = _ONLY_IF.search(line)
    if condition is None:
        return line
    return line[: condition.start()] if condition[1] in wanted else None


def _named_blocks(path: Path) -> list[tuple[str, list[str]]]:
    """Split where a comment of one word follows an empty line, or begins the file."""
    blocks: list[tuple[str, list[str]]] = []
    before = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        named = _NAME.fullmatch(line.rstrip()) if not before.strip() else None
        if named:
            blocks.append((named[1], []))
        elif blocks:
            blocks[-1][1].append(line)
        elif line.strip():
            raise InvalidInput(f"{path.name} begins with a statement that has no name.", hint="Put a line `-- its_name` above it.")
        before = line
    return blocks


def _statement(path: Path, name: str, lines: list[str]) -> str:
    body = "\n".join(lines).strip()
    if not body.startswith("-- "):
        raise InvalidInput(f"{path.name}: {name} does not say why it is there.", hint="Put a comment line below its name.")
    while body.startswith("--"):
        body = body.partition("\n")[2].lstrip()
    if not body:
        raise InvalidInput(f"{path.name}: {name} has no SQL.")
    return body.rstrip(";")
