"""How a customer's metrics become the fields of a Salesforce record, and what of it Salesforce would refuse – known before a call is spent. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import polars as pl

from treadle.errors import InvalidInput, UnexpectedAnswer

CLEAR_MARK: Final = "#N/A"  # what Bulk API 2.0 takes for "set this field to null"; as a text of a customer it cannot be told from that
_TEXT_KINDS: Final = frozenset({"string", "textarea", "picklist", "multipicklist", "email", "phone", "url", "id", "reference", "combobox"})
_NUMBER_KINDS: Final = frozenset({"currency", "double", "percent"})
_INT_LIMIT: Final = 2**31


class NullPolicy(StrEnum):
    """What a null of ours means for the field there."""

    CLEAR = "clear"  # set it to null there, too
    LEAVE = "leave"  # say nothing about it: what is there stays
    FILL_IF_EMPTY = "fill_if_empty"  # write only where we have acknowledged no value yet; a value that is there stays, whatever ours is


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One column of the metrics and the field that it goes to."""

    source: str
    target: str
    null_policy: NullPolicy = NullPolicy.CLEAR


@dataclass(frozen=True, slots=True)
class SyncMapping:
    """Which columns go to which fields of which object. `external_id` is the field that a record is found by; it is none of `rules`."""

    object_name: str
    external_id: FieldRule
    rules: tuple[FieldRule, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are written, without the external id."""
        return tuple(rule.target for rule in self.rules)


CUSTOMER_WEEKLY: Final = SyncMapping(
    "Customer_Weekly_Metric__c",
    FieldRule("external_signal_id", "External_Signal_Id__c"),
    (
        FieldRule("external_customer_id", "External_Customer_Id__c"),
        FieldRule("batch_week_start", "Batch_Week_Start__c"),
        FieldRule("batch_week_end", "Batch_Week_End__c"),
        FieldRule("total_spend_week", "Total_Spend_Week__c"),
        FieldRule("activity_count_week", "Activity_Count_Week__c"),
        FieldRule("last_activity_time", "Last_Activity_Time__c"),
        FieldRule("customer_tier", "Customer_Tier__c"),
    ),
)


@dataclass(frozen=True, slots=True)
class DescribedField:
    """A field as sObject Describe tells of it."""

    name: str
    kind: str  # its `type`: string, currency, double, int, date, datetime, picklist, boolean …
    length: int = 0  # characters; 0 for what is no text
    precision: int = 0
    scale: int = 0
    digits: int = 0
    createable: bool = True
    updateable: bool = True
    nillable: bool = True
    defaulted_on_create: bool = False
    external_id: bool = False
    case_sensitive: bool = False
    calculated: bool = False
    restricted_picklist: bool = False
    picklist_values: frozenset[str] = frozenset()  # the active ones


@dataclass(frozen=True, slots=True)
class Describe:
    """An object's fields by name."""

    object_name: str
    fields: Mapping[str, DescribedField]

    def folds_case(self, name: str) -> bool:
        """Whether Salesforce takes values of this field that differ in case for one."""
        return not self.fields[name].case_sensitive


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """Why a row is not sent: which rule, at which field, for which value."""

    rule: str
    field: str
    value: str | None
    reason: str


def read_describe(answer: Mapping[str, Any]) -> Describe:
    """The answer of `GET sobjects/{object}/describe`; members that we have no use for are ignored.

    Raises:
        UnexpectedAnswer: it has no name or no list of fields, or a field has no name or type.
    """
    try:
        fields = [_read_field(field) for field in answer["fields"]]
        return Describe(str(answer["name"]), {field.name: field for field in fields})
    except (KeyError, TypeError) as error:
        raise UnexpectedAnswer(
            f"Salesforce's description of an object lacks {error}.", hint="Look at what sobjects/…/describe answers."
        ) from error


def _read_field(field: Mapping[str, Any]) -> DescribedField:
    values: Sequence[Mapping[str, Any]] = field.get("picklistValues") or []
    return DescribedField(
        name=str(field["name"]),
        kind=str(field["type"]),
        length=int(field.get("length") or 0),
        precision=int(field.get("precision") or 0),
        scale=int(field.get("scale") or 0),
        digits=int(field.get("digits") or 0),
        createable=bool(field.get("createable", True)),
        updateable=bool(field.get("updateable", True)),
        nillable=bool(field.get("nillable", True)),
        defaulted_on_create=bool(field.get("defaultedOnCreate")),
        external_id=bool(field.get("externalId")),
        case_sensitive=bool(field.get("caseSensitive")),
        calculated=bool(field.get("calculated")),
        restricted_picklist=bool(field.get("restrictedPicklist")),
        picklist_values=frozenset(str(value["value"]) for value in values if value.get("active", True)),
    )


def describe_drift(before: Describe, after: Describe) -> tuple[str, ...]:
    """What changed between two descriptions, a sentence per field, in the order of the names."""
    names = sorted(before.fields.keys() | after.fields.keys())
    return tuple(
        sentence
        for name in names
        if before.fields.get(name) != after.fields.get(name)
        and (sentence := _drift_of(before.fields.get(name), after.fields.get(name), name))
    )


def _drift_of(before: DescribedField | None, after: DescribedField | None, name: str) -> str:
    if before is None:
        return f"{name} is new."
    if after is None:
        return f"{name} is gone."
    changed = [fact for fact in DescribedField.__dataclass_fields__ if getattr(before, fact) != getattr(after, fact)]
    return f"{name}: " + ", ".join(f"{fact} {_shown(getattr(before, fact))} → {_shown(getattr(after, fact))}" for fact in changed) + "."


def _shown(fact: object) -> str:
    return ", ".join(sorted(map(str, fact))) if isinstance(fact, frozenset) else str(fact)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def require_mapping(mapping: SyncMapping, schema: Mapping[str, pl.DataType], describe: Describe) -> None:
    """Check what holds for every row, before any is looked at.

    Raises:
        InvalidInput: a column or field does not exist, a field's kind cannot hold the column, or the external id is none; `details["problems"]` has all of it.
    """
    problems = [*_external_id_problems(mapping, describe)]
    for rule in (mapping.external_id, *mapping.rules):
        field = describe.fields.get(rule.target)
        if rule.source not in schema:
            problems.append(f"the metrics have no column {rule.source}")
        elif field is None:
            problems.append(f"{mapping.object_name} has no field {rule.target}, or the integration user may not see it")
        elif field.calculated:
            problems.append(f"{rule.target} is calculated by Salesforce and cannot be written")
        elif not _can_hold(field, schema[rule.source]):
            problems.append(f"{rule.target} is a {field.kind}, which cannot hold {rule.source} ({schema[rule.source]})")
    if problems:
        raise InvalidInput(
            f"The mapping to {mapping.object_name} does not fit: {'; '.join(problems)}.",
            hint="Correct the object's fields in Salesforce, or the mapping.",
            details={"problems": problems},
        )


def _external_id_problems(mapping: SyncMapping, describe: Describe) -> Sequence[str]:
    field = describe.fields.get(mapping.external_id.target)
    return [f"{field.name} is not marked as an External ID"] if field and not field.external_id else []


def _can_hold(field: DescribedField, dtype: pl.DataType) -> bool:
    match field.kind:
        case "date":
            return isinstance(dtype, pl.Date)
        case "datetime":
            return isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
        case "boolean":
            return isinstance(dtype, pl.Boolean)
        case "int":
            return dtype.is_integer()
        case kind if kind in _NUMBER_KINDS:
            return dtype.is_integer() or isinstance(dtype, pl.Decimal)
        case kind:
            return kind in _TEXT_KINDS and isinstance(dtype, pl.String)


def mapped(rule: FieldRule, field: DescribedField, dtype: pl.DataType) -> pl.Expr:
    """The column as the field can hold it, named like the field: money rounded half to even to the field's scale, moments to milliseconds in UTC.

    A number of more digits than the field has stays as it is: `row_checks` blocks its row.
    """
    column = pl.col(rule.source)
    if isinstance(dtype, pl.Decimal):
        column = column.round(field.scale, mode="half_to_even").cast(pl.Decimal(38, field.scale))
    elif isinstance(dtype, pl.Datetime):
        column = column.dt.convert_time_zone("UTC").dt.truncate("1ms").dt.cast_time_unit("us")
    elif dtype.is_integer():
        column = column.cast(pl.Int64)
    return column.alias(rule.target)


@dataclass(frozen=True, slots=True)
class RowCheck:
    """One way in which a row can be refused; `fails` is true for such rows, and false or null for all others."""

    rule: str
    field: str
    fails: pl.Expr
    reason: str


def row_checks(mapping: SyncMapping, describe: Describe, schema: Mapping[str, pl.DataType]) -> tuple[RowCheck, ...]:
    """The checks that describe() gives for mapped rows. schema: of the mapped columns, by field."""
    rules = (mapping.external_id, *mapping.rules)
    return tuple(check for rule in rules for check in _checks_of(rule, describe.fields[rule.target], schema[rule.target]))


def _checks_of(rule: FieldRule, field: DescribedField, dtype: pl.DataType) -> list[RowCheck]:
    column = pl.col(field.name)
    checks: list[RowCheck] = []
    if isinstance(dtype, pl.String):
        checks.append(
            RowCheck(
                "reserved_text", field.name, column == CLEAR_MARK, f"“{CLEAR_MARK}” is how a field is cleared; it cannot be sent as text"
            )
        )
        nul = column.str.contains("\0", literal=True)
        checks.append(RowCheck("control_character", field.name, nul, "it holds the character U+0000, which databases cannot store"))
        if field.length:
            longer = f"it has more than {field.length} characters"
            checks.append(RowCheck("text_too_long", field.name, column.str.len_chars() > field.length, longer))
    if field.restricted_picklist and isinstance(dtype, pl.String):
        values = sorted(field.picklist_values)
        checks.append(
            RowCheck("picklist_value", field.name, ~column.is_in(values), f"it is none of the picklist's values {', '.join(values)}")
        )
    if (limit := _limit(field)) and dtype.is_numeric():
        checks.append(RowCheck("number_out_of_range", field.name, column.abs() >= limit, f"the field holds numbers below {limit:,} only"))
    if not field.nillable and rule.null_policy is NullPolicy.CLEAR:
        checks.append(RowCheck("required", field.name, column.is_null(), "the field must not be empty"))
    return checks


def _limit(field: DescribedField) -> int | None:
    """The least number that is too great for the field."""
    if field.kind == "int":
        return min(_INT_LIMIT, 10**field.digits) if field.digits else _INT_LIMIT
    return 10 ** (field.precision - field.scale) if field.kind in _NUMBER_KINDS and field.precision else None


def any_fails(checks: Sequence[RowCheck]) -> pl.Expr:
    """Whether a row fails any of the checks."""
    return pl.any_horizontal(pl.lit(value=False), *(check.fails.fill_null(value=False) for check in checks))


def find_problems(rows: pl.DataFrame, checks: Sequence[RowCheck]) -> list[list[FieldProblem]]:
    """For each row all that is wrong with it; meant for the few rows that fail."""
    verdicts = rows.select(check.fails.fill_null(value=False).alias(str(number)) for number, check in enumerate(checks))
    found: list[list[FieldProblem]] = [[] for _ in range(rows.height)]
    for number, check in enumerate(checks):
        for row in verdicts[str(number)].arg_true():
            value = rows[check.field][row]
            found[row].append(FieldProblem(check.rule, check.field, None if value is None else str(value)[:1000], check.reason))
    return found


def action_problems(mapping: SyncMapping, describe: Describe, *, creating: bool) -> tuple[FieldProblem, ...]:
    """What keeps every create, or every update, from being sent, whatever its values."""
    word = "create" if creating else "update"
    allowed = [(rule.target, describe.fields[rule.target]) for rule in (mapping.external_id, *mapping.rules)]
    barred = [
        FieldProblem(f"not_{word}able", name, None, f"the integration user may not {word} this field")
        for name, field in allowed
        if not (field.createable if creating else field.updateable or name == mapping.external_id.target)
    ]
    return (*barred, *(_required_fields(mapping, describe) if creating else ()))


def _required_fields(mapping: SyncMapping, describe: Describe) -> Sequence[FieldProblem]:
    written = {mapping.external_id.target, *mapping.fields}
    return [
        FieldProblem("required_on_create", field.name, None, "a new record needs this field, and the mapping does not fill it")
        for field in describe.fields.values()
        if field.createable and not field.nillable and not field.defaulted_on_create and field.name not in written
    ]


def is_percentage(value: float | None) -> bool:
    """Whether a share can be compared with at all."""
    return value is not None and math.isfinite(value) and 0 <= value <= 100
