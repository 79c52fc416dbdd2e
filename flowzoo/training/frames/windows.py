"""Windows of frames by number: sample n is the same whoever asks for it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowzoo.augmentation.batch import Tensors
from flowzoo.datasets.clips.catalogue import list_clip_datasets, open_clips
from flowzoo.datasets.clips.clip_dataset import Clip, ClipDataset
from flowzoo.errors import InputError, counted
from flowzoo.settings import convert, suggestion
from flowzoo.training.frames.settings import ClipSettings

log = logging.getLogger(__name__)


@dataclass
class FrameBatch(Tensors):
    """Frames in [0,1]: `inputs` (B,T,3,H,W) go in, `targets` (B,N,3,H,W) should come out."""

    inputs: Tensor
    targets: Tensor


class Windows(torch.utils.data.Dataset[FrameBatch]):
    """Samples without end: a source by its share, a clip at random, a start at random, as the papers draw them.

    Raises:
        InputError: an unknown data set, one that is not there, or clips that are all shorter than a window.
    """

    def __init__(self, settings: ClipSettings, root: Path | None, seed: int) -> None:
        if root is None:
            raise InputError("give the folder of the training data with --root")
        self.settings, self.seed = settings, seed
        self.length = (settings.window - 1) * settings.stride + 1
        self.sources: list[list[Clip]] = []
        self.turns: list[int] = []
        for number, entry in enumerate(settings.data):
            name, _, share = entry.partition(":")
            dataset = open_source(name, root)
            for note in dataset.notes:
                log.info("%s: %s", name, note)
            long_enough = [clip for clip in dataset.clips if clip.length >= self.length]
            if not long_enough:
                raise InputError(f"{name} in {root} has no clip of {self.length} frames, which a window takes")
            if (short := len(dataset.clips) - len(long_enough)) > 0:
                log.info("%s: left out: %s fewer than %d frames", name, counted(short, "clip", "have"), self.length)
            self.sources.append(long_enough)
            self.turns += [number] * max(1, convert(share or "1", int, f"the share of {name!r}"))

    def __getitem__(self, number: int) -> FrameBatch:
        """Sample `number`; a batch of one without its first axis."""
        rng = np.random.default_rng((self.seed, number))
        clips = self.sources[self.turns[number % len(self.turns)]]
        clip = clips[int(rng.integers(len(clips)))]
        first = int(rng.integers(clip.length - self.length + 1))
        settings = self.settings
        places = sorted({*settings.inputs, *settings.targets})
        frames = {place: clip.frames(first + place * settings.stride) for place in places}
        ready = augmented(prepared(frames, settings, rng, clip.name), settings, rng)
        if "t" in settings.flips and rng.random() < 0.5:
            last = settings.window - 1
            ready = {place: ready[last - place] for place in places if last - place in ready}
            if len(ready) < len(places):
                raise InputError("flips over time need inputs and targets that are symmetric in the window")
        return FrameBatch(
            *(torch.stack([ready[place] for place in part]) for part in (settings.inputs, settings.targets))
        )


def open_source(name: str, root: Path) -> ClipDataset:
    """The data set "NAME" or "NAME/SUBSET" in `root`, or in the folder of its name there; what is there of it.

    Raises:
        InputError: an unknown name, or nothing there.
    """
    base, _, subset = name.partition("/")
    if base not in list_clip_datasets():
        raise InputError(f"no data set of clips named {base!r}: {suggestion(base, list_clip_datasets())}")
    folder = root / base if (root / base).is_dir() else root
    return open_clips(base, folder, subset or None, partial=True)


def prepared(
    frames: dict[int, np.ndarray], settings: ClipSettings, rng: np.random.Generator, name: str
) -> dict[int, Tensor]:
    """Frames resized and cropped alike, (3,H,W) in [0,1].

    Raises:
        InputError: frames of several sizes, or smaller than the crop.
    """
    sizes = {frame.shape for frame in frames.values()}
    if len(sizes) > 1:
        raise InputError(f"clip {name} has frames of several sizes: {sorted(sizes)}")
    resized = {place: _resized(frame, settings.resize) for place, frame in frames.items()}
    height, width = next(iter(resized.values())).shape[1:]
    tall, wide = settings.crop if any(settings.crop) else (height, width)
    if tall > height or wide > width:
        raise InputError(f"clip {name} has frames of {width}x{height}, smaller than the crop of {wide}x{tall}")
    top, left = (height - tall) // 2, (width - wide) // 2
    if settings.place == "random":
        top, left = (int(rng.integers(free + 1)) for free in (height - tall, width - wide))
    return {place: frame[:, top : top + tall, left : left + wide] for place, frame in resized.items()}


def _resized(frame: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(3,H,W) in [0,1]; bilinear with antialiasing, as Pillow does it."""
    if any(size) and frame.shape[:2] != size:
        from PIL import Image

        frame = np.asarray(Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float() / 255


def augmented(frames: dict[int, Tensor], settings: ClipSettings, rng: np.random.Generator) -> dict[int, Tensor]:
    """The window mirrored and jittered, all frames alike."""
    for letter, axis in (("h", 2), ("v", 1)):
        if letter in settings.flips and rng.random() < 0.5:
            frames = {place: frame.flip(axis) for place, frame in frames.items()}
    if settings.jitter:
        gain, shift = rng.uniform(1 - settings.jitter, 1 + settings.jitter, 2)
        mean = torch.stack([frame.mean() for frame in frames.values()]).mean()
        frames = {place: ((frame * gain - mean) * shift + mean).clamp(0, 1) for place, frame in frames.items()}
    return {place: frame.contiguous() for place, frame in frames.items()}
