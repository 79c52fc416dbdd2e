"""Training super-resolution: clips by number, losses, presets, and runs that go on bit for bit."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_runs import trained

from flowzoo import registry
from flowzoo.augmentation.clips import crop_clip, turn_clip
from flowzoo.errors import InputError
from flowzoo.files.images import write_image
from flowzoo.network import VideoPrediction
from flowzoo.operators import warp
from flowzoo.synthetic.clips import ClipSettings as RenderedSettings
from flowzoo.synthetic.clips import render_clip
from flowzoo.synthetic.packed_clips import ClipRecipe, PackedClips, pack_clips
from flowzoo.synthetic.textures import Textures
from flowzoo.training import optimise
from flowzoo.training.recipe import list_presets, load_recipe
from flowzoo.training.stage import Stage
from flowzoo.training.super_resolution.objective import make_cost
from flowzoo.training.super_resolution.settings import ClipSettings, EnlargingLossSettings
from flowzoo.training.super_resolution.sources import ClipMixture, FramesBatch, Wish

PRESETS = list(list_presets("super-resolution"))
ONE_OF_EACH_KIND = [
    "kestrel",
    "edvr-m-reds",
    "edvr-l-vimeo90k",
    "deformable-table1-dcn-g8k3",
    "deformable-table1-decomposed-g1k1",
    "deformable-table2-tdan-n25",
    "deformable-table2-flow-n2",
    "deformable-table3-reds-with-loss",
    "deformable-table4-image",
    "toflow-vimeo90k",
    "tdan-vimeo90k-bd",
    "basicvsr-vimeo90k",
]
SMALL = {
    "edvr-m": ("channels=16", "reconstruct_blocks=1"),
    "edvr-l": ("channels=16", "reconstruct_blocks=1"),
    "tdan": ("channels=16", "extract_blocks=1", "reconstruct_blocks=1"),
    "basicvsr": ("channels=8", "blocks=1"),
    "kestrel": ("channels=8", "width=8", "blocks=1"),
}
TINY = {"crop": "16", "batch": "1", "precision": "float32", "log_every": "1", "validate_every": "0", "save_every": "1"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two smooth pictures."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(2):
        noise = torch.rand(1, 3, 14, 18, generator=torch.Generator().manual_seed(seed))
        picture = torch.nn.functional.interpolate(noise, (140, 180), mode="bicubic").clamp(0, 1)[0]
        write_image(folder / f"{seed}.png", (picture * 255).byte().permute(1, 2, 0).numpy())
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory, photographs):
    """Folders `packed` and `clips` with tiny clips."""
    root = tmp_path_factory.mktemp("data")
    textures, settings = Textures(photographs, procedural=0), RenderedSettings(motion=(1.0, 4.0))
    recipe = ClipRecipe(4, (64, 64), 4, 0, "none", dataclasses.asdict(settings), [])
    pack_clips(root / "packed", textures, recipe, lambda small: small.new_zeros(1, 4, 2, *small.shape[-2:]))
    for number in range(2):
        clip = render_clip(textures, 1, number, (64, 64), RenderedSettings(frames=7))
        for index, frame in enumerate((clip * 255).byte().permute(0, 2, 3, 1).numpy()):
            write_image(root / "clips" / f"c{number}" / f"{index}.png", frame)
    return root


def tiny(preset, changes):
    """A preset with a small network, on the tiny clips."""
    recipe = load_recipe(preset, TINY | changes)
    source = "packed-clips/train" if preset == "kestrel" else "clips"
    stages = []
    for stage in recipe.stages:
        clips = dataclasses.replace(
            stage.task.clips, data=(source,), flow_weights="", frames=min(7, stage.task.clips.frames)
        )
        network = stage.network + SMALL.get(recipe.model, ())
        stages.append(dataclasses.replace(stage, network=network, task=dataclasses.replace(stage.task, clips=clips)))
    return dataclasses.replace(recipe, stages=tuple(stages), validate=())


def rows_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_presets_of_every_table_are_there():
    tables = {name.split("-")[1] for name in PRESETS if name.startswith("deformable-")}
    assert tables >= {"table1", "table2", "table3", "table4", "figure9"}
    assert set(ONE_OF_EACH_KIND) <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_stage_builds_its_network(preset):
    recipe = load_recipe(preset)
    assert registry.card(recipe.model).task == "super-resolution"
    for stage in recipe.stages:
        with torch.device("meta"):
            registry.build(recipe.model, **dict(entry.partition("=")[::2] for entry in stage.network))
        optimise.learning_rate(stage, stage.steps - 1)


@pytest.mark.parametrize("preset", ONE_OF_EACH_KIND)
def test_the_loss_falls(preset, data, tmp_path):
    """The same crop again and again at a low constant rate: a step in the direction of the gradient has to help."""
    names = [stage.name for stage in load_recipe(preset).stages]
    steps = {f"{name}.steps": "0" for name in names} | {f"{names[-1]}.steps": "3"}
    calm = {"learning_rate": "3e-5", "warmup": "0", "schedule": "constant", "crop": "16", "turn": "false"}
    recipe = tiny(preset, steps | calm)
    torch.manual_seed(0)
    root = data / ("packed" if preset == "kestrel" else "clips")
    sample = {}
    original = ClipMixture.__getitem__

    def same(self, number):
        return sample.setdefault("one", original(self, 0))

    ClipMixture.__getitem__ = same
    try:
        trained(recipe, root, tmp_path)
    finally:
        ClipMixture.__getitem__ = original
    losses = [row["loss"] for row in rows_of(tmp_path)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


def test_edvr_goes_through_both_of_its_stages(data, tmp_path):
    """The second trains the fusion alone, the third everything; the first's weights are taken over."""
    recipe = tiny("edvr-m-reds", {"without-attention.steps": "1", "attention.steps": "1", "all.steps": "1"})
    ended = trained(recipe, data / "clips", tmp_path)
    assert [row["stage"] for row in rows_of(tmp_path)] == ["without-attention", "attention", "all"]
    assert hasattr(ended.network.fusion, "temporal_attn1")


