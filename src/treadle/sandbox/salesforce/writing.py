"""Writes many rows of one object at once: who is meant by an external id, what may be created or changed, and what is refused.

Bulk batches, Collections and single requests all come through `write_rows`, so the rules are the same everywhere.
Sources: REST guide, Insert or Update (Upsert) a Record Using an External ID, Using sObject Collections; SOAP API guide, StatusCode;
Salesforce Help 000384876 (the same id twice in one batch).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from treadle.sandbox.salesforce.ids import id_of, number_of, salesforce_time
from treadle.sandbox.salesforce.records import Records, Row
from treadle.sandbox.salesforce.refusals import RowFault
from treadle.sandbox.salesforce.schema import OBJECTS, SObject
from treadle.sandbox.salesforce.values import external_key

INTEGRATION: Final = "integration"
PERSON: Final = "person"
_CHUNK_ROWS: Final = 200  # Bulk guide: rows are saved in chunks of 200
_CHUNKS_AT_ONCE: Final = 2
_REMOVED: Final = {"delete": 1, "hardDelete": 2}

Locked = Callable[[str], bool]
"""Whether the record with this external id, or else this id, is locked by somebody else now."""


@dataclass(slots=True)
class RowWish:
    """One row as it was submitted, read field by field. values: None clears; a field that is not there stays as it is.

    parents: field name → (object, external id) where a lookup names its parent by that parent's external id.
    """

    values: dict[str, str | None] = field(default_factory=dict[str, str | None])
    key: str | None = None
    identity: str | None = None
    parents: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    fault: RowFault | None = None


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of a row; `identity` is empty when nothing was written and no record is meant."""

    identity: str
    created: bool
    fault: RowFault | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """How a set of rows is to be written. operation: insert, update, upsert, delete or hardDelete. by: whose write it is. parallel: chunks are saved side by side (Bulk). rules: the org's validation rules."""

    records: Records
    sobject: SObject
    operation: str
    now: datetime
    by: str = INTEGRATION
    locked: Locked = lambda _: False
    parallel: bool = False
    rules: Sequence[Mapping[str, Any]] = ()


def write_rows(writer: Writer, rows: Sequence[RowWish]) -> list[RowResult]:
    """Write the rows that can be written, in the caller's transaction, and say of each what became of it, in their order."""
    _resolve_parents(writer, rows)
    if writer.operation == "insert":
        found: dict[str, list[Row]] = {}
    elif writer.operation == "upsert":
        found = _found_by_key(writer, rows)
    else:
        found = _found_by_id(writer, rows)
    _refuse_twins(writer, rows)
    if writer.parallel:
        _refuse_colliding_parents(writer.sobject, rows)
    batch = _Batch(writer, found, _holders(writer, rows, found))
    results = [batch.write(row) for row in rows]
    batch.flush()
    return results


