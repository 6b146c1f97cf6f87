"""What every document store does, in PostgreSQL and in Cosmos DB; then what Cosmos alone can do to its callers."""

import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from tests.contract.cosmos_place import HERE, KEY, running_cosmos

from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.errors import Conflict, InvalidInput, NotFound, OutcomeUnknown, Throttled, Unauthenticated, Unavailable
from treadle.sandbox.postgres import EmbeddedPostgres
from treadle.stores.cosmos import CosmosDocuments, CosmosPlace
from treadle.stores.postgres import PostgresDocuments

DOCS = "scenario-documents"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def postgres():
    with (
        tempfile.TemporaryDirectory(prefix="treadle-pg-", ignore_cleanup_errors=True) as folder,
        EmbeddedPostgres(Path(folder), durable=False) as server,
        Database(server.create_database("documents")) as own,
    ):
        migrate(own)
        yield own


@pytest.fixture(scope="module")
def cosmos_server(tmp_path_factory):
    with running_cosmos(tmp_path_factory.mktemp("cosmos")) as server:
        yield server


@pytest.fixture
def place(cosmos_server):
    """A database of this test's own. Afterwards every scripted fault must have happened."""
    cosmos_server.reset()
    yield CosmosPlace(cosmos_server.url, KEY, f"test-{next(_numbers)}", cosmos_server.ca_file, endpoint_discovery=False)
    assert cosmos_server.unused_faults == 0


@pytest.fixture
def cosmos(place):
    store = CosmosDocuments(place)
    yield store
    store.close()


@pytest.fixture(params=["postgres", "cosmos"])
def store(request):
    if request.param == "cosmos":
        return request.getfixturevalue("cosmos")
    own = request.getfixturevalue("postgres")
    with own.transaction() as connection:
        connection.execute("DELETE FROM treadle.documents")
    return PostgresDocuments(own)


def ids(documents):
    return [document.id for document in documents]


def test_a_document_comes_back_as_it_was_put_with_a_new_etag_each_time(store):
    body = {"title": "Grüße – 漢字 🎉", "n": 1.5, "whole": 7, "no": None, "yes": True, "deep": [{"a": ["b", {}]}, 'it\'s "so" \\ % {}']}
    first = store.put(DOCS, "a", body)
    again = store.put(DOCS, "a", body)
    found = store.get(DOCS, "a")
    assert (found.container, found.id, found.body) == (DOCS, "a", body)
    assert found == again
    assert first.etag != again.etag
    assert abs(datetime.now(UTC) - found.updated_at) < timedelta(minutes=1)


def test_what_is_not_there_is_told_apart_from_what_is(store):
    assert store.find(DOCS, "a") is None
    with pytest.raises(NotFound, match="no document a in scenario-documents"):
        store.get(DOCS, "a")
    with pytest.raises(NotFound):
        store.delete(DOCS, "a")
    store.put(DOCS, "a", {})
    store.put("scenarios", "b", {})
    assert store.find(DOCS, "b") is None
    store.delete(DOCS, "a")
    assert store.find(DOCS, "a") is None


def test_a_document_that_is_to_be_new_replaces_none(store):
    store.put(DOCS, "a", {"n": 1}, create_only=True)
    with pytest.raises(Conflict, match="already"):
        store.put(DOCS, "a", {"n": 2}, create_only=True)
    assert store.get(DOCS, "a").body == {"n": 1}


def test_a_change_of_something_that_was_changed_meanwhile_is_refused(store):
    seen = store.put(DOCS, "a", {"n": 1})
    newer = store.put(DOCS, "a", {"n": 2}, if_match=seen.etag)
    with pytest.raises(Conflict, match="changed or removed meanwhile"):
        store.put(DOCS, "a", {"n": 3}, if_match=seen.etag)
    with pytest.raises(Conflict):
        store.delete(DOCS, "a", if_match=seen.etag)
    assert store.get(DOCS, "a").body == {"n": 2}
    store.delete(DOCS, "a", if_match=newer.etag)
    with pytest.raises(Conflict):
        store.put(DOCS, "a", {"n": 3}, if_match=newer.etag)
    with pytest.raises(NotFound):
        store.delete(DOCS, "a", if_match=newer.etag)
    assert store.find(DOCS, "a") is None


