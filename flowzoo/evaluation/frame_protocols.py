"""How benchmarks of frame prediction and interpolation choose windows, cut frames, and score. No torch import.

"Comparing Correspondences" (CVPR 2022), tables 1, 2 and 6, as its authors' code and the code that it takes its numbers
from do it; Middlebury as usual.
"""

from dataclasses import dataclass, field
from typing import Literal

RANDOM_WINDOWS = 100
"""Of Table 1: distinct windows drawn with seed 0. The authors' draw depends on their file system's order; here clips
are in the order of their names."""


@dataclass(frozen=True)
class FrameProtocol:
    """One benchmark.

    Attributes:
        clips: a name of `flowzoo.datasets.clips.catalogue.list_clip_datasets`, and its subset.
        inputs, targets: places in a window of the frames that go in and come out.
        windows: "all" starts, only the "first" of each clip, or RANDOM_WINDOWS "drawn" ones.
        resize, crop: height and width, as in training; 0, 0 = as they are.
        metrics: name in the report -> name in `flowzoo.metrics.image.METRICS`, or "lpips".
        rounded: whether made frames are scored as 8-bit numbers; "down" = truncated.
        steps: numbers for each step ahead, and means of the first N of them, as Table 2 has them.
        file: how a prediction is called: {window}, {step} (from 1).
    """

    clips: str
    inputs: tuple[int, ...]
    targets: tuple[int, ...]
    windows: Literal["all", "first", "drawn"] = "all"
    resize: tuple[int, int] = (0, 0)
    crop: tuple[int, int] = (0, 0)
    metrics: dict[str, str] = field(default_factory=dict)
    rounded: Literal["no", "nearest", "down"] = "nearest"
    steps: tuple[int, ...] = ()
    file: str = "{window}/next_{step:03d}.png"


_TABLE1 = {"psnr": "psnr", "ssim": "ssim_table1", "lpips": "lpips"}
_TABLE2 = {"psnr": "psnr", "ms_ssim": "ms_ssim", "lpips": "lpips"}
_VIMEO = {"psnr": "psnr_vimeo", "ssim": "ssim_vimeo", "lpips": "lpips"}

PROTOCOLS: dict[str, dict[str, FrameProtocol]] = {
    "kitti-prediction": {
        "table1": FrameProtocol(
            "kitti-raw/test", (0, 1, 2), (3, 4, 5), "drawn", (256, 848), (256, 512), _TABLE1, "down"
        ),
        "omp": FrameProtocol(
            "kitti-raw-omp/test", (0, 1, 2, 3), (4, 5, 6, 7, 8), "all", (256, 832), (0, 0), _TABLE2, steps=(1, 3, 5)
        ),
    },
    "cityscapes-prediction": {
        "table1": FrameProtocol(
            "cityscapes-sequence/val", (0, 1, 2), (3, 4, 5), "drawn", (256, 512), (0, 0), _TABLE1, "down"
        ),
        "omp": FrameProtocol(
            "cityscapes-sequence/val", (0, 1, 2, 3), tuple(range(4, 14)), "first", (512, 1024), (0, 0), _TABLE2,
            steps=(1, 5, 10),
        ),
    },
    "caltech-prediction": {
        "table1": FrameProtocol(
            "caltech-pedestrian/test", (0, 1, 2), (3, 4, 5), "drawn", (288, 384), (0, 0), _TABLE1, "down"
        ),
    },
    "vimeo90k-interpolation": {
        "test": FrameProtocol(
            "vimeo90k/test", (0, 2, 4, 6), (3,), "first", metrics=_VIMEO, rounded="no", file="{window}/im4.png"
        ),
        "wide": FrameProtocol(
            "vimeo90k/test", (0, 6), (3,), "first", metrics=_VIMEO, rounded="no", file="{window}/im4.png"
        ),
    },
    "middlebury-interpolation": {
        "other": FrameProtocol(
            "middlebury-interpolation/other", (0, 2), (1,), "first",
            metrics={"psnr": "psnr_8bit", "ssim": "ssim_uniform", "lpips": "lpips"}, file="{window}/frame10i11.png",
        ),
    },
}  # fmt: skip
"""Name -> subset -> protocol; the first subset is the default."""


def is_interpolation(dataset: str) -> bool:
    """Whether frames lie between the given ones."""
    return dataset.endswith("-interpolation")
