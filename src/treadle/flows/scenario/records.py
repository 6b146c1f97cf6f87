"""What is kept of scenarios, as values: the scenario itself, and each thing in Fabric that a build made or found for it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from types import NoneType
from typing import Any, Final, TypeVar, cast

import structlog

from treadle.errors import Conflict, InvalidInput, NotFound, Unavailable
from treadle.flows.scenario.plan import Kind
from treadle.stores.containers import SCENARIOS, THINGS
from treadle.stores.document_store import MAX_LISTED, Document, DocumentStore

log = structlog.get_logger()

_DIGITS: Final = 40  # of a SHA-256, in the id of a thing
_T = TypeVar("_T")
_UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError)
_TRIES: Final = 20  # at a record that others write at the same time
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TableRecord:
    """A table of a scenario. kind: "lakehouse" or "kql". rows: when it was last filled."""

    name: str
    rows: int
    kind: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A thing that was the scenario's until another one took it over. name: as plans have it. taken_by: that scenario."""

    kind: Kind
    name: str
    taken_by: str


@dataclass(frozen=True, slots=True)
class ScenarioRecord:
    """What is known of a scenario that was built. Ids are None for what it has not. updated_at: aware UTC.

    lost: what others have taken over since it was built last; it is not among its ids and tables any more. eventhouse_name: None also in records
    of before that was kept.
    graph_styles: as the manifest says, by label. upload_results: slot → what came of it. model: what the graph is made of,
    {"entity_types": [{"label", "key", "properties": [{"name", "type"}]}], "relationship_types": [{"name", "label", "source", "target"}]}.
    """

    name: str
    display_name: str
    description: str
    domain: str | None
    use_cases: tuple[str, ...]
    example_questions: tuple[str, ...]
    graph_styles: Mapping[str, Any]
    graph_connector: str
    workspace_id: str
    workspace_name: str
    lakehouse_id: str | None = None
    lakehouse_name: str | None = None
    ontology_id: str | None = None
    ontology_name: str | None = None
    graph_model_id: str | None = None
    eventhouse_id: str | None = None
    eventhouse_name: str | None = None
    kql_database_id: str | None = None
    kql_database_name: str | None = None
    tables: tuple[TableRecord, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    upload_results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    job_id: str | None = None
    updated_at: datetime = _NEVER
    lost: tuple[Loss, ...] = ()

    @property
    def state(self) -> str:
        """How it stands: BUILT, or INCOMPLETE as long as others have something of it."""
        return "INCOMPLETE" if self.lost else "BUILT"


_REQUIRED: Final = (
    "name",
    "display_name",
    "description",
    "domain",
    "graph_styles",
    "graph_connector",
    "workspace_id",
    "workspace_name",
    "updated_at",
)
_TEXT: Final = (str,)
_TEXT_OR_NULL: Final = (str, NoneType)
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("name", "display_name", "description", "graph_connector", "workspace_id", "workspace_name", "updated_at"), _TEXT),
    **dict.fromkeys(("domain", "job_id", "lakehouse_id", "lakehouse_name", "ontology_id", "ontology_name"), _TEXT_OR_NULL),
    **dict.fromkeys(("graph_model_id", "eventhouse_id", "eventhouse_name", "kql_database_id", "kql_database_name"), _TEXT_OR_NULL),
    **dict.fromkeys(("use_cases", "example_questions", "tables", "lost"), (list, tuple)),
    **dict.fromkeys(("graph_styles", "model", "upload_results"), (dict,)),
}
"""What the members of a scenario's document are in JSON."""
_ID_OF: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.LAKEHOUSE: ("lakehouse_id", "lakehouse_name"),
    Kind.ONTOLOGY: ("ontology_id", "ontology_name"),
    Kind.GRAPH_MODEL: ("graph_model_id",),
    Kind.EVENTHOUSE: ("eventhouse_id", "eventhouse_name"),
    Kind.KQL_DATABASE: ("kql_database_id", "kql_database_name"),
}
"""The members of a record that name an item, its id first."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing in Fabric that a scenario uses. item_id: Fabric's; of a table that of its lakehouse or database.

    fingerprint: of the content that was brought there; None while that is not whole, or where being there is enough.
    made: whether a build made it; what was there before is not removed with the scenario. mark: of an item that is about to be made, what its
    description will have, so that it is known again; None for what is there. noted_at: when this was written down, in ISO 8601; None: before
    that was kept. graphs_before: of an ontology that a build made, the graph models that were there before it, none of which can be the one that
    Fabric makes with it; None: nobody looked. displaced: of what is about to be made, what another scenario had under that name until then.
    first_entry, last_entry: of a table, what its Delta log told when it was loaded, as `TableLog` has it; None: not known.
    definition: of an ontology or graph model, what tells its definition, as Fabric answered it right after it was brought; None: not known.
    """

    scenario: str
    workspace_id: str
    kind: Kind
    name: str
    item_id: str
    fingerprint: str | None = None
    made: bool = True
    mark: str | None = None
    noted_at: str | None = None
    graphs_before: tuple[str, ...] | None = None
    displaced: "Thing | None" = None
    first_entry: str | None = None
    last_entry: str | None = None
    definition: str | None = None


