"""Trains a network on one pair until it knows it: a check that every part passes its gradient on.

    python tools/overfit_pair.py FIRST SECOND FLOW [--models wren,liteflownet2,pwcnet] [--steps 2000] [--crop 128x192]

Takes the middle of the pair, lowers the learning rate along a cosine, and prints the end-point error as it falls.
Exit status 1 if a network does not get below --goal.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import torch

from flowzoo import registry
from flowzoo.data.augment import Augmentation, AugmentationSettings, TrainingSample
from flowzoo.files.flow import read_flow
from flowzoo.files.images import read_image
from flowzoo.losses.multiscale import mean_loss
from flowzoo.training.objective import end_point_error


def overfit(name: str, sample: TrainingSample, steps: int, rate: float, goal: float) -> float:
    """The lowest end-point error reached, in pixels."""
    torch.manual_seed(0)
    network = registry.build(name).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    first, second, flow, valid = (part[None] for part in (sample.first, sample.second, sample.flow, sample.valid))
    loss_of = mean_loss((0.2, 0.2, 0.2, 0.2, 0.2))
    best, begin = math.inf, time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2 + 1e-6
        prediction = network(first, second)
        loss = loss_of(prediction, flow, valid)
        best = min(best, float(end_point_error(prediction.flow, flow, valid)))
        if step % 100 == 0:
            print(f"{name:14s} step {step:5d}  epe {best:.3f} px  {time.monotonic() - begin:.0f} s", flush=True)
        if best < goal:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    print(f"{name:14s} best {best:.3f} px after {step + 1} steps", flush=True)
    return best


def main() -> int:
    """Read the options, train, say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("flow", type=Path)
    parser.add_argument("--models", default="wren,liteflownet2,pwcnet")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--crop", default="128x192", metavar="HxW")
    parser.add_argument("--goal", type=float, default=0.1)
    arguments = parser.parse_args()
    crop = tuple(map(int, arguments.crop.split("x")))
    images = [torch.from_numpy(read_image(path)).permute(2, 0, 1) for path in (arguments.first, arguments.second)]
    flow, valid = read_flow(arguments.flow)
    whole = TrainingSample(*images, torch.from_numpy(flow).permute(2, 0, 1).contiguous(), torch.from_numpy(valid))
    sample = Augmentation(AugmentationSettings(translation=0.0), (crop[0], crop[1]))(whole, 0, 0)
    names = arguments.models.split(",")
    reached = [overfit(name, sample, arguments.steps, arguments.rate, arguments.goal) for name in names]
    return 0 if max(reached) < arguments.goal else 1


if __name__ == "__main__":
    sys.exit(main())
