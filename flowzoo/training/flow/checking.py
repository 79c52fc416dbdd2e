"""What can be seen to be wrong with training pairs before the first step, at little cost."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flowzoo.augmentation import Augmentation
from flowzoo.augmentation.spatial import check_crop
from flowzoo.datasets.dataset import FlowDataset
from flowzoo.errors import InputError
from flowzoo.files.flow import read_flow
from flowzoo.files.images import image_size
from flowzoo.files.reading import opened
from flowzoo.training.flow.mixture import Mixture
from flowzoo.training.flow.sources import DatasetSource, check_size

CHECKED = 2000
"""Of a source with more pairs, so many are looked at, evenly spread: a second or two on a local disk."""
THREADS = 4
log = logging.getLogger(__name__)


def check_mixture(mixture: Mixture) -> None:
    """Read the first pair of every source, and the headers of the others' files; say what is not there.

    Raises:
        InputError: a file is not what it should be, sizes differ, or the crop does not fit.
    """
    for place, source in enumerate(mixture.sources):
        if not isinstance(source, DatasetSource):
            continue
        for note in source.notes:
            log.info("%s: %s", source.dataset.name, note)
        mixture.augmentation(source[0], place, 0)
        check_headers(source, mixture.augmentation)


def check_headers(source: DatasetSource, augmentation: Augmentation | None = None) -> None:
    """Sizes of the images and of the ground truth, as their files' first bytes say, and whether the crop fits.

    Only where files are used as they are: some data sets resize or assemble what they read.

    Raises:
        InputError: a file is not what it should be, sizes differ, or the crop does not fit.
    """
    kind = type(source.dataset)
    if kind.read_images is not FlowDataset.read_images or kind.training_flow is not FlowDataset.training_flow:
        return
    with_flow = kind.read_truth is FlowDataset.read_truth

    def check(index: int) -> None:
        pair = source.pair(index)
        size = image_size(pair.first)
        check_size(pair.first, size, pair.second, image_size(pair.second))
        if with_flow and pair.flow is not None:
            check_size(pair.first, size, pair.flow, flow_size(pair.flow))
        if augmentation is not None:
            try:
                check_crop(augmentation.settings, size, augmentation.crop)
            except InputError as error:
                raise InputError(f"{pair.first}: {error}") from error

    step = -(-len(source) // CHECKED)
    with ThreadPoolExecutor(THREADS, "flowzoo-headers") as pool:
        # The first fault in the source's order, whichever thread was first.
        for _ in pool.map(check, range(0, len(source), step)):
            pass


def flow_size(path: Path) -> tuple[int, int]:
    """Height and width of a flow file; of .flo and KITTI's PNG from the first bytes, others are read.

    Raises:
        InputError: it is no flow file.
    """
    with opened(path, "a flow file") as (file, size):
        start = file.read(26)
    width, height = int.from_bytes(start[4:8], "little"), int.from_bytes(start[8:12], "little")
    if start.startswith(b"PIEH") and size == 12 + 8 * width * height:
        return height, width
    if start.startswith(b"\x89PNG\r\n\x1a\n") and start[12:16] == b"IHDR" and start[24:26] == b"\x10\x02":  # 16-bit RGB
        return int.from_bytes(start[20:24], "big"), int.from_bytes(start[16:20], "big")
    shape = read_flow(path)[1].shape
    return shape[0], shape[1]
