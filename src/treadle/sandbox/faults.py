"""Faults by script: a test (or a JSON file) says which operation goes wrong, how, and how often.

A rule is a JSON object:

    {"operation": "fabric.RunOnDemandItemJob",    fnmatch pattern on the operation id
     "kind": "status",                            one of WIRE_KINDS or SEMANTIC_KINDS
     "times": 1,                                  how often it fires; null: without end
     "after": 0,                                  how many matching requests pass unharmed first
     "probability": 0.2, "seed": 7,               optional: fires by a seeded draw instead of at each match
     "args": {"status": 429, "retry_after_seconds": 3}}

The middleware asks for wire kinds at every request; a route asks for a semantic kind at the place where it makes sense:

    if (fault := faults.take("unknown_status", "fabric.GetItemJobInstance")):
        body["status"] = fault.args.get("status", "OwnerUserMissing")

Rules are tried in the order in which they were posted. Each rule counts every request that matches it, whether or not it fires.
"""

import fnmatch
import json
import random
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Final, cast

import structlog

_log = structlog.get_logger()

WIRE_KINDS: Final[Mapping[str, str]] = {
    "status": "answers args.status (500) in the service's envelope; args: code, message, retry_after_seconds, retry_after_date_seconds "
    "(as an HTTP date that many seconds ahead), after_effect (true: the request is carried out first)",
    "drop_before": "cuts the connection; nothing was carried out",
    "drop_after": "carries the request out, then cuts the connection without an answer",
    "truncate": "carries the request out, sends half of the answer under a longer Content-Length, then cuts the connection",
    "slow": "carries the request out and spreads the answer over args.seconds (1, at most 5) of real time",
    "wrong_content_type": "answers an HTML page with args.status (200); args.after_effect as above",
    "lost_location": "removes Location from the answer",
    "foreign_location": "moves Location to the host args.base (a regional Fabric host)",
    "token_expired": "the API sees an expired token in place of the one that was sent, and refuses it in its own words (401)",
    "not_found_once": "answers 404, as Fabric does for a job that was just submitted; args.code",
}
SEMANTIC_KINDS: Final[Mapping[str, str]] = {
    "stale_status": "a job instance or operation repeats an earlier state",
    "unknown_status": "a job instance reports args.status, a word that no list has",
    "listing_lag": "a list does not show the newest entry yet",
    "deduped": "a job ends as Deduped",
    "job_failed": "a job fails before it runs; args.code, args.message",
    "refresh_in_progress": "a job is refused because the graph is being refreshed already",
    "query_failed": "executeQuery answers the GQL status args.code (22000), with args.message",
    "capacity_exceeded": "a notebook activity fails for want of Spark capacity (430 inside the error text)",
    "cancel_race": "the job completes while it is being cancelled",
    "no_retry_after": "the answer carries no Retry-After",
    "synchronous": "an item operation that usually answers 202 answers 201 or 200 at once",
    "asynchronous": "an item operation that usually answers 201 or 200 answers 202",
    "operation_failed": "a long-running operation ends as Failed, or a management command of Kusto (kusto.IngestFromStorage, …) with "
    "args.status (520); args.code, args.message",
    "name_reserved": "the name of a deleted item is not available yet",
    "bare_array": "queryactivityruns answers the older shape, a bare array; the events API a list without meta",
    "page_drift": "args.rows (1) events turn up at the beginning of the list, or go from it below zero, so that its pages shift",
    "wrong_total": "the events API reports args.delta (7) more events than there are",
    "repeated_page": "the events API gives the events of the page before, or of page args.page",
    "unknown_envelope": "the events stand under args.key (payload), which no contract names",
    "salesforce_row_lock": "rows are refused as UNABLE_TO_LOCK_ROW: those of args.keys (external ids or ids), args.share of them by a draw, or all; "
    "by batch (salesforce.IngestBatch), Collections request (salesforce.UpsertCollection, …) or single write (salesforce.UpsertRecord, …)",
    "salesforce_job_failed": "an ingest job (salesforce.IngestJob, as in the next two) fails when args.after_rows (0) rows are processed, "
    "with args.message; the rest stays unprocessed",
    "salesforce_unprocessed": "an ingest job leaves out the rows of args.keys, or args.share of them by a draw, and completes",
    "salesforce_slow_job": "an ingest job waits args.seconds (60) of the sandbox's clock when args.after_rows (0) rows are processed",
    "token_issued_expired": "the OpenID provider gives an access token that has expired",
    "token_for_another_audience": "the OpenID provider gives an access token for args.audience",
    "token_signed_by_another_key": "the OpenID provider signs an access token by a key that it does not publish",
}


_FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    "operation": (str,),
    "kind": (str,),
    "times": (int, NoneType),
    "after": (int,),
    "probability": (int, float, NoneType),
    "seed": (int,),
    "args": (dict,),
}


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One line of a fault script; the module's docstring explains the fields."""

    operation: str
    kind: str
    times: int | None = 1
    after: int = 0
    probability: float | None = None
    seed: int = 0
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.kind not in WIRE_KINDS and self.kind not in SEMANTIC_KINDS:
            raise ValueError(f"unknown fault kind {self.kind!r}; known: {', '.join(sorted([*WIRE_KINDS, *SEMANTIC_KINDS]))}")
        if (self.times is not None and self.times < 1) or self.after < 0:
            raise ValueError("a fault rule needs times >= 1 (or null) and after >= 0")
        if self.probability is not None and not 0 < self.probability <= 1:
            raise ValueError("the probability of a fault is above 0 and at most 1")
        if self.kind in {"status", "wrong_content_type"} and self.args.get("status", 500) not in range(200, 600):
            raise ValueError(f"the status of a fault is a number from 200 to 599, not {self.args['status']!r}")

    @classmethod
    def from_json(cls, rule: Mapping[str, Any]) -> "FaultRule":
        """Read one rule; raises ValueError that names what is wrong with it."""
        wrong = [name for name, value in rule.items() if not isinstance(value, _FIELDS.get(name, ()))]
        if wrong or "operation" not in rule or "kind" not in rule:
            raise ValueError(f"a fault rule needs operation and kind; unknown or of a wrong type: {wrong}: {json.dumps(rule)}")
        return cls(**rule)

    def to_json(self) -> dict[str, Any]:
        """The rule as it can be posted again."""
        rule: dict[str, Any] = {"operation": self.operation, "kind": self.kind, "times": self.times, "after": self.after}
        if self.probability is not None:
            rule |= {"probability": self.probability, "seed": self.seed}
        return rule | ({"args": dict(self.args)} if self.args else {})


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that fires now, for this operation."""

    kind: str
    operation: str
    args: Mapping[str, Any]


class _Posted:
    """A rule with what has happened to it."""

    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self.seen = 0
        self.fired = 0
        self._draw = random.Random(rule.seed)  # noqa: S311 - a repeatable draw is wanted, not a secret one

    def counts_due(self, *, taken: bool) -> bool:
        """Count one match and say whether the rule fires on it; `taken`: an earlier rule already did."""
        self.seen += 1
        drawn = self.rule.probability is None or self._draw.random() < self.rule.probability
        spent = self.rule.times is not None and self.fired >= self.rule.times
        fires = drawn and not spent and not taken and self.seen > self.rule.after
        self.fired += fires
        return fires

    @property
    def unused(self) -> bool:
        """Whether less happened than was scripted; a rule by chance or without end owes nothing beyond one firing."""
        owed = 0 if self.rule.probability is not None else (self.rule.times or 1)
        return self.fired < owed


class FaultScript:
    """The rules in force, and the log of what fired. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._posted: list[_Posted] = []
        self._asked: Counter[tuple[str, str]] = Counter()
        self._fired: list[str] = []

    def post(self, rules: Iterable[FaultRule | Mapping[str, Any]]) -> None:
        """Add rules; raises ValueError (and adds none) when one of them is wrong."""
        read = [rule if isinstance(rule, FaultRule) else FaultRule.from_json(rule) for rule in rules]
        with self._lock:
            self._posted += [_Posted(rule) for rule in read]

    def script(self, operation: str, kind: str, *, times: int | None = 1, after: int = 0, **args: Any) -> None:
        """Add one rule, the short way: `faults.script("entra.Token", "status", status=503)`."""
        self.post([FaultRule(operation, kind, times=times, after=after, args=args)])

    def load(self, path: Path) -> None:
        """Add the rules of a JSON file: one rule, a list of them, or `{"rules": [...]}`."""
        self.post_json(json.loads(path.read_text(encoding="utf-8")))

    def post_json(self, script: Any) -> None:
        """Add the rules of a JSON value of the same shapes; raises ValueError (and adds none) when it is none of them."""
        rules: Any = cast("dict[str, Any]", script).get("rules", [script]) if isinstance(script, dict) else script
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in cast("list[Any]", rules)):
            raise ValueError("a fault script is a rule, a list of rules, or an object with a list of rules")
        self.post(cast("list[dict[str, Any]]", rules))

    def take(self, kind: str, operation: str) -> Fault | None:
        """The fault of this kind that is due for this request of `operation`, used up by asking; None when all is well."""
        return self.take_any((kind,), operation)

    def take_any(self, kinds: Collection[str], operation: str) -> Fault | None:
        """As `take`, for the first rule of any of these kinds."""
        with self._lock:
            due: _Posted | None = None
            for posted in self._posted:
                if (
                    posted.rule.kind in kinds
                    and fnmatch.fnmatchcase(operation, posted.rule.operation)
                    and posted.counts_due(taken=due is not None)
                ):
                    due = posted
            for kind in kinds:
                self._asked[operation, kind] += 1
            return self._fire(due.rule, operation) if due else None

    def unused(self) -> list[dict[str, Any]]:
        """The rules that did not fire as often as they were scripted to; a test that leaves one has not tested what it says."""
        with self._lock:
            return [posted.rule.to_json() | {"fired": posted.fired} for posted in self._posted if posted.unused]

    def rules(self) -> list[dict[str, Any]]:
        """All rules in force, each with how often it matched and fired."""
        with self._lock:
            return [posted.rule.to_json() | {"seen": posted.seen, "fired": posted.fired} for posted in self._posted]

    def clear(self) -> None:
        """Forget all rules, counts and the log."""
        with self._lock:
            self._posted.clear()
            self._asked.clear()
            self._fired.clear()

    @property
    def log(self) -> list[str]:
        """One JSON line for each fault that fired: posted to a fresh sandbox, these rules repeat the same faults at the same requests."""
        with self._lock:
            return list(self._fired)

    def _fire(self, rule: FaultRule, operation: str) -> Fault:
        replay = FaultRule(operation, rule.kind, after=self._asked[operation, rule.kind] - 1, args=rule.args).to_json()
        self._fired.append(json.dumps(replay))
        _log.info("sandbox.fault.fired", replay=replay)
        return Fault(rule.kind, operation, rule.args)
