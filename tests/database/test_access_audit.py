"""The audit: a chain that shows whatever was done to it afterwards."""

import json
from datetime import UTC
from uuid import uuid4

import psycopg
import pytest
import structlog
from control_trials import at_once
from psycopg.conninfo import make_conninfo

from treadle.control import audit
from treadle.control.access import Principal, Role, local_principal
from treadle.control.audit import audited, entry_hash, list_audit, record, verify
from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.errors import Conflict, InvalidInput, PermissionDenied
from treadle.logs import hide_secrets

ADA = local_principal("ada", Role.ADMIN)
OFF = "ALTER TABLE treadle.audit DISABLE TRIGGER ALL; ALTER TABLE treadle.audit_head DISABLE TRIGGER ALL;"


@pytest.fixture
def own(database: Database) -> Database:
    migrate(database)
    return database


@pytest.fixture
def chain(own: Database) -> Database:
    """Five entries."""
    for number in range(1, 6):
        record(own, ADA, "run.start", f"run:{number}", "asked", details={"file": f"{number}.csv"})
    return own


def test_an_empty_audit_holds(own):
    report = verify(own)
    assert (report.entries, report.first_bad) == (0, None)
    assert verify(own, report.head).first_bad is None


def test_a_change_is_asked_before_and_done_after_and_both_name_who(own):
    with structlog.contextvars.bound_contextvars(correlation_id="c-1"), audited(own, ADA, "run.start", "run:1", {"file": "a.csv"}) as entry:
        assert [one.outcome for one in list_audit(own).entries] == ["asked"]
        entry.note(job="j1")
    done, asked = list_audit(own).entries
    assert (asked.outcome, asked.details, asked.asked) == ("asked", {"file": "a.csv"}, None)
    assert (done.outcome, done.details, done.asked) == ("done", {"job": "j1"}, asked.number)
    assert {(one.subject, one.name, one.role, one.via, one.action, one.target, one.correlation_id) for one in (asked, done)} == {
        ("local:ada", "ada", "admin", "local", "run.start", "run:1", "c-1")
    }
    assert asked.at.tzinfo is UTC
    assert asked.at <= done.at
    assert verify(own).first_bad is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Conflict("It is held."), "failed"), (PermissionDenied("You may not."), "refused"), (KeyboardInterrupt(), "failed")],
)
def test_what_goes_wrong_is_said_and_raised_on(own, error, outcome):
    with pytest.raises(type(error)), audited(own, ADA, "run.start", "run:1"):
        raise error
    closed = list_audit(own).entries[0]
    assert (closed.outcome, closed.details["error"]) == (outcome, type(error).__name__)


def test_what_crashed_half_way_is_found_as_unfinished(own):
    lost = record(own, ADA, "lock.release", "lock", "asked")
    with audited(own, ADA, "run.start", "run:1"):
        pass
    assert [one.number for one in list_audit(own, unfinished=True).entries] == [lost]


def test_nothing_is_carried_out_that_cannot_be_audited(database):
    with pytest.raises(InvalidInput) as refused, audited(database, ADA, "run.start", "run:1"):
        pytest.fail("it was carried out")
    assert refused.value.hint == "run: treadle migrate"


def test_a_closing_entry_that_cannot_be_written_does_not_undo_the_change(own, as_owner):
    with structlog.testing.capture_logs() as logs, audited(own, ADA, "run.start", "run:1"), own.transaction() as connection:
        connection.execute("ALTER TABLE treadle.audit_head RENAME TO audit_head_away")
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["audit.outcome_not_recorded"]


def test_secrets_do_not_reach_the_audit(own, as_owner):
    hide_secrets(["hush-hush-secret"])
    with audited(
        own, ADA, "file.upload", "file:hush-hush-secret.csv", {"note": "hush-hush-secret", "url": "https://x/?sig=abcdefgh"}
    ) as entry:
        entry.note(header="Bearer abcdefghijklmnop")
    stored = str(as_owner("SELECT * FROM treadle.audit"))
    assert "hush-hush-secret" not in stored
    assert "abcdefgh" not in stored


@pytest.mark.parametrize("text", ["Zoë ∑ \U0001f512", "a\0b", "line\nbreak", "\ud800", '"; DROP TABLE treadle.audit; --'])
def test_any_text_can_be_recorded_and_still_verifies(own, text):
    who = Principal("oidc:i|s", text.replace("\0", "").strip() or "x", None, "oidc")
    record(own, who, "run.start", f"run:{text}", "refused", details={"text": text, text: [1, 2.5, None, True, {"deep": text}]})
    assert verify(own).first_bad is None


