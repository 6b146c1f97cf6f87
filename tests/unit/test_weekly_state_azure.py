"""The state on Azure SQL: its statements are T-SQL, its steps are one transaction each. No server has run them here."""

import struct
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
import sqlglot
from sqlglot import exp

from treadle.errors import Conflict, InvalidInput, OutcomeUnknown, Unavailable
from treadle.flows.weekly import state as postgres
from treadle.flows.weekly import state_azure
from treadle.flows.weekly.record import Stage, StageStatus
from treadle.flows.weekly.state_azure import SQL, TABLES_FILE, AzureState, bound, connector, token_bytes
from treadle.flows.weekly.week import week_of

WEEK = week_of(date(2019, 12, 2))
PROCEDURES = {"lock_week", "unlock_week", "one_begins"}  # EXEC of a system procedure, which the parser keeps as it is


@pytest.mark.parametrize("name", sorted(set(SQL) - PROCEDURES))
def test_every_statement_is_tsql(name):
    (tree,) = sqlglot.parse(SQL[name], dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE)
    assert not isinstance(tree, exp.Command), "the parser did not understand it"
    assert {table.db for table in tree.find_all(exp.Table) if table.name.startswith("pipeline_")} <= {"dbo"}


def test_both_databases_know_the_same_statements():
    only_here = {"now", "lock_week", "week_is_locked", "unlock_week", "checkpoint_to_move"}
    assert set(SQL) - only_here == set(postgres.SQL) - {"lock_checkpoint"}


def test_both_databases_write_the_same_columns():
    for name in ("begin_run", "end_run", "put_checkpoint"):
        tsql = sqlglot.parse_one(SQL[name], dialect="tsql")
        plain = sqlglot.parse_one(postgres.SQL[name].replace("%(", ":").replace(")s::", "::"), dialect="postgres")
        missing = {column.name for column in plain.find_all(exp.Column)} - {column.name for column in tsql.find_all(exp.Column)}
        assert missing <= {"status", "synced"} | {column.name for column in tsql.find_all(exp.Identifier)}, name


def test_the_tables_are_tsql_with_the_columns_that_installations_have():
    trees = sqlglot.parse(TABLES_FILE.read_text(), dialect="tsql")
    text = TABLES_FILE.read_text()
    assert text.count("CREATE TABLE dbo.") == 3
    assert text.count("WHERE status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS')") == 1
    assert [tree for tree in trees if tree is not None]
    for create in ("CREATE TABLE dbo.pipeline_run", "CREATE TABLE dbo.pipeline_stage", "CREATE TABLE dbo.pipeline_checkpoint"):
        body = text[text.index(create) :].split(";")[0]
        assert isinstance(sqlglot.parse_one(body, dialect="tsql"), exp.Create)


def test_values_travel_as_parameters_in_the_order_of_their_places():
    run_id = uuid4()
    text, values = bound(SQL["begin_stage"], {"run_id": run_id, "stage": Stage.LOAD})
    assert (text.count("?"), values) == (2, ("LOAD", str(run_id)))
    text, values = bound(SQL["lock_week"], {"resource": "week"})
    assert (values, "@granted = sp_getapplock @Resource = ?" in text) == (("week",), True)
    assert "'; DROP" not in bound("SELECT @name", {"name": "'; DROP TABLE x"})[0]


def test_a_token_is_sent_as_the_driver_wants_it():
    packed = token_bytes("ab")
    assert packed == struct.pack("<I", 4) + b"a\0b\0"


def test_without_the_driver_it_says_what_to_install():
    with pytest.raises(InvalidInput, match="driver is not installed") as refused:
        connector("server", "database", lambda _scope: "token")
    assert "azure-sql" in refused.value.hint


class Cursor:
    def __init__(self, connection):
        self.connection, self.description, self.rows = connection, None, []

    def execute(self, sql, values):
        self.connection.ran.append((sql, values))
        answer = self.connection.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.rows = answer
        self.description = [(name,) for name in answer[0]] if answer else None

    def nextset(self):
        return False

    def fetchall(self):
        return [tuple(row.values()) for row in self.rows]


