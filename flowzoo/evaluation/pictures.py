"""Error maps of the worst pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Truth
from flowzoo.files.images import write_image
from flowzoo.metrics.kitti import interpolate_background

SPARSE = 0.5
"""Ground truth that knows fewer pixels than this part is drawn with its neighbours."""


def write_error_pictures(
    folder: Path,
    dataset: FlowDataset,
    names: Sequence[str],
    kept: Sequence[tuple[float, int, tuple[np.ndarray, np.ndarray]]],
) -> None:
    """Draw those of `names` (the worst first) whose predictions this process has kept: NN_NAME.png.

    The colours are KITTI's logarithmic ones, darker where the pixel has no match in the second image.
    """
    from flowzoo.visualise import error_picture

    for _, index, (flow, valid) in kept:
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


def _on_image_grid(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth as HxWx2 flow and HxW validity at the prediction's size."""
    if truth.points is not None:
        flow, valid = np.zeros((*truth.size, 2), np.float32), np.zeros(truth.size, bool)
        flow[truth.points], valid[truth.points] = truth.flow, True
        return flow, valid
    step = truth.valid.shape[0] // truth.size[0]
    return truth.flow[::step, ::step], truth.valid[::step, ::step]
