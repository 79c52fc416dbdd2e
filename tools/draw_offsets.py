"""Draws the offsets that a network aligns a neighbouring frame with, sorted by their distance from optical flow.

    python tools/draw_offsets.py FRAMES --model edvr-m --weights EDVR_M.pth -o offsets.png --masks masks.png

Figure 6 of "Understanding Deformable Alignment in Video Super-Resolution": the flow, the nearest offsets, the farthest
ones, and where offsets are diverse. --masks draws figure 17: each offset's mean mask against its mean distance. FRAMES
is a folder of small frames; the drawings need matplotlib (extra `plots`). Numbers are printed.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowzoo.creation import create_flow_network, create_video_network, default_weights
from flowzoo.errors import InputError
from flowzoo.files.images import list_images, read_image
from flowzoo.inference.windows import border_index
from flowzoo.losses.offset_fidelity import flow_at
from flowzoo.metrics.offsets import OffsetMeasures, diversity_map, offset_measures
from flowzoo.network import VideoNetwork
from flowzoo.settings import parse_settings
from flowzoo.visualise import flow_picture, flow_scale

SHOWN = 4
"""Offsets drawn at either end."""
PICTURES = (".png", ".pdf", ".svg", ".jpg")
"""What drawings are written as."""


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--model", default="kestrel")
    parser.add_argument("--weights")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--frame", type=int, default=0, help="number of the reference frame, from 0")
    parser.add_argument("--neighbour", type=int, default=1, help="frames from there to the neighbour (default: 1)")
    parser.add_argument("--level", default="l1", help="of the alignments: l1, l2, l3, cascade; of tdan 1 to 4")
    parser.add_argument("--flow", default="wren", help="flow network with weights of its own (default: wren)")
    parser.add_argument("-o", "--output", type=Path, default=Path("offsets.png"))
    parser.add_argument("--masks", type=Path)
    options = parser.parse_args()
    try:
        for path in (options.output, options.masks):
            if path is not None and path.suffix.lower() not in PICTURES:
                raise InputError(f"{path}: pictures are {', '.join(PICTURES)}")
        weights = options.weights or default_weights(options.model)
        network = create_video_network(options.model, weights, **parse_settings(options.set))
        offset, mask, flow = aligned(network, options)
        measures = offset_measures(offset, flow, mask)
    except InputError as error:
        print(f"draw_offsets: {error}", file=sys.stderr)
        return 2
    print(f"{len(measures.l1_distance)} offsets; diversity {measures.diversity:.3f} px")
    print(
        f"within 1 px of the flow: {measures.within_1px:.1%} of all, {measures.closest_within_1px:.1%} of the nearest"
    )
    draw_offsets(options.output, offset, flow, measures)
    if options.masks is not None and measures.mask_mean is not None:
        print(f"correlation of mask and distance: {measures.mask_pearson:.3f}")
        draw_masks(options.masks, measures)
    return 0


@torch.inference_mode()
def aligned(network: VideoNetwork, options: argparse.Namespace) -> tuple[Tensor, Tensor | None, Tensor]:
    """Offsets (1,2*G*N,h,w), masks or None, and the flow at their size.

    Raises:
        InputError: the network has no offsets, or there is no such frame or level.
    """
    files, count = list_images(options.frames), network.frames_in
    if count is None:
        raise InputError(f"{options.model} takes no windows: only networks that align a window's frames have offsets")
    if not 0 <= options.frame < len(files):
        raise InputError(f"{options.frames} has no frame {options.frame}: there are {len(files)}, counted from 0")
    reach = count // 2
    if not 1 <= abs(options.neighbour) <= reach:
        raise InputError(f"--neighbour must be 1 to {reach} frames before or behind, got {options.neighbour}")
    numbers = range(options.frame - reach, options.frame + reach + 1)
    rule = network.temporal_border
    places = [border_index(number, options.frame, len(files) - 1, reach, rule) for number in numbers]
    pictures = [read_image(files[place]) for place in places]
    if len({picture.shape for picture in pictures}) > 1:
        raise InputError(f"the frames around {files[options.frame]} have different sizes")
    frames = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    network.inspected = True
    details = network(frames[None]).details
    entries, place = details.get("offsets", []), reach + options.neighbour
    if len(entries) == count - 1:
        place -= options.neighbour > 0
    if not entries or options.level not in entries[place]:
        known = ", ".join(entries[place]) if entries else "none"
        raise InputError(f"{options.model} has no offsets at level {options.level!r}: known are {known}")
    offset, masks = entries[place][options.level].float(), details.get("masks")
    estimator = create_flow_network(options.flow, default_weights(options.flow))
    flow = estimator(frames[reach][None], frames[reach + options.neighbour][None]).flow
    height, width = offset.shape[-2:]
    scale = 1
    while flow.shape[-1] > scale * width:
        scale *= 2
    rows, columns = scale * height - flow.shape[-2], scale * width - flow.shape[-1]
    flow = torch.nn.functional.pad(flow, (0, columns, 0, rows), mode="replicate")
    return offset, masks[place][options.level] if masks else None, flow_at(flow, offset)


def draw_offsets(path: Path, offset: Tensor, flow: Tensor, measures: OffsetMeasures) -> None:
    """Figure 6: flow and nearest offsets above, diversity and farthest ones below."""
    pyplot = plots()
    count = len(measures.order)
    near = measures.order[: min(SHOWN, count)].tolist()
    far = measures.order[-min(SHOWN, count) :].tolist() if count > 1 else []
    fields = offset[0].unflatten(0, (count, 2)).flip(1).permute(0, 2, 3, 1).numpy()
    true = flow[0].permute(1, 2, 0).numpy()
    scale = max(flow_scale(true), 1.0)
    figure, axes = pyplot.subplots(2, SHOWN + 1, figsize=(3 * (SHOWN + 1), 4.4), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    axes[0][0].imshow(flow_picture(true, max_flow=scale))
    axes[0][0].set_title("optical flow")
    heat = axes[1][0].imshow(diversity_map(offset)[0].numpy(), cmap="inferno")
    axes[1][0].set_title("diversity, px")
    figure.colorbar(heat, ax=axes[1][0], fraction=0.04)
    for row, numbers in enumerate((near, far)):
        for column, number in enumerate(numbers, 1):
            axes[row][column].imshow(flow_picture(np.ascontiguousarray(fields[number]), max_flow=scale))
            axes[row][column].set_title(f"offset {number}: {float(measures.l1_distance[number]):.2f} px")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")


def draw_masks(path: Path, measures: OffsetMeasures) -> None:
    """Figure 17: mean mask against mean distance, a point an offset."""
    pyplot = plots()
    assert measures.mask_mean is not None, "only called with masks"
    figure, axis = pyplot.subplots(figsize=(5, 4))
    axis.scatter(measures.mask_mean.numpy(), measures.l1_distance.numpy(), s=14)
    axis.set_xlabel("mean mask")
    axis.set_ylabel("mean |dx| + |dy| from the flow, px")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")


def plots():  # type: ignore[no-untyped-def]
    """matplotlib's pyplot, drawing to files."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("the drawings need matplotlib: pip install 'flowzoo[plots]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


if __name__ == "__main__":
    sys.exit(main())
