"""How much faster a training step on the CPU is than the published formulas under autograd.

    python tools/time_training_step.py [--models liteflownet2,pwcnet] [--size 448x320] [--batch 1] [--repeat 3]
        [--precision float32]

Times forward, backward and the optimiser's step of both in turns, in one process, from the same weights and images,
and prints the fastest of each. Every operation has its portable PyTorch form in "plain": correlation is a loop over
the displacements and local convolution an unfold, both with autograd's derivatives; convolutions are torch.nn's, in
PyTorch's default memory layout. Ours is what `flowzoo train` runs. Before anything is timed, both must give one loss.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo import registry
from flowzoo.blocks.convolution import Convolution, ConvolutionStack, training_layout
from flowzoo.network import FlowNetwork
from flowzoo.operators import correlation, local_convolution


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


def plain_local_convolution(values: Tensor, weights: Tensor, window: int) -> Tensor:
    """The definition, with every pixel's window unfolded."""
    batch, channels, height, width = values.shape
    windows = F.unfold(values, window, padding=window // 2).view(batch, channels, window * window, height, width)
    return (windows * weights.unsqueeze(1)).sum(2)


@contextmanager
def plain_forms() -> Iterator[None]:
    """Within this block flowzoo computes with the plain forms."""
    forms: dict[Callable[..., Any], Callable[..., Any]] = {
        correlation: plain_correlation,
        local_convolution: plain_local_convolution,
        training_layout: lambda maps: maps,
    }
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, FLOWZOO_NATIVE="0"))
        stack.enter_context(mock.patch.object(Convolution, "_conv_forward", nn.Conv2d._conv_forward))
        stack.enter_context(mock.patch.object(ConvolutionStack, "forward", nn.Sequential.forward))
        for name, module in list(sys.modules.items()):
            for original, form in forms.items():
                if name.startswith("flowzoo.") and getattr(module, original.__name__, None) is original:
                    stack.enter_context(mock.patch.object(module, original.__name__, form))
        yield


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: tuple[Tensor, Tensor], dtype: torch.dtype
) -> tuple[float, float]:
    """Seconds and loss of one step."""
    begin = time.perf_counter()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        prediction = network(*images)
    loss = prediction.flow.abs().mean() + sum(level.abs().mean() for level in prediction.pyramid)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - begin, loss.item()


def main() -> None:
    """Read the options, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="liteflownet2,pwcnet")
    parser.add_argument("--size", default="448x320", metavar="WxH")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    dtype = getattr(torch, arguments.precision)
    torch.manual_seed(0)
    images = (torch.rand(arguments.batch, 3, height, width), torch.rand(arguments.batch, 3, height, width))
    for name in arguments.models.split(","):
        plain: FlowNetwork = registry.build(name).train()
        ours = copy.deepcopy(plain)
        ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in flowzoo/training/loop.py
        optimizers = [torch.optim.Adam(network.parameters(), lr=1e-5) for network in (ours, plain)]
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(arguments.repeat + 1):
            seconds, loss = step(ours, optimizers[0], images, dtype)
            with plain_forms():
                plain_seconds, plain_loss = step(plain, optimizers[1], images, dtype)
            if turn == 0:  # also the warm-up
                tolerance = 1e-3 if dtype == torch.float32 else 5e-2
                if abs(loss - plain_loss) > tolerance * abs(plain_loss):
                    parser.exit(1, f"{name}: the losses differ: {loss} and {plain_loss}\n")
                continue
            times[0].append(seconds)
            times[1].append(plain_seconds)
        fast, slow = min(times[0]), min(times[1])
        print(f"{name:14s} {fast:.3f} s a step, plain {slow:.3f} s: {slow / fast:.2f} times faster", flush=True)


if __name__ == "__main__":
    main()
