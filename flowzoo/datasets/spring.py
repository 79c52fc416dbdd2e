"""Spring (Mehl et al., CVPR 2023): 19,852 training and 3,960 test pairs at 1920x1080, ground truth at twice that."""

from typing import ClassVar

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.datasets.masks import read_raw
from flowzoo.datasets.server import ServerLayout
from flowzoo.errors import InputError
from flowzoo.files.flow import read_flow
from flowzoo.files.images import image_size

CAMERAS = ("left", "right")
TEST_FRAMES = {3: 131, 19: 111, 28: 39, 29: 135, 31: 73, 34: 47, 35: 120, 40: 111, 42: 116, 46: 117}
"""Frames of every test scene."""


class Spring(FlowDataset):
    """Both cameras, forward and backward.

    A flow file has two rows and columns for each of the image's, its values are pixels of the *image*. `Truth.flow`
    is at that double size; `dataset[i]` keeps every second row and column, as the authors' loader does.

    Masks, at the image's size: "detail", "unmatched", "nonrigid", "sky". Those stored at double size (the last two)
    hold where the mean of the four stored values is at least one half.
    """

    name, title = "spring", "Spring"
    protocol = "spring:Spring"
    server = ServerLayout("test", "", "run the benchmark's flow_subsampling in {0} and upload flow_submission.hdf5")
    layout = "{train,test}/NNNN/frame_{left,right}/*.png, train/NNNN/flow_{FW,BW}_{left,right}/*.flo5, train/NNNN/maps/"
    markers = ("train/[0-9]*/frame_left", "test/[0-9]*/frame_left", "train/[0-9]*/flow_FW_left")
    subsets: ClassVar = {"train": "19852 pairs with ground truth", "test": "3960 pairs for the server"}

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Every scene's left forward, left backward, right forward and right backward pairs."""
        split = self.root / self.subset
        if self.subset == "test":
            frames = {f"{scene:04d}": count for scene, count in TEST_FRAMES.items()}
        else:
            frames = {path.name: self._frames(path.name) for path in sorted(split.glob("[0-9][0-9][0-9][0-9]"))}
        pairs = []
        for scene, count in frames.items():
            for camera in CAMERAS:
                forward = [("FW", frame, frame + 1) for frame in range(1, count)]
                backward = [("BW", frame, frame - 1) for frame in range(count, 1, -1)]
                pairs += [self._pair(scene, camera, *entry) for entry in forward + backward]
        return pairs, {"train": 19852, "test": 3960}[self.subset]

    def _frames(self, scene: str) -> int:
        """Number of the last frame of a training scene, of which any file is there."""
        folder = self.root / "train" / scene
        numbers = [
            int(path.stem[-4:]) + (kind == "flow_FW")
            for kind in ("frame", "flow_FW", "flow_BW")
            for camera in CAMERAS
            for path in folder.glob(f"{kind}_{camera}/{kind}_{camera}_[0-9][0-9][0-9][0-9].*")
        ]
        return max(numbers, default=0)

    def _pair(self, scene: str, camera: str, direction: str, frame: int, other: int) -> Pair:
        folder, maps = self.root / self.subset / scene, self.root / self.subset / scene / "maps"
        stem = f"{direction}_{camera}"
        file = f"{scene}/flow_{stem}/flow_{stem}_{frame:04d}.flo5"
        known = self.subset == "train"
        kinds = {
            "detail": f"detailmap_flow_{stem}",
            "unmatched": f"matchmap_flow_{stem}",
            "nonrigid": f"rigidmap_{stem}",
            "sky": f"skymap_{camera}",
        }
        return Pair(
            f"{scene}/{stem}/{frame:04d}",
            folder / f"frame_{camera}" / f"frame_{camera}_{frame:04d}.png",
            folder / f"frame_{camera}" / f"frame_{camera}_{other:04d}.png",
            self.root / "train" / file if known else None,
            file,
            scene,
            {kind: maps / name / f"{name}_{frame:04d}.png" for kind, name in kinds.items()} if known else {},
        )

    def read_truth(self, pair: Pair) -> Truth | None:
        """Flow at double size and the masks that are there."""
        if pair.flow is None:
            return None
        flow, valid = read_flow(pair.flow)
        height, width = valid.shape
        if height % 2 or width % 2 or (pair.first.is_file() and image_size(pair.first) != (height // 2, width // 2)):
            raise InputError(f"{pair.flow} is {width}x{height}, not twice the size of its image; get it again")
        size = (height // 2, width // 2)
        masks = {kind: self._mask(pair, kind, size) for kind in pair.extras}
        return Truth(flow, valid, size, masks)

    def training_flow(self, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
        """Every second row and column."""
        return truth.flow[::2, ::2], truth.valid[::2, ::2]

    @staticmethod
    def _mask(pair: Pair, kind: str, size: tuple[int, int]) -> np.ndarray:
        values = read_raw(pair.extras[kind])
        double = kind in ("nonrigid", "sky")
        height, width = (2 * size[0], 2 * size[1]) if double else size
        if values.shape[:2] != (height, width):
            found = f"{values.shape[1]}x{values.shape[0]}"
            raise InputError(f"mask {pair.extras[kind]} is {found}, expected {width}x{height}; get it again")
        if not double:
            # The match map's second channel marks pixels that leave the frame; they have no match either.
            planes = values[..., None] if values.ndim == 2 else values[..., :2]
            marked: np.ndarray = np.any(planes > 0, axis=-1, keepdims=True)[..., 0]
            return marked
        plane = (values if values.ndim == 2 else values[..., 0]).astype(np.float32)
        marked = plane.reshape(size[0], 2, size[1], 2).mean(axis=(1, 3)) >= 0.5
        return marked