class StoppedError(Exception):
    """A run that is cut off."""


@pytest.mark.parametrize("preset", ["kestrel", "tdan-vimeo90k-bi"])
def test_a_resumed_run_ends_with_the_same_bits(preset, data, tmp_path):
    root = data / ("packed" if preset == "kestrel" else "clips")
    names = [stage.name for stage in load_recipe(preset).stages]
    changes = {f"{name}.steps": "2" for name in names}
    whole = trained(tiny(preset, changes), root, tmp_path / "whole").network.state_dict()
    recipe = tiny(preset, changes)

    from flowzoo.training.stage_run import StageRun

    original, count = StageRun.save, [0]

    def stopping(self):
        original(self)
        count[0] += 1
        if count[0] == 3:
            raise StoppedError

    StageRun.save = stopping
    try:
        with pytest.raises(StoppedError):
            trained(recipe, root, tmp_path / "parts")
    finally:
        StageRun.save = original
    found = trained(recipe, root, tmp_path / "parts", resume=True).network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in whole.items())


def test_validation_counts_and_draws(data, tmp_path, monkeypatch):
    from flowzoo.training.super_resolution import sources

    monkeypatch.setattr(sources, "HELD_OUT", 2)
    monkeypatch.setattr(sources, "VALIDATION_OFFSET", 1)
    recipe = tiny("kestrel", {"constant.steps": "1", "falling.steps": "1", "falling.validate_every": "1"})
    ended = trained(recipe, data / "packed", tmp_path, validate=("packed-clips",))
    assert 5 < ended.ending.score < 60
    assert list((tmp_path / "pictures").glob("*packed-clips.png"))


def test_samples_follow_from_their_number(data):
    wish = Wish(5, every=False)
    first, second = (ClipMixture(ClipSettings(crop=8), data / "packed", wish, seed=3) for _ in range(2))
    for number in (0, 7, 123):
        one, two = first[number], second[number]
        assert torch.equal(one.small, two.small)
        assert torch.equal(one.large, two.large)
        assert one.small.shape == (5, 3, 8, 8)
        assert one.large.shape == (1, 3, 32, 32)
        assert one.flows.shape == (4, 2, 8, 8)
    assert not torch.equal(first[0].small, first[1].small)


@pytest.mark.parametrize(
    ("entry", "folder", "wish", "words"),
    [
        ("packed-clips", "packed", Wish(7, every=False), "wants 7 frames"),
        ("packed-clips", "packed", Wish(5, every=True), "at full size"),
        ("clips", "clips", Wish(9, every=True), "the network wants 9"),
        ("packed-clips/rest", "packed", Wish(5, every=False), "no subset"),
        ("sintel", "clips", Wish(5, every=False), "no data source"),
        ("clips:0", "clips", Wish(5, every=False), "1 to 10000"),
        ("packed-clips", "clips", Wish(5, every=False), "no packed clips"),
    ],
)
def test_clips_that_do_not_fit_are_named(entry, folder, wish, words, data):
    with pytest.raises(InputError, match=words):
        ClipMixture(ClipSettings(data=(entry,), crop=8), data / folder, wish, seed=0)[0]


