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
    """

    tensors: dict[str, Tensor]
    format: str
    facts: dict[str, Any] = field(default_factory=dict)
