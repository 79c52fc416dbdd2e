"""Data sets for super-resolution by name, found by looking through this package."""

from typing import TYPE_CHECKING

import flowzoo.datasets.scaled
from flowzoo.datasets.catalogue import Catalogue

if TYPE_CHECKING:
    from flowzoo.datasets.scaled.scaled_dataset import ScaledDataset

_CATALOGUE = Catalogue(flowzoo.datasets.scaled, "data set")


def list_scaled_datasets() -> list[str]:
    """The names of all data sets for super-resolution, sorted."""
    return _CATALOGUE.names()


def scaled_dataset_class(name: str) -> "type[ScaledDataset]":
    """The class behind a name; see `Catalogue.find`."""
    found: type[ScaledDataset] = _CATALOGUE.find(name)
    return found
