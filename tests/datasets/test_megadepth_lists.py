"""MegaDepth's list: whatever stands in it, the numbers are right or one line says what is wrong."""

import csv
import warnings
from pathlib import Path

import pytest
from evaluation_samples import picture

from flowzoo.cli.parser import run
from flowzoo.datasets.catalogue import open_dataset
from flowzoo.files.images import write_image

HEADER = "scene,source_image,target_image,XA,YA,XB,YB\n"
GOOD = "/,a.png,b.png,1;2,3;4,5;6,7;8\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("a.png", "b.png")):
        write_image(tmp_path / "test1600Pairs" / name, picture(index, 48, 64))
    return tmp_path


def write(folder: Path, content: bytes) -> Path:
    (folder / "test1600Pairs.csv").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (HEADER.encode(), "no MegaDepth"),
        (b"scene,source_image\n/,a.png\n", "line 2 has no column target_image"),
        ((HEADER + GOOD + "/,a.png,b.png,1;2,3\n").encode(), "line 3 has no column XB"),
        ((HEADER + "/,a.png,b.png,1;2,3,4;5,6;7\n").encode(), "line 2: matches are not equal lists"),
        ((HEADER + "/,a.png,b.png,1;x,3;4,5;6,7;8\n").encode(), "not equal lists of numbers"),
        ((HEADER + "/,a.png,b.png,1;2,3;4,5,7\n").encode(), "2 and 1 points"),
        ((HEADER + GOOD).encode("utf-16"), "cannot read"),
        ((HEADER + '"' + "x" * (1 << 24) + "\n").encode(), "field limit"),
        ((HEADER + "/,a.png,\0.png,1,2,3,4\n").encode(), "test1600Pairs"),
    ],
)
def test_damaged_lists(content: bytes, said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = csv.field_size_limit()
    assert run(["evaluate", "megadepth", "--root", str(write(folder, content)), "--partial"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "internal error" not in error
    assert said in error
    assert csv.field_size_limit() == limit


def test_matches_outside_the_images_are_left_out_without_warnings(folder: Path) -> None:
    row = "/,a.png,b.png,nan;1e400;1e39;10;-5;20,1;2;3;11;4;21,5;6;7;12;8;nan,9;9;9;13;9;9\n"
    dataset = open_dataset("megadepth", write(folder, (HEADER + row).encode()), partial=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        truth = dataset.read_truth(dataset.pairs[0])
    assert truth is not None
    # Of 64x48, the short side is 480: ten times the size.
    assert truth.size == (480, 640)
    assert truth.flow.tolist() == [[-20, -20]]
    assert [axis.tolist() for axis in truth.points] == [[130], [120]]


def test_long_lists_of_matches_are_read(folder: Path) -> None:
    numbers = ";".join(["10"] * 100_000)
    dataset = open_dataset(
        "megadepth", write(folder, f"{HEADER}/,a.png,b.png,{','.join([numbers] * 4)}\n".encode()), partial=True
    )
    truth = dataset.read_truth(dataset.pairs[0])
    assert truth is not None
    assert truth.flow.shape == (100_000, 2)
