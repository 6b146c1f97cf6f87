"""The org's REST API: versions, limits, describe, rows, SOQL, Collections; and what a person changes."""

import json

import httpx2
import pytest
from tests.contract.salesforce_trials import KEY, METRIC, as_csv, metric

from treadle.sandbox.salesforce.ids import id_of, number_of

ROWS = f"/sobjects/{METRIC}"
BY_KEY = f"{ROWS}/{KEY}"
COLLECTION = f"/composite/sobjects/{METRIC}/{KEY}"


def body_of(key, **values):
    values = metric(key, **values)
    return {name: value for name, value in values.items() if name != KEY}


def errors_of(answer):
    return [(error["errorCode"], error["message"]) for error in answer.json()]


def records_of(*keys, **values):
    return [{"attributes": {"type": METRIC}, **metric(key, **values)} for key in keys]


def test_versions_need_no_session_and_lead_to_resources(salesforce, https):
    versions = https.get(f"{salesforce.url}/services/data").json()
    assert versions[-1]["url"] == f"/services/data/v{versions[-1]['version']}"
    assert {"31.0", "59.0", "66.0"} <= {one["version"] for one in versions}
    resources = salesforce.ask("GET", "/").json()
    assert resources["sobjects"] == "/services/data/v66.0/sobjects"
    assert salesforce.ask("GET", "/services/data/v12.5/limits").status_code == 404
    assert salesforce.ask("GET", "/services/data/v999.0/limits").status_code == 404


def test_ids_have_eighteen_characters_whose_last_three_keep_the_case():
    assert id_of("a0W", 1) == "a0WTr0000000001" + id_of("a0W", 1)[15:]
    for number in (1, 61, 62, 3843, 3844, 238_327, 238_328, 916_132_832, 62**6 + 5):
        identity = id_of("a0W", number)
        assert (len(identity), number_of("a0W", identity), number_of("a0W", identity[:15])) == (18, number, number)
        assert number_of("a0C", identity) is None
    # the example of Salesforce Help: 15 characters and the check characters that belong to them
    groups = ("001A0", "00000", "6Vm9r")
    checks = "".join(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[sum(1 << place for place, one in enumerate(group) if one.isupper())] for group in groups
    )
    assert checks == "IAC"


def test_describe_tells_what_a_field_can_hold(salesforce):
    described = salesforce.ask("GET", f"{ROWS}/describe").json()
    fields = {one["name"]: one for one in described["fields"]}
    assert (described["name"], described["keyPrefix"], described["createable"]) == (METRIC, "a0W", True)
    key = fields[KEY]
    assert (key["externalId"], key["unique"], key["idLookup"], key["length"], key["nillable"]) == (True, True, True, 255, False)
    assert not key["caseSensitive"]
    spend = fields["Total_Spend_Week__c"]
    assert (spend["type"], spend["precision"], spend["scale"], spend["nillable"]) == ("currency", 18, 2, True)
    tier = fields["Customer_Tier__c"]
    assert tier["restrictedPicklist"]
    assert [one["value"] for one in tier["picklistValues"]] == ["HIGH", "MEDIUM", "LOW"]
    assert (fields["Name"]["autoNumber"], fields["Name"]["createable"]) == (True, False)
    assert fields["Customer__c"]["referenceTo"] == ["Customer__c"]
    assert fields["Customer__c"]["relationshipName"] == "Customer__r"
    assert not fields["CreatedDate"]["createable"]
    assert not fields["Id"]["updateable"]
    types = {name: one["type"] for name, one in fields.items()}
    assert (types["Batch_Week_Start__c"], types["Activity_Count_Week__c"], types["Last_Activity_Time__c"]) == ("date", "double", "datetime")
    listed = salesforce.ask("GET", "/sobjects").json()["sobjects"]
    assert {one["name"] for one in listed} == {METRIC, "Customer__c"}
    assert salesforce.ask("GET", "/sobjects/Nonsense__c/describe").status_code == 404


