"""Which files of a folder are frames; whatever is left out is named, and what would change the pairs is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowzoo.errors import InputError, counted
from flowzoo.files.frames import frames_of, missing_between


def image(path: Path, size: tuple[int, int] = (40, 30), kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)
    return path


def names(folder: Path, **options: object) -> list[str]:
    return [file.name for file in frames_of(folder, **options).files]


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".tga", ".gif", ".webp", ".tiff", ".bmp", ".ppm"])
def test_what_a_pair_takes_a_folder_takes_in_natural_order(tmp_path: Path, suffix: str) -> None:
    for index in (2, 10, 1):
        image(tmp_path / f"f{index}{suffix}")
    found = frames_of(tmp_path, partial=True)
    assert [file.name for file in found.files] == [f"f1{suffix}", f"f2{suffix}", f"f10{suffix}"]
    assert set(found.sizes.values()) == {(30, 40)}


def test_the_content_decides_and_the_rest_is_named(tmp_path: Path) -> None:
    for name in ("a", "b.frame", "c.png"):
        image(tmp_path / name, kind="PNG")
    for name in ("notes.txt", "flow.flo", ".hidden.png", "clip.mp4", "z.doc"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "sub.png").mkdir()
    found = frames_of(tmp_path)
    assert [file.name for file in found.files] == ["a", "b.frame", "c.png"]
    assert found.notes == [f"left out of {tmp_path}, no images: 5 entries (clip.mp4, flow.flo, notes.txt, ...)"]


@pytest.mark.parametrize("name", ["f2.png", "f2.heic", "f2.jp2", "f2.CR2"])
def test_a_picture_that_cannot_be_read_is_not_passed_over(tmp_path: Path, name: str) -> None:
    for index in (1, 3):
        image(tmp_path / f"f{index}.png")
    (tmp_path / name).write_bytes(b"damaged, or a format that nobody here reads")
    with pytest.raises(InputError, match=rf"{name} .*--partial"):
        frames_of(tmp_path)
    found = frames_of(tmp_path, partial=True)
    assert [file.name for file in found.files] == ["f1.png", "f3.png"]
    assert "1 picture that cannot be read" in found.notes[0]
    assert name in found.notes[0]


def test_links_that_lead_nowhere_and_pipes(tmp_path: Path) -> None:
    image(tmp_path / "f1.png")
    (tmp_path / "f2.png").symlink_to("gone.png")
    with pytest.raises(InputError, match=r"f2\.png does not exist"):
        frames_of(tmp_path)
    (tmp_path / "f2.png").unlink()
    os.mkfifo(tmp_path / "f2.png")
    with pytest.raises(InputError, match=r"f2\.png is not an ordinary file"):
        frames_of(tmp_path)


@pytest.mark.parametrize("other", ["7.jpg", "07.png", "007.bmp"])
def test_one_frame_twice(tmp_path: Path, other: str) -> None:
    for name in ("6.png", "7.png", other):
        image(tmp_path / name)
    with pytest.raises(InputError, match="holds one frame twice") as caught:
        frames_of(tmp_path, partial=True)
    assert "--pattern" in str(caught.value)
    assert names(tmp_path, pattern="[67].png") == ["6.png", "7.png"]
    with pytest.raises(InputError, match="nothing that matches"):
        frames_of(tmp_path, pattern="*.tif")


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["1", "2", "4"], [("2", "4", 1)]),
        (["f_08", "f_09", "f_10", "f_13", "f_14"], [("f_10", "f_13", 2)]),
        (["0", "10", "20", "40"], [("20", "40", 1)]),
        (["cam1_000", "cam1_001", "cam2_000", "cam2_003"], [("cam2_000", "cam2_003", 2)]),
        (["a1_l", "a2_l", "a5_l"], [("a2_l", "a5_l", 2)]),
        (["0", "5", "10", "15"], []),
        (["8", "10"], []),
        (["000000_10", "000000_11", "000001_10", "000001_11", "000003_10"], []),
        (["1305031102.175304", "1305031102.211214", "1305031102.243211"], []),
        (["3", "17", "22"], [("3", "17", 13), ("17", "22", 4)]),
        (["1403636579763", "1403636579813", "1403636579913"], [("1403636579813", "1403636579913", 1)]),
        (["left", "right"], []),
        (["a", "b", "d"], []),
    ],
)
def test_gaps_in_the_numbers(tmp_path: Path, stems: list[str], expected: list[tuple[str, str, int]]) -> None:
    files = [tmp_path / f"{stem}.png" for stem in stems]
    assert [(a.stem, b.stem, count) for a, b, count in missing_between(files)] == expected
    for file in files:
        image(file)
    if not expected:
        assert frames_of(tmp_path).notes == []
        return
    with pytest.raises(InputError, match=f"first between {expected[0][0]}.png and {expected[0][1]}.png"):
        frames_of(tmp_path)
    found = frames_of(tmp_path, partial=True)
    assert len(found.files) == len(stems)
    missing = sum(count for _, _, count in expected)
    assert counted(missing, "frame", "are") + " missing" in found.notes[0]


def test_folders_without_frames(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no images$"):
        frames_of(tmp_path)
    (tmp_path / "a.xyz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"has no images, only 1 entry \(a\.xyz\)"):
        frames_of(tmp_path)
    with pytest.raises(InputError, match="cannot read the folder"):
        frames_of(tmp_path / "none")
