"""Networks and losses never make the host wait for a GPU: nothing is copied to the device, nothing on it is looked at.

A device without numbers ("meta") stands for the GPU: looking at a number there is an error, and what is made of the
host's numbers is seen.
"""

import functools
import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

import flowzoo
from flowzoo import devices, registry
from flowzoo.augmentation import Augmentation, TrainingSample
from flowzoo.augmentation.planned import PlannedBatch, PlannedSample, augmented_batch, planned
from flowzoo.losses.density import truth_at
from flowzoo.losses.max_pooling import mean_of_hardest
from flowzoo.synthetic import SceneSettings, SyntheticPairs, Textures
from flowzoo.synthetic.settings import SCENES
from flowzoo.training.flow.mixture import AUGMENTATIONS
from flowzoo.training.flow.objective import end_point_error, make_loss
from flowzoo.training.flow.task import settings_of
from flowzoo.training.recipe import load_recipe

PACKAGE = str(Path(flowzoo.__file__).parent)
MAKERS = {torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.from_numpy, torch.Tensor.new_tensor}
FRAMES = {"edvr-m": 5, "tdan": 5}


class Watch(TorchFunctionMode):
    """Writes down where tensors on the device come from numbers or tensors of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [leaf.device.type for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        given = [leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if "meta" in made and (func in MAKERS or "cpu" in given):
            lines = [line for line in traceback.extract_stack() if line.filename.startswith(PACKAGE)]
            self.found.append(f"{lines[-1].filename}:{lines[-1].lineno}" if lines else str(func))
        return result


@pytest.fixture
def _autocast_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast knows no device "meta"."""
    importlib.import_module("torch._dynamo")  # which takes down what torch's functions are when it is first imported

    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *rest: Any, **options: Any) -> None:
            super().__init__("cpu" if device_type == "meta" else device_type, *rest, **options)

    enabled = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "autocast", Autocast)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind="cpu": enabled("cpu" if kind == "meta" else kind))


@pytest.mark.usefixtures("_autocast_on_meta")
@pytest.mark.parametrize("name", [*flowzoo.list_models(task="flow"), "edvr-m", "basicvsr", "flavr", "tdan"])
def test_networks(name: str) -> None:
    network = flowzoo.create(name).to("meta")
    image = torch.empty(1, 3, 128, 192, device="meta")
    inputs: tuple[torch.Tensor, ...] = (image, image)
    if registry.card(name).task != "flow":
        inputs = (torch.empty(1, FRAMES.get(name, 4), 3, 64, 64, device="meta"),)
    watch = Watch()
    with torch.no_grad(), watch:
        network(*inputs)
    assert watch.found == []


@pytest.mark.usefixtures("_autocast_on_meta")
def test_training_with_global_matching() -> None:
    network = flowzoo.create("wren", matching="attention", both_directions=True).to("meta").train()
    stage = load_recipe("wren-attention").stages[-1]
    loss = make_loss(settings_of(stage).loss)
    image, flow = torch.empty(1, 3, 128, 192, device="meta"), torch.empty(1, 2, 128, 192, device="meta")
    known = torch.empty(1, 128, 192, dtype=torch.bool, device="meta")
    watch = Watch()
    with watch:
        prediction = network(image, image)
        loss(prediction, flow, known, None, image).backward()
        end_point_error(prediction.flow, flow, known)
    assert watch.found == []


def test_augmentation_of_a_batch() -> None:
    augmentation = Augmentation(AUGMENTATIONS["rendered"](), (64, 96), 0)
    flow, known = torch.zeros(2, 80, 120), torch.ones(80, 120, dtype=torch.bool)
    frame = torch.zeros(3, 80, 120, dtype=torch.uint8)
    pair = TrainingSample(frame, frame, flow, known, reverse=torch.zeros(3, 80, 120))
    batch = planned([PlannedSample(pair, augmentation.plan(pair, 0, number)) for number in range(4)])
    assert isinstance(batch, PlannedBatch)
    there = batch.to("meta")
    augmented_batch(there)  # the pool of noise is copied once
    watch = Watch()
    with watch:
        augmented_batch(there)
    assert watch.found == []


@functools.cache
def _textures() -> Textures:
    return Textures(None, procedural=4)


@pytest.mark.parametrize("name", [*SCENES, "dynamic"])
def test_rendering_of_a_batch(name: str, tmp_path: Path) -> None:
    """Outlines are one copy to the device and all tables another, through `devices.moved`, which pins them."""
    settings = SceneSettings.dynamic() if name == "dynamic" else SCENES[name]()
    Image.new("RGBA", (40, 30), (200, 100, 50, 128)).save(tmp_path / "cutout.png")
    pairs = SyntheticPairs(_textures(), tmp_path, (64, 96), settings, seed=7, device="meta", both_directions=True)
    pairs.render(range(3))  # textures, and the pool of noise, are copied once
    watch = Watch()
    with watch:
        pairs.samples([pairs.scene(index) for index in range(3)])
    assert len(watch.found) == 2
    assert all("devices.py" in line for line in watch.found)


VALUES, VALID = torch.empty(2, 7, 9, device="meta"), torch.empty(2, 1, 7, 9, device="meta", dtype=torch.bool)
LOSSES: dict[str, Callable[[], object]] = {
    "max-pooling": lambda: mean_of_hardest(VALUES, 0.3, VALID[:, 0]),
    "density": lambda: truth_at(torch.empty(2, 2, 7, 9, device="meta"), VALID, (3, 4)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    watch = Watch()
    with watch:
        LOSSES[name]()
    assert watch.found == []


def test_what_would_make_it_wait_is_seen() -> None:
    device = torch.empty(3, device="meta")
    watch = Watch()
    with watch:
        device * torch.tensor([1.0, 2.0, 3.0], device="meta")
        device + torch.ones(3).to("meta")
        device.new_tensor([1.0, 2.0, 3.0])
    assert len(watch.found) == 3
    with pytest.raises((RuntimeError, NotImplementedError)), watch:
        bool(device.sum() > 0)


def test_batches_go_to_the_device_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: (calls.append("pinned"), tensor)[1])
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **how: calls.append((where, how)))
    devices.moved(torch.ones(2), "cuda")
    assert calls == ["pinned", ((torch.device("cuda"),), {"non_blocking": True})]
