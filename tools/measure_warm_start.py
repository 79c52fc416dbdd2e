"""What starting from the flow of the frame before is worth: photometric error by iterations, with and without.

    python tools/measure_warm_start.py VIDEO --weights raft.safetensors [--frames 40:80] [--scale 0.5]

Every frame is compared with the next one warped by the flow, where the flow stays inside the image; errors are means of
absolute differences on the 0..255 scale. The last column is the number of cold iterations whose error the warm ones
reach.
"""

import argparse
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import flowzoo
from flowzoo.checkpoints import model_of_weights
from flowzoo.files.video import open_video
from flowzoo.flow.propagation import propagated
from flowzoo.network import FlowNetwork
from flowzoo.operators import warp


def photometric_error(first: Tensor, second: Tensor, flow: Tensor) -> float:
    """Mean absolute difference of (1,3,H,W) images in [0,1], times 255, where p + flow(p) is inside."""
    height, width = flow.shape[2:]
    inside = warp(torch.ones(1, 1, height, width), flow) > 0.999
    return 255 * float(((first - warp(second, flow)).abs() * inside).sum() / (3 * inside.sum()))


@torch.inference_mode()
def errors(network: FlowNetwork, frames: list[Tensor], warm: bool) -> float:
    """Mean photometric error over neighbouring frames."""
    found, coarse = [], None
    for first, second in pairwise(frames):
        if warm and coarse is not None:
            prediction = network.from_start(first, second, propagated(coarse))
        else:
            prediction = network(first, second)
        coarse = prediction.details["coarse_flow"]
        found.append(photometric_error(first, second, prediction.flow))
    return float(np.mean(found[1:]))  # the first pair has nothing to start from


def read_frames(path: Path, first: int, last: int, scale: float) -> list[Tensor]:
    """Frames first..last of a video as (1,3,H,W) in [0,1]."""
    with open_video(path) as video:
        images = [
            torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 for frame in islice(video, first, last + 1)
        ]
    if scale == 1:
        return images
    return [F.interpolate(image, scale_factor=scale, mode="bilinear", antialias=True).clamp(0, 1) for image in images]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--frames", default="0:40", metavar="FIRST:LAST")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--iterations", default="1,2,3,4,6,8,12")
    options = parser.parse_args()
    first, last = map(int, options.frames.split(":"))
    frames = read_frames(options.video, first, last, options.scale)
    nothing = torch.zeros(1, 2, *frames[0].shape[2:])
    still = float(np.mean([photometric_error(one, other, nothing) for one, other in pairwise(frames[1:])]))
    name = model_of_weights(options.weights)
    counts = [int(word) for word in options.iterations.split(",")]
    networks = [flowzoo.create(name, options.weights, iterations=count) for count in counts]
    cold = [errors(network, frames, False) for network in networks]
    print(f"{name}, {last - first} pairs, {frames[0].shape[3]}x{frames[0].shape[2]}; without flow {still:.3f}")
    print("| iterations | cold | warm | as many cold iterations |\n|---|---|---|---|")
    for count, network, before in zip(counts, networks, cold, strict=True):
        after = errors(network, frames, True)
        reached = next((str(n) for n, error in zip(counts, cold, strict=True) if error <= after), f"over {counts[-1]}")
        print(f"| {count} | {before:.3f} | {after:.3f} | {reached} |", flush=True)


if __name__ == "__main__":
    main()
