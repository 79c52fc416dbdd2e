"""Any pairs: a text file with the paths of first image, second image and flow on each line."""

import functools
import os
from collections import Counter
from pathlib import Path
from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair
from flowzoo.errors import InputError
from flowzoo.files.pair_list import read_pair_list
from flowzoo.files.reading import existing_file


class Pairs(FlowDataset):
    """`--root` is a list of pairs (`flowzoo.files.pair_list` says how it is written), or a folder with `pairs.txt`.

    A pair's prediction has the flow's path relative to the list's folder. Where the flow lies elsewhere, it is the
    flow's file name, or, if several of these are alike, its path below the folder that they have in common. Pairs that
    share one flow file are told apart by a number.
    """

    name, title = "pairs", "list of pairs"
    per_image = True
    layout = "a text file with FIRST SECOND FLOW on every line"
    subsets: ClassVar = {"all": "every line"}

    def find_root(self, root: Path) -> Path:
        """Folder of the list, which is remembered."""
        self.file = existing_file(root / "pairs.txt" if os.path.isdir(root) else root, self.layout)
        return self.file.parent

    def list_pairs(self) -> tuple[list[Pair], int]:
        """One pair a line."""
        listed = read_pair_list(self.file)
        seen: dict[tuple[str, ...], int] = {}
        folder = functools.cache(os.path.realpath)
        flows = []
        for pair in listed:
            if pair.flow is None:
                raise InputError(f"{self.file} line {pair.line} has 2 paths; give FIRST SECOND FLOW")
            flows.append(pair.flow)
            files = (pair.first, pair.second, pair.flow)
            key = tuple(os.path.join(folder(os.path.dirname(file)), os.path.basename(file)) for file in files)
            if key in seen:
                raise InputError(f"{self.file} lists line {seen[key]} again in line {pair.line}; remove one of them")
            seen[key] = pair.line
        names = prediction_names(flows, self.root)
        pairs = [
            Pair(os.path.splitext(name)[0], pair.first, pair.second, pair.flow, name)
            for pair, name in zip(listed, names, strict=True)
        ]
        return pairs, len(pairs)

    def files(self) -> list[Path]:
        """The list, too."""
        return [self.file, *super().files()]


def prediction_names(flows: list[Path], root: Path) -> list[str]:
    """Unique relative paths for predictions of these flow files; see `Pairs`."""
    normal = [os.path.normpath(flow) for flow in flows]
    inside = [_below(flow, root) for flow in normal]
    outside = {flow for flow, path in zip(normal, inside, strict=True) if path is None}
    alike = len({os.path.basename(flow).casefold() for flow in outside}) < len(outside)
    common = os.path.commonpath([os.path.dirname(os.path.abspath(flow)) for flow in outside]) if alike else ""
    names = []
    for flow, path in zip(normal, inside, strict=True):
        if path is None:
            path = os.path.relpath(os.path.abspath(flow), common) if alike else os.path.basename(flow)
        names.append(Path(path).as_posix())
    return _numbered(names)


def _below(path: str, folder: Path) -> str | None:
    """`path` relative to `folder`, or None where it lies elsewhere."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive
        return None
    return None if relative.split(os.sep)[0] == os.pardir else relative


def _numbered(names: list[str]) -> list[str]:
    """A number behind every name that was there before."""
    taken = Counter(name.casefold() for name in names)
    if max(taken.values(), default=0) < 2:
        return names
    used: set[str] = set()
    found = []
    for name in names:
        stem, suffix = os.path.splitext(name)
        number, unique = 1, name
        while unique.casefold() in used or (number > 1 and unique.casefold() in taken):
            number += 1
            unique = f"{stem}-{number}{suffix}"
        used.add(unique.casefold())
        found.append(unique)
    return found
