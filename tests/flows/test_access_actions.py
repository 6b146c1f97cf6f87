"""The service layer: who may do what, that it happens, and that the audit has it."""

import dataclasses
import io
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from tests import canaries
from tests.flows.conftest import lake_snapshot
from treadle.actions import audit, connections, deploy, documents, files, jobs, lock, results, runs, scenarios, tokens, weekly
from treadle.actions.services import Services
from treadle.control import tokens as kept_tokens
from treadle.control.access import Principal, Right, Role, allowed, local_principal
from treadle.control.audit import list_audit
from treadle.control.audit import verify as verify_audit
from treadle.control.database import Database
from treadle.control.jobs import queue
from treadle.control.jobs.job import Job, NewJob
from treadle.control.states import RunStatus
from treadle.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from treadle.flows.sales.deploy import NOTEBOOKS
from treadle.flows.sales.lakehouse import IMPORT, import_path
from treadle.flows.scenario.plan import Kind
from treadle.flows.weekly.flow import WeekOptions
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.week import week_of

ADA, OLGA, VIC = (local_principal(name, role) for name, role in (("ada", Role.ADMIN), ("olga", Role.OPERATOR), ("vic", Role.VIEWER)))
NOBODY = Principal("oidc:i|s", "nobody", None, "oidc")


@pytest.fixture
def services(treadle) -> Services:
    return Services(treadle.sales, treadle.database, treadle.own, "SANDBOX", "0.0.0", weekly=treadle.weekly, scenarios=treadle.scenarios)


@pytest.fixture
def placed(treadle, csv_file) -> str:
    treadle.lake.upload(import_path("sales.csv"), csv_file().read_bytes())
    return "sales.csv"


ID = uuid4()
FAR = week_of(date(2095, 1, 3))
WISHES = WeekOptions("somebody")


def asked_and_cancelled(ask: Callable[[Services, Principal], Job]) -> Callable[[Services, Principal], Job]:
    """Ask for a job, and take it back: no worker of another test shall do it."""

    def act(services: Services, who: Principal) -> Job:
        return jobs.cancel(services, ADA, ask(services, who).job_id)

    return act


def changes_of_an_absent_plan(services: Services, who: Principal) -> None:
    """Permitted, and then the plan's file is not there."""
    with suppress(FileNotFoundError):
        weekly.plan_changes(services, who, SimpleNamespace(rows_path=Path("absent.parquet")))


def unbegun(act: Callable[[Services, Principal], object]) -> Callable[[Services, Principal], object]:
    """Permitted, and then refused because the week has not begun."""

    def try_it(services: Services, who: Principal) -> None:
        with pytest.raises(InvalidInput, match="has not begun") if allowed(who, Right.RUNS_START) else nullcontext():
            act(services, who)

    return try_it


def without_archives(
    right: Right, act: Callable[[Services, Principal, scenarios.Asked], object]
) -> tuple[Right, Callable[[Services, Principal], object]]:
    """Permitted, and then refused because there is nothing to build."""

    def try_it(services: Services, who: Principal) -> None:
        with pytest.raises(InvalidInput, match="nothing to build") if allowed(who, right) else nullcontext():
            act(services, who, NOTHING)

    return right, try_it


NOTHING = scenarios.Asked(None, None, str(ID), "ops")
WISH = scenarios.ItemWish(Kind.LAKEHOUSE, str(ID), "ops", "lakehouse")

