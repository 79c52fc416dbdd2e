"""Data sets of clips by name, found by looking through this package."""

from os import PathLike
from typing import TYPE_CHECKING

import flowzoo.datasets.clips
from flowzoo.datasets.catalogue import Catalogue

if TYPE_CHECKING:
    from flowzoo.datasets.clips.clip_dataset import ClipDataset


_CATALOGUE = Catalogue(flowzoo.datasets.clips, "data set of clips")


def list_clip_datasets() -> list[str]:
    """The names of all data sets of clips, sorted."""
    return _CATALOGUE.names()


def open_clips(
    name: str, root: str | PathLike[str], subset: str | None = None, *, partial: bool = False
) -> "ClipDataset":
    """Find a data set's clips; see `flowzoo.datasets.clips.clip_dataset.ClipDataset`.

    Raises:
        InputError: there is no such data set (the message names the nearest one), or it is not there.
    """
    kind: type[ClipDataset] = _CATALOGUE.find(name)
    return kind(root, subset, partial=partial)
