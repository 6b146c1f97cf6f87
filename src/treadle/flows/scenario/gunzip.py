"""A gzip file as a stream of bytes that never grows beyond its limits."""

import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from treadle.flows.scenario.faults import Fault

_PIECE: Final = 64 * 1024
_GZIP: Final = 31  # zlib's name for "with gzip header and checksum"


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold. Sizes count decompressed bytes; `document_bytes` bounds each YAML file, which is read into memory.

    A ratio up to 60 is seen in honest CSV files; deflate cannot exceed 1,032. Below `ratio_from_bytes` any ratio is harmless.
    """

    members: int = 5_000
    member_bytes: int = 2 * 1024**3
    total_bytes: int = 8 * 1024**3
    ratio: float = 200.0
    ratio_from_bytes: int = 16 * 1024**2
    document_bytes: int = 1024**2


class Stopped(Exception):
    """Nothing behind this place can be read; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Gunzip:
    """Decompresses as it is read, and checks limits at each piece: a bomb is noticed after `ratio_from_bytes`, not after its last byte."""

    def __init__(self, source: BinaryIO, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._engine = zlib.decompressobj(_GZIP)
        self._input = source.read(_PIECE)
        self._consumed = 0
        self.produced = 0
        if self._input[:2] != b"\x1f\x8b":
            raise Stopped(_not_gzip(self._input))

    def read(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end of the stream.

        Raises:
            Stopped: the gzip data is damaged, cut off, or beyond a limit.
        """
        while True:
            if not self._input and not self._refill():
                return b""
            piece = self._decompress(min(most, _PIECE))
            if piece:
                self._count(len(piece))
                return piece

    def exactly(self, count: int) -> bytes:
        """`count` bytes.

        Raises:
            Stopped: as `read`, or the stream ends before.
        """
        parts: list[bytes] = []
        missing = count
        while missing:
            piece = self.read(missing)
            if not piece:
                raise Stopped(_cut_off())
            parts.append(piece)
            missing -= len(piece)
        return b"".join(parts)

    def _refill(self) -> bool:
        self._input = self._source.read(_PIECE)
        if not self._input and not self._engine.eof:
            raise Stopped(_cut_off())
        return bool(self._input)

    def _decompress(self, most: int) -> bytes:
        if self._engine.eof and not self._next_stream():
            return b""
        before = len(self._input)
        try:
            piece = self._engine.decompress(self._input, most)
        except zlib.error as error:
            raise Stopped(
                Fault("gzip_damaged", f"byte {self.produced:,}", f"The gzip data is damaged: {error}.", "Make or upload the archive again.")
            ) from error
        self._input = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
        self._consumed += before - len(self._input)
        return piece

    def _next_stream(self) -> bool:
        """Gzip allows one stream behind another, and zeros behind the last one."""
        self._input = self._input.lstrip(b"\0")
        if not self._input:
            return False
        if not self._input.startswith(b"\x1f"):
            raise Stopped(
                Fault("gzip_damaged", "the end of the file", "Something that is no gzip data follows the archive.", "Make it again.")
            )
        self._engine = zlib.decompressobj(_GZIP)
        return True

    def _count(self, size: int) -> None:
        self.produced += size
        if self.produced > self._limits.total_bytes:
            raise Stopped(
                Fault(
                    "archive_too_large",
                    "the whole archive",
                    f"It holds more than {self._limits.total_bytes:,} bytes.",
                    "Split the scenario, or leave out what is not needed.",
                )
            )
        if self.produced > self._limits.ratio_from_bytes and self.produced > self._limits.ratio * max(1, self._consumed):
            raise Stopped(
                Fault(
                    "ratio_too_high",
                    f"byte {self.produced:,}",
                    f"{self._consumed:,} compressed bytes became more than {self.produced:,}: over {self._limits.ratio:g} to 1.",
                    "This is how archive bombs look. If the data is honest, make it less repetitive or pack it in several archives.",
                )
            )


def _cut_off() -> Fault:
    return Fault(
        "archive_cut_off", "the end of the file", "The archive ends in the middle.", "Upload it again; the upload was probably cut off."
    )


def _not_gzip(head: bytes) -> Fault:
    known = {
        b"PK": "a ZIP archive",
        b"7z": "a 7-Zip archive",
        b"BZ": "a bzip2 archive",
        b"\xfd7": "an xz archive",
        b"(\xb5": "a zstd archive",
    }
    kind = (
        "empty"
        if not head
        else known.get(head[:2], "a tar archive that is not compressed" if head[257:262] == b"ustar" else "something else")
    )
    return Fault("not_gzip", "the file", f"This is no .tar.gz archive, but {kind}.", "Pack it with: tar -czf scenario.tar.gz telco-noc/")
