"""Connections: a workspace is asked of Fabric before it is kept, and at any time at most one is active."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from treadle.errors import InvalidInput, NotFound, PermissionDenied
from treadle.flows.scenario.connections import (
    active_connection,
    add_connection,
    delete_connection,
    get_connection,
    list_connections,
    select_connection,
)
from treadle.flows.scenario.records import all_documents
from treadle.stores.containers import CONNECTIONS

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def services(treadle):
    opened = treadle.scenarios()
    for document in list(all_documents(opened.documents, CONNECTIONS)):
        opened.documents.delete(CONNECTIONS, document.id)
    return opened


@pytest.fixture
def workspaces(services):
    """Three workspaces of this test's own, by name."""
    made = [services.fabric.create_workspace(f"ws{number}-{uuid4().hex[:8]}") for number in range(3)]
    return [(workspace.workspace_id, workspace.name) for workspace in made]


def active(services):
    return [connection.workspace_id for connection in list_connections(services.documents) if connection.active]


def test_a_workspace_is_asked_for_and_kept_under_the_name_that_it_has_there(services, workspaces):
    (first, name), (second, _), _ = workspaces
    added = add_connection(services.documents, services.fabric, first.upper(), NOON)
    assert (added.workspace_id, added.workspace_name, added.created_at, added.active) == (first, name, NOON, True)
    assert not add_connection(services.documents, services.fabric, second, NOON).active
    assert active_connection(services.documents) == added


def test_what_is_no_workspace_is_not_kept(services):
    with pytest.raises(NotFound):
        add_connection(services.documents, services.fabric, str(uuid4()), NOON)
    with pytest.raises(InvalidInput):
        add_connection(services.documents, services.fabric, "../x", NOON)
    assert list_connections(services.documents) == []


def test_a_workspace_that_fabric_refuses_is_not_kept(services, workspaces, environment):
    environment.cloud.faults.script("fabric.GetWorkspace", "status", status=403, code="InsufficientPrivileges")
    with pytest.raises(PermissionDenied):
        add_connection(services.documents, services.fabric, workspaces[0][0], NOON)
    assert list_connections(services.documents) == []


def test_adding_again_keeps_the_time_and_the_choice(services, workspaces):
    (first, _), (second, _), _ = workspaces
    for workspace in (first, second):
        add_connection(services.documents, services.fabric, workspace, NOON)
    select_connection(services.documents, second, NOON + timedelta(hours=1))
    again = add_connection(services.documents, services.fabric, first, NOON + timedelta(hours=2))
    assert again.created_at == NOON
    assert active(services) == [second]


def test_the_last_choice_is_the_active_one_whatever_the_clocks_say(services, workspaces):
    ids = [workspace for workspace, _ in workspaces]
    for workspace in ids:
        add_connection(services.documents, services.fabric, workspace, NOON)
    assert active(services) == [ids[0]]
    chosen = select_connection(services.documents, ids[1], NOON + timedelta(minutes=5))
    assert chosen.active
    assert chosen.last_used == NOON + timedelta(minutes=5)
    select_connection(services.documents, ids[2], NOON)  # by somebody whose clock runs behind
    assert active(services) == [ids[2]]
    select_connection(services.documents, ids[2], NOON)
    assert active(services) == [ids[2]]
    with pytest.raises(NotFound, match="no connection"):
        select_connection(services.documents, str(uuid4()), NOON)


def test_two_who_choose_at_once_leave_one_active(services, workspaces):
    ids = [workspace for workspace, _ in workspaces]
    for workspace in ids:
        add_connection(services.documents, services.fabric, workspace, NOON)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda workspace: select_connection(services.documents, workspace, NOON), ids * 4))
    assert len(active(services)) == 1


def test_after_the_active_one_is_deleted_none_is_active_until_somebody_chooses(services, workspaces):
    ids = [workspace for workspace, _ in workspaces]
    for number, workspace in enumerate(ids):
        add_connection(services.documents, services.fabric, workspace, NOON)
        select_connection(services.documents, workspace, NOON + timedelta(minutes=number))
    delete_connection(services.documents, ids[0])
    assert active(services) == [ids[2]]
    delete_connection(services.documents, ids[2])
    assert active(services) == []
    assert get_connection(services.documents, ids[1]).last_used == NOON + timedelta(minutes=1)
    with pytest.raises(NotFound):
        delete_connection(services.documents, ids[2])
    assert select_connection(services.documents, ids[1], NOON).active
