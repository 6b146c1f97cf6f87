"""Documents in PostgreSQL: every statement is planned on a big table and uses its index; and what is kept of scenarios, as values."""

import json
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import ClientCursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.control.statements import with_lines
from treadle.errors import InvalidInput, NotFound
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import (
    ScenarioRecord,
    TableRecord,
    Thing,
    find_scenario,
    forget_scenario,
    forget_thing,
    get_scenario,
    list_scenarios,
    record_thing,
    save_scenario,
    things_of,
    things_of_scenario,
)
from treadle.stores.containers import CONTAINERS, SCENARIOS, THINGS, open_container
from treadle.stores.document_store import SEARCHED_BYTES
from treadle.stores.postgres import SQL, PostgresDocuments

DOCUMENTS = 50_000
WORKSPACE = "00000000-0000-0000-0000-0000000000AA"
VALUES = {
    "container": "scenario-documents",
    "id": "d25000",
    "after": "d25000",
    "where": json.dumps({"scenario": "s7"}),
    "limit": 51,
    "body": "{}",
    "heading": "x",
    "text": "x y",
    "if_match": "e",
    "query": "rare7:*",
}


@pytest.fixture(scope="module")
def big(server):
    """50,000 documents of 5,000 scenarios, each with words of its own and words of all."""
    conninfo = make_conninfo(server.admin_dsn, dbname=conninfo_to_dict(server.create_database("documents_big"))["dbname"])
    with Database(conninfo) as own:
        migrate(own)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO treadle.documents (container, id, body, etag, words)
               SELECT CASE WHEN n %% 10 = 0 THEN 'scenario-things' ELSE 'scenario-documents' END, 'd' || n,
                      jsonb_build_object('scenario', 's' || n %% 5000, 'text', 'fibre rare' || n), 'e' || n,
                      to_tsvector('simple', 'fibre rare' || n)
                 FROM generate_series(1, %(rows)s) AS n""",
            {"rows": DOCUMENTS},
        )
        connection.execute("VACUUM ANALYZE treadle.documents")
    return conninfo


@pytest.fixture
def store(own):
    return PostgresDocuments(own)


def plan(conninfo, name, lines):
    with psycopg.connect(conninfo, cursor_factory=ClientCursor) as connection:
        [(found,)] = connection.execute(f"EXPLAIN (FORMAT JSON) {with_lines(SQL[name], lines)}", VALUES).fetchall()
        connection.rollback()
    return list(nodes(found[0]["Plan"]))


def nodes(node):
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


LINES = [set(), {"where"}, {"after"}, {"where", "after"}, {"if_match"}]


@pytest.mark.parametrize("name", SQL)
@pytest.mark.parametrize("lines", LINES, ids=lambda lines: "+".join(sorted(lines)) or "bare")
def test_a_statement_reads_no_big_table_from_end_to_end(big, name, lines):
    found = plan(big, name, lines)
    assert "Seq Scan" not in {node["Node Type"] for node in found}


def test_each_question_has_its_index(big):
    used = {
        "get_document": ("documents_pkey", set()),
        "list_documents": ("documents_pkey", {"after"}),
        "search_documents": ("documents_words", set()),
    }
    for name, (index, lines) in used.items():
        assert index in {node.get("Index Name") for node in plan(big, name, lines)}
    assert "documents_members" in {node.get("Index Name") for node in plan(big, "list_documents", {"where"})}


def test_a_page_comes_in_order_without_sorting_the_container(big):
    assert "Sort" not in {node["Node Type"] for node in plan(big, "list_documents", {"after"})}


def test_no_statement_compares_an_uncast_value():
    for sql in SQL.values():
        for rest in sql.split("%(")[1:]:
            assert rest.split(")s", 1)[1].startswith("::")


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"{number:x}" for number in range(200_000)),
        " ".join(f"{number}e5" for number in range(100_000)),
        "é漢１" * 110_000,
        "a" * 900_000,
        "-".join(f"w{number}" for number in range(100_000)),
        "x" * 300 + " " + "y/" * 100_000 + "http://a.b/c?d=e " * 10_000,
    ],
    ids=["short words", "numbers", "one word of signs", "one long word", "joined", "addresses"],
)
def test_a_text_of_any_words_fits_into_the_index_of_words(store, text):
    """PostgreSQL refuses a vector of words that is larger than 1 MiB; the limit of what is searched lies well below."""
    assert len(text) > SEARCHED_BYTES / 2
    stored = store.put(SCENARIOS, "long", {"title": "Excavator", "text": text[:900_000]})
    assert [found.id for found in store.search(SCENARIOS, "excavator")] == [stored.id]


def test_containers_are_open_to_callers_only_where_they_say_so():
    assert {name for name, container in CONTAINERS.items() if container.writable} == {"scenarios"}
    assert open_container("upload-jobs").readable
    for name in ("fabric-connections", "nothing", "Scenarios", ""):
        with pytest.raises(NotFound, match="There is no container"):
            open_container(name)


# What is kept of scenarios.


def record(**changed):
    facts = {
        "name": "telco-noc",
        "display_name": "Telco",
        "description": "A fibre cut",
        "domain": None,
        "use_cases": ("a", "b"),
        "example_questions": ("why?",),
        "graph_styles": {"CoreRouter": {"color": "#38BDF8"}},
        "graph_connector": "fabric-gql",
        "workspace_id": WORKSPACE.lower(),
        "workspace_name": "ops",
        "lakehouse_id": "l",
        "tables": (TableRecord("CoreRouter", 3, "lakehouse"),),
        "model": {"entity_types": [{"label": "CoreRouter", "key": "RouterId", "properties": []}], "relationship_types": []},
        "upload_results": {"graph": {"tables": 10}},
        "job_id": "j",
        "updated_at": datetime(2026, 11, 22, 1, 2, 3, 4, tzinfo=UTC),
    }
    return ScenarioRecord(**facts | changed)


def thing(kind=Kind.TABLE, name="CoreRouter", **changed):
    return Thing(**{"scenario": "telco-noc", "workspace_id": WORKSPACE, "kind": kind, "name": name, "item_id": "i"} | changed)


def test_a_scenario_comes_back_as_it_was_saved_and_the_last_one_counts(store):
    save_scenario(store, record(display_name="Old"))
    save_scenario(store, record())
    save_scenario(store, record(name="other"))
    assert get_scenario(store, "telco-noc") == record()
    assert list_scenarios(store) == [record(name="other"), record()]
    store.put("scenarios", "a-note", {"tables": "none of ours"})  # as somebody else may have left it there
    assert list_scenarios(store) == [record(name="other"), record()]
    forget_scenario(store, "other")
    forget_scenario(store, "other")
    assert find_scenario(store, "other") is None
    with pytest.raises(NotFound, match="no scenario other"):
        get_scenario(store, "other")


def test_what_a_newer_treadle_adds_to_a_scenario_is_passed_over(store):
    save_scenario(store, record())
    store.put(SCENARIOS, "telco-noc", store.get(SCENARIOS, "telco-noc").body | {"added": 1})
    assert get_scenario(store, "telco-noc") == record()


@pytest.mark.parametrize(
    "broken", [{}, {"name": "telco-noc"}, {"updated_at": "yesterday"}, {"updated_at": None}, {"tables": [1]}, {"use_cases": 3}]
)
def test_a_document_that_is_no_scenario_says_so(store, broken):
    save_scenario(store, record())
    body = broken if "name" in broken or not broken else store.get(SCENARIOS, "telco-noc").body | broken
    store.put(SCENARIOS, "telco-noc", body)
    with pytest.raises(InvalidInput, match="telco-noc in scenarios is not a scenario"):
        get_scenario(store, "telco-noc")


def test_a_thing_is_one_by_workspace_kind_and_name(store):
    record_thing(store, thing(fingerprint=None))
    record_thing(store, thing(fingerprint="f", made=False))
    record_thing(store, thing(Kind.KQL_TABLE))
    record_thing(store, thing(Kind.LAKEHOUSE, "lake", scenario="other"))
    record_thing(store, thing(name="CoreRouter2", workspace_id="00000000-0000-0000-0000-0000000000bb"))
    kept = things_of(store, WORKSPACE.lower())
    assert [(found.kind, found.name, found.fingerprint, found.made) for found in kept] == [
        (Kind.LAKEHOUSE, "lake", None, True),
        (Kind.TABLE, "CoreRouter", "f", False),
        (Kind.KQL_TABLE, "CoreRouter", None, True),
    ]
    assert [found.name for found in things_of_scenario(store, "telco-noc")] == ["CoreRouter", "CoreRouter2", "CoreRouter"]
    forget_thing(store, kept[1])
    forget_thing(store, kept[1])
    assert [found.kind for found in things_of(store, WORKSPACE)] == [Kind.LAKEHOUSE, Kind.KQL_TABLE]


def test_things_of_a_workspace_are_all_found_however_many(store):
    for number in range(1_203):
        record_thing(store, thing(name=f"T{number}"))
    assert len(things_of(store, WORKSPACE)) == 1_203
    store.put(THINGS, "broken", {"workspace_id": WORKSPACE.lower(), "kind": "moon"})
    with pytest.raises(InvalidInput, match="is not a thing of a scenario"):
        things_of(store, WORKSPACE)
