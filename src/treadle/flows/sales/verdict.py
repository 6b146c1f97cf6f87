"""May this file be run? One word from the checks of its profile, the same on every surface. Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a person is told before a run is started."""

    READY = "Ready"
    READY_WITH_WARNINGS = "Ready with warnings"
    BLOCKED = "Blocked"  # a run would fail


def verdict(validations: Iterable[Mapping[str, Any]]) -> Verdict:
    """Judge the `validations` of a profile: a failed check of severity error blocks, one of severity warning warns. A note (info) does neither."""
    failed = {check["severity"] for check in validations if not check["passed"]}
    if "error" in failed:
        return Verdict.BLOCKED
    return Verdict.READY_WITH_WARNINGS if failed - {"info"} else Verdict.READY
