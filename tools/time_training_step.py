"""How much faster a training step is than with plain correlation under autograd.

    python tools/time_training_step.py [--models liteflownet2,pwcnet,wren] [--size 320x448] [--batch 1] [--repeat 3]

Times forward, backward and the optimiser's step of both in turns and prints the fastest of each. "Plain" is a loop over
the displacements whose backward autograd derives: what one writes without an operator.
"""

import argparse
import time
from types import ModuleType
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo import registry
from flowzoo.blocks import cost_volume
from flowzoo.models import wren
from flowzoo.operators import local_correlation


def plain_correlation(first: Tensor, second: Tensor, radius: int, dilation: int = 1, stride: int = 1) -> Tensor:
    """The definition, one displacement after the other."""
    height, width, reach = *first.shape[-2:], radius * dilation
    padded = F.pad(second, (reach, reach, reach, reach))
    shifts = range(0, 2 * reach + 1, dilation)
    costs = [
        (first * padded[..., dy : dy + height, dx : dx + width]).mean(dim=1)[..., ::stride, ::stride]
        for dy in shifts
        for dx in shifts
    ]
    return torch.stack(costs, dim=1)


def step_time(network: nn.Module, optimizer: torch.optim.Optimizer, images: tuple[Tensor, Tensor]) -> float:
    """Seconds of one step."""
    begin = time.perf_counter()
    prediction = network(*images)
    loss = prediction.flow.abs().mean() + sum(level.abs().mean() for level in prediction.pyramid)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - begin


def main() -> None:
    """Read the options, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="liteflownet2,pwcnet,wren")
    parser.add_argument("--size", default="320x448", metavar="HxW")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    images = tuple(torch.rand(arguments.batch, 3, height, width) for _ in range(2))
    users: list[ModuleType] = [cost_volume, wren, local_correlation]
    users = [module for module in users if hasattr(module, "correlation")]
    for name in arguments.models.split(","):
        network = registry.build(name)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
        ours, plain = [], []
        for _ in range(arguments.repeat + 1):
            ours.append(step_time(network, optimizer, images))
            patches = [mock.patch.object(module, "correlation", plain_correlation) for module in users]
            for patch in patches:
                patch.start()
            plain.append(step_time(network, optimizer, images))
            for patch in patches:
                patch.stop()
        fast, slow = min(ours[1:]), min(plain[1:])
        print(f"{name:14s} {fast:.3f} s a step, plain {slow:.3f} s: {slow / fast:.2f} times faster", flush=True)


if __name__ == "__main__":
    main()
