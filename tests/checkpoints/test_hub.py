"""Networks as folders, and folders of the Hugging Face hub, here a server on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

import flowzoo
from flowzoo.checkpoints import model_of_weights
from flowzoo.errors import InputError
from flowzoo.models.spynet import SPyNet
from flowzoo.network import FlowNetwork

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = {"channels": (8, 8, 8, 8, 8, 8), "matching_channels": 8, "width": 20, "hidden": 4, "refinement": "none"}
"""Of a small wren."""


@pytest.fixture
def network() -> FlowNetwork:
    return flowzoo.create("wren", **SETTINGS)


def same(one: FlowNetwork, other: FlowNetwork) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Hub(BaseHTTPRequestHandler):
    """Resolves owner/net at `COMMIT`, by that name or as the branch main, as the hub does."""

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        owner, name, verb, revision, file = [*self.path.lstrip("/").split("/", 4), *[""] * 5][:5]
        if (owner, name, verb) != ("owner", "net", "resolve"):
            return self._refuse("RepoNotFound")
        if revision not in (COMMIT, "main"):
            return self._refuse("RevisionNotFound")
        if file not in self.server.files:
            return self._refuse("EntryNotFound")
        content = self.server.files[file]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def server(network, tmp_path, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    constants = pytest.importorskip(
        "huggingface_hub.constants", reason="needs the extra hub: pip install 'flowzoo[hub]'"
    )
    monkeypatch.delenv("FLOWZOO_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    network.save_pretrained(tmp_path / "uploaded", licence="free for tests")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        running.asked = []
        running.files = {path.name: path.read_bytes() for path in (tmp_path / "uploaded").iterdir()}
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_address[1]}")
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_folder_gives_the_network_back(network, tmp_path):
    network.save_pretrained(tmp_path / "net", licence="MIT", trained_on=["nothing"])
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert (config["model"], config["licence"], config["settings"]["width"]) == ("wren", "MIT", 20)
    for again in (
        FlowNetwork.from_pretrained(tmp_path / "net"),
        FlowNetwork.from_pretrained(str(tmp_path / "net")),
        flowzoo.create("wren", tmp_path / "net"),
        flowzoo.create("wren", str(tmp_path / "net")),
    ):
        assert same(again, network)
        assert again.settings == network.settings
        assert not again.training
    assert model_of_weights(tmp_path / "net") == "wren"


def test_settings_that_are_given_win(network, tmp_path):
    network.save_pretrained(tmp_path / "net")
    assert FlowNetwork.from_pretrained(tmp_path / "net", cascade=True).settings.cascade


def test_another_class_is_refused(network, tmp_path):
    network.save_pretrained(tmp_path / "net")
    with pytest.raises(InputError, match="holds wren, which is no SPyNet"):
        SPyNet.from_pretrained(tmp_path / "net")


@pytest.mark.parametrize("revision", ["@main", f"@{COMMIT}", ""])
def test_a_network_of_the_hub(server, network, revision):
    assert same(flowzoo.create("wren", f"hub:owner/net{revision}"), network)
    assert f"GET /owner/net/resolve/{revision[1:] or 'main'}/model.safetensors" in server.asked
    assert same(FlowNetwork.from_pretrained(f"owner/net{revision}"), network)


def test_another_file_of_the_hub(server, network):
    server.files = {"old/net.safetensors": server.files["model.safetensors"]}
    assert same(flowzoo.create("wren", "hub:owner/net/old/net.safetensors@main"), network)


def test_what_is_in_the_cache_needs_no_network(server, network, monkeypatch):
    flowzoo.create("wren", f"hub:owner/net@{COMMIT}")
    asked = len(server.asked)
    monkeypatch.setenv("FLOWZOO_OFFLINE", "1")
    assert same(flowzoo.create("wren", f"hub:owner/net@{COMMIT}"), network)
    assert len(server.asked) == asked


def test_offline_nothing_is_asked_for(server, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="not in the hub's cache"):
        flowzoo.create("wren", "hub:owner/net@main")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("FLOWZOO_OFFLINE", "1")
    with pytest.raises(InputError, match="FLOWZOO_OFFLINE"):
        flowzoo.create("wren", "hub:owner/net@main")
    assert server.asked == []


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("hub:owner/other@main", "cannot fetch|RepositoryNotFound|404"),
        ("hub:owner/net@elsewhere", "cannot fetch|Revision|404"),
        ("hub:owner/net/nothing.pth@main", "has no file nothing.pth"),
        ("hub:owner", "no reference to the hub"),
        ("hub:owner/net/../../x", "no reference to the hub"),
        ("hub:", "no reference to the hub"),
    ],
)
def test_what_is_not_there_is_one_line(server, reference, said):
    with pytest.raises(InputError, match=said) as caught:
        flowzoo.create("wren", reference)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_file_that_is_no_network_is_refused(server, tmp_path):
    server.files["model.safetensors"] = b"<html>please log in</html>"
    with pytest.raises(InputError):
        flowzoo.create("wren", "hub:owner/net@main")
