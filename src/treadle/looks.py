"""How a state looks, wherever one is shown: one sign, one icon, one word, one colour. Never the colour alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Colour = Literal["blue", "green", "red", "orange", "gray"]


@dataclass(frozen=True, slots=True)
class Look:
    """sign: for terminals; icon: a Material symbol, for the portal; word: for people; colour: as the portal calls it."""

    sign: str
    icon: str
    word: str
    colour: Colour


LOOKS: Final[Mapping[str, Look]] = {
    "SUBMITTED": Look("○", ":material/send:", "Submitted", "gray"),
    "QUEUED": Look("◔", ":material/schedule:", "Queued", "gray"),
    "RUNNING": Look("◑", ":material/progress_activity:", "Running", "blue"),
    "SUCCEEDED": Look("●", ":material/check_circle:", "Succeeded", "green"),
    "FAILED": Look("✕", ":material/error:", "Failed", "red"),
    "CANCELLED": Look("⊘", ":material/block:", "Cancelled", "orange"),
    "DONE": Look("●", ":material/check_circle:", "Done", "green"),
    "STOPPED": Look("○", ":material/stop_circle:", "Stopped", "orange"),
}
"""Runs, background jobs and their steps share these words."""

UNKNOWN: Final = Look("?", ":material/help:", "Unknown", "orange")


def look_of(state: str) -> Look:
    """How a state looks; one that nobody has met yet keeps its own word."""
    return LOOKS.get(state) or Look(UNKNOWN.sign, UNKNOWN.icon, state.capitalize() or UNKNOWN.word, UNKNOWN.colour)
