"""Bulk API 2.0 ingest: states, uploads, results, and what each row comes to (Bulk guide)."""

import gzip
import json
import os
import ssl
import subprocess
import sys

import httpx2
import pytest
from tests.contract.fabric_trials import until
from tests.contract.salesforce_trials import COLUMNS, KEY, METRIC, SalesforceCaller, as_csv, metric, read_csv

from treadle.sandbox.server import Sandbox


def error_of(answer):
    (error,) = answer.json()
    return error["errorCode"]


def test_a_job_goes_from_open_to_complete_and_tells_what_became_of_each_row(salesforce):
    answer = salesforce.ask("POST", "/jobs/ingest", json={"object": METRIC, "operation": "upsert", "externalIdFieldName": KEY})
    created = answer.json()
    assert answer.status_code == 200
    assert (created["state"], created["jobType"], created["concurrencyMode"]) == ("Open", "V2Ingest", "Parallel")
    assert (created["apiVersion"], created["lineEnding"], created["columnDelimiter"]) == (66.0, "LF", "COMMA")
    assert created["contentUrl"] == f"services/data/v66.0/jobs/ingest/{created['id']}/batches"
    assert created["id"].startswith("750")
    assert len(created["id"]) == 18
    uploaded = salesforce.upload(created["id"], as_csv([metric("a_1"), metric("b_1", Customer_Tier__c="GOLD")]))
    assert (uploaded.status_code, uploaded.content) == (201, b"")
    assert salesforce.move(created["id"], "UploadComplete").json()["state"] == "UploadComplete"
    ended = salesforce.ended(created["id"])
    assert ended.state == "JobComplete"
    assert (ended.info["numberRecordsProcessed"], ended.info["numberRecordsFailed"]) == (2, 1)  # failures are among the processed
    (row,) = ended.successful
    assert {name: row[name] for name in COLUMNS} == metric("a_1")
    assert row["sf__Created"] == "true"
    assert row["sf__Id"].startswith("a0W")
    assert ended.errors == {
        "b_1": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:Customer Tier: bad value for restricted picklist field: GOLD:Customer_Tier__c --"
    }
    assert ended.unprocessed == []


def test_an_upsert_creates_what_is_not_there_and_updates_what_is_whatever_the_case_of_its_key(salesforce):
    first = salesforce.run(as_csv([metric("Ann_1")]))
    second = salesforce.run(as_csv([metric("ANN_1", Total_Spend_Week__c="99"), metric("bob_1")]))
    assert {row[KEY]: row["sf__Created"] for row in second.successful} == {"ANN_1": "false", "bob_1": "true"}
    assert {row["sf__Id"] for row in first.successful} < {row["sf__Id"] for row in second.successful}
    assert salesforce.cloud.record("ann_1")["Total_Spend_Week__c"] == 99
    assert salesforce.cloud.writes("Ann_1") == {"ann_1": {"created": 1, "updated": 1, "deleted": 0, "edited": 0}}


def test_an_empty_cell_leaves_a_field_as_it_is_and_na_clears_it(salesforce):
    salesforce.run(as_csv([metric("a_1"), metric("b_1")]))
    salesforce.run(as_csv([metric("a_1", Total_Spend_Week__c=""), metric("b_1", Total_Spend_Week__c="#N/A")]))
    assert salesforce.cloud.record("a_1")["Total_Spend_Week__c"] == 12.5
    assert salesforce.cloud.record("b_1")["Total_Spend_Week__c"] is None