ACTIONS: dict[str, tuple[Right, Callable[[Services, Principal], object]]] = {
    "runs.start": (Right.RUNS_START, lambda s, who: runs.start(s, who, "absent.csv")),
    "runs.restore": (Right.RUNS_RESTORE, lambda s, who: runs.restore(s, who, ID)),
    "runs.cancel": (Right.RUNS_CANCEL, lambda s, who: runs.cancel(s, who, ID)),
    "runs.get_run": (Right.RUNS_READ, lambda s, who: runs.get_run(s, who, ID)),
    "runs.find_run": (Right.RUNS_READ, lambda s, who: runs.find_run(s, who, str(ID))),
    "runs.list_runs": (Right.RUNS_READ, runs.list_runs),
    "runs.list_events": (Right.RUNS_READ, lambda s, who: runs.list_events(s, who, ID)),
    "runs.list_artifacts": (Right.RUNS_READ, lambda s, who: runs.list_artifacts(s, who, ID)),
    "runs.get_artifact": (Right.RUNS_READ, lambda s, who: runs.get_artifact(s, who, ID, "kpis.json")),
    "runs.compare": (Right.RUNS_READ, lambda s, who: runs.compare(s, who, ID, ID)),
    "runs.list_restores": (Right.RUNS_READ, runs.list_restores),
    "runs.latest": (Right.RUNS_READ, runs.latest),
    "runs.trend": (Right.RUNS_READ, lambda s, who: runs.trend(s, who, "orders")),
    "files.list_files": (Right.FILES_READ, files.list_files),
    "files.get_file": (Right.FILES_READ, lambda s, who: files.get_file(s, who, "absent.csv")),
    "files.get_mapping": (Right.FILES_READ, lambda s, who: files.get_mapping(s, who, "absent.csv")),
    "files.put_mapping": (Right.FILES_WRITE, lambda s, who: files.put_mapping(s, who, "absent.csv", {})),
    "files.upload_stream": (
        Right.FILES_WRITE,
        lambda s, who: files.upload_stream(s, who, io.BytesIO(b"order_id,revenue\n1,2\n"), "absent.csv"),
    ),
    "files.published_profile": (Right.FILES_READ, files.published_profile),
    "runs.follow": (Right.RUNS_READ, lambda s, who: runs.follow(s, who, ID)),
    "results.published": (Right.RUNS_READ, results.published),
    "results.of_run": (Right.RUNS_READ, lambda s, who: results.of_run(s, who, ID)),
    "results.kpis": (Right.RUNS_READ, lambda s, who: results.kpis(s, who, ID)),
    "lock.show": (Right.LOCK_READ, lock.show),
    "lock.release": (Right.LOCK_RELEASE, lambda s, who: lock.release(s, who, "because")),
    "lock.release, whatever runs": (Right.LOCK_OVERRIDE, lambda s, who: lock.release(s, who, "because", even_if_running=True)),
    "items.deploy": (Right.ITEMS_DEPLOY, lambda s, who: deploy.carry_out(s, who, known={}, folder=NOTEBOOKS)),
    "jobs.list_jobs": (Right.JOBS_READ, jobs.list_jobs),
    "jobs.get_job": (Right.JOBS_READ, lambda s, who: jobs.get_job(s, who, ID)),
    "jobs.list_steps": (Right.JOBS_READ, lambda s, who: jobs.list_steps(s, who, ID)),
    "jobs.list_events": (Right.JOBS_READ, lambda s, who: jobs.list_events(s, who, ID)),
    "jobs.cancel": (Right.JOBS_MANAGE, lambda s, who: jobs.cancel(s, who, ID)),
    "jobs.retry": (Right.JOBS_MANAGE, lambda s, who: jobs.retry(s, who, ID)),
    "tokens.list_tokens": (Right.TOKENS_MANAGE, tokens.list_tokens),
    "tokens.revoke": (Right.TOKENS_MANAGE, lambda s, who: tokens.revoke(s, who, "0123456789ab")),
    "weekly.standing": (Right.RUNS_READ, weekly.standing),
    "weekly.run_details": (Right.RUNS_READ, lambda s, who: weekly.run_details(s, who, ID)),
    "weekly.week_due": (Right.RUNS_READ, weekly.week_due),
    "weekly.run": (Right.RUNS_START, unbegun(lambda s, who: weekly.run(s, who, FAR, WISHES))),
    "weekly.run_stage": (Right.RUNS_START, unbegun(lambda s, who: weekly.run_stage(s, who, FAR, Stage.TRANSFORM, WISHES))),
    "weekly.plan": (Right.RUNS_READ, lambda s, who: weekly.plan(s, who, FAR)),
    "weekly.plan_changes": (Right.RUNS_READ, changes_of_an_absent_plan),
    "weekly.plan_backfill": (Right.RUNS_READ, lambda s, who: weekly.plan_backfill(s, who, FAR.start, FAR.end)),
    "weekly.backfill": (Right.RUNS_START, lambda s, who: weekly.backfill(s, who, [], WISHES)),
    "weekly.request_run": (Right.RUNS_START, asked_and_cancelled(lambda s, who: weekly.request_run(s, who, FAR))),
    "weekly.request_backfill": (Right.RUNS_START, asked_and_cancelled(lambda s, who: weekly.request_backfill(s, who, FAR.start, FAR.end))),
    "weekly.request_retry": (Right.RUNS_START, asked_and_cancelled(lambda s, who: weekly.request_retry(s, who, FAR))),
    "weekly.retry_rejects": (Right.RUNS_START, lambda s, who: weekly.retry_rejects(s, who, FAR)),
    "weekly.count_rejects": (Right.RUNS_READ, lambda s, who: weekly.count_rejects(s, who, FAR)),
    "weekly.list_rejects": (Right.RUNS_READ, lambda s, who: weekly.list_rejects(s, who, FAR)),
    "weekly.show_reject": (Right.RUNS_READ, lambda s, who: weekly.show_reject(s, who, FAR, 0)),
    "weekly.export_rejects": (Right.RUNS_READ, lambda s, who: weekly.export_rejects(s, who, FAR, Path("absent.csv"))),
    "weekly.list_refused": (Right.RUNS_READ, lambda s, who: weekly.list_refused(s, who, FAR)),
    "weekly.check_api": (Right.RUNS_READ, weekly.check_api),
    "scenarios.plan": without_archives(Right.SCENARIOS_READ, lambda s, who, asked: scenarios.plan(s, who, asked, {})),
    "scenarios.build": without_archives(Right.SCENARIOS_BUILD, lambda s, who, asked: scenarios.build(s, who, asked, {})),
    "scenarios.provision": without_archives(Right.SCENARIOS_BUILD, lambda s, who, asked: scenarios.provision(s, who, asked, {})),
    "scenarios.find_workspace": (Right.SCENARIOS_BUILD, lambda s, who: scenarios.find_workspace(s, who, str(ID), None)),
    "scenarios.finished_upload": (Right.SCENARIOS_BUILD, lambda s, who: scenarios.finished_upload(s, who, ID, ID)),
    "scenarios.provision_one": (Right.SCENARIOS_BUILD, lambda s, who: scenarios.provision_one(s, who, WISH)),
    "scenarios.plan_destroy": (Right.SCENARIOS_READ, lambda s, who: scenarios.plan_destroy(s, who, "absent")),
    "scenarios.survey_destroy": (Right.SCENARIOS_READ, lambda s, who: scenarios.survey_destroy(s, who, "absent")),
    "scenarios.destroy": (Right.SCENARIOS_BUILD, lambda s, who: scenarios.destroy(s, who, "absent")),
    "scenarios.list_scenarios": (Right.SCENARIOS_READ, scenarios.list_scenarios),
    "scenarios.get_scenario": (Right.SCENARIOS_READ, lambda s, who: scenarios.get_scenario(s, who, "absent")),
    "scenarios.query": (Right.SCENARIOS_READ, lambda s, who: scenarios.query(s, who, "absent", "RETURN 1")),
    "scenarios.query_model": (Right.SCENARIOS_READ, lambda s, who: scenarios.query_model(s, who, str(ID), str(ID), "RETURN 1")),
    "scenarios.upload_jobs": (Right.SCENARIOS_READ, scenarios.upload_jobs),
    "scenarios.get_upload_job": (Right.SCENARIOS_READ, lambda s, who: scenarios.get_upload_job(s, who, ID)),
    "scenarios.cancel_upload_job": (Right.SCENARIOS_BUILD, lambda s, who: scenarios.cancel_upload_job(s, who, ID)),
    "scenarios.retry_upload_job": (Right.SCENARIOS_BUILD, lambda s, who: scenarios.retry_upload_job(s, who, ID)),
    "scenarios.delete_upload_job": (Right.SCENARIOS_BUILD, lambda s, who: scenarios.delete_upload_job(s, who, ID)),
    "scenarios.status": (Right.SCENARIOS_READ, scenarios.status),
    "connections.list_connections": (Right.SCENARIOS_READ, connections.list_connections),
    "connections.active": (Right.SCENARIOS_READ, connections.active),
    "connections.add_connection": (Right.CONNECTIONS_MANAGE, lambda s, who: connections.add_connection(s, who, str(ID))),
    "connections.select_connection": (Right.CONNECTIONS_MANAGE, lambda s, who: connections.select_connection(s, who, str(ID))),
    "connections.delete_connection": (Right.CONNECTIONS_MANAGE, lambda s, who: connections.delete_connection(s, who, str(ID))),
    "documents.list_container": (Right.SCENARIOS_READ, lambda s, who: documents.list_container(s, who, "scenarios")),
    "documents.get": (Right.SCENARIOS_READ, lambda s, who: documents.get(s, who, "scenarios", "absent")),
    "documents.put": (Right.DOCUMENTS_WRITE, lambda s, who: documents.put(s, who, "upload-jobs", "absent", {})),
    "documents.delete": (Right.DOCUMENTS_WRITE, lambda s, who: documents.delete(s, who, "scenarios", "absent")),
    "documents.list_documents": (Right.SCENARIOS_READ, lambda s, who: documents.list_documents(s, who, "absent")),
    "documents.search": (Right.SCENARIOS_READ, lambda s, who: documents.search(s, who, "absent", "fibre")),
    "documents.read": (Right.SCENARIOS_READ, lambda s, who: documents.read(s, who, "absent", "absent")),
    "audit.list_audit": (Right.AUDIT_READ, audit.list_audit),
    "audit.verify": (Right.AUDIT_READ, audit.verify),
}


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("who", [ADA, OLGA, VIC, NOBODY], ids=lambda who: who.name)
def test_an_action_is_for_those_who_have_its_right_and_nobody_else(services, name, who):
    right, act = ACTIONS[name]
    if allowed(who, right):
        try:
            act(services, who)
        except (NotFound, Conflict):
            return  # permitted; the thing is not there
    else:
        with pytest.raises(PermissionDenied) as refused:
            act(services, who)
        assert refused.value.details["right"] == right


