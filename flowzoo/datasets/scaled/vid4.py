"""Vid4. Liu, Sun: "On Bayesian Adaptive Video Super Resolution", TPAMI 2014."""

from typing import ClassVar

from flowzoo.datasets.scaled.scaled_dataset import ScaledClip, ScaledDataset, frames_below
from flowzoo.errors import InputError

CLIPS = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}


class Vid4(ScaledDataset):
    """Four clips; every frame is scored."""

    name = "vid4"
    title = "Vid4"
    layout = "GT/{calendar,city,foliage,walk}/*.png, and BIx4/ and BDx4/ beside it"
    markers = ("GT/calendar", "GT/city", "calendar", "city")
    subsets: ClassVar = {"bicubic": "small frames of BIx4/", "blurred": "small frames of BDx4/"}

    def list_clips(self) -> list[ScaledClip]:
        """See `ScaledDataset`."""
        large = self.root / "GT" if (self.root / "GT").is_dir() else self.root
        small = self.root / ("BIx4" if self.subset == "bicubic" else "BDx4")
        clips = []
        for name, count in CLIPS.items():
            found = frames_below(large / name)
            if len(found) > count:
                raise InputError(
                    f"{large / name} has {len(found)} images, {self.title} {count} of {name}: move away what is none"
                )
            # Where frames are missing, their names are not known: one that stands for them is missed.
            if len(found) < count:
                found = (*found, large / name / f"(frame {len(found) + 1} of {count}).png")
            stored = tuple(small / name / path.name for path in found) if small.is_dir() else ()
            clips.append(ScaledClip(name, found, stored, tuple(range(count))))
        return clips