def test_parallel_writers_leave_no_gap(own):
    results = at_once(16, lambda number: [record(own, ADA, "run.start", f"run:{number}", "asked") for _ in range(5)])
    numbers = sorted(number for some in results for number in some)
    assert numbers == list(range(1, 81))
    assert verify(own).first_bad is None
    assert verify(own).entries == 80


def test_a_rolled_back_writer_leaves_no_gap(own):
    def write_and_roll_back(connection) -> None:
        audit._append(connection, _values())
        raise RuntimeError

    record(own, ADA, "a", "x", "asked")
    with pytest.raises(RuntimeError), own.transaction() as connection:
        write_and_roll_back(connection)
    assert record(own, ADA, "a", "x", "asked") == 2
    assert verify(own).first_bad is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE treadle.audit SET name = 'nobody'",
        "UPDATE treadle.audit SET name = 'nobody' WHERE number = 3",
        "UPDATE treadle.audit SET name = name WHERE false",
        "DELETE FROM treadle.audit WHERE number = 5",
        "DELETE FROM treadle.audit",
        "TRUNCATE treadle.audit",
        "TRUNCATE treadle.audit CASCADE",
        "DELETE FROM treadle.audit_head",
        "TRUNCATE treadle.audit_head",
        "UPDATE treadle.audit_head SET number = 4",
        "UPDATE treadle.audit_head SET hash = repeat('1', 64)",
        "MERGE INTO treadle.audit AS t USING (SELECT 1) AS s ON t.number = 1 WHEN MATCHED THEN DELETE",
        "SET session_replication_role = replica; DELETE FROM treadle.audit",
    ],
)
def test_no_row_is_changed_or_removed_not_even_by_the_owner(chain, conninfo, owner_conninfo, statement):
    for who in (conninfo, owner_conninfo):
        with psycopg.connect(who, autocommit=True) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
    assert verify(chain).entries == 5


