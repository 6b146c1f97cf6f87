"""Roles, rights, scopes, and the way from a token's claims to a principal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.access import (
    RIGHTS,
    Principal,
    Right,
    Role,
    allowed,
    local_principal,
    principal_from_claims,
    read_right,
    read_role,
    require,
    rights_of,
)
from treadle.errors import InvalidInput, PermissionDenied, Unauthenticated

ISSUER = "https://id.example.com"


def principal(role: Role | None, scopes: frozenset[Right] | None = None) -> Principal:
    return Principal("token:1", "nightly", role, "token", scopes)


def claims(**more: object) -> dict[str, object]:
    return {"iss": ISSUER, "sub": "8d1f", **more}


def test_every_right_has_its_least_role():
    assert set(RIGHTS) == set(Right)


@pytest.mark.parametrize(
    ("right", "least"),
    [
        ("runs:read", "viewer"),
        ("files:read", "viewer"),
        ("jobs:read", "viewer"),
        ("lock:read", "viewer"),
        ("scenarios:read", "viewer"),
        ("scenarios:build", "operator"),
        ("connections:manage", "operator"),
        ("documents:write", "admin"),
        ("runs:start", "operator"),
        ("runs:cancel", "operator"),
        ("runs:restore", "operator"),
        ("files:write", "operator"),
        ("jobs:manage", "operator"),
        ("lock:release", "operator"),
        ("lock:override", "admin"),
        ("tokens:manage", "admin"),
        ("audit:read", "admin"),
    ],
)
def test_a_right_belongs_to_its_role_and_those_above(right: str, least: str):
    may = [role for role in Role if allowed(principal(role), Right(right))]
    assert may == [role for role in Role if role.includes(Role(least))]


@given(st.sampled_from(list(Right)))
def test_without_a_role_nothing_is_allowed(right: Right):
    assert not allowed(principal(None), right)
    assert not allowed(principal(None, frozenset(Right)), right)


@given(st.sampled_from(list(Role)), st.frozensets(st.sampled_from(list(Right))), st.sampled_from(list(Right)))
def test_scopes_only_ever_take_away(role: Role, scopes: frozenset[Right], right: Right):
    assert allowed(principal(role, scopes), right) == (allowed(principal(role), right) and right in scopes)
    assert principal(role, scopes).rights == rights_of(role, scopes)


def test_a_refusal_names_the_right_the_role_needed_and_the_role_there():
    with pytest.raises(PermissionDenied) as refused:
        require(local_principal("vic", Role.VIEWER), Right.LOCK_RELEASE)
    assert "vic" in refused.value.message
    assert refused.value.details == {"right": "lock:release", "role_needed": "operator", "role": "viewer"}
    with pytest.raises(PermissionDenied, match="there is no role"):
        require(principal(None), Right.RUNS_READ)


def test_a_refusal_for_want_of_a_scope_says_so():
    with pytest.raises(PermissionDenied, match="not among the token's scopes"):
        require(principal(Role.ADMIN, frozenset({Right.RUNS_READ})), Right.RUNS_START)


@pytest.mark.parametrize("text", ["", "root", "viewer,admin", "ADMINS"])
def test_an_unknown_role_or_right_is_refused(text: str):
    with pytest.raises(InvalidInput, match="not a role"):
        read_role(text)
    with pytest.raises(InvalidInput, match="not a right"):
        read_right(text)


def test_roles_and_rights_are_read_in_any_case():
    assert read_role(" Admin ") is Role.ADMIN
    assert read_right("RUNS:read") is Right.RUNS_READ


@pytest.mark.parametrize(
    ("told", "role"),
    [
        ("admin", Role.ADMIN),
        (["viewer", "operator"], Role.OPERATOR),
        (["viewer"], Role.VIEWER),
        ([], None),
        (None, None),
        (["Admin"], None),
        ("root", None),
        (7, None),
        ({"admin": True}, None),
        ([["admin"]], None),
        (True, None),
    ],
)
def test_the_highest_role_of_the_claim_counts_and_nothing_else(told: object, role: Role | None):
    assert principal_from_claims(claims(roles=told)).role is role


def test_a_map_gives_roles_to_groups_and_to_single_people():
    role_map = {"Sales-Ops": "operator", "sub:8d1f": "admin", "Everybody": "viewer"}
    assert principal_from_claims(claims(groups=["Everybody"], sub="other"), "groups", role_map).role is Role.VIEWER
    assert principal_from_claims(claims(groups=["Everybody", "Sales-Ops"], sub="other"), "groups", role_map).role is Role.OPERATOR
    assert principal_from_claims(claims(), "groups", role_map).role is Role.ADMIN


def test_with_a_map_a_value_that_is_not_in_it_gives_nothing():
    assert principal_from_claims(claims(roles=["admin"]), "roles", {"Sales-Ops": "operator"}).role is None


def test_a_group_cannot_pass_for_a_person():
    assert principal_from_claims(claims(roles=["sub:boss"]), "roles", {"sub:boss": "admin"}).role is None


def test_a_map_to_a_role_that_does_not_exist_is_an_error():
    with pytest.raises(InvalidInput, match="not a role"):
        principal_from_claims(claims(roles=["a"]), "roles", {"a": "superuser"})


def test_the_role_claim_may_lie_deeper_and_a_name_with_dots_is_found_whole():
    assert principal_from_claims(claims(realm_access={"roles": ["operator"]}), "realm_access.roles").role is Role.OPERATOR
    assert principal_from_claims(claims(**{"https://treadle.example/roles": ["admin"]}), "https://treadle.example/roles").role is Role.ADMIN
    assert principal_from_claims(claims(realm_access=["roles"]), "realm_access.roles").role is None


def test_issuer_and_subject_make_the_subject_and_the_first_claim_that_speaks_the_name():
    found = principal_from_claims(claims(preferred_username="", email="olga@example.com", name="Olga"))
    assert (found.subject, found.name, found.via) == (f"oidc:{ISSUER}|8d1f", "olga@example.com", "oidc")
    assert principal_from_claims(claims()).name == "8d1f"


def test_control_characters_do_not_reach_the_name():
    assert principal_from_claims(claims(preferred_username="olga\n\x1b[31m")).name == "olga  [31m"


@pytest.mark.parametrize(
    "more", [{"sub": None}, {"sub": ""}, {"sub": "  "}, {"sub": 7}, {"sub": "a\nb"}, {"sub": "x" * 256}, {"iss": None}]
)
def test_claims_that_do_not_say_who_it_is_are_refused(more: dict[str, object]):
    with pytest.raises(Unauthenticated):
        principal_from_claims(claims(**more))
