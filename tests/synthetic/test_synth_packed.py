"""Pairs on disk: the same whatever the number of processes or interruptions, and read back as rendered."""

import json

import numpy as np
import pytest
import torch

from flowzoo.cli import main, synth
from flowzoo.errors import InputError
from flowzoo.files.flow import read_flow
from flowzoo.files.images import read_image
from flowzoo.synthetic import PackedPairs, SceneSettings, SyntheticPairs, Textures
from flowzoo.synthetic import packed as packed_module
from flowzoo.synthetic.settings import SCENES
from flowzoo.training.flow.sources import open_source

COMMON = ["synth", "--procedural", "3", "--set", "objects=0,2"]
WORDS = [*COMMON, "--packed", "--size", "32x24", "--seed", "3"]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("packed") / "pairs"
    assert main([*WORDS, "-o", str(target), "--count", "60", "--backward"]) == 0
    return target


def test_packed_pairs_are_the_rendered_ones(folder):
    data = PackedPairs(folder, flip_time=True)
    assert len(data) == 120
    settings = SceneSettings(objects=(0, 2))
    source = SyntheticPairs(Textures(None, procedural=3), None, (24, 32), settings, seed=3)
    for index in (0, 49, 59):
        wanted = source.render([index], as_bytes=True)
        forward, backward = data[index], data[60 + index]
        assert torch.equal(forward.first, wanted.first[0])
        assert torch.equal(backward.first, wanted.second[0])
        assert torch.allclose(forward.flow, wanted.flow[0], rtol=2**-11, atol=1e-6)
        assert torch.allclose(backward.flow, wanted.backward_flow[0], rtol=2**-11, atol=1e-6)
        assert torch.equal(forward.valid, wanted.valid[0])
        assert np.array_equal(data.occluded(index), wanted.occluded[0].numpy())
    with pytest.raises(IndexError):
        data[120]


def test_a_lost_shard_is_named_and_rendered_again(folder, tmp_path):
    before = contents(folder)
    (folder / "00001_flow.npy").unlink()
    with pytest.raises(InputError, match="00001_flow"):
        PackedPairs(folder)
    assert main([*WORDS, "-o", str(folder), "--count", "60", "--backward"]) == 0
    assert contents(folder) == before


def test_two_processes_write_the_same_bytes(folder, tmp_path):
    target = tmp_path / "pairs"
    assert main([*WORDS, "-o", str(target), "--count", "60", "--backward", "--workers", "2"]) == 0
    assert contents(target) == contents(folder)


def test_a_set_can_grow_by_whole_shards(tmp_path, capsys):
    target = tmp_path / "pairs"
    assert main([*WORDS, "-o", str(target), "--count", "50"]) == 0
    first = contents(target)
    assert main([*WORDS, "-o", str(target), "--count", "60"]) == 0
    assert len(PackedPairs(target)) == 60
    assert contents(target)["00000_flow.npy"] == first["00000_flow.npy"]
    assert main([*WORDS, "-o", str(target), "--count", "70"]) == 2
    assert "60" in capsys.readouterr().err


def test_another_recipe_does_not_mix(folder, capsys):
    assert main([*WORDS, "--seed", "4", "-o", str(folder), "--count", "60", "--backward"]) == 2
    assert "another" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", '{"version": 99}', "[1]"])
def test_a_broken_manifest_is_named(tmp_path, text):
    (tmp_path / packed_module.MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"again|is empty"):
        PackedPairs(tmp_path)


def test_a_shard_cut_short_is_named(tmp_path, folder):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "00001_frames.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="cut short"):
        PackedPairs(tmp_path)


def test_manifest_tells_how_the_pairs_were_made(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["count"] == 60
    assert manifest["recipe"]["settings"]["objects"] == [0, 2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--size", "wide"], "WIDTHxHEIGHT"),
        (["--count", "0"], "--count"),
        (["--textures", "no/such/place"], "no folder"),
        (["--set", "hase=1"], "haze"),
        (["--set", "haze=2"], "haze"),
        (["--backward"], "--packed"),
        (["--size", "4x4"], "cannot render"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(tmp_path, capsys, words, says):
    target = tmp_path / "out"
    assert main(["synth", "-o", str(target), "--count", "2", *words]) == 2
    message = capsys.readouterr().err.strip()
    assert says in message
    assert "\n" not in message


def test_ordinary_files_read_back(tmp_path):
    target = tmp_path / "pairs"
    words = [*COMMON, "-o", str(target), "--count", "2", "--size", "32x24"]
    assert main(words) == 0
    source = SyntheticPairs(Textures(None, procedural=3), None, (24, 32), SceneSettings(objects=(0, 2)))
    wanted = source.render([1], as_bytes=True)
    first, second, flow = (target / "pairs.txt").read_text().splitlines()[1].split()
    assert np.array_equal(read_image(target / first), wanted.first[0].permute(1, 2, 0).numpy())
    assert np.array_equal(read_image(target / second), wanted.second[0].permute(1, 2, 0).numpy())
    values, valid = read_flow(target / flow)
    assert valid.all()
    assert np.array_equal(values, wanted.flow[0].permute(1, 2, 0).numpy())
    before = contents(target)
    (target / "0000000-flow_10.flo").unlink()
    assert main(words) == 0
    assert contents(target) == before


def test_packed_pairs_know_both_directions(folder, tmp_path):
    data = open_source("synthetic/pairs", folder.parent, both_directions=True)
    backwards = PackedPairs(folder, flip_time=True, both_directions=True)
    for index in (0, 59):
        there, back = data[index], backwards[60 + index]
        assert torch.equal(there.reverse[:2], back.flow)
        assert torch.equal(there.reverse[2] > 0, back.valid)
        assert torch.equal(back.reverse[:2], there.flow)
    assert PackedPairs(folder)[0].reverse is None
    assert main([*WORDS, "-o", str(tmp_path / "one"), "--count", "1"]) == 0
    with pytest.raises(InputError, match="train on both directions"):
        PackedPairs(tmp_path / "one", both_directions=True)


def test_every_ready_made_kind_of_scene_can_be_packed(tmp_path):
    assert set(synth.KINDS) == {*SCENES, "static", "dynamic"}
    words = ["synth", "--procedural", "1", "--packed", "--size", "32x24", "--count", "1", "--kind", "swarm"]
    assert main([*words, "-o", str(tmp_path)]) == 0
    assert PackedPairs(tmp_path).manifest.recipe["settings"]["thin"] == SceneSettings.swarm().thin