def test_rendered_clips_train_without_being_packed(photographs):
    sample = ClipMixture(ClipSettings(data=("photographs",), crop=16), photographs, Wish(3, every=True), seed=0)[5]
    assert sample.small.shape == (3, 3, 16, 16)
    assert sample.large.shape == (3, 3, 64, 64)


def test_the_middle_frame_is_the_photograph_itself(photographs):
    textures = Textures(photographs, procedural=0)
    settings = RenderedSettings(objects=(0, 0), reduction=(1.0, 1.0))
    clip = render_clip(textures, 0, 4, (64, 64), settings)
    middle = (clip[2] * 255).round().byte()
    windows = [
        picture.unfold(1, 64, 1).unfold(2, 64, 1)
        for original in textures.photographs
        for picture in (original, original.flip(2))
    ]
    assert any((window == middle[:, None, None]).all(dim=(0, 3, 4)).any() for window in windows)
    assert clip.shape == (5, 3, 64, 64)


def test_motion_of_a_clip_is_smooth_and_as_told(photographs):
    settings = RenderedSettings(objects=(0, 0), motion=(3.0, 3.0), still=0.0, turn=0.0, zoom=0.0, acceleration=0.0)
    clip = render_clip(Textures(photographs, procedural=0), 0, 1, (64, 64), settings)
    best = min(
        (
            (
                clip[3]
                - warp(
                    clip[4][None],
                    torch.tensor([3 * np.cos(a), 3 * np.sin(a)]).float().view(1, 2, 1, 1).expand(1, 2, 64, 64),
                )[0]
            )[:, 8:-8, 8:-8]
            .abs()
            .mean()
            .item(),
            a,
        )
        for a in np.linspace(0, 2 * np.pi, 73)
    )
    assert best[0] < 0.01