LOOKS = (
    "tokens.list_tokens",
    "scenarios.find_workspace",
    "scenarios.finished_upload",
)  # for those who may change something, and change nothing
CHANGES = [name for name, (right, _) in ACTIONS.items() if not right.endswith(":read") and name not in LOOKS]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_was_refused_is_in_the_audit_with_who_tried(services, name):
    before = newest(services)
    with pytest.raises(PermissionDenied):
        ACTIONS[name][1](services, NOBODY)
    entry = list_audit(services.own, limit=1).entries[0]
    assert (entry.number, entry.outcome, entry.subject, entry.name) == (before + 1, "refused", NOBODY.subject, "nobody")


def test_a_run_is_started_in_the_name_of_who_may_and_audited_before_and_after(services, drive, placed):
    run = runs.start(services, OLGA, placed, columns={"Sales": "revenue"})
    assert run.triggered_by == "olga"
    done, asked = list_audit(services.own, target=f"run:{run.run_id}").entries
    assert (asked.outcome, asked.details) == ("asked", {"input_file": placed, "columns": {"Sales": "revenue"}, "sheet": None})
    assert (done.outcome, done.asked, done.details["fabric_job_id"]) == ("done", asked.number, run.fabric_job_id)
    with pytest.raises(Conflict):
        runs.start(services, OLGA, placed)
    assert list_audit(services.own, limit=1).entries[0].outcome == "failed"
    drive(run)
    assert verify_audit(services.own).first_bad is None


