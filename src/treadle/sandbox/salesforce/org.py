"""The records of the org as the REST API sees them: read one, query, and write through the rules of writing.py.

Sources: REST guide – sObject Rows, sObject Rows by External ID, Query, sObject Collections.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from treadle.sandbox.salesforce.identity import PERSON_ID, USER_ID
from treadle.sandbox.salesforce.ids import id_of, number_of
from treadle.sandbox.salesforce.ingest_work import locked_by_fault
from treadle.sandbox.salesforce.records import Row
from treadle.sandbox.salesforce.refusals import Refused, RowFault, Unfit, no_resource, not_modelled
from treadle.sandbox.salesforce.schema import OBJECTS, Field, SObject
from treadle.sandbox.salesforce.soql import Query
from treadle.sandbox.salesforce.values import external_key, from_json, in_json
from treadle.sandbox.salesforce.workshop import Workshop
from treadle.sandbox.salesforce.writing import INTEGRATION, PERSON, RowResult, RowWish, Writer, write_rows

MOST_IN_COLLECTION: Final = 200
_VERBS: Final = {"insert": "Create", "update": "Update", "upsert": "Upsert", "delete": "Delete"}
_ROLLED_BACK: Final = RowFault(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK", "Record rolled back because not all records were valid and the request was using AllOrNone header"
)


class _RollBackError(Exception):
    """Leaves the transaction of an allOrNone request without its writes."""


class Org:
    """Reads and writes records. Safe to use from any thread."""

    def __init__(self, workshop: Workshop) -> None:
        self._records, self._clock, self._faults, self._options = workshop.records, workshop.clock, workshop.faults, workshop.options

    def read(self, sobject: SObject, identity: str) -> dict[str, Any]:
        """One live record by its id. Raises Refused."""
        found = self._by_identity(sobject, identity)
        if found is None:
            raise no_resource()
        return found

    def read_by_key(self, sobject: SObject, key: str, version: str) -> dict[str, Any]:
        """One live record by its external id. Raises Refused, or Several with the places of all that match."""
        rows = self._rows(sobject, keys=[external_key(key)])
        if not rows:
            raise no_resource()
        if len(rows) > 1:
            raise SeveralError([f"/services/data/v{version}/sobjects/{sobject.name}/{self._id(sobject, row)}" for row in rows])
        return self.shown(sobject, rows[0])

    def write(
        self, operation: str, sobject: SObject, body: Mapping[str, Any], *, identity: str | None = None, key: str | None = None
    ) -> RowResult:
        """Write one record. Raises Refused with the row's fault, or Several."""
        if key is not None and operation == "upsert" and len(rows := self._rows(sobject, keys=[external_key(key)])) > 1:
            raise SeveralError([self._id(sobject, row) for row in rows])
        wish = self._wish(sobject, body)
        wish.identity = identity
        if key is not None:
            wish.values[sobject.external_id.name], wish.key = key.strip(), external_key(key)
        result = self._write(f"salesforce.{_VERBS[operation]}Record", operation, sobject, [wish], all_or_none=False)[0]
        if result.fault:
            status = 404 if result.fault.code in {"ENTITY_IS_DELETED", "MALFORMED_ID"} and operation != "insert" else 400
            raise Refused(status, result.fault.code, result.fault.message, result.fault.fields)
        return result

    def write_collection(
        self, operation: str, records: Sequence[Mapping[str, Any]], *, all_or_none: bool, expected: SObject | None = None
    ) -> list[RowResult]:
        """Write up to 200 records of one object; results in their order. Raises Refused."""
        _check_size(records)
        sobjects = [_sobject_of(record) for record in records]
        if expected and (other := next((one for one in sobjects if one is not expected), None)):
            raise Refused(400, "INVALID_TYPE", f"The record's type {other.name} is not {expected.name}, which the address names.")
        if len({one.name for one in sobjects}) > 1:
            raise not_modelled("a collection of several objects")
        wishes = [self._collected(operation, sobject, record) for sobject, record in zip(sobjects, records, strict=True)]
        if not wishes:
            raise Refused(400, "JSON_PARSER_ERROR", "The request has no records.")
        return self._write(f"salesforce.{_VERBS[operation]}Collection", operation, sobjects[0], wishes, all_or_none=all_or_none)

    def delete_collection(self, identities: Sequence[str], *, all_or_none: bool) -> list[RowResult]:
        """Delete up to 200 records by id. Raises Refused."""
        _check_size(identities)
        sobjects = {sobject_of_id(identity).name: sobject_of_id(identity) for identity in identities}
        if len(sobjects) != 1:
            raise not_modelled("a collection of several objects")
        wishes = [RowWish(identity=identity) for identity in identities]
        return self._write("salesforce.DeleteCollection", "delete", next(iter(sobjects.values())), wishes, all_or_none=all_or_none)

    def query(self, query: Query, after: int = 0, taken: int = 0) -> tuple[list[Row], int, bool]:
        """One page of rows behind the record `after`, when `taken` rows were given before; how many match in all, and whether some are left."""
        filters = self._filters(query)
        matching = self._records.rows("count_records", **filters)[0]["found"]
        total = matching if query.limit is None else min(matching, query.limit)
        if query.counts:
            return [], total, False
        rows = self._records.rows("read_records", **filters, after=after, limit=min(self._options.query_page_size, total - taken))
        return rows, total, taken + len(rows) < total

    def shown(self, sobject: SObject, row: Row, fields: Sequence[Field] | None = None) -> dict[str, Any]:
        """A record as answers show it, without its `attributes`; all fields unless some are named."""
        stored = json.loads(row["fields"])
        system = {
            "Id": self._id(sobject, row),
            "IsDeleted": False,
            "CreatedDate": row["created_at"],
            "LastModifiedDate": row["modified_at"],
            "LastModifiedById": PERSON_ID if row["modified_by"] == PERSON else USER_ID,
            "SystemModstamp": row["modified_at"],
        }
        counted = {one.name: f"{one.counted}{row['number']:08d}" for one in sobject.own_fields if one.counted}
        chosen = fields if fields is not None else sobject.by_name.values()
        return {one.name: (system | counted).get(one.name, in_json(one, stored.get(one.name))) for one in chosen}

    def edit(self, sobject: SObject, key: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change a record as a person in Salesforce would: another user's write, not counted as the integration's. Raises Refused."""
        found = self._rows(sobject, keys=[external_key(key)])
        if len(found) != 1:
            raise no_resource()
        wish = self._wish(sobject, values)
        wish.identity = self._id(sobject, found[0])
        writer = Writer(self._records, sobject, "update", self._clock.now(), by=PERSON)
        with self._records.transaction():
            result = write_rows(writer, [wish])[0]
        if result.fault:
            raise Refused(400, result.fault.code, result.fault.message, result.fault.fields)
        return self.read(sobject, result.identity)

    def remove(self, sobject: SObject, key: str) -> None:
        """Delete a record as a person would. Raises Refused."""
        found = self._rows(sobject, keys=[external_key(key)])
        if len(found) != 1:
            raise no_resource()
        writer = Writer(self._records, sobject, "delete", self._clock.now(), by=PERSON)
        with self._records.transaction():
            write_rows(writer, [RowWish(identity=self._id(sobject, found[0]))])

    def writes(self, sobject: SObject, keys: Sequence[str] | None = None) -> dict[str, dict[str, int]]:
        """How often each external id (as it is compared) was created, updated, deleted by the integration, and edited by a person."""
        wanted = None if keys is None else json.dumps([external_key(key) for key in keys])
        rows = self._records.rows("count_writes", object=sobject.name, keys=wanted)
        return {row["key"]: {name: row[name] for name in ("created", "updated", "deleted", "edited")} for row in rows}

    def _write(self, place: str, operation: str, sobject: SObject, wishes: list[RowWish], *, all_or_none: bool) -> list[RowResult]:
        locked = locked_by_fault(self._faults, place)
        writer = Writer(
            self._records, sobject, operation, self._clock.now(), by=INTEGRATION, locked=locked, rules=self._options.validation_rules
        )
        results: list[RowResult] = []
        try:
            with self._records.transaction():
                results = write_rows(writer, wishes)
                _leave_if(all_or_none and any(result.fault for result in results))
        except _RollBackError:
            results = [replace(result, identity="", created=False, fault=result.fault or _ROLLED_BACK) for result in results]
        return results

    def _collected(self, operation: str, sobject: SObject, record: Mapping[str, Any]) -> RowWish:
        body = {name: value for name, value in record.items() if name.lower() not in {"attributes", "id"}}
        wish = self._wish(sobject, body)
        wish.identity = next((str(value) for name, value in record.items() if name.lower() == "id" and value), None)
        if operation == "upsert" and (key := wish.values.get(sobject.external_id.name)):
            wish.key = external_key(key)
        return wish

    def _wish(self, sobject: SObject, body: Mapping[str, Any]) -> RowWish:
        """Read the fields of a JSON record. Raises Refused for a field that is none, or may not be written."""
        wish = RowWish()
        for name, value in body.items():
            relation = sobject.relationships.get(name.lower())
            field = sobject.find(name)
            if relation and relation.refers_to and isinstance(value, dict):
                parent = OBJECTS[relation.refers_to.lower()]
                named = {str(one).lower(): text for one, text in cast("dict[str, Any]", value).items()}
                wish.parents[relation.name] = (parent.name, str(named.get(parent.external_id.name.lower(), "")))
            elif field is None:
                raise Refused(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
            elif field.system:
                told = f"Unable to create/update fields: {field.name}. Please check the security settings of this field"
                raise Refused(400, "INVALID_FIELD_FOR_INSERT_UPDATE", told, (field.name,))
            else:
                self._read_value(wish, field, value)
        return wish

    def _read_value(self, wish: RowWish, field: Field, value: Any) -> None:
        try:
            wish.values[field.name] = from_json(field, value)
        except Unfit as unfit:
            wish.fault = wish.fault or unfit.fault

    def _by_identity(self, sobject: SObject, identity: str) -> dict[str, Any] | None:
        number = number_of(sobject.key_prefix, identity)
        rows = self._rows(sobject, numbers=[number]) if number else []
        return self.shown(sobject, rows[0]) if rows else None

    def _rows(self, sobject: SObject, *, keys: list[str] | None = None, numbers: list[int] | None = None) -> list[Row]:
        filters = _no_filter(sobject) | {"keys": json.dumps(keys) if keys else None, "numbers": json.dumps(numbers) if numbers else None}
        return self._records.rows("read_records", **filters, after=0, limit=1000)

    def _filters(self, query: Query) -> dict[str, Any]:
        filters, field = _no_filter(query.sobject), query.field
        if field is None:
            return filters
        texts = [value for value in query.wanted if value is not None]
        if field.name == "Id":
            return filters | {"numbers": json.dumps([number_of(query.sobject.key_prefix, text) or 0 for text in texts])}
        if field.name == "IsDeleted" and [text.lower() for text in texts] == ["false"]:
            return filters
        if field.system:
            raise not_modelled(f"SOQL: WHERE {field.name}")
        if field.external_id and texts:
            return filters | {"keys": json.dumps([external_key(text) for text in texts])}
        path = f"$.{field.name}"
        if not texts:
            return filters | {"absent": path}
        return filters | {"path": path, "wanted": json.dumps([_stored(field, text) for text in texts])}

    def _id(self, sobject: SObject, row: Row) -> str:
        return id_of(sobject.key_prefix, row["number"])


class SeveralError(Exception):
    """An external id that more than one record has: 300 with the places of all of them."""

    def __init__(self, places: list[str]) -> None:
        super().__init__(", ".join(places))
        self.places = places


def sobject_of_id(identity: str) -> SObject:
    """The object whose record has this id. Raises Refused."""
    found = next((one for one in OBJECTS.values() if identity.startswith(one.key_prefix)), None)
    if found is None:
        raise Refused(400, "MALFORMED_ID", f"malformed id {identity}")
    return found


def _sobject_of(record: Mapping[str, Any]) -> SObject:
    attributes = cast("Mapping[str, Any]", record.get("attributes") or {})
    named = str(attributes.get("type", ""))
    found = OBJECTS.get(named.lower())
    if found is None:
        raise Refused(400, "INVALID_TYPE", f"sObject type '{named}' is not supported." if named else "The record has no attributes.type.")
    return found


def _leave_if(failed: bool) -> None:  # noqa: FBT001 - reads as a sentence
    if failed:
        raise _RollBackError


def _check_size(asked: Sequence[Any]) -> None:
    if len(asked) > MOST_IN_COLLECTION:
        told = f"record limit reached. cannot submit more than {MOST_IN_COLLECTION} records into this call"
        raise Refused(400, "LIMIT_EXCEEDED", told)


def _no_filter(sobject: SObject) -> dict[str, Any]:
    return {"object": sobject.name, "keys": None, "numbers": None, "path": None, "wanted": "[]", "absent": None}


def _stored(field: Field, text: str) -> str | None:
    try:
        return from_json(field, text)
    except Unfit as unfit:
        raise Refused(400, "INVALID_FIELD", unfit.fault.message) from unfit
