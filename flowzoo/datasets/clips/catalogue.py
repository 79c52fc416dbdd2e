"""Data sets of clips by name, found by looking through this package."""

import functools
import importlib
from os import PathLike
from typing import TYPE_CHECKING

import flowzoo.datasets.clips
from flowzoo.datasets.catalogue import classes_in
from flowzoo.errors import InputError
from flowzoo.settings import suggestion

if TYPE_CHECKING:
    from flowzoo.datasets.clips.clip_dataset import ClipDataset


@functools.cache
def _found() -> dict[str, str]:
    return classes_in(flowzoo.datasets.clips)


def list_clip_datasets() -> list[str]:
    """The names of all data sets of clips, sorted."""
    return sorted(_found())


def open_clips(
    name: str, root: str | PathLike[str], subset: str | None = None, *, partial: bool = False
) -> "ClipDataset":
    """Find a data set's clips; see `flowzoo.datasets.clips.clip_dataset.ClipDataset`.

    Raises:
        InputError: there is no such data set (the message names the nearest one), or it is not there.
    """
    if name not in _found():
        raise InputError(f"no data set of clips named {name!r}: {suggestion(name, list_clip_datasets())}")
    module, _, attribute = _found()[name].partition(":")
    kind: type[ClipDataset] = getattr(importlib.import_module(module), attribute)
    return kind(root, subset, partial=partial)
