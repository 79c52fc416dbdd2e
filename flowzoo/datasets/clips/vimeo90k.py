"""Vimeo-90K septuplets as clips. Xue et al.: "Video Enhancement with Task-Oriented Flow", IJCV 2019."""

from typing import ClassVar

from flowzoo.datasets.clips.clip_dataset import Clip, ClipDataset, FileFrames
from flowzoo.errors import InputError
from flowzoo.files.reading import reason

LENGTH = 7


class Vimeo90kClips(ClipDataset):
    """sequences/XXXXX/YYYY/im1.png to im7.png, listed in sep_trainlist.txt and sep_testlist.txt."""

    name, title = "vimeo90k", "Vimeo-90K septuplets"
    layout = "sequences/XXXXX/YYYY/im1..im7.png with sep_testlist.txt"
    markers = ("sep_testlist.txt", "sep_trainlist.txt")
    subsets: ClassVar = {"test": "7,824 clips", "train": "64,612 clips"}

    def list_clips(self) -> tuple[list[Clip], list[str]]:
        """One clip a line of the list."""
        path = self.root / f"sep_{self.subset}list.txt"
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {path}: {reason(error)}; expected {self.layout}") from error
        clips, missing = [], []
        for name in names:
            if len(parts := name.split("/")) != 2 or not all(part.isalnum() for part in parts):
                raise InputError(f"{path} lists {name!r}: expected lines such as 00001/0266")
            files = tuple(self.root / "sequences" / name / f"im{number}.png" for number in range(1, LENGTH + 1))
            if files[0].is_file():
                clips.append(Clip(name, FileFrames(files), LENGTH))
            else:
                missing.append(name)
        return clips, missing
