"""`flowzoo infer` for compositing, between two ffmpegs, and of live sources; a local server stands in for a camera."""

import functools
import http.server
import io
import itertools
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import flowzoo
from flowzoo.cli import main
from flowzoo.files.exr import read_channels
from flowzoo.files.images import read_image, write_image
from flowzoo.files.video import VideoWriter, open_video
from flowzoo.inference.streams import LiveFrames, is_stream
from flowzoo.visualise import flow_picture

SIZE = (48, 64)


def frames(count=4):
    texture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    return [texture[i : i + SIZE[0], 2 * i : 2 * i + SIZE[1]] for i in range(count)]


@pytest.fixture
def piped(monkeypatch):
    """Standard input and output as pipes of bytes: call it with the input, then read its `getvalue`."""

    def pipe(content):
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
        return out

    return pipe


def test_raw_frames_go_in_and_colours_come_out(piped, capsys):
    images = frames()
    out = piped(b"".join(image.tobytes() for image in images))
    assert main(["infer", "-", "--size", "64x48", "-o", "-", "--max-flow", "5"]) == 0
    found = np.frombuffer(out.getvalue(), np.uint8).reshape(3, *SIZE, 3)
    expected = [flow_picture(flowzoo.estimate("wren", *pair), max_flow=5) for pair in itertools.pairwise(images)]
    np.testing.assert_array_equal(found, expected)
    assert "standard input, 64x48" in capsys.readouterr().err


def test_without_a_scale_colours_follow_the_frames(piped):
    out = piped(b"".join(image.tobytes() for image in frames()))
    assert main(["infer", "-", "--size", "64x48", "-o", "-", "--frames", "2"]) == 0
    assert len(out.getvalue()) == 2 * 3 * 48 * 64


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-", "-o", "-"], "give --size"),
        (["-", "--size", "64x47", "-o", "-"], "ends within a frame"),
        (["-", "--size", "64x48", "-o", "-", "--format", "flo"], "cannot hold what --format flo"),
        (["-", "--size", "64x48", "--skip-existing"], "drop it"),
        (["a.png", "b.png", "--size", "64x48"], "--size: only for a camera"),
        (["-", "--size", "64x48", "--frames", "0"], "at least 1"),
        (["7", "-o", "x.mp4"], "cannot open camera 7"),
        (["rtsp://user:secret@127.0.0.1:9/x", "-o", "x.mp4"], "cannot open rtsp://127.0.0.1:9/x"),
    ],
)
def test_mistakes_are_one_line(words, said, piped, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    piped(b"".join(image.tobytes() for image in frames(2)))
    assert main(["infer", *words]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert said in told
    assert "secret" not in told
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def server(tmp_path):
    """The address of a local server that sends a short video, and its frames as they are decoded."""
    folder = tmp_path / "served"
    with VideoWriter(folder / "clip.mkv", 12.5) as writer:
        for image in frames(5):
            writer.write(image)
    with open_video(folder / "clip.mkv") as video:
        decoded = list(video)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}/clip.mkv", decoded
    serving.shutdown()
    serving.server_close()
    thread.join()


def test_an_address_is_read_frame_by_frame(server, tmp_path, capsys):
    address, decoded = server
    assert main(["infer", address, "-o", str(tmp_path / "out"), "--no-pictures"]) == 0
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == [f"{i:06d}.flo" for i in range(4)]
    np.testing.assert_array_equal(flowzoo.read_flow(written[2])[0], flowzoo.estimate("wren", decoded[2], decoded[3]))
    assert "127.0.0.1" in capsys.readouterr().out


def test_a_live_source_gives_the_newest_neighbours_and_counts_the_rest(server):
    address, decoded = server
    live = LiveFrames(address, None, None)
    live.newest = True
    pairs = list(live.pairs())
    assert live.rate == 12.5
    known = {image.tobytes(): index for index, image in enumerate(decoded)}
    numbers = [(known[pair.first.tobytes()], known[pair.second.tobytes()]) for pair in pairs]
    assert all(second == first + 1 for first, second in numbers)
    assert numbers[-1] == (3, 4)
    passed_over = 4 - len(pairs)
    words = "1 frame" if passed_over == 1 else f"{passed_over} frames"  # how many is up to the machine
    assert live.afterthoughts() == [f"{words} of {address} came while others were computed"] * bool(passed_over)


def test_a_file_whose_name_is_a_number_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_stream("0")
    (tmp_path / "0").write_bytes(b"x")
    assert not is_stream("0")


def test_files_for_compositing(tmp_path, capsys):
    pytest.importorskip("OpenEXR")
    first, second = frames(2)
    write_image(tmp_path / "a.png", first)
    write_image(tmp_path / "b.png", second)
    words = ["infer", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out" / "v.exr", "--stmap", "--arrows"]
    assert main([str(word) for word in words]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["v.exr", "v_arrows.png", "v_stmap.exr"]
    flow = flowzoo.estimate("wren", first, second)
    np.testing.assert_array_equal(flowzoo.read_flow(tmp_path / "out" / "v.exr")[0], flow)
    assert read_image(tmp_path / "out" / "v_arrows.png").shape == first.shape
    across = read_channels(tmp_path / "out" / "v_stmap.exr", ("R",))["R"]
    np.testing.assert_allclose(across * 64 - 0.5 - np.arange(64), flow[..., 0], atol=1e-4)
