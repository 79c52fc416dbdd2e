"""Clips of a training stage: several sources in stated shares; sample n is the same whoever asks for it."""

import bisect
import functools
import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from flowzoo.augmentation.batch import Tensors
from flowzoo.augmentation.clips import crop_clip, turn_clip
from flowzoo.blocks.bicubic import resize_bicubic
from flowzoo.datasets.degradations import degrade, to_8bit
from flowzoo.datasets.scaled.catalogue import list_scaled_datasets, scaled_dataset_class
from flowzoo.datasets.scaled.scaled_dataset import SCALE, ScaledClip, ScaledDataset
from flowzoo.errors import InputError
from flowzoo.settings import convert, shown, suggestion
from flowzoo.synthetic.clips import ClipSettings as RenderedSettings
from flowzoo.synthetic.clips import render_clip
from flowzoo.synthetic.packed_clips import PackedClips
from flowzoo.synthetic.textures import Textures
from flowzoo.training.super_resolution.settings import ClipSettings

PACKED, RENDERED = "packed-clips", "photographs"
HELD_OUT = 50
"""Of packed clips, every so many is for validation."""
VALIDATION_OFFSET = HELD_OUT - 1
log = logging.getLogger(__name__)


@dataclass
class FramesBatch(Tensors):
    """small (B,T,3,h,w) and large (B,T',3,H,W), RGB in 0..1; flows (B,T-1,2,h,w) of the small frames, or None.

    Large are all frames, or the middle one alone where the network enlarges only that. Flows are from the middle small
    frame to each other one, pixels, in their order.
    """

    small: Tensor
    large: Tensor
    flows: Tensor | None = None


@dataclass(frozen=True)
class Wish:
    """What the network wants of a clip.

    Attributes:
        frames: how many.
        every: large frames of all of them, or of the middle one alone.
        enlarged: small frames are enlarged to full size before they go in.
    """

    frames: int
    every: bool
    enlarged: bool = False


