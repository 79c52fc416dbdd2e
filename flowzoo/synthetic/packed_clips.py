"""Rendered clips on disk for super-resolution: small frames, the large middle frame, and flow, read without decoding.

A folder holds `clips.json` and, for every SHARD clips, three .npy files: small (N,T,3,h,w) uint8, large (N,3,H,W)
uint8, flows (N,T-1,2,h,w) float16: what a flow network finds between the middle small frame and each other one, in
their order.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from flowzoo.datasets.degradations import degrade, to_8bit
from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing
from flowzoo.synthetic.clips import ClipSettings, render_clip
from flowzoo.synthetic.textures import Folder, Textures

SHARD = 50
MANIFEST = "clips.json"
VERSION = 1
KINDS = ("small", "large", "flows")


class ClipSample(NamedTuple):
    """small (T,3,h,w) float RGB in 0..1, large (3,H,W) likewise, flows (T-1,2,h,w) pixels of the small frames."""

    small: Tensor
    large: Tensor
    flows: Tensor


@dataclass(frozen=True)
class ClipRecipe:
    """What decides the clips of a folder.

    Attributes:
        count: how many clips.
        size: (H, W) of the large frames.
        scale: large over small size.
        seed: of the clips.
        flow: name and weights of the flow network.
        settings: of the clips.
        photographs: names of the files.
    """

    count: int
    size: tuple[int, int]
    scale: int
    seed: int
    flow: str
    settings: dict[str, Any]
    photographs: list[str]


def pack_clips(folder: Path, textures: Textures, recipe: ClipRecipe, flows: Callable[[Tensor], Tensor]) -> None:
    """Render `recipe.count` clips; shards that are there stay.

    Args:
        folder: where to; made if need be.
        textures: the photographs of `recipe.photographs`.
        recipe: what to render.
        flows: (1,T,3,h,w) small frames -> (1,T-1,2,h,w).

    Raises:
        InputError: the folder holds clips of another recipe, or cannot be written.
    """
    path = folder / MANIFEST
    text = json.dumps({"version": VERSION, **asdict(recipe)}, indent=1, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{folder} holds clips of another recipe: give another folder")
    settings = ClipSettings(**recipe.settings)
    for shard in range(-(-recipe.count // SHARD)):
        indices = range(shard * SHARD, min((shard + 1) * SHARD, recipe.count))
        if all(file.is_file() for file in shard_files(folder, shard).values()):
            continue
        rows: dict[str, list[NDArray[Any]]] = {kind: [] for kind in KINDS}
        for index in indices:
            large = to_8bit(render_clip(textures, recipe.seed, index, recipe.size, settings)).float() / 255
            small = degrade(large, "bicubic", recipe.scale)
            rows["small"].append(to_8bit(small).numpy())
            rows["large"].append(to_8bit(large[len(large) // 2]).numpy())
            rows["flows"].append(flows(small[None])[0].half().cpu().numpy())
        for kind, file in shard_files(folder, shard).items():
            with replacing(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, np.stack(rows[kind]))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def shard_files(folder: Path, shard: int) -> dict[str, Path]:
    """Kind -> file of a shard; it is complete when all exist."""
    return {kind: folder / f"{shard:05d}_{kind}.npy" for kind in KINDS}


class PackedClips(Dataset[ClipSample]):
    """The clips of a packed folder, read through memory maps.

    Raises:
        InputError: there is no manifest, or a shard is missing or broken.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            if entries.pop("version") != VERSION:
                raise InputError(f"{path} was written by another version of flowzoo: render the clips again")
            self.recipe = ClipRecipe(**entries)
        except OSError as error:
            raise InputError(f"no packed clips in {self.folder}: {MANIFEST} is missing") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is broken: render the clips again into an empty folder") from error
        self._maps: dict[int, dict[str, NDArray[Any]]] = {}
        for shard in range(-(-self.recipe.count // SHARD)):
            missing = [file for file in shard_files(self.folder, shard).values() if not file.is_file()]
            if missing:
                raise InputError(f"{missing[0]} is missing: render the clips again, finished parts are kept")

    def __len__(self) -> int:
        return self.recipe.count

    def __getitem__(self, index: int) -> ClipSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        maps, row = self._shard(index // SHARD), index % SHARD
        small, large, flows = (torch.from_numpy(np.array(maps[kind][row])) for kind in KINDS)
        return ClipSample(small.float() / 255, large.float() / 255, flows.float())

    def _shard(self, shard: int) -> dict[str, NDArray[Any]]:
        if shard not in self._maps:
            try:
                files = shard_files(self.folder, shard).items()
                self._maps[shard] = {kind: np.load(path, mmap_mode="r") for kind, path in files}
            except (OSError, ValueError) as error:
                raise InputError(f"shard {shard} of {self.folder} is broken: delete its files, render again") from error
        return self._maps[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}
