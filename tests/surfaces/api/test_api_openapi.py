"""The OpenAPI document against the service: schemathesis asks every route what nobody would, and each answer must be one that is documented."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from tests import canaries
from treadle.control.access import Role

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.ignored_auth,
    checks.unsupported_method,
    checks.missing_required_header,
]
EXAMPLES = 12  # of each operation, of which there are about sixty
ENDLESS = ("follow_run", "follow_job", "follow_upload_job")  # they are listened to in test_api_events.py and test_scenarios_builds.py
SHOWS_A_SECRET = "create_token"


@schemathesis.serializer("application/offset+octet-stream")
def _bytes_as_they_are(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def test_every_operation_says_what_it_does_and_how_it_may_fail(service):
    document = service.app.openapi()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation.get("description") or operation.get("summary"), (method, path)
            problems = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
            assert {"422", "500", "503"} <= problems.keys(), (method, path)
            told = [status for status, answer in problems.items() if "application/problem+json" in answer.get("content", {})]
            assert method == "head" or set(problems) - set(told) <= {"503"}, (method, path)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.VIEWER])
def test_schemathesis_finds_no_answer_that_is_not_documented(service, finished_run, role):
    finished_run()  # so that lists have something in them
    schema = schemathesis.openapi.from_url(f"{service.url}/api/openapi.json")
    headers = {"Authorization": f"Bearer {service.token(role)}"}
    found = [failure for result in schema.get_all_operations() if (failure := _first_failure(result.ok(), headers))]
    assert found == []


def test_an_answer_that_is_not_documented_would_be_found(service):
    """The same question with a document from which the 404 of a run was taken out."""
    document = json.loads(json.dumps(service.app.openapi()))
    del document["paths"]["/api/runs/{run_id}"]["get"]["responses"]["404"]
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=service.url)
    failure = _first_failure(schema["/api/runs/{run_id}"]["GET"], {"Authorization": f"Bearer {service.token()}"})
    assert failure is not None
    assert "404" in failure


def _first_failure(operation: Any, headers: dict[str, str]) -> str | None:
    name = operation.definition.raw["operationId"]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(headers=headers, timeout=30)
        assert name == SHOWS_A_SECRET or canaries.found_in_text(answer.text) == []
        case.validate_response(answer, checks=CHECKS, headers=headers)

    try:
        if name not in ENDLESS:
            ask()
    except (FailureGroup, AssertionError) as failure:
        return f"{operation.method} {operation.path}: {[str(item) for item in getattr(failure, 'exceptions', [failure])]}"
    return None
