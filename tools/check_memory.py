"""Peak memory of inference against `FlowNetwork.peak_bytes`: every flow network, each with several settings.

    python tools/check_memory.py [NAME ...] [--precision PRECISION] [--cut CUT] [--size WxH] [--resident]

Whole and in strips of rows (networks that can), in float32 and in bfloat16, unless one is chosen. Measured is what
torch's allocator hands out (the same in every run). `--resident` prints the rise of the process' resident size, too,
which has the kernels' own buffers in it; its first line is right, later ones lack what the C library still holds of
the lines before. Prints a line for each: bytes per pixel of one image as estimated and as measured, and their ratio.
Exit status 1: a ratio is not within 0.75 and 1.25.
"""

import argparse
import itertools
import sys

import torch

import flowzoo
from flowzoo.blocks.strips import strip_pixels
from flowzoo.inference.estimator import STRIP_PIXELS
from flowzoo.inference.memory_bound import halves_maps
from flowzoo.network import FlowNetwork
from flowzoo.settings import parse_settings
from flowzoo.timing.allocations import peak_allocated
from flowzoo.timing.clock import peak_memory

_PYRAMID = ((), ("cost_range=7",), ("flow_cues=true",))
SETTINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "wren": ((), ("cost_range=7", "flow_cues=true"), ("cascade=true",), ("refinement=none",)),
    "raft": ((), ("radius=6",), ("upsampling=bilinear",)),
    "raft-small": ((), ("radius=5",), ("cost_volume=on-demand",)),
    "spynet": ((), ("levels=adaptive",)),  # it has no third
    "glunet": ((), ("local_matching=gocor",), ("global_matching=gocor",)),
    "glunet-gocor": ((), ("local_matching=correlation",), ("gocor_local_iterations=3",)),
    "semantic-glunet": ((), ("flipping=true",), ("iterative_refinement=false",)),
    "basenet": ((), ("mutual_matching=true",), ("input_rounding=float",)),
    "basenet-gocor": ((), ("mutual_matching=true",), ("input_rounding=float",)),
}
"""Of each network; those that are not here have a pyramid's."""

LARGEST_ERROR = 0.25
SIZES = {"whole": "512x448", "strips": "1920x1088"}
"""Of frames; the finest maps of most networks, at a quarter of the size, are one strip up to a million pixels."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def built(name: str, words: tuple[str, ...]) -> FlowNetwork:
    """A network with random weights in the memory layout that it runs in."""
    torch.manual_seed(0)
    network = flowzoo.create(name, **parse_settings(list(words)))
    if network.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def measured(network: FlowNetwork, size: tuple[int, int], precision: str, cut: str, *, resident: bool) -> list[float]:
    """Bytes per pixel as estimated and as measured, and the rise of the resident size where that is asked for."""
    width, height = size
    first, second = torch.rand(2, 1, 3, height, width)
    dtype, strips = PRECISIONS[precision], cut == "strips"
    lowered = torch.autocast("cpu", dtype, enabled=dtype != torch.float32)
    with torch.inference_mode(), strip_pixels(STRIP_PIXELS if strips else None), lowered:
        network(first[..., :64, :64], second[..., :64, :64])
        rise = [peak_memory(lambda: network(first, second), first.device) or 0] if resident else []
        peak = peak_allocated(lambda: network(first, second))
    estimate = network.peak_bytes(height * width, lowered=halves_maps(first.device, dtype), strips=strips)
    return [number / (height * width) for number in (estimate, peak, *rise)]


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: every flow network")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: both")
    parser.add_argument("--cut", choices=SIZES, help="default: both")
    parser.add_argument("--size", metavar="WxH", help="default: 512x448 whole, 1920x1088 in strips")
    parser.add_argument("--resident", action="store_true", help="also the rise of the process' resident size")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    precisions = [arguments.precision] if arguments.precision else list(PRECISIONS)
    cuts = [arguments.cut] if arguments.cut else list(SIZES)
    far = 0
    for name in arguments.names or flowzoo.list_models(task="flow"):
        for words, cut, precision in itertools.product(SETTINGS.get(name, _PYRAMID), cuts, precisions):
            network = built(name, words)
            if cut == "strips" and network.bytes_per_pixel_in_strips is None:
                continue
            width, height = map(int, (arguments.size or SIZES[cut]).split("x"))
            estimate, found, *rise = measured(network, (width, height), precision, cut, resident=arguments.resident)
            ratio = found / estimate
            far += abs(ratio - 1) > LARGEST_ERROR
            title = f"{' '.join([name, *words]):48s} {cut:6s} {precision:8s}"
            line = f"{title} estimated {estimate:6.0f}, measured {found:6.0f}, ratio {ratio:.2f}"
            print(line + "".join(f", resident {number:6.0f}" for number in rise), flush=True)
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
