"""The schema `treadle`, where everything of ours is kept beside the five tables: numbered files, applied once each, only ever forward.

Which files were applied, with their SHA-256, is in `treadle.migrations`. A newer Treadle may have applied more than this one knows: that is
how a rolling restart looks from the older side, and no error.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString, cast

from treadle.control.advisory import lock_number
from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries
from treadle.errors import InvalidInput, PermissionDenied

_FOLDER: Final = Path(__file__).with_name("migrations")
_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z][a-z0-9_]*)\.sql")
_LOCK: Final = {"key": lock_number("migrate:treadle")}
_BY_THE_OWNER: Final = "Have the owner of the database run what this prints: treadle migrate --print"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name (`0001_jobs`), what it runs, and the SHA-256 of that."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Of the text with Unix line ends, so that a checkout elsewhere has the same."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrate(own: Database, *, folder: Path = _FOLDER) -> list[str]:
    """Apply what is missing, in order, each file in one transaction with its record; return the names applied. Safe to repeat, and for several at once.

    Raises:
        InvalidInput: an applied file was changed or is not among ours.
        PermissionDenied: the database's user may not make schemas or tables.
    """
    known = migrations(folder)
    try:
        with own.transaction() as connection:
            _make_register(connection)
        return [migration.name for migration in known if _apply(own, known, migration)]
    except PermissionDenied as error:
        raise PermissionDenied(error.message, hint=_BY_THE_OWNER, details=error.details) from error


def pending(own: Database, *, folder: Path = _FOLDER) -> list[str]:
    """Return the names of what `migrate` would apply, in order.

    Raises:
        InvalidInput: as `migrate`.
    """
    return [migration.name for migration in _missing(own, folder)]


def plan_sql(own: Database, *, folder: Path = _FOLDER) -> str:
    """Return what `migrate` would run as one script for the owner of the database, with the rights that our own user then needs.

    Empty when nothing is missing.
    """
    missing = _missing(own, folder)
    if not missing:
        return ""
    user = own.read(_SQL["quoted_user"])[0]["name"]
    parts = ["BEGIN;", f"{_SQL['make_schema']};", f"{_SQL['make_register']};"]
    for migration in missing:
        parts += [f"-- {migration.name}", migration.sql.rstrip(), _record_line(migration)]
    parts += [
        f"GRANT USAGE ON SCHEMA treadle TO {user};",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA treadle TO {user};",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA treadle TO {user};",
        "COMMIT;",
    ]
    return "\n".join(parts) + "\n"


def require_migrated(own: Database) -> None:
    """Return when nothing is missing.

    Raises:
        InvalidInput: something is, or an applied file was changed.
    """
    if missing := pending(own):
        raise InvalidInput(
            f"The database lacks tables of Treadle's own: {', '.join(missing)}.", hint="Run: treadle migrate", details={"missing": missing}
        )


def migrations(folder: Path = _FOLDER) -> list[Migration]:
    """Read all files, in the order of their numbers.

    Raises:
        InvalidInput: a name is not of the form 0001_name.sql, or two have one number.
    """
    found = sorted(map(_read, folder.glob("*.sql")), key=lambda migration: migration.number)
    if len({migration.number for migration in found}) != len(found):
        raise InvalidInput("Two migrations have the same number.", details={"files": [migration.name for migration in found]})
    return found


def _read(path: Path) -> Migration:
    named = _FILE_NAME.fullmatch(path.name)
    if named is None:
        raise InvalidInput(f"{path.name} is no name of a migration.", hint="Name it as 0001_name.sql.")
    return Migration(int(named[1]), path.stem, path.read_text(encoding="utf-8"))


def _make_register(connection: Connection) -> None:
    """Only where it is missing: even IF NOT EXISTS asks for the right to create."""
    _wait_for_the_others(connection)
    for what in ("schema", "register"):
        if not _there(connection, what):
            connection.execute(_SQL[f"make_{what}"])


def _wait_for_the_others(connection: Connection) -> None:
    connection.execute(_SQL["wait_without_end"])
    connection.execute(_SQL["wait_for_the_others"], _LOCK)
    connection.execute(_SQL["wait_for_tables_as_ever"])


def _there(connection: Connection, what: str) -> bool:
    row = connection.execute(_SQL["what_is_there"]).fetchone()
    return bool(row and row[what])


def _apply(own: Database, known: Sequence[Migration], migration: Migration) -> bool:
    with own.transaction() as connection:
        _wait_for_the_others(connection)
        if migration.number in _checked(known, _applied(connection)):
            return False
        connection.execute(cast("LiteralString", migration.sql))  # from the package alone
        connection.execute(_SQL["record"], {"number": migration.number, "name": migration.name, "sha256": migration.sha256})
        return True


def _missing(own: Database, folder: Path) -> list[Migration]:
    known = migrations(folder)
    with own.transaction() as connection:
        applied = _checked(known, _applied(connection) if _there(connection, "register") else {})
    return [migration for migration in known if migration.number not in applied]


def _applied(connection: Connection) -> dict[int, str]:
    """Number → SHA-256 of what was applied."""
    return {row["number"]: row["sha256"] for row in connection.execute(_SQL["applied"]).fetchall()}


def _checked(known: Sequence[Migration], applied: Mapping[int, str]) -> set[int]:
    """Compare what was applied with our files, up to the highest number we know."""
    ours = {migration.number: migration.sha256 for migration in known}
    strange = sorted(number for number, sha256 in applied.items() if number <= max(ours, default=0) and ours.get(number) != sha256)
    if strange:
        raise InvalidInput(
            f"Migrations that were applied differ from this Treadle's own: {', '.join(f'{number:04d}' for number in strange)}.",
            hint="Use the Treadle that applied them, or a newer one. A local environment can be made anew in another state directory.",
            details={"numbers": strange},
        )
    return set(applied)


def _record_line(migration: Migration) -> str:
    return f"INSERT INTO treadle.migrations (number, name, sha256) VALUES ({migration.number}, '{migration.name}', '{migration.sha256}');"  # noqa: S608 - a checked name and hex digits
