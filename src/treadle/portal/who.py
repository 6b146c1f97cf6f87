"""Who uses the portal: somebody who has signed in, or who sits at this machine. What they may do is decided in the actions, not here."""

import time
from typing import Any

import streamlit as st

from treadle.control.access import Principal, principal_from_claims
from treadle.errors import Unauthenticated
from treadle.portal import signed_out
from treadle.portal.shared import portal


def principal() -> Principal | None:
    """Who acts. None: nobody has signed in, or their sign-in has ended."""
    opened = portal()
    if opened.local:
        return opened.local
    claims = _claims()
    if claims is None:
        return None
    try:
        return principal_from_claims(claims, opened.role_claim, dict(opened.role_map))
    except Unauthenticated:
        return None


def sign_in_has_ended() -> bool:
    """Whether there was a sign-in that is over: Streamlit's cookie outlives the token by weeks, and does not look at its end."""
    return not portal().local and st.user.is_logged_in is True and _claims() is None


def sign_out() -> None:
    """End the sign-in here, and at their next action in all other tabs that share it."""
    if claims := _claims():
        signed_out.end(claims)
    st.logout()


def _claims() -> dict[str, Any] | None:
    if st.user.is_logged_in is not True:
        return None
    claims: dict[str, Any] = dict(st.user.to_dict())
    expires = claims.get("exp")
    holds = isinstance(expires, int | float) and expires > time.time() and not signed_out.has_ended(claims)
    return claims if holds else None


def current() -> Principal:
    """Who acts, on a page that is shown to nobody else."""
    found = principal()
    if found is None:
        st.rerun()  # the frame asks for a new sign-in
        raise Unauthenticated("Nobody has signed in.", hint="Sign in.")
    return found


def needs_operator(what: str, who: Principal) -> str:
    """Why somebody may not do something. what: "To cancel a job". Pure."""
    return f"{what} takes the role operator; yours is {who.role or 'none'}. Ask an admin."
