"""Rendered pairs on disk, in a form that training reads without decoding anything.

A folder holds `manifest.json` and, for every SHARD pairs, three .npy files: frames (N, 2, 3, H, W) uint8, flow
(N, 2, H, W) float16 in pixels, and masks (N, H, W) uint8 (bits: 1 occluded, 2 no valid flow; 4 and 8 the same for the
second frame). With backward flow there is a fourth. float16 keeps flow to 2^-11 of its size: below 0.01 px for motions
up to 20 px.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from flowzoo.augmentation.sample import TrainingSample
from flowzoo.errors import InputError, counted
from flowzoo.files.atomic import replacing
from flowzoo.files.reading import DAMAGE, content_of, quiet
from flowzoo.synthetic.render import RenderedPairs
from flowzoo.synthetic.textures import Folder

SHARD = 50
MANIFEST = "manifest.json"
VERSION = 1
LARGEST_MANIFEST = 1 << 20
"""Bytes."""
LARGEST_SIDE = 1 << 16
"""Pixels."""
OCCLUDED, INVALID, BACKWARD_OCCLUDED, BACKWARD_INVALID = 1, 2, 4, 8


@dataclass(frozen=True)
class Manifest:
    """What a packed folder holds. `recipe` is everything that decides the pairs."""

    count: int
    size: tuple[int, int]
    seed: int
    backward: bool
    recipe: dict[str, Any]

    @property
    def shards(self) -> int:
        return -(-self.count // SHARD)

    def indices(self, shard: int) -> range:
        """The pairs of a shard."""
        return range(shard * SHARD, min((shard + 1) * SHARD, self.count))


def shard_files(folder: Path, shard: int, *, backward: bool) -> dict[str, Path]:
    """Kind -> file of a shard; it is complete when all exist."""
    kinds = ("frames", "flow", "masks", "backward") if backward else ("frames", "flow", "masks")
    return {kind: folder / f"{shard:05d}_{kind}.npy" for kind in kinds}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, or check that the one there describes the same pairs (more of them are fine).

    Raises:
        InputError: the folder holds pairs of another recipe, or cannot be written.
    """
    path = folder / MANIFEST
    if path.exists():
        there = read_manifest(folder)
        for name in ("size", "seed", "backward", "recipe"):
            if getattr(there, name) != getattr(manifest, name):
                raise InputError(f"{folder} holds pairs rendered with another {name}: give another folder")
        if there.count > manifest.count or (there.count % SHARD and there.count != manifest.count):
            raise InputError(
                f"{folder} holds {counted(there.count, 'pair')}: give that --count, or more if it "
                f"is a multiple of {SHARD}"
            )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"version": VERSION, **asdict(manifest)}, indent=1, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a packed folder.

    Raises:
        InputError: there is none, or it is broken.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise InputError(
            f"no packed pairs in {folder}: {MANIFEST} is missing; render some with `flowzoo synth --packed`"
        )
    content = content_of(path, "a manifest of packed pairs", LARGEST_MANIFEST)
    try:
        entries: Any = json.loads(content)
    except (ValueError, RecursionError):
        entries = None
    if isinstance(entries, dict) and entries.get("version", VERSION) != VERSION:
        raise InputError(f"{path} was written by another version of flowzoo: render the pairs again")
    if not _is_manifest(entries):
        raise InputError(f"{path} is broken: render the pairs again into an empty folder")
    height, width = entries["size"]
    return Manifest(entries["count"], (height, width), entries["seed"], entries["backward"], entries["recipe"])


def _is_manifest(entries: Any) -> bool:
    """Whether this is what `write_manifest` writes, with values in their ranges."""
    if not isinstance(entries, dict) or set(entries) != {"version", *(field.name for field in fields(Manifest))}:
        return False
    size = entries["size"]
    numbers = [entries["count"], entries["seed"], *(size if isinstance(size, list) else ())]
    return (
        all(type(number) is int and number >= 0 for number in numbers)
        and len(numbers) == 4
        and min(entries["count"], *size) > 0
        and max(size) <= LARGEST_SIDE
        and isinstance(entries["backward"], bool)
        and isinstance(entries["recipe"], dict)
    )


def write_shard(folder: Path, shard: int, parts: Sequence[RenderedPairs], *, backward: bool) -> None:
    """Write the pairs of one shard (frames as uint8); each file is complete or not there."""
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.concatenate([torch.stack((part.first, part.second), dim=1).cpu().numpy() for part in parts]),
        "flow": np.concatenate([part.flow.half().cpu().numpy() for part in parts]),
        "masks": np.concatenate([_bits(part) for part in parts]),
    }
    if backward:
        arrays["backward"] = np.concatenate([part.backward_flow.half().cpu().numpy() for part in parts])
    for kind, path in shard_files(folder, shard, backward=backward).items():
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, arrays[kind])


