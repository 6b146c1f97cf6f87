"""The objects of the org and what `describe` says of them.

Sources: REST guide, sObject Describe; SOAP API guide, DescribeSObjectResult and Field (the properties of a field).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

TIERS: Final = ("HIGH", "MEDIUM", "LOW")
_SOAP_TYPES: Final = {"currency": "double", "double": "double", "date": "date", "datetime": "dateTime", "boolean": "boolean"}
_NUMBERS: Final = frozenset({"currency", "double"})


@dataclass(frozen=True, slots=True)
class Field:
    """One field. length is in characters; precision counts all digits, scale those behind the point.

    counted: what goes before the number of an auto-number field.
    """

    name: str
    label: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    required: bool = False
    system: bool = False
    external_id: bool = False
    unique: bool = False
    values: tuple[str, ...] = ()
    refers_to: str | None = None
    relationship: str | None = None
    counted: str = ""

    def describe(self) -> dict[str, Any]:
        """The field as `describe` shows it."""
        return {
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "soapType": f"xsd:{_SOAP_TYPES.get(self.type, 'string')}" if self.type not in {"id", "reference"} else "tns:ID",
            "length": self.length,
            "byteLength": self.length * 3,
            "precision": self.precision,
            "scale": self.scale,
            "digits": 0,
            "createable": not self.system,
            "updateable": not self.system,
            "nillable": not (self.required or self.system),
            "defaultedOnCreate": self.system,
            "defaultValue": None,
            "externalId": self.external_id,
            "idLookup": self.external_id or self.type == "id",
            "unique": self.unique,
            "caseSensitive": False,
            "calculated": False,
            "autoNumber": bool(self.counted),
            "custom": self.name.endswith("__c"),
            "filterable": True,
            "sortable": True,
            "groupable": self.type not in _NUMBERS,
            "restrictedPicklist": bool(self.values),
            "picklistValues": [{"value": one, "label": one.title(), "active": True, "defaultValue": False} for one in self.values],
            "referenceTo": [self.refers_to] if self.refers_to else [],
            "relationshipName": self.relationship,
        }


@dataclass(frozen=True, slots=True)
class SObject:
    """One object. key_prefix: the first three characters of its records' ids; external_id: the field to upsert by."""

    name: str
    label: str
    key_prefix: str
    own_fields: tuple[Field, ...]
    by_name: Mapping[str, Field] = field(init=False, repr=False)
    relationships: Mapping[str, Field] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {one.name.lower(): one for one in (*_SYSTEM_FIELDS, *self.own_fields)})
        object.__setattr__(self, "relationships", {one.relationship.lower(): one for one in self.own_fields if one.relationship})

    @property
    def external_id(self) -> Field:
        """The one external id of this object."""
        return next(one for one in self.own_fields if one.external_id)

    def find(self, name: str) -> Field | None:
        """A field by its name, in any case; None when there is none."""
        return self.by_name.get(name.lower())

    def describe(self) -> dict[str, Any]:
        """The whole answer of sObject Describe, as far as clients read it."""
        return self.summary() | {
            "fields": [one.describe() for one in self.by_name.values()],
            "childRelationships": [],
            "recordTypeInfos": [],
        }

    def summary(self) -> dict[str, Any]:
        """The object in the list of all objects."""
        rights = dict.fromkeys(("createable", "updateable", "deletable", "queryable", "retrieveable", "undeletable"), True)
        return rights | {
            "name": self.name,
            "label": self.label,
            "labelPlural": f"{self.label}s",
            "keyPrefix": self.key_prefix,
            "custom": True,
        }


_SYSTEM_FIELDS: Final = (
    Field("Id", "Record ID", "id", 18, system=True),
    Field("IsDeleted", "Deleted", "boolean", system=True),
    Field("CreatedDate", "Created Date", "datetime", system=True),
    Field("LastModifiedDate", "Last Modified Date", "datetime", system=True),
    Field("LastModifiedById", "Last Modified By ID", "reference", 18, system=True, refers_to="User"),
    Field("SystemModstamp", "System Modstamp", "datetime", system=True),
)
CUSTOMER: Final = SObject(
    "Customer__c",
    "Customer",
    "a0C",
    (
        Field("Name", "Customer Name", "string", 80, required=True),
        Field("Customer_Number__c", "Customer Number", "string", 40, external_id=True),  # not unique: one number may match many records
    ),
)
CUSTOMER_WEEKLY_METRIC: Final = SObject(
    "Customer_Weekly_Metric__c",
    "Customer Weekly Metric",
    "a0W",
    (
        Field("Name", "Metric Number", "string", 80, system=True, counted="CWM-"),
        Field("External_Signal_Id__c", "External Signal Id", "string", 255, required=True, external_id=True, unique=True),
        Field("External_Customer_Id__c", "External Customer Id", "string", 80, required=True),
        Field("Batch_Week_Start__c", "Batch Week Start", "date", required=True),
        Field("Batch_Week_End__c", "Batch Week End", "date", required=True),
        Field("Total_Spend_Week__c", "Total Spend Week", "currency", precision=18, scale=2),
        Field("Activity_Count_Week__c", "Activity Count Week", "double", precision=18),
        Field("Last_Activity_Time__c", "Last Activity Time", "datetime"),
        Field("Customer_Tier__c", "Customer Tier", "picklist", 255, values=TIERS),
        Field("Notes__c", "Notes", "textarea", 1000),
        Field("Customer__c", "Customer", "reference", 18, refers_to="Customer__c", relationship="Customer__r"),
    ),
)
OBJECTS: Final[Mapping[str, SObject]] = {one.name.lower(): one for one in (CUSTOMER_WEEKLY_METRIC, CUSTOMER)}
