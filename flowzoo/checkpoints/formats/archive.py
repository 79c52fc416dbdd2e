"""The one file of interest inside a tar archive, read once, in memory, and never unpacked to disk."""

import bz2
import gzip
import io
import lzma
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

from flowzoo.errors import InputError
from flowzoo.files.reading import DAMAGE, opened, reason, shown

_TAR_PLACE = slice(257, 262)
_ALWAYS_FINE = 2**28
_MOST_TIMES = 20
"""Weights hardly get smaller when they are packed: an archive that unpacks to more than this is a trap."""
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


def is_archive(head: bytes) -> bool:
    """Whether a file that begins like this is a tar archive, or something compressed that may be one."""
    return head.startswith(tuple(_PACKED)) or head[_TAR_PLACE] == b"ustar"


def only_member(path: Path, suffix: str) -> bytes:
    """Content of the one member whose name ends with `suffix`.

    Raises:
        InputError: it is no tar archive, it is damaged, has no such member or several, or unpacks to far more than its
            size.
    """
    with opened(path, "a file of weights") as (file, size):
        try:
            packing = _packing(file.read(8))
            file.seek(0)
            stream = _Bounded(_unpacked(file, packing), max(_ALWAYS_FINE, _MOST_TIMES * size))
            if packing and stream.start[_TAR_PLACE] != b"ustar":
                raise InputError(
                    f"{path} is packed with {packing} and no tar archive: unpack it ({packing} -d) and give that"
                )
            found = _members(stream, suffix)
        except InputError:
            raise
        except (tarfile.TarError, *DAMAGE) as error:
            raise InputError(f"{path} is a damaged or truncated archive ({reason(error)}): fetch it again") from error
    if len(found) != 1:
        names = ", ".join(shown(name) for name, _ in found[:3]) or "none"
        raise InputError(f"{path} must hold exactly one *{suffix}, found {names}")
    return found[0][1]


class _Bounded(io.RawIOBase):
    """A stream that ends with an error after `limit` bytes.

    Attributes:
        start: the first 512 bytes.
    """

    def __init__(self, file: BinaryIO, limit: int) -> None:
        super().__init__()
        self.file, self.left = file, limit
        self.start = file.read(512)
        self._begin = self.start

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        if size < 0 or size > self.left:
            size = self.left + 1
        head, self._begin = self._begin[:size], self._begin[size:]
        content = head + self.file.read(size - len(head))
        self.left -= len(content)
        if self.left < 0:
            raise OSError(f"it unpacks to more than {_MOST_TIMES} times its size")
        return content


def _packing(head: bytes) -> str:
    return next((name for magic, name in _PACKED.items() if head.startswith(magic)), "")


def _unpacked(file: BinaryIO, packing: str) -> BinaryIO:
    if packing == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if packing == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(file))
    return cast(BinaryIO, lzma.LZMAFile(file)) if packing == "xz" else file


def _members(stream: _Bounded, suffix: str) -> list[tuple[str, bytes]]:
    found = []
    with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|") as archive:
        for member in archive:
            # Hidden files beside the real ones ("._name") are left by one operating system's tar.
            if not member.isfile() or not member.name.endswith(suffix) or Path(member.name).name.startswith("."):
                continue
            if member.issparse():
                raise tarfile.ReadError(f"{member.name} is stored with holes")
            file = archive.extractfile(member)
            content = file.read() if file else b""
            if len(content) != member.size:
                raise tarfile.ReadError("it ends too early")
            found.append((member.name, content))
    return found
