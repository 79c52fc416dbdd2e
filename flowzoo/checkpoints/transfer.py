"""One file over the network, complete and as it was sent, or an error in one line. No torch."""

import base64
import binascii
import hashlib
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

from tqdm import tqdm

from flowzoo.checkpoints.unfinished import Unfinished, content_of, rest_begins
from flowzoo.errors import InputError
from flowzoo.files.reading import reason, shown

LARGEST = 2**32
"""Bytes of a file whose size is not known before."""
SECONDS_WITHOUT_DATA = 60
SLOWEST, PATIENCE = 1000, 300
"""Bytes a second that a transfer must have had on average, after that many seconds."""
_CHUNK = 2**20
_GZIP = 16 + zlib.MAX_WBITS


class TransferError(InputError):
    """Why a file did not arrive; the text goes on after "cannot download URL: "."""


class BrokenOffError(TransferError):
    """The transfer ended too early; another one may go on from there."""


class _RestRefusedError(TransferError):
    """The server has no such part of its file."""


def transfer(url: str, target: Path, size: int = 0, unfinished: Unfinished | None = None) -> None:
    """Write what `url` sends to `target`.

    Redirections are followed to http and https only, and never from https to http. What the server says about its
    answer (length, checksums, encoding) must be true of it.

    Args:
        url: http, https or file.
        target: the file to write.
        size: of the file in bytes, if it is known.
        unfinished: where a part stays that has come when the transfer breaks off, and is gone on with by the next one;
            on the disk of `target`.

    Raises:
        TransferError: there is no answer, another one than the whole file, or one that does not agree with its headers.
        InputError: `target` cannot be written.
    """
    if unfinished is None:
        _receive(url, target, size, None)
        return
    try:
        try:
            _receive(url, unfinished.path, size, unfinished)
        except _RestRefusedError:
            unfinished.forget()
            _receive(url, unfinished.path, size, unfinished)
    except BrokenOffError as error:
        if unfinished.keep():
            raise BrokenOffError(f"{error} (what has come is kept: the next try goes on from there)") from error
        raise
    except TransferError:
        unfinished.forget()
        raise
    unfinished.finish(target)


def _receive(url: str, place: Path, size: int, unfinished: Unfinished | None) -> None:
    """Write what `url` sends to `place`, or the rest of what is there."""
    begun = None if unfinished is None else unfinished.begun()
    with _answer(url, _asking_for_rest(begun)) as answer:
        status = getattr(answer, "status", None)
        rest = _rest(answer.headers, begun) if status == 206 and begun else None
        if status not in (None, 200) and rest is None:
            raise TransferError(f"the server answers {status} and not with the whole file")
        at, expected = rest or (0, _length(answer.headers))
        largest = size or LARGEST
        if expected is not None and expected > largest:
            raise TransferError(f"it has {expected} bytes, more than the {largest} that were expected")
        if shutil.disk_usage(place.parent).free < (expected or size) - at:
            raise InputError(f"cannot write {place.parent}: {expected or size} bytes are needed, and less are free")
        if unfinished is not None and not at:
            unfinished.begin(answer.headers)
        body = _Body(answer, expected, largest, _checksums(answer.headers, rest=at > 0), at, place)
        written = _write(body, place, _decoder(answer.headers), largest)
    if size and written != size:
        raise TransferError(f"it has {written} bytes instead of {size}")


def _asking_for_rest(begun: tuple[int, str] | None) -> dict[str, str]:
    """Headers that ask for what is missing of a file, if that is still the same one."""
    if begun is None:
        return {}
    return {"Range": f"bytes={begun[0]}-", "If-Range": begun[1], "Accept-Encoding": "identity"}


def _rest(headers: Any, begun: tuple[int, str]) -> tuple[int, int]:
    """(first byte, bytes of the whole file) of an answer with the rest.

    Raises:
        TransferError: it is something else.
    """
    found = rest_begins(headers)
    if found is None or found[0] != begun[0] or content_of(headers) not in (None, begun[1]):
        raise TransferError("the server sends another part than the one that is missing")
    return found


@contextmanager
def _answer(url: str, headers: dict[str, str]) -> Iterator[Any]:
    """The open answer; whatever goes wrong with it within the block is a TransferError."""
    request = urllib.request.Request(url, headers={"User-Agent": "flowzoo"} | headers)
    try:
        with _opener(url).open(request, timeout=SECONDS_WITHOUT_DATA) as answer:
            yield answer
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        kind: type[TransferError] = _RestRefusedError if error.code == 416 and "Range" in headers else TransferError
        raise kind(f"the server says {error.code} {shown(str(error.reason))}") from error
    except (OSError, HTTPException, ValueError, EOFError, zlib.error) as error:
        cause = getattr(error, "reason", None)
        kind = BrokenOffError if isinstance(error, OSError | HTTPException) else TransferError
        raise kind(reason(cause if isinstance(cause, BaseException) else error)) from error


