"""Vimeo-90K septuplets. Xue, Chen, Wu, Wei, Freeman: "Video Enhancement with Task-Oriented Flow", IJCV 2019."""

from typing import ClassVar

from flowzoo.datasets.clip_names import listed_clips
from flowzoo.datasets.scaled.scaled_dataset import ScaledClip, ScaledDataset

FRAMES, MIDDLE = 7, 3
LISTS = {
    "test": "sep_testlist.txt",
    "train": "sep_trainlist.txt",
    "fast": "sep_fast_testset.txt",
    "medium": "sep_medium_testset.txt",
    "slow": "sep_slow_testset.txt",
}
SMALL = ("../vimeo_septuplet_matlabLRx4/sequences", "../BIx4", "low_resolution", "sequences_BIx4")


class Vimeo90k(ScaledDataset):
    """Seven frames of 448x256, of which the fourth is scored."""

    name = "vimeo90k"
    title = "Vimeo-90K (septuplets)"
    layout = "sequences/XXXXX/YYYY/im1..im7.png with sep_testlist.txt, and vimeo_septuplet_matlabLRx4/ beside it"
    markers = ("sep_testlist.txt", "sep_trainlist.txt")
    subsets: ClassVar = {
        "test": "the 7,824 test clips",
        "train": "the 64,612 training clips",
        "fast": "1,225 test clips with fast motion",
        "medium": "4,977 with medium motion",
        "slow": "1,613 with slow motion",
    }
    per_clip = False

    def list_clips(self) -> list[ScaledClip]:
        """See `ScaledDataset`."""
        names = listed_clips(self.root / LISTS[self.subset], self.layout)
        small = next((self.root / name for name in SMALL if (self.root / name).is_dir()), None)
        clips = []
        for name in names:
            files = [f"{name}/im{frame}.png" for frame in range(1, FRAMES + 1)]
            clips.append(
                ScaledClip(
                    name,
                    tuple(self.root / "sequences" / file for file in files),
                    () if small is None else tuple(small / file for file in files),
                    (MIDDLE,),
                )
            )
        return clips