def test_a_required_field_must_be_there_at_creation_and_cannot_be_cleared(salesforce):
    salesforce.run(as_csv([metric("a_1")]))
    ended = salesforce.run(
        as_csv([metric("a_1", Batch_Week_End__c="#N/A"), metric("b_1", Batch_Week_End__c=""), metric("", Customer_Tier__c="")])
    )
    assert ended.errors == {
        "a_1": "REQUIRED_FIELD_MISSING:Required fields are missing: [Batch_Week_End__c]:Batch_Week_End__c --",
        "b_1": "REQUIRED_FIELD_MISSING:Required fields are missing: [Batch_Week_End__c]:Batch_Week_End__c --",
        "": f"MISSING_ARGUMENT:{KEY} not specified:--",
    }


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("External_Customer_Id__c", "x" * 81, "STRING_TOO_LONG"),
        ("Total_Spend_Week__c", "1" + "0" * 16, "NUMBER_OUTSIDE_VALID_RANGE"),
        ("Total_Spend_Week__c", "twelve", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Total_Spend_Week__c", "NaN", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Batch_Week_Start__c", "2026-02-30", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Batch_Week_Start__c", "05.01.2026", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Customer_Tier__c", "low", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    ],
)
def test_a_value_that_its_field_cannot_hold_fails_its_row_alone(salesforce, column, value, code):
    ended = salesforce.run(as_csv([metric("good_1"), metric("bad_1", **{column: value})]))
    assert [row[KEY] for row in ended.successful] == ["good_1"]
    assert ended.errors["bad_1"].startswith(f"{code}:")
    assert ended.errors["bad_1"].endswith(f":{column} --")


def test_values_are_kept_as_salesforce_keeps_them(salesforce):
    columns = [*COLUMNS, "Last_Activity_Time__c", "Activity_Count_Week__c"]
    row = metric(" a_1 ", Total_Spend_Week__c="0.125", Last_Activity_Time__c="2026-01-06T01:02:03.987654+02:00", Activity_Count_Week__c="7")
    salesforce.run(as_csv([row], columns))
    kept = salesforce.cloud.record("a_1")
    assert (kept[KEY], kept["Total_Spend_Week__c"], kept["Activity_Count_Week__c"]) == ("a_1", 0.13, 7)
    assert kept["Last_Activity_Time__c"] == "2026-01-05T23:02:03.000+0000"


def test_the_same_external_id_twice_in_one_batch_fails_both_rows(salesforce):
    ended = salesforce.run(as_csv([metric("a_1"), metric("b_1"), metric("A_1", Total_Spend_Week__c="1")]))
    assert [row[KEY] for row in ended.successful] == ["b_1"]
    assert ended.errors == {name: f"DUPLICATE_VALUE:Duplicate external id specified: {name}:{KEY} --" for name in ("a_1", "A_1")}
    assert salesforce.cloud.writes("a_1") == {}


def test_an_external_id_that_several_records_have_is_an_error(salesforce):
    customers = as_csv(
        [{"Name": "One", "Customer_Number__c": "C-1"}, {"Name": "Two", "Customer_Number__c": "c-1"}], ["Name", "Customer_Number__c"]
    )
    assert len(salesforce.run(customers, "insert", object="Customer__c").successful) == 2
    one = as_csv([{"Name": "Three", "Customer_Number__c": "C-1"}], ["Name", "Customer_Number__c"])
    (failed,) = salesforce.run(one, object="Customer__c", externalIdFieldName="Customer_Number__c").failed
    assert failed["sf__Error"].startswith(
        "DUPLICATE_EXTERNAL_ID:Customer_Number__c: more than one record found for external id field: [a0C"
    )


def test_inserting_a_unique_external_id_again_is_refused(salesforce):
    salesforce.run(as_csv([metric("a_1")]), "insert")
    ended = salesforce.run(as_csv([metric("A_1"), metric("b_1"), metric("B_1")]), "insert")
    assert [row[KEY] for row in ended.successful] == ["b_1"]
    assert all(
        words.startswith(f"DUPLICATE_VALUE:duplicate value found: {KEY} duplicates value on record with id: a0W")
        for words in ended.errors.values()
    )


def test_updates_and_deletions_go_by_id(salesforce):
    made = {row[KEY]: row["sf__Id"] for row in salesforce.run(as_csv([metric("a_1"), metric("b_1")])).successful}
    changed = salesforce.run(f'"Id","Total_Spend_Week__c"\n"{made["a_1"]}","3"\n"{made["b_1"][:15]}","4"\n"",5\n', "update")
    assert len(changed.successful) == 2
    assert [row["sf__Error"] for row in changed.failed] == ["MISSING_ARGUMENT:Id not specified in an update call:--"]
    assert [salesforce.cloud.record(key)["Total_Spend_Week__c"] for key in ("a_1", "b_1")] == [3, 4]
    gone = salesforce.run(f"Id\n{made['a_1']}\n", "delete")
    again = salesforce.run(f"Id\n{made['a_1']}\nnonsense\n", "hardDelete")
    assert (len(gone.successful), len(again.failed)) == (1, 2)
    assert salesforce.cloud.writes()["a_1"] == {"created": 1, "updated": 1, "deleted": 1, "edited": 0}
    assert salesforce.run(as_csv([metric("a_1")])).successful[0]["sf__Created"] == "true"  # what lies in the recycle bin matches nothing


