"""Trains networks on one pair until they know it: a check that every part passes its gradient on.

    python tools/overfit_pair.py FIRST SECOND FLOW [--models wren,pwcnet | --all] [--crop 128x128] [--steps 1000]

Takes the middle of the pair and random weights, lowers the learning rate along a cosine, prints the end-point error as
it falls, and a row of a table for every network. A network is done once its error is below --goal. Exit status 1 if
one does not get there.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowzoo import registry
from flowzoo.augmentation import Augmentation, AugmentationSettings, TrainingSample
from flowzoo.files.flow import read_flow
from flowzoo.files.images import read_image
from flowzoo.losses.density import density_loss
from flowzoo.losses.multiscale import MultiscaleLoss
from flowzoo.losses.penalties import charbonnier
from flowzoo.losses.sequence import SequenceLoss
from flowzoo.network import FlowPrediction
from flowzoo.training.flow.objective import end_point_error

Loss = Callable[[FlowPrediction, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """How a family learns a pair fastest.

    Attributes:
        rate: the first learning rate.
        loss: takes a prediction, the true flow and where it is known.
        settings: of the network, where not its own; every parameter must stay in use.
    """

    rate: float
    loss: Loss
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a network reached: its lowest end-point error in pixels, in how many steps and seconds."""

    name: str
    parameters: int
    steps: int
    seconds: float
    epe: float

    def row(self) -> str:
        """A row of the table."""
        return f"| {self.name} | {self.parameters:,} | {self.steps} | {self.seconds:.0f} | {self.epe:.3f} |"


every_level = MultiscaleLoss(charbonnier(0.375, 1e-3), (0.2,) * 5, 1.0, unit=1.0, reduction="mean", shrinking="average")
USUAL = Plan(5e-4, every_level)
PLANS = {
    "hd3": Plan(5e-4, density_loss),
    "hd3-context": Plan(5e-4, density_loss),
    "raft": Plan(4e-4, SequenceLoss(), {"iterations": 6}),
    "raft-small": Plan(4e-4, SequenceLoss(), {"iterations": 6}),
}


def overfit(name: str, sample: TrainingSample, steps: int, rate: float | None, goal: float) -> Result:
    """Train `name` from random weights; `rate` replaces that of its plan."""
    plan = PLANS.get(name, USUAL)
    rate = rate or plan.rate
    torch.manual_seed(0)
    network = registry.build(name, **plan.settings).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    first, second, flow, valid = (part[None] for part in (sample.first, sample.second, sample.flow, sample.valid))
    best, begin = math.inf, time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2 + 1e-6
        prediction = network(first, second)
        best = min(best, float(end_point_error(prediction.flow, flow, valid)))
        if best < goal:
            break
        if step % 50 == 0:
            print(f"{name:18s} step {step:5d}  epe {best:.3f} px  {time.monotonic() - begin:.0f} s", flush=True)
        optimizer.zero_grad()
        plan.loss(prediction, flow, valid).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Result(name, parameters, step, time.monotonic() - begin, best)


def middle_of(paths: list[Path], flow_path: Path, crop: tuple[int, int]) -> TrainingSample:
    """The middle `crop` (height, width) of a pair."""
    images = [torch.from_numpy(read_image(path)).permute(2, 0, 1) for path in paths]
    flow, valid = read_flow(flow_path)
    whole = TrainingSample(
        images[0], images[1], torch.from_numpy(flow).permute(2, 0, 1).contiguous(), torch.from_numpy(valid)
    )
    return Augmentation(AugmentationSettings(translation=0.0), crop)(whole, 0, 0)


def main() -> int:
    """Read the options, train, say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("flow", type=Path)
    parser.add_argument("--models", default="wren,liteflownet2,pwcnet", help="names, separated by commas")
    parser.add_argument("--all", action="store_true", help="every network of the zoo")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, help="the first learning rate (default: what suits the family)")
    parser.add_argument("--crop", default="128x128", metavar="HxW")
    parser.add_argument("--goal", type=float, default=0.1, metavar="PIXELS")
    arguments = parser.parse_args()
    height, width = map(int, arguments.crop.split("x"))
    sample = middle_of([arguments.first, arguments.second], arguments.flow, (height, width))
    names = registry.list_models() if arguments.all else arguments.models.split(",")
    results = []
    for name in names:
        results.append(overfit(name, sample, arguments.steps, arguments.rate, arguments.goal))
        print(results[-1].row(), flush=True)
    print("\n| network | parameters | steps | seconds | end-point error |\n|---|---|---|---|---|")
    print("\n".join(result.row() for result in results))
    return 0 if all(result.epe < arguments.goal for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
