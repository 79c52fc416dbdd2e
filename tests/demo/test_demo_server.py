"""The server of `flowzoo demo`: what it answers, and what it refuses. No browser."""

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path

import pytest

from flowzoo.cli import main
from flowzoo.demo.server import DemoServer
from flowzoo.operators import native


def ask(server: DemoServer, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """(status, content)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, body or None, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send(server: DemoServer, *paths: Path, query: str = "", **headers: str) -> tuple[int, bytes]:
    """As the page sends files."""
    parts = [path.read_bytes() for path in paths]
    stated = [[path.name, len(part)] for path, part in zip(paths, parts, strict=True)]
    headers.setdefault("X_Files", urllib.parse.quote(json.dumps(stated)))
    return ask(server, "POST", f"/flow?{query}", b"".join(parts), **headers)


def unpacked(content: bytes) -> tuple[dict, dict[str, bytes]]:
    (length,) = struct.unpack("<I", content[:4])
    facts, parts, start = json.loads(content[4 : 4 + length]), {}, 4 + length
    for name, size in facts["parts"]:
        parts[name] = content[start : start + size]
        start += size
    assert start == len(content)
    return facts, parts


def error(answer: tuple[int, bytes]) -> tuple[int, str]:
    text = json.loads(answer[1])["error"]
    assert "\n" not in text
    assert len(text) < 1000
    return answer[0], text


@pytest.mark.parametrize("kernels", ["portable", "native"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_flow_is_that_of_infer_to_the_last_bit(kernels, precision, server, images, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWZOO_NATIVE", "1" if kernels == "native" else "0")
    if kernels == "native" and native.library() is None:
        pytest.skip("there is no compiler for the kernels")
    status, content = send(server, images / "a.png", images / "b.png", query=f"precision={precision}")
    assert status == 200
    facts, parts = unpacked(content)
    words = ["infer", str(images / "a.png"), str(images / "b.png"), "--precision", precision]
    assert main([*words, "-o", str(tmp_path / "flow.flo"), "--picture", str(tmp_path / "flow.png")]) == 0
    assert parts["flow.flo"] == (tmp_path / "flow.flo").read_bytes()
    assert parts["flow.png"] == (tmp_path / "flow.png").read_bytes()
    assert (facts["width"], facts["height"], facts["precision"]) == (160, 96, precision)


def test_a_clip_gives_its_pairs(server, images, tmp_path):
    from flowzoo.files.images import read_image
    from flowzoo.files.video import VideoWriter

    with VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        for name in ("a.png", "b.png", "a.png"):
            writer.write(read_image(images / name))
    facts, parts = unpacked(send(server, tmp_path / "clip.mp4", query="pair=1")[1])
    assert (facts["pair"], facts["pairs"]) == (1, 2)
    assert main(["infer", str(tmp_path / "clip.mp4"), "-o", str(tmp_path / "out"), "--no-pictures"]) == 0
    assert parts["flow.flo"] == sorted((tmp_path / "out").iterdir())[1].read_bytes()
    status, text = error(send(server, tmp_path / "clip.mp4", query="pair=2"))
    assert (status, text) == (400, "clip.mp4 has no pair 2: its last one is 1")


def test_what_cannot_be_computed_is_one_line_with_the_senders_names(server, images):
    status, text = error(send(server, images / "a.png", images / "broken.png"))
    assert (status, text.startswith("broken.png is a truncated or damaged image")) == (400, True)
    status, text = error(send(server, images / "a.png", images / "small.png"))
    assert status == 400
    assert "small.png" in text
    assert tempfile.gettempdir() not in text
    assert error(send(server, images / "a.png"))[0] == 400
    assert error(send(server, images / "a.png", images / "b.png", query="network=99"))[0] == 400
    assert error(send(server, images / "a.png", images / "b.png", query="precision=float8"))[0] == 400
    for stated in ("", "[", "{}", "[[1]]", '[["a",-1],["b",1]]', '[["a",1],["b",1],["c",1]]', '[["a",3]]', "[" * 9999):
        assert error(send(server, images / "a.png", X_Files=urllib.parse.quote(stated)))[0] == 400
    empty = images / "empty.png"
    empty.touch()
    assert error(send(server, images / "a.png", empty)) == (400, "empty.png is empty")


def test_200_megabytes_are_refused_in_one_line(server, images, monkeypatch):
    monkeypatch.setattr("flowzoo.demo.upload.PATIENCE", 300)  # a busy machine sends them slowly
    with (images / "huge.bin").open("rb") as body:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.request("POST", "/flow", body, {"Content-Length": "200000000", "X-Files": "[]"})
        answer = connection.getresponse()
        text = json.loads(answer.read())["error"]
        connection.close()
    assert answer.status == 413
    assert text == "200 MB are too many: at most 20 MB are taken; use `flowzoo infer` for large files"


def test_a_sender_that_waits_for_leave_is_refused_before_it_sends(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(
            f"POST /flow HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
            "Content-Length: 200000000\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_pixels_are_bounded_before_they_are_decoded(server, tmp_path):
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("RGB", (4000, 3000)).save(tmp_path / name)
    status, text = error(send(server, tmp_path / "a.png", tmp_path / "b.png"))
    assert (status, text) == (400, "a.png has 4000x3000 pixels: at most 8.3 million are taken")


@pytest.mark.parametrize("path", ["/", "/options", "/flow"])
def test_other_hosts_and_origins_are_refused(path, server):
    own = f"127.0.0.1:{server.server_port}"
    method = "POST" if path == "/flow" else "GET"
    fine = 400 if path == "/flow" else 200
    body = b"x" if path == "/flow" else b""
    assert ask(server, method, path, body, Host=own)[0] == fine
    assert ask(server, method, path, body, Host=f"localhost:{server.server_port}")[0] == fine
    assert ask(server, method, path, body, Host=own, Origin=f"http://{own}")[0] == fine
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", f"{own}.evil.example", ""):
        assert ask(server, method, path, body, Host=host)[0] == 403
    for origin in ("http://evil.example", "null", f"https://{own}", "http://127.0.0.1:1", ""):
        assert ask(server, method, path, body, Host=own, Origin=origin)[0] == 403


def test_nothing_else_is_served(server):
    for path in ("/../pyproject.toml", "/page/index.html", "/app.js/../server.py", "/%2e%2e/server.py", "//etc/passwd"):
        assert ask(server, "GET", path)[0] == 404
    assert ask(server, "PUT", "/flow", b"x")[0] == 501
    assert ask(server, "POST", "/", b"x")[0] == 404


def test_one_job_at_a_time(server, images):
    with server.turn:
        status, text = error(send(server, images / "a.png", images / "b.png"))
    assert (status, text) == (503, "another pair is being computed: try again in a moment")
    assert send(server, images / "a.png", images / "b.png")[0] == 200


def test_nothing_is_stored(server, images, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert send(server, images / "a.png", images / "b.png")[0] == 200
    assert send(server, images / "a.png", images / "broken.png")[0] == 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal that stands for Ctrl-C")
def test_the_command_says_where_it_is_and_ends_with_ctrl_c(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "flowzoo", "demo", "--port", "0"]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells start background jobs without it
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("open http://127.0.0.1:"), process.stderr.read()
        port = int(line.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/")
        assert b"<title>flowzoo" in connection.getresponse().read()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, out.strip(), errors) == (0, "ended", "")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "words",
    [("--port", "70000"), ("--largest", "0"), ("--memory", "nan"), ("--model", "raft"), ("--set", "iterations=3")],
    ids=" ".join,
)
def test_mistakes_are_one_line(words, capsys):
    assert main(["demo", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_port_that_is_taken(server, capsys):
    assert main(["demo", "--port", str(server.server_port)]) == 2
    assert f"port {server.server_port} cannot be had" in capsys.readouterr().err
