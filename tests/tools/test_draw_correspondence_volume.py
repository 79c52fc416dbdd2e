"""The figure tool draws every iteration, for the pixel that was asked for."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import flowzoo

TOOL = Path(__file__).resolve().parents[2] / "tools" / "draw_correspondence_volume.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("draw_correspondence_volume", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def images(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(image).resize((256, 192), Image.Resampling.BICUBIC).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_a_file_with_a_column_for_each_iteration(tool, images, tmp_path, capsys):
    output = tmp_path / "figure.png"
    words = [str(images), str(images), "-o", str(output), "--pixel", "10,180", "--iterations", "2"]
    assert tool.main([*words, "--model", "basenet-gocor"]) == 0
    assert str(output) in capsys.readouterr().out
    assert Image.open(output).size[0] == 4 * tool.SIDE + 3 * tool.GAP


def test_the_pixels_own_position_wins_and_the_objective_falls(tool, images):
    image = np.asarray(Image.open(images))
    scores, objective = tool.volumes(flowzoo.create("basenet-gocor"), image, image, (200, 20), 3)
    assert scores.shape == (4, 2, 16, 16)
    assert [int(entry.argmax()) for entry in scores.flatten(0, 1)] == [(20 * 16 // 192) * 16 + 200 * 16 // 256] * 8
    assert objective == sorted(objective, reverse=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--pixel", "256,0"], "outside"),
        (["--model", "basenet"], "no global GOCor"),
        (["--model", "wren"], "no global"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tool, images, tmp_path, capsys, changes, message):
    words = [str(images), str(images), "-o", str(tmp_path / "no.png"), "--pixel", "1,1", "--model", "basenet-gocor"]
    assert tool.main([*words, *changes]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "no.png").exists()
