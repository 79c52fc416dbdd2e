"""Pictures of the worst pairs: error maps, and what a contact sheet shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.evaluation.contact_sheet import SheetRow, small_jpeg
from flowzoo.files.images import eight_bits, write_image
from flowzoo.metrics.kitti import interpolate_background

SPARSE = 0.5
"""Ground truth that knows fewer pixels than this part is drawn with its neighbours."""


def write_error_pictures(
    folder: Path,
    dataset: FlowDataset,
    names: Sequence[str],
    kept: Sequence[tuple[float, int, tuple[np.ndarray, np.ndarray]]],
) -> list[SheetRow]:
    """Draw those of `names` (the worst first) whose predictions this process has kept: NN_NAME.png.

    The colours are KITTI's logarithmic ones, darker where the pixel has no match in the second image.

    Returns:
        The same pairs for a contact sheet.
    """
    from flowzoo.visualise import error_picture

    rows = []
    for epe, index, (flow, valid) in kept:
        pair = dataset.pairs[-index]
        truth = dataset.read_truth(pair)
        if pair.name not in names or truth is None:
            continue
        true_flow, known = _on_image_grid(truth)
        filled = flow if valid.all() else interpolate_background(flow, valid)
        file = f"{names.index(pair.name) + 1:02d}_{pair.name.replace('/', '_')}.png"
        picture = error_picture(
            filled, true_flow, known, occluded=truth.masks.get("occlusion"), spread=known.mean() < SPARSE
        )
        write_image(folder / file, picture)
        shown = _frames(dataset, pair) | _flows(filled, true_flow, known) | {"error": picture}
        small = tuple((what, small_jpeg(eight_bits(pixels))) for what, pixels in shown.items())
        rows.append(SheetRow(names.index(pair.name) + 1, pair.name, epe, small))
    return rows


def _frames(dataset: FlowDataset, pair: Pair) -> dict[str, np.ndarray]:
    """Both images, where they are there: files of flow can be scored without them."""
    if not (pair.first.is_file() and pair.second.is_file()):
        return {}
    return dict(zip(("first", "second"), dataset.read_images(pair), strict=True))


def _flows(flow: np.ndarray, truth: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """Estimate and truth in one scale, that of the truth."""
    from flowzoo.visualise import flow_picture, flow_scale

    scale = flow_scale(truth, known) or 1.0
    return {"flow": flow_picture(flow, max_flow=scale), "truth": flow_picture(truth, known, max_flow=scale)}


def _on_image_grid(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth as HxWx2 flow and HxW validity at the prediction's size."""
    if truth.points is not None:
        flow, valid = np.zeros((*truth.size, 2), np.float32), np.zeros(truth.size, bool)
        flow[truth.points], valid[truth.points] = truth.flow, True
        return flow, valid
    step = truth.valid.shape[0] // truth.size[0]
    return truth.flow[::step, ::step], truth.valid[::step, ::step]