def test_nothing_starts_when_it_cannot_be_audited(services, treadle, environment, placed):
    elsewhere = environment.postgres.create_database(f"unmigrated_{uuid4().hex[:8]}")
    with Database(elsewhere, pool_size=2) as unmigrated:
        bare = dataclasses.replace(services, own=unmigrated)
        with pytest.raises(InvalidInput) as refused:
            runs.start(bare, OLGA, placed)
        assert refused.value.hint == "run: treadle migrate"
        assert runs.list_runs(bare, VIC, limit=1) is not None
        assert lock.show(bare, VIC).run_id is None


def test_the_figures_of_runs_are_compared_and_followed_over_time(services, treadle, drive, csv_file):
    made = []
    for rows in (3, 5):
        treadle.lake.upload(import_path("sales.csv"), csv_file(rows=rows).read_bytes())
        made.append(drive(runs.start(services, OLGA, "sales.csv")))
    newest_run, before = runs.latest(services, VIC)
    assert [newest_run.run_id, before.run_id] == [made[1].run_id, made[0].run_id]
    assert [(point.run_id, point.value) for point in runs.trend(services, VIC, "orders", limit=2)] == [
        (made[0].run_id, 3),
        (made[1].run_id, 5),
    ]
    assert runs.trend(services, VIC, "no such figure") == []
    assert runs.get_artifact(services, VIC, made[0].run_id, "kpis.json").file_path.endswith("/kpis.json")
    with pytest.raises(NotFound, match="has no file"):
        runs.get_artifact(services, VIC, made[0].run_id, "../kpis.json")
    restored = drive(runs.restore(services, OLGA, made[0].run_id))
    assert (restored.status, restored.triggered_by) == (RunStatus.SUCCEEDED, "olga")
    assert runs.list_restores(services, VIC, limit=1)[0].restored_by == "olga"


