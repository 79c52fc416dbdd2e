"""REDS. Nah et al.: "NTIRE 2019 Challenge on Video Deblurring and Super-Resolution", CVPR workshops 2019.

Training and validation clips together, numbered as in BasicSR: 000-239 train, 240-269 the official validation clips.
Four of them, REDS4, are what EDVR and its successors test on; the other 266 train.
"""

from pathlib import Path
from typing import ClassVar

from flowzoo.datasets.scaled.scaled_dataset import ScaledClip, ScaledDataset

FRAMES, CLIPS = 100, 270
REDS4 = ("000", "011", "015", "020")
LARGE = ("train_sharp", "GT", "train/train_sharp")
SMALL = ("train_sharp_bicubic/X4", "train_sharp_bicubic", "sharp_bicubic", "train/train_sharp_bicubic/X4")


class Reds(ScaledDataset):
    """All clips that train."""

    name = "reds"
    title = "REDS"
    layout = "train_sharp/CCC/FFFFFFFF.png and train_sharp_bicubic/X4/CCC/FFFFFFFF.png (or GT/ and sharp_bicubic/)"
    markers = ("train_sharp/*", "GT/000", "train/train_sharp/*")
    subsets: ClassVar = {
        "train": "the 266 clips without REDS4",
        "train-236": "the official training clips without REDS4",
    }

    def list_clips(self) -> list[ScaledClip]:
        """See `ScaledDataset`."""
        count = CLIPS if self.subset == "train" else 240
        return [self._clip(name) for name in (f"{number:03d}" for number in range(count)) if name not in REDS4]

    def _clip(self, name: str) -> ScaledClip:
        large, small = (self._folder(names) for names in (LARGE, SMALL))
        files = tuple(f"{frame:08d}.png" for frame in range(FRAMES))
        return ScaledClip(
            name,
            tuple((large or self.root / LARGE[0]) / name / file for file in files),
            () if small is None else tuple(small / name / file for file in files),
            tuple(range(FRAMES)),
        )

    def _folder(self, names: tuple[str, ...]) -> Path | None:
        return next((self.root / name for name in names if (self.root / name).is_dir()), None)


class Reds4(Reds):
    """The four clips that are tested on."""

    name = "reds4"
    title = "REDS4"
    subsets: ClassVar = {"all": "clips 000, 011, 015, 020"}

    def list_clips(self) -> list[ScaledClip]:
        """See `ScaledDataset`."""
        return [self._clip(name) for name in REDS4]
