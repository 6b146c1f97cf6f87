"""The plan of a sync: what differs, what Salesforce would refuse, what it costs, and when it must not be carried out."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.errors import InvalidInput, UnexpectedAnswer
from treadle.flows.weekly.row_hash import row_hashes
from treadle.flows.weekly.sync_cost import Channel, Guards, Limits, check_guards, estimate_cost, read_limits
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY, NullPolicy, describe_drift, read_describe
from treadle.flows.weekly.sync_plan import RowChange, clears, describe_changes, mark_refused, plan_sync, to_acknowledge

METRICS = {
    "external_customer_id": pl.String,
    "external_signal_id": pl.String,
    "batch_week_start": pl.Date,
    "batch_week_end": pl.Date,
    "total_spend_week": pl.Decimal(38, 6),
    "activity_count_week": pl.Int64,
    "last_activity_time": pl.Datetime("us", "UTC"),
    "customer_tier": pl.String,
}
TIERS = [{"value": value, "active": True} for value in ("HIGH", "MEDIUM", "LOW")] + [{"value": "GOLD", "active": False}]
ANSWER = {
    "name": "Customer_Weekly_Metric__c",
    "fields": [
        {"name": "Id", "type": "id", "length": 18, "createable": False, "updateable": False, "nillable": False, "defaultedOnCreate": True},
        {"name": "External_Signal_Id__c", "type": "string", "length": 80, "externalId": True, "unique": True},
        {"name": "External_Customer_Id__c", "type": "string", "length": 20},
        {"name": "Batch_Week_Start__c", "type": "date"},
        {"name": "Batch_Week_End__c", "type": "date"},
        {"name": "Total_Spend_Week__c", "type": "currency", "precision": 18, "scale": 2},
        {"name": "Activity_Count_Week__c", "type": "double", "precision": 8, "scale": 0},
        {"name": "Last_Activity_Time__c", "type": "datetime"},
        {"name": "Customer_Tier__c", "type": "picklist", "length": 255, "restrictedPicklist": True, "picklistValues": TIERS},
    ],
}
DESCRIBE = read_describe(ANSWER)
NO_GUARDS = Guards()
SEEN = datetime(2019, 12, 8, 23, 59, 59, 123456, tzinfo=UTC)


def _with_field(name, **facts):
    return replace(DESCRIBE, fields={**DESCRIBE.fields, name: replace(DESCRIBE.fields[name], **facts)})


def _metrics(*changes, count=3):
    rows = [
        {
            "external_customer_id": f"{number:03}",
            "external_signal_id": f"{number:03}_2019-12-02",
            "batch_week_start": date(2019, 12, 2),
            "batch_week_end": date(2019, 12, 8),
            "total_spend_week": Decimal("10.000000"),
            "activity_count_week": number,
            "last_activity_time": SEEN,
            "customer_tier": "LOW",
        }
        for number in range(count)
    ]
    for place, change in changes:
        rows[place] |= change
    return pl.LazyFrame(rows, METRICS)


def _policy(field, policy):
    rules = tuple(replace(rule, null_policy=policy) if rule.target == field else rule for rule in CUSTOMER_WEEKLY.rules)
    return replace(CUSTOMER_WEEKLY, rules=rules)


@pytest.fixture
def plan(tmp_path):
    def plan(metrics, acknowledged, *, describe=DESCRIBE, mapping=CUSTOMER_WEEKLY, guards=NO_GUARDS, **options):
        return plan_sync(metrics, acknowledged, describe, mapping, guards, folder=tmp_path / "sync", **options)

    return plan


@pytest.fixture
def acknowledged(plan, tmp_path):
    """What is acknowledged after all of these metrics were sent."""

    def acknowledged(metrics, mapping=CUSTOMER_WEEKLY, *, before=None, created_by_us=True):
        sent = plan(metrics, _nothing() if before is None else before, mapping=mapping)
        rows = to_acknowledge(pl.scan_parquet(sent.rows_path).filter(pl.col("action").is_in(["create", "update"])), mapping)
        return rows.with_columns(created_by_us=pl.lit(created_by_us)).collect().lazy()

    return acknowledged


def _nothing():
    return pl.LazyFrame(schema={"external_id": pl.String, "row_hash_hi": pl.Int64, "row_hash_lo": pl.Int64, "created_by_us": pl.Boolean})


def _counts(plan):
    return {name: getattr(plan, name) for name in ("create", "update", "unchanged", "blocked", "kept") if getattr(plan, name)}


def _rows(plan):
    return pl.read_parquet(plan.rows_path)


def test_everything_is_created_the_first_time_and_nothing_is_sent_the_second(plan, acknowledged):
    first = plan(_metrics(), _nothing())
    assert _counts(first) == {"create": 3}
    assert first.cost.channel is Channel.COLLECTIONS
    second = plan(_metrics(), acknowledged(_metrics()))
    assert _counts(second) == {"unchanged": 3}
    assert second.cost.channel is Channel.NOTHING
    assert _rows(second).is_empty()


def test_a_changed_row_is_updated_and_says_old_and_new(plan, acknowledged):
    before = acknowledged(_metrics())
    after = plan(_metrics((1, {"total_spend_week": Decimal("5000.125"), "customer_tier": "HIGH"})), before)
    assert _counts(after) == {"update": 1, "unchanged": 2}
    assert after.changed_fields == {"Customer_Tier__c": 1, "Total_Spend_Week__c": 1}
    (change,), total = describe_changes(after.rows_path, CUSTOMER_WEEKLY)
    assert total == 1
    assert [(field.field, field.old, field.new) for field in change.changes] == [
        ("Total_Spend_Week__c", "10.00", "5000.12"),
        ("Customer_Tier__c", "LOW", "HIGH"),
    ]


def test_what_the_field_cannot_show_is_no_change(plan, acknowledged):
    """Spend is compared as the field holds it – half a cent to even – and a moment to the millisecond."""
    before = acknowledged(_metrics())
    alike = {"total_spend_week": Decimal("10.005"), "last_activity_time": SEEN.replace(microsecond=123999)}
    assert _counts(plan(_metrics((0, alike)), before)) == {"unchanged": 3}
    assert _counts(plan(_metrics((0, {"total_spend_week": Decimal("10.005001")})), before)) == {"update": 1, "unchanged": 2}


@pytest.mark.parametrize("folded", [True, False])
def test_keys_match_as_salesforce_matches_them(plan, acknowledged, folded):
    describe = DESCRIBE if folded else _with_field("External_Signal_Id__c", case_sensitive=True)
    before = acknowledged(_metrics((0, {"external_signal_id": "ABC_2019-12-02"})))
    after = plan(_metrics((0, {"external_signal_id": "abc_2019-12-02"})), before, describe=describe)
    assert _counts(after) == ({"unchanged": 3} if folded else {"create": 1, "unchanged": 2, "kept": 1})


@pytest.mark.parametrize(
    ("change", "rule", "field"),
    [
        ({"external_customer_id": "x" * 21}, "text_too_long", "External_Customer_Id__c"),
        ({"external_signal_id": "x" * 81}, "text_too_long", "External_Signal_Id__c"),
        ({"external_customer_id": "a\0b"}, "control_character", "External_Customer_Id__c"),
        ({"external_signal_id": "a\0b_2019-12-02"}, "control_character", "External_Signal_Id__c"),
        ({"external_customer_id": "#N/A"}, "reserved_text", "External_Customer_Id__c"),
        ({"total_spend_week": Decimal(10**16)}, "number_out_of_range", "Total_Spend_Week__c"),
        ({"total_spend_week": Decimal("9999999999999999.995")}, "number_out_of_range", "Total_Spend_Week__c"),
        ({"activity_count_week": 10**8}, "number_out_of_range", "Activity_Count_Week__c"),
        ({"customer_tier": "GOLD"}, "picklist_value", "Customer_Tier__c"),
    ],
)
def test_a_row_that_salesforce_would_refuse_is_blocked_with_the_reason(plan, acknowledged, change, rule, field):
    for before in (_nothing(), acknowledged(_metrics())):
        made = plan(_metrics((1, change)), before)
        assert made.blocked == 1
        assert made.blocked_by_rule == {rule: 1}
        (row,), _ = describe_changes(made.rows_path, CUSTOMER_WEEKLY, action="blocked")
        assert [(problem.rule, problem.field) for problem in row.problems] == [(rule, field)]
        assert row.problems[0].value == str(next(iter(change.values()))) or rule == "number_out_of_range"


def test_all_problems_of_a_row_are_told_and_others_go_on(plan):
    made = plan(_metrics((2, {"customer_tier": "GOLD", "activity_count_week": 10**9})), _nothing())
    assert _counts(made) == {"create": 2, "blocked": 1}
    (row,), _ = describe_changes(made.rows_path, CUSTOMER_WEEKLY, field_name="Customer_Tier__c")
    assert {problem.rule for problem in row.problems} == {"picklist_value", "number_out_of_range"}


def test_the_greatest_amount_that_fits_is_sent(plan):
    assert _counts(plan(_metrics((0, {"total_spend_week": Decimal("9999999999999999.99")})), _nothing())) == {"create": 3}


def test_a_required_field_blocks_a_row_without_it(plan):
    made = plan(_metrics((0, {"customer_tier": None})), _nothing(), describe=_with_field("Customer_Tier__c", nillable=False))
    assert made.blocked_by_rule == {"required": 1}


def test_what_may_not_be_created_or_updated_blocks_that_action_alone(plan, acknowledged):
    before = acknowledged(_metrics())
    metrics = _metrics((0, {"customer_tier": "HIGH"}), (1, {"external_signal_id": "new"}))
    read_only = plan(metrics, before, describe=_with_field("Customer_Tier__c", updateable=False))
    assert (_counts(read_only), read_only.blocked_by_rule) == (
        {"create": 1, "blocked": 1, "unchanged": 1, "kept": 1},
        {"not_updateable": 1},
    )
    no_create = plan(metrics, before, describe=_with_field("Customer_Tier__c", createable=False))
    assert (_counts(no_create), no_create.blocked_by_rule) == (
        {"update": 1, "blocked": 1, "unchanged": 1, "kept": 1},
        {"not_createable": 1},
    )
    owner = replace(DESCRIBE.fields["Customer_Tier__c"], name="Region__c", nillable=False)
    missing = plan(metrics, before, describe=replace(DESCRIBE, fields={**DESCRIBE.fields, "Region__c": owner}))
    assert (_counts(missing), missing.blocked_by_rule) == (
        {"update": 1, "blocked": 1, "unchanged": 1, "kept": 1},
        {"required_on_create": 1},
    )


@pytest.mark.parametrize(
    ("describe", "told"),
    [
        (_with_field("External_Signal_Id__c", external_id=False), "not marked as an External ID"),
        (_with_field("Customer_Tier__c", calculated=True), "Customer_Tier__c is calculated"),
        (_with_field("Batch_Week_Start__c", kind="datetime"), "Batch_Week_Start__c is a datetime"),
        (
            replace(DESCRIBE, fields={name: field for name, field in DESCRIBE.fields.items() if name != "Customer_Tier__c"}),
            "no field Customer_Tier__c",
        ),
    ],
)
def test_a_mapping_that_fits_no_row_is_refused(plan, describe, told):
    with pytest.raises(InvalidInput, match=told):
        plan(_metrics(), _nothing(), describe=describe)


def test_a_description_without_fields_is_an_unexpected_answer():
    with pytest.raises(UnexpectedAnswer, match="fields"):
        read_describe({"name": "X"})


def test_keys_that_are_one_to_salesforce_are_blocked_and_the_rest_is_sent(plan):
    metrics = _metrics((0, {"external_signal_id": "A_2019-12-02"}), (2, {"external_signal_id": "a_2019-12-02"}), count=5)
    made = plan(metrics, _nothing())
    assert (_counts(made), made.blocked_by_rule) == ({"create": 3, "blocked": 2}, {"key_collides": 2})
    found, _ = describe_changes(made.rows_path, CUSTOMER_WEEKLY, action="blocked")
    told = [(row.external_id, row.problems[0].field, row.problems[0].value, row.problems[0].reason) for row in found]
    reason = "Salesforce ignores the case of this field, and would take it for {}, which is another row"
    assert told == [
        ("A_2019-12-02", "External_Signal_Id__c", "A_2019-12-02", reason.format("a_2019-12-02")),
        ("a_2019-12-02", "External_Signal_Id__c", "a_2019-12-02", reason.format("A_2019-12-02")),
    ]
    assert _counts(plan(metrics, _nothing(), describe=_with_field("External_Signal_Id__c", case_sensitive=True))) == {"create": 5}


@pytest.mark.parametrize(("one", "other"), [("Straße", "STRASSE"), ("ςΣ", "Σσ"), ("ﬁx", "FIX")])
def test_keys_that_salesforce_may_take_for_one_are_blocked_too(plan, one, other):
    made = plan(_metrics((0, {"external_signal_id": one}), (2, {"external_signal_id": other}), count=5), _nothing())
    assert (_counts(made), made.blocked_by_rule) == ({"create": 3, "blocked": 2}, {"key_collides": 2})


@pytest.mark.parametrize("newest", ["Ab", "aB"])
def test_acknowledged_rows_of_one_record_are_no_reason_to_send_nothing(plan, acknowledged, newest):
    """Which of them the record holds cannot be told, so it is written, once, whatever the metrics say."""
    first, second = ({"external_signal_id": key, "total_spend_week": Decimal(spend)} for key, spend in (("Ab", 10), ("aB", 11)))
    both = pl.concat([acknowledged(_metrics((0, first))), acknowledged(_metrics((0, second), count=1))])
    for spend in (10, 11, 12):
        made = plan(_metrics((0, {"external_signal_id": newest, "total_spend_week": Decimal(spend)})), both)
        assert _counts(made) == {"update": 1, "unchanged": 2}
        assert _rows(made)["external_id"].to_list() == [newest]
    assert _counts(plan(_metrics(count=3).slice(1), both)) == {"unchanged": 2, "kept": 1}
    told_apart = plan(_metrics((0, first)), both, describe=_with_field("External_Signal_Id__c", case_sensitive=True))
    assert _counts(told_apart) == {"unchanged": 3, "kept": 1}


def test_a_collision_with_what_is_acknowledged_neither_overwrites_nor_hides_what_is_gone(plan, acknowledged):
    before = acknowledged(_metrics((0, {"external_signal_id": "ab1"}), count=4))
    metrics = _metrics((0, {"external_signal_id": "AB1"}), (1, {"external_signal_id": "Ab1"}), (2, {"external_signal_id": "ab1"}))
    made = plan(metrics, before)
    assert (made.blocked_by_rule, made.kept, made.create, made.update) == ({"key_collides": 3}, 3, 0, 0)
    found, _ = describe_changes(made.rows_path, CUSTOMER_WEEKLY, action="blocked")
    assert [row.problems[0].reason.split(" for ")[1].split(",")[0] for row in found] == ["Ab1", "AB1", "AB1"]


def test_a_collision_is_told_beside_what_else_is_wrong_with_the_row(plan):
    bad = {"external_signal_id": "A_2019-12-02", "customer_tier": "GOLD"}
    made = plan(_metrics((0, bad), (2, {"external_signal_id": "a_2019-12-02"})), _nothing())
    (row, _), _ = describe_changes(made.rows_path, CUSTOMER_WEEKLY, action="blocked")
    assert [problem.rule for problem in row.problems] == ["picklist_value", "key_collides"]


def test_a_key_that_is_null_or_occurs_twice_is_refused(plan):
    with pytest.raises(InvalidInput, match="1 rows of the metrics have no external_signal_id"):
        plan(_metrics((0, {"external_signal_id": None})), _nothing())
    with pytest.raises(InvalidInput, match="000_2019-12-02 = 000_2019-12-02") as refused:
        plan(_metrics((1, {"external_signal_id": "000_2019-12-02"})), _nothing())
    assert refused.value.details["colliding_keys"] == [["000_2019-12-02", "000_2019-12-02"]]
    with pytest.raises(InvalidInput, match="1 keys of the metrics stand for several rows"):
        plan(_metrics(*((place, {"external_signal_id": key}) for place, key in enumerate(("x", "x", "X")))), _nothing())


@pytest.mark.parametrize(
    ("policy", "old", "new", "sent", "held"),
    [
        (NullPolicy.CLEAR, "LOW", None, None, None),
        (NullPolicy.LEAVE, "LOW", "HIGH", "HIGH", "HIGH"),
        (NullPolicy.LEAVE, "LOW", None, None, "LOW"),
        (NullPolicy.FILL_IF_EMPTY, "LOW", "HIGH", None, "LOW"),
        (NullPolicy.FILL_IF_EMPTY, None, "HIGH", "HIGH", "HIGH"),
    ],
)
def test_each_field_has_its_own_meaning_of_null(plan, acknowledged, policy, old, new, sent, held):
    mapping = _policy("Customer_Tier__c", policy)
    before = acknowledged(_metrics((0, {"customer_tier": old})), mapping)
    changed = _metrics((0, {"customer_tier": new, "activity_count_week": 77}))
    after = plan(changed, before, mapping=mapping)
    assert _counts(after) == {"update": 1, "unchanged": 2}
    assert _rows(after)["Customer_Tier__c"].to_list() == [sent]
    assert ("Customer_Tier__c" in clears(mapping)) is (policy is NullPolicy.CLEAR)
    then = acknowledged(changed, mapping, before=before).collect()
    assert then["Customer_Tier__c"].to_list() == [held]
    assert then.select(row_hashes(then.select(mapping.fields))["row_hash_lo"] == pl.col("row_hash_lo")).to_series().all()
    whole = pl.concat([then, before.filter(pl.col("external_id") != "000_2019-12-02").collect()]).lazy()
    assert _counts(plan(changed, whole, mapping=mapping)) == {"unchanged": 3}


def test_acknowledged_values_may_be_stored_as_text(plan, acknowledged):
    before = acknowledged(_metrics())
    moment = pl.col("Last_Activity_Time__c").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    text = before.with_columns(moment, pl.col(pl.Decimal, pl.Date, pl.Int64).exclude("row_hash_hi", "row_hash_lo").cast(pl.String))
    made = plan(_metrics((0, {"activity_count_week": 5})), text)
    assert made.changed_fields == {"Activity_Count_Week__c": 1}


def test_hashes_of_another_scheme_are_no_reason_to_send(plan, acknowledged):
    before = acknowledged(_metrics()).with_columns(row_hash_hi=pl.lit(1, pl.Int64), hash_scheme=pl.lit(0))
    assert _counts(plan(_metrics(), before)) == {"unchanged": 3}


def test_a_field_that_joins_the_mapping_is_sent(plan, acknowledged):
    assert plan(
        _metrics(), acknowledged(_metrics()).drop("Customer_Tier__c").with_columns(row_hash_hi=pl.lit(1, pl.Int64))
    ).changed_fields == {"Customer_Tier__c": 3}


def test_records_that_the_metrics_no_longer_have_are_counted_and_stay(plan, acknowledged):
    kept = plan(_metrics(), acknowledged(_metrics(count=5)))
    assert _counts(kept) == {"unchanged": 3, "kept": 2}
    assert _rows(kept).is_empty()


def test_the_digest_seals_rows_mapping_and_policy(plan, acknowledged):
    before, metrics = acknowledged(_metrics(count=4)), _metrics((0, {"activity_count_week": 9}), count=3)
    sealed = plan(metrics, before).digest
    assert plan(metrics, before).digest == sealed
    others = [
        plan(_metrics((0, {"activity_count_week": 8})), before),
        plan(metrics, before, mapping=_policy("Customer_Tier__c", NullPolicy.LEAVE)),
        plan(metrics, _nothing()),
    ]
    assert len({sealed, *(other.digest for other in others)}) == 4


def test_guards_trip_by_share_and_when_they_cannot_be_evaluated(plan, acknowledged):
    before, metrics = acknowledged(_metrics(count=4)), _metrics((0, {"activity_count_week": 9}))
    assert plan(metrics, before, guards=Guards(max_update_pct=25)).trips == ()
    (trip,) = plan(metrics, before, guards=Guards(max_update_pct=24.9)).trips
    assert (trip.guard, "25.00 %" in trip.reason) == ("max_update_pct", True)
    assert len(plan(metrics, None, guards=Guards(max_update_pct=100)).trips) == 1
    assert plan(metrics, before, guards=Guards(max_missing_pct=25)).trips == ()
    (trip,) = plan(metrics, before, guards=Guards(max_missing_pct=24.9)).trips
    assert trip.guard == "max_missing_pct"
    assert "1 records that the metrics no longer have are 25.00 %" in trip.reason
    assert "no percentage" in check_guards(Guards(max_update_pct=float("nan")), updates=0, missing=0, acknowledged=5)[0].reason
    assert "cannot be evaluated" in check_guards(Guards(max_update_pct=100), updates=1, missing=0, acknowledged=0)[0].reason


def test_cost_follows_the_number_of_rows():
    few = estimate_cost(1_999, 200_000, Limits(100, 0))
    assert (few.channel, few.requests, few.batches, few.affordable) == (Channel.COLLECTIONS, 10, 0, True)
    many = estimate_cost(1_000_000, 250_000_000, Limits(1_000, 15_000))
    assert (many.channel, many.jobs, many.batches, many.affordable) == (Channel.BULK, 3, 100, True)
    assert estimate_cost(2_000, 100_000, Limits()).affordable is None
    short = estimate_cost(1_000_000, 250_000_000, Limits(1_000, 110))
    assert (short.affordable, "100 bulk batches" in short.reason) == (False, True)
    assert read_limits({"DailyApiRequests": {"Max": 5, "Remaining": 3}}) == Limits(3, None)


def test_rows_that_wait_as_refused_are_marked_and_not_counted_as_sent(plan, acknowledged):
    made = plan(_metrics((1, {"customer_tier": "HIGH"}), count=4), acknowledged(_metrics(count=2)))
    before = _rows(made)
    refused = pl.DataFrame(
        [("create", "003_2019-12-02", "Too much"), ("update", "001_2019-12-02", None)],
        {"action": pl.String, "external_id": pl.String, "reason": pl.String},
        orient="row",
    )
    marked = mark_refused(made, refused, estimate_cost(1, 100, Limits()))
    assert (marked.create, marked.update, marked.refused, marked.unchanged, marked.cost.requests) == (1, 0, 2, 1, 1)
    assert (marked.digest, marked.input_rows) == (made.digest, made.input_rows)
    after = _rows(marked)
    assert after.schema == before.schema
    assert after["action"].to_list() == ["refused", "create", "refused"]
    assert after.drop("action", "problems").equals(before.drop("action", "problems"))
    shown, total = describe_changes(marked.rows_path, CUSTOMER_WEEKLY, action="refused")
    assert [[problem.reason for problem in row.problems] for row in shown] == [["Salesforce gave no reason."], ["Too much"]]
    assert (total, shown[0].changes[0].new) == (2, "HIGH")


def test_changes_are_found_by_action_field_and_key(plan, acknowledged):
    before = acknowledged(_metrics(count=6))
    metrics = _metrics((1, {"customer_tier": "HIGH"}), (2, {"activity_count_week": 50}), (3, {"external_signal_id": "New_1"}), count=6)
    made = plan(metrics, before)

    def find(**filters):
        rows, total = describe_changes(made.rows_path, CUSTOMER_WEEKLY, **filters)
        assert total == len(rows)
        return [row.external_id for row in rows]

    assert find(field_name="Customer_Tier__c") == ["001_2019-12-02"]
    assert find(action="update") == ["001_2019-12-02", "002_2019-12-02"]
    assert find(search="nEw") == ["New_1"]
    (created,), _ = describe_changes(made.rows_path, CUSTOMER_WEEKLY, action="create")
    assert isinstance(created, RowChange)
    assert ("Last_Activity_Time__c", None, "2019-12-08T23:59:59.123Z") in [(c.field, c.old, c.new) for c in created.changes]
    page, total = describe_changes(made.rows_path, CUSTOMER_WEEKLY, offset=1, limit=1)
    assert (len(page), total) == (1, 3)


def test_what_changed_in_the_object_is_told():
    drifted = _with_field("Customer_Tier__c", length=40, picklist_values=frozenset({"HIGH"}))
    assert describe_drift(DESCRIBE, drifted) == ("Customer_Tier__c: length 255 → 40, picklist_values HIGH, LOW, MEDIUM → HIGH.",)
    assert describe_drift(DESCRIBE, DESCRIBE) == ()


keys = st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 3), st.sampled_from(["LOW", "HIGH", "GOLD"])), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(keys.map(lambda rows: {key: (count, tier) for key, (count, tier) in rows.items() if tier != "GOLD"}), keys)
def test_a_plan_finds_what_comparing_two_dictionaries_finds(plan, acknowledged, before, after):
    def metrics(rows):
        changes = [
            (place, {"external_signal_id": f"k{key:02}", "activity_count_week": count, "customer_tier": tier})
            for place, (key, (count, tier)) in enumerate(sorted(rows.items()))
        ]
        return _metrics(*changes, count=len(rows))

    made = plan(metrics(after), acknowledged(metrics(before)))
    fine = {key: row for key, row in after.items() if row[1] != "GOLD"}
    same_customer = {key: sorted(before).index(key) == sorted(after).index(key) for key in before.keys() & after.keys()}
    expected = {
        "create": len(fine.keys() - before.keys()),
        "update": sum(1 for key in fine.keys() & before.keys() if before[key] != fine[key] or not same_customer[key]),
        "blocked": len(after) - len(fine),
        "kept": len(before.keys() - after.keys()),
    }
    assert {name: getattr(made, name) for name in expected} == expected
    assert made.input_rows == made.create + made.update + made.unchanged + made.blocked == len(after)
