"""Data sets by name. Nothing heavy is imported before one is opened."""

import importlib
from os import PathLike
from typing import TYPE_CHECKING

from flowzoo.errors import InputError
from flowzoo.settings import suggestion

if TYPE_CHECKING:
    from flowzoo.datasets.dataset import FlowDataset

DATASETS = {
    "sintel-clean": "sintel:SintelClean",
    "sintel-final": "sintel:SintelFinal",
    "kitti-2012": "kitti:Kitti2012",
    "kitti-2015": "kitti:Kitti2015",
    "flyingchairs": "flyingchairs:FlyingChairs",
    "flyingchairs2": "flyingchairs2:FlyingChairs2",
    "flyingthings3d": "flyingthings3d:FlyingThings3D",
    "hd1k": "hd1k:Hd1k",
    "spring": "spring:Spring",
    "middlebury": "middlebury:Middlebury",
    "hpatches": "hpatches:HPatches",
    "eth3d": "eth3d:Eth3d",
    "megadepth": "megadepth:MegaDepth",
    "tss": "tss:Tss",
    "pairs": "pairs:Pairs",
}
"""Name -> module of this package and class."""


def dataset_class(name: str) -> "type[FlowDataset]":
    """The class behind a name.

    Raises:
        InputError: there is no such data set; the message names the nearest one.
    """
    if name not in DATASETS:
        raise InputError(f"no data set named {name!r}: {suggestion(name, DATASETS)}")
    module, _, attribute = DATASETS[name].partition(":")
    found: type[FlowDataset] = getattr(importlib.import_module(f"flowzoo.datasets.{module}"), attribute)
    return found


def open_dataset(
    name: str,
    root: str | PathLike[str],
    subset: str | None = None,
    *,
    partial: bool = False,
    images: bool = True,
) -> "FlowDataset":
    """Find a data set's files; see `flowzoo.datasets.dataset.FlowDataset`."""
    return dataset_class(name)(root, subset, partial=partial, images=images)
