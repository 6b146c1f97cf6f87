"""The columns and sheets of a file, and the mapping that says which column is read as what. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

ROLES: Final[Mapping[str, tuple[str, str]]] = {
    "revenue": ("Revenue", "The amount of each row. Needed: all figures are sums of it."),
    "order_id": ("Order id", "Which order a row belongs to. Needed: orders are counted by it."),
    "order_date": ("Order date", "Dates the orders; without it there is no series over time."),
    "channel": ("Channel", "Splits the revenue by channel."),
    "region": ("Region", "Splits the revenue by region."),
    "product_category": ("Product category", "Splits the revenue by product category."),
}
"""The names that a run looks for: what people call them, and what each is for."""
REQUIRED: Final = ("revenue", "order_id")


@dataclass(frozen=True, slots=True)
class Source:
    """A column as the file has it, and the name by which it is read at present."""

    name: str
    kind: str
    read_as: str


def sources(profile: Mapping[str, Any]) -> list[Source]:
    """The columns of the file. One without a header has the name that it is read by, which a mapping may use too."""
    return [
        Source(str(entry.get("source_column") or "").strip() or str(entry["column"]), str(entry["dtype"]), str(entry["column"]))
        for entry in profile["schema"]
    ]


def sources_of_failure(details: Mapping[str, Any] | None) -> list[Source]:
    """The columns that an inspection saw before it gave up, as far as it says them."""
    headers = [header.strip() for header in _texts((details or {}).get("columns"))]
    return [Source(header, "text", _read_name(header)) for header in headers if header]


def _texts(value: object) -> list[str]:
    """A list of the details of a failure, which is whatever was written there."""
    return [str(item) for item in cast("list[Any]", value)] if isinstance(value, list) else []


def _read_name(header: str) -> str:
    return "_".join(header.lower().split())


def missing_roles(found: Sequence[Source]) -> list[str]:
    """The required names that no column is read by."""
    return [name for name in REQUIRED if name not in {source.read_as for source in found}]


def suggested(found: Sequence[Source]) -> dict[str, str]:
    """Required name → the column of the file that looks most like it, for each that is missing."""
    missing = missing_roles(found)
    if not missing:
        return {}
    from treadle.flows.sales.reading.names import suggest_mapping  # noqa: PLC0415 - brings Polars, which a page with all columns does not need

    likely = suggest_mapping(missing, [source.read_as for source in found], [source.name for source in found])
    return {name: column for column, name in likely.items()}


def picked(found: Sequence[Source]) -> dict[str, str]:
    """Name that a run looks for → the column that is read by it now."""
    return {source.read_as: source.name for source in found if source.read_as in ROLES}


def other_names(mapping: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a mapping renames to names of people's own."""
    return [(source, name) for source, name in mapping.items() if _read_name(name) not in ROLES]


def new_mapping(
    found: Sequence[Source], mapping: Mapping[str, str], picks: Mapping[str, str | None], others: Iterable[tuple[str, str]]
) -> tuple[dict[str, str], list[str]]:
    """The mapping that these choices make, and what is wrong with them; nothing is, when the list is empty.

    A column that already has its name by itself is left out, so that the mapping says only what differs from the file.
    """
    by_itself = {(source.read_as, source.name) for source in found if source.name not in mapping}
    wanted = [(source, role) for role, source in picks.items() if source and (role, source) not in by_itself]
    wanted += [(source.strip(), name.strip()) for source, name in others if source.strip() and name.strip()]
    problems = [
        *(f"{source} can only have one name." for source in _repeated([source for source, _ in wanted])),
        *(f"Only one column can be read as {name}." for name in _repeated([_read_name(name) for _, name in wanted])),
        *(f"{role} and another name cannot both come from {source}." for role, source in _clashes(by_itself, picks, wanted)),
    ]
    return dict(wanted), problems


def _clashes(by_itself: set[tuple[str, str]], picks: Mapping[str, str | None], wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    kept = [(role, source) for role, source in picks.items() if source and (role, source) in by_itself]
    renamed = {source for source, _ in wanted}
    return [(ROLES[role][0], source) for role, source in kept if source in renamed]


def _repeated(values: Sequence[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if values.count(value) > 1]


_OTHER_SHEETS: Final = re.compile(r"Not read: (?P<names>.*)\.$", re.DOTALL)
_HIDDEN_SHEETS: Final = re.compile(r"hidden sheets?: (?P<names>.*); (it was read by name|not read)\.$", re.DOTALL)


def sheets(profile: Mapping[str, Any] | None, details: Mapping[str, Any] | None = None) -> list[str]:
    """The sheets of the workbook, the one that was read first, as far as the inspection tells of them. Empty: the format has none, or there is one."""
    if profile is None:
        return _texts((details or {}).get("sheets"))
    read = profile.get("sheet")
    if not read:
        return []
    told = {str(check["check"]): str(check["detail"]) for check in profile["validations"]}
    matches = (_OTHER_SHEETS.search(told.get("other_sheets", "")), _HIDDEN_SHEETS.search(told.get("hidden_sheets", "")))
    others = [name for match in matches if match for name in match["names"].split(", ")]
    found = list(dict.fromkeys([str(read), *others]))
    return found if len(found) > 1 else []
