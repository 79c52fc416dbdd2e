"""Pairs rendered on the training device are those that the loader's processes render."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from training_runs import CPU, trained

from flowzoo.distributed import Ranks
from flowzoo.errors import InputError
from flowzoo.synthetic import SyntheticPairs
from flowzoo.training import state
from flowzoo.training.flow.mixture import Mixture
from flowzoo.training.flow.rendering import DeviceRenderer, Drawing, Drawings, renders_on_device
from flowzoo.training.flow.settings import FlowSettings, PairSettings
from flowzoo.training.flow.task import FlowTask
from flowzoo.training.loader import batches
from flowzoo.training.recipe import Recipe, load_recipe
from flowzoo.training.stage import Stage
from flowzoo.training.task import Place


def pairs(**values: object) -> PairSettings:
    return PairSettings(**{"data": ("scenes",), "crop": (64, 96), "augmentation": "synthetic"} | values)


def loaded(
    photographs: Path,
    workers: int = 0,
    ranks: Ranks | None = None,
    first: int = 0,
    batch: int = 4,
    device: torch.device = CPU,
    **values: object,
) -> list[list]:
    """Every tensor of every batch."""
    stage = Stage(steps=2, batch=batch, task=FlowSettings(pairs(**values)))
    data = FlowTask(Recipe("", "", "wren", 0, (), (stage,)), Place(photographs)).data(stage, 5, device)
    found = batches(data, first, stage, ranks or Ranks(), workers)
    return [[part for part in vars(batch).values() if part is not None] for batch in found]


def same(one: list[list], other: list[list]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("augmentation", ["synthetic", "flownet2", "none"])
def test_the_device_renders_what_the_loader_renders(photographs: Path, augmentation: str) -> None:
    there = loaded(photographs, rendering="loader", augmentation=augmentation)
    here = loaded(photographs, rendering="device", augmentation=augmentation)
    assert same(there, here)
    assert not torch.equal(here[0][0], here[1][0])  # the two steps differ


def test_who_draws_the_scenes_does_not_matter(photographs: Path) -> None:
    alone = loaded(photographs, rendering="device")
    assert same(alone, loaded(photographs, workers=1, rendering="device"))
    assert same(alone[1:], loaded(photographs, first=1, rendering="device"))
    halves = [loaded(photographs, ranks=Ranks(rank, 2), rendering="device") for rank in range(2)]
    joined = [[torch.cat(pair) for pair in zip(*parts, strict=True)] for parts in zip(*halves, strict=True)]
    assert same(alone, joined)


def test_processes_hand_over_drawings_and_ready_samples(photographs: Path) -> None:
    """Scenes and packed pairs in one batch: only the scenes are still to be rendered, and the order stays."""
    from flowzoo.synthetic.packed import Manifest, write_manifest, write_shard

    packed = photographs / "synthetic"
    packed.mkdir(exist_ok=True)
    source = SyntheticPairs(None, size=(96, 128), count=2)
    write_manifest(packed, Manifest(2, (96, 128), 0, False, {}))
    write_shard(packed, 0, [source.render(range(2), as_bytes=True)], backward=False)
    mixed = {"data": ("scenes:2", "synthetic")}
    mixture = Mixture(pairs(**mixed), photographs, seed=5)
    kinds = [isinstance(Drawings(mixture)[number], Drawing) for number in range(6)]
    assert kinds == [True, True, False, True, True, False]
    there, here = (loaded(photographs, rendering=how, batch=6, **mixed) for how in ("loader", "device"))
    assert same(there, here)


def test_a_whole_batch_at_once_is_the_same_to_rounding(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a GPU, on the CPU: all scenes of a batch composited together, then augmented."""
    there = loaded(photographs, rendering="loader")
    render = SyntheticPairs._render
    monkeypatch.setattr(SyntheticPairs, "render_scenes", lambda self, scenes, as_bytes: render(self, scenes, as_bytes))
    here = loaded(photographs, rendering="device")
    for one, other in zip(there, here, strict=True):
        first, second, flow, valid = ((a.float() - b.float()).abs() for a, b in zip(one, other, strict=True))
        assert float(first.mean()) < 2e-4
        assert float(second.mean()) < 2e-4
        assert float(flow.quantile(0.99)) < 5e-3
        assert float(valid.mean()) < 1e-3