def test_packed_clips_are_what_was_rendered(data, tmp_path):
    packed = PackedClips(data / "packed")
    small, large, flows = packed[3]
    assert small.shape == (5, 3, 16, 16)
    assert large.shape == (3, 64, 64)
    assert flows.shape == (4, 2, 16, 16)
    recipe = dataclasses.replace(packed.recipe, seed=9)
    with pytest.raises(InputError, match="another recipe"):
        pack_clips(data / "packed", None, recipe, None)
    with pytest.raises(InputError, match=r"clips\.json is missing"):
        PackedClips(tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_turning_a_clip_turns_its_flows(seed):
    """What a flow warps stays what it warps."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(3, 3, 12, 12, generator=generator)
    flows = (torch.rand(2, 2, 12, 12, generator=generator) - 0.5) * 6
    warped = warp(small[[0, 2]], flows)
    large = torch.rand(3, 48, 48, generator=generator)
    rng = np.random.default_rng(seed)
    turned_small, turned_large, turned_flows = turn_clip((small, large, flows), rng)
    again = warp(turned_small[[0, 2]], turned_flows)
    same = np.random.default_rng(seed)
    wanted, _, _ = turn_clip((torch.stack([warped[0], small[1], warped[1]]), large, flows), same)
    assert (again - wanted[[0, 2]]).abs().max() < 1e-4
    inner = crop_clip((turned_small, turned_large, turned_flows), rng, 5)
    assert inner[1].shape == (3, 20, 20)


def loss_settings(**changes):
    return dataclasses.replace(EnlargingLossSettings(), **changes)


def test_losses_by_their_formulas():
    frames, large = torch.rand(2, 1, 3, 8, 8), torch.rand(2, 1, 3, 8, 8)
    batch = FramesBatch(torch.rand(2, 3, 3, 2, 2), large)
    difference = (frames - large).numpy()
    for settings, wanted in (
        (loss_settings(loss="l1"), np.abs(difference).mean()),
        (loss_settings(loss="l2"), (difference**2).mean()),
        (loss_settings(epsilon=0.1), np.sqrt(difference**2 + 0.01).mean()),
        (loss_settings(loss="l1", reduction="sum"), np.abs(difference).sum() / 2),
    ):
        assert float(make_cost(settings, None)(VideoPrediction(frames), batch).value) == pytest.approx(wanted, rel=1e-5)
    aligned = torch.rand(2, 3, 3, 2, 2)
    cost = make_cost(loss_settings(loss="l2", aligned_weight=0.5), None)
    found = cost(VideoPrediction(frames, {"aligned": aligned}), batch).value
    part = ((aligned - batch.small[:, 1:2]) ** 2).mean()
    assert float(found) == pytest.approx((difference**2).mean() + 0.5 * float(part), rel=1e-5)


def test_the_fidelity_loss_takes_levels_frames_and_padding():
    small = torch.rand(1, 3, 3, 6, 10)
    flows = torch.stack([torch.full((1, 2, 6, 10), 3.0), torch.full((1, 2, 6, 10), -2.0)], dim=1)
    batch = FramesBatch(small, torch.rand(1, 1, 3, 24, 40), flows)
    far, near = torch.full((1, 4, 8, 12), 33.0), torch.zeros(1, 4, 4, 6)
    entries = [{"l1": far, "cascade": far}, {"l1": far * 0, "l2": near}, {"l1": far * 0 - 2}]
    prediction = VideoPrediction(batch.large, {"offsets": entries})
    settings = loss_settings(fidelity_weight=0.5, fidelity_threshold=10.0, fidelity_reduction="sum")
    cost = make_cost(settings, None)(prediction, batch)
    # Only the first frame's l1 is farther than 10 pixels: 30 at 8 x 12 places, 2 offsets, 2 components.
    assert float(cost.quantities["fidelity"]) == pytest.approx(30 * 8 * 12 * 4)
    assert float(cost.value) == pytest.approx(0.5 * 30 * 8 * 12 * 4 + 1e-6, rel=1e-5)


def test_a_cosine_that_starts_again():
    stage = Stage(
        steps=10, schedule="cosine", learning_rate=1.0, last_learning_rate=0.1, periods=(4, 6), peaks=(1.0, 0.5)
    )
    rates = [optimise.learning_rate(stage, step) for step in range(10)]
    assert rates[0] == pytest.approx(1.0)
    assert rates[2] == pytest.approx(0.1 + 0.9 / 2)
    assert rates[4] == pytest.approx(0.1 + 0.5 * 0.9)
    assert rates[7] == pytest.approx(0.1 + 0.5 * 0.9 / 2)
    with pytest.raises(InputError, match="peaks"):
        Stage(periods=(3,))


def test_parts_of_a_network_learn_at_rates_of_their_own():
    network = registry.build("basicvsr", channels=8, blocks=1)
    stage = Stage(learning_rate=2.0, rates=("spynet:0.125",))
    optimizer = optimise.make_optimizer(network, stage)
    optimise.set_learning_rate(optimizer, 2.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        assert rates[id(parameter)] == (0.25 if name.startswith("spynet") else 2.0), name
    with pytest.raises(InputError, match="TEXT:FACTOR"):
        Stage(rates=("spynet",))


def test_kestrel_starts_with_the_flow_network_that_ships(data, tmp_path):
    import flowzoo

    recipe = tiny("kestrel", {"constant.steps": "1", "falling.steps": "0"})
    ended = trained(recipe, data / "packed", tmp_path)
    wanted = flowzoo.create("wren", "wren").state_dict()
    assert all(torch.equal(value, ended.network.flow.state_dict()[name]) for name, value in wanted.items())


TWO_RANKS = """
task = "super-resolution"
model = "edvr-m"
[network]
channels = 16
groups = 2
extract_blocks = 1
reconstruct_blocks = 1
frames = 3
[all]
data = ["clips"]
crop = 12
batch = 2
learning_rate = 1e-3
fidelity_weight = 0.1
fidelity_threshold = 0.5
log_every = 1
[[stage]]
name = "all"
steps = 3
"""


def test_two_ranks_learn_what_one_learns(data, tmp_path):
    """With the offset-fidelity loss, whose flow network stands in both."""
    preset = tmp_path / "two.toml"
    preset.write_text(TWO_RANKS)
    words = ["train", str(preset), "--root", str(data / "clips"), "--workers", "0", "--device", "cpu", "-o"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    one = trained(load_recipe(str(preset)), data / "clips", tmp_path / "one")
    command = [*launcher, "-m", "flowzoo", *words, str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    two = load_file(tmp_path / "two" / "edvr-m.safetensors")
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)  # of steps of 1e-3 each
    assert rows_of(tmp_path / "one")[0]["fidelity"] > 0
