"""Numbered files in a schema of our own: each applied once, in order, by whoever comes first."""

from pathlib import Path

import psycopg
import pytest
from control_trials import at_once

from treadle.control.database import Database
from treadle.control.migrate import migrate, migrations, pending, plan_sql, require_migrated
from treadle.errors import InvalidInput, PermissionDenied

FIRST = "CREATE TABLE treadle.one (id integer);\n"
SECOND = "CREATE TABLE treadle.two (id integer);\nINSERT INTO treadle.two VALUES (7);\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_one.sql").write_text(FIRST)
    (tmp_path / "0002_two.sql").write_text(SECOND)
    return tmp_path


def test_everything_that_is_missing_is_applied_in_order_and_once(database, folder):
    assert pending(database, folder=folder) == ["0001_one", "0002_two"]
    assert migrate(database, folder=folder) == ["0001_one", "0002_two"]
    assert migrate(database, folder=folder) == []
    assert pending(database, folder=folder) == []
    assert database.read("SELECT id FROM treadle.two") == [{"id": 7}]


def test_the_migrations_of_treadle_itself_can_be_applied_by_the_application_and_leave_the_five_tables_alone(database, as_owner):
    five = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    before = as_owner(five)
    with pytest.raises(InvalidInput, match="0001_jobs"):
        require_migrated(database)
    assert migrate(database) == [migration.name for migration in migrations()]
    require_migrated(database)
    assert as_owner(five) == before


def test_many_processes_that_start_at_once_apply_each_file_once(database, folder):
    applied = at_once(6, lambda _: migrate(database, folder=folder))
    assert sorted(name for names in applied for name in names) == ["0001_one", "0002_two"]
    assert database.read("SELECT count(*) AS n FROM treadle.two") == [{"n": 1}]


def test_a_process_that_starts_during_a_long_change_waits_for_its_end(database, folder):
    """Longer than any lock of ordinary work is waited for."""
    (folder / "0002_two.sql").write_text(SECOND + "SELECT pg_sleep(11);\n")
    applied = at_once(3, lambda _: migrate(database, folder=folder))
    assert sorted(name for names in applied for name in names) == ["0001_one", "0002_two"]


def test_a_file_that_fails_leaves_nothing_of_itself_and_is_applied_when_it_was_mended(database, folder):
    (folder / "0002_two.sql").write_text(SECOND + "SELECT 1 / 0;\n")
    with pytest.raises(InvalidInput):
        migrate(database, folder=folder)
    assert pending(database, folder=folder) == ["0002_two"]
    assert database.read("SELECT to_regclass('treadle.two') AS there") == [{"there": None}]
    (folder / "0002_two.sql").write_text(SECOND)
    assert migrate(database, folder=folder) == ["0002_two"]


def test_an_applied_file_that_was_changed_or_taken_away_is_an_error(database, folder):
    migrate(database, folder=folder)
    (folder / "0001_one.sql").write_text(FIRST + "-- another thought\n")
    for ask in (migrate, pending, plan_sql):
        with pytest.raises(InvalidInput, match="0001"):
            ask(database, folder=folder)
    (folder / "0001_one.sql").unlink()
    with pytest.raises(InvalidInput, match="0001"):
        migrate(database, folder=folder)


def test_what_a_newer_treadle_has_applied_is_no_error_for_an_older_one(database, folder):
    migrate(database, folder=folder)
    (folder / "0002_two.sql").unlink()
    assert migrate(database, folder=folder) == []
    assert pending(database, folder=folder) == []


def test_a_number_that_was_left_out_is_applied_later(database, folder):
    (folder / "0001_one.sql").rename(folder / "kept")
    migrate(database, folder=folder)
    (folder / "kept").rename(folder / "0001_one.sql")
    assert migrate(database, folder=folder) == ["0001_one"]


@pytest.mark.parametrize("name", ["1_one.sql", "0003-one.sql", "0001_again.sql"])
def test_files_without_a_number_of_their_own_are_refused(folder, name):
    (folder / name).write_text(FIRST)
    with pytest.raises(InvalidInput):
        migrations(folder)


def test_line_ends_of_another_system_make_no_difference(folder):
    before = migrations(folder)
    (folder / "0001_one.sql").write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert [migration.sha256 for migration in migrations(folder)] == [migration.sha256 for migration in before]


def test_who_may_not_make_tables_is_told_who_may_and_the_printed_script_of_the_owner_suffices(conninfo, owner_conninfo, as_owner, folder):
    [(name,)] = as_owner("SELECT current_database()")
    as_owner(f"REVOKE CREATE ON DATABASE {name} FROM treadle")
    with Database(conninfo) as database:
        with pytest.raises(PermissionDenied) as refused:
            migrate(database, folder=folder)
        assert "treadle migrate --print" in refused.value.hint
        script = plan_sql(database, folder=folder)
        with psycopg.connect(owner_conninfo, autocommit=True) as owner:
            owner.execute(script)
        assert (migrate(database, folder=folder), plan_sql(database, folder=folder)) == ([], "")
        with database.transaction() as connection:
            connection.execute("INSERT INTO treadle.two VALUES (8)")
