"""The checks of a profile and the verdict, as people are told them. Pure."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.flows.sales.failing_rows import kept_of
from treadle.flows.sales.verdict import Verdict
from treadle.portal.importing.looks import ERROR, LOOKS, NOTE, PASSED, WARNING, Told


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the profile. place: where it stands among its validations; failing: how many rows fail it, and how many of them are kept."""

    name: str
    look: Told
    detail: str
    passed: bool
    place: int
    failing: tuple[int, int] | None


def verdict_told(found: Verdict, validations: Iterable[Mapping[str, Any]]) -> Told:
    """The verdict with a sentence that says what it means for a run. Notes are for information: they are not counted."""
    lacking = [str(check["severity"]) for check in validations if not check["passed"]]
    if found is Verdict.READY:
        why = "No check found a fault" if lacking else "Every check passed"
        return Told(":material/check_circle:", str(found), "green", f"{why}: a run of this file should succeed.")
    if found is Verdict.BLOCKED:
        return Told(":material/block:", str(found), "red", "A run of this file would fail. Mend what is marked as an error below.")
    count = sum(severity != "info" for severity in lacking)
    look = "1 check deserves" if count == 1 else f"{count} checks deserve"
    return Told(":material/warning:", str(found), "orange", f"A run should succeed; {look} a look before you trust the figures.")


def checks(validations: Iterable[Mapping[str, Any]]) -> list[Check]:
    """The checks, those that failed first and of them the gravest."""
    shown = [
        Check(spelled(str(check["check"])), _check_look(check), _detail(check), bool(check["passed"]), place, _failing(check))
        for place, check in enumerate(validations)
    ]
    return sorted(shown, key=lambda check: (check.passed, LOOKS.index(check.look)))  # sorting is stable


def _failing(check: Mapping[str, Any]) -> tuple[int, int] | None:
    rows = check.get("failing_rows")
    return (int(rows["count"]), int(rows["kept"])) if rows and not check["passed"] else None


def rows_told(check: Check) -> str:
    """How many failing rows can be downloaded; empty when none can."""
    return kept_of(*check.failing) if check.failing else ""


def _detail(check: Mapping[str, Any]) -> str:
    """What was found. The way to mend a missing column is told to the command line in its own words; here it is under Mapping."""
    detail = str(check["detail"])
    if check["check"] != "required_columns" or check["passed"]:
        return detail
    return f"{_COMMAND_LINE.split(detail)[0]} Say under Mapping which column is which."


def without_commands(hint: str) -> str:
    """A hint that tells the command line what to type, for people who see the fields below it."""
    return _OPTION.sub(" below.", hint)


_OPTION: Final = re.compile(r"(?:,? for example)?:? --map .*$", re.DOTALL)
_COMMAND_LINE: Final = re.compile(r" (?:If these columns hold it|Say which column holds it)")


def _check_look(check: Mapping[str, Any]) -> Told:
    if check["passed"]:
        return NOTE if check["severity"] != "info" else PASSED
    return {"error": ERROR, "warning": WARNING}.get(str(check["severity"]), NOTE)


def spelled(name: str) -> str:
    """A technical name as words."""
    return name.replace("_", " ").strip().capitalize()


def findings_csv(profile: Mapping[str, Any], found: Verdict) -> bytes:
    """The checks as a CSV that Excel opens in UTF-8, and in which no text can be taken for a formula."""
    from treadle.portal.safe_csv import safe_text  # noqa: PLC0415 - brings Polars, which is only needed once somebody clicks

    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(("file", "verdict", "check", "outcome", "severity", "detail"))
    for check in sorted(profile["validations"], key=lambda check: bool(check["passed"])):
        outcome = "passed" if check["passed"] else "failed"
        row = (profile["file_name"], str(found), check["check"], outcome, check["severity"], check["detail"])
        writer.writerow([safe_text(str(cell)) for cell in row])
    return text.getvalue().encode("utf-8-sig")