def test_lookups_take_an_id_or_the_parents_external_id(salesforce):
    (parent,) = salesforce.run("Name,Customer_Number__c\nAnn,C-7\n", "insert", object="Customer__c").successful
    rows = [
        metric("a_1") | {"Customer__r.Customer_Number__c": "c-7"},
        metric("b_1") | {"Customer__c": parent["sf__Id"]},
        metric("c_1") | {"Customer__r.Customer_Number__c": "C-8"},
    ]
    ended = salesforce.run(as_csv(rows, [*COLUMNS, "Customer__c", "Customer__r.Customer_Number__c"]))
    assert {salesforce.cloud.record(key)["Customer__c"] for key in ("a_1", "b_1")} == {parent["sf__Id"]}
    assert ended.errors == {
        "c_1": "INVALID_FIELD:Foreign key external ID: C-8 not found for field Customer_Number__c in entity Customer__c:--"
    }


def test_a_parent_in_two_chunks_that_are_saved_at_once_is_locked_and_sorting_by_parent_helps(salesforce):
    salesforce.run("Name,Customer_Number__c\nAnn,C-1\nBob,C-2\n", "insert", object="Customer__c")
    rows = [metric(f"k{place}_1") | {"Customer__r.Customer_Number__c": f"C-{1 + place % 2}"} for place in range(400)]
    columns = [*COLUMNS, "Customer__r.Customer_Number__c"]
    mixed = salesforce.run(as_csv(rows, columns))
    assert len(mixed.failed) == 200
    assert {words.partition(":")[0] for words in mixed.errors.values()} == {"UNABLE_TO_LOCK_ROW"}
    in_order = sorted(rows, key=lambda row: row["Customer__r.Customer_Number__c"])
    assert salesforce.run(as_csv(in_order, columns)).failed == []


def test_scripted_locks_hit_some_rows_once_and_a_second_try_goes_through(salesforce, sandbox):
    sandbox.faults.script("salesforce.IngestBatch", "salesforce_row_lock", keys=["B_1"])
    rows = [metric("a_1"), metric("b_1")]
    ended = salesforce.run(as_csv(rows))
    assert ended.errors == {"b_1": "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record:--"}
    assert salesforce.run(as_csv(rows[1:])).failed == []
    sandbox.faults.script("salesforce.IngestBatch", "salesforce_row_lock", share=0.3, seed=5)
    many = salesforce.run(as_csv(metric(f"k{place}_1") for place in range(1000)))
    assert 200 < len(many.failed) < 400


def test_results_come_in_another_order_than_the_upload(salesforce):
    keys = [f"k{place}_1" for place in range(50)]
    shown = [row[KEY] for row in salesforce.run(as_csv(map(metric, keys))).successful]
    assert shown != keys
    assert sorted(shown) == sorted(keys)


def test_an_empty_result_set_is_its_header_and_the_path_is_read_in_any_case(salesforce):
    job = salesforce.run(as_csv([metric("a_1")])).job
    assert read_csv(salesforce.result(job, "failedResults")) == []
    assert salesforce.result(job, "failedresults").splitlines() == ['"sf__Id","sf__Error",' + ",".join(f'"{name}"' for name in COLUMNS)]
    for name in ("unprocessedrecords", "unprocessedRecords", "UnprocessedRecords/"):
        assert salesforce.result(job, name).splitlines() == [",".join(f'"{name}"' for name in COLUMNS)]


def test_quotes_delimiters_and_line_breaks_inside_a_value_come_back_unharmed(salesforce):
    note = 'one, "two"\nthree\r\nfour; ünï 🧵'
    columns = [*COLUMNS, "Notes__c"]
    ended = salesforce.run(as_csv([metric("a_1", Notes__c=note)], columns))
    assert ended.successful[0]["Notes__c"] == note
    assert salesforce.cloud.record("a_1")["Notes__c"] == note