def test_one_record_is_created_read_changed_and_deleted(salesforce):
    created = salesforce.ask("POST", ROWS, json=metric("a_1"))
    assert created.status_code == 201
    assert created.json()["success"]
    place = f"{ROWS}/{created.json()['id']}"
    shown = salesforce.ask("GET", place).json()
    assert (shown["Total_Spend_Week__c"], shown["IsDeleted"], shown["attributes"]["type"]) == (12.5, False, METRIC)
    assert salesforce.ask("PATCH", place, json={"Total_Spend_Week__c": 3.5, "Customer_Tier__c": None}).status_code == 204
    chosen = salesforce.ask("GET", place, params={"fields": "Total_Spend_Week__c,Customer_Tier__c"}).json()
    assert {name: value for name, value in chosen.items() if name.endswith("__c")} == {"Total_Spend_Week__c": 3.5, "Customer_Tier__c": None}
    assert salesforce.ask("DELETE", place).status_code == 204
    assert salesforce.ask("GET", place).status_code == 404
    assert salesforce.ask("PATCH", place, json={"Customer_Tier__c": "LOW"}).json()[0]["errorCode"] == "ENTITY_IS_DELETED"


def test_an_upsert_by_external_id_says_whether_it_created(salesforce):
    first = salesforce.ask("PATCH", f"{BY_KEY}/a_1", json=body_of("a_1"))
    second = salesforce.ask("PATCH", f"{BY_KEY}/A_1", json={"Total_Spend_Week__c": "7"})
    assert (first.status_code, first.json()["created"]) == (201, True)
    assert (second.status_code, second.json()["created"], second.json()["id"]) == (200, False, first.json()["id"])
    old = salesforce.ask("PATCH", f"/services/data/v45.0/sobjects/{METRIC}/{KEY}/a_1", json={"Total_Spend_Week__c": 8})
    assert (old.status_code, old.content) == (204, b"")
    assert salesforce.ask("GET", f"{BY_KEY}/a_1").json()["Total_Spend_Week__c"] == 8
    assert salesforce.ask("GET", f"{BY_KEY}/b_1").status_code == 404


def test_an_external_id_that_several_records_have_answers_with_all_of_them(salesforce):
    for name in ("One", "Two"):
        salesforce.ask("POST", "/sobjects/Customer__c", json={"Name": name, "Customer_Number__c": "C-1"})
    for method, body in (("GET", None), ("PATCH", {"Name": "Three"})):
        answer = salesforce.ask(method, "/sobjects/Customer__c/Customer_Number__c/c-1", json=body)
        assert (answer.status_code, len(answer.json())) == (300, 2)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Nonsense__c": 1}, "INVALID_FIELD"),
        ({"SystemModstamp": "2026-01-01"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({KEY: "b_1"}, "INVALID_FIELD"),
        ({"Batch_Week_Start__c": "tomorrow"}, "JSON_PARSER_ERROR"),
        ({"Total_Spend_Week__c": "much"}, "JSON_PARSER_ERROR"),
        ({"External_Customer_Id__c": 12}, "JSON_PARSER_ERROR"),
        ({"Customer_Tier__c": "GOLD"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"External_Customer_Id__c": None}, "REQUIRED_FIELD_MISSING"),
        ({"External_Customer_Id__c": "x" * 81}, "STRING_TOO_LONG"),
        ({"Total_Spend_Week__c": 1e16}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Customer__c": "a0CTr0000000009AAA"}, "INVALID_CROSS_REFERENCE_KEY"),
    ],
)
def test_a_record_that_cannot_be_written_is_refused_by_name(salesforce, change, code):
    answer = salesforce.ask("PATCH", f"{BY_KEY}/a_1", json=body_of("a_1") | change)
    assert answer.status_code == 400
    assert [name for name, _ in errors_of(answer)] == [code]
    assert salesforce.cloud.writes() == {}


def test_a_collection_is_upserted_in_order_row_by_row(salesforce):
    salesforce.ask("PATCH", f"{BY_KEY}/b_1", json=body_of("b_1"))
    records = records_of("a_1", "b_1") + records_of("c_1", Customer_Tier__c="GOLD")
    results = salesforce.ask("PATCH", COLLECTION, json={"records": records}).json()
    assert [(one["success"], one.get("created")) for one in results] == [(True, True), (True, False), (False, None)]
    assert results[2]["errors"] == [
        {
            "statusCode": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "message": "Customer Tier: bad value for restricted picklist field: GOLD",
            "fields": ["Customer_Tier__c"],
        }
    ]
    assert set(salesforce.cloud.writes()) == {"a_1", "b_1"}


def test_all_or_none_writes_nothing_when_one_record_fails(salesforce):
    records = records_of("a_1") + records_of("c_1", Customer_Tier__c="GOLD")
    results = salesforce.ask("PATCH", COLLECTION, json={"allOrNone": True, "records": records}).json()
    assert [one["errors"][0]["statusCode"] for one in results] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    ]
    assert salesforce.cloud.writes() == {}


