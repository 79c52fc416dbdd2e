"""MPI-Sintel (Butler et al., ECCV 2012): 23 training scenes with 1041 pairs, 12 test scenes with 552, two passes."""

from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.datasets.masks import read_mask
from flowzoo.datasets.server import ServerLayout

TRAINING_FRAMES = {
    **dict.fromkeys(("alley_1", "alley_2"), 50),
    **{"ambush_2": 21, "ambush_4": 33, "ambush_5": 50, "ambush_6": 20, "ambush_7": 50},
    **dict.fromkeys(("bamboo_1", "bamboo_2", "bandage_1", "bandage_2", "cave_2", "cave_4"), 50),
    **{"market_2": 50, "market_5": 50, "market_6": 40, "mountain_1": 50},
    **dict.fromkeys(("shaman_2", "shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3"), 50),
}
"""Frames of every training scene."""

TEST_FRAMES = {
    **{"PERTURBED_market_3": 50, "PERTURBED_shaman_1": 50, "ambush_1": 23, "ambush_3": 41},
    **dict.fromkeys(("bamboo_3", "cave_3", "market_1", "market_4", "mountain_2", "temple_1", "tiger", "wall"), 50),
}
"""Frames of every test scene."""

ADVICE = "when clean and final are both there, run the benchmark's bundler: bundler {0}/clean {0}/final sintel.lzma"


class _Sintel(FlowDataset):
    """One pass. Masks: "occlusion" (pixels without a match, also those that leave the frame) and "invalid"."""

    markers = ("training/clean", "training/final", "test/clean", "test/final")
    subsets: ClassVar = {"training": "1041 pairs with ground truth", "test": "552 pairs for the server"}
    rendering: ClassVar[str] = ""
    protocol, invalid_mask = "sintel:Sintel", True

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Pairs of consecutive frames within a scene."""
        split = self.root / self.subset
        pairs = []
        for scene, frames in (TRAINING_FRAMES if self.subset == "training" else TEST_FRAMES).items():
            images = split / self.rendering / scene
            for index in range(1, frames):
                name = f"{scene}/frame_{index:04d}"
                known = self.subset == "training"
                pairs.append(
                    Pair(
                        name,
                        images / f"frame_{index:04d}.png",
                        images / f"frame_{index + 1:04d}.png",
                        split / "flow" / f"{name}.flo" if known else None,
                        f"{name}.flo",
                        scene,
                        {
                            "occlusion": split / "occlusions" / f"{name}.png",
                            "invalid": split / "invalid" / f"{name}.png",
                        }
                        if known
                        else {},
                    )
                )
        return pairs, len(pairs)

    def read_truth(self, pair: Pair) -> Truth | None:
        """Flow, and the masks that are there."""
        truth = super().read_truth(pair)
        if truth is None:
            return None
        masks = {kind: read_mask(path, truth.size) for kind, path in pair.extras.items()}
        return Truth(truth.flow, truth.valid, truth.size, masks)


class SintelClean(_Sintel):
    """The clean pass: no blur, no atmosphere."""

    name, title, rendering = "sintel-clean", "MPI-Sintel clean", "clean"
    layout = "{training,test}/clean/SCENE/frame_NNNN.png, training/{flow,occlusions,invalid}/SCENE/frame_NNNN.*"
    server = ServerLayout("test", "clean", ADVICE)


class SintelFinal(_Sintel):
    """The final pass: with motion blur, defocus and fog."""

    name, title, rendering = "sintel-final", "MPI-Sintel final", "final"
    layout = "{training,test}/final/SCENE/frame_NNNN.png, training/{flow,occlusions,invalid}/SCENE/frame_NNNN.*"
    server = ServerLayout("test", "final", ADVICE)
