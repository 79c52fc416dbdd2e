"""Where the pairs of a training stage come from, by name."""

from pathlib import Path
from typing import Protocol

from flowzoo.data.augment.sample import TrainingSample
from flowzoo.errors import InputError


class Source(Protocol):
    """Training pairs by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TrainingSample: ...


def open_source(name: str, root: Path | None) -> Source:
    """The source `name` under `root`.

    "synthetic" is a folder that `flowzoo synth --packed` wrote: `root` itself, or a folder of that name in it.

    Raises:
        InputError: nothing of that name, or it is incomplete.
    """
    if root is None:
        raise InputError("give the folder of the training data with --root")
    if name == "synthetic":
        from flowzoo.data.synthetic import PackedPairs

        return PackedPairs(root if (root / "manifest.json").is_file() else root / name)
    raise InputError(f"no data source named {name!r}: known: synthetic")
