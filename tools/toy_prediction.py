"""The toy experiment of "Comparing Correspondences" (appendix A1): a future with many places for one object.

    python tools/toy_prediction.py -o FOLDER [--loss l1|l2|correspondence] [--steps 4000] [--size 128x256]
    python tools/toy_prediction.py -o FOLDER --flow raft --weights raft-things.pth --precision bfloat16
    python tools/toy_prediction.py -o FOLDER --pixels --rate 0.02 --batch 2 --steps 100

A generator learns one image from fixed noise; each target shows the same object at a random place on the same
background. Pixel by pixel, the best image is a blur (L1: the median over places); by correspondences it should be
one crisp object. Gradients cannot tell the two apart, since the background has most of them; what does is the mean
absolute distance, over the region where the object may be, to the nearest crisp image of all places. It is printed
beside that of the pixel-wise optimum, and both images are written. Goes on where it was when called again. RAFT runs 5
updates, as the paper's. With --pixels there is no generator: the image itself is moved, from the pixel-wise optimum.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import flowzoo
from flowzoo.creation import create_flow_network, default_weights
from flowzoo.devices import pick_precision
from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing
from flowzoo.files.images import write_image
from flowzoo.losses.correspondence import CorrespondenceLoss
from flowzoo.losses.image import ImageLoss, image_loss
from flowzoo.models.video.predictor import ToyGenerator
from flowzoo.synthetic.procedural import procedural_texture
from flowzoo.synthetic.shapes import signed_distance

FLOW_SETTINGS: dict[str, dict[str, Any]] = {
    "wren": {"refinement": "none"},
    "raft": {"iterations": 5},
    "raft-small": {"iterations": 5},
}
SPREAD = 0.15
"""The object's place, as a share of the free width, lies within 0.5 +- this."""


@dataclass(frozen=True)
class Scene:
    """A background (3,H,W), an object's colours (3,h,w) and alpha (1,h,w), in [0,1]."""

    background: Tensor
    colours: Tensor
    alpha: Tensor

    def at(self, place: float) -> Tensor:
        """The image with the object at `place` (0..1) of the free width."""
        height, width = self.alpha.shape[1:]
        top = int(0.5 * (self.background.shape[1] - height))
        left = int(place * (self.background.shape[2] - width))
        image = self.background.clone()
        window = image[:, top : top + height, left : left + width]
        window.copy_(self.alpha * self.colours + (1 - self.alpha) * window)
        return image

    def all_places(self) -> Tensor:
        """Every image that can occur, (N,3,H,W)."""
        free = self.background.shape[2] - self.alpha.shape[2]
        first, last = int((0.5 - SPREAD) * free), int((0.5 + SPREAD) * free)
        return torch.stack([self.at((left + 0.5) / free) for left in range(first, last + 1)])


def make_scene(height: int, width: int) -> Scene:
    """The same for everyone: procedural textures and a drawn shape."""
    ground = torch.from_numpy(procedural_texture(2, 1)).permute(2, 0, 1).float() / 255
    ground = torch.nn.functional.interpolate(ground[None], (width, width), mode="bilinear", antialias=True)[0]
    side = height // 2
    colours = torch.from_numpy(procedural_texture(5, 3))[:side, :side].permute(2, 0, 1).float() / 255
    alpha = (0.5 - signed_distance("blob", 3, side, side, 3.0).float()).clamp(0, 1).reshape(1, side, side)
    return Scene(ground[:, :height].contiguous(), colours, alpha)


