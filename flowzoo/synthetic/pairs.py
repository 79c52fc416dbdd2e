"""`SyntheticPairs`: rendered training pairs by number."""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from flowzoo.augmentation.sample import TrainingSample
from flowzoo.errors import InputError
from flowzoo.synthetic.drawing import draw_scene
from flowzoo.synthetic.effects import air_of, finish
from flowzoo.synthetic.layers import Picture, build, outline, stack
from flowzoo.synthetic.render import RenderedPairs, composite
from flowzoo.synthetic.scene import LayerPlan, MotionPlan, Scene
from flowzoo.synthetic.settings import SceneSettings
from flowzoo.synthetic.textures import Cutouts, Folder, Textures
from flowzoo.synthetic.transfer import moved_together

SMALLEST_SIDE = 16


class SyntheticPairs(Dataset[TrainingSample]):
    """Synthetic pairs with exact flow, rendered on demand. Pair `index` depends on `seed` and `index` alone.

    Args:
        textures: a folder of photographs, a `Textures`, or None for procedural textures only.
        cutouts: a folder of RGBA cut-outs, a `Cutouts`, or None.
        size: height and width of the frames, pixels.
        settings: what scenes are made of.
        seed: of all scenes.
        device: where pairs are rendered and returned. On the CPU one by one (the result does not depend on the
            batch); on CUDA all pairs of a batch at once.
        count: `len()` of the data set; any index >= 0 can be rendered.
        both_directions: training samples have the flow from the second frame to the first, too (`reverse`).

    Raises:
        InputError: unusable folders or sizes.
    """

    def __init__(
        self,
        textures: Folder | Textures | None,
        cutouts: Folder | Cutouts | None = None,
        size: tuple[int, int] = (288, 384),
        settings: SceneSettings | None = None,
        seed: int = 0,
        *,
        device: torch.device | str = "cpu",
        count: int = 1_000_000,
        both_directions: bool = False,
    ) -> None:
        if min(size) < SMALLEST_SIDE or max(size) > 8192:
            raise InputError(f"cannot render pairs of {size[1]}x{size[0]}: give sides from {SMALLEST_SIDE} to 8192")
        if seed < 0 or count < 1:
            raise InputError(f"seed must be at least 0 and count at least 1, not {seed} and {count}")
        self.device = torch.device(device)
        self.textures = (textures if isinstance(textures, Textures) else Textures(textures)).to(self.device)
        if cutouts is not None:
            cutouts = (cutouts if isinstance(cutouts, Cutouts) else Cutouts(cutouts)).to(self.device)
        self.cutouts = cutouts
        self.size, self.seed, self.count, self.both_directions = size, seed, count, both_directions
        self.settings = settings or SceneSettings()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> TrainingSample:
        """Pair `index` for training, frames uint8."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.samples([self.scene(index)])[0]

    def samples(self, scenes: Sequence[Scene]) -> list[TrainingSample]:
        """Drawn scenes for training, frames uint8; rendered as one batch where `device` is no CPU."""
        pairs = self.render_scenes(scenes, as_bytes=True)
        reverses: list[Tensor | None] = [None] * len(pairs)
        if self.both_directions:
            reverses = list(torch.cat([pairs.backward_flow, pairs.backward_valid[:, None].float()], dim=1))
        parts = zip(pairs.first, pairs.second, pairs.flow, pairs.valid, reverses, strict=True)
        return [TrainingSample(first, second, flow, valid, reverse=back) for first, second, flow, valid, back in parts]

    def batches(self, batch: int, start: int = 0) -> Iterator[RenderedPairs]:
        """Batches of consecutive pairs from `start`, without end."""
        while True:
            yield self.render(range(start, start + batch))
            start += batch

    def render(self, indices: Sequence[int], *, as_bytes: bool = False) -> RenderedPairs:
        """The pairs with these numbers; frames float32 in 0..1, or uint8 with `as_bytes`."""
        return self.render_scenes([self.scene(index) for index in indices], as_bytes=as_bytes)

    @torch.no_grad()
    def render_scenes(self, scenes: Sequence[Scene], *, as_bytes: bool = False) -> RenderedPairs:
        """The same for scenes that have been drawn already, perhaps by another process."""
        groups = [list(scenes)] if self.device.type != "cpu" else [[scene] for scene in scenes]
        parts = [self._render(group, as_bytes) for group in groups]
        if len(parts) == 1:
            return parts[0]
        return RenderedPairs(*(torch.cat(column) for column in zip(*map(_tensors, parts), strict=True)))

    def scene(self, index: int) -> Scene:
        """What pair `index` will show."""
        return draw_scene(self.seed, index, self.size, self.settings, cutouts=self.cutouts is not None)

    def _render(self, scenes: list[Scene], as_bytes: bool) -> RenderedPairs:
        whole = len(scenes) > 1
        outlines = moved_together([[outline(plan) for plan in scene.layers] for scene in scenes], self.device)
        layers = []
        for number in range(max(len(scene.layers) for scene in scenes)):
            pictures = [
                build(scene.layers[number], self.textures, self.cutouts, drawn[number])
                if number < len(scene.layers)
                else self._nothing()
                for scene, drawn in zip(scenes, outlines, strict=True)
            ]
            layers.append(stack(pictures, self.size, whole=whole))
        swapped = [scene.swap for scene in scenes]
        given = layers, [air_of(scene, self.size) for scene in scenes], torch.tensor(swapped)
        layers, airs, choice = moved_together(given, self.device)
        pairs = composite(layers, self.size)
        parts = zip(pairs.first, pairs.second, scenes, airs, strict=True)
        finished = [finish(*part) for part in parts]
        pairs.first = _stacked([pair[0] for pair in finished], as_bytes)
        pairs.second = _stacked([pair[1] for pair in finished], as_bytes)
        if all(swapped):
            return pairs.reversed()
        if any(swapped):
            choice = choice > 0
            return RenderedPairs(*(
                torch.where(choice.view(-1, *[1] * (here.ndim - 1)), there, here)
                for here, there in zip(_tensors(pairs), _tensors(pairs.reversed()), strict=True)
            ))  # fmt: skip
        return pairs

    def _nothing(self) -> Picture:
        """An empty layer, for scenes of a batch that have fewer layers than others."""
        place = np.array(((1.0, 0, 0), (0, 1.0, 0)))
        plan = LayerPlan("none", 0.0, False, (0.0, 0.0), (1.0, 1.0), place, MotionPlan())
        empty, black = torch.zeros((5, 2, 2), device=self.device), torch.zeros(3, device=self.device)
        return Picture(empty, place, np.zeros((5, 3)), black, plan)


def on_device(sources: Sequence[SyntheticPairs], device: torch.device) -> list[SyntheticPairs]:
    """The same pairs, rendered on `device`, whose memory holds pictures that sources share once."""
    moved = cache(lambda pictures: pictures.to(device))
    return [
        SyntheticPairs(
            moved(source.textures), source.cutouts and moved(source.cutouts), source.size, source.settings, source.seed,
            device=device, count=source.count, both_directions=source.both_directions,
        )
        for source in sources
    ]  # fmt: skip


def _tensors(pairs: RenderedPairs) -> list[Tensor]:
    return list(vars(pairs).values())


def _stacked(frames: list[Tensor], as_bytes: bool) -> Tensor:
    batch = frames[0][None] if len(frames) == 1 else torch.stack(frames)
    return batch.mul(255).add_(0.5).to(torch.uint8) if as_bytes else batch
