"""Runbooks, tickets and prompts in the lake with their index: stored, found, read, changed, removed, and mended after a kill."""

import io
from dataclasses import asdict

import pytest
from pydantic import SecretStr

from tests.contract.cosmos_place import KEY, running_cosmos
from tests.flows.conftest import lake_folder
from tests.flows.scenario_place import open_place, packed, place, small_graph
from tests.unit.scenario_archives import TELCO, tar_gz
from treadle.errors import ChecksumMismatch, InvalidInput, NotFound, TreadleError
from treadle.flows.scenario.connections import active_connection, add_connection, delete_connection, select_connection
from treadle.flows.scenario.flow import request_destroy, survey_destroy
from treadle.flows.scenario.slots import (
    Slot,
    count_documents,
    list_documents,
    read_document,
    remove_documents,
    search_documents,
    store_slot,
)
from treadle.stores.containers import DOCUMENTS
from treadle.stores.cosmos import CosmosDocuments
from treadle.wiring import wired

__all__ = ["open_place", "place"]  # fixtures

NAME = "telco-noc"


@pytest.fixture
def services(treadle):
    opened = treadle.scenarios()
    remove_documents(opened.lake, opened.documents, NAME)
    return opened


@pytest.fixture
def store(services, tmp_path):
    def run(files, slot=Slot.RUNBOOKS, name=NAME, **told):
        return store_slot(services.lake, services.documents, name, slot, io.BytesIO(tar_gz(files)), tmp_path, **told)

    return run


def sample(folder):
    return {f"telco-noc/data/{folder}/{path.name}": path.read_bytes() for path in sorted((TELCO / "data" / folder).iterdir())}


def in_lake(environment, slot=Slot.RUNBOOKS):
    folder = lake_folder(environment) / "Files" / "scenarios" / NAME / slot
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(documents):
    return [document.body["path"] for document in documents]


def test_the_sample_is_stored_listed_searched_and_read(services, store, environment):
    runbooks, tickets = sample("knowledge/runbooks"), sample("knowledge/tickets")
    told = []
    assert store(runbooks, report=lambda done, of: told.append((done, of)))["created"] == 4
    assert store(tickets, Slot.TICKETS)["created"] == 3
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert in_lake(environment) == {name.rpartition("/")[2]: content for name, content in runbooks.items()}
    listed = list_documents(services.documents, NAME, Slot.RUNBOOKS)
    assert names(listed) == ["alert_storm.md", "bgp_peer_loss.md", "fibre_cut.md", "mpls_failover.md"]
    assert listed[2].body["title"] == "Fibre cut on a long-haul link"
    assert "text" not in listed[2].body
    assert len(list_documents(services.documents, NAME)) == 7
    found = search_documents(services.documents, NAME, "fibre cuts")
    assert names(found)[0] == "fibre_cut.md"
    assert {document.body["slot"] for document in found} == {"runbooks", "tickets"}
    hits = [piece["text"].casefold() for document in found for piece in document.body["pieces"] if piece["hit"]]
    assert hits
    assert all(hit.startswith(("fibr", "cut")) for hit in hits)
    assert names(search_documents(services.documents, NAME, "excavator")) == ["INC-2025-0817.md"]
    assert search_documents(services.documents, NAME, "excavator", slot=Slot.RUNBOOKS) == []
    assert search_documents(services.documents, "another", "fibre") == []
    text = read_document(services.lake, services.documents, NAME, found[0].id)
    assert text == runbooks["telco-noc/data/knowledge/runbooks/fibre_cut.md"].decode()


def test_the_same_again_changes_nothing_and_asks_for_little(services, store, environment):
    files = {"a.md": "# A\n", "b/c.md": "# C\n"}
    store(files)
    before = list_documents(services.documents, NAME)
    environment.cloud.requests.clear()
    again = store(files)
    assert (again["created"], again["updated"], again["unchanged"], again["removed"]) == (0, 0, 2, 0)
    assert list_documents(services.documents, NAME) == before
    written = [asked for asked in environment.cloud.requests.copy() if asked.method in {"PUT", "PATCH", "DELETE"}]
    assert written == []