def test_of_writers_that_saw_the_same_document_one_wins(store):
    seen = store.put(DOCS, "a", {"by": "nobody"})

    def write(name):
        try:
            return store.put(DOCS, "a", {"by": name}, if_match=seen.etag).body["by"]
        except Conflict:
            return None

    with ThreadPoolExecutor(6) as pool:
        won = [name for name in pool.map(write, "abcdef") if name]
    assert [store.get(DOCS, "a").body["by"]] == won


def test_pages_follow_each_other_in_the_order_of_the_ids(store):
    names = ["B", "a", "_", "a-1", "a.1", "a:1", "a1", "b", "Z9"]
    for name in names:
        store.put(DOCS, name, {})
    store.put("scenarios", "other", {})
    seen, after = [], None
    while True:
        page = store.list(DOCS, limit=4, after=after)
        seen += ids(page.documents)
        if page.after is None:
            break
        after = page.after
    assert seen == sorted(names)
    assert ids(store.list(DOCS, limit=9).documents) == seen
    assert store.list(DOCS, limit=9).after is None
    assert store.list("scenario-things").documents == ()


def test_more_documents_than_one_answer_holds_are_all_listed(store):
    for number in range(1_003):
        store.put(DOCS, f"d{number:04}", {"n": number, "text": "fibre"})
    first = store.list(DOCS, limit=1000)
    rest = store.list(DOCS, limit=1000, after=first.after)
    assert [document.body["n"] for document in (*first.documents, *rest.documents)] == list(range(1_003))
    assert rest.after is None
    assert len(store.search(DOCS, "fibre")) == 50


def test_documents_are_chosen_by_members_that_are_this_very_text(store):
    store.put(DOCS, "a", {"scenario": "x", "slot": "runbooks"})
    store.put(DOCS, "b", {"scenario": "x", "slot": "tickets"})
    store.put(DOCS, "c", {"scenario": "X", "slot": ["runbooks"], "deep": {"scenario": "x"}})
    store.put(DOCS, "d", {"scenario": "o'x\" OR 1=1 --"})
    store.put(DOCS, "e", {"scenario": 1})
    assert ids(store.list(DOCS, where={"scenario": "x"}).documents) == ["a", "b"]
    assert ids(store.list(DOCS, where={"scenario": "x", "slot": "tickets"}).documents) == ["b"]
    assert ids(store.list(DOCS, where={"slot": "runbooks"}).documents) == ["a"]
    assert ids(store.list(DOCS, where={"scenario": "o'x\" OR 1=1 --"}).documents) == ["d"]
    assert ids(store.list(DOCS, where={"scenario": "1"}).documents) == []
    assert ids(store.list(DOCS, where={"scenario": "x"}, limit=1, after="a").documents) == ["b"]


def test_a_search_finds_documents_that_have_every_word_whatever_its_case_and_ending(store):
    store.put(DOCS, "cut", {"title": "Fibre cut", "steps": ["LINK-SYD-MEL-FIBRE-01 is dark", {"then": "failures follow"}]})
    store.put(DOCS, "cpu", {"title": "High CPU", "steps": ["A router fails over; the fibre is fine."]})
    store.put("scenarios", "cut", {"title": "Fibre cut"})
    assert ids(store.search(DOCS, "FIBRE")) == ["cut", "cpu"]  # in the title, and in a text
    assert ids(store.search(DOCS, "fibres cuts")) == ["cut"]
    assert ids(store.search(DOCS, "link-syd-mel-fibre-01")) == ["cut"]
    assert ids(store.search(DOCS, "failure")) == ["cut"]
    assert ids(store.search(DOCS, "rout")) == ["cpu"]  # as it is being typed
    assert store.search(DOCS, "outer") == ()  # within a word is not at its beginning
    assert store.search(DOCS, "fibre submarine") == ()
    assert store.search(DOCS, "steps") == ()  # the name of a member