def _opener(url: str) -> urllib.request.OpenerDirector:
    """What opens this URL and nothing else: no ftp, and no files unless the URL itself is one."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.UnknownHandler()]
    if urllib.parse.urlsplit(url).scheme == "file":
        handlers.append(urllib.request.FileHandler())
    else:
        handlers += [urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()]
        handlers += [_Redirections(), urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()]
    opener = urllib.request.OpenerDirector()
    for handler in handlers:
        opener.add_handler(handler)
    return opener


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows to places as safe as the one before."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request of the new place.

        Raises:
            TransferError: it is no place to go to.
        """
        allowed = ("https",) if urllib.parse.urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urllib.parse.urlsplit(newurl).scheme.lower() not in allowed:
            raise TransferError(f"the server sends to {shown(newurl, 200)}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _length(headers: Any) -> int | None:
    found = {value.strip() for value in headers.get_all("Content-Length", [])}
    if not found or headers.get("Transfer-Encoding"):
        return None
    if len(found) > 1 or not all(value.isascii() and value.isdigit() and len(value) < 20 for value in found):
        raise TransferError(f"the server's Content-Length is no number ({shown(', '.join(sorted(found)))})")
    return int(found.pop())


def _decoder(headers: Any) -> Any:
    """What unpacks an answer that the server has packed, although it was not asked to; None where it has not."""
    coding = (headers.get("Content-Encoding") or "identity").strip().lower()
    if coding in ("identity", ""):
        return None
    if coding in ("gzip", "x-gzip"):
        return zlib.decompressobj(_GZIP)
    raise TransferError(f"the server packs its answer in a way that is not known here ({shown(coding)})")


def _checksums(headers: Any, rest: bool) -> dict[str, bytes]:
    """Algorithm -> digest of the file, as far as the headers tell (RFC 1864, RFC 3230, RFC 9530, Google's storage).

    Of an answer with a part of the file, only what is said about the whole.
    """
    found = {}
    texts = {"md5": [] if rest else [headers.get("Content-MD5")], "sha256": []}
    for name in ("Digest", "Repr-Digest", "x-goog-hash", *([] if rest else ["Content-Digest"])):
        for part in ",".join(headers.get_all(name, [])).split(","):
            kind, _, value = part.strip().partition("=")
            if kind.lower() in ("md5", "sha-256"):
                texts[kind.lower().replace("-", "")].append(value.strip().strip(":"))
    for kind, values in texts.items():
        for value in filter(None, values):
            try:
                found[kind] = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError) as error:
                raise TransferError(f"the server's checksum is none ({shown(value)})") from error
    return found


@dataclass
class _Body:
    """The bytes of an answer, which must be as many, and have the checksums, as its headers say.

    `done` of them are at `place` already.
    """

    answer: BinaryIO
    expected: int | None
    largest: int
    checksums: dict[str, bytes]
    done: int
    place: Path
    start: float = field(default_factory=time.monotonic)

    def chunks(self) -> Iterator[bytes]:
        """The body, part by part; the checks come with the last one."""
        digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in self.checksums}
        if self.done and digests:
            with self.place.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    for digest in digests.values():
                        digest.update(chunk)
        while chunk := self.answer.read(_CHUNK):
            self.done += len(chunk)
            if self.done > self.largest:
                raise TransferError(f"it does not end after the {self.largest} bytes that were expected")
            passed = time.monotonic() - self.start
            if passed > PATIENCE and self.done < SLOWEST * passed:
                raise BrokenOffError(f"only {self.done} bytes have come in {passed:.0f} seconds")
            for digest in digests.values():
                digest.update(chunk)
            yield chunk
        if self.expected is not None and self.done != self.expected:
            raise BrokenOffError(f"it ended after {self.done} of {self.expected} bytes")
        for kind, digest in digests.items():
            if digest.digest() != self.checksums[kind]:
                raise TransferError(
                    f"what came does not have the server's checksum ({kind}): it was damaged on its way"
                )


def _write(body: _Body, target: Path, decoder: Any, largest: int) -> int:
    """Write the body, unpacked, behind what is there of it; returns the number of bytes of all."""
    quiet, written = not sys.stderr.isatty(), body.done
    bar = tqdm(total=body.expected, initial=written, unit="B", unit_scale=True, disable=quiet, leave=False)
    with bar, _writing(target, "ab" if written else "wb") as file:
        for chunk in body.chunks():
            bar.update(len(chunk))
            while chunk:
                # In parts, because a packed chunk may be a thousand times larger.
                part = decoder.decompress(chunk, _CHUNK) if decoder else chunk
                chunk = decoder.unconsumed_tail if decoder else b""
                written += len(part)
                if written > largest:
                    raise TransferError(f"it does not end after the {largest} bytes that were expected")
                file.write(part)
        if decoder and not decoder.eof:
            raise TransferError("its packed answer is cut short")
    return written


@contextmanager
def _writing(target: Path, mode: Literal["ab", "wb"]) -> Iterator[Any]:
    """A file whose errors are told as its own and not as the network's."""
    try:
        file = target.open(mode)
    except OSError as error:
        raise InputError(f"cannot write {target}: {reason(error)}") from error
    with file:
        yield _Checked(file, target)


@dataclass
class _Checked:
    file: BinaryIO
    path: Path

    def write(self, content: bytes) -> None:
        try:
            self.file.write(content)
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {reason(error)}; free some space") from error
