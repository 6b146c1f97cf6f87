"""API tokens: shown once, kept as a hash, and worth nothing once revoked or expired."""

import re
from datetime import timedelta

import pytest
from control_trials import at_once, wait_until
from tests import canaries

from treadle.control import tokens
from treadle.control.access import Right, Role
from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.control.tokens import authenticate, create_token, list_tokens, looks_like_token, revoke_token
from treadle.errors import Conflict, InvalidInput, NotFound, Unauthenticated

DAY = timedelta(days=1)


@pytest.fixture
def own(database: Database) -> Database:
    migrate(database)
    return database


def made(own: Database, name: str = "nightly", role: Role = Role.OPERATOR, scopes=None, expires_in: timedelta = DAY, **more):
    token, secret = create_token(own, name, role, scopes, expires_in, created_by="ada", **more)
    canaries.plant(secret)
    return token, secret


def forget_what_is_remembered(own: Database) -> None:
    tokens._all_remembered.pop(own, None)


def test_a_token_speaks_for_its_name_role_and_scopes(own):
    token, secret = made(own, scopes={Right.RUNS_READ, Right.RUNS_START})
    who = authenticate(own, secret)
    assert (who.name, who.role, who.via, who.subject, who.token_id) == (
        "nightly",
        Role.OPERATOR,
        "token",
        f"token:{token.token_id}",
        token.token_id,
    )
    assert who.rights == {Right.RUNS_READ, Right.RUNS_START}
    assert authenticate(own, made(own)[1]).scopes is None


def test_the_secret_has_256_random_bits_and_its_form(own):
    token, secret = made(own)
    assert re.fullmatch(r"trdl_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", secret)
    assert secret.split("_")[1] == token.token_id
    assert looks_like_token(secret)
    assert not looks_like_token("eyJhbGciOiJub25lIn0.e30.")


def test_no_secret_is_in_the_database_and_none_is_listed(own, owner_conninfo, as_owner):
    _, secret = made(own)
    authenticate(own, secret)
    stored = str(as_owner("SELECT to_jsonb(t)::text FROM treadle.tokens t"))
    assert secret not in stored
    assert secret.split("_", 2)[2] not in stored
    assert canaries.found_in_text(str(list_tokens(own))) == []


def test_unknown_wrong_and_malformed_tokens_are_refused_in_the_same_words(own):
    _, secret = made(own)
    other = made(own)[1]
    presented = [
        "",
        "trdl_",
        secret[:-1],
        secret + "A",
        secret.upper(),
        f"trdl_{'0' * 12}_{secret[18:]}",
        secret[:18] + other[18:],
        f" {secret}",
        "x" * 100_000,
    ]
    messages = set()
    for one in presented:
        with pytest.raises(Unauthenticated) as refused:
            authenticate(own, one)
        messages.add(refused.value.message)
        assert canaries.found_in_text(refused.value.message + str(refused.value.details)) == []
    assert len(messages) == 1


def test_a_revoked_token_is_refused_at_once_in_this_process(own):
    token, secret = made(own)
    authenticate(own, secret)
    revoked = revoke_token(own, token.token_id, "ada")
    assert (revoked.revoked_by, revoked.usable) == ("ada", False)
    with pytest.raises(Unauthenticated, match="revoked"):
        authenticate(own, secret)


def test_a_token_that_is_revoked_while_it_is_judged_is_not_remembered(own):
    token, secret = made(own)
    known = tokens._remembered(own)
    asked = known.moment()
    principal = authenticate(own, secret)
    revoke_token(own, token.token_id, "ada")
    known.remember(tokens._hash(secret), principal, 5, asked)  # by a request that had read the row before
    assert tokens.recall_principal(own, secret) is None
    with pytest.raises(Unauthenticated, match="revoked"):
        authenticate(own, secret)


def test_revoking_again_changes_nothing(own):
    token, _ = made(own)
    first = revoke_token(own, token.token_id, "ada")
    assert revoke_token(own, token.token_id, "olga") == first


