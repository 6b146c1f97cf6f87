"""A piece of SQL with the Kusto type of its value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Typed:
    """column: the column that a name of its own can be taken from, such as Timestamp for bin(Timestamp, 1h)."""

    sql: str
    type: str
    column: str | None = None
