"""Whether the number of pairs in a batch changes the flow: every flow network, each with several memory bounds.

    python tools/check_batches.py [NAME ...] [--pairs FOLDER] [--size WxH] [--memory GB,GB,...]

Computes the pairs one by one, and in batches of 2 and 5, with the same bound: a bound may cut frames into tiles, whose
flow differs, but how many pairs come must not. FOLDER has six frames or more, in the order of their names; without it,
frames are smooth noise that moves. Networks have the weights that ship, or random ones, whose flow may be hundreds
of pixels; so distances are printed in pixels and, where the mean flow is above one pixel, judged as shares of it. Exit
status 1: batches are further from single pairs than 1e-4 on average, or than 0.05 in more than 0.01 % of the pixels.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import flowzoo
from flowzoo import registry
from flowzoo.creation import create_flow_network
from flowzoo.files.images import read_image
from flowzoo.inference.estimator import Estimator
from flowzoo.network import FlowNetwork

BATCHES = (2, 5)
LARGEST_MEAN, FAR, LARGEST_SHARE = 1e-4, 0.05, 1e-4
LARGEST_MOTION = 6  # pixels from frame to frame, of frames that are made


def made_frames(width: int, height: int) -> list[np.ndarray]:
    """Six windows, each a few pixels on, of a picture that has something to match everywhere."""
    torch.manual_seed(0)
    margin = (max(BATCHES) + 1) * LARGEST_MOTION
    coarse = torch.rand(1, 3, (height + margin) // 4, (width + margin) // 4)
    picture = F.interpolate(coarse, (height + margin, width + margin), mode="bicubic").clamp(0, 1)
    uint8 = (picture[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
    starts = [index * LARGEST_MOTION for index in range(max(BATCHES) + 1)]
    return [np.ascontiguousarray(uint8[start // 2 :, start:][:height, :width]) for start in starts]


def read_frames(folder: Path, width: int, height: int) -> list[np.ndarray]:
    """The first six frames of a folder, resized."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))[: max(BATCHES) + 1]
    frames = [torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].float() for path in paths]
    resized = [F.interpolate(frame, (height, width), mode="bilinear", antialias=True) for frame in frames]
    return [frame[0].permute(1, 2, 0).round().to(torch.uint8).numpy() for frame in resized]


def built(name: str) -> FlowNetwork:
    """A network with the weights that ship, or random ones, in evaluation mode."""
    torch.manual_seed(0)
    return create_flow_network(name, registry.card(name).default_weights or None).eval()


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: every flow network")
    parser.add_argument("--pairs", type=Path, metavar="FOLDER")
    parser.add_argument("--size", default="448x256", metavar="WxH")
    parser.add_argument("--memory", default="0.03,0.06,0.12,0.3,4", metavar="GB,GB,...")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    frames = read_frames(arguments.pairs, width, height) if arguments.pairs else made_frames(width, height)
    firsts, seconds = frames[:-1], frames[1:]
    failed = False
    for name in arguments.names or flowzoo.list_models(task="flow"):
        network = built(name)
        for memory in map(float, arguments.memory.split(",")):
            estimator = Estimator(network, memory=memory)
            plan, together = estimator.plan(height, width), estimator.pairs_at_once(height, width)
            single = [estimator(*pair).flow for pair in zip(firsts, seconds, strict=True)]
            size = float(np.mean([np.linalg.norm(flow, axis=2).mean() for flow in single]))
            for batch in BATCHES:
                found = estimator.batch(firsts[:batch], seconds[:batch])
                distances = np.stack(
                    [np.linalg.norm(one.flow - flow, axis=2) for one, flow in zip(found, single, strict=False)]
                )
                relative = distances / max(1.0, size)
                share = float((relative > FAR).mean())
                bad = not (relative.mean() <= LARGEST_MEAN and share <= LARGEST_SHARE)
                failed |= bad
                cut = "whole" if plan == type(plan)() else "strips" if plan.tiles is None else "tiles"
                print(
                    f"{name:18s} {memory:5g} GB {cut:6s} {min(together, batch)} of {batch} at once: flow {size:8.2f}, "
                    f"mean {distances.mean():.1e}, largest {distances.max():.1e} px, beyond {share:.3%}"
                    + (" FAILED" if bad else ""),
                    flush=True,
                )
    return failed


if __name__ == "__main__":
    sys.exit(main())
