"""What the correspondence-wise loss adds to a training step of the frame predictor, on a CPU.

    python tools/time_correspondence_loss.py [--size 128x256] [--batch 1] [--flows wren,raft] [--repeat 3]

Times forward, backward and the optimiser's step with pixel-wise L1, and with L1 by correspondences, in processor
seconds, and prints the fastest of each. Weights are random: time does not depend on them.
"""

import argparse
import sys
import time

import torch

from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.losses.correspondence import CorrespondenceLoss
from flowzoo.losses.image import ImageLoss, image_loss
from flowzoo.network import FlowNetwork

FLOWS = {"wren": {"refinement": "none"}, "raft": {"iterations": 5}, "raft-small": {"iterations": 5}}
"""Settings of flow networks inside the loss; RAFT's are the authors'."""


def loss_around(name: str) -> CorrespondenceLoss:
    """L1 by correspondences that the flow network finds."""
    network = registry.build(name, **FLOWS.get(name, {}))
    if not isinstance(network, FlowNetwork):
        raise InputError(f"{name} finds no flow: see flowzoo models --task flow")
    return CorrespondenceLoss("l1", network)


def main() -> None:
    """Read the options, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="128x256", metavar="HEIGHTxWIDTH")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--flows", default="wren,raft")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    torch.manual_seed(0)
    network = registry.build("predictor").train()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4)
    frames = torch.rand(options.batch, 4, 3, height, width)
    losses: dict[str, ImageLoss] = {"pixel-wise": image_loss("l1")}
    losses |= {f"correspondences by {name}": loss_around(name) for name in options.flows.split(",")}
    least: dict[str, float] = {}
    for turn in range(options.repeat + 1):
        for name, loss in losses.items():
            begin = time.process_time()
            made = network(frames[:, :3]).frames[:, 0]
            loss(2 * made - 1, 2 * frames[:, 3] - 1).backward()
            optimizer.step()
            optimizer.zero_grad()
            if turn:  # the first is the warm-up
                least[name] = min(least.get(name, float("inf")), time.process_time() - begin)
    for name, seconds in least.items():
        print(f"{name:26s} {seconds:.2f} s a step, {seconds / least['pixel-wise']:.2f} times as long as pixel-wise")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
