"""One effect, however often, however parallel, and whoever dies in the middle."""

import threading
from datetime import timedelta
from uuid import UUID

import pytest
from control_trials import at_once, wait_until

from treadle.control.database import Database
from treadle.control.idempotency import IN_PROGRESS, KEY_REUSED, KeptAnswer, KeyedRequest, Patience, delete_expired, once, started_id
from treadle.control.migrate import migrate
from treadle.errors import Conflict, InvalidInput, Unavailable

REQUEST = KeyedRequest("local:ada", "key-1", "POST /api/runs", b'{"input_file": "a.csv"}')


@pytest.fixture
def own(database: Database) -> Database:
    migrate(database)
    return database


class Effect:
    """Counts how often it was carried out, and with which ids."""

    def __init__(self, *, hold: threading.Event | None = None) -> None:
        self.ids: list[UUID] = []
        self.begun = threading.Event()
        self._hold = hold

    def __call__(self, run_id: UUID) -> KeptAnswer:
        self.ids.append(run_id)
        self.begun.set()
        if self._hold:
            assert self._hold.wait(20)
        return KeptAnswer(202, {"run_id": str(run_id)}, {"Location": f"/api/runs/{run_id}"})


def test_32_parallel_repeats_have_one_effect_and_one_answer(own):
    effect = Effect()
    answers = at_once(32, lambda _: once(own, REQUEST, effect))
    assert effect.ids == [REQUEST.started_id]
    assert {(answer.status, str(answer.body), str(answer.headers)) for answer in answers} == {
        (202, str({"run_id": str(REQUEST.started_id)}), str({"Location": f"/api/runs/{REQUEST.started_id}"}))
    }
    assert sum(not answer.replayed for answer in answers) == 1


def test_a_later_repeat_gets_the_kept_answer(own):
    effect = Effect()
    first, second = (once(own, REQUEST, effect) for _ in range(2))
    assert (first.replayed, second.replayed) == (False, True)
    assert len(effect.ids) == 1


@pytest.mark.parametrize("other", [{"body": b"{}"}, {"route": "POST /api/jobs"}])
def test_a_key_that_was_used_for_another_request_is_refused(own, other):
    once(own, REQUEST, Effect())
    values = {"owner": REQUEST.owner, "key": REQUEST.key, "route": REQUEST.route, "body": REQUEST.body} | other
    with pytest.raises(InvalidInput) as refused:
        once(own, KeyedRequest(**values), Effect())
    assert refused.value.details["code"] == KEY_REUSED


def test_the_keys_of_two_callers_never_meet(own):
    effect = Effect()
    for owner in ("local:ada", "local:olga"):
        once(own, KeyedRequest(owner, "key-1", "POST /api/runs", b"{}"), effect)
    assert len(set(effect.ids)) == 2


