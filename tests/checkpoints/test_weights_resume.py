"""Downloads that break off go on where they ended, and only with the very same file."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flowzoo.assets import asset_path
from flowzoo.checkpoints import download
from flowzoo.checkpoints.index import Entry
from flowzoo.errors import InputError

CONTENT = asset_path("weights", "wren.safetensors").read_bytes()
OTHER = bytes(reversed(CONTENT))
CUT = 1_200_000
"""Bytes after which the first answer breaks off."""


class Ranges(BaseHTTPRequestHandler):
    """A file server that knows ranges; `server.breaks` bytes of the first answer come, then the line is cut."""

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append((asked, self.headers.get("If-Range")))
        content, begin = server.content, 0
        if asked and self.headers["If-Range"] == server.tag and server.ranges:
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        if asked and server.refuses:
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if server.tag:
            self.send_header("ETag", server.tag)
        if begin:
            shown = begin - server.shift
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin : server.breaks or None])
        server.breaks = 0

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as running:
        running.asked, running.content, running.tag = [], CONTENT, '"first"'
        running.breaks, running.ranges, running.refuses, running.shift = CUT, True, False, 0
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FLOWZOO_OFFLINE", raising=False)
    return tmp_path / "cache"


def entry(server: ThreadingHTTPServer) -> Entry:
    url = f"http://127.0.0.1:{server.server_address[1]}/net.safetensors"
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return Entry("a-tag", "wren", "flowzoo", "free for tests", ["nothing"], url=url, sha256=sha256)


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def break_off(server: ThreadingHTTPServer, said: str = "what has come is kept") -> None:
    with pytest.raises(InputError, match=said):
        download.obtain(entry(server))


def test_the_rest_is_asked_for_and_the_file_is_whole(server, cache):
    break_off(server)
    assert (cache / "weights" / "a-tag" / ".unfinished-net.safetensors").stat().st_size == CUT
    assert download.obtain(entry(server)).read_bytes() == CONTENT
    assert server.asked == [(None, None), (f"bytes={CUT}-", '"first"')]
    assert left(cache) == [".lock", "content.json", "net.safetensors"]


def test_it_may_break_off_twice(server, cache):
    break_off(server)
    server.breaks = CUT + 300_000
    break_off(server)
    assert download.obtain(entry(server)).read_bytes() == CONTENT
    assert [asked for asked, _ in server.asked] == [None, f"bytes={CUT}-", f"bytes={CUT + 300_000}-"]


def test_another_file_by_now_is_taken_from_its_beginning(server):
    server.content, server.tag = OTHER, '"older"'
    break_off(server)
    server.content, server.tag = CONTENT, '"first"'
    assert download.obtain(entry(server)).read_bytes() == CONTENT


@pytest.mark.parametrize("change", [{"ranges": False}, {"refuses": True}])
def test_a_server_that_has_no_parts_sends_the_whole(server, change):
    break_off(server)
    vars(server).update(change)
    if "refuses" in change:
        asked = server.asked
        download.obtain(entry(server))
        assert [part for part, _ in asked] == [None, f"bytes={CUT}-", None]
    assert download.obtain(entry(server)).read_bytes() == CONTENT


def test_another_part_than_the_one_asked_for_is_not_put_together(server, cache):
    break_off(server)
    server.shift = 1
    break_off(server, "another part than the one that is missing")
    assert left(cache) == [".lock"]
    server.shift = 0
    assert download.obtain(entry(server)).read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_name_of_the_content_nothing_is_kept(server, cache, tag):
    server.tag = tag
    break_off(server, "ended after")
    assert left(cache) == [".lock"]


def test_a_part_of_another_file_is_found_by_the_hash(server, cache):
    """The server says that nothing has changed, but it has: the whole has the wrong SHA-256, and nothing stays."""
    server.content = OTHER
    break_off(server)
    server.content = CONTENT
    with pytest.raises(InputError, match=r"wrong SHA-256|not kept"):
        download.obtain(entry(server))
    assert left(cache) == [".lock"]
    assert download.obtain(entry(server)).read_bytes() == CONTENT


def test_offline_nothing_is_asked_for(server, monkeypatch):
    monkeypatch.setenv("FLOWZOO_OFFLINE", "1")
    with pytest.raises(InputError, match="FLOWZOO_OFFLINE forbids"):
        download.obtain(entry(server))
    assert server.asked == []
