"""FlyingChairs2 (Ilg et al., ECCV 2018): FlyingChairs with both directions and occlusion; 22,232 and 640 pairs."""

from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.datasets.masks import read_mask


class FlyingChairs2(FlowDataset):
    """Pairs NNNNNNN-img_{0,1}.png with flow_01 and flow_10; forward by default."""

    name, title = "flyingchairs2", "FlyingChairs2"
    layout = "{train,val}/NNNNNNN-{img_0.png,img_1.png,flow_01.flo,flow_10.flo,occ_01.png,occ_10.png}"
    markers = ("val/*-img_0.png", "train/*-img_0.png")
    subsets: ClassVar = {
        "val": "640 pairs, forward",
        "train": "22232 pairs, forward",
        "val-both": "1280 pairs, both directions",
        "train-both": "44464 pairs, both directions",
    }

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Pairs that have a first image or a flow file, by number."""
        split, _, both = self.subset.partition("-")
        folder = self.root / split
        numbers = {
            path.name.partition("-")[0]
            for ending in ("img_0.png", "flow_01.flo")
            for path in folder.glob(f"*-{ending}")
        }
        pairs = []
        for number in sorted(numbers):
            for first, second in (("0", "1"), ("1", "0")) if both else (("0", "1"),):
                stem = f"{number}-flow_{first}{second}"
                pairs.append(
                    Pair(
                        stem,
                        folder / f"{number}-img_{first}.png",
                        folder / f"{number}-img_{second}.png",
                        folder / f"{stem}.flo",
                        f"{stem}.flo",
                        extras={"occlusion": folder / f"{number}-occ_{first}{second}.png"},
                    )
                )
        return pairs, {"val": 640, "train": 22232}[split] * (2 if both else 1)

    def read_truth(self, pair: Pair) -> Truth | None:
        """Flow and occlusion."""
        truth = super().read_truth(pair)
        if truth is None or "occlusion" not in pair.extras:
            return truth
        return Truth(
            truth.flow, truth.valid, truth.size, {"occlusion": read_mask(pair.extras["occlusion"], truth.size)}
        )
