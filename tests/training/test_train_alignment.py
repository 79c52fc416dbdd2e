"""The alignment experiment: pairs with exact flow, the small network, overflowed offsets, and its tool."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from training_runs import trained

from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.files.images import write_image
from flowzoo.operators import warp
from flowzoo.synthetic.moved_pairs import moved_pair
from flowzoo.synthetic.textures import Textures
from flowzoo.training.alignment.task import AlignmentTask
from flowzoo.training.recipe import load_recipe
from flowzoo.training.task import Place

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "alignment_experiment.py"
QUICK = {"pool": "16", "test_pairs": "8", "log_every": "5"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(9):
        noise = torch.rand(1, 3, 30, 34, generator=torch.Generator().manual_seed(seed))
        picture = F.interpolate(noise, (150, 170), mode="bicubic").clamp(0, 1)[0]
        write_image(folder / f"{seed}.png", (picture * 255).byte().permute(1, 2, 0).numpy())
    return folder


@pytest.mark.parametrize("index", range(4))
def test_the_flow_of_a_pair_leads_to_where_it_is_seen(photographs, index):
    textures = Textures(photographs, procedural=0)
    pair = moved_pair(textures, range(9), seed=0, index=index)
    assert pair.reference.shape == pair.neighbour.shape == (3, 24, 24)
    warped = warp(pair.neighbour[None], pair.flow[None])[0]
    inside = (slice(None), slice(3, -3), slice(3, -3))
    found, still = (frame - pair.reference for frame in (warped, pair.neighbour))
    # What the disk hides is nowhere in the neighbour, so that the median counts.
    assert found[inside].abs().median() < 0.5 * still[inside].abs().median()
    assert pair.flow.abs().max() < 4
    again = moved_pair(textures, range(9), seed=0, index=index)
    assert torch.equal(pair.neighbour, again.neighbour)


def test_overflowed_offsets_stay_without_the_loss_and_come_back_with_it(photographs, tmp_path):
    rows = {}
    for name in ("without", "with"):
        recipe = load_recipe(f"align-overflow-{name}-loss", QUICK | {"steps": "30"})
        trained(recipe, photographs, tmp_path / name)
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        rows[name] = [json.loads(line)["offset"] for line in lines]
    assert rows["without"][0] > 58
    assert max(rows["without"]) - min(rows["without"]) < 1e-3
    assert rows["with"][-1] < rows["with"][0] - 10


def test_measures_are_those_of_the_test_pairs(photographs, tmp_path):
    recipe = load_recipe("align-n5", QUICK | {"steps": "5", "validate_every": "5"})
    ended = trained(recipe, photographs, tmp_path)
    task = AlignmentTask(recipe, Place(photographs))
    psnr, measures, batch, prediction = task.measure(ended.network)
    assert psnr == pytest.approx(ended.ending.score, abs=1e-4)
    assert batch.frames.shape == (8, 2, 3, 24, 24)
    assert prediction.details["offsets"].shape == (8, 10, 24, 24)
    assert 0 <= measures.within_1px <= measures.closest_within_1px <= 1
    assert measures.diversity > 0


@pytest.mark.parametrize("offsets", [1, 5, 9])
def test_one_more_offset_costs_what_it_should(offsets):
    """Two 3x3 filters with bias, and the weights of one more read place."""
    counts = {}
    for count in (1, offsets):
        with torch.device("meta"):
            network = registry.build("aligner", offsets=count)
        counts[count] = sum(value.numel() for value in network.parameters())
    assert counts[offsets] - counts[1] == 546 * (offsets - 1)


def test_too_few_photographs_and_wrong_settings_are_named(photographs, tmp_path):
    write_image(tmp_path / "one.png", (torch.rand(64, 64, 3) * 255).byte().numpy())
    with pytest.raises(InputError, match="too few photographs"):
        AlignmentTask(load_recipe("align-n1"), Place(tmp_path)).check()
    with pytest.raises(InputError, match="--root"):
        AlignmentTask(load_recipe("align-n1"), Place(None)).check()
    with pytest.raises(InputError, match="fidelity_weight"):
        load_recipe("align-n1", {"fidelity_weight": "-1"})


def test_the_tool_writes_its_files_and_keeps_what_is_done(photographs, tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("alignment_experiment", SCRIPT)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tool, "OFFSETS", (1, 9))
    monkeypatch.setattr(tool, "SEEDS", (0,))
    monkeypatch.setattr(tool, "holds", lambda results: True)
    original = tool.load_recipe
    monkeypatch.setattr(tool, "load_recipe", lambda name, changes=None: original(name, QUICK | dict(changes or {})))
    words = ["alignment_experiment", "--root", str(photographs), "-o", str(tmp_path), "--steps", "5"]
    monkeypatch.setattr("sys.argv", words)
    assert tool.main() == 0
    for name in ("table.md", "results.json", "offsets.png", "curves.svg"):
        assert (tmp_path / name).stat().st_size > 100
    before = (tmp_path / "align-n9-seed0" / "measured.json").stat().st_mtime_ns
    assert tool.main() == 0
    assert (tmp_path / "align-n9-seed0" / "measured.json").stat().st_mtime_ns == before
    assert "N=9" in capsys.readouterr().out


def test_the_checks_of_the_experiment_can_fail(capsys):
    spec = importlib.util.spec_from_file_location("alignment_experiment", SCRIPT)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def runs(*values):
        return [{"psnr": value, "closest_within_1px": 0.7} for value in values]

    fine = {
        "align": {"1": runs(27, 27, 27), "5": runs(27.4, 27.4, 27.4), "9": runs(27.6, 27.6, 27.6)},
        "overflow": {
            "without": {"offset_by_step": [[50, 60.0], [300, 60.0]]},
            "with": {"offset_by_step": [[50, 9.0], [300, 1.0]]},
        },
    }
    assert tool.holds(fine)
    worse = json.loads(json.dumps(fine))
    worse["align"]["9"][1]["psnr"] = 27.1
    assert not tool.holds(worse)
    worse = json.loads(json.dumps(fine))
    worse["overflow"]["with"]["offset_by_step"][1][1] = 3.0
    assert not tool.holds(worse)
    assert "DOES NOT HOLD" in capsys.readouterr().out
