"""What every data set of clips is: files found at once, and readers that open frames one by one."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from flowzoo.datasets.degradations import Degradation, degrade, to_8bit
from flowzoo.errors import InputError, counted
from flowzoo.files.images import image_size, read_eight_bits
from flowzoo.files.reading import existing_folder
from flowzoo.settings import suggestion

SCALE = 4


@dataclass(frozen=True)
class ScaledClip:
    """The files of one clip; nothing is read yet.

    Attributes:
        name: unique within the data set: "000", "00001/0266".
        large: frames at full size, in order.
        small: the same at a quarter of the size as the data set ships them, or empty where they are made from `large`.
        scored: numbers of the frames that the protocol scores.
    """

    name: str
    large: tuple[Path, ...]
    small: tuple[Path, ...]
    scored: tuple[int, ...]

    def frame_name(self, index: int) -> str:
        """Of a scored frame, as in tables and below a folder of predictions: "000/00000012"."""
        return f"{self.name}/{self.large[index].stem}"


class ScaledDataset:
    """Clips with frames at full size. A subclass says where they lie in `list_clips`; one with a `name` is found by it.

    `notes` says what was left out.

    Attributes of the class:
        name, title: what the user types, and what messages say.
        layout: its files, in words.
        markers: patterns below the data set's folder by which that is recognised.
        subsets: its parts and what they are; the first is the default.
        per_clip: scores are means over clips of the clips' means, else over all frames.

    Args:
        root: folder of the data set, or its parent.
        subset: one of `subsets`; None = the first.
        partial: take the clips that are there instead of insisting on the official ones.
        degradation: how small frames are made; "stored" = as the data set ships them, and bicubic where it does not.

    Raises:
        InputError: no such folder or subset, or files are missing; the message says which were expected where.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    layout: ClassVar[str] = ""
    markers: ClassVar[tuple[str, ...]] = ()
    subsets: ClassVar[Mapping[str, str]] = {"all": "every clip"}
    per_clip: ClassVar[bool] = True

    def __init__(
        self,
        root: str | PathLike[str],
        subset: str | None = None,
        *,
        partial: bool = False,
        degradation: "Degradation | str" = "stored",
    ) -> None:
        if subset is not None and subset not in self.subsets:
            raise InputError(f"{self.name} has no subset {subset!r}: {suggestion(subset, self.subsets)}")
        if degradation not in ("stored", "bicubic", "blur-centred", "blur-corner"):
            raise InputError(f"no degradation {degradation!r}: known are stored, bicubic, blur-centred, blur-corner")
        self.root = self.find_root(Path(root))
        self.subset = subset or next(iter(self.subsets))
        self.degradation, self.partial = degradation, partial
        self.notes: list[str] = []
        candidates = self.list_clips()
        self.expected = len(candidates)
        self.clips = self._present(candidates)

    def __len__(self) -> int:
        return len(self.clips)

    def list_clips(self) -> list[ScaledClip]:
        """All official clips of the subset, there or not, in order.

        Raises:
            InputError: not even their list is there.
        """
        raise TypeError(f"{type(self).__name__} does not list its clips")

    def find_root(self, root: Path) -> Path:
        """What looks like this data set: `root` or a folder right below it."""
        existing_folder(root, f"the folder of {self.title} or its parent with --root")
        children = sorted(entry for entry in root.iterdir() if entry.is_dir())
        for candidate in (root, *children):
            if any(next(candidate.glob(marker), None) for marker in self.markers):
                return candidate
        return root

    def _present(self, candidates: list[ScaledClip]) -> list[ScaledClip]:
        present, missing = [], []
        for clip in candidates:
            absent = [path for path in (*clip.large, *clip.small) if not path.is_file()]
            missing += absent
            if not absent and clip.large:
                present.append(clip)
        if missing and not self.partial:
            raise InputError(
                f"{self.title} in {self.root} is incomplete: {counted(len(missing), 'file', 'are')} missing, "
                f"first {missing[0]}; its layout is {self.layout} (--partial takes the clips that are there)"
            )
        if not present:
            raise InputError(f"no clip of {self.title} in {self.root}: its layout is {self.layout}")
        return present

    def files(self) -> list[Path]:
        """Everything that may be read."""
        return [path for clip in self.clips for path in (*clip.large, *clip.small)]

    @property
    def made(self) -> bool:
        """Whether small frames are made here instead of read."""
        return self.degradation != "stored" or not all(clip.small for clip in self.clips)

    def large(self, clip: ScaledClip, index: int) -> np.ndarray:
        """Frame HxWx3 uint8, cut to multiples of four."""
        frame = read_eight_bits(clip.large[index])
        height, width = (side - side % SCALE for side in frame.shape[:2])
        if not height or not width:
            raise InputError(f"{clip.large[index]} is too small: at least {SCALE} pixels a side")
        return frame[:height, :width]

    def small(self, clip: ScaledClip, index: int) -> np.ndarray:
        """Frame of a quarter of the size, uint8.

        Raises:
            InputError: the stored one has another size.
        """
        if clip.small and self.degradation == "stored":
            frame = read_eight_bits(clip.small[index])
            wanted = tuple(side // SCALE for side in image_size(clip.large[index]))
            if frame.shape[:2] != wanted:
                raise InputError(
                    f"{clip.small[index]} is {frame.shape[1]}x{frame.shape[0]}, not a quarter of {clip.large[index]}"
                )
            return frame
        large = torch.from_numpy(self.large(clip, index)).permute(2, 0, 1).double() / 255
        kind: Degradation = "bicubic" if self.degradation == "stored" else self.degradation
        return to_8bit(degrade(large, kind, SCALE)).permute(1, 2, 0).numpy()


def frames_below(folder: Path, suffixes: tuple[str, ...] = (".png", ".jpg")) -> tuple[Path, ...]:
    """The image files of a folder by name; () where it is not there."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != "."))
