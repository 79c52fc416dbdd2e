"""Clips on disk with something wrong: an InputError that names it, or a note that counts what is left out."""

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowzoo.datasets.clip_names import listed_clips
from flowzoo.datasets.clips.caltech import SeqFrames
from flowzoo.datasets.clips.catalogue import open_clips
from flowzoo.datasets.scaled.catalogue import scaled_dataset_class
from flowzoo.errors import InputError
from flowzoo.files.images import write_image
from flowzoo.inference.interpolation import as_tensor
from flowzoo.training.frames.settings import ClipSettings
from flowzoo.training.frames.windows import Windows

FRAME = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one clip of four frames."""
    for number in range(1, 5):
        write_image(tmp_path / "clips" / "one" / f"{number}.png", FRAME)
    return tmp_path / "clips"


def openers(root: Path, **options: bool):
    """Both rooms that read folders of frames."""
    yield lambda: open_clips("clips", root, **options)
    yield lambda: scaled_dataset_class("clips")(root, **options)


FAULTS = {
    "a gap": (lambda clip: (clip / "3.png").unlink(), "1 frame is missing, first between 2.png and 4.png"),
    "a frame twice": (lambda clip: write_image(clip / "1.jpg", FRAME), "holds one frame twice, 1.jpg and 1.png"),
    "two sizes": (lambda clip: write_image(clip / "5.png", FRAME[:8]), "1.png is 20x16 but .*5.png is 20x8"),
    "a link to nothing": (lambda clip: (clip / "5.png").symlink_to("nowhere"), "5.png does not exist"),
    "no image": (lambda clip: (clip / "5.png").write_text("hello"), "5.png is no image"),
}
if hasattr(os, "mkfifo"):
    FAULTS["a pipe"] = (lambda clip: os.mkfifo(clip / "5.png"), "5.png is not an ordinary file")


@pytest.mark.parametrize("fault", FAULTS)
def test_folders_of_frames_are_looked_at(root: Path, fault: str) -> None:
    make, says = FAULTS[fault]
    make(root / "one")
    for opener in openers(root):
        with pytest.raises(InputError, match=says) as caught:
            opener()
        assert "--pattern" not in str(caught.value)  # which the verbs that read data sets do not have


def test_what_is_left_out_is_noted(root: Path) -> None:
    (root / "one" / "3.png").unlink()
    (root / "one" / "5.png").write_text("hello")
    (root / "two").mkdir()
    (root / "two" / "read.me").write_text("hello")
    for opener in openers(root, partial=True):
        notes = " ".join(opener().notes)
        assert "1 frame is missing" in notes
        assert "1 picture that cannot be read" in notes
        assert "without images: 1 entry (two)" in notes


def test_frames_of_any_format_count(root: Path) -> None:
    for suffix in ("bmp", "gif", "jpeg"):
        Image.fromarray(FRAME).save(root / "one" / f"{5 + len(suffix)}.{suffix}")
    (root / "one" / "8.gif").rename(root / "one" / "5.gif")
    (root / "one" / "8.bmp").rename(root / "one" / "6.bmp")
    (root / "one" / "9.jpeg").rename(root / "one" / "7.jpeg")
    one, other = (opener() for opener in openers(root))
    assert one.clips[0].length == 7
    assert len(other.clips[0].large) == 7


def test_training_says_what_it_leaves_out(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_image(root / "two" / "1.png", FRAME)
    settings = ClipSettings(data=("clips",), inputs=(0, 1), targets=(2,))
    with caplog.at_level("INFO"):
        Windows(settings, root, 0)
    assert "left out: 1 clip has fewer than 3 frames" in caplog.text


def test_drives_with_gaps_are_asked_about(tmp_path: Path) -> None:
    for drive in (104, 79, 70):
        for number in (0, 1, 3):
            folder = tmp_path / "2011_09_26" / f"2011_09_26_drive_{drive:04d}_sync" / "image_03" / "data"
            write_image(folder / f"{number:010d}.png", FRAME)
    with pytest.raises(InputError, match=r"1 frame is missing, first between 0000000001\.png"):
        open_clips("kitti-raw", tmp_path, "test")
    assert len(open_clips("kitti-raw", tmp_path, "test", partial=True).notes) == 3


def test_names_and_numbers_of_cityscapes(tmp_path: Path) -> None:
    folder = tmp_path / "leftImg8bit_sequence" / "val" / "ulm"
    for number in (0, 1, 3):
        write_image(folder / f"ulm_000001_{number:06d}_leftImg8bit.png", FRAME)
    with pytest.raises(InputError, match=r"ulm_000001_000000 \(2 of 30 frames\)"):
        open_clips("cityscapes-sequence", tmp_path, "val")
    (folder / "ulm_leftImg8bit.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"ulm_leftImg8bit\.png is named like no frame"):
        open_clips("cityscapes-sequence", tmp_path, "val", partial=True)


LISTS = {
    b"00001/0001\n00001/0001\n": "line 2 names 00001/0001 a second time, after line 1",
    b"00001/0001\n../../x\n": r"line 2 is '../../x'",
    b"a" * 5000 + b"\n": "line 1 is 'aaa",
    b"\xff\xfe0\x001\x00": "no text in UTF-8",
    b"": "is empty",
}


@pytest.mark.parametrize("content", LISTS)
def test_lists_of_clips(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sep_testlist.txt").write_bytes(content)
    for opener in (lambda: open_clips("vimeo90k", tmp_path), lambda: scaled_dataset_class("vimeo90k")(tmp_path)):
        with pytest.raises(InputError, match=LISTS[content]) as caught:
            opener()
        assert len(str(caught.value)) < 1000


def test_blank_lines_and_marks_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf00001/0001\r\n\r\n 00002/0003 ")
    assert listed_clips(tmp_path / "list.txt", "") == ["00001/0001", "00002/0003"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize("name", ["sep_testlist.txt", "V000.seq"])
def test_pipes_and_endless_files_do_not_hang(name: str, tmp_path: Path) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(tmp_path / name)
        with pytest.raises(InputError, match="not an ordinary file"):
            _ = SeqFrames(tmp_path / name).places if name.endswith("seq") else open_clips("vimeo90k", tmp_path)
        (tmp_path / name).unlink()


def test_septuplets_lack_no_frame(tmp_path: Path) -> None:
    (tmp_path / "sep_testlist.txt").write_text("00001/0001\n00001/0002\n")
    for clip in ("0001", "0002"):
        for number in range(1, 8):
            write_image(tmp_path / "sequences" / "00001" / clip / f"im{number}.png", FRAME)
    (tmp_path / "sequences" / "00001" / "0002" / "im4.png").unlink()
    with pytest.raises(InputError, match="missing: 00001/0002"):
        open_clips("vimeo90k", tmp_path)
    found = open_clips("vimeo90k", tmp_path, partial=True)
    assert [clip.name for clip in found.clips] == ["00001/0001"]
    assert found.notes == ["missing: 00001/0002"]


def seq(*frames: bytes) -> bytes:
    """A Norpix .seq file with these frames."""
    header = (bytes(4) + "Norpix seq".encode("utf-16-le")).ljust(1024, b"\0")
    return header + b"".join(struct.pack("<I", len(frame) + 4) + frame + bytes(8) for frame in frames)


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 16)).save(stream, "JPEG")
    return stream.getvalue()


def of_another_size(content: bytes, side: int) -> bytes:
    """A JPEG whose header says `side` x `side` pixels."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", side, side) + content[at + 4 :]


def test_frames_of_seq_videos(tmp_path: Path) -> None:
    path = tmp_path / "V000.seq"
    path.write_bytes(seq())
    with pytest.raises(InputError, match="has no frames"):
        _ = SeqFrames(path).places
    path.write_bytes(seq(jpeg(), b"\xff\xd8junkjunkjunk", jpeg()[:-200], of_another_size(jpeg(), 60000)))
    frames = SeqFrames(path)
    assert frames(0).flags.writeable
    for index in (1, 2, 3):
        with pytest.raises(InputError, match=f"frame {index} of .*V000.seq"):
            frames(index)


def test_frames_that_cannot_be_written_do_without_a_warning() -> None:
    frame = FRAME.copy()
    frame.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_tensor(frame, "cpu").shape == (1, 3, 16, 20)


def test_vid4_has_the_frames_that_it_has(tmp_path: Path) -> None:
    for number in range(42):
        write_image(tmp_path / "GT" / "calendar" / f"{number:03d}.png", FRAME[:4, :4])
    with pytest.raises(InputError, match="has 42 images, Vid4 41"):
        scaled_dataset_class("vid4")(tmp_path, partial=True)
