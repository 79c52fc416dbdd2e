"""Where is the zoo's own 3x3 convolution faster than PyTorch's? Every shape that networks really have, both ways.

    python tools/time_convolutions.py pwcnet liteflownet2 --size 1024x436
    python tools/time_convolutions.py edvr-m --size 320x180

Runs each network once with random weights and notes what its convolutions are given: shape and memory layout. Then each
of those that the kernel can do is timed both ways in turns (the least of several turns; transforming the weights and
copying maps into channels last count). A line per shape, the time of both, their ratio, and whether the rule in
`flowzoo.operators.convolution.cpu.wins` chooses the kernel.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

import flowzoo
from flowzoo.network import VideoNetwork
from flowzoo.operators.convolution import cpu, definition

Shape = tuple[tuple[int, ...], tuple[int, ...], int, bool, bool]
"""Of maps and weights; dilation; whether maps and whether weights are channels last."""


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--size", default="1024x436")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    width, height = map(int, options.size.split("x"))
    found: Counter[Shape] = Counter()
    with torch.inference_mode():
        for name in options.networks:
            found.update(shapes(name, height, width))
        print("| maps | weights | dilation | layout | PyTorch, ms | kernel, ms | ratio | chosen |\n" + "|---" * 8 + "|")
        for shape, times in sorted(found.items()):
            print(line(shape, times, options.turns), flush=True)
    return 0


def shapes(name: str, height: int, width: int) -> Counter[Shape]:
    """What the convolutions of a network see that the kernel can do."""
    torch.manual_seed(0)
    network = flowzoo.create(name)
    if network.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen: Counter[Shape] = Counter()

    def note(maps: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int) -> bool:
        if weight.shape[2:] == (3, 3) and stride == 1 and padding == (dilation, dilation):
            last = (tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (maps, weight))
            seen[(tuple(maps.shape), tuple(weight.shape), dilation, *last)] += 1
        return cpu_wins(maps, weight, stride, padding, dilation)

    cpu_wins, cpu.wins = cpu.wins, note
    try:
        run(network, height, width)
    finally:
        cpu.wins = cpu_wins
    return seen


def run(network: nn.Module, height: int, width: int) -> None:
    """Once, on noise."""
    if isinstance(network, VideoNetwork):
        network(torch.rand(1, network.frames_in or 5, 3, height, width))
    else:
        network(torch.rand(1, 3, height, width), torch.rand(1, 3, height, width))


def line(shape: Shape, times: int, turns: int) -> str:
    """A row of the table."""
    maps_shape, weight_shape, dilation, maps_last, weight_last = shape
    maps, weight, bias = torch.randn(maps_shape), torch.randn(weight_shape), torch.randn(weight_shape[0])
    maps = maps.contiguous(memory_format=torch.channels_last) if maps_last else maps
    weight = weight.contiguous(memory_format=torch.channels_last) if weight_last else weight
    padding = (dilation, dilation)
    theirs, ours = both(
        lambda: definition.convolve(maps, weight, bias, 1, padding, dilation, 0.1),
        lambda: cpu.convolution(maps.contiguous(memory_format=torch.channels_last), weight, bias, dilation, 0.1),
        turns,
    )
    names = "x".join(map(str, maps_shape)), f"{weight_shape[0]}", str(dilation)
    layout = ("last" if maps_last else "first") + "/" + ("last" if weight_last else "first")
    chosen = "yes" if cpu.wins(maps, weight, 1, padding, dilation) else "no"
    numbers = f"{theirs * 1e3:.2f} | {ours * 1e3:.2f} | {ours / theirs:.2f}"
    return f"| {names[0]} ({times}) | {names[1]} | {names[2]} | {layout} | {numbers} | {chosen} |"


def both(first: Callable[[], object], second: Callable[[], object], turns: int) -> tuple[float, float]:
    """Seconds of each, the least of some turns."""
    least = [float("inf"), float("inf")]
    for _ in range(turns + 1):
        for index, function in enumerate((first, second)):
            began = time.perf_counter()
            function()
            least[index] = min(least[index], time.perf_counter() - began)
    return least[0], least[1]


if __name__ == "__main__":
    sys.exit(main())