class Pixels(nn.Module):
    """An image (3,H,W) in [0,1] that is learned value by value, in place of a generator."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(start.clone())

    def image(self, noise: Tensor) -> Tensor:
        """(1,3,H,W), whatever the noise."""
        return self.values.clamp(0, 1)[None]


def nearest(image: Tensor, places: Tensor) -> float:
    """Distance to the nearest crisp image where images differ at all, of 255."""
    region = (places.amax(dim=0) - places.amin(dim=0)).amax(dim=0) > 1 / 255
    return float((places - image)[..., region].abs().mean(dim=(1, 2)).min() * 255)


def make_loss(options: argparse.Namespace) -> ImageLoss:
    """The objective, of images in [0,1]."""
    if options.loss != "correspondence":
        return image_loss(options.loss)
    weights = options.weights or default_weights(options.flow)
    network = create_flow_network(options.flow, weights, **FLOW_SETTINGS.get(options.flow, {}))
    network.requires_grad_(False)
    precision = pick_precision(options.precision, network.device)

    def flow(first: Tensor, second: Tensor) -> Tensor:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            found: Tensor = network(first, second).flow
        return found.float()

    return CorrespondenceLoss("l1", flow, image_range=(0, 1))


def train(options: argparse.Namespace, scene: Scene, blur: Tensor) -> Tensor:
    """Run the steps that are left; returns the image."""
    torch.manual_seed(0)
    network = Pixels(blur) if options.pixels else flowzoo.create("toy-generator", width=options.width).train()
    assert isinstance(network, (Pixels, ToyGenerator))
    optimizer = torch.optim.Adam(network.parameters(), lr=options.rate)
    noise = torch.randn(1, 3, *scene.background.shape[1:], generator=torch.Generator().manual_seed(1))
    path = options.output / f"{options.title}.pt"
    first = 0
    if path.is_file():
        saved = torch.load(path, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    loss_of, places = make_loss(options), scene.all_places()
    for step in range(first, options.steps):
        drawn = np.random.default_rng((7, step)).uniform(0.5 - SPREAD, 0.5 + SPREAD, options.batch)
        targets = torch.stack([scene.at(place) for place in drawn])
        # The authors' batch repeats one noise, so its statistics are those of the single image.
        loss = loss_of(network.image(noise).expand(options.batch, -1, -1, -1), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % options.every == 0 or step + 1 == options.steps:
            with torch.no_grad():
                image = network.image(noise)[0]
            shown = f"{options.title} step {step + 1}: loss {loss.item():.4f}, nearest crisp image at"
            print(f"{shown} {nearest(image, places):.2f} grey levels", flush=True)
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            with replacing(path) as temporary:
                torch.save(state, temporary)
            save(image, options.output / f"{options.title}.png")
    with torch.no_grad():
        return network.image(noise)[0]


def save(image: Tensor, path: Path) -> None:
    """(3,H,W) in [0,1] as a PNG."""
    write_image(path, (image * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--loss", choices=("l1", "l2", "correspondence"), default="correspondence")
    parser.add_argument("--flow", default="wren", help="flow network of the correspondence-wise loss")
    parser.add_argument("--weights", metavar="TAG|FILE", help="of that network (default: its own)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of that network")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--size", default="128x256", help="HEIGHTxWIDTH")
    parser.add_argument("--width", type=int, default=16, help="of the generator (the paper's has 64)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--pixels", action="store_true", help="no generator: the image itself, from the blur")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--every", type=int, default=100, help="steps between reports")
    options = parser.parse_args()
    options.title = options.loss + (f"-{options.flow}" if options.loss == "correspondence" else "")
    options.title += "-pixels" * options.pixels
    height, width = (int(side) for side in options.size.split("x"))
    options.output.mkdir(parents=True, exist_ok=True)
    scene = make_scene(height, width)
    places = scene.all_places()
    blur = places.median(dim=0).values if options.loss != "l2" else places.mean(dim=0)
    save(blur, options.output / "optimum_of_pixels.png")
    save(places[len(places) // 2], options.output / "crisp.png")
    print(f"the pixel-wise optimum is {nearest(blur, places):.2f} grey levels from the nearest crisp image", flush=True)
    image = train(options, scene, blur)
    print(f"{options.title}: {nearest(image, places):.2f} grey levels; wrote {options.output / options.title}.png")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
