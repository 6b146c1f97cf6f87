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
    "STARTED": Look("◑", ":material/progress_activity:", "Started", "blue"),
    "SUCCESS": Look("●", ":material/check_circle:", "Success", "green"),
    "SUCCESS_WITH_REJECTS": Look("◉", ":material/rule:", "Success with rejects", "orange"),
    "SUPERSEDED": Look("○", ":material/history:", "Superseded", "gray"),
    "SKIPPED": Look("○", ":material/skip_next:", "Skipped", "gray"),
    "STOPPED": Look("○", ":material/stop_circle:", "Stopped", "orange"),
    "INCOMPLETE": Look("◐", ":material/incomplete_circle:", "Incomplete", "orange"),
    "DUE": Look("▷", ":material/event_upcoming:", "Due", "blue"),
    "NOT_OVER": Look("◌", ":material/hourglass_empty:", "Not over", "gray"),
    "NEVER_RUN": Look("–", ":material/calendar_today:", "No run", "gray"),
    "WAITING": Look("◌", ":material/pending:", "Waiting", "gray"),
    "BUILT": Look("●", ":material/check_circle:", "Built", "green"),
    "BUILDING": Look("◑", ":material/progress_activity:", "Building", "blue"),
    "REMOVING": Look("◑", ":material/progress_activity:", "Removing", "orange"),
    "NOT_BUILT": Look("○", ":material/pending:", "Not built", "gray"),
}
"""Runs, background jobs and their steps share these words; the weekly flow has some of its own, and its weeks four; the last five are of scenarios."""

UNKNOWN: Final = Look("?", ":material/help:", "Unknown", "orange")


def look_of(state: str) -> Look:
    """How a state looks; one that nobody has met yet keeps its own word."""
    return LOOKS.get(state) or Look(UNKNOWN.sign, UNKNOWN.icon, state.capitalize() or UNKNOWN.word, UNKNOWN.colour)
