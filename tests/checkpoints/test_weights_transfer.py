"""What servers and what stands before them may send instead of a file: none of it stays in the cache."""

import base64
import gzip
import hashlib
import socketserver
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch_archives as archives

import flowzoo
from flowzoo.assets import asset_path
from flowzoo.checkpoints import download, transfer
from flowzoo.checkpoints.index import Entry
from flowzoo.errors import InputError

CONTENT = asset_path("weights", "wren.safetensors").read_bytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Answers(socketserver.ThreadingTCPServer):
    """Sends bytes as they are, headers and all, by the path that is asked for."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        path = self.rfile.readline().split()[1].decode()[1:]
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(path)
        self.wfile.write(self.server.answers[path])


@pytest.fixture
def server() -> Iterator[Answers]:
    with Answers() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FLOWZOO_OFFLINE", raising=False)
    return tmp_path / "cache"


def answer(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else []), "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def entry(server: Answers, name: str = "net.safetensors", **changes) -> Entry:
    known = Entry("a-tag", "wren", "flowzoo", "free for tests", ["nothing"], url=server.url(name))
    return replace(known, **changes)


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def refused(server: Answers, cache: Path, content: bytes, said: str, name: str = "net.safetensors", **changes) -> str:
    server.answers[name] = content
    with pytest.raises(InputError, match=said) as caught:
        download.obtain(entry(server, name, **changes))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900
    assert server.url(name) in message
    assert left(cache) == [".lock"]
    return message


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


BAD = {
    "html": (answer(b"<!DOCTYPE html><html>please log in</html>"), "it is a web page"),
    "text": (answer(b"quota exceeded"), "no file of weights"),
    "empty": (answer(b""), "is empty"),
    "206": (answer(CONTENT[:1000], "Content-Range: bytes 0-999/5000", status="206 Partial Content"), "answers 206"),
    "204": (answer(b"", status="204 No Content"), "answers 204"),
    "404": (answer(b"no", status="404 Not Found"), "says 404"),
    "500": (answer(b"no", status="500 Oh\x1b[31m No"), "says 500"),
    "cut": (answer(CONTENT)[:-1000], "IncompleteRead|ended after"),
    "cut without a length": (answer(CONTENT[:-1000], length=False), "damaged safetensors"),
    "longer than its length": (
        answer(CONTENT[: len(CONTENT) // 2]) + CONTENT[len(CONTENT) // 2 :],
        "damaged safetensors",
    ),
    "cut chunks": (answer(b"5\r\nabcde\r\nff\r\nabc", "Transfer-Encoding: chunked", length=False), "IncompleteRead"),
    "bad chunks": (answer(b"zz\r\nabcde\r\n", "Transfer-Encoding: chunked", length=False), "cannot download"),
    "length is a word": (answer(CONTENT, "Content-Length: abc", length=False), "Content-Length is no number"),
    "length is negative": (answer(CONTENT, "Content-Length: -5", length=False), "Content-Length is no number"),
    "lengths differ": (answer(CONTENT, "Content-Length: 5", length=True), "Content-Length is no number"),
    "length is huge": (answer(CONTENT, f"Content-Length: {10**15}", length=False), "more than the"),
    "packed in another way": (answer(CONTENT, "Content-Encoding: br"), "packs its answer"),
    "packed and is not": (answer(CONTENT, "Content-Encoding: gzip"), "incorrect header check"),
    "packed and cut": (answer(gzip.compress(CONTENT)[:-9], "Content-Encoding: gzip"), "cut short"),
    "packed web page": (answer(gzip.compress(b"<html>"), "Content-Encoding: gzip"), "web page"),
    "bit against MD5": (
        answer(flipped(CONTENT), f"Content-MD5: {base64.b64encode(hashlib.md5(CONTENT).digest()).decode()}"),
        "does not have the server's checksum",
    ),
    "bit against SHA-256": (
        answer(
            flipped(CONTENT), f"Repr-Digest: sha-256=:{base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()}:"
        ),
        "does not have the server's checksum",
    ),
    "no HTTP": (b"hello\r\n\r\n", "cannot download"),
    "nothing": (b"", "cannot download"),
    "endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", "cannot download"),
    "many headers": (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n", "cannot download"),
    "another format": (answer(b"\x89PNG\r\n\x1a\n" + bytes(50)), "picture"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_file_of_weights_is_not_kept(server: Answers, cache: Path, name: str) -> None:
    content, said = BAD[name]
    message = refused(server, cache, content, said)
    assert "\x1b" not in message
    server.answers["net.safetensors"] = answer(CONTENT)
    assert download.obtain(entry(server)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://127.0.0.1/net.pth", "http://[bad", "data:,x", "gopher://127.0.0.1/", "//[::"]
)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_redirections_to_other_places(server: Answers, cache: Path, place: str, status: str) -> None:
    refused(server, cache, answer(b"", f"Location: {place}", status=status), "cannot download")


def test_redirections_are_followed_and_end(server: Answers, cache: Path) -> None:
    server.answers["good"] = answer(CONTENT)
    server.answers["first"] = answer(b"", "Location: /good", status="302 Found")
    assert download.obtain(entry(server, "first")).read_bytes() == CONTENT
    refused_entry = entry(server, "loop", tag="loop")
    server.answers["loop"] = answer(b"", "Location: /loop", status="302 Found")
    with pytest.raises(InputError, match="302"):
        download.obtain(refused_entry)


def test_from_https_nothing_leads_to_http() -> None:
    request = transfer.urllib.request.Request("https://host.invalid/a")
    for place, fine in (("http://host.invalid/a", False), ("https://other.invalid/a", True)):
        follow = transfer._Redirections().redirect_request
        if fine:
            assert follow(request, None, 302, "", {}, place).full_url == place
        else:
            with pytest.raises(transfer.TransferError, match="not followed"):
                follow(request, None, 302, "", {}, place)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
def test_an_answer_that_is_packed_though_nobody_asked(server: Answers, coding: str) -> None:
    server.answers["net.safetensors"] = answer(gzip.compress(CONTENT, 1), f"Content-Encoding: {coding}")
    known = entry(server, sha256=SHA256, bytes=len(CONTENT))
    assert download.obtain(known).read_bytes() == CONTENT


def test_a_packed_answer_that_grows_without_end(server: Answers, cache: Path) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = bomb.compress(bytes(2**26)) + bomb.flush()
    refused(server, cache, answer(body, "Content-Encoding: gzip"), "does not end after", bytes=len(CONTENT))


def test_chunks_and_right_checksums_are_fine(server: Answers) -> None:
    half = len(CONTENT) // 2
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (CONTENT[:half], CONTENT[half:], b""))
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    headers = ("Transfer-Encoding: chunked", f"Content-MD5: {md5}", f"x-goog-hash: crc32c=AAAAAA==,md5={md5}")
    server.answers["net.safetensors"] = answer(body, *headers, length=False)
    assert download.obtain(entry(server)).read_bytes() == CONTENT


def test_weights_of_another_network_or_settings_are_not_kept(server: Answers, cache: Path) -> None:
    state = archives.saved({"state_dict": flowzoo.create("spynet").state_dict()})
    refused(server, cache, answer(state), "not kept: it holds weights of spynet, not of wren", name="net.pth")
    refused(
        server, cache, answer(state), "not kept: it: these are no weights of hd3|of spynet", name="net.pth", model="hd3"
    )
    other = archives.saved({"a.weight": torch.ones(3)})
    refused(
        server, cache, answer(other), "not kept: it: these are no weights of spynet", name="net.pth", model="spynet"
    )
    bits = flipped(state)
    refused(server, cache, answer(bits), "checksum", name="net.pth", model="spynet")
    server.answers["net.pth"] = answer(state)
    assert download.obtain(entry(server, "net.pth", model="spynet")).read_bytes() == state


def test_numbers_that_are_none_are_not_kept(server: Answers, cache: Path) -> None:
    state = flowzoo.create("spynet").state_dict()
    next(iter(state.values())).view(-1)[0] = float("nan")
    refused(server, cache, answer(archives.saved(state)), "holds NaN", name="net.pth", model="spynet")


def test_prefixes_of_hashes_are_compared(server: Answers, cache: Path) -> None:
    message = refused(server, cache, answer(CONTENT), "wrong SHA-256", sha256_prefix="00000000")
    assert "weights import FILE" in message
    server.answers["net.safetensors"] = answer(CONTENT)
    assert download.obtain(entry(server, sha256_prefix=SHA256[:8])).is_file()


def test_offline(server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWZOO_OFFLINE", "1")
    with pytest.raises(InputError, match=r"FLOWZOO_OFFLINE forbids.*weights import FILE --model wren"):
        download.obtain(entry(server))
    assert server.asked == []
    monkeypatch.setenv("FLOWZOO_OFFLINE", "0")
    server.answers["net.safetensors"] = answer(CONTENT)
    path = download.obtain(entry(server))
    monkeypatch.setenv("FLOWZOO_OFFLINE", "1")
    assert download.obtain(entry(server)) == path


def test_a_server_that_dribbles_is_left(server: Answers, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", -1)
    monkeypatch.setattr(transfer, "SLOWEST", 1e15)
    refused(server, cache, answer(CONTENT), "bytes have come in")


def test_a_transfer_does_not_load_torch(server: Answers) -> None:
    server.answers["a"] = answer(struct.pack("<I", 7))
    script = (
        "import sys\nfrom pathlib import Path\nfrom flowzoo.checkpoints import download, transfer\n"
        f"transfer.transfer({server.url('a')!r}, Path(sys.argv[1]))\nsys.exit('torch' in sys.modules)"
    )
    target = Path(download.cache_folder()) / "x"
    target.parent.mkdir()
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == struct.pack("<I", 7)
