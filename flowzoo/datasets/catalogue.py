"""Data sets by name, found by looking through this package. Nothing heavy is imported before one is opened."""

import ast
import functools
import importlib.util
import pkgutil
from collections.abc import Iterator
from importlib.abc import InspectLoader
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING, Any

import flowzoo.datasets
from flowzoo.errors import InputError
from flowzoo.settings import suggestion

if TYPE_CHECKING:
    from flowzoo.datasets.dataset import FlowDataset


class Catalogue:
    """The data sets of a package.

    Args:
        package: whose files hold a class each.
        title: of what they are, for messages ("data set").
    """

    def __init__(self, package: ModuleType, title: str) -> None:
        self.package, self.title = package, title

    @functools.cached_property
    def places(self) -> dict[str, str]:
        """Name -> "module:class"."""
        return classes_in(self.package)

    def names(self) -> list[str]:
        """All of them, sorted."""
        return sorted(self.places)

    def find(self, name: str) -> Any:
        """The class behind a name.

        Raises:
            InputError: there is no such data set; the message names the nearest one.
        """
        if name not in self.places:
            raise InputError(f"no {self.title} named {name!r}: {suggestion(name, self.names())}")
        module, _, attribute = self.places[name].partition(":")
        return getattr(importlib.import_module(module), attribute)


_CATALOGUE = Catalogue(flowzoo.datasets, "data set")


def list_datasets() -> list[str]:
    """The names of all data sets, sorted."""
    return _CATALOGUE.names()


def classes_in(package: ModuleType) -> dict[str, str]:
    """Name -> "module:class" of every class right in a package whose body gives it a `name`.

    The files are read, not imported: that would bring in numpy, where only names are asked for.
    """
    found = {}
    for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        spec = importlib.util.find_spec(entry.name)
        source = spec.loader.get_source(entry.name) if spec and isinstance(spec.loader, InspectLoader) else None
        for node in ast.parse(source or "").body:
            if isinstance(node, ast.ClassDef) and (name := _name_in(node)):
                found[name] = f"{entry.name}:{node.name}"
    return found


def _name_in(body: ast.ClassDef) -> str | None:
    """The text that a class body assigns to `name`, alone (`name = "x"`) or with others (`name, title = "x", "X"`)."""
    for target, value in _assignments(body):
        if isinstance(target, ast.Name) and target.id == "name" and isinstance(value, ast.Constant):
            return value.value if isinstance(value.value, str) else None
    return None


def _assignments(body: ast.ClassDef) -> Iterator[tuple[ast.expr, ast.expr]]:
    for node in body.body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=False)
            else:
                yield target, node.value


def dataset_class(name: str) -> "type[FlowDataset]":
    """The class behind a name; see `Catalogue.find`."""
    found: type[FlowDataset] = _CATALOGUE.find(name)
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