class Source(Protocol):
    """Clips by number. `read` gives small, large (both (T,3,H,W), or large of the middle frame (3,H,W)) and flows."""

    def __len__(self) -> int: ...

    def read(self, index: int, rng: np.random.Generator, wish: Wish, crop: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Clip `index`; a source may cut it to `crop` pixels already where that saves reading."""
        ...


class PackedSource:
    """Clips of a packed folder. subset "train" leaves out every fiftieth, "val" is these."""

    def __init__(self, root: Path, subset: str) -> None:
        self.packed = PackedClips(root)
        numbers = range(len(self.packed))
        held = [number for number in numbers if number % HELD_OUT == VALIDATION_OFFSET]
        kept = sorted(set(numbers) - set(held))
        self.numbers = held if subset == "val" else kept if subset == "train" else list(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, index: int, rng: np.random.Generator, wish: Wish, crop: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `Source`."""
        small, large, flows = self.packed[self.numbers[index]]
        count = len(small)
        if wish.every or wish.frames > count or (count - wish.frames) % 2:
            raise InputError(
                f"packed clips have {count} small frames and the large middle one: they cannot train a network that "
                f"wants {wish.frames} frames" + (" at full size" if wish.every else "")
            )
        cut = (count - wish.frames) // 2
        return small[cut : count - cut], large, flows[cut : len(flows) - cut]


class RenderedSource:
    """Clips rendered from photographs while training: without end, but told as a number."""

    def __init__(self, root: Path, seed: int) -> None:
        self.textures, self.seed = Textures(root, procedural=0), seed

    def __len__(self) -> int:
        return 1_000_000

    def read(self, index: int, rng: np.random.Generator, wish: Wish, crop: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `Source`."""
        side = SCALE * (crop or 64)
        frames = wish.frames + 1 - wish.frames % 2
        clip = render_clip(self.textures, self.seed, index, (side, side), RenderedSettings(frames=frames))[
            : wish.frames
        ]
        clip = to_8bit(clip).float() / 255
        return degrade(clip, "bicubic", SCALE), clip if wish.every else clip[len(clip) // 2], None


class DatasetSource:
    """Windows of the clips of a data set."""

    def __init__(self, dataset: ScaledDataset) -> None:
        self.dataset = dataset
        self.ends = list(itertools.accumulate(len(clip.large) for clip in dataset.clips))

    def __len__(self) -> int:
        return sum(len(clip.large) for clip in self.dataset.clips)

    def _place(self, index: int) -> tuple[ScaledClip, int]:
        """Clip and frame of the data set's `index`-th frame."""
        number = bisect.bisect_right(self.ends, index)
        clip = self.dataset.clips[number]
        return clip, index - (self.ends[number] - len(clip.large))

    def read(self, index: int, rng: np.random.Generator, wish: Wish, crop: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `Source`; the window is moved so that it lies within its clip."""
        clip, index = self._place(index)
        count = len(clip.large)
        if wish.frames > count:
            raise InputError(
                f"clip {clip.name} of {self.dataset.title} has {count} frames, the network wants {wish.frames}"
            )
        first = min(max(index - wish.frames // 2, 0), count - wish.frames)
        numbers = range(first, first + wish.frames)
        small = torch.stack([_values(self.dataset.small(clip, number)) for number in numbers])
        wanted = numbers if wish.every else [numbers[wish.frames // 2]]
        large = torch.stack([_values(self.dataset.large(clip, number)) for number in wanted])
        return small, large if wish.every else large[0], None


def open_source(entry: str, root: Path | None, settings: ClipSettings, seed: int) -> Source:
    """A source by name.

    Raises:
        InputError: there is no such source, or it is not there.
    """
    name, _, subset = entry.partition("/")
    if root is None:
        raise InputError("give --root: the folder of packed clips, of photographs, or of the data sets")
    if name == PACKED:
        if subset not in ("", "train", "val"):
            raise InputError(f"{PACKED} has no subset {shown(subset)}: known are train, val")
        return PackedSource(root, subset)
    if name == RENDERED:
        return RenderedSource(root, seed)
    if name not in list_scaled_datasets():
        known = suggestion(name, [*list_scaled_datasets(), PACKED, RENDERED])
        raise InputError(f"there is no data source {shown(name)}: {known}")
    kind = scaled_dataset_class(name)
    folder = next((path for path in (root / kind.title, root / name) if path.is_dir()), root)
    dataset = kind(folder, subset or None, degradation=settings.degradation)
    for note in dataset.notes:
        log.info("%s: %s", name, note)
    return DatasetSource(dataset)


class ClipMixture:
    """Samples by number, without end.

    Each source is walked through in a random order that changes with every round. With shares a:b, a of every a+b
    consecutive samples come from the first source.

    Raises:
        InputError: an unknown source, one without clips, or a share that is no whole number.
    """

    def __init__(self, settings: ClipSettings, root: Path | None, wish: Wish, seed: int) -> None:
        self.settings, self.wish, self.seed = settings, wish, seed
        self.sources: list[Source] = []
        self.turns: list[tuple[int, int]] = []
        self.shares: list[int] = []
        for number, entry in enumerate(settings.data):
            name, _, share = entry.partition(":")
            parts = convert(share or "1", int, f"the share of {shown(name)}")
            if not 1 <= parts <= 10000:
                raise InputError(f"the share of {shown(name)} must be 1 to 10000, not {shown(parts)}")
            self.sources.append(open_source(name, root, settings, seed))
            if len(self.sources[-1]) == 0:
                raise InputError(f"the data source {name!r} in {root} has no clips")
            self.shares.append(parts)
            self.turns += [(number, turn) for turn in range(parts)]
        self.order = functools.lru_cache(maxsize=4)(self._order)

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "order"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.order = functools.lru_cache(maxsize=4)(self._order)

    def __getitem__(self, number: int) -> FramesBatch:
        """Sample `number` (from 0)."""
        cycle, place = divmod(number, len(self.turns))
        source, turn = self.turns[place]
        tour, position = divmod(cycle * self.shares[source] + turn, len(self.sources[source]))
        rng = np.random.default_rng((self.seed, 1, number))
        index = int(self.order(source, tour)[position])
        return self._finished(self.sources[source].read(index, rng, self.wish, self.settings.crop), rng)

    def _order(self, source: int, tour: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, source, tour)).permutation(len(self.sources[source]))

    def _finished(self, clip: tuple[Tensor, Tensor, Tensor | None], rng: np.random.Generator) -> FramesBatch:
        small, large, flows = clip
        height, width = small.shape[-2:]
        motion = small.new_zeros(0, 2, height, width) if flows is None else flows
        if self.settings.crop and (height, width) != (self.settings.crop, self.settings.crop):
            small, large, motion = crop_clip((small, large, motion), rng, self.settings.crop, SCALE)
        if self.settings.turn:
            small, large, motion = turn_clip((small, large, motion), rng)
        if self.settings.mirror:
            small, large = torch.cat([small, small.flip(0)]), torch.cat([large, large.flip(0)])
        if self.wish.enlarged:
            small = to_8bit(resize_bicubic(small, SCALE)).float() / 255
        large = large if large.dim() == 4 else large.unsqueeze(0)
        return FramesBatch(small.contiguous(), large.contiguous(), None if flows is None else motion.contiguous())


def _values(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float() / 255
