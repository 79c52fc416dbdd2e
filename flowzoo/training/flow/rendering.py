"""Pairs that are rendered on the training device: other processes draw scenes, this one renders a batch at once.

A scene is a few kilobytes of numbers; nothing else passes between the processes. Scene and augmentation follow from the
run's seed and the sample's number, as everywhere, so it does not matter who draws it.
"""

from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from flowzoo.augmentation import TrainingBatch, TrainingSample, collate
from flowzoo.synthetic import SyntheticPairs
from flowzoo.synthetic.pairs import on_device
from flowzoo.synthetic.scene import Scene
from flowzoo.training.flow.mixture import Mixture
from flowzoo.training.flow.settings import PairSettings


@dataclass
class Drawing:
    """Sample `number` of a run before it is rendered: a scene of the mixture's source `source`, its pair `index`."""

    number: int
    source: int
    index: int
    scene: Scene


class Drawings(Dataset[Drawing | TrainingSample]):
    """The samples of a mixture by number, of which those to be rendered are only drawn."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture, self.rendered = mixture, rendered_sources(mixture)

    def __getitem__(self, number: int) -> Drawing | TrainingSample:
        source, index = self.mixture.place(number)
        if source in self.rendered:
            return Drawing(number, source, index, self.rendered[source].scene(index))
        return self.mixture[number]


class DeviceRenderer:
    """Batches of `Drawings`, rendered and augmented on `device`, where the textures are kept."""

    def __init__(self, mixture: Mixture, device: torch.device) -> None:
        self.augmentation, self.device = mixture.augmentation, device
        sources = rendered_sources(mixture)
        self.sources = dict(zip(sources, on_device([*sources.values()], device), strict=True))

    def __call__(self, batch: list[Drawing | TrainingSample]) -> TrainingBatch:
        """The batch, in its order; on the CPU the same bits as from `mixture`."""
        rendered: dict[int, TrainingSample] = {}
        for source, pairs in self.sources.items():
            drawings = [part for part in batch if isinstance(part, Drawing) and part.source == source]
            scenes = {drawing.index: drawing.scene for drawing in drawings}
            if scenes:
                samples = dict(zip(scenes, pairs.samples(list(scenes.values())), strict=True))
                for drawing in drawings:
                    rendered[drawing.number] = self.augmentation(samples[drawing.index], source, drawing.number)
        return collate([
            rendered[part.number] if isinstance(part, Drawing) else part.to(self.device) for part in batch
        ])  # fmt: skip


def rendered_sources(mixture: Mixture) -> dict[int, SyntheticPairs]:
    """The sources of a mixture that are rendered, by their place in it."""
    return {number: pairs for number, pairs in enumerate(mixture.sources) if isinstance(pairs, SyntheticPairs)}


def renders_on_device(mixture: Mixture, pairs: PairSettings) -> bool:
    """Whether rendered pairs are made by the training process, on its device."""
    return pairs.rendering == "device" and len(rendered_sources(mixture)) > 0
