"""The wheel holds what the package reads at run time, and the README's commands are what they say."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from flowzoo.assets import asset_path
from flowzoo.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names inside a wheel built from a copy of this checkout."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("build")
    for folder in ("flowzoo", "kernels", "weights"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(copy / done.stdout.splitlines()[-1]) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("folder", ["kernels", "weights"])
def test_data_folders_are_in_the_wheel_and_nothing_lands_beside_the_package(wheel, folder):
    files = [path.name for path in (ROOT / folder).iterdir() if path.is_file() and path.suffix != ".py"]
    assert files
    assert {f"flowzoo/{folder}/{name}" for name in files} <= wheel
    assert {name.split("/")[0] for name in wheel if ".dist-info" not in name} == {"flowzoo"}


def test_presets_and_the_typing_marker_are_in_the_wheel(wheel):
    presets = {f"flowzoo/presets/{path.name}" for path in (ROOT / "flowzoo" / "presets").glob("*.toml")}
    assert presets
    assert presets | {"flowzoo/py.typed"} <= wheel


def test_assets_are_found_in_a_checkout_and_missing_ones_are_named():
    assert asset_path("weights", "index.toml").is_file()
    with pytest.raises(InputError, match=r"kernels/none\.cu is missing"):
        asset_path("kernels", "none.cu")


def test_kernels_and_weights_hold_no_python():
    assert not [path for folder in ("kernels", "weights") for path in (ROOT / folder).rglob("*.py")]


def test_the_readme_has_two_commands_and_every_link_leads_somewhere():
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^python3 -m venv .*$", text, flags=re.MULTILINE)
    assert len(commands) == 2
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
