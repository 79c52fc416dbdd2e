"""KITTI raw drives, in the two splits that video prediction uses. They overlap, so each is a data set of its own.

PredNet's (Lotter et al., ICLR 2017), with the right colour camera as in the code of "Comparing Correspondences"; and
OMP's (Wu et al., CVPR 2020), with the left one.
"""

from collections.abc import Mapping
from typing import ClassVar

from flowzoo.datasets.clips.clip_dataset import Clip, ClipDataset, folder_clip
from flowzoo.errors import InputError

Drives = Mapping[str, tuple[int, ...]]

PREDNET_TRAIN: Drives = {
    "2011_09_26": (1, 2, 9, 11, 13, 14, 15, 17, 18, 19, 20, 22, 23, 27, 28, 29, 32, 35, 36, 39, 46, 48, 51, 52, 56, 57,
                   59, 60, 61, 64, 84, 86, 87, 91, 93, 95, 96, 101, 106, 113, 117),
    "2011_09_28": (1, 2),
    "2011_09_29": (4, 26, 71),
    "2011_09_30": (16, 18, 20, 27, 28, 33, 34),
    "2011_10_03": (27, 34, 42, 47),
}  # fmt: skip
PREDNET_VAL: Drives = {"2011_09_26": (5,)}
PREDNET_TEST: Drives = {"2011_09_26": (104, 79, 70)}
OMP_TRAIN: Drives = {
    "2011_09_26": (1, 2, 5, 9, 11, 13, 14, 17, 18, 48, 51, 56, 57, 59, 91, 95, 104, 106, 113, 117),
    "2011_09_28": (1, 2),
    "2011_09_29": (26, 71),
}
OMP_TEST: Drives = {"2011_09_26": (60, 84, 93, 96)}


class _KittiRaw(ClipDataset):
    """DATE/DATE_drive_NNNN_sync/image_0K/data/NNNNNNNNNN.png"""

    layout = "DATE/DATE_drive_NNNN_sync/image_0K/data/*.png"
    markers = ("2011_*/2011_*_drive_*_sync",)
    camera: ClassVar[str] = ""
    drives: ClassVar[Mapping[str, Drives]] = {}

    def list_clips(self) -> tuple[list[Clip], list[str]]:
        """One clip a drive."""
        clips, missing = [], []
        for date, numbers in self.drives[self.subset].items():
            for number in numbers:
                drive = f"{date}_drive_{number:04d}_sync"
                folder = self.root / date / drive / self.camera / "data"
                if not folder.is_dir():
                    missing.append(f"{date}/{drive}/{self.camera}")
                    continue
                clip, gaps = folder_clip(drive, folder)
                clips.append(clip)
                if gaps and not self.partial:
                    raise InputError(f"{gaps}; add them, or give --partial to go on over gaps")
                if gaps:
                    self.notes.append(gaps)
        return clips, missing


class KittiRawPredNet(_KittiRaw):
    """57 drives to train on, one to validate, three to test: "Comparing Correspondences", Table 1."""

    name, title, camera = "kitti-raw", "KITTI raw, PredNet's split", "image_03"
    subsets: ClassVar = {"train": "57 drives", "val": "one drive", "test": "three drives: city, residential, road"}
    drives: ClassVar = {"train": PREDNET_TRAIN, "val": PREDNET_VAL, "test": PREDNET_TEST}


class KittiRawOmp(_KittiRaw):
    """24 drives to train on and four to test: "Comparing Correspondences", Table 2."""

    name, title, camera = "kitti-raw-omp", "KITTI raw, OMP's split", "image_02"
    subsets: ClassVar = {"train": "24 drives", "test": "four drives"}
    drives: ClassVar = {"train": OMP_TRAIN, "test": OMP_TEST}