@pytest.mark.parametrize(
    ("word", "mark", "ending"),
    [("TAB", "\t", "LF"), ("PIPE", "|", "CRLF"), ("SEMICOLON", ";", "LF"), ("CARET", "^", "LF"), ("BACKQUOTE", "`", "CRLF")],
)
def test_each_delimiter_and_line_ending_is_read(salesforce, word, mark, ending):
    data = as_csv([metric("a_1")], delimiter=mark, lineterminator={"LF": "\n", "CRLF": "\r\n"}[ending])
    job = salesforce.job(columnDelimiter=word, lineEnding=ending)
    salesforce.upload(job, data)
    salesforce.move(job, "UploadComplete")
    assert salesforce.cloud.jobs.wait(job)["numberRecordsFailed"] == 0
    assert salesforce.cloud.record("a_1")["Customer_Tier__c"] == "LOW"


def test_a_line_ending_that_was_not_announced_fails_the_job(salesforce):
    ended = salesforce.run(as_csv([metric("a_1")], lineterminator="\r\n"))
    assert ended.state == "Failed"
    assert ended.info["errorMessage"] == "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF"
    assert [row[KEY] for row in ended.unprocessed] == ["a_1"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (f"{KEY},Nonsense__c\na_1,x\n", "InvalidBatch : Field name not found : Nonsense__c"),
        (f"{KEY},SystemModstamp\na_1,x\n", "InvalidBatch : Field name not found : SystemModstamp"),
        (f"{KEY}\na_1,x\n", "ClientInputError : A row has 2 columns, and the header has 1."),
        ("", "InvalidBatch : The upload has no header row."),
        (f'{KEY}\n"a_1\n', "InvalidBatch : Failed to parse CSV: unexpected end of data."),
    ],
)
def test_an_upload_that_cannot_be_used_fails_the_job_and_writes_nothing(salesforce, data, message):
    ended = salesforce.run(data)
    assert (ended.state, ended.info["errorMessage"]) == ("Failed", message)
    assert (ended.info["numberRecordsProcessed"], ended.successful, ended.failed) == (0, [], [])
    assert salesforce.cloud.writes() == {}


def test_data_that_is_not_utf_8_fails_the_job(salesforce):
    job = salesforce.job()
    salesforce.upload(job, f"{KEY}\n".encode() + b"\xff\xfe\n")
    salesforce.move(job, "UploadComplete")
    assert salesforce.cloud.jobs.wait(job)["errorMessage"] == "InvalidBatch : Failed to parse CSV: the data is not UTF-8."


def test_a_failed_job_keeps_what_it_wrote_and_lists_what_it_never_tried(salesforce, sandbox):
    message = "TooManyLockFailure : Too many lock failures (100) trying the current file."
    sandbox.faults.script("salesforce.IngestJob", "salesforce_job_failed", after_rows=3, message=message)
    ended = salesforce.run(as_csv([metric(f"k{place}_1") for place in range(5)]))
    assert (ended.state, ended.info["errorMessage"]) == ("Failed", message)
    assert sorted(row[KEY] for row in ended.successful) == ["k0_1", "k1_1", "k2_1"]
    assert [row[KEY] for row in ended.unprocessed] == ["k3_1", "k4_1"]
    assert ended.info["numberRecordsProcessed"] == 3
    assert sorted(salesforce.cloud.writes()) == ["k0_1", "k1_1", "k2_1"]


def test_rows_can_be_left_out_of_a_job_that_completes(salesforce, sandbox):
    sandbox.faults.script("salesforce.IngestJob", "salesforce_unprocessed", keys=["b_1"])
    ended = salesforce.run(as_csv([metric("a_1"), metric("b_1")]))
    assert (ended.state, ended.info["numberRecordsProcessed"]) == ("JobComplete", 1)
    assert [row[KEY] for row in ended.unprocessed] == ["b_1"]


