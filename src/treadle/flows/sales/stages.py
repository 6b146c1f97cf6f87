"""The stages of a run's pipeline, in the trail and out of it: what the worker notes of an activity, and what a reader sees in the notes. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from treadle.clients.fabric import ActivityRun
from treadle.control.events import Event

_NOTE: Final = re.compile(r"Stage '(?P<name>.*)': (?P<word>[a-z ]+)\.", re.DOTALL)
_OUTPUT: Final = re.compile(r"Stage '(?P<name>.*)', output: (?P<link>\S+)", re.DOTALL)
_WAITING: Final = ("queued", "not started")
_UNDER_WAY: Final = ("in progress", *_WAITING)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage as far as the trail tells. began, ended: when it was first seen so, in UTC; None: not yet. link: of its output, if Fabric told."""

    name: str
    word: str
    began: datetime | None
    ended: datetime | None = None
    link: str | None = None


def progress_note(activity: ActivityRun) -> str:
    """What a stage of the pipeline is doing, with Fabric's word (InProgress) as words for a person (in progress)."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", activity.status).lower()
    return f"Stage '{activity.name}': {words}."


def output_note(name: str, link: str) -> str:
    """Where the output of a stage can be seen."""
    return f"Stage '{name}', output: {link}"


def read_stages(trail: Iterable[Event]) -> list[Stage]:
    """The stages that a trail tells of, in the order in which they were first seen."""
    stages: dict[str, Stage] = {}
    for event in trail:
        message = event.message or ""
        if found := _NOTE.fullmatch(message):
            stages[found["name"]] = _seen(stages.get(found["name"]), found["name"], found["word"], event.event_time)
        elif (found := _OUTPUT.fullmatch(message)) and (stage := stages.get(found["name"])):
            stages[found["name"]] = replace(stage, link=found["link"])
    return list(stages.values())


def _seen(before: Stage | None, name: str, word: str, at: datetime) -> Stage:
    stage = before or Stage(name, word, None)
    began = stage.began or (None if word in _WAITING else at)
    return replace(stage, word=word, began=began, ended=None if word in _UNDER_WAY else at)