def test_a_search_keeps_to_what_it_is_limited_to_and_puts_the_best_first(store):
    for number in range(5):
        body = {"title": f"Report {number}", "scenario": "x" if number % 2 else "y", "text": "power " * (number + 1)}
        store.put(DOCS, f"d{number}", body)
    store.put(DOCS, "named", {"title": "Power", "scenario": "x", "text": "something else, and more of it"})
    assert ids(store.search(DOCS, "power"))[0] == "named"
    assert len(store.search(DOCS, "power", limit=2)) == 2
    assert set(ids(store.search(DOCS, "power", where={"scenario": "x"}))) == {"named", "d1", "d3"}
    assert store.search(DOCS, "x") == ()  # a document with a text is found by that and its headings


def test_a_search_follows_what_was_written_last(store):
    store.put(DOCS, "a", {"text": "copper"})
    store.put(DOCS, "a", {"text": "glass"})
    assert store.search(DOCS, "copper") == ()
    assert ids(store.search(DOCS, "glass")) == ["a"]
    store.delete(DOCS, "a")
    assert store.search(DOCS, "glass") == ()


@pytest.mark.parametrize("text", ["", "  ", "?!", "'\"; --", "&|!():*", "\0"])
def test_a_search_without_a_word_is_refused(store, text):
    with pytest.raises(InvalidInput, match="no word"):
        store.search(DOCS, text)


@pytest.mark.parametrize("text", ["it's", "a & b", "'; DROP TABLE", "x:* | y", "50 % off", "漢字", "straße", "<b>bold</b>", "1e5 -3.5"])
def test_no_sign_in_a_search_means_anything_but_itself(store, text):
    store.put(DOCS, "a", {"text": f"before {text} behind"})
    store.put(DOCS, "b", {"text": "something else"})
    assert ids(store.search(DOCS, text)) == ["a"]


def test_what_no_store_can_keep_is_refused_before_it_is_sent(store):
    for bad in ("", "a/b", "a\\b", "a?b", "a#b", " a", "ä", "-a", "a\n", "x" * 256):
        with pytest.raises(InvalidInput, match="cannot be the id"):
            store.put(DOCS, bad, {})
        with pytest.raises(InvalidInput):
            store.find(DOCS, bad)
    for bad in ("", "Docs", "a_b", "../x", "x" * 64):
        with pytest.raises(InvalidInput, match="container"):
            store.list(bad)
    with pytest.raises(InvalidInput, match="1,048,576 are allowed"):
        store.put(DOCS, "a", {"text": "x" * 1024**2})
    with pytest.raises(InvalidInput, match="JSON object"):
        store.put(DOCS, "a", ["x"])
    with pytest.raises(InvalidInput, match="cannot be chosen by"):
        store.list(DOCS, where={'x"] OR true --': "x"})
    with pytest.raises(InvalidInput, match="at once"):
        store.list(DOCS, limit=0)
    assert store.list(DOCS).documents == ()


def test_a_body_of_almost_a_mebibyte_is_kept_and_found_by_its_first_words(store):
    body = {"text": "excavator " + "lorem ipsum " * 87_000}
    store.put(DOCS, "long", body)
    assert store.get(DOCS, "long").body == body
    assert ids(store.search(DOCS, "excavators")) == ["long"]


def test_values_that_are_no_json_or_no_text_become_what_is(store):
    store.put(DOCS, "a", {"nan": float("nan"), "nul": "a\0b", "half": "\ud800"})
    assert store.get(DOCS, "a").body == {"nan": None, "nul": "a\ufffdb", "half": "\ufffd"}


def test_no_secret_is_kept_or_found(store):
    stored = store.put(DOCS, "a", {"text": "Sign in with password=hunter2secret, then go on."})
    assert "hunter2secret" not in str(stored.body)
    assert store.search(DOCS, "hunter2secret") == ()
    assert ids(store.search(DOCS, "password")) == ["a"]


# Cosmos alone.


def test_throttling_is_waited_for_as_long_as_cosmos_says(cosmos, cosmos_server):
    cosmos.put(DOCS, "a", {"n": 1})
    cosmos_server.script("POST", "/docs", status=429, times=2, x_ms_retry_after_ms="150")
    began = time.monotonic()
    cosmos.put(DOCS, "a", {"n": 2})
    assert time.monotonic() - began >= 0.3
    cosmos_server.script("GET", "/docs/a", status=429, x_ms_retry_after_ms="1")
    assert cosmos.get(DOCS, "a").body == {"n": 2}


