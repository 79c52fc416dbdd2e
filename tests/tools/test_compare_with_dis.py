"""The views of a pair: each must show a pair whose flow still leads from the first image to the second."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowzoo.synthetic.held_out import KINDS, SIZE, held_out
from flowzoo.synthetic.textures import Textures

pytest.importorskip("cv2")
FILE = Path(__file__).parents[2] / "tools" / "compare_with_dis.py"
specification = importlib.util.spec_from_file_location("compare_with_dis", FILE)
tool = importlib.util.module_from_spec(specification)
specification.loader.exec_module(tool)

SHIFT = np.array([3, -2])


@pytest.mark.parametrize("view", tool.VIEWS)
def test_the_flow_of_a_view_leads_to_the_same_colours(view: str) -> None:
    random = np.random.default_rng(1)
    first = random.integers(0, 256, (40, 56, 3), np.uint8)
    second = np.roll(first, SHIFT[::-1], axis=(0, 1))
    valid = np.zeros((40, 56), bool)
    valid[8:-8, 8:-8] = True
    flow = np.broadcast_to(SHIFT, (40, 56, 2)).astype(np.float32)
    seen = tool.VIEWS[view](tool.Sample("pair", first, second, flow, valid))
    rows, columns = np.nonzero(seen.valid)
    assert len(rows) > 100
    moved = np.stack([columns, rows], axis=1) + seen.flow[rows, columns].astype(int)
    inside = ((moved >= 0) & (moved < seen.first.shape[1::-1])).all(axis=1)
    assert inside.sum() > 100
    assert (seen.first[rows, columns][inside] == seen.second[moved[inside, 1], moved[inside, 0]]).all()


def test_views_differ() -> None:
    ramp = np.arange(40 * 56 * 3).reshape(40, 56, 3).astype(np.uint8)
    pair = tool.Sample("pair", ramp, ramp, np.ones((40, 56, 2), np.float32), np.ones((40, 56), bool))
    seen = [tool.VIEWS[view](pair).first.tobytes() for view in tool.VIEWS]
    assert len(set(seen)) == len(seen) == 4


def test_rendered_pairs_are_known_and_always_the_same(tmp_path: Path) -> None:
    photograph = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    two, one = tool.rendered(2, tmp_path, "fast"), tool.rendered(1, tmp_path, "fast")
    assert list(two) == ["fast"]
    pair = two["fast"][0]
    assert pair.first.shape == (*SIZE, 3)
    assert pair.first.dtype == np.uint8
    assert pair.flow.shape == (*SIZE, 2)
    for name, value in vars(pair).items():
        assert np.array_equal(value, vars(one["fast"][0])[name]), name
    assert not np.array_equal(pair.first, two["fast"][1].first)
    assert np.linalg.norm(pair.flow, axis=-1).max() > 10


def test_every_kind_of_scene_has_pairs_of_its_own() -> None:
    sources = [held_out(kind, Textures(None, procedural=1)) for kind in KINDS]
    assert len({source.seed for source in sources}) == len(KINDS)
    assert all(source.seed > 1000 for source in sources)  # training has 0
    assert len({source.settings for source in sources}) == len(KINDS)


def test_what_cannot_be_measured_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare_with_dis", "--root", str(tmp_path)]
    for extra in (
        ["--set", "width=96", "--weights", "wren"],
        ["--set", "widht=96"],
        ["--weights", "missing.safetensors"],
    ):
        monkeypatch.setattr("sys.argv", command + extra)
        with pytest.raises(SystemExit) as stopped:
            tool.main()
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("compare_with_dis: ")
