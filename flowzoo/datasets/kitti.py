"""KITTI flow 2012 (Geiger et al., CVPR 2012) and 2015 (Menze and Geiger, CVPR 2015): sparse truth from a lidar."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.datasets.masks import read_mask
from flowzoo.datasets.server import KITTI_LIMITS, ServerLayout
from flowzoo.files.flow import read_flow


class _Kitti(FlowDataset):
    """Frame NNNNNN_10 to NNNNNN_11. `flow_occ` knows all pixels, `flow_noc` those that stay visible."""

    sparse = True
    required_extras = frozenset({"flow_noc"})
    counts: ClassVar[dict[str, int]] = {}
    images: ClassVar[dict[str, str]] = {}

    def list_pairs(self) -> tuple[list[Pair], int]:
        """All pairs of the split."""
        split, count = self.root / self.subset.partition("-")[0], self.counts[self.subset.partition("-")[0]]
        known = split.name == "training"
        pairs = [
            Pair(
                f"{index:06d}_10",
                split / self.images[self.subset] / f"{index:06d}_10.png",
                split / self.images[self.subset] / f"{index:06d}_11.png",
                split / "flow_occ" / f"{index:06d}_10.png" if known else None,
                f"{index:06d}_10.png",
                extras=self._extras(split, f"{index:06d}_10.png") if known else {},
            )
            for index in range(count)
        ]
        return [self._without_occluded(pair) for pair in pairs], count

    def _extras(self, split: Path, file: str) -> dict[str, Path]:
        return {"flow_noc": split / "flow_noc" / file}

    def _without_occluded(self, pair: Pair) -> Pair:
        """Under --partial, flow_noc stands in where flow_occ is missing."""
        noc = pair.extras.get("flow_noc")
        if not self.partial or pair.flow is None or pair.flow.is_file() or noc is None or not noc.is_file():
            return pair
        note = (
            "flow_occ is missing for some pairs: flow_noc stands in for it, so their 'all' equals their 'noc' numbers"
        )
        if note not in self.notes:
            self.notes.append(note)
        return dataclasses.replace(pair, flow=noc)

    def read_truth(self, pair: Pair) -> Truth | None:
        """Flow of all pixels, of the visible ones, and the moving objects where there is a map of them."""
        truth = super().read_truth(pair)
        if truth is None:
            return None
        masks, other = {}, None
        if "flow_noc" in pair.extras:
            other = (
                (truth.flow, truth.valid)
                if pair.extras["flow_noc"] == pair.flow
                else read_flow(pair.extras["flow_noc"])
            )
            masks["occlusion"] = truth.valid & ~other[1]
        if "obj_map" in pair.extras:
            masks["foreground"] = read_mask(pair.extras["obj_map"], truth.size)
        return Truth(truth.flow, truth.valid, truth.size, masks, other=other)


class Kitti2012(_Kitti):
    """194 training and 195 testing pairs of static scenes, colour (default) or grey."""

    name, title = "kitti-2012", "KITTI 2012"
    protocol = "kitti:Kitti2012"
    server = ServerLayout("testing", "", "upload {0}/kitti-2012.zip", "kitti-2012.zip", KITTI_LIMITS)
    layout = "{training,testing}/{colored_0,image_0}/NNNNNN_{10,11}.png, training/{flow_occ,flow_noc}/NNNNNN_10.png"
    markers = ("training/colored_0", "training/image_0", "testing/colored_0", "testing/image_0")
    counts: ClassVar = {"training": 194, "testing": 195}
    images: ClassVar = {
        "training": "colored_0",
        "testing": "colored_0",
        "training-grey": "image_0",
        "testing-grey": "image_0",
    }
    subsets: ClassVar = {
        "training": "194 pairs with ground truth",
        "testing": "195 pairs for the server",
        "training-grey": "the same from the grey camera",
        "testing-grey": "the same from the grey camera",
    }


class Kitti2015(_Kitti):
    """200 training and 200 testing pairs of traffic; `obj_map` marks the moving cars."""

    name, title = "kitti-2015", "KITTI 2015"
    protocol = "kitti:Kitti2015"
    server = ServerLayout("testing", "flow", "upload {0}/kitti-2015.zip", "kitti-2015.zip", KITTI_LIMITS)
    layout = "{training,testing}/image_2/NNNNNN_{10,11}.png, training/{flow_occ,flow_noc,obj_map}/NNNNNN_10.png"
    markers = ("training/image_2", "testing/image_2")
    required_extras = frozenset({"flow_noc", "obj_map"})
    without_extra: ClassVar = {"obj_map": "elsewhere every pixel counts as background, and Fl-fg has none"}
    counts: ClassVar = {"training": 200, "testing": 200}
    images: ClassVar = {"training": "image_2", "testing": "image_2"}
    subsets: ClassVar = {"training": "200 pairs with ground truth", "testing": "200 pairs for the server"}

    def _extras(self, split: Path, file: str) -> dict[str, Path]:
        return {"flow_noc": split / "flow_noc" / file, "obj_map": split / "obj_map" / file}
