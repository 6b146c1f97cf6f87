"""What somebody asks to be built, checked and as the payload of a job has it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.clients.locations import checked_id
from treadle.errors import InvalidInput
from treadle.flows.scenario.schema import Connector

CHECKED_SLOTS: Final = ("graph", "telemetry")  # which bring a manifest
SLOTS: Final = (*CHECKED_SLOTS, "runbooks", "tickets", "prompts")  # in the order in which they are done
SCENARIO_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
DEFAULT_NAMES: Final[Mapping[str, str]] = {"lakehouse_name": "lakehouse", "ontology_name": "ontology", "eventhouse_name": "eventhouse"}
"""What a thing is called that nobody names, and that no record of the scenario knows."""
STAYS: Final = "what it has there stays until it is destroyed, which removes both"
"""In the notes of a plan that brings a scenario elsewhere than it is."""
_NAMES: Final[Mapping[str, tuple[str, re.Pattern[str], str]]] = {
    "lakehouse_name": ("a lakehouse", re.compile(r"[A-Za-z][A-Za-z0-9_]{0,122}"), "letters, digits and _, beginning with a letter"),
    "ontology_name": (
        "an ontology",
        re.compile(r"[A-Za-z][A-Za-z0-9_]{0,98}"),
        "letters, digits and _, beginning with a letter, below 100",
    ),
    "eventhouse_name": ("an eventhouse", re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,122}"), "letters, digits and _ . -"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to be built, and where.

    scenario_name: None: as the manifest says. backend: fabric-gql or cosmosdb-gremlin; None: as the manifest says.
    lakehouse_name, ontology_name, eventhouse_name: None: where the scenario is already, as `naming.settled` finds it.
    overwrite: take over what another scenario made, or nobody knows who.
    """

    scenario_name: str | None
    backend: str | None
    workspace_id: str
    workspace_name: str
    lakehouse_name: str | None = None
    ontology_name: str | None = None
    overwrite: bool = False
    eventhouse_name: str | None = None

    @property
    def given_names(self) -> dict[str, str]:
        """Member → name, of those that somebody gave."""
        return {member: name for member in DEFAULT_NAMES if (name := getattr(self, member)) is not None}


def check_asked(asked: Asked, slots: Mapping[str, object]) -> None:
    """Refuse what can be seen to be wrong before anything is read.

    Raises:
        InvalidInput: of a name, an id, the backend, or because there is nothing to build.
    """
    checked_id(asked.workspace_id, "workspace")
    if unknown := [str(slot) for slot in slots if slot not in SLOTS]:
        raise InvalidInput(f"There is no slot {', '.join(unknown)}.", hint=f"There are {', '.join(SLOTS)}.")
    if not slots:
        raise InvalidInput("There is nothing to build.", hint=f"Give an archive for at least one of {', '.join(SLOTS)}.")
    if asked.scenario_name is not None:
        check_scenario_name(asked.scenario_name)
    if asked.scenario_name is None and not any(slot in slots for slot in CHECKED_SLOTS):
        raise InvalidInput("Whose files are these?", hint="Name the scenario: only a graph or telemetry archive does so by itself.")
    if asked.backend is not None and asked.backend not in set(Connector):
        raise InvalidInput(f"There is no backend {asked.backend[:80]!a}.", hint=f"Choose {' or '.join(Connector)}.")
    for member, name in asked.given_names.items():
        what, _, rule = _NAMES[member]
        if not can_be_name(member, name):
            raise _refused(what, name, rule)


def can_be_name(member: str, name: str) -> bool:
    """Whether Fabric takes a name. member: of `Asked`, such as lakehouse_name."""
    return _NAMES[member][1].fullmatch(name) is not None


def check_scenario_name(name: str) -> None:
    """Raises InvalidInput for what cannot name a folder and a document, and for `uploads`, the folder of waiting archives."""
    if not SCENARIO_NAME.fullmatch(name) or name.casefold() == "uploads":
        raise _refused("a scenario", name, "letters, digits, - and _, at most 63, beginning with a letter or digit; uploads is taken")


def asked_payload(asked: Asked) -> dict[str, Any]:
    """As the payload of a job has it. A name that nobody gave is not in it."""
    return {name: getattr(asked, name) for name in Asked.__dataclass_fields__ if name not in DEFAULT_NAMES} | asked.given_names


def asked_in(payload: Mapping[str, Any]) -> Asked:
    """What a job's payload says.

    Raises:
        InvalidInput: it does not say it.
    """
    try:
        return Asked(**{name: payload[name] for name in Asked.__dataclass_fields__ if name in payload})
    except TypeError as error:
        raise InvalidInput("The job does not say what to build.", hint="Ask for it anew.") from error


def _refused(what: str, name: str, rule: str) -> InvalidInput:
    return InvalidInput(f"{name[:80]!a} cannot be the name of {what}.", hint=f"Use {rule}.")
