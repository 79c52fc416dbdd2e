"""PSNR of frames in between, for a clip whose every second frame is left out.

    python tools/score_interpolation.py FOLDER [--method splat|half-flow|average] [--steps 20] [--pictures FOLDER]

The second, fourth, ... frame is made from its two neighbours, rounded to 8 bits and compared with the true one,
RGB; printed are the mean PSNR of the method and of the mean of the two frames. --pictures writes each made frame beside
the true one.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from flowzoo.creation import create_flow_network, default_weights
from flowzoo.errors import InputError
from flowzoo.files.images import write_image
from flowzoo.inference.estimator import Estimator
from flowzoo.inference.interpolation import AverageInterpolator, FlowInterpolator, Interpolator
from flowzoo.inference.sequences import open_frames


def psnr(found: np.ndarray, wanted: np.ndarray) -> float:
    """Of two HxWx3 uint8 frames, dB."""
    error = np.square(found.astype(np.float64) - wanted).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def make_method(name: str, steps: int) -> Interpolator:
    """A method of `flowzoo interpolate`, with wren."""
    estimator = Estimator(create_flow_network("wren", default_weights("wren")), backward=True)
    if name == "average":
        return AverageInterpolator(estimator, steps)
    return FlowInterpolator(estimator, plain=name == "half-flow")


def main() -> None:
    """Make, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", help="folder of frames, or video")
    parser.add_argument("--method", choices=("splat", "half-flow", "average"), default="splat")
    parser.add_argument("--steps", type=int, default=20, help="of --method average")
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    frames = [frame.pixels for frame in open_frames(options.frames, least=3)]
    method = make_method(options.method, options.steps)
    scores = []
    for before, true, after in zip(frames[::2], frames[1::2], frames[2::2], strict=False):
        made = method([before, after], [0.5])[0]
        mean = ((before.astype(np.float64) + after) / 2).round().astype(np.uint8)
        scores.append((psnr(made, true), psnr(mean, true)))
        print(f"frame {len(scores)}: {scores[-1][0]:.2f} dB", flush=True)
        if options.pictures:
            write_image(options.pictures / f"{len(scores):04d}.png", np.concatenate([made, true], axis=1))
    found, mean_of_both = np.mean(scores, axis=0)
    print(f"{method.title}: {found:.2f} dB; the mean of the two frames: {mean_of_both:.2f} dB; {len(scores)} frames")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
