"""HD1K (Kondermann et al., CVPRW 2016): 36 sequences of a driving lidar set, 1047 pairs at 2560x1080, sparse."""

from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair


class Hd1k(FlowDataset):
    """Pairs SSSSSS_FFFF to SSSSSS_(FFFF+1); flow is KITTI's 16-bit PNG. The last frame of a sequence starts no pair."""

    name, title = "hd1k", "HD1K"
    sparse, per_image = True, True
    layout = "hd1k_input/image_2/SSSSSS_FFFF.png, hd1k_flow_gt/flow_occ/SSSSSS_FFFF.png"
    markers = ("hd1k_input", "hd1k_flow_gt")
    subsets: ClassVar = {"training": "1047 pairs"}

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Consecutive frames of the same sequence."""
        images, flows = self.root / "hd1k_input" / "image_2", self.root / "hd1k_flow_gt" / "flow_occ"
        names = {path.name for folder in (images, flows) for path in folder.glob("[0-9]*_[0-9]*.png")}
        pairs = []
        for name in sorted(names):
            sequence, _, frame = name.removesuffix(".png").partition("_")
            following = f"{sequence}_{int(frame) + 1:0{len(frame)}d}.png"
            if following in names:
                pairs.append(
                    Pair(name.removesuffix(".png"), images / name, images / following, flows / name, name, sequence)
                )
        return pairs, 1047
