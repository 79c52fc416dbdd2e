"""How losses grow with an object's offset: Figure 2b and appendix A2 of "Comparing Correspondences".

    python tools/loss_against_offset.py -o offset.png [--backgrounds FOLDER] [--object CUTOUT.png]
    python tools/loss_against_offset.py -o offset.png --model raft --weights raft-things --set iterations=5

An object is pasted in the middle of a background, and again some pixels to the right; the two images are compared by L1
pixel by pixel, and correspondence-wise with and without flow scaling. Prints the mean over all backgrounds and draws
it with its 95 % interval, each curve relative to its value at the largest offset, and says how straight each is, over
all offsets and over those that a small flow network follows.
The drawing needs matplotlib (extra `plots`). Without --backgrounds and --object procedural textures and a drawn shape
are used, so that anyone gets the same numbers.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowzoo.creation import create_flow_network, default_weights
from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing
from flowzoo.losses.correspondence import CorrespondenceLoss
from flowzoo.losses.image import l1
from flowzoo.network import FlowNetwork
from flowzoo.settings import parse_settings
from flowzoo.synthetic.procedural import procedural_texture
from flowzoo.synthetic.shapes import signed_distance
from flowzoo.synthetic.textures import Textures

HEIGHT, WIDTH, OBJECT = 128, 256, 56
NAMES = ("correspondence-wise, scaling 0.1", "correspondence-wise, no scaling", "pixel-wise L1")
OFFSETS = (0, 1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40)
NEAR = 20
"""Offsets up to here are told apart in the second number for straightness: further ones are lost by small networks."""


def backgrounds(folder: Path | None, count: int) -> Tensor:
    """(N,3,H,W) in [0,1]: the middles of the folder's pictures, or procedural textures."""
    found = []
    photographs = None if folder is None else Textures(folder).photographs
    for index in range(count if photographs is None else min(count, len(photographs))):
        if photographs is None:
            picture = torch.from_numpy(procedural_texture(2, index)).permute(2, 0, 1).float() / 255
        else:
            picture = photographs[index].float() / 255
        size = (HEIGHT, max(WIDTH, round(picture.shape[2] * HEIGHT / picture.shape[1])))
        small = torch.nn.functional.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
        left = (small.shape[2] - WIDTH) // 2
        found.append(small[:, :, left : left + WIDTH])
    return torch.stack(found)


def cutout(path: Path | None) -> tuple[Tensor, Tensor]:
    """Colours (3,h,w) in [0,1] and alpha (1,h,w) of the object, OBJECT pixels high."""
    if path is None:
        colours = torch.from_numpy(procedural_texture(5, 3))[:OBJECT, :OBJECT].permute(2, 0, 1).float() / 255
        distance = signed_distance("blob", 3, OBJECT, OBJECT, 3.0)
        return colours, (0.5 - distance.float()).clamp(0, 1).reshape(1, OBJECT, OBJECT)
    from PIL import Image

    from flowzoo.files.images import read_image

    colours = torch.from_numpy(read_image(path)).permute(2, 0, 1).float() / 255
    alpha = torch.from_numpy(np.array(Image.open(path).convert("RGBA"))[..., 3]).float() / 255
    size = (OBJECT, max(1, round(colours.shape[2] * OBJECT / colours.shape[1])))
    both = torch.nn.functional.interpolate(
        torch.cat([colours, alpha[None]])[None], size, mode="bilinear", antialias=True
    )[0]
    return both[:3], both[3:]


def pasted(background: Tensor, colours: Tensor, alpha: Tensor, offset: int) -> Tensor:
    """(N,3,H,W) with the object `offset` pixels right of the middle."""
    height, width = alpha.shape[1:]
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2 + offset
    image = background.clone()
    window = image[..., top : top + height, left : left + width]
    window.copy_(alpha * colours + (1 - alpha) * window)
    return image


def straightness(curve: np.ndarray, farthest: int) -> float:
    """Correlation of loss and offset up to `farthest`; 1 = a straight line."""
    chosen = np.array(OFFSETS) <= farthest
    return float(np.corrcoef(np.array(OFFSETS)[chosen], curve[chosen])[0, 1])


def measure(network: FlowNetwork, images: list[Tensor]) -> dict[str, np.ndarray]:
    """Each loss by background and offset, (N, offsets); correspondences are found once for both scalings."""
    scaled, plain = CorrespondenceLoss("l1"), CorrespondenceLoss("l1", scaling=0.0)
    rows: dict[str, list[list[float]]] = {name: [] for name in NAMES}
    true = images[0]
    for moved in images:
        flows = network(true, moved).flow, network(moved, true).flow
        singles = [(moved[k : k + 1], true[k : k + 1], tuple(f[k : k + 1] for f in flows)) for k in range(len(true))]
        values = (
            [scaled(*single).item() for single in singles],
            [plain(*single).item() for single in singles],
            [l1(*single[:2]).item() for single in singles],
        )
        for name, found in zip(NAMES, values, strict=True):
            rows[name].append(found)
    return {name: np.array(found).T for name, found in rows.items()}


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """Mean and 95 % interval of each loss against the offset, relative to the largest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, values in curves.items():
        mean, deviation = values.mean(axis=0), 1.96 * values.std(axis=0) / len(values) ** 0.5
        axes.plot(OFFSETS, mean / mean[-1], label=name, marker=".")
        axes.fill_between(OFFSETS, (mean - deviation) / mean[-1], (mean + deviation) / mean[-1], alpha=0.2)
    axes.set(xlabel="offset of the object, pixels", ylabel="loss, relative to the largest")
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--backgrounds", type=Path)
    parser.add_argument("--object", type=Path)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--model", default="wren", help="flow network")
    parser.add_argument("--weights", metavar="TAG|FILE", help="of that network (default: its own)")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a setting of that network")
    options = parser.parse_args()
    weights = options.weights or default_weights(options.model)
    network = create_flow_network(options.model, weights, **parse_settings(options.set))
    colours, alpha = cutout(options.object)
    ground = backgrounds(options.backgrounds, options.count)
    with torch.inference_mode():
        curves = measure(network, [pasted(ground, colours, alpha, offset) for offset in OFFSETS])
    print("offset, pixels".ljust(34) + " ".join(f"{offset:5d}" for offset in OFFSETS) + f"  straight, to {NEAR} px")
    for name, values in curves.items():
        mean = values.mean(axis=0)
        row = " ".join(f"{value:5.3f}" for value in mean / mean[-1])
        print(f"{name:34s}{row}    {straightness(mean, OFFSETS[-1]):.4f}  {straightness(mean, NEAR):.4f}")
    draw(curves, options.output)
    print(f"wrote {options.output} ({len(ground)} backgrounds)")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