def test_a_new_archive_replaces_what_changed_and_removes_what_is_gone(services, store, environment):
    store({"a.md": "# A\nold", "b.md": "# B\n", "c/d.md": "# D\n"})
    store({"x.md": "# other slot\n"}, Slot.PROMPTS)
    result = store({"a.md": "# A\nnew", "b.md": "# B\n", "e.md": "# E\n"})
    assert (result["created"], result["updated"], result["unchanged"], result["removed"]) == (1, 1, 1, 1)
    assert in_lake(environment) == {"a.md": b"# A\nnew", "b.md": b"# B\n", "e.md": b"# E\n"}
    assert names(list_documents(services.documents, NAME, Slot.RUNBOOKS)) == ["a.md", "b.md", "e.md"]
    assert search_documents(services.documents, NAME, "old") == []
    assert names(list_documents(services.documents, NAME, Slot.PROMPTS)) == ["x.md"]


def test_a_file_that_somebody_took_out_of_the_lake_is_stored_again(services, store, environment):
    store({"a.md": "# A\n", "b.md": "# B\n"})
    services.lake.delete("Files/scenarios/telco-noc/runbooks/a.md")
    assert store({"a.md": "# A\n", "b.md": "# B\n"})["updated"] == 1
    assert in_lake(environment) == {"a.md": b"# A\n", "b.md": b"# B\n"}


class Killed(BaseException):
    pass


FIRST = {"a.md": "# A\nnew", "lost.md": "# Lost\n"}
NEXT = {"a.md": "# A\nold", "b.md": "# B\n"}


def assert_mended(services, store, environment):
    """Whatever was left over, the next archive is what is there afterwards, whole and no more."""
    store(NEXT)
    assert in_lake(environment) == {name: text.encode() for name, text in NEXT.items()}
    listed = list_documents(services.documents, NAME)
    assert {one.body["path"]: read_document(services.lake, services.documents, NAME, one.id) for one in listed} == NEXT


@pytest.mark.parametrize("files", range(3))
def test_a_store_that_is_stopped_between_files_is_mended_by_whatever_is_stored_next(services, store, environment, files):
    store({"a.md": "# A\nold", "gone.md": "# Gone\n"})
    left = iter(range(files))

    def check():
        if next(left, None) is None:
            raise Killed

    with pytest.raises(Killed):
        store(FIRST, check=check)
    assert_mended(services, store, environment)


@pytest.mark.parametrize("done", [False, True], ids=["refused", "done but not told"])
@pytest.mark.parametrize("requests", range(0, 11, 2))
def test_a_store_whose_lake_goes_away_at_any_request_is_mended_too(services, store, environment, done, requests):
    store({"a.md": "# A\nold", "gone.md": "# Gone\n"})
    environment.cloud.faults.script("onelake.*", "status", times=None, after=requests, status=403, after_effect=done)
    with pytest.raises(TreadleError):
        store(FIRST)
    environment.cloud.faults.clear()
    assert_mended(services, store, environment)


def test_a_file_whose_document_says_that_it_is_not_stored_is_stored_again(services, store):
    """As it is left by a process that died between the last two writes."""
    store({"a.md": "# A\n"})
    [document] = services.documents.list(DOCUMENTS, where={"scenario": NAME}).documents
    services.documents.put(DOCUMENTS, document.id, document.body | {"stored": False})
    assert store({"a.md": "# A\n"})["updated"] == 1
    assert store({"a.md": "# A\n"})["unchanged"] == 1


def test_an_archive_with_faults_changes_nothing(services, store, environment):
    store({"a.md": "# A\n"})
    with pytest.raises(InvalidInput, match="Byte 1 is not UTF-8") as caught:
        store({"b.md": "# B\n", "c.md": b"\xff\xffx", "d.md": b"\xfe\xfd"})
    assert [fault["where"] for fault in caught.value.details["faults"]] == ["c.md", "d.md"]
    assert in_lake(environment) == {"a.md": b"# A\n"}


def test_a_document_is_read_by_its_own_scenario_and_only_as_it_was_stored(services, store):
    store({"a.md": "# A\n"})
    [document] = list_documents(services.documents, NAME)
    with pytest.raises(NotFound):
        read_document(services.lake, services.documents, "another", document.id)
    services.lake.upload(document.body["lake_path"], b"# Z\n")
    with pytest.raises(ChecksumMismatch, match="not what was stored"):
        read_document(services.lake, services.documents, NAME, document.id)


