"""The folders that a scenario has in lakehouses: its builds bring their files there, and with its end they go, in whatever lakehouse they are.

Each lakehouse is noted before a build brings anything there. Of a build that died, of one that brought measurements alone, and of those before
the last, nothing else tells which it was. The notes are beside the things that builds made, where only Treadle writes: what is noted is deleted.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from treadle.errors import NotFound, Unavailable
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.presence import item_now
from treadle.flows.scenario.records import all_documents, find_scenario, things_of_scenario
from treadle.flows.scenario.services import ScenarioServices
from treadle.stores.containers import THINGS
from treadle.stores.document_store import Document, DocumentStore

FOLDER: Final = "Files/scenarios"
_DIGITS: Final = 40  # of a SHA-256, in the id of a note

Place = tuple[str, str]
"""Ids of a workspace and of a lakehouse in it, in lower case."""


def note_lakehouse(store: DocumentStore, scenario: str, workspace_id: str, lakehouse_id: str) -> None:
    """Note that a build of the scenario works with a lakehouse. Safe to repeat."""
    place = _place(workspace_id, lakehouse_id)
    digest = hashlib.sha256("\n".join((scenario, *place)).encode()).hexdigest()
    # its members are named otherwise than those of a thing, so that it is never found among things
    store.put(THINGS, f"folder-{digest[:_DIGITS]}", {"folder_of": scenario, "in_workspace": place[0], "in_lakehouse": place[1]})


def lakehouses_of(store: DocumentStore, scenario: str) -> tuple[Place, ...]:
    """Every lakehouse that a build of the scenario worked with, each once: as its record, its tables and the notes say."""
    record = find_scenario(store, scenario)
    places = [_place(record.workspace_id, record.lakehouse_id)] if record and record.lakehouse_id else []
    places += [_place(thing.workspace_id, thing.item_id) for thing in things_of_scenario(store, scenario) if thing.kind is Kind.TABLE]
    places += [_place(str(note.body["in_workspace"]), str(note.body["in_lakehouse"])) for note in _notes(store, scenario)]
    return tuple(dict.fromkeys(places))


def scenarios_noted(store: DocumentStore, lakehouse_id: str) -> set[str]:
    """The scenarios of which a build is noted to work with a lakehouse, be it one that died before it left anything else."""
    notes = all_documents(store, THINGS, {"in_lakehouse": lakehouse_id.lower()})
    return {str(note.body["folder_of"]) for note in notes}


def forget_lakehouses(store: DocumentStore, scenario: str) -> None:
    """Keep no note of the scenario. Safe to repeat."""
    for note in list(_notes(store, scenario)):
        try:
            store.delete(THINGS, note.id)
        except NotFound:
            continue


def remove_folders(services: ScenarioServices, scenario: str, places: Iterable[Sequence[str]]) -> None:
    """Delete the scenario's folder in these lakehouses; one that is gone, or whose workspace is, is passed over. Safe to repeat.

    Raises:
        Unavailable: OneLake does not find a lakehouse that Fabric shows.
    """
    for workspace_id, lakehouse_id in places:
        try:
            services.lake_of(workspace_id, lakehouse_id).delete_folder(f"{FOLDER}/{scenario}")
        except NotFound as error:
            if item_now(services, workspace_id, lakehouse_id):
                raise Unavailable(
                    f"OneLake did not find the lakehouse {lakehouse_id}, which has files of {scenario}, although Fabric shows it: {error.message}",
                    hint=f"Wait a few minutes, then ask again: treadle scenario destroy {scenario}",
                    details={**error.details, "scenario": scenario},
                ) from error


def _notes(store: DocumentStore, scenario: str) -> Iterable[Document]:
    return all_documents(store, THINGS, {"folder_of": scenario})


def _place(workspace_id: str, lakehouse_id: str) -> Place:
    return workspace_id.lower(), lakehouse_id.lower()
