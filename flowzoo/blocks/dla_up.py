"""Iterative deep aggregation upwards: features of every level that have seen all coarser ones.

Yu, Wang, Shelhamer, Darrell: "Deep Layer Aggregation", CVPR 2018, section 4.2 (DLA-up).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from flowzoo.blocks.normalised_convolution import NormalisedConvolution


class Aggregation(nn.Module):
    """Brings coarser maps to the finest one's channels and size and merges them one after the other.

    Args:
        outputs: channels of the finest map and of the result.
        coarser: channels of each map at half the size.
    """

    def __init__(self, outputs: int, coarser: Sequence[int]) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Identity() if channels == outputs else NormalisedConvolution(channels, outputs, 1)
            for channels in coarser
        )
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(outputs, outputs, 4, stride=2, padding=1, groups=outputs, bias=False) for _ in coarser
        )
        self.merge = nn.ModuleList(NormalisedConvolution(2 * outputs, outputs) for _ in coarser)

    def forward(self, finest: Tensor, coarser: Sequence[Tensor]) -> list[Tensor]:
        """(B,outputs,H,W) and maps (B,C_i,H/2,W/2) -> one (B,outputs,H,W) after each of these."""
        merged = []
        for maps, project, enlarge, merge in zip(coarser, self.project, self.enlarge, self.merge, strict=True):
            finest = merge(finest, enlarge(project(maps)))
            merged.append(finest)
        return merged


class DLAUp(nn.Module):
    """One `Aggregation` for every level but the coarsest.

    Args:
        channels: of the levels, finest first.
        finest_used: index of the finest level that is wanted. Finer aggregations are not run; they are here, frozen,
            because published weights hold them.
    """

    def __init__(self, channels: Sequence[int], finest_used: int) -> None:
        super().__init__()
        self.finest_used = finest_used
        seen = list(channels)
        stages = []
        for level in range(len(channels) - 2, -1, -1):
            stages.append(Aggregation(channels[level], seen[level + 1 :]))
            seen[level + 1 :] = [channels[level]] * (len(channels) - level - 1)
        self.stages = nn.ModuleList(stages)
        self.stages[len(stages) - finest_used :].requires_grad_(False)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Levels, finest first -> features, coarsest first: the coarsest level itself, then every aggregation."""
        maps = list(levels)
        features = [maps[-1]]
        for index, level in enumerate(range(len(maps) - 2, self.finest_used - 1, -1)):
            maps[level + 1 :] = self.stages[index](maps[level], maps[level + 1 :])
            features.append(maps[-1])
        return features