class Connection:
    """Stands in for the driver: answers in order, and what was asked."""

    def __init__(self, *answers, commit_fails=False):
        self.answers, self.ran, self.ended, self.commit_fails = list(answers), [], [], commit_fails

    def cursor(self):
        return Cursor(self)

    def commit(self):
        if self.commit_fails:
            raise RuntimeError("link lost")
        self.ended.append("commit")

    def rollback(self):
        self.ended.append("rollback")

    def close(self):
        self.ended.append("close")


def test_a_statement_is_one_transaction_and_its_times_are_utc():
    connection = Connection([{"now": datetime(2026, 1, 1, 12)}])  # noqa: DTZ001 - as datetime2 arrives
    assert AzureState(lambda: connection, None).now().isoformat() == "2026-01-01T12:00:00+00:00"
    assert connection.ended == ["commit", "close"]


def test_overlapping_runs_are_asked_for_by_every_day_of_the_span():
    row = dict.fromkeys(["pipeline_end_time", *postgres._SAME_NAMES]) | {
        "run_id": str(UUID(int=7)), "batch_week_start": WEEK.start, "batch_week_end": WEEK.start, "status": "SUCCESS",
        "pipeline_start_time": datetime(2026, 1, 1), "synced": 1,  # noqa: DTZ001 - as datetime2 arrives
    }  # fmt: skip
    connection = Connection([row])
    (found,) = AzureState(lambda: connection, None).overlapping_runs(WEEK)
    assert (found.run_id, found.synced, found.week.end) == (UUID(int=7), True, WEEK.start)
    assert connection.ran[0][1] == (state_azure.PIPELINE, WEEK.end, WEEK.start, WEEK.start, WEEK.end)


def test_a_failure_rolls_back_and_is_told_by_what_the_caller_can_do():
    refused = Connection([{"granted": 0}], [], RuntimeError("Cannot insert duplicate key row ... (2601)"))
    with pytest.raises(Conflict, match="Another run of the week"):
        AzureState(lambda: refused, None).begin_run(postgres.NewRun(uuid4(), WEEK, "ada", None, Decimal(5)))
    assert refused.ended == ["rollback", "close"]
    away = Connection(RuntimeError("login timeout"))
    with pytest.raises(Unavailable, match="login timeout"):
        AzureState(lambda: away, None).checkpoint()
    torn = Connection([{"now": datetime(2026, 1, 1)}], commit_fails=True)  # noqa: DTZ001
    with pytest.raises(OutcomeUnknown):
        AzureState(lambda: torn, None).now()
    gone = Connection([])
    with pytest.raises(Conflict, match="has ended"):
        AzureState(lambda: gone, None).end_stage(UUID(int=1), Stage.LOAD, StageStatus.SUCCESS)
    assert gone.ended == ["rollback", "close"]


def test_one_run_begins_at_a_time_and_none_beside_one_of_another_span():
    new = postgres.NewRun(uuid4(), WEEK, "ada", None, Decimal(5))
    waited = Connection([{"granted": -1}])
    with pytest.raises(Conflict, match="Another run of the week"):
        AzureState(lambda: waited, None).begin_run(new)
    assert waited.ended == ["rollback", "close"]
    other = dict.fromkeys(["pipeline_end_time", *postgres._SAME_NAMES]) | {
        "run_id": str(UUID(int=7)), "batch_week_start": WEEK.start, "batch_week_end": WEEK.start, "status": "STARTED",
        "pipeline_start_time": datetime(2026, 1, 1), "synced": 0,  # noqa: DTZ001 - as datetime2 arrives
    }  # fmt: skip
    beside = Connection([{"granted": 0}], [other])
    with pytest.raises(Conflict, match="shares days with 2019-12-02…2019-12-02"):
        AzureState(lambda: beside, None).begin_run(new)
    assert beside.ran[0][1] == (f"treadle:weekly:begin:{state_azure.PIPELINE}",)


def test_the_lock_of_a_week_belongs_to_its_session():
    held = Connection([{"granted": 0}], [{"mode": "Exclusive"}], RuntimeError("link lost"), [])
    lock = AzureState(lambda: held, None).lock_week(WEEK)
    assert lock
    assert (lock.alive(), lock.alive()) == (True, False)
    lock.release()
    lock.release()
    assert held.ended[-1] == "close"
    assert held.ran[0][1] == (f"treadle:weekly:{state_azure.PIPELINE}:2019-12-02:2019-12-08",)
    assert AzureState(lambda: Connection([{"granted": -1}]), None).lock_week(WEEK) is None