def test_a_slow_job_stays_in_progress_until_the_clock_says_so(salesforce, sandbox):
    sandbox.clock.freeze()
    sandbox.faults.script("salesforce.IngestJob", "salesforce_slow_job", seconds=90, after_rows=1)
    job = started(salesforce, [metric("a_1"), metric("b_1")])
    wait_for(salesforce, job, 1)
    assert salesforce.ask("GET", f"/jobs/ingest/{job}").json()["state"] == "InProgress"
    refused = salesforce.ask("GET", f"/jobs/ingest/{job}/successfulResults")
    assert (refused.status_code, error_of(refused)) == (400, "INVALIDJOBSTATE")
    assert error_of(salesforce.ask("DELETE", f"/jobs/ingest/{job}")) == "INVALIDJOBSTATE"
    sandbox.clock.advance(91)
    assert len(salesforce.ended(job).successful) == 2


def test_aborting_keeps_what_is_written_and_lists_the_rest_as_unprocessed(salesforce, sandbox):
    sandbox.faults.script("salesforce.IngestJob", "salesforce_slow_job", seconds=3600, after_rows=1)
    job = started(salesforce, [metric("a_1"), metric("b_1")])
    wait_for(salesforce, job, 1)
    assert salesforce.move(job, "Aborted").json()["state"] == "Aborted"
    ended = salesforce.ended(job)
    assert ([row[KEY] for row in ended.successful], [row[KEY] for row in ended.unprocessed]) == (["a_1"], ["b_1"])
    answer = salesforce.move(job, "Aborted")
    assert (answer.status_code, error_of(answer)) == (400, "INVALIDJOBSTATE")


def test_an_open_job_with_its_upload_can_be_aborted(salesforce):
    job = salesforce.job()
    salesforce.upload(job, as_csv([metric("a_1")]))
    salesforce.move(job, "Aborted")
    ended = salesforce.ended(job)
    assert ([row[KEY] for row in ended.unprocessed], ended.info["numberRecordsProcessed"]) == (["a_1"], 0)
    empty = salesforce.job()
    salesforce.move(empty, "Aborted")
    assert salesforce.ended(empty).unprocessed == []


def started(salesforce: SalesforceCaller, rows: list[dict[str, str]]) -> str:
    job = salesforce.job()
    salesforce.upload(job, as_csv(rows))
    salesforce.move(job, "UploadComplete")
    return job


def wait_for(salesforce: SalesforceCaller, job: str, processed: int) -> None:
    until(lambda: salesforce.cloud.jobs.info(job)["numberRecordsProcessed"] >= processed)


def test_a_job_takes_one_upload_and_only_while_it_is_open(salesforce):
    job = salesforce.job()
    assert error_of(salesforce.move(job, "UploadComplete")) == "INVALIDJOBSTATE"
    assert salesforce.upload(job, as_csv([metric("a_1")])).status_code == 201
    second = salesforce.upload(job, as_csv([metric("b_1")]))
    assert (second.status_code, error_of(second)) == (400, "INVALIDJOBSTATE")
    salesforce.move(job, "UploadComplete")
    again = salesforce.move(job, "UploadComplete")
    assert (again.status_code, error_of(again)) == (400, "INVALIDJOBSTATE")
    assert [row[KEY] for row in salesforce.ended(job).successful] == ["a_1"]


def test_an_upload_may_come_in_chunks_and_has_a_limit(salesforce):
    data = as_csv(metric(f"k{place}_1") for place in range(500)).encode()
    job = salesforce.job()
    assert salesforce.upload(job, (data[start : start + 1000] for start in range(0, len(data), 1000))).status_code == 201
    salesforce.move(job, "UploadComplete")
    assert len(salesforce.ended(job).successful) == 500
    salesforce.cloud.options.upload_bytes = len(data) - 1
    other = salesforce.job()
    refused = salesforce.upload(other, data)
    assert (refused.status_code, error_of(refused)) == (413, "CONTENT_TOO_LARGE")
    salesforce.cloud.options.upload_bytes = len(data)
    assert salesforce.upload(other, data).status_code == 201  # the refused one has left nothing behind


def test_an_upload_may_be_compressed(salesforce):
    job = salesforce.job()
    headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    path = f"/jobs/ingest/{job}/batches"
    broken = salesforce.ask("PUT", path, content=b"no gzip", headers=headers)
    assert (broken.status_code, error_of(broken)) == (400, "MALFORMED_DATA")
    assert salesforce.ask("PUT", path, content=gzip.compress(as_csv([metric("a_1")]).encode()), headers=headers).status_code == 201
    salesforce.move(job, "UploadComplete")
    assert [row[KEY] for row in salesforce.ended(job).successful] == ["a_1"]


