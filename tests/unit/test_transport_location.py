"""A Location gives ids and nothing else, whatever a server writes into it."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.clients.locations import NamedJob, checked_id, job_named_by, operation_named_by, query_of
from treadle.errors import InvalidInput

WS, ITEM, JOB = (f"{n}0000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))
PATH = f"/v1/workspaces/{WS}/items/{ITEM}/jobs/instances/{JOB}"


@pytest.mark.parametrize(
    "location",
    [
        f"https://api.fabric.microsoft.com{PATH}",
        f"https://wabi-north-europe-redirect.analysis.windows.net{PATH}",
        f"https://localhost:8443{PATH}/",
        f"http://insecure.example{PATH}?x=1#y",
        PATH,
        f"https://api.fabric.microsoft.com/v1/workspaces/{WS}/items/{ITEM}/jobs/Pipeline/instances/{JOB}",
        f"https://api.fabric.microsoft.com/v1/workspaces/{WS}/dataPipelines/{ITEM}/jobs/execute/instances/{JOB}",
        f"https://api.fabric.microsoft.com{PATH}".replace(JOB, JOB.upper()),
    ],
)
def test_a_job_is_named_by_any_host_and_both_forms_of_the_path(location):
    assert job_named_by(location) == NamedJob(WS, ITEM, JOB)


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "/",
        f"https://api.fabric.microsoft.com/v1/workspaces/{WS}/items/{ITEM}/jobs/instances?jobType=Pipeline",
        f"https://api.fabric.microsoft.com/v1/workspaces/{WS}/items/{ITEM}/jobs/instances/",
        f"https://api.fabric.microsoft.com/v1/workspaces/{WS}/items/{ITEM}/jobs/instances/not-an-id",
        f"https://api.fabric.microsoft.com/v1/workspaces/{WS}/items/{ITEM}/jobs/instances/{JOB}0",
        f"https://api.fabric.microsoft.com/v1/../v1/workspaces/{WS}/items/{ITEM}/jobs/instances/{JOB}",
        f"https://api.fabric.microsoft.com/v1/workspaces/{WS}/items/{ITEM}/jobs/instances/../instances/{JOB}",
        f"https://api.fabric.microsoft.com/v1/%2e%2e{PATH}",
        f"https://api.fabric.microsoft.com{PATH}%2f..",
        f"https://api.fabric.microsoft.com{PATH}\\..\\x",
        f"https://api.fabric.microsoft.com{PATH}\r\nHost: evil",
        f"https://api.fabric.microsoft.com{PATH.replace('/v1/', '/v1//')}",
        f"//evil.example{PATH}",
        f"ftp://api.fabric.microsoft.com{PATH}",
        f"file://{PATH}",
        f"javascript:{PATH}",
        f"https:{PATH}",
        f"https://[::1{PATH}",
        PATH.removeprefix("/"),
        PATH.replace("1", "\u0661", 1),
        f"https://api.fabric.microsoft.com/v1/operations/{JOB}",
    ],
)
def test_a_location_that_names_no_job_is_as_good_as_lost(location):
    assert job_named_by(location) is None


@given(st.text(max_size=200))
def test_no_location_breaks_the_reading(location):
    named = job_named_by(location)
    assert named is None or all(UUID(part) for part in named)
    assert operation_named_by(location) is None or UUID(operation_named_by(location))


@pytest.mark.parametrize("tail", ["", "/", "/result"])
def test_an_operation_is_named_by_its_state_and_its_result(tail):
    assert operation_named_by(f"https://wabi-x-redirect.analysis.windows.net/v1/operations/{JOB}{tail}") == JOB


@pytest.mark.parametrize("location", [None, "/v1/operations/", f"/v1/operations/{JOB}/../x", f"https://h{PATH}"])
def test_what_names_no_operation_is_none(location):
    assert operation_named_by(location) is None


def test_of_a_continuation_uri_only_the_query_counts():
    assert query_of("https://evil.example/v9/other?continuationToken=a%2Fb&x=") == {"continuationToken": "a/b", "x": ""}
    assert query_of("https://[broken") == {}


@given(st.uuids())
def test_an_id_passes_in_lower_case(number):
    assert checked_id(str(number).upper(), "job") == str(number)


@given(st.text(max_size=60).filter(lambda text: len(text) != 36))
def test_what_is_no_id_never_becomes_part_of_a_path(text):
    with pytest.raises(InvalidInput):
        checked_id(text, "job")
