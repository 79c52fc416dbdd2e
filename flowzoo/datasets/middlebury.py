"""Middlebury optical flow (Baker et al., IJCV 2011): the eight training scenes with public ground truth."""

from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair

SCENES = ("Dimetrodon", "Grove2", "Grove3", "Hydrangea", "RubberWhale", "Urban2", "Urban3", "Venus")


class Middlebury(FlowDataset):
    """frame10.png to frame11.png; unknown flow is stored as a huge number and does not count."""

    name, title = "middlebury", "Middlebury"
    per_image = True
    layout = "other-data/SCENE/frame{10,11}.png, other-gt-flow/SCENE/flow10.flo"
    markers = ("other-gt-flow", "other-data")
    subsets: ClassVar = {"training": "8 pairs"}

    def list_pairs(self) -> tuple[list[Pair], int]:
        """The eight scenes."""
        images, flows = self.root / "other-data", self.root / "other-gt-flow"
        pairs = [
            Pair(
                scene,
                images / scene / "frame10.png",
                images / scene / "frame11.png",
                flows / scene / "flow10.flo",
                f"{scene}/flow10.flo",
            )
            for scene in SCENES
        ]
        return pairs, len(pairs)