def test_the_data_must_say_that_it_is_csv(salesforce):
    answer = salesforce.ask("PUT", f"/jobs/ingest/{salesforce.job()}/batches", json={})
    assert (answer.status_code, error_of(answer)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"object": "Account"}, "INVALIDJOB"),
        ({"operation": "query"}, "INVALIDJOB"),
        ({"externalIdFieldName": None}, "INVALIDJOB"),
        ({"externalIdFieldName": "Customer_Tier__c"}, "INVALIDJOB"),
        ({"columnDelimiter": ","}, "INVALIDJOB"),
        ({"contentType": "JSON"}, "INVALIDJOB"),
        ({"concurrencyMode": "Serial"}, "JSON_PARSER_ERROR"),
    ],
)
def test_a_job_that_cannot_be_is_refused(salesforce, wish, code):
    body = {"object": METRIC, "operation": "upsert", "externalIdFieldName": KEY} | wish
    answer = salesforce.ask("POST", "/jobs/ingest", json=body)
    assert (answer.status_code, error_of(answer)) == (400, code)


def test_jobs_are_listed_in_pages_and_forgotten_on_request_or_after_seven_days(salesforce, sandbox):
    jobs = [salesforce.run(as_csv([metric(f"k{place}_1")])).job for place in range(3)]
    salesforce.cloud.options.page_size = 2
    first = salesforce.ask("GET", "/jobs/ingest").json()
    second = salesforce.ask("GET", first["nextRecordsUrl"]).json()
    assert [one["id"] for one in first["records"] + second["records"]] == jobs
    assert (first["done"], second["done"], second["nextRecordsUrl"]) == (False, True, None)
    assert salesforce.ask("DELETE", f"/jobs/ingest/{jobs[0]}").status_code == 204
    assert salesforce.ask("GET", f"/jobs/ingest/{jobs[0]}").status_code == 404
    sandbox.clock.advance(7 * 86_400 + 1)
    salesforce.session = salesforce.cloud.identity.open_session()
    assert salesforce.ask("GET", "/jobs/ingest").json()["records"] == []
    assert list((sandbox.state_dir / "sandbox/salesforce/uploads").iterdir()) == []


def test_each_ten_thousand_rows_use_one_of_the_daily_batches(salesforce):
    salesforce.cloud.options.daily["DailyBulkApiBatches"] = 3
    salesforce.run(as_csv(metric(f"k{place}_1") for place in range(10_001)))
    assert salesforce.ask("GET", "/limits").json()["DailyBulkApiBatches"] == {"Max": 3, "Remaining": 1}
    ended = salesforce.run(as_csv(metric(f"n{place}_1") for place in range(10_001)))
    assert (ended.state, ended.info["errorMessage"]) == ("Failed", "ExceededQuota : ApiBatchItems Limit exceeded.")
    assert (len(ended.successful), len(ended.unprocessed)) == (10_000, 1)
    refused = salesforce.ask("POST", "/jobs/ingest", json={"object": METRIC, "operation": "insert"})
    assert (refused.status_code, error_of(refused)) == (400, "EXCEEDEDQUOTA")


def test_what_was_sent_is_carried_out_though_the_answer_is_lost(salesforce, sandbox):
    job = salesforce.job()
    sandbox.faults.script("salesforce.UploadJobData", "drop_after")
    with pytest.raises(httpx2.HTTPError):
        salesforce.upload(job, as_csv([metric("a_1")]))
    sandbox.faults.script("salesforce.UpdateIngestJob", "drop_after")
    with pytest.raises(httpx2.HTTPError):
        salesforce.move(job, "UploadComplete")
    assert [row[KEY] for row in salesforce.ended(job).successful] == ["a_1"]
    sandbox.faults.script("salesforce.CreateIngestJob", "drop_after")
    with pytest.raises(httpx2.HTTPError):
        salesforce.job()
    listed = salesforce.ask("GET", "/jobs/ingest").json()["records"]
    assert [(one["id"] == job, one["state"]) for one in listed] == [(True, "JobComplete"), (False, "Open")]


