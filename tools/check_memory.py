"""Peak memory of inference against what `bytes_per_pixel` says of it: every flow network, each with several settings.

    python tools/check_memory.py [NAME ...] [--size WxH] [--strips]

Measured is what torch's allocator hands out (the same in every run); the process' resident size is larger by what the
C library keeps of memory that was given back. Prints a line for each network and setting: bytes per pixel of one image
as estimated and as measured, and their ratio. Exit status 1: a ratio is not within 0.75 and 1.25.
"""

import argparse
import sys

import torch

import flowzoo
from flowzoo.blocks.strips import strip_pixels
from flowzoo.inference.estimator import STRIP_PIXELS
from flowzoo.settings import parse_settings
from flowzoo.timing.allocations import peak_allocated

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


def measured(name: str, words: tuple[str, ...], size: tuple[int, int], *, strips: bool) -> tuple[float, float]:
    """Bytes per pixel as estimated and as measured."""
    width, height = size
    torch.manual_seed(0)
    torch.set_num_threads(2)
    network = flowzoo.create(name, **parse_settings(list(words)))
    if network.channels_last:
        network.to(memory_format=torch.channels_last)
    first, second = torch.rand(2, 1, 3, height, width)
    with torch.inference_mode(), strip_pixels(STRIP_PIXELS if strips else None):
        network(first[..., :64, :64], second[..., :64, :64])
        peak = peak_allocated(lambda: network(first, second))
    estimate = (network.bytes_per_pixel_in_strips if strips else network.bytes_per_pixel) or 0
    return estimate + network.fixed_bytes / (height * width), peak / (height * width)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: every flow network")
    parser.add_argument("--size", default="512x448", metavar="WxH")
    parser.add_argument("--strips", action="store_true", help="in strips of rows, where networks can")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    far = 0
    for name in arguments.names or flowzoo.list_models(task="flow"):
        if arguments.strips and flowzoo.create(name).bytes_per_pixel_in_strips is None:
            continue
        for words in SETTINGS.get(name, _PYRAMID):
            estimate, found = measured(name, words, (width, height), strips=arguments.strips)
            ratio = found / estimate
            far += abs(ratio - 1) > LARGEST_ERROR
            title = " ".join([name, *words])
            print(f"{title:48s} estimated {estimate:6.0f}, measured {found:6.0f}, ratio {ratio:.2f}", flush=True)
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
