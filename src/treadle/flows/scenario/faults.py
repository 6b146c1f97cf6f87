"""What is wrong with a scenario: small values that are collected and shown together, so that nobody has to mend one thing at a time."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SHOWN_PER_CODE: Final = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that must be mended before the scenario can be built.

    code: stable, for scripts. where: the file, with line, column or member where known. message: what is wrong. hint: what to do.
    """

    code: str
    where: str
    message: str
    hint: str


def shortened(faults: Iterable[Fault], per_code: int = SHOWN_PER_CODE) -> tuple[Fault, ...]:
    """The faults in their order, each once; of a code that occurs very often only the first ones, and how many more there are."""
    kept: list[Fault] = []
    seen: Counter[str] = Counter()
    for fault in dict.fromkeys(faults):
        seen[fault.code] += 1
        if seen[fault.code] <= per_code:
            kept.append(fault)
    more = {code: count - per_code for code, count in seen.items() if count > per_code}
    return (
        *kept,
        *(
            Fault(code, "the whole archive", f"There are {count:,} more faults of this kind.", "Mend these first.")
            for code, count in more.items()
        ),
    )


def listed(values: Iterable[object], most: int = 5) -> str:
    """Some values for a message: quoted, and with a sign when there are more."""
    found = list(values)
    text = ", ".join(repr(str(value)[:60]) for value in found[:most])
    return f"{text}, …" if len(found) > most else text