def test_all_of_it_works_with_documents_in_cosmos(environment, tmp_path):
    with running_cosmos(tmp_path) as cosmos:
        trusted = tmp_path / "both.pem"
        trusted.write_bytes(environment.cloud.endpoints.ca_file.read_bytes() + cosmos.ca_file.read_bytes())
        changed = {"treadle_document_store": "cosmos", "cosmos_url": cosmos.url, "cosmos_key": SecretStr(KEY), "treadle_ca_file": trusted}
        with wired(environment.settings.model_copy(update=changed)) as wiring:
            opened = wiring.scenarios()
            assert isinstance(opened.documents, CosmosDocuments)
            archive = io.BytesIO(tar_gz(sample("knowledge/runbooks")))
            assert store_slot(opened.lake, opened.documents, NAME, Slot.RUNBOOKS, archive, tmp_path)["created"] == 4
            [found] = search_documents(opened.documents, NAME, "reflectometers")
            assert read_document(opened.lake, opened.documents, NAME, found.id).startswith("# Fibre cut")
            workspace = environment.settings.fabric_workspace_id
            add_connection(opened.documents, opened.fabric, workspace, opened.own.now())
            assert active_connection(opened.documents).workspace_id == workspace
            select_connection(opened.documents, workspace, opened.own.now())
            delete_connection(opened.documents, workspace)
            assert remove_documents(opened.lake, opened.documents, NAME) == 4


def test_everything_of_a_scenario_can_be_removed_twice(services, store, environment):
    store({"a.md": "# A\n", "b/c.md": "# C\n"})
    store({"a.md": "# A\n"}, Slot.TICKETS)
    store({"a.md": "# A\n"}, name="neighbour")
    assert remove_documents(services.lake, services.documents, NAME) == 3
    assert remove_documents(services.lake, services.documents, NAME) == 0
    assert in_lake(environment) == {}
    assert len(list_documents(services.documents, "neighbour")) == 1
    remove_documents(services.lake, services.documents, "neighbour")
    assert list_documents(services.documents, "neighbour") == []


def runbooks(**files):
    return {Slot.RUNBOOKS: packed({name.replace("_", "."): content for name, content in files.items()}, "runbooks")}


def test_a_plan_counts_what_changes_of_documents_and_names_those_that_go(place):
    first = place.plan(runbooks(a_md=b"# A", b_md=b"# B"))
    assert (asdict(first.documents["runbooks"]), sum(first.counts.values()), first.notes) == (
        {"created": 2, "updated": 0, "removed": 0, "unchanged": 0}, 0, ()
    )  # fmt: skip
    place.build(runbooks(a_md=b"# A", b_md=b"# B", d_md=b"# D"))
    plan = place.plan(runbooks(a_md=b"# A", b_md=b"# Other", c_md=b"# C"))
    assert asdict(plan.documents["runbooks"]) == {"created": 1, "updated": 1, "removed": 1, "unchanged": 1}
    assert plan.notes == ("runbooks: d.md is no longer in the archive, and is removed.",)
    assert place.plan({Slot.GRAPH: small_graph()}).documents == {}


def test_files_that_are_passed_over_are_told_by_the_plan_and_by_the_job(place):
    files = {"a_md": b"# A", "manual_pdf": b"%PDF", "doc_docx": b"PK"}
    plan = place.plan(runbooks(**files))
    [note] = plan.notes
    assert note.startswith("runbooks: 2 files are passed over: doc.docx, manual.pdf; only .csv, .j2, ")
    ended = place.build(runbooks(**files))
    assert ended.result["message"] == f"telco-noc is built in {place.workspace_name}: runbooks. {note}"
    assert [ended.result["results"]["runbooks"][name] for name in ("created", "passed_over_count", "elsewhere")] == [1, 2, 0]
    whole = place.plan({Slot.TICKETS: packed({"data/tickets/a.md": b"# A", "data/tickets/b.pdf": b"%PDF", "c.md": b"# C"})})
    [note] = whole.notes
    assert "1 file is passed over: data/tickets/b.pdf; only " in note
    assert note.endswith("1 file is left out, outside the archive's folder tickets.")


def test_the_end_of_a_scenario_that_has_documents_alone_names_them(place):
    place.build({**runbooks(a_md=b"# A", b_md=b"# B", c_md=b"# C"), Slot.TICKETS: packed({"x.md": b"# X"}, "tickets")})
    plan = survey_destroy(place.services, NAME)
    assert (plan.removed, plan.left, plan.documents) == ((), (), {"runbooks": 3, "tickets": 1})
    ended = place.work(request_destroy(place.services, NAME, "ada"))
    assert ended.result["message"] == "telco-noc is removed: 0 things, 3 runbooks and 1 ticket."
    assert ended.result["documents"] == {"runbooks": 3, "tickets": 1}
    assert count_documents(place.services.documents, NAME) == {}
