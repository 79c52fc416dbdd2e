"""ETH3D's lists are pickles by others: forged, damaged and odd ones are one line, and run nothing."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowzoo.datasets.eth3d import Eth3d
from flowzoo.datasets.hpatches import read_homography
from flowzoo.errors import InputError

POINTS = {"Xs": [1.0, 2.0, 3.0], "Ys": [1.0, 1.0, 1.0], "Xt": [2.0, 4.0, 6.0], "Yt": [3.0, 3.0, 3.0]}
IMAGES = {"source_image": "a.png", "target_image": "b.png"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "info_ETH3D_files").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


def listed(root: Path, entries: object, protocol: int = 2) -> Path:
    path = root / "info_ETH3D_files" / "lakeside_every_5_rate_of_3"
    path.write_bytes(entries if isinstance(entries, bytes) else pickle.dumps(entries, protocol))
    return path


def truth(root: Path) -> tuple[np.ndarray, np.ndarray]:
    dataset = Eth3d(root, "3", partial=True)
    found = dataset.read_truth(dataset.pairs[0])
    return found.flow, found.valid


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [list, np.array, lambda values: np.array(values, ">f8")])
def test_matches_of_every_protocol(root: Path, protocol: int, kind) -> None:
    listed(root, [IMAGES | {name: kind(values) for name, values in POINTS.items()}], protocol)
    flow, valid = truth(root)
    assert np.argwhere(valid).tolist() == [[3, 2], [3, 4], [3, 6]]
    assert flow[3, 2].tolist() == [-1, -2]
    assert flow[3, 6].tolist() == [-3, -2]


def test_points_that_are_none_or_outside_are_left_out(root: Path) -> None:
    odd = {
        "Xs": [1, np.nan, 1, 1, 2],
        "Ys": [1, 1, np.inf, 1, 3],
        "Xt": [1e300, 2, 3, -4, 5],
        "Yt": [1, 1, 1, np.nan, 5],
    }
    listed(root, [IMAGES | odd])
    _, valid = truth(root)
    assert np.argwhere(valid).tolist() == [[5, 5]]


class Call:
    """Pickles as a call of anything."""

    def __init__(self, *steps) -> None:
        self.steps = steps

    def __reduce__(self):
        return self.steps


def forged_type() -> bytes:
    """A number type whose fields are an address of the forger's choice."""
    state = (3, "|", None, ("a", "b"), {"a": (4702111234474983745, 0), "b": (4702111234474983745, 8)}, 16, 1, 27)
    kind = Call(np.dtype, ("V16", False, True), state)
    scalar = np.float32(1).__reduce__()[0]
    return pickle.dumps([IMAGES | {"Xs": Call(scalar, (kind, b"A" * 16))}], 2)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (forged_type(), "cannot read .*plain numbers"),
        ([Call(os.system, ("touch trace",))], "it asks for posix.system, which is not data"),
        ([IMAGES, {"source_image": "a.png"}], "entry 1 has no source_image and target_image"),
        ([IMAGES | {"source_image": 7}], "entry 0 has no source_image"),
        ([[]], "entry 0 has no"),
        ({"a": 1}, "holds a dict, expected a list"),
        ([IMAGES | {"source_image": "x" * 5000}], "no ETH3D"),
        ([IMAGES | {"source_image": "\0"}], "no ETH3D"),
        (b"\x80\x02" + b"(" * 5000, "cannot read"),
        (b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.", "cannot read .*keys"),
        (b"not a pickle", "cannot read"),
        (b"", "is empty"),
    ],
)
def test_lists_that_are_none(root: Path, entries: object, said: str) -> None:
    listed(root, entries)
    with pytest.raises(InputError, match=said) as caught:
        truth(root)
    assert "\n" not in str(caught.value)
    assert not (root / "trace").exists()


@pytest.mark.parametrize(
    "change",
    [{"Xs": [1.0]}, {"Xs": "text"}, {"Xs": None}, {"Xs": [[1], [2, 3]]}, {"Xs": [10**400] * 3}, {"Xs": IMAGES}],
)
def test_matches_that_are_none(root: Path, change: dict) -> None:
    listed(root, [IMAGES | POINTS | change])
    with pytest.raises(InputError, match="not equal lists of numbers"):
        truth(root)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 2 3",
        "1 0 0 0 1 0 0 0 nan",
        "1 0 0 0 1 0 0 0 0",
        "1e308 " * 9,
        "x " * 9,
        "1 " * 10,
        "1e999 0 0 0 1 0 0 0 1",
    ],
)
def test_homographies_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "H_1_2").write_text(text)
    with pytest.raises(InputError, match="H_1_2"):
        read_homography(tmp_path / "H_1_2")
