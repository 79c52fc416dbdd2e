"""Finds the data files that belong to the package: CUDA and C++ sources, weights, presets."""

from pathlib import Path

from flowzoo.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def asset_folder(folder: str) -> Path:
    """Path of `folder` (for example `kernels`), in an installed package or in a checkout.

    Raises:
        InputError: it is in neither place.
    """
    for root in (_PACKAGE, _PACKAGE.parent):
        if (root / folder).is_dir():
            return root / folder
    raise InputError(f"{folder} is missing: looked in {_PACKAGE} and {_PACKAGE.parent}; reinstall flowzoo")


def asset_path(folder: str, name: str) -> Path:
    """Path of `folder/name` (for example `kernels/correlation.cu`), in an installed package or in a checkout.

    Raises:
        InputError: the file is in neither place.
    """
    for root in (_PACKAGE, _PACKAGE.parent):
        path = root / folder / name
        if path.is_file():
            return path
    raise InputError(f"{folder}/{name} is missing: looked in {_PACKAGE} and {_PACKAGE.parent}; reinstall flowzoo")