def check_scenario_document(document_id: str, body: Mapping[str, Any]) -> None:
    """Whether somebody else's document can be read as the scenario of that name.

    Raises:
        InvalidInput: members are missing, have no value that a scenario can have, or the name is another than the id.
    """
    if missing := [name for name in _REQUIRED if name not in body]:
        raise _no_scenario(document_id, f"it lacks {', '.join(missing)}", missing=missing)
    if wrong := [name for name, kind in _KINDS.items() if name in body and not isinstance(body[name], kind)]:
        raise _no_scenario(document_id, f"{', '.join(wrong)} cannot have such a value", wrong=wrong)
    try:
        record = ScenarioRecord(**_scenario_members(body))
    except _UNREADABLE as error:
        raise _no_scenario(document_id, str(error)) from error
    if record.name != document_id:
        raise _no_scenario(document_id, "its name is another than its id", wrong=["name"])
    if record.updated_at.tzinfo is None:
        raise _no_scenario(document_id, "updated_at has no time zone", wrong=["updated_at"])


def _no_scenario(document_id: str, why: str, **details: Any) -> InvalidInput:
    return InvalidInput(
        f"The document {document_id} is no scenario: {why}.",
        hint="Read a scenario with GET, change that, and send it whole.",
        details={"container": SCENARIOS, "id": document_id, **details},
    )


def save_scenario(store: DocumentStore, record: ScenarioRecord) -> None:
    """Keep what is known of a scenario, in place of what was. Safe to repeat."""
    store.put(SCENARIOS, record.name, _body(record))


def note_loss(store: DocumentStore, thing: Thing, taken_by: str) -> None:
    """Note in the record of a thing's scenario, if it has one, that another scenario takes the thing over. Safe to repeat.

    Raises:
        Unavailable: others kept writing the record at the same time.
    """
    for _ in range(_TRIES):
        document = store.find(SCENARIOS, thing.scenario)
        record = _readable(document) if document else None
        if document is None or record is None or not (lost := without(record, thing)):
            return
        lost = replace(lost, lost=(*lost.lost, Loss(thing.kind, thing.name, taken_by)))
        try:
            store.put(SCENARIOS, record.name, {**document.body, **_body(lost)}, if_match=document.etag)
        except (Conflict, NotFound):
            continue
        return
    raise Unavailable(f"The record of {thing.scenario} is being written by others.", hint="Try again.")


def without(record: ScenarioRecord, thing: Thing) -> ScenarioRecord | None:
    """The record of a scenario that has this thing no more; None if it does not name the thing. Pure."""
    if record.workspace_id.lower() != thing.workspace_id.lower():
        return None
    if thing.kind in _ID_OF:
        fields = _ID_OF[thing.kind]
        return replace(record, **dict.fromkeys(fields)) if getattr(record, fields[0]) == thing.item_id else None
    kind, place = {Kind.TABLE: ("lakehouse", record.lakehouse_id), Kind.KQL_TABLE: ("kql", record.kql_database_id)}.get(
        thing.kind, ("", None)
    )
    kept = tuple(table for table in record.tables if (table.kind, table.name) != (kind, thing.name.partition("/")[2]))
    return replace(record, tables=kept) if place == thing.item_id and len(kept) < len(record.tables) else None


def find_scenario(store: DocumentStore, name: str) -> ScenarioRecord | None:
    """A scenario by its name, or None if none was built."""
    document = store.find(SCENARIOS, name)
    return _scenario(document) if document else None


def get_scenario(store: DocumentStore, name: str) -> ScenarioRecord:
    """A scenario by its name. Raises NotFound."""
    found = find_scenario(store, name)
    if found is None:
        raise NotFound(f"There is no scenario {name}.", hint="List them with: treadle scenario ls", details={"scenario": name})
    return found


def list_scenarios(store: DocumentStore) -> list[ScenarioRecord]:
    """All scenarios, by name. A document that somebody else has written there, and that is none, is passed over."""
    return [record for document in all_documents(store, SCENARIOS) if (record := _readable(document))]


def forget_scenario(store: DocumentStore, name: str) -> None:
    """Keep nothing of a scenario; its things and documents are separate. Safe to repeat."""
    _delete(store, SCENARIOS, name)


