"""The tool that draws offsets: its numbers and pictures, and what it refuses."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from flowzoo import registry
from flowzoo.checkpoints import save_weights
from flowzoo.files.images import read_image, write_image

TOOL = Path(__file__).resolve().parents[2] / "tools" / "draw_offsets.py"


@pytest.fixture
def main(monkeypatch):
    spec = importlib.util.spec_from_file_location("draw_offsets", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*words):
        monkeypatch.setattr("sys.argv", ["draw_offsets", *map(str, words)])
        return module.main()

    return call


@pytest.fixture
def given(tmp_path):
    """Four frames of noise, and an EDVR whose offsets are all (1,0) pixels, x then y."""
    generator = np.random.default_rng(0)
    for index in range(4):
        write_image(tmp_path / "in" / f"{index}.png", generator.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    torch.manual_seed(0)
    settings = {"channels": 8, "extract_blocks": 1, "reconstruct_blocks": 1, "frames": 3, "groups": 1, "offsets": 1}
    network = registry.build("edvr-m", **settings)
    with torch.no_grad():
        network.pcd_align.dcn_pack["l1"].conv_offset.bias[:2] = torch.tensor([0.0, 1.0])
    save_weights(network, tmp_path / "edvr.safetensors")
    return tmp_path


def words(given):
    options = ["channels=8", "extract_blocks=1", "reconstruct_blocks=1", "frames=3", "groups=1", "offsets=1"]
    chosen = [word for option in options for word in ("--set", option)]
    return [given / "in", "--model", "edvr-m", "--weights", given / "edvr.safetensors", *chosen]


def test_it_draws_offsets_and_masks(main, given, capsys):
    pytest.importorskip("matplotlib")
    paths = given / "offsets.png", given / "masks.png"
    assert main(*words(given), "--frame", 1, "-o", paths[0], "--masks", paths[1]) == 0
    said = capsys.readouterr().out
    assert "1 offsets; diversity 0.000 px" in said
    assert "of the nearest" in said
    assert all(read_image(path).shape[1] > 300 for path in paths)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--frame", "4"], "no frame 4: there are 4"),
        (["--neighbour", "2"], "1 to 1 frames"),
        (["--level", "l9"], "known are l3, l2, l1, cascade"),
        (["--flow", "edvr-m"], "no weights of its own"),
        (["-o", "offsets.xyz"], "pictures are"),
    ],
)
def test_what_it_refuses(options, said, main, given, capsys, monkeypatch):
    monkeypatch.chdir(given)
    assert main(*words(given), *options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_frames_of_two_sizes_are_refused(main, given, capsys):
    write_image(given / "in" / "1.png", np.zeros((16, 20, 3), np.uint8))
    assert main(*words(given)) == 2
    assert "different sizes" in capsys.readouterr().err
