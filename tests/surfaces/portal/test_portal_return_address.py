"""What is decided at a sign-in and its end, without a browser."""

import time

import pytest

from treadle.portal import signed_out
from treadle.portal.return_address import asked_from, kept_in

OURS = ("", "portal.example:8443")


@pytest.mark.parametrize("address", ["/run?run=0a1b2c3d", "/archive?find=a%20b&status=FAILED", "/import"])
def test_a_page_of_ours_is_led_back_to(address):
    assert asked_from(f"https://portal.example:8443{address}", OURS) == address
    assert kept_in(f"other=1; treadle_return={address.replace('%', '%25').replace('&', '%26')}") == address


@pytest.mark.parametrize(
    "referer",
    [
        "",
        "https://evil.example/run?run=1",
        "https://portal.example/run",
        "https://portal.example:8443//evil.example",
        "https://portal.example:8443/",
    ],
)
def test_no_other_page_is_remembered(referer):
    assert asked_from(referer, OURS) is None


@pytest.mark.parametrize(
    "kept",
    [
        "//evil.example",
        "https://evil.example",
        "%2F%2Fevil.example",
        "/%5Cevil.example",
        "%2Frun%0D%0ASet-Cookie%3A%20a=b",
        "/run?" + "x" * 3000,
    ],
)
def test_what_a_browser_says_it_has_kept_leads_nowhere_else(kept):
    assert kept_in(f"treadle_return={kept}") is None


def test_the_end_of_one_sign_in_is_not_the_end_of_another_of_the_same_person():
    ended = {"iss": "https://sign-in", "sub": "olga", "iat": 1, "nonce": "a", "exp": time.time() + 60}
    signed_out.end(ended)
    assert signed_out.has_ended(ended)
    assert not signed_out.has_ended(ended | {"nonce": "b"})
