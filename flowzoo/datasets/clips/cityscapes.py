"""Cityscapes' sequences: snippets of 30 frames at 17 Hz."""

import re
from pathlib import Path
from typing import ClassVar

from flowzoo.datasets.clips.clip_dataset import Clip, ClipDataset, FileFrames
from flowzoo.errors import InputError

LENGTH = 30
NAME = re.compile(r"(.+_[0-9]{6})_([0-9]{6})_leftImg8bit\.png")


class CityscapesSequence(ClipDataset):
    """leftImg8bit_sequence/SPLIT/CITY/CITY_SSSSSS_FFFFFF_leftImg8bit.png

    A snippet is a run of frames of one CITY_SSSSSS whose numbers follow each other, 30 at a time.
    """

    name, title = "cityscapes-sequence", "Cityscapes sequences"
    layout = "leftImg8bit_sequence/SPLIT/CITY/CITY_SSSSSS_FFFFFF_leftImg8bit.png"
    markers = ("leftImg8bit_sequence/*", "train/*/*_leftImg8bit.png")
    subsets: ClassVar = {"train": "2975 snippets", "val": "500 snippets", "test": "1525 snippets"}
    official: ClassVar = {"train": 2975, "val": 500, "test": 1525}

    def list_clips(self) -> tuple[list[Clip], list[str]]:
        """Snippets in order of their names."""
        below = self.root / "leftImg8bit_sequence"
        folder = (below if below.is_dir() else self.root) / self.subset
        clips: list[Clip] = []
        short: list[str] = []
        for city in sorted(entry for entry in folder.glob("*") if entry.is_dir()):
            run: list[tuple[str, int]] = []
            for file in [*sorted(city.glob("*_leftImg8bit.png")), None]:
                key = None if file is None else self._place(file)
                follows = bool(run) and key is not None and key == (run[-1][0], run[-1][1] + 1)
                if run and (not follows or len(run) == LENGTH):
                    files = tuple(city / f"{name}_{number:06d}_leftImg8bit.png" for name, number in run)
                    clips.append(Clip(f"{run[0][0]}_{run[0][1]:06d}", FileFrames(files), len(files)))
                    short += [f"{clips[-1].name} ({len(run)} of {LENGTH} frames)"] * (len(run) < LENGTH)
                    run = []
                if key is not None:
                    run.append(key)
        missing = max(0, self.official[self.subset] - len(clips))
        return clips, [f"{missing} of {self.official[self.subset]} snippets"] * bool(missing) + short

    @staticmethod
    def _place(file: Path) -> tuple[str, int]:
        """Sequence and number of a frame.

        Raises:
            InputError: the name is none of a frame.
        """
        found = NAME.fullmatch(file.name)
        if found is None:
            raise InputError(f"{file} is named like no frame, CITY_SSSSSS_FFFFFF_leftImg8bit.png: move it away")
        return found[1], int(found[2])