def test_a_collection_has_at_most_two_hundred_records_of_the_object_that_is_named(salesforce):
    answer = salesforce.ask("PATCH", COLLECTION, json={"records": records_of(*(f"k{place}_1" for place in range(201)))})
    assert (answer.status_code, errors_of(answer)[0][0]) == (400, "LIMIT_EXCEEDED")
    assert len(salesforce.ask("PATCH", COLLECTION, json={"records": records_of(*(f"k{place}_1" for place in range(200)))}).json()) == 200
    other = [{"attributes": {"type": "Customer__c"}, "Name": "Ann"}]
    assert salesforce.ask("PATCH", COLLECTION, json={"records": other}).json()[0]["errorCode"] == "INVALID_TYPE"
    mixed = salesforce.ask("POST", "/composite/sobjects", json={"records": other + records_of("a_1")})
    assert mixed.status_code == 501


def test_the_same_key_twice_in_one_collection_fails_both(salesforce):
    results = salesforce.ask("PATCH", COLLECTION, json={"records": records_of("a_1", "A_1", "b_1")}).json()
    assert [one["success"] for one in results] == [False, False, True]
    assert {one["errors"][0]["statusCode"] for one in results[:2]} == {"DUPLICATE_VALUE"}


def test_collections_insert_update_and_delete_by_id(salesforce):
    created = salesforce.ask("POST", "/composite/sobjects", json={"records": records_of("a_1", "b_1")}).json()
    ids = [one["id"] for one in created]
    changes = [{"attributes": {"type": METRIC}, "id": identity, "Total_Spend_Week__c": 5} for identity in ids]
    assert all(one["success"] for one in salesforce.ask("PATCH", "/composite/sobjects", json={"records": changes}).json())
    gone = salesforce.ask("DELETE", "/composite/sobjects", params={"ids": ",".join([*ids, ids[0]]), "allOrNone": "false"}).json()
    assert [one["success"] for one in gone] == [False, True, False]  # the same id twice
    assert salesforce.cloud.record("a_1")["Total_Spend_Week__c"] == 5


