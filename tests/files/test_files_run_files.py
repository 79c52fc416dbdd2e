"""Outputs never replace inputs or each other, whatever the names look like."""

import os
from pathlib import Path

import pytest

from flowzoo.errors import InputError
from flowzoo.files.run_files import RunFiles


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder `in` with the file a.png, and an empty folder `out`."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"input")
    return tmp_path


def check(inputs: list[Path | str], outputs: list[Path | str]) -> None:
    files = RunFiles()
    files.reads(*inputs, None)
    for number, path in enumerate(outputs):
        files.writes(path, f"output {number}")
    files.check()


def refused(inputs: list[Path | str], outputs: list[Path | str], *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        check(inputs, outputs)
    for part in parts:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_different_files_are_fine(place: Path) -> None:
    image = place / "in" / "a.png"
    (place / "out" / "old.flo").write_bytes(b"of an earlier run")
    check([image], [])
    check([], [place / "new" / "deep" / "a.png"])
    check([image], [place / "out" / "a.png", place / "in" / "a.flo", place / "out" / "old.flo", place / "in" / "b.png"])


def test_every_spelling_of_an_input_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = place / "in" / "a.png"
    monkeypatch.chdir(place / "in")
    (place / "link").symlink_to(place / "in")
    (place / "file-link.png").symlink_to(image)
    os.link(image, place / "out" / "hard.png")
    (place / "chain.png").symlink_to(place / "file-link.png")
    for other in (
        "a.png",
        "./a.png",
        "../in/a.png",
        "nowhere/../a.png",
        "A.PNG",
        place / "link" / "a.png",
        place / "link" / ".." / "in" / "a.png",
        place / "file-link.png",
        place / "chain.png",
        place / "out" / "hard.png",
    ):
        refused([image], [place / "out" / "x.flo", other], "output 1", "input")
        refused([other], [place / "in" / "b.flo", image], "output 1", "input")


def test_an_input_that_is_a_link_keeps_link_and_target(place: Path) -> None:
    (place / "frames").mkdir()
    (place / "frames" / "0.png").symlink_to(place / "in" / "a.png")
    refused([place / "frames" / "0.png"], [place / "frames" / "0.png"], "which is an input")
    refused([place / "frames" / "0.png"], [place / "in" / "a.png"], "by another name")


def test_two_outputs_on_one_file(place: Path) -> None:
    out = place / "out"
    refused([], [out / "a.flo", out / "b.flo", out / "a.flo"], "output 0 and output 2", "a.flo")
    refused([], [out / "a.flo", out / "A.flo"], "case")
    refused([], [out / "e\u0301.flo", out / "\u00e9.flo"], "case")
    refused([], [place / "new" / "a.flo", place / "new" / "x" / ".." / "a.flo"], "output 0")
    (out / "a.flo").write_bytes(b"x")
    (out / "link.flo").symlink_to("a.flo")
    refused([], [out / "a.flo", out / "link.flo"], "through a link")


def test_places_that_cannot_be_written(place: Path) -> None:
    (place / "fifo").mkdir()
    os.mkfifo(place / "fifo" / "pipe.flo")
    (place / "nowhere").symlink_to("gone")
    (place / "round").symlink_to("round")
    for path, part in (
        (place / "out", "is a folder"),
        (place / "in" / "a.png" / "x.flo", "a.png is a file"),
        (place / "in" / "a.png" / "deep" / "x.flo", "a.png is a file"),
        (place / "fifo" / "pipe.flo", "not an ordinary file"),
        ("/dev/null", "not an ordinary file"),
        (place / "out" / ("x" * 300), "300 letters"),
        (place / ("ä" * 130) / "x.flo", "130 letters"),
        (place / "out" / "..", "is a folder"),
        (place / "nowhere" / "x.flo", "a link that leads nowhere"),
        (place / "round" / "deep" / "x.flo", "a link that leads nowhere"),
    ):
        refused([], [path], "cannot write", part)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_of_somebody_else(place: Path) -> None:
    (place / "out").chmod(0o500)
    refused([], [place / "out" / "x.flo"], "not yours to write")


def test_a_folder_with_unknown_names_holds_no_input(place: Path) -> None:
    files = RunFiles()
    files.reads(place / "in" / "a.png")
    files.writes_into(place / "new", "error maps")
    files.check()
    (place / "link").symlink_to(place / "in")
    files.writes_into(place / "link", "error maps")
    with pytest.raises(InputError, match="folder for error maps"):
        files.check()
