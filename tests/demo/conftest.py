"""A demo server, and two photographs in several disguises."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowzoo.demo.job import Worker
from flowzoo.demo.options import choices
from flowzoo.demo.server import DemoServer, Settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LARGEST = 20_000_000


@pytest.fixture(scope="module", autouse=True)
def _portable_operators() -> Iterator[None]:
    """The page and `flowzoo infer` use the same versions of the operators, whatever was built before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWZOO_NATIVE", "0")
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[DemoServer]:
    """It answers until the module's tests are over."""
    settings = Settings(tuple(choices(("wren", "wren"))), largest=LARGEST)
    with DemoServer(("127.0.0.1", 0), Worker(torch.device("cpu")), settings) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.png and b.png, small; small.png, of another size; broken.png; huge.bin, too large to be sent."""
    folder = tmp_path_factory.mktemp("images")
    for name, number in (("a.png", 1), ("b.png", 2)):
        with Image.open(EXAMPLES / f"city_{number}.png") as image:
            image.convert("RGB").resize((160, 96), Image.Resampling.BICUBIC).save(folder / name)
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(folder / "small.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:3000])
    with (folder / "huge.bin").open("wb") as file:
        file.truncate(200_000_000)
    return folder