def test_sources_share_their_pictures_on_every_device(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "photographs").symlink_to(photographs)
    (tmp_path / "cutouts").mkdir()
    Image.new("RGBA", (40, 30), (200, 100, 50, 255)).save(tmp_path / "cutouts" / "card.png")
    mixture = Mixture(pairs(data=("scenes", "scenes/fast:2", "scenes/solids")), tmp_path, seed=5)
    for name in ("meta", "cpu"):
        there = DeviceRenderer(mixture, torch.device(name)).sources.values()
        assert len(there) == 3
        assert len({id(source.textures) for source in there}) == 1
        assert len({id(source.cutouts) for source in there}) == 1
        for source in there:
            pictures = source.textures.photographs + source.cutouts.images + [source.textures.procedural[0]]
            assert {picture.device.type for picture in pictures} == {name}
    kept = DeviceRenderer(mixture, CPU)
    assert kept.sources[0].textures is mixture.sources[0].textures
    assert kept.sources[0].cutouts is mixture.sources[0].cutouts


def test_a_device_renders_when_it_is_asked_to(photographs: Path) -> None:
    mixture = Mixture(pairs(), photographs, seed=5)
    assert not renders_on_device(mixture, pairs())
    assert renders_on_device(mixture, pairs(rendering="device"))
    with pytest.raises(InputError, match="rendering"):
        load_recipe("default", {"rendering": "gpu"})


def test_a_run_that_renders_resumes_exactly(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = FlowSettings(pairs(rendering="device", crop=(64, 64)))
    small = Stage(batch=2, steps=3, save_every=1, log_every=1, task=chosen)
    recipe = Recipe("scenes", "", "wren", 0, (), (small,))

    def run(output: Path, *, resume: bool = False) -> dict:
        return trained(recipe, photographs, output, resume=resume).network.state_dict()

    whole = run(tmp_path / "whole")
    save = state.save_state

    def dying(folder: Path, of: Recipe, step: int, content: dict) -> Path:
        path = save(folder, of, step, content)
        if step == 2:
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(state, "save_state", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    monkeypatch.undo()
    resumed = run(tmp_path / "cut", resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    losses = [[json.loads(line)["loss"] for line in log] for log in logs]
    assert losses[0] == losses[1]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("augmentation", ["synthetic", "flownet2"])
def test_a_gpu_renders_what_the_loader_renders(photographs: Path, augmentation: str) -> None:
    there = loaded(photographs, rendering="loader", augmentation=augmentation)
    here = loaded(photographs, device=torch.device("cuda", 0), rendering="device", augmentation=augmentation)
    for one, other in zip(there, here, strict=True):
        first, second, flow, valid = ((a.float() - b.cpu().float()).abs() for a, b in zip(one, other, strict=True))
        assert float(first.mean()) < 5e-3
        assert float(second.mean()) < 5e-3
        assert float(flow.quantile(0.99)) < 5e-3
        assert float(valid.mean()) < 5e-3


def test_repeats_take_a_pair_several_times_and_change_it_anew(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way of the loader and on that of a device; a worker reads the pair once."""
    plain = Mixture(pairs(), photographs, seed=5)
    mixture = Mixture(pairs(repeats=3), photographs, seed=5)
    assert [mixture.place(number) for number in range(9)] == [plain.place(number // 3) for number in range(9)]
    read: list[int] = []
    scene = SyntheticPairs.scene
    monkeypatch.setattr(SyntheticPairs, "scene", lambda self, index: (read.append(index), scene(self, index))[1])
    samples = [mixture[number] for number in range(6)]
    assert read == [plain.place(0)[1], plain.place(1)[1]]
    assert torch.equal(samples[0].first, plain[0].first)
    assert not torch.equal(samples[0].first, samples[1].first)
    assert torch.equal(mixture[0].first, samples[0].first)  # augmenting it left the pair as it was
    there, here = (loaded(photographs, repeats=3, rendering=how) for how in ("loader", "device"))
    assert same(there, here)
    with pytest.raises(InputError, match="'repeats' must be 1 to 1000, not 0"):
        pairs(repeats=0)
