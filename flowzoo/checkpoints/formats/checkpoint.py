"""What a file of weights holds, independent of its format."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """Contents of one file.

    Attributes:
        tensors: by their published names, prefixes of wrappers removed.
        format: "flowzoo" (ours), "safetensors", "torch" or "caffemodel".
        facts: what the file says about itself; for ours "model", "settings" and what `save_weights` was told.
        entry: which of a training script's state dicts it is, as a path of keys; "" for a file of one alone.
        others: further state dicts in the file, which `entry` may name.
        ignored: classes of objects in the file that belong to other programs and were left out.
    """

    tensors: dict[str, Tensor]
    format: str
    facts: dict[str, Any] = field(default_factory=dict)
    entry: str = ""
    others: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
