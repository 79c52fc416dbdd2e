"""Draws how GOCor's iterations sharpen the correspondence volume of one pixel (Figure 5 of the GOCor paper).

    python tools/draw_correspondence_volume.py FIRST SECOND -o volume.png --pixel 210,140 --weights FILE
        [--model glunet-gocor] [--iterations 3]

The left column shows the pixel (a cross) in FIRST, and SECOND. Right of them, before the first and after each
iteration: the matching scores of the pixel's filter with all positions of FIRST (above) and of SECOND (below), each
from its own lowest (dark) to its own highest value (bright), and the objective under the columns. The model is
glunet-gocor or basenet-gocor; without --weights its features are random, which only shows that the drawing works.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import flowzoo
from flowzoo.blocks.filter_optimiser import FilterTrace
from flowzoo.blocks.gocor_global import GlobalGOCor
from flowzoo.blocks.matching_geometry import prepare
from flowzoo.blocks.matching_layers import unit_length
from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing
from flowzoo.files.images import read_image
from flowzoo.models.basenet import BaseNet
from flowzoo.models.glunet import COARSE, GRID, GLUNet

SIDE, GAP, LINE = 256, 8, 16
RAMP = np.array([(13, 8, 60), (90, 20, 110), (190, 55, 80), (248, 140, 40), (252, 253, 160)], np.float64)


def volumes(
    network: GLUNet | BaseNet, first: np.ndarray, second: np.ndarray, pixel: tuple[int, int], iterations: int
) -> tuple[Tensor, list[float]]:
    """Scores of one pixel of `first` along GOCor's iterations.

    Args:
        network: with global GOCor.
        first, second: HxWx3 uint8 RGB.
        pixel: x and y in `first`.

    Returns:
        (iterations + 1, 2, 16, 16), with the first image's positions and with the second's; the objective before the
        first and after each iteration.

    Raises:
        InputError: the network has no global GOCor, or the pixel lies outside.
    """
    gocor = getattr(network.global_matching, "gocor", None)
    if not isinstance(gocor, GlobalGOCor):
        raise InputError(f"{network.model_name} has no global GOCor: give --model glunet-gocor or basenet-gocor")
    height, width = first.shape[:2]
    x, y = pixel
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f"--pixel {x},{y} is outside the first image of {width}x{height} pixels")
    position = (y * GRID // height) * GRID + x * GRID // width
    with torch.inference_mode():
        features = []
        for image in (first, second):
            tensor = torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255
            prepared = prepare(tensor, (COARSE, COARSE), network.settings.input_rounding)
            features.append(unit_length(network.backbone(prepared, (4,))[4]))
        trace = FilterTrace()
        gocor.filter_map(features[0], features[1], iterations, trace)
        filters = torch.cat([entry[:, position] for entry in trace.filters])
        scores = torch.stack([filters @ image.flatten(2)[0] for image in features], dim=1)
    return scores.view(-1, 2, GRID, GRID), [float(value) for value in trace.losses["total"]]


def heat(scores: np.ndarray) -> Image.Image:
    """Scores (h,w) in colours, lowest dark, highest bright, enlarged to the size of a panel."""
    share = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-12)
    places = np.linspace(0, 1, len(RAMP))
    colours = np.stack([np.interp(share, places, RAMP[:, channel]) for channel in range(3)], axis=-1)
    return Image.fromarray(np.rint(colours).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def picture(
    first: np.ndarray, second: np.ndarray, pixel: tuple[int, int], scores: Tensor, objective: list[float]
) -> Image.Image:
    """The whole figure."""
    columns = 1 + len(scores)
    sheet = Image.new("RGB", (columns * (SIDE + GAP) - GAP, 2 * (SIDE + GAP) + LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for row, image in enumerate((first, second)):
        sheet.paste(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR), (0, row * (SIDE + GAP)))
    x, y = ((place + 0.5) * SIDE / size for place, size in zip(pixel, first.shape[1::-1], strict=True))
    for ends in (((x - 9, y), (x + 9, y)), ((x, y - 9), (x, y + 9))):
        draw.line(ends, fill="black", width=5)
        draw.line(ends, fill="lime", width=2)
    for column, entry in enumerate(scores.numpy(), 1):
        left = column * (SIDE + GAP)
        for row in range(2):
            sheet.paste(heat(entry[row]), (left, row * (SIDE + GAP)))
        text = f"iteration {column - 1}, objective {objective[column - 1]:.4g}"
        draw.text((left, 2 * (SIDE + GAP) - GAP // 2), text, fill="black")
    return sheet


def parse_pixel(text: str) -> tuple[int, int]:
    """ "210,140" -> (210, 140)."""
    x, separator, y = text.partition(",")
    if not separator or not x.strip().isdigit() or not y.strip().isdigit():
        raise argparse.ArgumentTypeError(f"give x,y in pixels, not {text!r}")
    return int(x), int(y)


def main(arguments: list[str] | None = None) -> int:
    """Draw; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, metavar="FIRST")
    parser.add_argument("second", type=Path, metavar="SECOND")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--pixel", type=parse_pixel, required=True, metavar="X,Y", help="of FIRST")
    parser.add_argument("--model", default="glunet-gocor", metavar="NAME")
    parser.add_argument("--weights", metavar="TAG|FILE")
    parser.add_argument("--iterations", type=int, default=3, metavar="N")
    options = parser.parse_args(arguments)
    try:
        network = flowzoo.create(options.model, options.weights)
        if not isinstance(network, (GLUNet, BaseNet)):
            raise InputError(f"{options.model} has no global GOCor: give --model glunet-gocor or basenet-gocor")
        first, second = read_image(options.first), read_image(options.second)
        scores, objective = volumes(network, first, second, options.pixel, max(0, options.iterations))
        with replacing(options.output) as path:
            picture(first, second, options.pixel, scores, objective).save(path)
    except InputError as error:
        print(f"draw_correspondence_volume: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
