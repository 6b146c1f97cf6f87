"""Planted secrets, and the search for them in everything that a test run leaves behind.

Each environment's client secret and each token the sandbox issues is a canary: none may appear in captured output, logs, database columns,
error messages or files of the lake. The few files that must hold a secret are named in KEEPERS.
"""

import re
from pathlib import Path
from typing import Final

import psycopg

KEEPERS: Final = ("treadle.env", "identity.json")  # what signs in reads them; both are private to their owner
JWT: Final = re.compile(rb"eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}")
_TABLES: Final = (
    "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables WHERE table_schema IN ('public', 'treadle')"
)

planted: set[str] = set()


def plant(secret: str) -> None:
    """From now on, no test of this process may let this value be seen."""
    planted.add(secret)


def found_in_text(text: str) -> list[str]:
    """What was seen of planted secrets and tokens in a text; the values themselves are not repeated."""
    seen = [f"a planted secret of {len(secret)} characters" for secret in planted if secret in text]
    return seen + ["a bearer token" for _ in JWT.findall(text.encode(errors="replace"))]


def found_in_database(dsn: str) -> list[str]:
    """The table of every planted secret or token: the five tables, and those of our own."""
    seen: list[str] = []
    with psycopg.connect(dsn) as connection:
        for (table,) in connection.execute(_TABLES).fetchall():
            for (row,) in connection.execute(f"SELECT to_jsonb(t)::text FROM {table} t"):
                seen += [f"{what} in {table}" for what in found_in_text(row)]
    return seen


def found_in_folder(folder: Path) -> list[str]:
    """Every file below a state directory that holds a planted secret or token and is no keeper."""
    seen: list[str] = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name not in KEEPERS and "postgres" not in path.relative_to(folder).parts:
            content = path.read_bytes()
            if any(secret.encode() in content for secret in planted) or JWT.search(content):
                seen.append(str(path.relative_to(folder)))
    return seen
