"""Our own files: safetensors with one metadata key, `flowzoo`, whose value is JSON with sorted keys.

One key only, because several make the bytes differ from run to run.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from flowzoo.checkpoints.formats.checkpoint import Checkpoint
from flowzoo.checkpoints.formats.nested import plain_facts, strip_prefixes
from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing
from flowzoo.files.reading import DAMAGE, reason

_KEY = "flowzoo"


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins like this is one: eight bytes of header length, then JSON."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def read(path: Path) -> Checkpoint:
    """Read a safetensors file, ours or another's.

    Raises:
        InputError: it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        facts = json.loads(metadata[_KEY]) if _KEY in metadata else None
    except (SafetensorError, *DAMAGE) as error:
        raise InputError(f"{path} is a damaged safetensors file ({reason(error)}): fetch it again") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("model"), str):
        return Checkpoint(strip_prefixes(tensors), "safetensors", plain_facts(metadata))
    if not isinstance(facts.get("settings") or {}, dict):
        raise InputError(f"{path} is damaged: its settings are no table; fetch it again")
    return Checkpoint(tensors, "flowzoo", facts)


def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write our format; the same tensors and facts give the same bytes.

    Raises:
        InputError: a fact is not JSON, or the file cannot be written.
    """
    try:
        text = json.dumps(dict(facts), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"facts about weights must be plain values: {error}") from error
    # A copy each: safetensors refuses views and shared storage.
    plain = {name: torch.empty_like(value, device="cpu").copy_(value).contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        # Not save_file, which makes files that only their owner can read.
        temporary.write_bytes(save(plain, metadata={_KEY: text}))
