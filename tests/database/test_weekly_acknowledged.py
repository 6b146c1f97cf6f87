"""What is acknowledged, on PostgreSQL: one row for each record of Salesforce, however its key is spelled from one run to the next."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

import treadle.control
from treadle.flows.weekly.acknowledged import record_outcomes, record_pending, refused_rows, write_acknowledged
from treadle.flows.weekly.ledger import Sync
from treadle.flows.weekly.row_outcomes import OUTCOME_SCHEMA
from treadle.flows.weekly.sync_cost import Guards
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY, Describe, DescribedField
from treadle.flows.weekly.sync_plan import SyncPlan, plan_sync
from treadle.flows.weekly.week import week_of

WEEK = week_of(date(2019, 12, 2))
TARGET = "00D000000000001/Customer_Weekly_Metric__c"
MIGRATION = Path(treadle.control.__file__).parent / "migrations" / "0009_weekly_one_row_a_record.sql"
FIELDS = {
    "External_Signal_Id__c": DescribedField("External_Signal_Id__c", "string", length=80, external_id=True),
    "External_Customer_Id__c": DescribedField("External_Customer_Id__c", "string", length=80),
    "Batch_Week_Start__c": DescribedField("Batch_Week_Start__c", "date"),
    "Batch_Week_End__c": DescribedField("Batch_Week_End__c", "date"),
    "Total_Spend_Week__c": DescribedField("Total_Spend_Week__c", "currency", precision=18, scale=2),
    "Activity_Count_Week__c": DescribedField("Activity_Count_Week__c", "double", precision=18),
    "Last_Activity_Time__c": DescribedField("Last_Activity_Time__c", "datetime"),
    "Customer_Tier__c": DescribedField("Customer_Tier__c", "string", length=80),
}
DESCRIBE = Describe(CUSTOMER_WEEKLY.object_name, FIELDS)


@dataclass
class Weekly:
    """Plans, and what Salesforce makes of them: it finds a record by its key in any case."""

    own: object
    folder: Path
    records: dict[str, tuple[str, Decimal]] = field(default_factory=dict)  # id and spend by folded key
    ids: Iterator[int] = field(default_factory=itertools.count)

    def plan(self, **spends: int) -> SyncPlan:
        known = write_acknowledged(self.own, TARGET, WEEK, CUSTOMER_WEEKLY, self.folder / "known.parquet")
        return plan_sync(_metrics(spends), known, DESCRIBE, CUSTOMER_WEEKLY, Guards(), folder=self.folder)

    def run(self, **spends: int) -> tuple[int, int, int]:
        plan = self.plan(**spends)
        rows = pl.read_parquet(plan.rows_path).filter(pl.col("action").is_in(["create", "update"]))
        outcomes = pl.DataFrame([self._upsert(row) for row in rows.iter_rows(named=True)], OUTCOME_SCHEMA, orient="row")
        record_outcomes(self.own, Sync(uuid4(), uuid4(), TARGET, WEEK), rows, outcomes, CUSTOMER_WEEKLY, folds_case=True)
        return plan.create, plan.update, plan.unchanged

    def _upsert(self, row) -> tuple[str, str, str, None, None]:
        key = row["external_id"].casefold()
        outcome = "updated" if key in self.records else "created"
        salesforce_id = self.records[key][0] if key in self.records else f"a0{next(self.ids)}"
        self.records[key] = (salesforce_id, row["Total_Spend_Week__c"])
        return row["external_id"], salesforce_id, outcome, None, None

    def spend(self, user: str) -> Decimal:
        return self.records[f"{user}_{WEEK.start}".casefold()][1]

    def rows(self) -> list[tuple[str, str, bool]]:
        found = self.own.read("SELECT external_id, salesforce_id, created_by_us FROM treadle.weekly_acknowledged ORDER BY external_id")
        return [(row["external_id"].removesuffix(f"_{WEEK.start}"), row["salesforce_id"], row["created_by_us"]) for row in found]

    def execute(self, statement: str) -> None:
        with self.own.transaction() as connection:
            connection.execute(statement)


def _metrics(spends: dict[str, int]) -> pl.LazyFrame:
    return pl.LazyFrame(
        {
            "external_customer_id": list(spends),
            "external_signal_id": [f"{user}_{WEEK.start}" for user in spends],
            "batch_week_start": [WEEK.start] * len(spends),
            "batch_week_end": [WEEK.end] * len(spends),
            "total_spend_week": pl.Series(list(spends.values()), dtype=pl.Decimal(38, 6)),
            "activity_count_week": [3] * len(spends),
            "last_activity_time": [datetime(2019, 12, 8, 23, 59, tzinfo=UTC)] * len(spends),
            "customer_tier": ["LOW"] * len(spends),
        }
    )


@pytest.fixture
def weekly(own, tmp_path) -> Weekly:
    with own.transaction() as connection:
        connection.execute("TRUNCATE treadle.weekly_acknowledged, treadle.weekly_refused")
    return Weekly(own, tmp_path)


@pytest.mark.parametrize(("one", "other"), [("Ab", "aB"), ("Straße", "STRASSE"), ("ÄB", "äb")])
def test_a_user_whose_spelling_changes_from_run_to_run_is_one_record_and_misses_no_update(weekly, one, other):
    assert weekly.run(**{one: 10}) == (1, 0, 0)
    for user, spend in ((other, 11), (one, 10), (other, 12)):
        assert weekly.run(**{user: spend}) == (0, 1, 0)
        assert weekly.spend(user) == spend
        assert weekly.run(**{user: spend}) == (0, 0, 1)
        assert weekly.rows() == [(user, "a00", True)]


def test_other_records_stay_acknowledged(weekly):
    weekly.run(Ab=10, b=1, ab2=2)
    assert weekly.run(aB=11, b=1, ab2=2) == (0, 1, 2)
    assert sorted(name for name, _, _ in weekly.rows()) == ["aB", "ab2", "b"]


def test_a_record_that_was_deleted_there_and_created_anew_under_another_spelling_has_one_row(weekly):
    weekly.run(Ab=10, b=1)
    weekly.records.pop(f"ab_{WEEK.start}")
    weekly.run(aB=11, b=1)
    assert [(name, salesforce_id) for name, salesforce_id, _ in weekly.rows()] == [("aB", "a02"), ("b", "a01")]


def test_keys_of_a_field_that_tells_case_apart_are_left_alone(weekly):
    rows = pl.read_parquet(weekly.plan(Ab=10).rows_path), pl.read_parquet(weekly.plan(aB=11).rows_path)
    for place, sent in enumerate(rows):
        outcomes = pl.DataFrame([(sent["external_id"][0], f"a0{place}", "created", None, None)], OUTCOME_SCHEMA, orient="row")
        record_outcomes(weekly.own, Sync(uuid4(), uuid4(), TARGET, WEEK), sent, outcomes, CUSTOMER_WEEKLY, folds_case=False)
    assert {name for name, _, _ in weekly.rows()} == {"Ab", "aB"}


def test_a_refusal_is_forgotten_once_the_record_is_acknowledged_under_any_spelling(weekly):
    rows = pl.read_parquet(weekly.plan(Ab=10).rows_path)
    reasons = pl.DataFrame(schema={"external_id": pl.String, "code": pl.String, "message": pl.String})
    record_pending(weekly.own, Sync(uuid4(), uuid4(), TARGET, WEEK), rows, reasons, CUSTOMER_WEEKLY)
    assert len(refused_rows(weekly.own, TARGET, WEEK)) == 1
    weekly.run(aB=11)
    assert refused_rows(weekly.own, TARGET, WEEK) == []


def test_two_rows_of_one_record_that_stand_already_are_written_anew_and_become_one(weekly):
    """No id says that they are one, so the migration has left both."""
    weekly.run(Ab=10)
    weekly.run(cD=11)
    weekly.execute(
        f"UPDATE treadle.weekly_acknowledged SET external_id = 'aB_{WEEK.start}', salesforce_id = NULL WHERE external_id LIKE 'cD%'"
    )
    weekly.records.pop(f"cd_{WEEK.start}")
    assert weekly.plan(Ab=10).kept == 0
    assert weekly.run(Ab=10) == (0, 1, 0)
    assert [name for name, _, _ in weekly.rows()] == ["Ab"]
    assert weekly.run(Ab=10) == (0, 0, 1)


def test_the_migration_keeps_the_newest_row_of_each_record(weekly):
    weekly.run(Ab=10, b=1)
    weekly.execute(
        f"""DROP INDEX treadle.weekly_acknowledged_record; DROP INDEX treadle.weekly_acknowledged_key;
        INSERT INTO treadle.weekly_acknowledged
        SELECT target, 'aB_{WEEK.start}', week_start, week_end, hash_scheme, row_hash_hi + 1, row_hash_lo, fields, salesforce_id, false, clock_timestamp(), sync_id
          FROM treadle.weekly_acknowledged WHERE external_id = 'Ab_{WEEK.start}'"""
    )
    weekly.execute(MIGRATION.read_text(encoding="utf-8"))
    assert weekly.rows() == [("aB", "a00", True), ("b", "a01", True)]