def _bits(pairs: RenderedPairs) -> NDArray[np.uint8]:
    bits = (
        pairs.occluded * OCCLUDED
        + ~pairs.valid * INVALID
        + pairs.backward_occluded * BACKWARD_OCCLUDED
        + ~pairs.backward_valid * BACKWARD_INVALID
    )
    return bits.to(torch.uint8).cpu().numpy()


class PackedPairs(Dataset[TrainingSample]):
    """The pairs of a packed folder, read through memory maps; safe in any number of loader workers.

    `pairs[i]` is a `TrainingSample` with uint8 frames. With `flip_time` it may also be asked for pair `count + i`,
    which is pair i played backwards (needs backward flow in the folder). With `both_directions` each sample has the
    flow from the second frame to the first, too (`reverse`; needs it as well).

    Raises:
        InputError: no manifest, a missing or broken shard (render again: finished shards are kept).
    """

    def __init__(self, folder: Folder, *, flip_time: bool = False, both_directions: bool = False) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.flip_time, self.both_directions = flip_time, both_directions
        if (flip_time or both_directions) and not self.manifest.backward:
            use = "play pairs backwards" if flip_time else "train on both directions"
            raise InputError(f"{self.folder} holds no backward flow: render with --backward to {use}")
        self._maps: dict[int, dict[str, NDArray[Any]]] = {}
        height, width = self.manifest.size
        for shard in range(self.manifest.shards):
            count = len(self.manifest.indices(shard))
            for kind, path in shard_files(self.folder, shard, backward=self.manifest.backward).items():
                pixels = count * height * width
                wanted = {"frames": 6, "flow": 4, "masks": 1, "backward": 4}[kind] * pixels
                if not path.is_file() or path.stat().st_size < wanted:
                    raise InputError(
                        f"{path} is missing or cut short: run the same `flowzoo synth` again to complete it"
                    )

    def __len__(self) -> int:
        return self.manifest.count * (2 if self.flip_time else 1)

    def __getitem__(self, index: int) -> TrainingSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        backwards, index = divmod(index, self.manifest.count)
        maps, row = self._shard(index // SHARD), index % SHARD
        frames = torch.from_numpy(np.array(maps["frames"][row]))
        flow, valid = _flow(maps, row, backwards=bool(backwards))
        reverse = None
        if self.both_directions:
            back, known = _flow(maps, row, backwards=not backwards)
            reverse = torch.cat([back, known[None].float()])
        first, second = (frames[1], frames[0]) if backwards else (frames[0], frames[1])
        return TrainingSample(first, second, flow, valid, reverse=reverse)

    def occluded(self, index: int) -> NDArray[np.bool_]:
        """(H, W): what of the first frame of pair `index` is hidden in the second."""
        maps, row = self._shard(index // SHARD), index % SHARD
        return np.asarray((maps["masks"][row] & OCCLUDED) != 0)

    def _shard(self, shard: int) -> dict[str, NDArray[Any]]:
        if shard not in self._maps:
            files = shard_files(self.folder, shard, backward=self.manifest.backward)
            count, (height, width) = len(self.manifest.indices(shard)), self.manifest.size
            kinds = {
                "frames": ((count, 2, 3, height, width), np.uint8),
                "flow": ((count, 2, height, width), np.float16),
                "masks": ((count, height, width), np.uint8),
                "backward": ((count, 2, height, width), np.float16),
            }
            try:
                with quiet():
                    maps: dict[str, NDArray[Any]] = {
                        kind: np.lib.format.open_memmap(path, mode="r") for kind, path in files.items()
                    }
                fits = all(
                    entry.shape == kinds[kind][0] and entry.dtype == kinds[kind][1] for kind, entry in maps.items()
                )
            except DAMAGE:
                fits = False
            if not fits:
                raise InputError(f"shard {shard} of {self.folder} is broken: delete its files and render again")
            self._maps[shard] = maps
        return self._maps[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}


def _flow(maps: dict[str, NDArray[Any]], row: int, *, backwards: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Flow (2, H, W) float32 and where it is valid (H, W) of a pair of a shard."""
    flow = torch.from_numpy(maps["backward" if backwards else "flow"][row].astype(np.float32))
    return flow, torch.from_numpy((maps["masks"][row] & (BACKWARD_INVALID if backwards else INVALID)) == 0)
