"""TSS (Taniai et al., CVPR 2016): 400 pairs of different objects of one class, scored in both directions."""

from typing import ClassVar

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.datasets.masks import read_mask
from flowzoo.datasets.resampling import pad_to_common
from flowzoo.files.flow import read_flow
from flowzoo.files.images import image_size

GROUPS = ("FG3DCar", "JODS", "PASCAL")


class Tss(FlowDataset):
    """flow2.flo lives on image2 and points into image1, flow1.flo the other way; the mask is the foreground object.

    Images are padded to one size, below and to the right. `Truth.length` is the longer side of the unpadded image that
    the flow points into.
    """

    name, title = "tss", "TSS"
    protocol = "matching:Tss"
    layout = "{FG3DCar,JODS,PASCAL}/PAIR/{image1.png,image2.png,flow1.flo,flow2.flo,mask1.png,mask2.png}"
    markers = GROUPS
    required_extras = frozenset({"foreground"})
    subsets: ClassVar = {"all": "800 pairs", **dict.fromkeys(GROUPS, "the pairs of one source")}
    counts: ClassVar = {"all": 800, "FG3DCar": 390, "JODS": 162, "PASCAL": 248}

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Both directions of every folder."""
        pairs = []
        for group in GROUPS if self.subset == "all" else (self.subset,):
            for folder in sorted(path for path in (self.root / group).glob("*") if path.is_dir()):
                for here, there in (("2", "1"), ("1", "2")):
                    name = f"{group}/{folder.name}/flow{here}"
                    pairs.append(
                        Pair(
                            name,
                            folder / f"image{here}.png",
                            folder / f"image{there}.png",
                            folder / f"flow{here}.flo",
                            f"{name}.flo",
                            group.lower(),
                            {"foreground": folder / f"mask{here}.png"},
                        )
                    )
        return pairs, self.counts[self.subset]

    def read_images(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Both images, padded to one size."""
        return pad_to_common(*super().read_images(pair))

    def read_truth(self, pair: Pair) -> Truth | None:
        """Flow, known on the foreground."""
        if pair.flow is None:
            return None
        flow, valid = read_flow(pair.flow)
        if "foreground" in pair.extras:
            valid = valid & read_mask(pair.extras["foreground"], valid.shape)
        length = float(max(image_size(pair.second))) if pair.second.is_file() else float(max(valid.shape))
        return Truth(flow, valid, valid.shape, length=length)