class _Batch:
    """The writes of one call, gathered so that each statement runs once for all of them."""

    def __init__(self, writer: Writer, found: dict[str, list[Row]], holders: dict[str, int]) -> None:
        self._writer, self._found, self._holders = writer, found, holders
        self._sobject, self._stamp = writer.sobject, salesforce_time(writer.now)
        self._number = writer.records.rows("next_number")[0]["number"]
        self._required = tuple(one.name for one in writer.sobject.own_fields if one.required)
        self._key_field = writer.sobject.external_id.name
        self._inserts: list[tuple[Any, ...]] = []
        self._updates: list[tuple[Any, ...]] = []
        self._removals: list[int] = []

    def write(self, row: RowWish) -> RowResult:
        if row.fault:
            return RowResult("", created=False, fault=row.fault)
        operation = self._writer.operation
        if row.identity and operation in {"insert", "upsert"}:
            message = f"cannot specify Id in an {operation} call"
            return RowResult("", created=False, fault=RowFault("INVALID_FIELD_FOR_INSERT_UPDATE", message, ("Id",)))
        meant = self._meant(row) if operation != "insert" else None
        if isinstance(meant, RowFault):
            return RowResult("", created=False, fault=meant)
        if operation in _REMOVED:
            return self._remove(row, meant)
        return self._create(row) if meant is None else self._change(row, meant)

    def flush(self) -> None:
        records, told = self._writer.records, {"now": self._stamp, "by": self._writer.by}
        if self._inserts:
            records.rows("insert_records", rows=_as_json(self._inserts), object=self._sobject.name, **told)
        if self._updates:
            records.rows("update_records", rows=_as_json(self._updates), **told)
        if self._removals:
            records.rows("remove_records", numbers=_as_json(self._removals), state=_REMOVED[self._writer.operation], **told)

    def _meant(self, row: RowWish) -> Row | RowFault | None:
        """The record that a row is about; None when an upsert is to create it."""
        if self._writer.operation == "upsert":
            if row.key is None:
                return RowFault("MISSING_ARGUMENT", f"{self._key_field} not specified")
            matches = self._found.get(row.key, [])
            if len(matches) > 1:
                ids = ", ".join(self._id(match["number"]) for match in matches)
                message = f"{self._key_field}: more than one record found for external id field: [{ids}]"
                return RowFault("DUPLICATE_EXTERNAL_ID", message, (self._key_field,))
            return matches[0] if matches else None
        if not row.identity:
            return RowFault("MISSING_ARGUMENT", "Id not specified in an update call")
        matches = self._found.get(row.identity[:15], [])
        if not matches:
            number = number_of(self._sobject.key_prefix, row.identity)
            code, message = ("ENTITY_IS_DELETED", "entity is deleted") if number else ("MALFORMED_ID", f"malformed id {row.identity}")
            return RowFault(code, message)
        return matches[0]

    def _create(self, row: RowWish) -> RowResult:
        values = {name: value for name, value in row.values.items() if value is not None}
        if absent := [name for name in self._required if name not in values]:
            return _missing(absent)
        key = external_key(values[self._key_field]) if self._key_field in values else None
        if key is not None and (holder := self._holders.get(key)) is not None and self._sobject.external_id.unique:
            return self._taken(holder)
        if broken := self._broken_rule(values):
            return RowResult("", created=False, fault=broken)
        if self._writer.locked(key or ""):
            return _locked("")
        number, self._number = self._number, self._number + 1
        if key is not None:
            self._holders[key] = number
        self._inserts.append((number, key, values))
        return RowResult(self._id(number), created=True)

    def _change(self, row: RowWish, meant: Row) -> RowResult:
        number = meant["number"]
        identity = self._id(number)
        if cleared := [name for name in self._required if name in row.values and row.values[name] is None]:
            return _missing(cleared)
        values: dict[str, str | None] = meant["fields"] | row.values
        kept = {name: value for name, value in values.items() if value is not None}
        key = external_key(kept[self._key_field]) if self._key_field in kept else None
        if key is not None and self._holders.get(key, number) != number and self._sobject.external_id.unique:
            return self._taken(self._holders[key])
        if broken := self._broken_rule(kept):
            return RowResult(identity, created=False, fault=broken)
        if self._writer.locked(key or identity):
            return _locked(identity)
        self._updates.append((number, key, kept))
        return RowResult(identity, created=False)

    def _remove(self, row: RowWish, meant: Row | None) -> RowResult:
        _ = row
        if meant is None:
            raise AssertionError("a deletion is always about a record")
        identity = self._id(meant["number"])
        if self._writer.locked(meant["key"] or identity):
            return _locked(identity)
        self._removals.append(meant["number"])
        return RowResult(identity, created=False)

    def _broken_rule(self, values: dict[str, str]) -> RowFault | None:
        """The first validation rule that the record breaks. Salesforce says its message, and which field it stands at."""
        for rule in self._writer.rules:
            if rule["field"] in values and Decimal(values[rule["field"]]) > Decimal(str(rule["above"])):
                return RowFault("FIELD_CUSTOM_VALIDATION_EXCEPTION", str(rule["message"]), (str(rule["field"]),))
        return None

    def _taken(self, holder: int) -> RowResult:
        message = f"duplicate value found: {self._key_field} duplicates value on record with id: {self._id(holder)[:15]}"
        return RowResult("", created=False, fault=RowFault("DUPLICATE_VALUE", message))

    def _id(self, number: int) -> str:
        return id_of(self._sobject.key_prefix, number)


def _found_by_key(writer: Writer, rows: Sequence[RowWish]) -> dict[str, list[Row]]:
    keys = [row.key for row in rows if row.key is not None and not row.fault]
    return _grouped(
        writer.records.found("find_by_keys", object=writer.sobject.name, keys=json.dumps(sorted(set(keys)))), lambda row: row["key"]
    )


def _found_by_id(writer: Writer, rows: Sequence[RowWish]) -> dict[str, list[Row]]:
    prefix = writer.sobject.key_prefix
    numbers = {number for row in rows if row.identity and (number := number_of(prefix, row.identity))}
    found = writer.records.found("find_by_numbers", object=writer.sobject.name, numbers=json.dumps(sorted(numbers)))
    return _grouped(found, lambda row: id_of(prefix, row["number"])[:15])