def test_a_mapping_is_replaced_whole_and_not_under_a_run_that_reads(services, environment, drive, placed):
    assert files.get_mapping(services, VIC, placed).columns == {}
    files.put_mapping(services, OLGA, placed, {"Sales": "revenue"}, sheet="One")
    files.put_mapping(services, OLGA, placed, {"Region": "region"})
    stored = files.get_mapping(services, VIC, placed)
    assert (stored.columns, stored.sheet) == ({"Region": "region"}, None)
    assert [file.name for file in files.list_files(services, VIC)] == [placed]
    run = runs.start(services, OLGA, placed)
    with pytest.raises(Conflict, match="is reading"):
        files.put_mapping(services, OLGA, placed, {})
    drive(run)
    for hostile in ("../current/manifest.json", "a/b.csv", "x.exe", ""):
        with pytest.raises(InvalidInput):
            files.put_mapping(services, OLGA, hostile, {})
    assert set(lake_snapshot(environment, IMPORT)) == {placed, f"{placed}.mapping.json"}


def test_a_file_is_brought_and_not_replaced_against_the_wish(services, csv_file):
    stored = files.upload(services, OLGA, csv_file("new.csv"))
    assert files.get_file(services, VIC, "new.csv").size_bytes == stored.size_bytes
    with pytest.raises(Conflict):
        files.upload(services, OLGA, csv_file("new.csv"), overwrite=False)


def test_a_job_is_cancelled_and_asked_for_again(services):
    job = queue.enqueue(services.own, NewJob("nothing", {}, "olga"))
    assert jobs.cancel(services, OLGA, job.job_id).cancel_requested_by == "olga"
    assert jobs.retry(services, OLGA, job.job_id).state == "QUEUED"
    jobs.cancel(services, OLGA, job.job_id)
    assert jobs.list_events(services, VIC, job.job_id)[-1].seq == jobs.get_job(services, VIC, job.job_id).last_seq


def test_nobody_gives_away_more_than_they_have(services):
    cunning = Principal("token:1", "cunning", Role.ADMIN, "token", frozenset({Right.TOKENS_MANAGE}))
    for role, scopes in ((Role.ADMIN, None), (Role.VIEWER, None), (Role.ADMIN, {Right.AUDIT_READ})):
        with pytest.raises(PermissionDenied, match="cannot give away"):
            tokens.create(services, cunning, "mine", role, scopes=scopes)
    made, secret = tokens.create(services, cunning, "mine", Role.ADMIN, scopes={Right.TOKENS_MANAGE})
    canaries.plant(secret)
    tokens.revoke(services, ADA, made.token_id)


def test_a_token_is_made_listed_and_revoked_and_its_secret_is_nowhere(services, environment):
    made, secret = tokens.create(services, ADA, "nightly", Role.OPERATOR, expires_in=timedelta(days=1))
    canaries.plant(secret)
    assert kept_tokens.authenticate(services.own, secret).name == "nightly"
    assert made.token_id in [token.token_id for token in tokens.list_tokens(services, ADA)]
    tokens.revoke(services, ADA, made.token_id)
    assert made.token_id not in [token.token_id for token in tokens.list_tokens(services, ADA, usable_only=True)]
    assert secret not in str([entry.details for entry in list_audit(services.own, limit=20).entries])
    with pytest.raises(InvalidInput, match="366 days"):
        tokens.create(services, ADA, "for ever", Role.VIEWER, expires_in=timedelta(days=367))


def newest(services: Services) -> int:
    found = list_audit(services.own, limit=1).entries
    return found[0].number if found else 0


@pytest.mark.parametrize("wished", [{"columns": {"x": "revenue"}}, {"sheet": "Orders"}])
def test_who_may_only_start_runs_does_not_change_how_a_file_is_read(services, placed, wished):
    starter = Principal("token:1", "nightly", Role.OPERATOR, "token", frozenset({Right.RUNS_START, Right.RUNS_READ}))
    with pytest.raises(PermissionDenied, match="files:write"):
        runs.start(services, starter, placed, **wished)
    assert runs.list_runs(services, VIC, triggered_by="nightly").runs == ()


def test_the_trail_of_a_run_says_how_its_file_is_read_from_now_on(services, placed, drive):
    run = drive(runs.start(services, OLGA, placed, columns={"region": "area"}))
    told = [event.message for event in runs.list_events(services, VIC, run.run_id)]
    assert "Columns are read as: region → area. This is stored beside the file, for later runs too." in told


def test_a_lock_is_released_only_from_the_run_that_somebody_saw(services, placed):
    run = runs.start(services, OLGA, placed)
    with pytest.raises(Conflict, match="does not hold the lock any more") as refused:
        lock.release(services, OLGA, "the one before it hung", run_id=uuid4())
    assert refused.value.details == {"run_id": str(run.run_id), "locked_by": "olga"}
    assert lock.show(services, VIC).run_id == run.run_id
    assert lock.release(services, OLGA, "it hangs", run_id=run.run_id).run_id == run.run_id
    assert lock.show(services, VIC).run_id is None
