"""The data set `pairs`: what is one pair, and what predictions of it are called."""

from pathlib import Path

import numpy as np
import pytest
from evaluation_samples import picture

from flowzoo.datasets.catalogue import open_dataset
from flowzoo.datasets.pairs import prediction_names
from flowzoo.errors import InputError
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two scenes whose files have the same names, and a folder for lists beside them."""
    for scene in ("s1", "s2"):
        for index in range(3):
            write_image(tmp_path / scene / f"{index}.png", picture(index, 6, 8))
            write_flow(tmp_path / scene / f"f{index}.flo", np.full((6, 8, 2), index, np.float32))
    (tmp_path / "lists").mkdir()
    return tmp_path


def opened(folder: Path, text: str, **options: bool) -> list[str]:
    (folder / "lists" / "l.txt").write_text(text)
    return [pair.prediction for pair in open_dataset("pairs", folder / "lists" / "l.txt", **options).pairs]


def test_files_of_one_name_in_two_folders_are_different(scenes: Path) -> None:
    relative = "".join(f"../{s}/{i}.png ../{s}/{i + 1}.png ../{s}/f{i}.flo\n" for s in ("s1", "s2") for i in range(2))
    expected = ["s1/f0.flo", "s1/f1.flo", "s2/f0.flo", "s2/f1.flo"]
    assert opened(scenes, relative) == expected
    assert opened(scenes, relative.replace("..", str(scenes))) == expected
    one_scene = "".join(relative.splitlines(keepends=True)[:2])
    assert opened(scenes, one_scene) == ["f0.flo", "f1.flo"]


def test_one_flow_of_many_pairs(scenes: Path) -> None:
    names = opened(scenes, "".join(f"../s1/{i}.png ../s1/{i}.png ../s1/f0.flo\n" for i in range(3)))
    assert names == ["f0.flo", "f0-2.flo", "f0-3.flo"]


def test_the_same_line_twice_is_refused_however_it_is_written(scenes: Path) -> None:
    (scenes / "link").symlink_to("s1")
    first = "../s1/0.png ../s1/1.png ../s1/f0.flo\n"
    for second in (first, f"{scenes}/s1/0.png ../link/1.png ../s2/../s1/f0.flo\n"):
        with pytest.raises(InputError, match="lists line 1 again in line 3"):
            opened(scenes, f"{first}# again\n{second}")


def test_the_list_may_be_written_as_in_every_command(scenes: Path) -> None:
    (scenes / "lists" / "pairs.txt").write_bytes("\ufeff../s1/0.png,../s1/1.png,../s1/f0.flo\r\n".encode("utf-16-le"))
    dataset = open_dataset("pairs", scenes / "lists")
    assert [pair.name for pair in dataset.pairs] == ["f0"]
    assert dataset.files()[0] == scenes / "lists" / "pairs.txt"
    with pytest.raises(InputError, match="not an ordinary file"):
        open_dataset("pairs", "/dev/zero")


def test_prediction_names_are_unique() -> None:
    root = Path("/data/lists")
    names = prediction_names([root / "a.flo", root / "A.flo", root / "a-2.flo", root / "deep/../a.flo"], root)
    assert len({name.casefold() for name in names}) == 4
    assert names[0] == "a.flo"
    assert prediction_names([root / "x/a.flo", Path("/other/a.flo")], root) == ["x/a.flo", "a.flo"]
