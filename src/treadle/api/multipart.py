"""Forms with files (multipart/form-data), read as they come: text into memory within bounds, files to this machine's disk, piece by piece.

Nothing is taken that was not asked for: each part is named by the form, comes once, and stays within its size. Source: RFC 7578, RFC 2046 §5.1.
"""

import hashlib
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from treadle.api.guard import App
from treadle.api.incoming import IncomingBody, receiving
from treadle.api.limits import declared_length
from treadle.api.problems import HttpProblem
from treadle.control.access import Principal
from treadle.errors import InvalidInput, Unavailable

KIND: Final = "multipart/form-data"
_PIECE_BYTES: Final = 1024**2  # of the body, at once in memory
_IN_MEMORY_BYTES: Final = 256 * 1024  # a file that is smaller needs no disk
_HEADERS_PER_PART, _HEADER_BYTES = 8, 4096
_AROUND_PARTS: Final = 64 * 1024  # boundaries and headers, of a form with a dozen parts
_BYTES_PER_CHAR: Final = 4
_NAME_CHARS: Final = 255
# How browsers write these signs in the name of a file. Source: HTML, multipart/form-data encoding algorithm.
_ESCAPED: Final = (("%22", '"'), ("%0D", ""), ("%0A", ""))
_PLAIN_ENCODINGS: Final = frozenset({b"7bit", b"8bit", b"binary"})


class ReceivedFile(tempfile.SpooledTemporaryFile[bytes]):
    """A file of a form: on this machine until it is closed. filename: as its sender calls it, for people alone."""

    filename = ""
    size_bytes = 0
    sha256 = ""


@dataclass(frozen=True, slots=True)
class Form:
    """What a route takes.

    texts: name → most characters. files: their names. file_bytes: of each at most. before_files: gets the texts that came before the first
    file; what it raises ends the reading, so that nobody sends a gigabyte in vain.
    """

    texts: Mapping[str, int]
    files: tuple[str, ...]
    file_bytes: int
    scratch: Path
    before_files: Callable[[Mapping[str, str]], None] | None = None

    @property
    def most_bytes(self) -> int:
        """How long the whole body may be."""
        return self.file_bytes * len(self.files) + _BYTES_PER_CHAR * sum(self.texts.values()) + _AROUND_PARTS


@dataclass(slots=True)
class Received:
    """What came. Texts and files that are empty are left out: a browser sends them for fields that nobody has filled in."""

    texts: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, ReceivedFile] = field(default_factory=dict[str, ReceivedFile])

    def close(self) -> None:
        """Let go of the files."""
        for file in self.files.values():
            file.close()


@asynccontextmanager
async def received(request: Request, shared: App, who: Principal, form: Form) -> AsyncGenerator[Received]:
    """Read the body of a request as this form; its files are there as long as the context lasts.

    Raises:
        HttpProblem: 400 the body is no such form, 408 it stopped coming or came too slowly, 413 it is too large, 415 it is of another kind.
        InvalidInput: a part is not asked for, comes twice, or is not what it should be.
        TooManyRequests, Unavailable: too many uploads of this principal, or of all, at this moment; or no room on the disk.
    """
    boundary = _boundary(request)
    if declared_length(request.headers) > form.most_bytes:
        raise _too_large("The body", form.most_bytes)
    with receiving(shared, who):
        parts = _Parts(form, boundary)
        try:
            await _read(request, shared, form, parts)
            yield parts.received
        finally:
            parts.close()


async def _read(request: Request, shared: App, form: Form, parts: "_Parts") -> None:
    body = IncomingBody(request, form.most_bytes, shared.settings, _PIECE_BYTES)
    async for piece in body.pieces():
        await run_in_threadpool(parts.feed, piece)
        shared.metrics.upload_bytes.inc(len(piece))
    if body.too_long:
        raise _too_large("The body", form.most_bytes)
    if body.cut:
        raise HttpProblem(408, f"{body.cut}; nothing was kept.", hint="Send it again, on a connection that holds.")
    parts.end()


