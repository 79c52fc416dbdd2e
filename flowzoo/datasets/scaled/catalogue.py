"""Data sets for super-resolution by name, found by looking through this package."""

import functools
import importlib
from typing import TYPE_CHECKING

import flowzoo.datasets.scaled
from flowzoo.datasets.catalogue import classes_in
from flowzoo.errors import InputError
from flowzoo.settings import suggestion

if TYPE_CHECKING:
    from flowzoo.datasets.scaled.scaled_dataset import ScaledDataset


@functools.cache
def _found() -> dict[str, str]:
    return classes_in(flowzoo.datasets.scaled)


def list_scaled_datasets() -> list[str]:
    """The names of all data sets for super-resolution, sorted."""
    return sorted(_found())


def scaled_dataset_class(name: str) -> "type[ScaledDataset]":
    """The class behind a name.

    Raises:
        InputError: there is no such data set; the message names the nearest one.
    """
    if name not in _found():
        raise InputError(f"no data set named {name!r}: {suggestion(name, list_scaled_datasets())}")
    module, _, attribute = _found()[name].partition(":")
    found: type[ScaledDataset] = getattr(importlib.import_module(module), attribute)
    return found
