"""Where an optional package is missing or broken, one line tells which extra brings it."""

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from flowzoo.archive import motion, ray_engine, writers
from flowzoo.checkpoints import hub
from flowzoo.errors import InputError
from flowzoo.extras import needed_for
from flowzoo.files import exr, flo5, stored, video
from flowzoo.training import journal

EXTRAS: dict[str, list[str]] = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
USES: dict[str, tuple[str, Callable[[], object]]] = {
    "av": ("av", video.pyav),
    "h5py": ("h5py", flo5._h5py),
    "huggingface_hub": ("huggingface_hub", lambda: hub.fetch("hub:owner/name")),
    "OpenEXR": ("OpenEXR", exr.require),
    "pyarrow": ("pyarrow", motion._pyarrow),
    "ray": ("ray", ray_engine.ray_module),
    "tensorboard": ("torch.utils.tensorboard", lambda: journal._tensorboard(Path("run"))),
    "tifffile": ("tifffile", lambda: stored._deep_tiff("deep.tif")),
    "zarr": ("zarr", writers.zarr_module),
}


@pytest.mark.parametrize("package", USES)
def test_a_missing_package_is_told_with_the_extra_that_brings_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, use = USES[package]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"need(s)? the package {package}\b") as found:
        use()
    extra = re.search(r"flowzoo\[(\w+)\]", str(found.value))
    assert extra is not None
    brought = [re.split(r"[\[<>=; ]", entry)[0] for entry in EXTRAS[extra[1]]]
    assert package in brought


def test_a_package_that_does_not_load_says_why() -> None:
    with pytest.raises(InputError) as found, needed_for(".flo5 files need", "h5py", "spring", "write .flo"):
        raise ImportError("numpy.dtype size changed")
    assert str(found.value) == (
        ".flo5 files need the package h5py (numpy.dtype size changed): pip install 'flowzoo[spring]', or write .flo"
    )


def test_other_faults_of_an_import_are_not_taken_for_a_missing_package() -> None:
    with pytest.raises(OSError, match="disk"), needed_for(".flo5 files need", "h5py", "spring"):
        raise OSError("disk")