def record_thing(store: DocumentStore, thing: Thing) -> None:
    """Note a thing, in place of what was noted of the same kind and name in that workspace. Safe to repeat."""
    thing_id = _thing_id(thing.workspace_id, thing.kind, thing.name)
    store.put(THINGS, thing_id, {**asdict(thing), "workspace_id": thing.workspace_id.lower(), "kind": str(thing.kind)})


def forget_thing(store: DocumentStore, thing: Thing) -> None:
    """Keep nothing of a thing that was removed, or never came about; what it displaced is its scenario's again. Safe to repeat."""
    if thing.displaced:
        record_thing(store, thing.displaced)
    else:
        _delete(store, THINGS, _thing_id(thing.workspace_id, thing.kind, thing.name))


def things_of(store: DocumentStore, workspace_id: str) -> list[Thing]:
    """Every thing noted in a workspace, of all scenarios, in the order in which they are built, then by name."""
    order = list(Kind)
    found = [_thing(document) for document in all_documents(store, THINGS, {"workspace_id": workspace_id.lower()})]
    return sorted(found, key=lambda thing: (order.index(thing.kind), thing.name))


def things_of_scenario(store: DocumentStore, scenario: str) -> list[Thing]:
    """Every thing of a scenario, in whatever workspace, in the order in which they are built, then by name."""
    order = list(Kind)
    found = [_thing(document) for document in all_documents(store, THINGS, {"scenario": scenario})]
    return sorted(found, key=lambda thing: (order.index(thing.kind), thing.name))


def all_documents(
    store: DocumentStore, container: str, where: Mapping[str, str] | None = None, *, page: int = MAX_LISTED
) -> Iterator[Document]:
    """Documents of a container, by id, page after page. page: how many are held at once."""
    after: str | None = None
    while True:
        found = store.list(container, where=where, limit=page, after=after)
        yield from found.documents
        if found.after is None:
            return
        after = found.after


def _body(record: ScenarioRecord) -> dict[str, Any]:
    return {**asdict(record), "id": record.name, "updated_at": record.updated_at.astimezone(UTC).isoformat()}


def _delete(store: DocumentStore, container: str, document_id: str) -> None:
    try:
        store.delete(container, document_id)
    except NotFound:
        return


def _thing_id(workspace_id: str, kind: Kind, name: str) -> str:
    digest = hashlib.sha256(f"{workspace_id.lower()}\n{kind}\n{name}".encode()).hexdigest()
    return f"{kind}-{digest[:_DIGITS]}"


def _scenario(document: Document) -> ScenarioRecord:
    return _read(document, "a scenario", lambda body: ScenarioRecord(**_scenario_members(body)))


def _readable(document: Document) -> ScenarioRecord | None:
    try:
        return _scenario(document)
    except InvalidInput as error:
        log.warning("scenario.document_unreadable", document=document.id, error=error.message)
        return None


def _scenario_members(body: Mapping[str, Any]) -> dict[str, Any]:
    """The members that there are, each as the record has it; those of another Treadle are passed over."""
    members = {name: body[name] for name in ScenarioRecord.__dataclass_fields__ if name in body}
    return members | {
        "use_cases": _texts(body.get("use_cases")),
        "example_questions": _texts(body.get("example_questions")),
        "tables": tuple(TableRecord(str(table["name"]), int(table["rows"]), str(table["kind"])) for table in body.get("tables") or ()),
        "updated_at": datetime.fromisoformat(body["updated_at"]),
        "lost": tuple(Loss(Kind(told["kind"]), str(told["name"]), str(told["taken_by"])) for told in body.get("lost") or ()),
    }


def _thing(document: Document) -> Thing:
    return _read(document, "a thing of a scenario", thing_in)


def thing_in(body: Mapping[str, Any]) -> Thing:
    """A thing as JSON has it. Pure. Raises KeyError, TypeError, ValueError or AttributeError for what is none."""
    members: dict[str, Any] = {name: body[name] for name in Thing.__dataclass_fields__ if name in body}
    graphs, displaced = members.get("graphs_before"), members.get("displaced")
    members["kind"] = Kind(body["kind"])
    members["graphs_before"] = None if graphs is None else _texts(graphs)
    members["displaced"] = thing_in(displaced) if displaced else None
    return Thing(**members)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, cast("Sequence[Any]", value or ())))


def _read(document: Document, what: str, read: "Callable[[Mapping[str, Any]], _T]") -> "_T":
    try:
        return read(document.body)
    except _UNREADABLE as error:
        raise InvalidInput(
            f"The document {document.id} in {document.container} is not {what}: {error}.",
            hint="Somebody else has written it. Build the scenario again, or delete the document.",
            details={"container": document.container, "id": document.id},
        ) from error
