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
from typing import IO, Any, BinaryIO

from tqdm import tqdm

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


def transfer(url: str, target: Path, size: int = 0) -> None:
    """Write what `url` sends to `target`.

    Redirections are followed to http and https only, and never from https to http. What the server says about its
    answer (length, checksums, encoding) must be true of it.

    Args:
        url: http, https or file.
        target: the file to write.
        size: of the file in bytes, if it is known.

    Raises:
        TransferError: there is no answer, another one than the whole file, or one that does not agree with its headers.
        InputError: `target` cannot be written.
    """
    with _answer(url) as answer:
        status = getattr(answer, "status", None)
        if status not in (None, 200):
            raise TransferError(f"the server answers {status} and not with the whole file")
        expected = _length(answer.headers)
        largest = size or LARGEST
        if expected is not None and expected > largest:
            raise TransferError(f"it has {expected} bytes, more than the {largest} that were expected")
        if shutil.disk_usage(target.parent).free < (expected or size):
            raise InputError(f"cannot write {target.parent}: {expected or size} bytes are needed, and less are free")
        body = _Body(answer, expected, largest, _checksums(answer.headers))
        written = _write(body, target, _decoder(answer.headers), largest)
    if size and written != size:
        raise TransferError(f"it has {written} bytes instead of {size}")


@contextmanager
def _answer(url: str) -> Iterator[Any]:
    """The open answer; whatever goes wrong with it within the block is a TransferError."""
    request = urllib.request.Request(url, headers={"User-Agent": "flowzoo"})
    try:
        with _opener(url).open(request, timeout=SECONDS_WITHOUT_DATA) as answer:
            yield answer
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        raise TransferError(f"the server says {error.code} {shown(str(error.reason))}") from error
    except (OSError, HTTPException, ValueError, EOFError, zlib.error) as error:
        cause = getattr(error, "reason", None)
        raise TransferError(reason(cause if isinstance(cause, BaseException) else error)) from error


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


def _checksums(headers: Any) -> dict[str, bytes]:
    """Algorithm -> digest of the body, as far as the headers tell (RFC 1864, RFC 3230, RFC 9530, Google's storage)."""
    found = {}
    texts = {"md5": [headers.get("Content-MD5")], "sha256": []}
    for name in ("Digest", "Content-Digest", "Repr-Digest", "x-goog-hash"):
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
    """The bytes of an answer, which must be as many, and have the checksums, as its headers say."""

    answer: BinaryIO
    expected: int | None
    largest: int
    checksums: dict[str, bytes]
    done: int = 0
    start: float = field(default_factory=time.monotonic)

    def chunks(self) -> Iterator[bytes]:
        """The body, part by part; the checks come with the last one."""
        digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in self.checksums}
        while chunk := self.answer.read(_CHUNK):
            self.done += len(chunk)
            if self.done > self.largest:
                raise TransferError(f"it does not end after the {self.largest} bytes that were expected")
            passed = time.monotonic() - self.start
            if passed > PATIENCE and self.done < SLOWEST * passed:
                raise TransferError(f"only {self.done} bytes have come in {passed:.0f} seconds")
            for digest in digests.values():
                digest.update(chunk)
            yield chunk
        if self.expected is not None and self.done != self.expected:
            raise TransferError(f"it ended after {self.done} of {self.expected} bytes")
        for kind, digest in digests.items():
            if digest.digest() != self.checksums[kind]:
                raise TransferError(
                    f"what came does not have the server's checksum ({kind}): it was damaged on its way"
                )


def _write(body: _Body, target: Path, decoder: Any, largest: int) -> int:
    """Write the body, unpacked; returns the number of bytes."""
    bar = tqdm(total=body.expected, unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False)
    written = 0
    with bar, _writing(target) as file:
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
def _writing(target: Path) -> Iterator[Any]:
    """A file whose errors are told as its own and not as the network's."""
    try:
        file = target.open("wb")
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