def test_an_id_column_may_be_there_and_empty(salesforce):
    ended = salesforce.run(as_csv([metric("a_1"), metric("b_1") | {"Id": "a0W0"}], ["Id", *COLUMNS]))
    assert [row[KEY] for row in ended.successful] == ["a_1"]
    assert ended.errors["b_1"].startswith("INVALID_FIELD_FOR_INSERT_UPDATE:")


def test_a_job_that_a_stopped_sandbox_left_goes_on_at_the_next_start_and_writes_nothing_twice(tmp_path):
    with Sandbox(tmp_path) as first, client_of(first) as https:
        caller = SalesforceCaller(first, https)
        first.faults.script("salesforce.IngestJob", "salesforce_slow_job", seconds=3600, after_rows=2)
        job = started(caller, [metric(f"k{place}_1") for place in range(4)])
        wait_for(caller, job, 2)
        session = caller.session
    with Sandbox(tmp_path) as second, client_of(second) as https:
        caller = SalesforceCaller(second, https)
        caller.session = session  # sessions outlast a restart, too
        assert caller.ask("GET", f"/jobs/ingest/{job}").json()["state"] == "InProgress"
        second.clock.advance(3601)
        ended = caller.ended(job)
        assert sorted(row[KEY] for row in ended.successful) == ["k0_1", "k1_1", "k2_1", "k3_1"]
        assert {(count["created"], count["updated"]) for count in caller.cloud.writes().values()} == {(1, 0)}


@pytest.mark.kills
def test_a_killed_sandbox_goes_on_behind_the_last_batch_that_was_committed(tmp_path):
    program = "import sys, pathlib; from treadle.sandbox.server import serve; serve(pathlib.Path(sys.argv[1]), faults_file=pathlib.Path(sys.argv[2]))"
    script, state = tmp_path / "faults.json", tmp_path / "state"
    state.mkdir()
    script.write_text(
        json.dumps({"operation": "salesforce.IngestJob", "kind": "salesforce_slow_job", "args": {"seconds": 3600, "after_rows": 2}})
    )
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen([sys.executable, "-c", program, state, script], stdout=subprocess.PIPE, text=True, env=environment)
    with running.stdout as lines:
        told = {}
        while "ca_file" not in told:  # the last one
            name, _, value = lines.readline().partition(" ")
            told[name] = value
        client = https_client(told["ca_file"].strip())
        known = json.loads((state / "sandbox/salesforce/identity.json").read_text())
        base = told["salesforce_url"].strip()
        form = {"grant_type": "client_credentials", "client_id": known["client_id"], "client_secret": known["client_secret"]}
        client.headers["Authorization"] = f"Bearer {client.post(f'{base}/services/oauth2/token', data=form).json()['access_token']}"
        jobs = f"{base}/services/data/v66.0/jobs/ingest"
        job = client.post(jobs, json={"object": METRIC, "operation": "upsert", "externalIdFieldName": KEY}).json()["id"]
        rows = as_csv(metric(f"k{place}_1") for place in range(4))
        client.put(f"{jobs}/{job}/batches", content=rows, headers={"Content-Type": "text/csv"})
        client.patch(f"{jobs}/{job}", json={"state": "UploadComplete"})
        until(lambda: client.get(f"{jobs}/{job}").json()["numberRecordsProcessed"] == 2)
        running.kill()
        running.wait()
        client.close()
    with Sandbox(state) as sandbox, client_of(sandbox) as https:
        sandbox.clock.advance(3601)
        caller = SalesforceCaller(sandbox, https)
        assert sorted(row[KEY] for row in caller.ended(job).successful) == ["k0_1", "k1_1", "k2_1", "k3_1"]
        assert {(count["created"], count["updated"]) for count in caller.cloud.writes().values()} == {(1, 0)}


def client_of(sandbox: Sandbox) -> httpx2.Client:
    return https_client(str(sandbox.endpoints.ca_file))


def https_client(ca_file: str) -> httpx2.Client:
    return httpx2.Client(verify=ssl.create_default_context(cafile=ca_file), timeout=30, trust_env=False)
