"""One word about a file, from the checks of its profile."""

import pytest

from treadle.flows.sales.verdict import Verdict, verdict


def check(severity: str, *, passed: bool = False) -> dict:
    return {"check": "a", "passed": passed, "detail": "…", "severity": severity}


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([], Verdict.READY),
        ([check("info", passed=True), check("error", passed=True)], Verdict.READY),
        ([check("info", passed=True), check("warning")], Verdict.READY_WITH_WARNINGS),
        ([check("info")], Verdict.READY),
        ([check("info"), check("warning")], Verdict.READY_WITH_WARNINGS),
        ([check("warning"), check("error")], Verdict.BLOCKED),
    ],
)
def test_a_failed_check_of_severity_error_blocks_a_warning_warns_and_a_note_does_neither(checks, expected):
    assert verdict(checks) is expected
    assert verdict(reversed(checks)) is expected