def test_the_rights_that_the_how_to_names_are_enough(chain, as_owner, owner_conninfo):
    """docs/how-to/sign-in-and-roles.md tells a database's owner to give the application no more than this."""
    role = f"writer_{uuid4().hex[:8]}"
    as_owner(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA treadle TO {role}")
    as_owner(f"GRANT SELECT, INSERT ON treadle.audit TO {role}; GRANT SELECT, UPDATE ON treadle.audit_head TO {role}")
    with Database(make_conninfo(owner_conninfo, options=f"-c role={role}"), pool_size=2) as restricted:
        with audited(restricted, ADA, "run.start", "run:9"):
            pass
        assert len(list_audit(restricted, target="run:9").entries) == 2
        assert verify(restricted).entries == 7
        with pytest.raises(PermissionDenied), restricted.transaction() as connection:
            connection.execute("ALTER TABLE treadle.audit DISABLE TRIGGER ALL")
    as_owner(f"DROP OWNED BY {role}; DROP ROLE {role}")


TAMPERED = {
    "a changed name": ("UPDATE treadle.audit SET name = 'bob' WHERE number = 3", 3),
    "a changed time": ("UPDATE treadle.audit SET at = at + interval '1 microsecond' WHERE number = 2", 2),
    "changed details": ('UPDATE treadle.audit SET details = \'{"file":"x.csv"}\' WHERE number = 4', 4),
    "a changed outcome": ("UPDATE treadle.audit SET outcome = 'refused' WHERE number = 1", 1),
    "a role made up": ("UPDATE treadle.audit SET role = 'viewer' WHERE number = 5", 5),
    "a null in place of a text": ("UPDATE treadle.audit SET role = NULL WHERE number = 5", 5),
    "a removed entry": ("DELETE FROM treadle.audit WHERE number = 3", 3),
    "a removed beginning": ("DELETE FROM treadle.audit WHERE number = 1", 1),
    "two entries in each other's place": (
        """UPDATE treadle.audit SET number = 6 WHERE number = 2; UPDATE treadle.audit SET number = 2 WHERE number = 3;
           UPDATE treadle.audit SET number = 3 WHERE number = 6""",
        2,
    ),
    "an entry closed up": (
        """DELETE FROM treadle.audit WHERE number = 2; UPDATE treadle.audit SET number = 2 WHERE number = 3;
           UPDATE treadle.audit SET number = 3 WHERE number = 4; UPDATE treadle.audit SET number = 4 WHERE number = 5""",
        2,
    ),
    "a tail cut off": ("DELETE FROM treadle.audit WHERE number > 3", 4),
    "everything removed": ("DELETE FROM treadle.audit", 1),
    "an entry put behind the head": (
        """INSERT INTO treadle.audit SELECT 6, at, subject, name, role, via, action, target, outcome, details, correlation_id, asked, hash,
           repeat('a', 64) FROM treadle.audit WHERE number = 5""",
        6,
    ),
    "a head set back without its tail": ("UPDATE treadle.audit_head SET number = 3", 6),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_verify_names_the_first_entry_that_was_tampered_with(chain, as_owner, what):
    statement, first = TAMPERED[what]
    as_owner(OFF + statement)
    found = verify(chain).first_bad
    assert found is not None
    assert found.number == first, found.reason


def test_a_tail_cut_off_together_with_the_head_shows_against_a_head_kept_elsewhere(chain, as_owner):
    head = verify(chain).head
    as_owner(
        OFF
        + "DELETE FROM treadle.audit WHERE number > 3; UPDATE treadle.audit_head SET (number, hash) = (SELECT number, hash FROM treadle.audit WHERE number = 3)"
    )
    assert verify(chain).first_bad is None
    found = verify(chain, head).first_bad
    assert found is not None
    assert found.number == 4
    assert "cut off" in found.reason


def test_a_chain_rewritten_whole_shows_against_a_head_kept_elsewhere(chain, as_owner):
    head = verify(chain).head
    rows = chain.read("SELECT * FROM treadle.audit ORDER BY number")
    last, statements = "0" * 64, []
    for row in rows:
        forged = {**row, "name": "bob", "previous_hash": last}
        last = entry_hash(forged)
        statements.append(
            f"UPDATE treadle.audit SET name = 'bob', previous_hash = '{forged['previous_hash']}', hash = '{last}' WHERE number = {row['number']}"
        )
    as_owner(OFF + ";".join([*statements, f"UPDATE treadle.audit_head SET hash = '{last}'"]))
    assert verify(chain).first_bad is None
    found = verify(chain, head).first_bad
    assert found is not None
    assert found.number == 5


def test_the_chain_may_have_grown_since_a_head_was_kept(chain):
    head = verify(chain).head
    record(chain, ADA, "run.start", "run:6", "asked")
    assert verify(chain, head).first_bad is None


@pytest.mark.parametrize("head", ["", " ", "5", "5:xyz", "-1:" + "0" * 64, "5:" + "0" * 63, "99999999999999999999999:" + "0" * 64])
def test_a_malformed_head_is_refused(chain, head):
    if not head:
        assert verify(chain, head).first_bad is None
        return
    with pytest.raises(InvalidInput, match="number:hash"):
        verify(chain, head)


def test_the_chain_can_be_verified_while_others_write(chain):
    def work(number: int) -> object:
        return verify(chain).first_bad if number % 2 else [record(chain, ADA, "a", "x", "asked") for _ in range(10)]

    assert [result for number, result in enumerate(at_once(8, work)) if number % 2] == [None] * 4


def test_entries_are_listed_newest_first_in_pages_and_by_filter(chain):
    record(chain, local_principal("olga", Role.OPERATOR), "lock.release", "lock", "refused")
    first = list_audit(chain, limit=4)
    rest = list_audit(chain, limit=4, before=first.next)
    assert [one.number for one in (*first.entries, *rest.entries)] == [6, 5, 4, 3, 2, 1]
    assert (first.next, rest.next) == (3, None)
    assert [one.number for one in list_audit(chain, name="olga").entries] == [6]
    assert [one.number for one in list_audit(chain, target="run:3", action="run.start", outcome="asked").entries] == [3]
    assert list_audit(chain, target="%").entries == ()
    for limit in (0, 501):
        with pytest.raises(InvalidInput):
            list_audit(chain, limit=limit)


def _values() -> dict:
    return {
        "subject": "s",
        "name": "n",
        "role": None,
        "via": "local",
        "action": "a",
        "target": "t",
        "outcome": "asked",
        "details": json.dumps({}),
        "correlation_id": None,
        "asked": None,
    }
