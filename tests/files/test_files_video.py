"""Videos: streaming, rotation, colours, odd sizes, damage."""

import struct
import sys
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from flowzoo.errors import InputError
from flowzoo.files.video import VideoWriter, open_video

av = pytest.importorskip("av")
COLOURS = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 60, 120), (12, 130, 240)]


def stripes(height: int = 32, shift: int = 0) -> np.ndarray:
    """Flat colours, 16 pixels wide each, so that a video's halved colour resolution does not matter."""
    row = np.repeat(np.array(COLOURS, np.uint8), 16, axis=0)
    return np.broadcast_to(np.roll(row, shift, axis=0), (height, *row.shape)).copy()


def write(path: Path, frames: list[np.ndarray], rate: float = 25, **options: str) -> Path:
    with VideoWriter(path, rate, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "webm"])
def test_frames_come_back_in_order_and_colour(tmp_path: Path, suffix: str) -> None:
    frames = [stripes(shift=16 * index) for index in range(4)]
    path = write(tmp_path / f"a.{suffix}", frames, 30000 / 1001)
    with open_video(path) as video:
        assert (video.height, video.width) == (32, 112)
        assert video.rate == pytest.approx(30000 / 1001, rel=1e-3)
        assert video.frames in (4, None)
        read = list(video)
        again = list(video)
    assert len(read) == len(again) == 4
    inner = np.arange(112) % 16
    inner = (inner > 3) & (inner < 12)
    for found, repeated, frame in zip(read, again, frames, strict=True):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, repeated)
        assert np.abs(found.astype(int) - frame)[:, inner].max() <= 4
    assert list(tmp_path.iterdir()) == [path]


def test_opencv_sees_the_same_colours(tmp_path: Path) -> None:
    pytest.importorskip("cv2", minversion="5", reason="OpenCV 4 takes every video for BT.601")
    capture = cv2.VideoCapture(str(write(tmp_path / "a.mp4", [stripes()] * 2)))
    found, frame = capture.read()
    assert found
    assert np.abs(frame[:, 5::16, ::-1].astype(int) - stripes()[:, 5::16]).max() <= 4


@pytest.mark.parametrize(("kind", "bits"), [("rgb24", 8), ("gray16le", 16), ("yuv420p10le", 10)])
def test_frames_of_more_than_8_bits_are_told(tmp_path: Path, kind: str, bits: int) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.height, stream.width, stream.pix_fmt = 32, 112, kind if bits > 8 else "bgr0"
        for index in range(2):
            picture = av.VideoFrame.from_ndarray(stripes(shift=16 * index), format="rgb24")
            container.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    with open_video(path) as video:
        told = [f"{path} holds {bits} bits a channel: its frames are taken with 8"]
        assert video.notes == (told if bits > 8 else [])
        assert len(list(video)) == 2


def test_the_file_says_its_codec_and_colour_space(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "a.mp4", [stripes()] * 2))) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)


@pytest.mark.parametrize(("height", "width"), [(31, 101), (32, 101), (31, 102), (1, 1)])
def test_odd_sides_grow_by_one(tmp_path: Path, height: int, width: int) -> None:
    frame = stripes(height)[:, :width]
    path = write(tmp_path / "a.mp4", [frame] * 2)
    with open_video(path) as video:
        assert (video.height, video.width) == (height + height % 2, width + width % 2)
        shown = next(iter(video))[:height, :width]
    assert np.abs(shown.astype(int) - frame).mean() < 8


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, angle: int) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:20, :20] = 255
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.set_display_rotation(angle)
        for picture in (av.VideoFrame.from_ndarray(frame), None):
            container.mux(stream.encode(picture))
    with open_video(tmp_path / "a.mp4") as video:
        shown = next(iter(video))
        assert shown.shape == (video.height, video.width, 3)
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # OpenCV 4 does not turn by itself
    expected = capture.read()[1][..., ::-1]
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).max() <= 2


def test_frames_are_read_one_at_a_time(shared: Path) -> None:
    with open_video(shared / "data" / "video" / "car-turn.mp4") as video:
        assert (video.height, video.width, video.rate, video.frames) == (360, 640, 25, 81)
        capture = cv2.VideoCapture(str(video.path))
        seen: list[weakref.ref[np.ndarray]] = []
        for frame in video:
            if len(seen) < 3:
                assert np.abs(frame.astype(int) - capture.read()[1][..., ::-1]).max() <= 2
            seen.append(weakref.ref(frame))
            assert sum(reference() is not None for reference in seen) <= 2
    assert len(seen) == 81


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_a_video_cut_off_is_an_error_that_names_it(tmp_path: Path, share: float, options: dict[str, str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, 48, 64, 3)).astype(np.uint8)
    with av.open(str(tmp_path / "whole.mp4"), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in [av.VideoFrame.from_ndarray(pixels) for pixels in noise] + [None]:
            container.mux(stream.encode(frame))
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(share * len(content)) + 1])
    with pytest.raises(InputError, match=r"cut\.mp4") as caught, open_video(tmp_path / "cut.mp4") as video:
        list(video)
    assert "\n" not in str(caught.value)


KINDS = {
    "a.avi": ("mpeg4", None),
    "h.avi": ("libx264", None),
    "a.mkv": ("libx264", None),
    "a.webm": ("libvpx-vp9", None),
    "a.flv": ("flv1", None),
    "a.wmv": ("wmv2", None),
    "a.ts": ("mpeg2video", None),
    "a.mts": ("libx264", "mpegts"),
    "a.mpg": ("mpeg1video", None),
    "a.3gp": ("libx264", None),
    "a.y4m": ("wrapped_avframe", None),
    "a.gif": ("gif", None),
    "no suffix": ("libx264", "matroska"),
}

