"""One measured comparison as a row, and rows as a Markdown table."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of bench/RESULTS.md. `target` and `note` may be empty."""

    section: str  # rows of one section make one table
    what: str
    measured: str
    target: str = ""
    met: bool | None = None  # None: there is no target to meet
    note: str = ""


def markdown(rows: Sequence[Row]) -> str:
    """The rows as one Markdown table per section, sections in order of appearance."""
    return "\n".join(sections(rows).values())


def sections(rows: Sequence[Row]) -> dict[str, str]:
    """Section name → its Markdown, in order of appearance."""
    names = dict.fromkeys(row.section for row in rows)
    return {name: _section(name, [row for row in rows if row.section == name]) for name in names}


def sections_of(text: str) -> dict[str, str]:
    """The sections of a text that was made of them; what stands before the first is left out."""
    parts = text.split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def _section(name: str, rows: Sequence[Row]) -> str:
    head = [f"## {name}", "", "| what | measured | target | met | note |", "| --- | --- | --- | --- | --- |"]
    lines = [f"| {row.what} | {row.measured} | {row.target} | {_met(row.met)} | {row.note} |" for row in rows]
    return "\n".join([*head, *lines, ""])


def _met(met: bool | None) -> str:  # noqa: FBT001 - the member of Row as it is
    return "" if met is None else "yes" if met else "**no**"