def test_throttling_without_end_is_told_with_how_long_to_wait(place, cosmos_server):
    store = CosmosDocuments(CosmosPlace(place.url, place.key, place.database, place.ca_file, endpoint_discovery=False, deadline_seconds=1))
    store.put(DOCS, "a", {})
    cosmos_server.script("GET", "/docs/a", status=429, times=3, x_ms_retry_after_ms="600")
    with pytest.raises(Throttled) as caught:
        store.get(DOCS, "a")
    assert caught.value.retry_after_seconds == 0.6
    store.close()


def test_a_server_that_really_fails_is_not_taken_for_a_missing_document(cosmos, cosmos_server):
    cosmos.put(DOCS, "a", {})
    cosmos_server.script("GET", "/docs/a", status=500)
    with pytest.raises(Unavailable):
        cosmos.find(DOCS, "a")
    cosmos_server.script("GET", "/docs/a", status=503)
    with pytest.raises(Unavailable):
        cosmos.find(DOCS, "a")


def test_a_container_that_is_gone_is_not_taken_for_a_missing_document(cosmos, cosmos_server):
    cosmos.put(DOCS, "a", {})
    cosmos_server.script("GET", "/docs/a", status=404, x_ms_substatus="1003")
    with pytest.raises(Unavailable, match="container of documents"):
        cosmos.find(DOCS, "a")


def test_a_change_whose_answer_is_lost_may_have_happened(cosmos, cosmos_server):
    cosmos.put(DOCS, "a", {"n": 1})
    cosmos_server.script("POST", "/docs", lost=True)
    with pytest.raises(OutcomeUnknown, match="Cosmos DB"):
        cosmos.put(DOCS, "a", {"n": 2})
    assert cosmos.get(DOCS, "a").body == {"n": 2}


def test_a_key_that_is_not_accepted_is_told_and_never_shown(cosmos, cosmos_server, place):
    cosmos_server.script("GET", "/dbs/", status=401)
    with pytest.raises(Unauthenticated) as caught:
        cosmos.find(DOCS, "a")
    assert "COSMOS_KEY" in str(caught.value.hint)
    assert KEY not in f"{caught.value!r} {caught.value.details} {place!r}"


def test_a_server_that_is_away_is_told(place):
    store = CosmosDocuments(CosmosPlace("https://127.0.0.1:9", place.key, place.database, place.ca_file, endpoint_discovery=False))
    with pytest.raises(Unavailable, match="does not answer"):
        store.find(DOCS, "a")


def test_a_server_that_somebody_else_vouches_for_is_not_trusted_not_even_at_localhost(place, cosmos_server, tmp_path):
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    store = CosmosDocuments(CosmosPlace(place.url, place.key, place.database, tmp_path / "other.pem", endpoint_discovery=False))
    with pytest.raises(Unavailable):
        store.find(DOCS, "a")
    assert cosmos_server.asked == []


def test_the_regions_that_the_account_names_are_used_where_that_is_wanted(place):
    store = CosmosDocuments(CosmosPlace(place.url, place.key, place.database, place.ca_file))
    store.put(DOCS, "a", {"n": 1})
    assert store.get(DOCS, "a").body == {"n": 1}
    store.close()


def test_an_address_without_tls_is_refused():
    with pytest.raises(InvalidInput, match="https"):
        CosmosDocuments(CosmosPlace("http://127.0.0.1:1", KEY, "x"))


def test_several_that_make_the_database_at_once_all_get_it(place):
    stores = [CosmosDocuments(place) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda numbered: numbered[1].put(DOCS, f"d{numbered[0]}", {}), enumerate(stores)))
    assert ids(stores[0].list(DOCS).documents) == ["d0", "d1", "d2", "d3"]
    for store in stores:
        store.close()


def test_every_question_stays_within_one_partition(cosmos, cosmos_server):
    """A question across partitions asks for their ranges first; none does."""
    cosmos.put(DOCS, "a", {"text": "fibre"})
    cosmos.list(DOCS)
    cosmos.search(DOCS, "fibre")
    assert [asked for asked in cosmos_server.asked if "pkranges" in asked] == []


def test_the_lock_file_names_no_registry():
    assert "resolved" not in (HERE / "package-lock.json").read_text()
