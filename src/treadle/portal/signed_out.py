"""Sign-ins that somebody has ended before their time: Streamlit takes the cookie away, but pages that are open keep what they read of it."""

import time
from collections.abc import Hashable, Mapping
from typing import Any, Final

_ended: Final[dict[Hashable, float]] = {}  # a sign-in → the end of its token; for this process, as are the pages that are open


def end(claims: Mapping[str, Any]) -> None:
    """Let no page of this sign-in go on. What has run out by itself is forgotten."""
    now = time.time()
    for sign_in in [sign_in for sign_in, expires in _ended.items() if expires <= now]:
        _ended.pop(sign_in, None)
    _ended[_of(claims)] = float(claims.get("exp", now))


def has_ended(claims: Mapping[str, Any]) -> bool:
    """Whether somebody has ended the sign-in that these claims are from."""
    return _of(claims) in _ended


def _of(claims: Mapping[str, Any]) -> Hashable:
    """One sign-in: the same person may have others, which go on. The nonce is drawn for each (OpenID Connect Core 1.0 §3.1.2.1)."""
    return tuple(str(claims.get(name)) for name in ("iss", "sub", "iat", "nonce"))