@pytest.mark.parametrize("token_id", ["0123456789ab", "", "x", "'; DROP TABLE treadle.tokens"])
def test_a_token_that_does_not_exist_cannot_be_revoked(own, token_id):
    with pytest.raises(NotFound):
        revoke_token(own, token_id, "ada")


def test_an_expired_token_is_refused_by_the_databases_clock(own, as_owner):
    _, secret = made(own)
    as_owner("UPDATE treadle.tokens SET expires_at = clock_timestamp() - interval '1 second'")
    with pytest.raises(Unauthenticated, match="expired"):
        authenticate(own, secret)
    assert [token.usable for token in list_tokens(own)] == [False]
    assert list_tokens(own, usable_only=True) == []


def test_a_remembered_token_is_forgotten_when_it_expires(own, as_owner):
    _, secret = made(own)
    as_owner("UPDATE treadle.tokens SET expires_at = clock_timestamp() + interval '0.3 second'")
    authenticate(own, secret)

    def refused() -> bool:
        try:
            authenticate(own, secret)
        except Unauthenticated:
            return True
        return False

    wait_until(refused, seconds=3)


def test_what_another_process_revoked_is_refused_within_the_remembered_time(own, conninfo):
    token, secret = made(own)
    authenticate(own, secret)
    with Database(conninfo, pool_size=2) as elsewhere:
        revoke_token(elsewhere, token.token_id, "ada")
        with pytest.raises(Unauthenticated):
            authenticate(elsewhere, secret)
    known = tokens._remembered(own)._until
    assert all(0 < until - tokens.time.monotonic() <= tokens.REMEMBERED_SECONDS for until, _ in known.values())


def test_many_requests_ask_the_database_once(own, as_owner):
    _, secret = made(own)
    authenticate(own, secret)
    as_owner("ALTER TABLE treadle.tokens RENAME TO tokens_away")
    assert len(set(at_once(16, lambda _: authenticate(own, secret)))) == 1


def test_the_last_use_is_recorded_at_most_once_a_minute(own, as_owner):
    _, secret = made(own)
    assert list_tokens(own)[0].last_used_at is None
    authenticate(own, secret)
    used = list_tokens(own)[0].last_used_at
    assert used is not None
    forget_what_is_remembered(own)
    authenticate(own, secret)
    assert list_tokens(own)[0].last_used_at == used
    as_owner("UPDATE treadle.tokens SET last_used_at = last_used_at - interval '2 minutes'")
    forget_what_is_remembered(own)
    authenticate(own, secret)
    assert list_tokens(own)[0].last_used_at > used


def test_a_token_asked_for_twice_with_one_id_is_made_once(own):
    results = at_once(8, lambda _: made(own, token_id="0123456789ab"))
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7
    assert len(list_tokens(own)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " "},
        {"name": "a\nb"},
        {"name": "x" * 101},
        {"scopes": frozenset()},
        {"scopes": {Right.TOKENS_MANAGE}},
        {"expires_in": timedelta(0)},
        {"expires_in": timedelta(days=-1)},
        {"expires_in": timedelta(days=4000)},
        {"token_id": "xyz"},
    ],
)
def test_a_token_that_makes_no_sense_is_refused(own, wrong):
    with pytest.raises(InvalidInput):
        made(own, **wrong)
    assert list_tokens(own) == []


def test_a_scope_that_this_version_does_not_know_gives_nothing(own, as_owner):
    _, secret = made(own, scopes={Right.RUNS_READ})
    as_owner("UPDATE treadle.tokens SET scopes = ARRAY['runs:read', 'moon:land']")
    assert authenticate(own, secret).rights == {Right.RUNS_READ}
    as_owner("UPDATE treadle.tokens SET scopes = ARRAY['moon:land']")
    forget_what_is_remembered(own)
    assert authenticate(own, secret).rights == frozenset()


def test_without_the_tables_it_says_what_to_run(database):
    with pytest.raises(InvalidInput) as refused:
        authenticate(database, "trdl_0123456789ab_" + "x" * 43)
    assert refused.value.hint == "run: treadle migrate"
