"""FlyingThings3D (Mayer et al., CVPR 2016): random objects; 40,302 training and 7,866 test pairs of the left camera."""

from pathlib import Path
from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair
from flowzoo.errors import InputError
from flowzoo.files.reading import text_of

UNUSED = "all_unused_files.txt"
LARGEST_LIST = 10_000_000
"""Bytes of that list."""
"""The official list of frames that FlowNet2 left out as too hard; one path a line, TRAIN/A/0000/left/0006.png."""
COUNTS = {"test": 7866, "train": 40302}
DIRECTIONS = (("into_future", "IntoFuture", 1), ("into_past", "IntoPast", -1))


class FlyingThings3D(FlowDataset):
    """Left camera, both directions: frames_{clean,final}pass and optical_flow, as PFM files.

    The `-flownet2` subsets leave out every pair one of whose frames is in the list of unused files.
    """

    name, title = "flyingthings3d", "FlyingThings3D"
    layout = (
        "frames_{clean,final}pass/{TRAIN,TEST}/{A,B,C}/NNNN/left/NNNN.png, "
        "optical_flow/{TRAIN,TEST}/{A,B,C}/NNNN/{into_future,into_past}/left/*.pfm"
    )
    markers = ("frames_cleanpass", "frames_finalpass")
    subsets: ClassVar = {
        f"{split}-{rendering}{chosen}": f"{COUNTS[split]} pairs{', FlowNet2 omissions dropped' if chosen else ''}"
        for split in ("test", "train")
        for rendering in ("clean", "final")
        for chosen in ("", "-flownet2")
    }

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Consecutive frames of every sequence, forward then backward."""
        split, rendering, *chosen = self.subset.split("-")
        unused = self._unused() if chosen else frozenset()
        frames = self.root / f"frames_{rendering}pass"
        pairs, left_out = [], 0
        for folder in sorted(frames.glob(f"{split.upper()}/*/*/left")):
            sequence = folder.parent.relative_to(frames).as_posix()
            numbers = sorted(int(path.stem) for path in folder.glob("*.png") if path.stem.isdecimal())
            for into, word, step in DIRECTIONS:
                for number in numbers:
                    if number + step not in numbers:
                        continue
                    if any(f"{sequence}/left/{frame:04d}.png" in unused for frame in (number, number + step)):
                        left_out += 1
                        continue
                    flow = f"{sequence}/{into}/left/OpticalFlow{word}_{number:04d}_L.pfm"
                    pairs.append(
                        Pair(
                            f"{sequence}/{into}/{number:04d}",
                            folder / f"{number:04d}.png",
                            folder / f"{number + step:04d}.png",
                            self.root / "optical_flow" / flow,
                            flow,
                            sequence,
                        )
                    )
        return pairs, COUNTS[split] - left_out

    def _unused(self) -> frozenset[str]:
        for path in (self.root / UNUSED, self.root.parent / UNUSED):
            if path.is_file():
                return frozenset(_normal(line) for line in text_of(path, "a list of frames", LARGEST_LIST).split())
        raise InputError(f"{self.subset} needs the official list {UNUSED} in {self.root}; get it, or drop -flownet2")


def _normal(line: str) -> str:
    """A line of the list as TRAIN/A/0000/left/0006.png, whatever folder it starts with."""
    return "/".join(Path(line).parts[-5:])
