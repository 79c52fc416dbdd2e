"""Downloads: once, complete, checked, with the licence first."""

import hashlib
import http.server
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import flowzoo
from flowzoo.assets import asset_path
from flowzoo.checkpoints import download, index, load_weights, save_weights
from flowzoo.checkpoints.index import Entry
from flowzoo.errors import InputError

CONTENT = asset_path("weights", "wren.safetensors").read_bytes()
"""Weights that a network of the zoo takes."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    source = tmp_path / "server" / "net.pth"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    licence = "free for tests"
    return Entry("a-tag", "wren", "flowzoo", licence, ["nothing"], url=source.as_uri(), non_commercial=True)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def test_a_file_is_fetched_once_and_its_sha256_is_recorded(
    entry: Entry, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        path = download.obtain(entry)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(cache)
    assert files(cache) == ["content.json", "net.pth"]
    assert json.loads((path.parent / "content.json").read_text())["sha256"] == SHA256
    messages = [record.getMessage() for record in caplog.records]
    assert "free for tests" in messages[0]
    assert "non-commercial" in messages[0]
    assert entry.url in messages[1]
    caplog.clear()
    Path(entry.url.removeprefix("file://")).unlink()
    assert download.obtain(entry) == path
    assert not caplog.records


def test_known_sha256_and_prefix_are_accepted(entry: Entry) -> None:
    assert download.obtain(replace(entry, sha256=SHA256, bytes=len(CONTENT))).exists()
    assert download.obtain(replace(entry, tag="b", sha256_prefix=SHA256[:8])).exists()


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"sha256_prefix": "00000000"}, {"sha256": SHA256, "bytes": 5}])
def test_wrong_content_leaves_nothing(entry: Entry, cache: Path, wrong: dict) -> None:
    with pytest.raises(InputError, match=r"wrong SHA-256|more than the 5") as failure:
        download.obtain(replace(entry, **wrong))
    assert "\n" not in str(failure.value)
    assert files(cache) == []


def test_a_cached_file_that_has_changed_is_named(entry: Entry) -> None:
    path = download.obtain(entry)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=r"net\.pth has changed .*delete it"):
        download.obtain(entry)
    path.unlink()
    assert download.obtain(entry).read_bytes() == CONTENT


def test_a_cached_file_against_an_index_that_has_learned_its_sha256(entry: Entry) -> None:
    download.obtain(entry)
    with pytest.raises(InputError, match=r"cached file .* wrong SHA-256"):
        download.obtain(replace(entry, sha256="1" * 64))


def test_leftovers_of_a_killed_download_are_removed(entry: Entry, cache: Path) -> None:
    folder = cache / "weights" / entry.tag
    folder.mkdir(parents=True)
    (folder / ".partial-1234").mkdir()
    (folder / ".partial-1234" / "net.pth").write_bytes(b"half")
    (folder / "net.pth").write_bytes(b"never recorded as complete")
    assert download.obtain(entry).read_bytes() == CONTENT
    assert files(cache) == ["content.json", "net.pth"]


@pytest.mark.parametrize(
    "url", ["file:///nonexistent/net.pth", "http://127.0.0.1:9/net.pth", "https://host.invalid/n.pth"]
)
def test_no_connection_is_one_clear_line(entry: Entry, cache: Path, url: str) -> None:
    with pytest.raises(InputError, match=r"cannot download .*weights import FILE --model wren") as failure:
        download.obtain(replace(entry, url=url))
    assert url in str(failure.value)
    assert "\n" not in str(failure.value)
    assert files(cache) == []


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing.pth":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) if self.path == "/good.pth" else 100])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(("name", "hint"), [("missing.pth", "404"), ("short.pth", "IncompleteRead|100 of")])
def test_server_errors(entry: Entry, cache: Path, server: str, name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        download.obtain(replace(entry, url=f"{server}/{name}"))
    assert files(cache) == []
    assert download.obtain(replace(entry, url=f"{server}/good.pth")).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="FLOWZOO_CACHE"):
        download.obtain(entry)


def test_processes_that_want_the_same_file_wait_for_each_other(entry: Entry, cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.map(download.obtain, [entry] * 4)
    assert len(set(found)) == 1
    assert found[0].read_bytes() == CONTENT
    assert files(cache) == ["content.json", "net.pth"]


def test_killing_a_download_leaves_nothing_that_counts(entry: Entry, cache: Path) -> None:
    script = (
        "import os, sys\nfrom flowzoo.checkpoints import download\nfrom flowzoo.checkpoints.index import Entry\n"
        "def die(*_): os.kill(os.getpid(), 9)\ndownload._compare = die\n"
        f"download.obtain(Entry('a-tag', 'wren', 'flowzoo', 'l', ['x'], url={entry.url!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"FLOWZOO_CACHE": str(cache)}, check=False)
    assert done.returncode == -9
    assert not (cache / "weights" / "a-tag" / "net.pth").exists()
    assert download.obtain(entry).read_bytes() == CONTENT
    assert files(cache) == ["content.json", "net.pth"]


def test_weights_that_cannot_be_fetched_or_used_say_so(entry: Entry) -> None:
    with pytest.raises(InputError, match=r"by hand: ask .*weights import FILE --model wren"):
        download.obtain(replace(entry, url="", manual="ask the authors"))
    with pytest.raises(InputError, match="cannot be used here: too old"):
        download.obtain(replace(entry, not_importable="too old"))


@pytest.fixture
def tag(entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A tag of the index whose file is a small network's state dict."""
    network = flowzoo.create("pwcnet-paper", context=False)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "server" / "net.pth")
    known = replace(entry, model="pwcnet-paper", settings={"context": False})
    monkeypatch.setattr(index, "entries", lambda: {"a-tag": known})
    return "a-tag"


def test_tags_load_with_the_settings_of_the_index(tag: str) -> None:
    network = load_weights("pwcnet-paper", tag)
    assert network.settings.context is False
    assert load_weights("pwcnet-paper", tag, mask_threshold=0.5).settings.mask_threshold == 0.5
    with pytest.raises(InputError, match="weights a-tag are of pwcnet-paper, not of hd3: use --model pwcnet-paper"):
        load_weights("hd3", tag)
    with pytest.raises(InputError, match="did you mean 'a-tag'"):
        load_weights("pwcnet-paper", "a-tg")
    with pytest.raises(InputError, match=r"no file of weights at a-tag\.pth"):
        load_weights("pwcnet-paper", "a-tag.pth")


def test_weights_that_ship_with_the_package(entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save_weights(flowzoo.create("pwcnet-paper", context=False), tmp_path / "own.safetensors")
    monkeypatch.setattr(download, "asset_path", lambda folder, name: tmp_path / name)
    own = replace(entry, model="pwcnet-paper", url="", file="own.safetensors")
    monkeypatch.setattr(index, "entries", lambda: {"own": own})
    assert load_weights("pwcnet-paper", "own").settings.context is False