def _grouped(found: Iterable[Row], by: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in found:
        groups.setdefault(by(row), []).append(row)
    return groups


def _holders(writer: Writer, rows: Sequence[RowWish], found: dict[str, list[Row]]) -> dict[str, int]:
    """Which record has each external id that these rows write; an upsert has looked these up already."""
    if writer.operation == "upsert":
        return {key: matches[0]["number"] for key, matches in found.items()}
    name = writer.sobject.external_id.name
    keys = {external_key(value) for row in rows if (value := row.values.get(name))}
    taken = writer.records.found("find_by_keys", object=writer.sobject.name, keys=json.dumps(sorted(keys))) if keys else []
    return {row["key"]: row["number"] for row in taken}


def _refuse_twins(writer: Writer, rows: Sequence[RowWish]) -> None:
    """The same external id, or the same id, twice in one batch: none of these rows is written."""
    by_key = writer.operation == "upsert"
    meant = [row.key if by_key else (row.identity or "")[:15] or None for row in rows]
    often = {one for one, count in Counter(one for one in meant if one is not None).items() if count > 1}
    if not often or writer.operation == "insert":
        return
    for row, one in zip(rows, meant, strict=True):
        if one in often and not row.fault:
            shown = row.values.get(writer.sobject.external_id.name) or row.key if by_key else row.identity
            words = f"Duplicate external id specified: {shown}" if by_key else f"Duplicate id specified: {shown}"
            row.fault = RowFault("DUPLICATE_VALUE", words, (writer.sobject.external_id.name if by_key else "Id",))


def _resolve_parents(writer: Writer, rows: Sequence[RowWish]) -> None:
    """Put the parents' ids in place of their external ids, and refuse lookups that lead nowhere."""
    lookups = {one.name: OBJECTS[one.refers_to.lower()] for one in writer.sobject.own_fields if one.refers_to}
    for name, parent in lookups.items():
        _resolve_by_key(writer.records, [row for row in rows if name in row.parents], name, parent)
        _check_ids(writer.records, [row for row in rows if row.values.get(name) and name not in row.parents], name, parent)


def _resolve_by_key(records: Records, rows: Sequence[RowWish], name: str, parent: SObject) -> None:
    if not rows:
        return
    keys = sorted({external_key(row.parents[name][1]) for row in rows})
    found = _grouped(records.found("find_by_keys", object=parent.name, keys=json.dumps(keys)), lambda row: row["key"])
    for row in rows:
        shown = row.parents[name][1]
        matches = found.get(external_key(shown), [])
        if len(matches) == 1:
            row.values[name] = id_of(parent.key_prefix, matches[0]["number"])
        elif not row.fault:
            told = f"Foreign key external ID: {shown} not found for field {parent.external_id.name} in entity {parent.name}"
            several = f"{parent.external_id.name}: more than one record found for external id field: {shown}"
            row.fault = RowFault("DUPLICATE_EXTERNAL_ID", several, (name,)) if matches else RowFault("INVALID_FIELD", told)


def _check_ids(records: Records, rows: Sequence[RowWish], name: str, parent: SObject) -> None:
    if not rows:
        return
    numbers = {number for row in rows if (number := number_of(parent.key_prefix, row.values[name] or ""))}
    live = {row["number"] for row in records.found("find_by_numbers", object=parent.name, numbers=json.dumps(sorted(numbers)))}
    for row in rows:
        number = number_of(parent.key_prefix, row.values[name] or "")
        if number in live:
            row.values[name] = id_of(parent.key_prefix, number or 0)
        elif not row.fault:
            row.fault = RowFault("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", (name,))


def _refuse_colliding_parents(sobject: SObject, rows: Sequence[RowWish]) -> None:
    """Chunks are saved side by side, two at a time: a parent in both is locked by the first when the second wants it.

    Siblings that share a chunk never collide, so rows sorted by parent nearly never do (Bulk guide, lock contention).
    """
    lookups = [one.name for one in sobject.own_fields if one.refers_to]
    holder: dict[tuple[int, str], int] = {}
    for place, row in enumerate(rows):
        chunk = place // _CHUNK_ROWS
        for parent in filter(None, (row.values.get(name) for name in lookups)):
            first = holder.setdefault((chunk // _CHUNKS_AT_ONCE, parent), chunk)
            if first != chunk and not row.fault:
                row.fault = _lock_fault(parent)


def _as_json(rows: Sequence[Any]) -> str:
    return json.dumps(rows, ensure_ascii=False)


def _lock_fault(identity: str) -> RowFault:
    whom = f"this record or 1 records: {identity}" if identity else "this record"
    return RowFault("UNABLE_TO_LOCK_ROW", f"unable to obtain exclusive access to {whom}")


def _locked(identity: str) -> RowResult:
    return RowResult(identity, created=False, fault=_lock_fault(identity))


def _missing(names: Sequence[str]) -> RowResult:
    fault = RowFault("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(names)}]", tuple(names))
    return RowResult("", created=False, fault=fault)