def test_rows_of_a_collection_can_be_locked_by_script(salesforce, sandbox):
    sandbox.faults.script("salesforce.UpsertCollection", "salesforce_row_lock", keys=["a_1"])
    results = salesforce.ask("PATCH", COLLECTION, json={"records": records_of("a_1", "b_1")}).json()
    assert [one["success"] for one in results] == [False, True]
    assert results[0]["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"
    assert all(one["success"] for one in salesforce.ask("PATCH", COLLECTION, json={"records": records_of("a_1", "b_1")}).json())


def test_a_collection_is_written_though_the_answer_is_lost(salesforce, sandbox):
    sandbox.faults.script("salesforce.UpsertCollection", "drop_after")
    with pytest.raises(httpx2.HTTPError):
        salesforce.ask("PATCH", COLLECTION, json={"records": records_of("a_1")})
    assert salesforce.cloud.writes("a_1") == {"a_1": {"created": 1, "updated": 0, "deleted": 0, "edited": 0}}


def test_soql_selects_fields_of_records_by_one_field(salesforce):
    salesforce.run(as_csv([metric("a_1"), metric("b_1", Customer_Tier__c="HIGH"), metric("it's_1", Customer_Tier__c="#N/A")]))

    def found(where):
        answer = salesforce.ask("GET", "/query", params={"q": f"SELECT {KEY} FROM {METRIC} {where}"})
        assert answer.status_code == 200, answer.text
        return sorted(one[KEY] for one in answer.json()["records"])

    assert found("") == ["a_1", "b_1", "it's_1"]
    assert found(f"WHERE {KEY} = 'A_1'") == ["a_1"]
    assert found(f"WHERE {KEY} IN ('a_1', 'b_1', 'z_1')") == ["a_1", "b_1"]
    assert found(f"where {KEY.lower()} = 'it\\'s_1' limit 1") == ["it's_1"]
    assert found("WHERE Customer_Tier__c = 'HIGH'") == ["b_1"]
    assert found("WHERE Customer_Tier__c = null") == ["it's_1"]
    assert found("WHERE Batch_Week_Start__c = 2026-01-05 LIMIT 2") == ["a_1", "b_1"]
    assert found("WHERE Total_Spend_Week__c = 12.5 ORDER BY Id") == ["a_1", "b_1", "it's_1"]
    counted = salesforce.ask("GET", "/query", params={"q": f"SELECT COUNT() FROM {METRIC} WHERE Customer_Tier__c = 'HIGH'"}).json()
    assert counted == {"totalSize": 1, "done": True, "records": []}


def test_soql_answers_come_in_pages(salesforce):
    salesforce.run(as_csv(metric(f"k{place}_1") for place in range(7)))
    salesforce.cloud.options.query_page_size = 3
    answer = salesforce.ask("GET", "/query", params={"q": f"SELECT Id FROM {METRIC} LIMIT 6"}).json()
    sizes, ids = [len(answer["records"])], {one["Id"] for one in answer["records"]}
    assert (answer["totalSize"], answer["done"]) == (6, False)
    while not answer["done"]:
        answer = salesforce.ask("GET", answer["nextRecordsUrl"]).json()
        sizes.append(len(answer["records"]))
        ids |= {one["Id"] for one in answer["records"]}
    assert (sizes, len(ids)) == ([3, 3], 6)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("SELECT FROM", 400, "MALFORMED_QUERY"),
        ("nonsense", 400, "MALFORMED_QUERY"),
        ("", 400, "MALFORMED_QUERY"),
        (f"SELECT Id FROM {METRIC} LIMIT many", 400, "MALFORMED_QUERY"),
        (f"SELECT Id FROM {METRIC} WHERE {KEY} = 'open", 400, "MALFORMED_QUERY"),
        (f"SELECT Nonsense__c FROM {METRIC}", 400, "INVALID_FIELD"),
        (f"SELECT Id FROM {METRIC} WHERE {KEY} = 12", 400, "INVALID_FIELD"),
        (f"SELECT Id FROM {METRIC} WHERE Batch_Week_Start__c = '2026-01-05'", 400, "INVALID_FIELD"),
        ("SELECT Id FROM Account", 400, "INVALID_TYPE"),
        (f"SELECT Id FROM {METRIC} WHERE {KEY} LIKE 'a%'", 501, "NOT_MODELLED"),
        (f"SELECT Id FROM {METRIC} WHERE Customer_Tier__c = 'LOW' AND {KEY} = 'a'", 501, "NOT_MODELLED"),
        (f"SELECT SUM(Total_Spend_Week__c) FROM {METRIC}", 501, "NOT_MODELLED"),
        (f"SELECT Customer__r.Name FROM {METRIC}", 501, "NOT_MODELLED"),
        (f"SELECT Id FROM {METRIC} ORDER BY Name", 501, "NOT_MODELLED"),
    ],
)
def test_other_queries_are_refused_or_not_modelled(salesforce, query, status, code):
    answer = salesforce.ask("GET", "/query", params={"q": query})
    assert (answer.status_code, errors_of(answer)[0][0]) == (status, code)


