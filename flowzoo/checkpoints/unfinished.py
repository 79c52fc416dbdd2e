"""Downloads that broke off and go on where they ended. No torch.

What has come of a file is kept beside a note of where it is from and of which content it is (the server's strong ETag
or its date). The next try asks for the rest of exactly this content (RFC 9110, Range and If-Range); a server that has
another one by now sends the whole, and that starts from the beginning.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAST = 2**20
"""Bytes below which starting again is as good."""
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")


@dataclass(frozen=True)
class Unfinished:
    """The part of one URL's file that has come, if any. Its folder's lock must be held.

    Attributes:
        path: the bytes.
        url: where they come from.
    """

    path: Path
    url: str

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def begun(self) -> tuple[int, str] | None:
        """(bytes that are there, what the server calls this content), or None where there is nothing to go on with."""
        try:
            found = json.loads(self._note.read_bytes())
            size = self.path.stat().st_size
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.get("url") != self.url or not isinstance(found.get("content"), str):
            return None
        return (size, found["content"]) if size >= LEAST else None

    def begin(self, headers: Any) -> None:
        """A new file comes; note what it is, so that it can be gone on with if it breaks off."""
        self.forget()
        content = content_of(headers)
        if content is not None:
            self._note.write_text(json.dumps({"url": self.url, "content": content}), encoding="utf-8")

    def keep(self) -> bool:
        """It broke off: what cannot be gone on with goes. Whether something stays."""
        if self.begun() is None:
            self.forget()
            return False
        return True

    def forget(self) -> None:
        """Nothing is left of it."""
        for path in (self._note, self.path):
            path.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """It is complete, and is now `target`."""
        self._note.unlink(missing_ok=True)
        os.replace(self.path, target)


def content_of(headers: Any) -> str | None:
    """What an answer calls its content, good for If-Range; None where it cannot be gone on with."""
    packed = (headers.get("Content-Encoding") or "identity").strip().lower() not in ("identity", "")
    if packed or (headers.get("Accept-Ranges") or "").strip().lower() == "none":
        return None
    tag = (headers.get("ETag") or "").strip()
    if tag.startswith('"') and tag.endswith('"') and len(tag) < 200 and tag.isprintable():
        return tag
    date = (headers.get("Last-Modified") or "").strip()
    return date if date and len(date) < 60 and date.isprintable() and not tag else None


def rest_begins(headers: Any) -> tuple[int, int] | None:
    """(first byte, bytes of the whole file) of an answer that is a part reaching to the end; None for any other."""
    found = _RANGE.fullmatch((headers.get("Content-Range") or "").strip())
    if found is None:
        return None
    first, last, whole = map(int, found.groups())
    return (first, whole) if first <= last == whole - 1 else None
