"""What Salesforce refuses: whole requests, and single rows of a request that goes on.

Sources: REST guide, Status Codes and Error Responses; SOAP API guide, StatusCode (the words of row errors); Bulk guide, Errors.
"""

from dataclasses import dataclass
from typing import Any


class Refused(Exception):
    """A request that is answered with Salesforce's list of errors: `[{"errorCode", "message"}]`."""

    def __init__(self, status: int, code: str, message: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message, self.fields = status, code, message, fields


@dataclass(frozen=True, slots=True)
class RowFault:
    """Why one row was not written."""

    code: str
    message: str
    fields: tuple[str, ...] = ()

    def in_csv(self) -> str:
        """As `sf__Error` of a Bulk result: code, message and fields in one text."""
        return f"{self.code}:{self.message}:{','.join(self.fields)}{' ' if self.fields else ''}--"

    def in_json(self) -> dict[str, Any]:
        """As one of the `errors` of a Collections result."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}


class Unfit(Exception):
    """A value that its field cannot hold; the row is refused, the rest of the request goes on."""

    def __init__(self, fault: RowFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def no_resource() -> Refused:
    """404 for an address or a record that is not there."""
    return Refused(404, "NOT_FOUND", "The requested resource does not exist")


def not_modelled(what: str) -> Refused:
    """501: real Salesforce does this, the sandbox does not."""
    return Refused(501, "NOT_MODELLED", f"{what}: not modelled by the Treadle sandbox; see docs/sandbox-differences.md")
