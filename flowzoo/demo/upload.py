"""Reads the files of a request from its body into a folder that goes when the request has been answered."""

import json
import time
import urllib.parse
from io import BufferedIOBase
from pathlib import Path

from flowzoo.errors import InputError

CHUNK = 1 << 16
LONGEST_NAME = 200
"""Characters of a file's name that are kept for messages."""
PATIENCE = 5.0
"""Seconds in which a body that is refused is still read, so that its sender hears why."""


def stated_files(header: str, length: int) -> list[tuple[str, int]]:
    """Names and lengths of the files in a body of `length` bytes, as the header `X-Files` states them: a JSON list of
    [name, length], percent-encoded.

    Raises:
        InputError: it states something else.
    """
    try:
        rows = json.loads(urllib.parse.unquote(header))
        files = [(str(name)[:LONGEST_NAME], int(size)) for name, size in rows]
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("the request does not say which files it holds") from error
    if not 1 <= len(files) <= 2 or any(size < 0 for _, size in files) or sum(size for _, size in files) != length:
        raise InputError("send two images, or one clip")
    for name, size in files:
        if size == 0:
            raise InputError(f"{name} is empty")
    return files


class Body:
    """The body of a request, of which no more is read than it has."""

    def __init__(self, source: BufferedIOBase, length: int) -> None:
        self.source, self.left = source, length

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at its end, or where the sender stopped."""
        part = self.source.read(min(size, CHUNK, self.left)) if self.left else b""
        self.left -= len(part)
        return part

    def pass_over(self) -> None:
        """Read the rest of a body that was refused, for a while."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.read(CHUNK):
            pass


def receive(body: Body, files: list[tuple[str, int]], folder: Path) -> tuple[tuple[str, Path], ...]:
    """Write the files into `folder`; returns their names with where they are now.

    Raises:
        InputError: the body ends too soon.
    """
    found = []
    for index, (name, size) in enumerate(files):
        # Targa files are known by their suffix; nothing else of the sender's name reaches the disk.
        path = folder / f"file-{index}{'.tga' if name.lower().endswith('.tga') else ''}"
        with path.open("wb") as file:
            while size:
                part = body.read(size)
                if not part:
                    raise InputError(f"{name} did not arrive whole")
                file.write(part)
                size -= len(part)
        found.append((name, path))
    return tuple(found)
