"""What the transport tests share: ids, a source of tokens, and a clock that only sleeping moves."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken

WS, ITEM, JOB, OP = (f"{n}0000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3, 4))


@dataclass
class Tokens:
    """Gives token-1, and after each renewal the next number."""

    identity: str = "tenant/client"
    number: int = 1
    asked_scopes: list[str] = field(default_factory=list)

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked_scopes += scopes
        return AccessToken(f"token-{self.number}", 2**31)

    def renew(self, scope: str, refused: str) -> None:
        assert scope in self.asked_scopes
        if refused == f"token-{self.number}":
            self.number += 1


@dataclass
class Sleeps:
    """A clock and its sleep; nothing really waits."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass(frozen=True)
class Authority:
    """A throw-away certificate authority and its certificate's file."""

    ca_file: Path
    context: ssl.SSLContext