def test_every_request_counts_against_the_daily_allocation_which_rolls_on(salesforce, sandbox):
    salesforce.cloud.options.daily["DailyApiRequests"] = 2
    first = salesforce.ask("GET", "/limits")
    assert first.headers["Sforce-Limit-Info"] == "api-usage=1/2"
    assert first.json()["DailyApiRequests"] == {"Max": 2, "Remaining": 1}
    salesforce.ask("GET", "/limits")
    refused = salesforce.ask("GET", "/limits")
    assert (refused.status_code, errors_of(refused)) == (403, [("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")])
    sandbox.clock.advance(25 * 3600)
    salesforce.session = salesforce.cloud.identity.open_session()
    assert salesforce.ask("GET", "/limits").status_code == 200


def test_what_is_not_modelled_answers_501_naming_the_operation(salesforce):
    for method, path in (("POST", "/jobs/query"), ("GET", "/search"), ("POST", "/composite/batch"), ("GET", "/services/async/66.0/job")):
        answer = salesforce.ask(method, path)
        assert answer.status_code == 501
        assert f"{method} " in answer.json()[0]["message"]
        assert path.rpartition("/")[2] in answer.json()[0]["message"]


def test_faults_on_the_wire_come_in_salesforces_envelope(salesforce, sandbox):
    sandbox.faults.script("salesforce.GetLimits", "status", status=503, retry_after_seconds=7)
    sandbox.faults.script("salesforce.GetLimits", "token_expired", after=1)
    busy = salesforce.ask("GET", "/limits")
    assert (busy.status_code, errors_of(busy)[0][0], busy.headers["Retry-After"]) == (503, "SERVER_UNAVAILABLE", "7")
    assert errors_of(salesforce.ask("GET", "/limits")) == [("INVALID_SESSION_ID", "Session expired or invalid")]


def test_what_a_person_changes_is_seen_and_not_counted_as_the_integrations(salesforce):
    salesforce.run(as_csv([metric("a_1"), metric("b_1")]))
    by_us = salesforce.ask("GET", f"{BY_KEY}/a_1").json()["LastModifiedById"]
    salesforce.cloud.edit("A_1", {"Customer_Tier__c": "HIGH"})
    shown = salesforce.ask("GET", f"{BY_KEY}/a_1").json()
    assert shown["Customer_Tier__c"] == "HIGH"
    assert shown["LastModifiedById"] != by_us
    assert salesforce.cloud.writes("a_1") == {"a_1": {"created": 1, "updated": 0, "deleted": 0, "edited": 1}}
    salesforce.cloud.remove("b_1")
    assert salesforce.ask("GET", f"{BY_KEY}/b_1").status_code == 404


def test_the_admin_port_counts_writes_and_edits_records_for_tests_in_other_processes(salesforce, sandbox, https):
    salesforce.run(as_csv([metric("a_1/x"), metric("b_1")]))
    admin = f"{sandbox.endpoints.admin_url}/salesforce"
    assert https.get(f"{admin}/writes", params={"external_id": "A_1/X"}).json() == {
        "a_1/x": {"created": 1, "updated": 0, "deleted": 0, "edited": 0}
    }
    edited = https.patch(f"{admin}/records/a_1/x", json={"Total_Spend_Week__c": 1})
    assert edited.json()["Total_Spend_Week__c"] == https.get(f"{admin}/records/a_1/x").json()["Total_Spend_Week__c"] == 1
    assert https.patch(f"{admin}/records/a_1/x", json={"Customer_Tier__c": "GOLD"}).status_code == 400
    assert https.delete(f"{admin}/records/b_1").status_code == 204
    assert https.get(f"{admin}/records/b_1").status_code == 404
    changed = https.post(admin, json={"options": {"daily": {"DailyBulkApiBatches": 1}}}).json()
    assert (changed["options"]["daily"]["DailyBulkApiBatches"], changed["options"]["daily"]["DailyApiRequests"]) == (1, 100_000)
    assert https.post(admin, json={"options": {"nonsense": 1}}).status_code == 400
    assert "secret" not in json.dumps(changed).lower()
    assert "password" not in json.dumps(changed).lower()
    assert https.delete(admin).status_code == 204
    assert salesforce.cloud.writes() == {}
