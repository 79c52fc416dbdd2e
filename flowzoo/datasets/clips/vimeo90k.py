"""Vimeo-90K septuplets as clips. Xue et al.: "Video Enhancement with Task-Oriented Flow", IJCV 2019."""

from typing import ClassVar

from flowzoo.datasets.clip_names import listed_clips
from flowzoo.datasets.clips.clip_dataset import Clip, ClipDataset, FileFrames

LENGTH = 7


class Vimeo90kClips(ClipDataset):
    """sequences/XXXXX/YYYY/im1.png to im7.png, listed in sep_trainlist.txt and sep_testlist.txt."""

    name, title = "vimeo90k", "Vimeo-90K septuplets"
    layout = "sequences/XXXXX/YYYY/im1..im7.png with sep_testlist.txt"
    markers = ("sep_testlist.txt", "sep_trainlist.txt")
    subsets: ClassVar = {"test": "7,824 clips", "train": "64,612 clips"}

    def list_clips(self) -> tuple[list[Clip], list[str]]:
        """One clip a line of the list."""
        clips, missing = [], []
        for name in listed_clips(self.root / f"sep_{self.subset}list.txt", self.layout):
            files = tuple(self.root / "sequences" / name / f"im{number}.png" for number in range(1, LENGTH + 1))
            if all(file.is_file() for file in files):
                clips.append(Clip(name, FileFrames(files), LENGTH))
            else:
                missing.append(name)
        return clips, missing