class _Parts:
    """Takes a body piece by piece, in whatever way it is cut, and sorts it into texts and files. Used by one thread at a time."""

    def __init__(self, form: Form, boundary: bytes) -> None:
        self.received = Received()
        self._form = form
        self._headers: list[tuple[bytes, bytes]] = []
        self._header = (bytearray(), bytearray())
        self._name = ""
        self._text: bytearray | None = None
        self._file: ReceivedFile | None = None
        self._digest = hashlib.sha256()
        self._seen: set[str] = set()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._keep_header,
                "on_headers_finished": self._open,
                "on_part_data": self._take,
                "on_part_end": self._close_part,
                "on_end": self._end,
            },
            max_header_count=_HEADERS_PER_PART,
            max_header_size=_HEADER_BYTES,
        )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed("The body is no form that can be read.") from error
        except OSError as error:
            raise Unavailable("There is no room for the upload on this server.", hint="Try again later.") from error

    def end(self) -> None:
        """There are no more bytes."""
        if not self._ended:
            raise _malformed("The body ends in the middle of the form.")

    def close(self) -> None:
        """Let go of everything."""
        if self._file:
            self._file.close()
        self.received.close()

    def _begin(self) -> None:
        self._headers, self._header = [], (bytearray(), bytearray())
        self._text = self._file = None

    def _keep_header(self) -> None:
        self._headers.append((bytes(self._header[0]).lower(), bytes(self._header[1])))
        self._header = (bytearray(), bytearray())

    def _open(self) -> None:
        self._name, filename = self._disposition()
        form, name = self._form, self._name
        if name not in form.texts and name not in form.files:
            known = [*form.texts, *form.files]
            raise InvalidInput(
                f"The form has no field {name[:60]!a}.",
                hint=f"It has: {', '.join(known)}.",
                details={"unknown": [name[:60]], "known": known},
            )
        if name in self._seen:
            raise InvalidInput(f"The field {name} came twice.", hint="Send it once.", details={"field": name})
        self._seen.add(name)
        if (filename is not None) != (name in form.files):
            raise InvalidInput(
                f"The field {name} is {'a file' if name in form.files else 'text'}.",
                hint=f"With curl: -F {name}={'@scenario.tar.gz' if name in form.files else 'text'}",
                details={"field": name},
            )
        if filename is None:
            self._text = bytearray()
        else:
            self._open_file(filename)

    def _open_file(self, filename: str) -> None:
        if self._form.before_files and not self.received.files:
            self._form.before_files(self.received.texts)
        self._form.scratch.mkdir(parents=True, exist_ok=True)
        self._file = ReceivedFile(_IN_MEMORY_BYTES, dir=str(self._form.scratch), prefix="treadle-form-")
        self._file.filename, self._digest = filename, hashlib.sha256()

    def _disposition(self) -> tuple[str, str | None]:
        """The part's name, and its file's name; None for a text."""
        found = [value for name, value in self._headers if name == b"content-disposition"]
        encodings = {value.strip().lower() for name, value in self._headers if name == b"content-transfer-encoding"}
        if len(found) != 1 or not encodings <= _PLAIN_ENCODINGS:
            raise _malformed("A part of the form does not say, once, which field it is, or is encoded.")
        kind, said = parse_options_header(found[0].decode("latin-1"))  # which keeps every byte as it is; names are UTF-8
        if kind != b"form-data" or b"name" not in said:
            raise _malformed("A part of the form does not say which field it is.")
        filename = said.get(b"filename")
        return said[b"name"].decode("utf-8", "replace"), None if filename is None else _shown(filename.decode("utf-8", "replace"))

    def _take(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._file is not None:
            self._file.size_bytes += len(piece)
            if self._file.size_bytes > self._form.file_bytes:
                raise _too_large(f"The file {self._name}", self._form.file_bytes)
            self._digest.update(piece)
            self._file.write(piece)
        elif self._text is not None:
            self._text += piece
            if len(self._text) > _BYTES_PER_CHAR * self._form.texts[self._name]:
                raise self._too_long()

    def _close_part(self) -> None:
        if self._file is not None:
            self._close_file(self._file)
        elif self._text:
            self.received.texts[self._name] = self._read_text(bytes(self._text))
        self._text = self._file = None

    def _close_file(self, file: ReceivedFile) -> None:
        if not file.size_bytes and not file.filename:
            file.close()  # a browser's field that nobody has filled in
            return
        file.sha256 = self._digest.hexdigest()
        file.seek(0)
        self.received.files[self._name] = file

    def _read_text(self, content: bytes) -> str:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"The field {self._name} is no UTF-8 text.", details={"field": self._name}) from error
        if len(text) > self._form.texts[self._name]:
            raise self._too_long()
        if not text.isprintable():
            raise InvalidInput(f"The field {self._name} has signs that cannot be printed.", details={"field": self._name})
        return text

    def _too_long(self) -> InvalidInput:
        return InvalidInput(
            f"The field {self._name} is longer than {self._form.texts[self._name]:,} characters.",
            hint="Shorten it.",
            details={"field": self._name},
        )

    def _end(self) -> None:
        self._ended = True


def _boundary(request: Request) -> bytes:
    kind, said = parse_options_header(request.headers.get("content-type"))
    if kind.decode("latin-1") != KIND:
        raise HttpProblem(
            415, f"The body is {kind.decode('latin-1')[:100] or 'of no named kind'}; {KIND} is read here.", hint="With curl: -F name=value"
        )
    boundary = said.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:  # RFC 2046 §5.1.1
        raise _malformed("The Content-Type names no boundary that can be used.")
    return boundary


def _shown(filename: str) -> str:
    """A file's name without folders and escapes; never used as a name of ours."""
    for escaped, sign in _ESCAPED:
        filename = filename.replace(escaped, sign)
    plain = filename.replace("\\", "/").rpartition("/")[2]
    return "".join(sign for sign in plain if sign.isprintable())[:_NAME_CHARS]


def _malformed(text: str) -> HttpProblem:
    return HttpProblem(400, text, code="malformed", hint="Let a library or curl -F make the form.")


def _too_large(what: str, most_bytes: int) -> HttpProblem:
    return HttpProblem(
        413,
        f"{what} has more than {most_bytes:,} bytes.",
        code="too_large",
        hint="Raise SCENARIO_UPLOAD_LIMIT_MB, or leave out what is not needed.",
        details={"limit_bytes": most_bytes},
    )
