"""TLS connections on which every read and write ends with the running deadline.

httpx2, requests and the Azure libraries bound each read by itself; the sockets below bound their sum (deadline.py says why).
"""

import ssl
from pathlib import Path
from typing import Any

from treadle.clients.deadline import seconds_left


class _DeadlineSocket(ssl.SSLSocket):
    """`SSLContext.sslsocket_class` for contexts whose sockets keep to the deadline of the thread that uses them."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        self._keep_to_deadline()
        return super().recv(buflen, flags)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self._keep_to_deadline()
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        self._keep_to_deadline()
        return super().send(data, flags)

    def _keep_to_deadline(self) -> None:
        left = seconds_left(self.gettimeout())
        if left is not None and left <= 0:
            raise TimeoutError("the deadline passed")
        self.settimeout(left)


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """A TLS context that verifies host and certificate, against this file's certificates alone or, with None, those of the system."""
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.sslsocket_class = _DeadlineSocket
    return context


def certificate_untrusted(error: BaseException) -> bool:
    """Whether a connection failed because the server's certificate did not verify, however deep the libraries have wrapped that."""
    found, seen = list[BaseException]([error]), set[int]()
    while found:
        each = found.pop()
        if isinstance(each, ssl.SSLCertVerificationError):
            return True
        if id(each) not in seen:
            seen.add(id(each))
            deeper = [each.__cause__, each.__context__, getattr(each, "inner_exception", None), getattr(each, "reason", None), *each.args]
            found += [inner for inner in deeper if isinstance(inner, BaseException)]
    return False