PACKETS = 188, 2048
"""Bytes of a packet of an MPEG transport stream, and of a pack of a program stream."""


def encode(path: Path, codec: str, container: str | None) -> None:
    """Thirty frames of noise by PyAV alone."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3)).astype(np.uint8)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb8" if codec == "gif" else "yuv420p"
        for frame in [av.VideoFrame.from_ndarray(pixels) for pixels in noise] + [None]:
            file.mux(stream.encode(frame))


@pytest.mark.parametrize("name", KINDS)
def test_other_containers_are_read_whatever_they_are_called_and_cut_ones_are_noticed(tmp_path: Path, name: str) -> None:
    whole, cut = tmp_path / name, tmp_path / f"cut {name}"
    encode(whole, *KINDS[name])
    with open_video(whole) as video:
        assert (video.height, video.width) == (48, 64)
        assert len(list(video)) == video.frames == 30
        assert not video.notes
    content = whole.read_bytes()
    for share in (0.5, 0.8, 0.95):
        length = int(share * len(content))
        length += any(length % packet == 0 for packet in PACKETS)  # whole packets are a shorter video
        cut.write_bytes(content[:length])
        with pytest.raises(InputError, match="cut ") as caught:
            open_video(cut)
        assert len(str(caught.value)) < 400
    if name == "a.3gp":
        return  # nothing of it can be read without its index at the end
    with open_video(cut, partial=True) as video:
        assert 20 < len(list(video)) <= 30
        assert "taking the frames that are there" in video.notes[0]


def test_no_file_leads_to_another(tmp_path: Path) -> None:
    """Texts that FFmpeg takes for playlists, whatever they are called."""
    encode(tmp_path / "other.ts", "mpeg2video", None)
    encode(tmp_path / "other.mp4", "libx264", None)
    texts = {
        "concat": "ffconcat version 1.0\nfile other.mp4\n",
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n",
        "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>\n',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n",
        "smil": "<smil><body><video src='other.mp4'/></body></smil>\n",
    }
    for name, text in texts.items():
        for suffix in (".mp4", ".ts", ".m3u8", ".ffconcat", ".sdp", ""):
            (tmp_path / f"{name}{suffix}").write_text(text)
            with pytest.raises(InputError, match="no video"):
                open_video(tmp_path / f"{name}{suffix}")


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello, this is no video\n" * 100)
    (tmp_path / "text.txt").write_text("hello, this is no video\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    silence = b"RIFF" + struct.pack("<I", 36 + 800) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    (tmp_path / "sound.wav").write_bytes(silence + b"data" + struct.pack("<I", 800) + bytes(800))
    for name, said in (
        ("text.mp4", "no video"),
        ("text.txt", "no video"),
        ("empty.mp4", "is empty"),
        ("sound.wav", "holds no video"),
        ("none.mp4", "does not exist"),
        (".", "is a folder"),
    ):
        with pytest.raises(InputError, match=said):
            open_video(tmp_path / name)


def test_a_name_that_looks_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("pipe:1.mp4"), [stripes()] * 2)
    with open_video("pipe:1.mp4") as video:
        assert len(list(video)) == 2


def write_and_raise(path: Path, frames: int, fault: type[BaseException]) -> None:
    with VideoWriter(path, 25) as writer:
        for _ in range(frames):
            writer.write(stripes())
        raise fault


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_video_leaves_nothing(tmp_path: Path, fault: type[BaseException]) -> None:
    for frames in (0, 3):
        with pytest.raises(fault):
            write_and_raise(tmp_path / "a.mp4", frames, fault)
        assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    frame = stripes()
    for name, rate, options, frames, said in (
        ("a.gif", 25, {}, [frame], "no video format ends in '.gif'"),
        ("a.mp4", 0, {}, [frame], "no rate"),
        ("a.mp4", float("nan"), {}, [frame], "no rate"),
        ("a.mp4", 1e-9, {}, [frame], "too slow"),
        ("a.mp4", 25, {"codec": "nonsense"}, [frame], "no encoder nonsense"),
        ("a.mp4", 25, {}, [], "no frames"),
        ("a.mp4", 25, {}, [frame, frame[:16]], "112x16 follows one of 112x32"),
        ("a.mp4", 25, {}, [frame[..., 0]], "expected uint8"),
        ("a.mp4", 25, {}, [frame.astype(np.float32)], "float32"),
        ("file/a.mp4", 25, {}, [frame], "is a file, not a folder"),
    ):
        with pytest.raises(InputError, match=said):
            write(tmp_path / name, frames, rate, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_h264_the_next_codec_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowzoo.files.video.CODECS", {".mp4": ("libmissing", "mpeg4")})
    path = write(tmp_path / "a.mp4", [stripes()] * 2)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    with open_video(path) as video:
        assert np.abs(next(iter(video))[:, 5::16].astype(int) - stripes()[:, 5::16]).max() < 20


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", [stripes()] * 2)
    monkeypatch.setitem(sys.modules, "av", None)
    for attempt in (lambda: open_video(path), lambda: VideoWriter(tmp_path / "b.mp4", 25)):
        with pytest.raises(InputError, match=r"pip install 'flowzoo\[video\]'"):
            attempt()