def test_ids_differ_by_owner_route_and_key_and_not_by_where_one_ends(own):
    assert len({started_id(*parts) for parts in [("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ("c", "b", "a"), ("a", "b", "d")]}) == 5
    assert started_id("a", "b", "c") == started_id("a", "b", "c")


def test_what_is_refused_is_not_kept_and_the_key_is_free_again(own):
    def refuse(_: UUID) -> KeptAnswer:
        raise Unavailable("Fabric is away.")

    with pytest.raises(Unavailable):
        once(own, REQUEST, refuse)
    effect = Effect()
    assert not once(own, REQUEST, effect).replayed
    assert effect.ids == [REQUEST.started_id]


def test_who_waits_too_long_is_told_to_come_again(own):
    hold = threading.Event()
    slow = Effect(hold=hold)
    first = threading.Thread(target=once, args=(own, REQUEST, slow))
    first.start()
    assert slow.begun.wait(10)
    with pytest.raises(Conflict) as told:
        once(own, REQUEST, Effect(), Patience(wait_seconds=0.2))
    assert told.value.details["code"] == IN_PROGRESS
    assert told.value.details["retry_after_seconds"] > 0
    hold.set()
    first.join(10)
    assert once(own, REQUEST, Effect()).replayed


def test_a_slow_holder_is_not_taken_over_before_its_lease_lapses(own):
    hold = threading.Event()
    slow, other = Effect(hold=hold), Effect()
    first = threading.Thread(target=once, args=(own, REQUEST, slow))
    first.start()
    assert slow.begun.wait(10)
    results = at_once(8, lambda _: _outcome(own, other))
    assert {type(result) for result in results} == {Conflict}
    assert other.ids == []
    hold.set()
    first.join(10)


def test_a_crashed_holders_claim_is_taken_over_by_one_with_the_same_id(own, as_owner):
    crashed = Effect()
    once(own, REQUEST, crashed)
    as_owner("UPDATE treadle.idempotency SET answer = NULL, lease_until = clock_timestamp() - interval '1 second'")
    effect = Effect()
    answers = at_once(16, lambda _: once(own, REQUEST, effect))
    assert effect.ids == crashed.ids
    assert len({answer.body["run_id"] for answer in answers}) == 1


def test_a_crashed_holders_key_cannot_be_used_for_another_request(own, as_owner):
    once(own, REQUEST, Effect())
    as_owner("UPDATE treadle.idempotency SET answer = NULL, lease_until = clock_timestamp() - interval '1 second'")
    with pytest.raises(InvalidInput):
        once(own, KeyedRequest(REQUEST.owner, REQUEST.key, REQUEST.route, b"other"), Effect())


def test_a_holder_that_lost_its_claim_does_not_overwrite_the_answer(own, as_owner):
    hold = threading.Event()
    slow = Effect(hold=hold)
    first = threading.Thread(target=once, args=(own, REQUEST, slow, Patience(lease=timedelta(milliseconds=50))))
    first.start()
    assert slow.begun.wait(10)
    wait_until(lambda: as_owner("SELECT lease_until < clock_timestamp() FROM treadle.idempotency") == [(True,)])
    once(own, REQUEST, lambda _: KeptAnswer(202, {"by": "second"}))
    hold.set()
    first.join(10)
    assert once(own, REQUEST, Effect()).body == {"by": "second"}


def test_an_expired_key_may_be_used_anew_and_is_cleared_away(own, as_owner):
    once(own, REQUEST, Effect())
    as_owner("UPDATE treadle.idempotency SET expires_at = clock_timestamp() - interval '1 second'")
    assert not once(own, KeyedRequest(REQUEST.owner, REQUEST.key, REQUEST.route, b"other"), Effect()).replayed
    once(own, KeyedRequest("local:ada", "key-2", "POST /api/runs", b""), Effect())
    as_owner("UPDATE treadle.idempotency SET expires_at = clock_timestamp() - interval '1 second' WHERE key = 'key-1'")
    assert delete_expired(own) == 1
    assert delete_expired(own) == 0
    assert as_owner("SELECT key FROM treadle.idempotency") == [("key-2",)]


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "é", "x" * 201, "a\0"])
def test_a_malformed_key_is_refused(own, key):
    with pytest.raises(InvalidInput, match="visible ASCII"):
        once(own, KeyedRequest("local:ada", key, "POST /api/runs", b""), Effect())


def test_the_body_is_kept_as_a_hash_alone(own, as_owner):
    once(own, KeyedRequest("local:ada", "key-1", "POST /api/runs", b"a very private body"), Effect())
    assert "very private" not in str(as_owner("SELECT to_jsonb(i)::text, fingerprint FROM treadle.idempotency i"))


def test_without_the_tables_nothing_is_carried_out(database):
    effect = Effect()
    with pytest.raises(InvalidInput) as refused:
        once(database, REQUEST, effect)
    assert refused.value.hint == "run: treadle migrate"
    assert effect.ids == []


def _outcome(own: Database, effect: Effect) -> object:
    return once(own, REQUEST, effect, Patience(wait_seconds=0.3))
