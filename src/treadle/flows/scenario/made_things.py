"""What a build writes down of the things that it makes or works with, so that whoever comes later knows whose they are."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack
from uuid import uuid4

from treadle.clients.fabric import Item, WorkspaceId
from treadle.control.jobs.run import JobContext
from treadle.control.jobs.states import FINAL_ERRORS
from treadle.errors import Conflict
from treadle.flows.scenario.as_brought import definition_known, is_empty, is_made_since
from treadle.flows.scenario.asked import Asked
from treadle.flows.scenario.existing import ITEM_TYPES, PENDING, Workspace, is_made_as, look_at, note_renames
from treadle.flows.scenario.find_or_create import NewItem, create_patiently
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import Thing, forget_thing, note_loss, record_thing
from treadle.flows.scenario.services import ScenarioServices

_SHARED: Final = frozenset({Kind.LAKEHOUSE, Kind.EVENTHOUSE, Kind.KQL_DATABASE})
_FILLED: Final = frozenset({Kind.ONTOLOGY, Kind.GRAPH_MODEL})  # made empty, by whoever, and filled by a definition


class _More(TypedDict, total=False):
    """The members of a Thing that few kinds have."""

    mark: str | None
    graphs_before: tuple[str, ...] | None
    displaced: Thing | None
    first_entry: str | None
    last_entry: str | None
    definition: str | None


class MadeThings(ABC):
    """The things of one attempt. Safe to use from the threads of its steps."""

    def __init__(self, services: ScenarioServices, context: JobContext, asked: Asked) -> None:
        self.services, self.context, self.asked = services, context, asked
        self._guard, self._finding = threading.Lock(), threading.Lock()
        self._found: Workspace | None = None

    @property
    @abstractmethod
    def scenario_name(self) -> str:
        """Whose build this is."""

    @property
    def workspace(self) -> WorkspaceId:
        """Where everything goes."""
        return WorkspaceId(self.asked.workspace_id)

    @property
    def found(self) -> Workspace:
        """The workspace as this attempt found it, which is looked at once, whichever thread is the first to ask; its things are kept current."""
        with self._finding:
            if self._found is None:
                self._found = look_at(self.services, self.asked.workspace_id)
                note_renames(self.services, self._found)
            return self._found

    def remember(
        self,
        kind: Kind,
        name: str,
        item_id: str,
        fingerprint: str | None = None,
        *,
        made: bool | None = None,
        **more: Unpack[_More],
    ) -> None:
        """Record a thing as this scenario's, and with another one that had it, that it has it no more.

        made: whether it was not there before; None: as the record said, or yes. more: further members of a thing.
        """
        with self._guard:
            before = self.found.things.get((kind, name))
            was_made = before.made if before else True
            made = was_made if made is None else made
            if before and before.item_id in {item_id, PENDING}:
                more.setdefault("graphs_before", before.graphs_before)
            noted_at = self.services.own.now().isoformat()
            thing = Thing(self.scenario_name, self.workspace, kind, name, item_id, fingerprint, made, noted_at=noted_at, **more)
            if item_id != PENDING:
                self._note_loss(before)  # before: if we end here, nobody claims what may be lost
            self.found.things[kind, name] = thing
        record_thing(self.services.documents, thing)

    def outdate_graphs(self) -> None:
        """Right before a table is loaded: no graph of the scenario has its content any more, until it is refreshed."""
        for thing in [*self.found.things.values()]:
            if thing.kind is Kind.GRAPH_MODEL and thing.scenario == self.scenario_name and thing.fingerprint:
                self.remember(thing.kind, thing.name, thing.item_id)

    def _note_loss(self, before: Thing | None) -> None:
        if before and before.scenario != self.scenario_name:
            note_loss(self.services.documents, before, self.scenario_name)

    def is_ours(self, kind: Kind, name: str, item_id: str) -> bool:
        """Whether this scenario made or took over what is there."""
        return self.found.known(kind, name, item_id).made_by == self.scenario_name

    def has_content(self, kind: Kind, name: str, item_id: str, fingerprint: str) -> bool:
        """Whether this scenario brought this content there."""
        there = self.found.known(kind, name, item_id)
        return there.made_by == self.scenario_name and there.fingerprint == fingerprint

    def has_definition(self, kind: Kind, name: str, item_id: str, fingerprint: str) -> bool:
        """Whether this scenario brought this content there, and it is as it was brought."""
        there = definition_known(self.services, self.found, self.found.known(kind, name, item_id))
        return there.made_by == self.scenario_name and there.fingerprint == fingerprint

    def find_or_create(self, kind: Kind, name: str, creation_payload: Mapping[str, Any] | None = None) -> str:
        """The item of that name, which is created if it is not there. What is about to be made is recorded before it is made.

        Raises:
            Conflict: it was made by others, it is none that scenarios share, and it may not be taken over.
        """
        there = self.services.fabric.find_item(self.workspace, ITEM_TYPES[kind], name)
        if there is not None:
            self.adopt(kind, there)
            return there.item_id
        new = NewItem(ITEM_TYPES[kind], name, creation_payload, self._pending_mark(kind, name))
        before = self.found.things.get((kind, name))
        displaced, graphs = self._displaced(before), self._graphs_before(kind, before)
        self.remember(kind, name, PENDING, made=True, mark=new.mark, displaced=displaced, graphs_before=graphs)
        try:
            item, is_ours = create_patiently(self.services.fabric, self.workspace, new, self.services.patience, self.context.check)
        except FINAL_ERRORS:
            self.put_back(kind, name, before)
            raise
        if is_ours:
            self._note_loss(before)
            self.remember(kind, name, item.item_id)
        else:
            self.put_back(kind, name, before)
            self.adopt(kind, item)
        return item.item_id

    def adopt(self, kind: Kind, item: Item) -> None:
        """Work with an item that is there; record it unless it is shared, or recorded.

        Raises:
            Conflict: as `find_or_create`.
        """
        before = self.found.things.get((kind, item.name))
        if before and before.scenario == self.scenario_name and is_made_as(before, item):
            self.remember(kind, item.name, item.item_id)  # made by an attempt that died before it could say so
        elif kind in _SHARED or self.is_ours(kind, item.name, item.item_id):
            return
        else:
            self.refuse_unless_ours(kind, item.name, item.item_id)
            was_made = before is not None and before.made and (before.item_id == item.item_id or is_made_as(before, item))
            self.remember(kind, item.name, item.item_id, made=was_made)

    def refuse_unless_ours(self, kind: Kind, name: str, item_id: str) -> None:
        """Right before content goes to something that is there: a retry comes long after the archive was compared with what was there then.

        Raises:
            Conflict: it is not this scenario's, and may not be taken over.
        """
        if self.asked.overwrite or (self.is_ours(kind, name, item_id) and not is_made_since(self.services, self.found.things[kind, name])):
            return
        owner = self.found.known(kind, name, item_id).made_by
        if owner is None and kind in _FILLED and is_empty(self.services, self.workspace, kind, item_id):
            return
        owner = None if owner == self.scenario_name else owner
        raise Conflict(
            f"The {kind} {name} {f'was made by {owner}' if owner else 'was not made by Treadle'}.",
            hint="Choose another name, or take it over with --overwrite.",
            details={"item_id": item_id},
        )

    def _pending_mark(self, kind: Kind, name: str) -> str:
        """That of an attempt which died in the middle of making it, whose creation may yet show; a new one otherwise."""
        before = self.found.things.get((kind, name))
        is_pending = before is not None and before.scenario == self.scenario_name and before.item_id == PENDING
        return (before.mark if before and is_pending else None) or uuid4().hex

    def _displaced(self, before: Thing | None) -> Thing | None:
        """What another scenario has under a name that we take, until we have made something there: it may be there after all, and not be listed."""
        if before is None or before.scenario == self.scenario_name:
            return before.displaced if before else None
        return before

    def _graphs_before(self, kind: Kind, before: Thing | None) -> tuple[str, ...] | None:
        """Of an ontology, the graph models that are there before it is made; an attempt that died has noted them before its own."""
        if kind is not Kind.ONTOLOGY:
            return None
        if before and before.scenario == self.scenario_name and before.item_id == PENDING and before.graphs_before is not None:
            return before.graphs_before
        return tuple(item.item_id for item in look_at(self.services, self.workspace).of_kind(Kind.GRAPH_MODEL))

    def put_back(self, kind: Kind, name: str, before: Thing | None) -> None:
        """What was known of a name before we thought that nothing had it; of what did not come about nothing is kept."""
        if before is None or before.item_id == PENDING:
            self.forget(kind, name)
            return
        with self._guard:
            self.found.things[kind, name] = before
        record_thing(self.services.documents, before)

    def forget(self, kind: Kind, name: str) -> None:
        """Keep nothing of a thing that did not come about."""
        with self._guard:
            thing = self.found.things.pop((kind, name), None)
        if thing:
            forget_thing(self.services.documents, thing)
